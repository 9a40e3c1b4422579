//! The usage tree, as the first and third screenshot of the EKS demo show it, within 80 columns.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use freeboard_address::VpcId;
use freeboard_capacity::{RangeUsage, SubnetFacts, Usage, VpcFacts, usage_tree};
use freeboard_ec2::{CidrBlockState, DescribeSubnets, DescribeVpcs, Ec2Client, Filter};

/// Cells of the bar for 100 %.
const BAR_CELLS: u64 = 8;

/// Reads the usage of a VPC through the EC2 API.
pub(crate) async fn read(ec2: &Ec2Client, vpc: &VpcId) -> Result<Vec<RangeUsage>> {
    let vpcs = ec2.describe_vpcs(&DescribeVpcs { vpcs: vec![vpc.clone()], ..DescribeVpcs::default() }).await?;
    let filters = vec![Filter::new("vpc-id", [vpc.as_str()])];
    let subnets = ec2.describe_subnets(&DescribeSubnets { filters, ..DescribeSubnets::default() }).await?;
    let name = |tags: &BTreeMap<String, String>| tags.get("Name").cloned();
    let facts: Vec<SubnetFacts> = subnets
        .into_iter()
        .map(|subnet| SubnetFacts {
            name: name(&subnet.tags),
            id: subnet.id,
            zone: subnet.zone,
            cidr: subnet.cidr,
            free_addresses: u64::from(subnet.available_addresses.0),
        })
        .collect();
    let tree = vpcs.iter().flat_map(|vpc| {
        let associated = vpc.cidr_associations.iter().filter(|one| one.state.state == CidrBlockState::Associated);
        let mut blocks = vec![vpc.primary_cidr];
        blocks.extend(associated.map(|one| one.cidr).filter(|cidr| *cidr != vpc.primary_cidr));
        usage_tree(&VpcFacts { id: vpc.id.clone(), name: name(&vpc.tags), blocks }, &facts)
    });
    Ok(tree.collect())
}

/// Prints the tree.
pub(crate) fn show(tree: &[RangeUsage]) -> String {
    let mut text = format!("  {:<36} {:<15} {:>9}\n", "RANGE", "CIDR", "IP USAGE");
    for range in tree {
        let title = title(range.name.as_deref(), range.vpc.as_str(), 36);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {title:<36} {:<15} {:>9}", range.cidr, range.assigned_to_subnets);
        let last = range.subnets.len();
        for (index, subnet) in range.subnets.iter().enumerate() {
            let branch = if index + 1 == last { "└─" } else { "├─" };
            let title = self::title(subnet.name.as_deref(), subnet.id.as_str(), 33);
            let full = if subnet.usage.is_full() { " ✗ full" } else { "" };
            let _ = writeln!(
                text,
                "  {branch} {title:<33} {:<15} {:>9} {}{full}",
                subnet.cidr,
                subnet.usage,
                bar(subnet.usage)
            );
        }
    }
    text
}

/// The short end of a CloudFormation name (`…-PublicSubnet01`) and the id, cut to fit.
fn title(name: Option<&str>, id: &str, width: usize) -> String {
    let short = name.map(|name| name.rsplit_once("stack-").map_or(name, |(_, end)| end));
    let whole = match short {
        Some(short) => format!("{short} ({id})"),
        None => id.to_owned(),
    };
    if whole.chars().count() <= width { whole } else { short.unwrap_or(id).chars().take(width).collect() }
}

/// Eight cells for 100 %.
pub(crate) fn bar(usage: Usage) -> String {
    let eighths = (usage.basis_points() * BAR_CELLS * 8).div_ceil(10_000);
    let whole = usize::try_from(eighths / 8).unwrap_or(0);
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][usize::try_from(eighths % 8).unwrap_or(0)];
    format!("{}{part}", "█".repeat(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_fits_80_columns_and_marks_full_subnets_with_a_word() {
        let subnet = |id: &str, name: &str, cidr: &str, free| SubnetFacts {
            id: freeboard_address::SubnetId::new(id),
            name: Some(name.to_owned()),
            zone: "ap-southeast-2a".into(),
            cidr: cidr.parse().unwrap(),
            free_addresses: free,
        };
        let vpc = VpcFacts {
            id: VpcId::new("vpc-0f3a9ca141c0acd04"),
            name: Some("eks-demo-ip-vpc-stack-VPC".into()),
            blocks: vec!["10.0.0.0/16".parse().unwrap()],
        };
        let tree = usage_tree(
            &vpc,
            &[
                subnet("subnet-0cd55c38980375d58", "eks-demo-ip-vpc-stack-PublicSubnet01", "10.0.208.0/27", 0),
                subnet("subnet-0bae4d2bf017995b8", "eks-demo-ip-vpc-stack-PrivateSubnet01", "10.0.186.0/27", 26),
            ],
        );
        let text = show(&tree);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let full: Vec<&str> = text.lines().filter(|line| line.contains("full")).collect();
        assert_eq!(full.len(), 1);
        assert!(full[0].contains("PublicSubnet01") && full[0].contains("100.00 %"), "{text}");
        assert!(text.contains("18.75 %"), "{text}");
    }
}
