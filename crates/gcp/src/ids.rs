//! Typed names: the same text in two roles is two types, and a name is unique only within its key.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// The longest name of a resource, in characters.
const LONGEST_NAME: usize = 63;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name with this text; the text is taken as it is.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

names! {
    /// A project, like `demo-project`.
    ProjectId;
    /// A VPC network.
    NetworkName;
    /// A subnetwork, unique in its region.
    SubnetworkName;
    /// A secondary range of a subnetwork.
    RangeName;
    /// A virtual machine, unique in its zone.
    InstanceName;
    /// A managed instance group, unique in its zone.
    GroupName;
    /// A cluster, unique in its location.
    ClusterName;
    /// A node pool, unique in its cluster.
    PoolName;
    /// A region, like `australia-southeast1`.
    Region;
    /// A zone, like `australia-southeast1-b`.
    Zone;
    /// Where a cluster lives: a zone or a region.
    Location;
}

impl Zone {
    /// The region of the zone: its name without the last part.
    #[must_use]
    pub fn region(&self) -> Region {
        Region::new(self.as_str().rsplit_once('-').map_or(self.as_str(), |(region, _)| region))
    }
}

impl Location {
    /// The zone, when the location is one: zones have three parts, regions two.
    #[must_use]
    pub fn zone(&self) -> Option<Zone> {
        (self.as_str().matches('-').count() == 2).then(|| Zone::new(self.as_str()))
    }

    /// The region that the location is, or lies in.
    #[must_use]
    pub fn region(&self) -> Region {
        self.zone().map_or_else(|| Region::new(self.as_str()), |zone| zone.region())
    }
}

macro_rules! keys {
    ($($(#[$doc:meta])* $key:ident { $place:ident: $place_type:ident, $name_type:ident }, $path:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $key {
            /// Where it lives.
            pub $place: $place_type,
            /// Its name there.
            pub name: $name_type,
        }

        impl $key {
            /// The resource of this name in this place.
            #[must_use]
            pub fn new($place: $place_type, name: $name_type) -> Self {
                Self { $place, name }
            }

            /// Its path, like `projects/P/…`.
            #[must_use]
            pub fn path(&self, project: &ProjectId) -> String {
                format!($path, project, self.$place, self.name)
            }
        }
    )*};
}

keys! {
    /// A subnetwork of the project.
    SubnetworkKey { region: Region, SubnetworkName }, "projects/{}/regions/{}/subnetworks/{}";
    /// A virtual machine of the project.
    InstanceKey { zone: Zone, InstanceName }, "projects/{}/zones/{}/instances/{}";
    /// A managed instance group of the project.
    GroupKey { zone: Zone, GroupName }, "projects/{}/zones/{}/instanceGroupManagers/{}";
    /// A cluster of the project.
    ClusterKey { location: Location, ClusterName }, "projects/{}/locations/{}/clusters/{}";
}

/// A node pool of the project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey {
    /// Its cluster.
    pub cluster: ClusterKey,
    /// Its name in the cluster.
    pub name: PoolName,
}

impl PoolKey {
    /// The pool of this name in this cluster.
    #[must_use]
    pub fn new(cluster: ClusterKey, name: PoolName) -> Self {
        Self { cluster, name }
    }

    /// Its path, like `projects/P/locations/L/clusters/C/nodePools/N`.
    #[must_use]
    pub fn path(&self, project: &ProjectId) -> String {
        format!("{}/nodePools/{}", self.cluster.path(project), self.name)
    }
}

/// Checks a name as RFC 1035 has it: 1 to 63 lower-case letters, digits and hyphens, a letter first, no hyphen last.
///
/// # Errors
/// [`Status::InvalidArgument`](crate::Status::InvalidArgument) that quotes the name.
pub fn check_name(field: &str, name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if starts_well && name.len() <= LONGEST_NAME && name.chars().all(allowed) && !name.ends_with('-') {
        return Ok(());
    }
    let reason = "Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'";
    Err(ApiError::invalid_field(field, name, reason))
}
