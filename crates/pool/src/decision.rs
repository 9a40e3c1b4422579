//! What the pool decided and why, as values with figures; they become sentences only when somebody reads them.

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv4Addr;

use freeboard_address::{Addresses, Cidr, EniId, Prefixes, SubnetId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::input::Targets;
use crate::lean::Forecast;

/// Decisions that a pool remembers; some hours of a busy node, and some tens of kilobytes.
const REMEMBERED: usize = 256;

/// A decision and its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When, by the node's clock.
    pub at: Timestamp,
    /// What was decided.
    pub what: Choice,
    /// Why, with the figures as they were then.
    pub why: Reason,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Choice {
    /// To take single addresses for an interface.
    TakeAddresses {
        /// The interface.
        interface: EniId,
        /// How many.
        count: Addresses,
    },
    /// To take prefixes for an interface.
    TakePrefixes {
        /// The interface.
        interface: EniId,
        /// How many.
        count: Prefixes,
    },
    /// To create an interface.
    CreateInterface {
        /// In which subnet.
        subnet: SubnetId,
        /// The subnet's block, when it is known.
        cidr: Option<Cidr>,
        /// Single addresses that it is to bring.
        addresses: Addresses,
        /// Prefixes that it is to bring.
        prefixes: Prefixes,
    },
    /// To give blocks of an interface back to the subnet.
    GiveBackBlocks {
        /// The interface.
        interface: EniId,
        /// Single addresses.
        addresses: Addresses,
        /// Prefixes.
        prefixes: Prefixes,
    },
    /// To detach and delete an interface.
    GiveBackInterface {
        /// The interface.
        interface: EniId,
    },
    /// To let an interface in a full subnet run empty.
    AvoidInterface {
        /// The interface.
        interface: EniId,
    },
    /// To give an address to a pod before its cool-down ends.
    ShortenCooldown {
        /// The address.
        address: Ipv4Addr,
    },
    /// Something else, told as a sentence.
    Other {
        /// The sentence.
        what: String,
    },
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TakeAddresses { interface, count } => write!(f, "take {count} for {interface}"),
            Self::TakePrefixes { interface, count } => write!(f, "take {count} for {interface}"),
            Self::CreateInterface { subnet, cidr, addresses, prefixes } => {
                f.write_str("create an interface in subnet ")?;
                match cidr {
                    Some(cidr) => write!(f, "{cidr}")?,
                    None => write!(f, "{subnet}")?,
                }
                f.write_str(" with ")?;
                fmt_amount(f, *addresses, *prefixes)
            }
            Self::GiveBackBlocks { interface, addresses, prefixes } => {
                f.write_str("give back ")?;
                fmt_amount(f, *addresses, *prefixes)?;
                write!(f, " of {interface}")
            }
            Self::GiveBackInterface { interface } => write!(f, "give {interface} back"),
            Self::AvoidInterface { interface } => write!(f, "prefer other interfaces than {interface} for new pods"),
            Self::ShortenCooldown { address } => write!(f, "give {address} before its cool-down ends"),
            Self::Other { what } => f.write_str(what),
        }
    }
}

fn fmt_amount(f: &mut fmt::Formatter<'_>, addresses: Addresses, prefixes: Prefixes) -> fmt::Result {
    match (addresses.is_zero(), prefixes.is_zero()) {
        (_, true) => write!(f, "{addresses}"),
        (true, false) => write!(f, "{prefixes}"),
        (false, false) => write!(f, "{addresses} and {prefixes}"),
    }
}

impl From<String> for Choice {
    fn from(what: String) -> Self {
        Self::Other { what }
    }
}

/// Why it was decided, with the figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// Pods want more addresses than the pool has or awaits.
    PodsWait {
        /// How many more.
        lacking: Addresses,
    },
    /// Fewer addresses than `WARM_IP_TARGET` and `MINIMUM_IP_TARGET` ask for.
    BelowAddressTargets {
        /// Addresses that can be given, less those that are wanted.
        available: i64,
        /// All addresses.
        total: Addresses,
        /// `WARM_IP_TARGET`.
        warm_ip: Addresses,
        /// `MINIMUM_IP_TARGET`.
        minimum_ip: Addresses,
    },
    /// Fewer free addresses than `WARM_ENI_TARGET` interfaces have.
    BelowInterfaceTarget {
        /// Addresses that can be given, less those that are wanted.
        available: i64,
        /// `WARM_ENI_TARGET`.
        warm_eni: u32,
        /// Addresses that one interface carries.
        each: Addresses,
    },
    /// Fewer free addresses than `WARM_PREFIX_TARGET` prefixes have.
    BelowPrefixTarget {
        /// Addresses that can be given, less those that are wanted.
        available: i64,
        /// `WARM_PREFIX_TARGET`.
        warm_prefix: Prefixes,
    },
    /// Fewer free addresses than pods are expected to need before a call is answered.
    BelowForecast {
        /// Addresses that can be given, less those that are wanted.
        available: i64,
        /// What is expected.
        forecast: Forecast,
    },
    /// The targets are met without it.
    TargetsMet {
        /// The targets.
        targets: Targets,
        /// Whether it carries no pod, where that had to be so for it to go.
        unused: bool,
    },
    /// It was over for long enough.
    OverForecast {
        /// What is expected.
        forecast: Forecast,
        /// Whether it carries no pod, where that had to be so for it to go.
        unused: bool,
    },
    /// The pool is short, the interface's subnet is full, and another one has room.
    RoomElsewhere {
        /// The subnet with room.
        subnet: SubnetId,
        /// Its block, when it is known.
        cidr: Option<Cidr>,
        /// Whether no pod is left on the interface.
        unused: bool,
    },
    /// Pods wait, nothing is free, and less is on its way than they need.
    NothingElseFree {
        /// Pods that wait.
        waiting: u32,
        /// Addresses on their way.
        arriving: Addresses,
    },
    /// Something else, told as a sentence.
    Other {
        /// The sentence.
        why: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let no_pod = |f: &mut fmt::Formatter<'_>, unused: bool| {
            if unused { f.write_str("no pod is on it, and ") } else { Ok(()) }
        };
        match self {
            Self::PodsWait { lacking } => {
                let verb = if lacking.0 == 1 { "is" } else { "are" };
                let noun = if lacking.0 == 1 { "address" } else { "addresses" };
                write!(f, "{} more {noun} {verb} wanted by pods than the pool has or awaits", lacking.0)
            }
            Self::BelowAddressTargets { available, total, warm_ip, minimum_ip } => {
                write!(f, "{available} available of {} ", total.0)?;
                write!(f, "with WARM_IP_TARGET={} and MINIMUM_IP_TARGET={}", warm_ip.0, minimum_ip.0)
            }
            Self::BelowInterfaceTarget { available, warm_eni, each } => {
                write!(f, "{available} available with WARM_ENI_TARGET={warm_eni} of {} each", each.0)
            }
            Self::BelowPrefixTarget { available, warm_prefix } => {
                write!(f, "{available} available with WARM_PREFIX_TARGET={}", warm_prefix.0)
            }
            Self::BelowForecast { available, forecast } => write!(f, "{available} available; {forecast}"),
            Self::TargetsMet { targets, unused } => {
                no_pod(f, *unused)?;
                write!(f, "the targets are met without it: {targets}")
            }
            Self::OverForecast { forecast, unused } => {
                no_pod(f, *unused)?;
                write!(f, "it was over for two minutes: {forecast}")
            }
            Self::RoomElsewhere { subnet, cidr, unused } => {
                let first = if *unused { "no pod is on it" } else { "the pool is short" };
                let name = cidr.map_or_else(|| subnet.to_string(), |cidr| cidr.to_string());
                write!(f, "{first}, its subnet is full, and subnet {name} has room")
            }
            Self::NothingElseFree { waiting, arriving } => {
                write!(f, "{waiting} waiting, {} arriving, none free", arriving.0)
            }
            Self::Other { why } => f.write_str(why),
        }
    }
}

impl From<String> for Reason {
    fn from(why: String) -> Self {
        Self::Other { why }
    }
}

/// The latest decisions.
#[derive(Clone, Debug, Default)]
pub(crate) struct DecisionLog(VecDeque<Decision>);

impl DecisionLog {
    /// Notes a decision; the oldest makes way.
    pub(crate) fn note(&mut self, decision: Decision) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(decision);
    }

    /// From the oldest to the newest.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_the_newest() {
        let mut log = DecisionLog::default();
        for number in 0..1_000_u32 {
            log.note(Decision {
                at: Timestamp::UNIX_EPOCH,
                what: Choice::from(number.to_string()),
                why: Reason::PodsWait { lacking: Addresses(number) },
            });
        }
        assert_eq!(log.iter().count(), REMEMBERED);
        assert_eq!(log.iter().next_back().unwrap().what.to_string(), "999");
        assert_eq!(log.iter().next().unwrap().what.to_string(), (1_000 - REMEMBERED).to_string());
    }

    #[test]
    fn a_decision_reads_as_a_sentence() {
        let decision = Decision {
            at: Timestamp::UNIX_EPOCH,
            what: Choice::TakeAddresses { interface: EniId::new("eni-1"), count: Addresses(1) },
            why: Reason::PodsWait { lacking: Addresses(1) },
        };
        let expected = "take 1 address for eni-1: 1 more address is wanted by pods than the pool has or awaits";
        assert_eq!(decision.to_string(), expected);
    }
}
