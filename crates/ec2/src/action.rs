//! The EC2 actions that this client makes: name, budget and what a repeated call does, one declaration each.

use std::fmt;

/// What happens when a call is made again after its answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The second call has the same result: reads, tags, modifications, calls with a `ClientToken`.
    Same,
    /// The second call fails with "not found" when the first took effect, which is then the wanted result.
    GoneMeansDone,
    /// The second call would do it twice, or fail on the effect of the first; only a look at the cloud can tell.
    Never,
}

/// A server-side token bucket: how many calls at once, and how many more per second.
///
/// Figures of "Request throttling for the Amazon EC2 API" (cloud-rules B.7), per account, Region and action.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limit {
    pub(crate) capacity_calls: f64,
    pub(crate) refill_calls_per_second: f64,
}

const fn limit(capacity_calls: f64, refill_calls_per_second: f64) -> Limit {
    Limit { capacity_calls, refill_calls_per_second }
}

const READ: Limit = limit(100.0, 20.0);
const MUTATE: Limit = limit(50.0, 5.0);
const ADDRESS: Limit = limit(100.0, 5.0);
const TAG: Limit = limit(100.0, 10.0);
const RESERVE: Limit = limit(5.0, 1.0);
const RUN: Limit = limit(5.0, 2.0);

macro_rules! actions {
    ($($name:ident, $limit:ident, $repeat:ident;)*) => {
        /// An EC2 action; the variant's name is the name on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the names are EC2's own and need no second description")]
        pub enum Action { $($name,)* }

        impl Action {
            /// Every action, for metric labels and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What a repeated call does.
            #[must_use]
            pub fn repeat(self) -> Repeat {
                match self { $(Self::$name => Repeat::$repeat,)* }
            }

            pub(crate) fn limit(self) -> Limit {
                match self { $(Self::$name => $limit,)* }
            }
        }
    };
}

actions! {
    AssignPrivateIpAddresses, ADDRESS, Never;
    AssociateRouteTable, MUTATE, Never;
    AssociateVpcCidrBlock, MUTATE, Never;
    AttachNetworkInterface, MUTATE, Never;
    CreateNetworkInterface, ADDRESS, Same;
    CreateSubnet, MUTATE, Never;
    CreateSubnetCidrReservation, RESERVE, Never;
    CreateTags, TAG, Same;
    DeleteNetworkInterface, ADDRESS, GoneMeansDone;
    DeleteSubnet, MUTATE, GoneMeansDone;
    DeleteSubnetCidrReservation, RESERVE, Never;
    DescribeAvailabilityZones, READ, Same;
    DescribeInstanceTypes, READ, Same;
    DescribeInstances, READ, Same;
    DescribeNetworkInterfaces, READ, Same;
    DescribeRouteTables, READ, Same;
    DescribeSecurityGroups, READ, Same;
    DescribeSubnets, READ, Same;
    DescribeTags, READ, Same;
    DescribeVpcPeeringConnections, READ, Same;
    DescribeVpcs, READ, Same;
    DetachNetworkInterface, MUTATE, GoneMeansDone;
    DisassociateRouteTable, MUTATE, GoneMeansDone;
    DisassociateVpcCidrBlock, MUTATE, Never;
    GetSubnetCidrReservations, READ, Same;
    ModifyNetworkInterfaceAttribute, ADDRESS, Same;
    RunInstances, RUN, Same;
    TerminateInstances, ADDRESS, Same;
    UnassignPrivateIpAddresses, ADDRESS, Never;
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
