//! Numbers of the kernel's nf_tables interface (linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h).

pub(super) const BATCH_BEGIN: u16 = 0x10;
pub(super) const BATCH_END: u16 = 0x11;
/// The subsystem's number, in the high byte of every message type and in the batch header.
pub(super) const SUBSYSTEM: u16 = 10;
pub(super) const NEW_TABLE: u16 = SUBSYSTEM << 8;
pub(super) const GET_TABLE: u16 = (SUBSYSTEM << 8) | 1;
pub(super) const DEL_TABLE: u16 = (SUBSYSTEM << 8) | 2;
pub(super) const NEW_CHAIN: u16 = (SUBSYSTEM << 8) | 3;
pub(super) const GET_CHAIN: u16 = (SUBSYSTEM << 8) | 4;
pub(super) const DEL_CHAIN: u16 = (SUBSYSTEM << 8) | 5;
pub(super) const NEW_RULE: u16 = (SUBSYSTEM << 8) | 6;
pub(super) const GET_RULE: u16 = (SUBSYSTEM << 8) | 7;
pub(super) const DEL_RULE: u16 = (SUBSYSTEM << 8) | 8;
pub(super) const NEW_SET: u16 = (SUBSYSTEM << 8) | 9;
pub(super) const NEW_ELEMENTS: u16 = (SUBSYSTEM << 8) | 12;

pub(super) const FLAG_REQUEST: u16 = 0x1;
pub(super) const FLAG_CREATE: u16 = 0x400;
pub(super) const FLAG_APPEND: u16 = 0x800;
pub(super) const FLAG_ACKNOWLEDGE: u16 = 0x4;

pub(crate) const FAMILY_IPV4: u8 = 2;

pub(super) const TABLE_NAME: u16 = 1;
pub(super) const TABLE_USERDATA: u16 = 6;
pub(super) const CHAIN_TABLE: u16 = 1;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
pub(super) const CHAIN_TYPE: u16 = 7;
pub(super) const HOOK_NUMBER: u16 = 1;
pub(super) const HOOK_PRIORITY: u16 = 2;
pub(super) const RULE_TABLE: u16 = 1;
pub(super) const RULE_CHAIN: u16 = 2;
pub(super) const RULE_HANDLE: u16 = 3;
pub(super) const RULE_EXPRESSIONS: u16 = 4;
pub(super) const RULE_USERDATA: u16 = 7;
/// The comment's type inside a rule's user data, as the `nft` program writes it.
pub(super) const USERDATA_COMMENT: u8 = 0;
pub(super) const LIST_ELEMENT: u16 = 1;
pub(super) const EXPRESSION_NAME: u16 = 1;
pub(super) const EXPRESSION_DATA: u16 = 2;
pub(super) const SET_TABLE: u16 = 1;
pub(super) const SET_NAME: u16 = 2;
pub(super) const SET_FLAGS: u16 = 3;
pub(super) const SET_KEY_TYPE: u16 = 4;
pub(super) const SET_KEY_LENGTH: u16 = 5;
pub(super) const SET_ID: u16 = 10;
pub(super) const SET_OF_INTERVALS: u32 = 4;
/// The `nft` program's number for IPv4 addresses.
pub(super) const TYPE_IPV4_ADDRESS: u32 = 7;
pub(super) const ELEMENTS_TABLE: u16 = 1;
pub(super) const ELEMENTS_SET: u16 = 2;
pub(super) const ELEMENTS_LIST: u16 = 3;
pub(super) const ELEMENT_KEY: u16 = 1;
pub(super) const ELEMENT_FLAGS: u16 = 3;
pub(super) const ELEMENT_ENDS_INTERVAL: u32 = 1;
pub(super) const DATA_VALUE: u16 = 1;
pub(super) const DATA_VERDICT: u16 = 2;
pub(super) const VERDICT_CODE: u16 = 1;
pub(super) const VERDICT_CHAIN: u16 = 2;

pub(super) const REGISTER_VERDICT: u32 = 0;
pub(super) const REGISTER_1: u32 = 1;
pub(super) const REGISTER_2: u32 = 2;

pub(super) const META_DESTINATION: u16 = 1;
pub(super) const META_KEY: u16 = 2;
pub(super) const META_SOURCE: u16 = 3;
pub(super) const META_MARK: u32 = 3;
pub(super) const META_INPUT_NAME: u32 = 6;
pub(super) const META_OUTPUT_NAME: u32 = 7;
pub(super) const META_PROTOCOL: u32 = 16;

pub(super) const PAYLOAD_DESTINATION: u16 = 1;
pub(super) const PAYLOAD_BASE: u16 = 2;
pub(super) const PAYLOAD_OFFSET: u16 = 3;
pub(super) const PAYLOAD_LENGTH: u16 = 4;
pub(super) const BASE_NETWORK: u32 = 1;
pub(super) const BASE_TRANSPORT: u32 = 2;
pub(super) const OFFSET_SOURCE_ADDRESS: u32 = 12;
pub(super) const OFFSET_DESTINATION_ADDRESS: u32 = 16;
pub(super) const OFFSET_DESTINATION_PORT: u32 = 2;

pub(super) const COMPARE_SOURCE: u16 = 1;
pub(super) const COMPARE_OPERATION: u16 = 2;
pub(super) const COMPARE_DATA: u16 = 3;
pub(super) const COMPARE_EQUAL: u32 = 0;
pub(super) const COMPARE_DIFFERENT: u32 = 1;

pub(super) const LOOKUP_SET: u16 = 1;
pub(super) const LOOKUP_SOURCE: u16 = 2;
pub(super) const LOOKUP_FLAGS: u16 = 5;
pub(super) const LOOKUP_INVERTED: u32 = 1;

pub(super) const BITWISE_SOURCE: u16 = 1;
pub(super) const BITWISE_DESTINATION: u16 = 2;
pub(super) const BITWISE_LENGTH: u16 = 3;
pub(super) const BITWISE_MASK: u16 = 4;
pub(super) const BITWISE_XOR: u16 = 5;

pub(super) const IMMEDIATE_DESTINATION: u16 = 1;
pub(super) const IMMEDIATE_DATA: u16 = 2;

pub(super) const COUNTER_BYTES: u16 = 1;
pub(super) const COUNTER_PACKETS: u16 = 2;

pub(super) const CT_DESTINATION: u16 = 1;
pub(super) const CT_KEY: u16 = 2;
pub(super) const CT_SOURCE: u16 = 4;
pub(super) const CT_STATE: u32 = 0;
pub(super) const CT_MARK: u32 = 3;

pub(super) const FIB_DESTINATION: u16 = 1;
pub(super) const FIB_RESULT: u16 = 2;
pub(super) const FIB_FLAGS: u16 = 3;
pub(super) const FIB_ADDRESS_TYPE: u32 = 3;
pub(super) const FIB_OF_DESTINATION: u32 = 2;
pub(super) const FIB_ON_INPUT: u32 = 8;
/// The routing table's word for an address of the host itself.
pub(super) const ADDRESS_TYPE_LOCAL: u32 = 2;

pub(super) const NAT_TYPE: u16 = 1;
pub(super) const NAT_FAMILY: u16 = 2;
pub(super) const NAT_ADDRESS: u16 = 3;
pub(super) const NAT_PORT: u16 = 5;
pub(super) const NAT_FLAGS: u16 = 7;
pub(super) const NAT_SOURCE: u32 = 0;
pub(super) const NAT_DESTINATION: u32 = 1;
pub(super) const NAT_PORT_HASHED: u32 = 4;
pub(super) const NAT_PORT_RANDOM: u32 = 16;

pub(super) const VERDICT_DROP: i32 = 0;
pub(super) const VERDICT_ACCEPT: i32 = 1;
pub(super) const VERDICT_JUMP: i32 = -3;
pub(super) const VERDICT_RETURN: i32 = -5;

/// What the iptables programs write into nf_tables: a match of theirs, with its name.
pub(super) const MATCH_NAME: u16 = 1;
pub(super) const MATCH_INFO: u16 = 3;
