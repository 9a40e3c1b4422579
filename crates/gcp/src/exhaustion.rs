//! The words in which the cloud says that a range has no block left, and how to read the range out of them.
//!
//! Google names a secondary range in disguise: `<subnet, at most 15>-<range, at most 15>-<hash>` where a subnetwork's name is
//! expected. So the message does tell pod addresses from node addresses, although no event of Kubernetes repeats it.

use freeboard_address::Cidr;

use crate::cloud::GoogleCloud;
use crate::error::{ApiError, Status};
use crate::ids::{InstanceName, RangeName, SubnetworkKey};
use crate::world::ExhaustionAnswer;

/// The longest piece of a name in the disguise, in characters.
const LONGEST_PIECE: usize = 15;
/// Hexadecimal digits of the hash.
const HASH_DIGITS: usize = 16;

/// A range that has no block left for a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpSpaceExhausted {
    /// The machine that is not made.
    pub instance: InstanceName,
    /// The subnetwork of the range.
    pub subnetwork: SubnetworkKey,
    /// The secondary range; none for the primary one.
    pub range: Option<RangeName>,
    /// The addresses of the range.
    pub cidr: Cidr,
}

/// What a message of exhaustion speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExhaustedPlace {
    /// The subnetwork of the range.
    pub subnetwork: SubnetworkKey,
    /// The secondary range: pod addresses ran out. None for the primary range: node addresses ran out.
    pub range: Option<RangeName>,
}

impl IpSpaceExhausted {
    /// The refusal in Google's words, with or without the range.
    #[must_use]
    pub fn error(&self, project: &str, answer: ExhaustionAnswer) -> ApiError {
        let name = match &self.range {
            None => self.subnetwork.name.to_string(),
            Some(range) => disguised(&self.subnetwork, range),
        };
        let mut message = format!(
            "Instance '{}' creation failed: IP space of 'projects/{project}/regions/{}/subnetworks/{name}' is exhausted.",
            self.instance, self.subnetwork.region
        );
        if !answer.has_details() {
            return ApiError::new(Status::IpSpaceExhausted, message);
        }
        message.push_str(&format!(
            " Insufficient free IP addresses in the IP range '{}'. Consider expanding the current IP range, selecting an \
             alternative IP range, or adding a secondary range to the subnet.",
            self.cidr
        ));
        ApiError::new(Status::IpSpaceExhaustedWithDetails, message)
    }
}

/// A secondary range where the name of a subnetwork is expected.
fn disguised(subnetwork: &SubnetworkKey, range: &RangeName) -> String {
    let hash = crate::cloud::hash(&[subnetwork.region.as_str(), subnetwork.name.as_str(), range.as_str()]);
    format!("{}-{}-{hash:016x}", piece(subnetwork.name.as_str()), piece(range.as_str()))
}

fn piece(name: &str) -> &str {
    // Names are ASCII, so any place is a border between characters.
    name.get(..LONGEST_PIECE).unwrap_or(name)
}

impl GoogleCloud {
    /// Reads which range a message of exhaustion speaks of; none when it speaks of none that is known here.
    ///
    /// Only names are compared, not the hash, whose rule is Google's own.
    #[must_use]
    pub fn exhausted_place(&self, message: &str) -> Option<ExhaustedPlace> {
        let (_, rest) = message.split_once("IP space of 'projects/")?;
        let (path, _) = rest.split_once('\'')?;
        let (_, place) = path.split_once("/regions/")?;
        let (region, name) = place.split_once("/subnetworks/")?;
        let in_region = || self.subnetworks.values().filter(|subnetwork| subnetwork.key.region.as_str() == region);
        if let Some(subnetwork) = in_region().find(|subnetwork| subnetwork.key.name.as_str() == name) {
            return Some(ExhaustedPlace { subnetwork: subnetwork.key.clone(), range: None });
        }
        let (pieces, hash) = name.rsplit_once('-')?;
        if hash.len() != HASH_DIGITS || !hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let ranges =
            in_region().flat_map(|subnetwork| subnetwork.secondary.iter().map(move |range| (subnetwork, range)));
        ranges
            .filter(|(subnetwork, range)| {
                let subnetwork = piece(subnetwork.key.name.as_str());
                pieces.strip_prefix(subnetwork).and_then(|rest| rest.strip_prefix('-'))
                    == Some(piece(range.name.as_str()))
            })
            .map(|(subnetwork, range)| ExhaustedPlace {
                subnetwork: subnetwork.key.clone(),
                range: Some(range.name.clone()),
            })
            .next()
    }
}
