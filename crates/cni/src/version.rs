//! Versions of the CNI specification.

use crate::failure::{Code, Failure};

/// Every version that the plugin speaks, oldest first.
pub(crate) const SUPPORTED: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// The version of reports when the configuration names none.
pub(crate) const LATEST: &str = "1.1.0";
/// What a configuration without a version means.
const UNNAMED: &str = "0.1.0";

/// A version that the plugin speaks; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(usize);

impl Version {
    pub(crate) const V0_4: Self = Self(2);
    pub(crate) const V1_0: Self = Self(3);
    pub(crate) const V1_1: Self = Self(4);

    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let text = text.unwrap_or(UNNAMED);
        SUPPORTED.iter().position(|supported| *supported == text).map(Self).ok_or_else(|| {
            Failure::new(
                Code::IncompatibleVersion,
                format!("cniVersion {text:?} is not supported: expected one of {}", SUPPORTED.join(", ")),
                "set cniVersion in the network configuration list, usually 10-aws.conflist",
            )
        })
    }

    pub(crate) fn as_str(self) -> &'static str {
        SUPPORTED[self.0]
    }
}
