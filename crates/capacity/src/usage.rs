//! The usage tree: each VPC block and the subnets inside it, with figures as the IPAM page of the AWS console shows them.

use std::fmt;

use freeboard_address::{Cidr, SubnetId, VpcId};
use serde::Serialize;

use crate::RESERVED_PER_SUBNET;

/// A part of a whole, in addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Addresses in use; in a subnet the five reserved ones count.
    pub used: u64,
    /// Addresses in all.
    pub size: u64,
}

impl Usage {
    /// Hundredths of a per cent, rounded half to even as the console does: 21 of 32 is 65.62 %, not 65.63 %.
    #[must_use]
    pub fn basis_points(self) -> u64 {
        if self.size == 0 {
            return 0;
        }
        let scaled = u128::from(self.used) * 10_000;
        let size = u128::from(self.size);
        let (whole, rest) = (scaled / size, scaled % size);
        let up = match (rest * 2).cmp(&size) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => whole % 2 == 1,
            std::cmp::Ordering::Greater => true,
        };
        u64::try_from(whole + u128::from(up)).unwrap_or(u64::MAX)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.used >= self.size
    }
}

impl fmt::Display for Usage {
    /// Per cent with two decimals, for example `65.62 %`; honours a width.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = self.basis_points();
        f.pad(&format!("{}.{:02} %", points / 100, points % 100))
    }
}

/// What is known of a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcFacts {
    /// The VPC.
    pub id: VpcId,
    /// Its `Name` tag, if it has one.
    pub name: Option<String>,
    /// Its associated blocks, the primary one first.
    pub blocks: Vec<Cidr>,
}

/// What is known of a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetFacts {
    /// The subnet.
    pub id: SubnetId,
    /// Its `Name` tag, if it has one.
    pub name: Option<String>,
    /// Its availability zone.
    pub zone: String,
    /// Its block.
    pub cidr: Cidr,
    /// Free addresses, as EC2 counts them (the five reserved ones are not free).
    pub free_addresses: u64,
}

/// One block of a VPC and what of it is assigned to subnets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RangeUsage {
    /// The VPC.
    pub vpc: VpcId,
    /// Its name.
    pub name: Option<String>,
    /// The block.
    pub cidr: Cidr,
    /// Whether it is the VPC's primary block.
    pub primary: bool,
    /// Addresses assigned to subnets, of the block's.
    pub assigned_to_subnets: Usage,
    /// The subnets in the block, by address.
    pub subnets: Vec<SubnetUsage>,
}

/// One subnet and what of it is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubnetUsage {
    /// The subnet.
    pub id: SubnetId,
    /// Its name.
    pub name: Option<String>,
    /// Its zone.
    pub zone: String,
    /// Its block.
    pub cidr: Cidr,
    /// Addresses in use, the five reserved ones included.
    pub usage: Usage,
    /// Free addresses.
    pub free_addresses: u64,
    /// Addresses that anything but EC2 itself may use.
    pub usable_addresses: u64,
}

/// The tree for one VPC: a branch per block in the order given, a leaf per subnet in address order. A subnet outside every
/// block (its association may just be going) is left out.
#[must_use]
pub fn usage_tree(vpc: &VpcFacts, subnets: &[SubnetFacts]) -> Vec<RangeUsage> {
    let branch = |(index, cidr): (usize, &Cidr)| {
        let mut inside: Vec<SubnetUsage> =
            subnets.iter().filter(|subnet| cidr.contains_block(subnet.cidr)).map(leaf).collect();
        inside.sort_by_key(|subnet| subnet.cidr);
        RangeUsage {
            vpc: vpc.id.clone(),
            name: vpc.name.clone(),
            cidr: *cidr,
            primary: index == 0,
            assigned_to_subnets: Usage { used: inside.iter().map(|s| s.cidr.size()).sum(), size: cidr.size() },
            subnets: inside,
        }
    };
    vpc.blocks.iter().enumerate().map(branch).collect()
}

fn leaf(subnet: &SubnetFacts) -> SubnetUsage {
    let size = subnet.cidr.size();
    SubnetUsage {
        id: subnet.id.clone(),
        name: subnet.name.clone(),
        zone: subnet.zone.clone(),
        cidr: subnet.cidr,
        usage: Usage { used: size.saturating_sub(subnet.free_addresses), size },
        free_addresses: subnet.free_addresses,
        usable_addresses: size.saturating_sub(RESERVED_PER_SUBNET),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(used: u64, size: u64) -> String {
        Usage { used, size }.to_string()
    }

    #[test]
    fn percentages_are_those_of_the_screenshots() {
        let shown = [
            (32, 32, "100.00 %"),
            (6, 32, "18.75 %"),
            (23, 32, "71.88 %"),
            (21, 32, "65.62 %"),
            (21, 256, "8.20 %"),
            (29, 256, "11.33 %"),
            (128, 65_536, "0.20 %"),
            (512, 4_096, "12.50 %"),
            (0, 0, "0.00 %"),
        ];
        for (used, size, text) in shown {
            assert_eq!(percent(used, size), text, "{used} of {size}");
        }
    }

    #[test]
    fn a_branch_per_block_and_a_leaf_per_subnet_in_address_order() {
        let subnet = |id: &str, cidr: &str, free| SubnetFacts {
            id: SubnetId::new(id),
            name: None,
            zone: "ap-southeast-2a".into(),
            cidr: cidr.parse().unwrap(),
            free_addresses: free,
        };
        let vpc = VpcFacts {
            id: VpcId::new("vpc-0f3a9ca141c0acd04"),
            name: None,
            blocks: vec!["10.0.0.0/16".parse().unwrap(), "100.64.0.0/20".parse().unwrap()],
        };
        let subnets = [
            subnet("subnet-d", "10.0.208.0/27", 0),
            subnet("subnet-x", "192.168.0.0/24", 1),
            subnet("subnet-b", "10.0.186.0/27", 26),
            subnet("subnet-e", "100.64.1.0/24", 235),
        ];
        let tree = usage_tree(&vpc, &subnets);
        let lines: Vec<String> = tree
            .iter()
            .flat_map(|range| {
                let leaves = range.subnets.iter().map(|s| format!("  {} {}", s.cidr, s.usage));
                std::iter::once(format!("{} {}", range.cidr, range.assigned_to_subnets)).chain(leaves)
            })
            .collect();
        assert_eq!(
            lines,
            [
                "10.0.0.0/16 0.10 %",
                "  10.0.186.0/27 18.75 %",
                "  10.0.208.0/27 100.00 %",
                "100.64.0.0/20 6.25 %",
                "  100.64.1.0/24 8.20 %"
            ]
        );
        assert!(tree[0].primary && !tree[1].primary);
        assert!(tree[0].subnets[1].usage.is_full());
        assert_eq!(tree[0].subnets[1].usable_addresses, 27);
    }
}
