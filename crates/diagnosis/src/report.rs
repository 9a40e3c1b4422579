//! What comes out: findings with their places, figures, evidence and remedies, and what was ruled out.

use std::fmt;
use std::net::Ipv4Addr;

use freeboard_address::{Cidr, EniId, NodeName, PodKey, SubnetId};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::{Citation, Declaration, Severity};

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Place {
    /// A subnet of a VPC.
    Subnet {
        /// The subnet.
        id: SubnetId,
        /// Its block, where the evidence names it.
        cidr: Option<Cidr>,
        /// Its name, where the evidence names it.
        name: Option<String>,
    },
    /// A range of addresses.
    Range {
        /// Its name.
        name: String,
        /// Its block, where the evidence names it.
        cidr: Option<Cidr>,
    },
    /// A node pool.
    NodePool {
        /// Its name.
        name: String,
    },
    /// A node.
    Node {
        /// Its name.
        name: NodeName,
    },
    /// An interface.
    Interface {
        /// Its id.
        id: EniId,
    },
    /// A pod.
    Pod {
        /// The pod.
        pod: PodKey,
    },
    /// An API action.
    Api {
        /// The action.
        action: String,
    },
    /// Something else with a name: an ENIConfig, a setting, a VPC.
    Named {
        /// What it is.
        what: String,
        /// Its name.
        name: String,
    },
    /// A node of which only the log is known.
    Log {
        /// The log.
        file: String,
    },
    /// The cluster as a whole.
    Cluster,
}

impl Place {
    /// The subnet, if it is one.
    #[must_use]
    pub fn subnet(&self) -> Option<&SubnetId> {
        if let Self::Subnet { id, .. } = self { Some(id) } else { None }
    }

    /// Whether a node is here, as far as the place itself says; none when it says nothing of nodes.
    pub(crate) fn holds(&self, node: &NodeName, address: Option<Ipv4Addr>) -> Option<bool> {
        if let Self::Node { name } = self {
            return Some(name == node);
        }
        if let Self::Subnet { cidr: Some(cidr), .. } = self {
            return address.map(|address| cidr.contains(address));
        }
        None
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subnet { id, cidr, name } => {
                match name {
                    Some(name) => write!(f, "{name}")?,
                    None => write!(f, "{id}")?,
                }
                cidr.map_or(Ok(()), |cidr| write!(f, " {cidr}"))
            }
            Self::Range { name, cidr } => {
                write!(f, "range {name}")?;
                cidr.map_or(Ok(()), |cidr| write!(f, " {cidr}"))
            }
            Self::NodePool { name } => write!(f, "node pool {name}"),
            Self::Node { name } => write!(f, "node {name}"),
            Self::Interface { id } => write!(f, "interface {id}"),
            Self::Pod { pod } => write!(f, "pod {pod}"),
            Self::Api { action } => f.write_str(action),
            Self::Named { what, name } => write!(f, "{what} {name}"),
            Self::Log { file } => write!(f, "the node of {file}"),
            Self::Cluster => f.write_str("the cluster"),
        }
    }
}

/// A figure with its base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// What is counted, for example `addresses free`.
    pub what: &'static str,
    /// How many.
    pub value: u64,
    /// Of how many; none where there is no base.
    pub of: Option<u64>,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Some(of) => write!(f, "{} of {} {}", grouped(self.value), grouped(of), self.what),
            None => write!(f, "{} {}", grouped(self.value), self.what),
        }
    }
}

/// A number with commas between thousands.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A remedy with what the evidence names filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppliedRemedy {
    /// What to do.
    pub what: String,
    /// The commands; what the evidence does not name stands in angle brackets.
    pub commands: Vec<String>,
}

/// One thing that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was found.
    #[serde(rename = "id", serialize_with = "id_of")]
    pub declaration: &'static Declaration,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// What is wrong there, in one sentence without a full stop.
    pub summary: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When it was last seen.
    pub until: Option<Timestamp>,
    /// The figures.
    pub figures: Vec<Figure>,
    /// Further facts, in whole sentences.
    pub notes: Vec<String>,
    /// Pods that wait because of it.
    pub waiting_pods: Vec<PodKey>,
    /// Where it is seen, one entry per file and signal.
    pub evidence: Vec<Citation>,
    /// How many kinds of evidence agree.
    pub sources: usize,
    /// Whether it was computed from what is held, and not seen in a log.
    pub computed: bool,
    /// What to do, the best first.
    pub remedies: Vec<AppliedRemedy>,
    /// What looks the same and was ruled out, with the reason.
    pub ruled_out: Vec<String>,
    /// What the evidence is too small to rule out.
    pub not_ruled_out: Vec<String>,
    /// Evidence that says otherwise, in whole sentences.
    pub contradictions: Vec<String>,
}

fn id_of<S: Serializer>(declaration: &&'static Declaration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(declaration.id)
}

/// Everything that was found, the worst and the most fundamental first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Diagnosis {
    /// The findings and the advice.
    pub findings: Vec<Finding>,
    /// Causes of the same symptoms that the whole evidence rules out.
    pub ruled_out: Vec<&'static str>,
}

impl Diagnosis {
    /// How many findings there are, advice not counted.
    #[must_use]
    pub fn findings(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity != Severity::Advice).count()
    }

    /// How many pieces of advice there are.
    #[must_use]
    pub fn advice(&self) -> usize {
        self.findings.len() - self.findings()
    }
}
