//! Typed ids: the same text in two roles is two types.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The id with this text; the text is taken as it is.
            pub fn new(text: impl Into<std::sync::Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text of the id.
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

ids! {
    /// An elastic network interface, `eni-…`.
    EniId;
    /// The attachment of an interface to an instance, `eni-attach-…`.
    AttachmentId;
    /// A subnet, `subnet-…`.
    SubnetId;
    /// A virtual private cloud, `vpc-…`.
    VpcId;
    /// An instance, `i-…`.
    InstanceId;
    /// A security group, `sg-…`.
    SecurityGroupId;
    /// A route table, `rtb-…`.
    RouteTableId;
    /// The association of a CIDR block with a VPC (`vpc-cidr-assoc-…`) or of a route table with a subnet (`rtbassoc-…`).
    AssociationId;
    /// A subnet CIDR reservation, `scr-…`.
    ReservationId;
    /// The name of a Kubernetes node.
    NodeName;
    /// The uid of a Kubernetes node: a node that is deleted and created again under its name has another one.
    NodeUid;
    /// The name of a node pool.
    NodePoolName;
    /// The name of a range of pod addresses, for example of a `PodRange`.
    RangeName;
}

/// A pod, by namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodKey {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
}

impl PodKey {
    /// The pod `namespace/name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One interface of one sandbox, as CNI names it: the key under which an address is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttachmentKey {
    /// The CNI network name, for example `aws-cni`.
    pub network: String,
    /// The sandbox's container id.
    pub container: String,
    /// The interface name inside the pod, for example `eth0`.
    pub interface: String,
}

impl fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.container, self.interface)
    }
}
