//! Numbers of the kernel's route netlink interface (linux/rtnetlink.h, linux/if_link.h, linux/fib_rules.h).

pub(super) const NEW_LINK: u16 = 16;
pub(super) const DEL_LINK: u16 = 17;
pub(super) const GET_LINK: u16 = 18;
pub(super) const NEW_ADDRESS: u16 = 20;
pub(super) const DEL_ADDRESS: u16 = 21;
pub(super) const GET_ADDRESS: u16 = 22;
pub(super) const NEW_ROUTE: u16 = 24;
pub(super) const DEL_ROUTE: u16 = 25;
pub(super) const GET_ROUTE: u16 = 26;
pub(super) const NEW_NEIGHBOUR: u16 = 28;
pub(super) const GET_NEIGHBOUR: u16 = 30;
pub(super) const NEW_RULE: u16 = 32;
pub(super) const DEL_RULE: u16 = 33;
pub(super) const GET_RULE: u16 = 34;

pub(super) const FAMILY_ANY: u8 = 0;
pub(super) const FAMILY_IPV4: u8 = 2;

pub(super) const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MTU: u16 = 4;
pub(super) const IFLA_LINK: u16 = 5;
pub(super) const IFLA_LINKINFO: u16 = 18;
pub(super) const IFLA_NET_NS_FD: u16 = 28;
pub(super) const IFLA_EXT_MASK: u16 = 29;
pub(super) const IFLA_NUM_TX_QUEUES: u16 = 31;
pub(super) const IFLA_NUM_RX_QUEUES: u16 = 32;
pub(super) const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFLA_INFO_DATA: u16 = 2;
pub(super) const VETH_INFO_PEER: u16 = 1;
/// Leaves traffic counters out of an answer about links.
pub(super) const EXT_MASK_SKIP_STATISTICS: u32 = 1 << 3;
pub(super) const LINK_UP: u32 = 1;

pub(super) const IFA_ADDRESS: u16 = 1;
pub(super) const IFA_LOCAL: u16 = 2;
pub(super) const IFA_FLAGS: u16 = 8;
/// The kernel adds no connected route for the address.
pub(super) const ADDRESS_WITHOUT_ROUTE: u32 = 0x200;

pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_OIF: u16 = 4;
pub(super) const RTA_GATEWAY: u16 = 5;
pub(super) const RTA_TABLE: u16 = 15;
/// Answer with the route itself, not with where one packet would go.
pub(super) const ROUTE_MATCH: u32 = 0x2000;
pub(super) const ROUTE_TABLE_COMPATIBLE: u8 = 252;
pub(super) const ROUTE_UNICAST: u8 = 1;
pub(super) const ROUTE_BLACKHOLE: u8 = 6;
pub(super) const ROUTE_BY_ADMINISTRATOR: u8 = 3;
pub(super) const SCOPE_UNIVERSE: u8 = 0;
pub(super) const SCOPE_LINK: u8 = 253;
pub(super) const SCOPE_NOWHERE: u8 = 255;

pub(super) const NDA_DST: u16 = 1;
pub(super) const NDA_LLADDR: u16 = 2;
pub(super) const NEIGHBOUR_PERMANENT: u16 = 0x80;

pub(super) const FRA_DST: u16 = 1;
pub(super) const FRA_SRC: u16 = 2;
pub(super) const FRA_IIFNAME: u16 = 3;
pub(super) const FRA_PRIORITY: u16 = 6;
pub(super) const FRA_FWMARK: u16 = 10;
pub(super) const FRA_TABLE: u16 = 15;
pub(super) const FRA_FWMASK: u16 = 16;
pub(super) const RULE_TO_TABLE: u8 = 1;
