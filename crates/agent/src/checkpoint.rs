//! The checkpoint's text: the Amazon VPC CNI's format, `vpc-cni-ipam/1`, with one more key that it ignores.

use std::net::Ipv4Addr;

use freeboard_address::{Addresses, AttachmentKey, Cidr, PodKey, Prefixes, SecurityGroupId, SubnetId};
use freeboard_pool::{CheckpointState, InterfaceIntent, RestoredAllocation, RestoredCooling, ReturnedBlock};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version that the incumbent writes and demands.
const VERSION: &str = "vpc-cni-ipam/1";

/// Why a checkpoint cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The text is not whole, or is not of this form.
    #[error("the checkpoint is torn or corrupt ({0}); expected a JSON object of version {VERSION}")]
    Corrupt(#[from] serde_json::Error),
    /// The text is of another version.
    #[error("the checkpoint is of version {0:?}; expected {VERSION}")]
    Version(String),
}

#[derive(Serialize, Deserialize)]
struct File {
    version: String,
    #[serde(default)]
    allocations: Option<Vec<Allocation>>,
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    freeboard: Extra,
}

/// What the incumbent has no word for; it ignores the key, and drops it with its next write.
#[derive(Default, Serialize, Deserialize)]
struct Extra {
    #[serde(default)]
    cooling: Vec<Cooling>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    conflicting: Vec<Allocation>,
    /// The blocks that the node has of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    blocks: Vec<Cidr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    returned: Vec<Returned>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    creating: Vec<Creating>,
}

impl Extra {
    fn is_empty(&self) -> bool {
        self.cooling.is_empty()
            && self.conflicting.is_empty()
            && self.blocks.is_empty()
            && self.returned.is_empty()
            && self.creating.is_empty()
    }
}

#[derive(Serialize, Deserialize)]
struct Cooling {
    ipv4: Ipv4Addr,
    /// Nanoseconds since 1970, as the incumbent writes times.
    #[serde(rename = "releasedTimestamp")]
    released: i64,
}

/// A block that was given back, or is about to be.
#[derive(Serialize, Deserialize)]
struct Returned {
    cidr: Cidr,
    #[serde(rename = "returnedTimestamp")]
    returned: i64,
}

/// An interface that is about to be created: its request, which a repetition has to be to the letter.
#[derive(Serialize, Deserialize)]
struct Creating {
    #[serde(rename = "subnetID")]
    subnet: SubnetId,
    #[serde(default, skip_serializing_if = "is_zero")]
    addresses: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    prefixes: u32,
    #[serde(rename = "securityGroupIDs", default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<SecurityGroupId>,
    #[serde(rename = "clientToken")]
    token: String,
    #[serde(rename = "decidedTimestamp")]
    decided: i64,
}

impl From<&InterfaceIntent> for Creating {
    fn from(intent: &InterfaceIntent) -> Self {
        Self {
            subnet: intent.subnet.clone(),
            addresses: intent.addresses.0,
            prefixes: intent.prefixes.0,
            groups: intent.groups.clone(),
            token: intent.token.clone(),
            decided: to_nanoseconds(intent.decided),
        }
    }
}

impl From<Creating> for InterfaceIntent {
    fn from(creating: Creating) -> Self {
        Self {
            subnet: creating.subnet,
            addresses: Addresses(creating.addresses),
            prefixes: Prefixes(creating.prefixes),
            groups: creating.groups,
            token: creating.token,
            decided: from_nanoseconds(creating.decided),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Allocation {
    #[serde(rename = "networkName")]
    network: String,
    #[serde(rename = "containerID")]
    container: String,
    #[serde(rename = "ifName")]
    interface: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ipv4: Option<Ipv4Addr>,
    #[serde(rename = "allocationTimestamp", default)]
    since: i64,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Serialize, Deserialize)]
struct Metadata {
    #[serde(rename = "k8sPodNamespace", default, skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(rename = "k8sPodName", default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(rename = "interfacesCount", default, skip_serializing_if = "is_zero")]
    interfaces: u32,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// The text of the state, one line.
///
/// # Errors
/// Never in practice; the state has no form that JSON lacks.
pub fn encode(state: &CheckpointState) -> Result<Vec<u8>, serde_json::Error> {
    let file = File {
        version: VERSION.to_owned(),
        allocations: Some(state.allocations.iter().map(to_file).collect()),
        freeboard: Extra {
            cooling: state
                .cooling
                .iter()
                .map(|cooling| Cooling { ipv4: cooling.address, released: to_nanoseconds(cooling.released) })
                .collect(),
            conflicting: state.conflicting.iter().map(to_file).collect(),
            blocks: state.blocks.clone(),
            returned: state
                .returned
                .iter()
                .map(|entry| Returned { cidr: entry.block, returned: to_nanoseconds(entry.returned) })
                .collect(),
            creating: state.creating.iter().map(Creating::from).collect(),
        },
    };
    let mut text = serde_json::to_vec(&file)?;
    text.push(b'\n');
    Ok(text)
}

/// The state of the text. Allocations without an IPv4 address (of an IPv6 cluster) are left out.
///
/// # Errors
/// When the text is torn, corrupt, or of another version.
pub fn decode(text: &[u8]) -> Result<CheckpointState, CheckpointError> {
    #[derive(Deserialize)]
    struct Head {
        version: String,
    }
    // The version first: another version may have another form.
    let head: Head = serde_json::from_slice(text)?;
    if head.version != VERSION {
        return Err(CheckpointError::Version(head.version));
    }
    let file: File = serde_json::from_slice(text)?;
    let cooling = file.freeboard.cooling.into_iter();
    let returned = file.freeboard.returned.into_iter();
    Ok(CheckpointState {
        allocations: file.allocations.unwrap_or_default().into_iter().filter_map(from_file).collect(),
        conflicting: file.freeboard.conflicting.into_iter().filter_map(from_file).collect(),
        cooling: cooling
            .map(|cooling| RestoredCooling { address: cooling.ipv4, released: from_nanoseconds(cooling.released) })
            .collect(),
        blocks: file.freeboard.blocks,
        returned: returned
            .map(|entry| ReturnedBlock { block: entry.cidr, returned: from_nanoseconds(entry.returned) })
            .collect(),
        creating: file.freeboard.creating.into_iter().map(InterfaceIntent::from).collect(),
        ..CheckpointState::default()
    })
}

fn to_file(allocation: &RestoredAllocation) -> Allocation {
    let pod = allocation.pod.clone().unwrap_or_default();
    Allocation {
        network: allocation.key.network.clone(),
        container: allocation.key.container.clone(),
        interface: allocation.key.interface.clone(),
        ipv4: Some(allocation.address),
        since: to_nanoseconds(allocation.since),
        metadata: Metadata {
            interfaces: u32::from(allocation.pod.is_some()),
            namespace: pod.namespace,
            name: pod.name,
        },
    }
}

fn from_file(allocation: Allocation) -> Option<RestoredAllocation> {
    let Metadata { namespace, name, .. } = allocation.metadata;
    let known = !namespace.is_empty() || !name.is_empty();
    Some(RestoredAllocation {
        address: allocation.ipv4?,
        key: AttachmentKey {
            network: allocation.network,
            container: allocation.container,
            interface: allocation.interface,
        },
        pod: known.then(|| PodKey::new(namespace, name)),
        since: from_nanoseconds(allocation.since),
    })
}

fn to_nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

fn from_nanoseconds(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> CheckpointState {
        let allocation = |number: u8, pod: Option<PodKey>| RestoredAllocation {
            key: AttachmentKey { network: "aws-cni".into(), container: format!("c{number}"), interface: "eth0".into() },
            pod,
            address: Ipv4Addr::new(10, 0, 208, number),
            since: "2026-01-02T03:04:05.678901234Z".parse().unwrap(),
        };
        CheckpointState {
            allocations: vec![allocation(7, Some(PodKey::new("default", "web-0"))), allocation(8, None)],
            conflicting: vec![allocation(9, None)],
            cooling: vec![RestoredCooling {
                address: Ipv4Addr::new(10, 0, 208, 10),
                released: "2026-01-02T03:04:06Z".parse().unwrap(),
            }],
            blocks: vec!["10.4.0.0/24".parse().unwrap()],
            returned: vec![ReturnedBlock {
                block: "10.0.208.16/28".parse().unwrap(),
                returned: "2026-01-02T03:04:07Z".parse().unwrap(),
            }],
            creating: vec![InterfaceIntent {
                subnet: SubnetId::new("subnet-0a"),
                addresses: Addresses(9),
                prefixes: Prefixes::ZERO,
                groups: vec![SecurityGroupId::new("sg-0a")],
                token: "i-0a-1767323045678-7".to_owned(),
                decided: "2026-01-02T03:04:08Z".parse().unwrap(),
            }],
            ..CheckpointState::default()
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(decode(&encode(&state()).unwrap()).unwrap(), state());
    }

    #[test]
    fn the_text_is_the_incumbents_form() {
        let mut state = state();
        state = CheckpointState { allocations: state.allocations, ..CheckpointState::default() };
        state.allocations.truncate(1);
        assert_eq!(
            String::from_utf8(encode(&state).unwrap()).unwrap(),
            concat!(
                r#"{"version":"vpc-cni-ipam/1","allocations":[{"networkName":"aws-cni","containerID":"c7","#,
                r#""ifName":"eth0","ipv4":"10.0.208.7","allocationTimestamp":1767323045678901234,"#,
                r#""metadata":{"k8sPodNamespace":"default","k8sPodName":"web-0","interfacesCount":1}}]}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_file_of_the_incumbent_is_read() {
        let text = r#"{"version":"vpc-cni-ipam/1","allocations":null,"later":{"x":1}}"#;
        assert_eq!(decode(text.as_bytes()).unwrap(), CheckpointState::default());
        let text = r#"{"version":"vpc-cni-ipam/1","allocations":[{"networkName":"_migrated-from-cri","containerID":"a",
            "ifName":"unknown","ipv6":"fd00::1","allocationTimestamp":1,"metadata":{}}]}"#;
        assert_eq!(decode(text.as_bytes()).unwrap(), CheckpointState::default());
    }

    #[test]
    fn every_truncation_is_either_whole_or_corrupt() {
        let text = encode(&state()).unwrap();
        for length in 0..text.len() - 1 {
            assert!(matches!(decode(&text[..length]), Err(CheckpointError::Corrupt(_))), "{length}");
        }
        assert_eq!(decode(&text[..text.len() - 1]).unwrap(), state());
    }

    #[test]
    fn another_version_is_named() {
        let message = decode(br#"{"version":"vpc-cni-ipam/2","allocations":{"new":"form"}}"#).unwrap_err().to_string();
        assert_eq!(message, "the checkpoint is of version \"vpc-cni-ipam/2\"; expected vpc-cni-ipam/1");
    }
}
