//! What the simulated EC2 and the lab's agents tell of themselves, as the same facts that a dump of theirs would give.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use freeboard_address::Cidr;
use freeboard_diagnosis::{
    Citation, Cited, Facts, Instance, Interface, Kind, Peering, PeeringSide, RouteTable, Subnet, Vpc, VpcBlock,
};
use freeboard_ec2::{
    DescribeInstances, DescribeNetworkInterfaces, DescribeRouteTables, DescribeSubnets, DescribeVpcPeeringConnections,
    DescribeVpcs, Ec2Client, Ec2Config,
};
use freeboard_evidence::{Collector, inventory, read_piece};
use http::Uri;

use crate::input::{Input, Output, Sources};

/// The tag by which the CNI marks its interfaces.
const CNI_TAG: &str = "node.k8s.amazonaws.com/instance_id";
/// How a tag begins that names the cluster of an instance.
const CLUSTER_TAG: &str = "kubernetes.io/cluster/";

/// Where something answers.
#[derive(Clone, Debug, Args)]
pub(crate) struct Live {
    /// Ask this EC2 API, for example that of `freeboard vpc serve`, instead of reading files
    #[arg(long, value_name = "URL", conflicts_with_all = ["paths", "described"])]
    pub(crate) ec2: Option<String>,
    /// The region to sign calls for
    #[arg(long, value_name = "REGION", requires = "ec2", default_value = "us-west-2")]
    region: String,
    /// Ask the agent of a node too (its INTROSPECTION_BIND_ADDRESS); may be repeated
    #[arg(long, value_name = "URL")]
    agent: Vec<Uri>,
}

impl Live {
    /// What answers, if anything was named; else the files.
    ///
    /// # Errors
    /// Nothing answers, or the files cannot be read.
    pub(crate) fn or_read(&self, sources: &Sources, command: &str, output: Output) -> Result<Input> {
        if self.ec2.is_none() && self.agent.is_empty() {
            return sources.read(command, output);
        }
        self.ask()
    }

    /// A client of the API that was named.
    ///
    /// # Errors
    /// None was named, or the URL is none.
    pub(crate) fn client(&self) -> Result<Ec2Client> {
        let Some(endpoint) = &self.ec2 else { bail!("--ec2 names no API") };
        Ok(Ec2Client::new(Ec2Config::for_endpoint(self.region.as_str(), endpoint.as_str(), "freeboard", "freeboard"))?)
    }

    /// Asks everything that was named.
    ///
    /// # Errors
    /// Something does not answer.
    pub(crate) fn ask(&self) -> Result<Input> {
        let mut collector = Collector::new();
        for agent in &self.agent {
            let body = crate::explain::ask(agent, "/v1/enis")?;
            read_piece(&mut collector, &format!("{agent}v1/enis"), &mut body.as_bytes());
        }
        let mut evidence = collector.finish();
        if let Some(endpoint) = &self.ec2 {
            let client = self.client()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime
                .block_on(describe(&client, endpoint, &mut evidence.facts))
                .with_context(|| format!("cannot read the network from {endpoint}"))?;
        }
        let mut named: Vec<String> = self.ec2.iter().map(|endpoint| format!("--ec2 {endpoint}")).collect();
        named.extend(self.agent.iter().map(|agent| format!("--agent {agent}")));
        let inventory = inventory(&evidence.facts);
        Ok(Input { evidence, inventory, named: named.join(" ") })
    }
}

/// A fact that an API told.
fn cited<T>(fact: T, endpoint: &str, kind: Kind, id: &str) -> Cited<T> {
    Cited { fact, citation: Citation { file: Arc::from(endpoint), line: None, kind, excerpt: Arc::from(id) } }
}

async fn describe(client: &Ec2Client, endpoint: &str, facts: &mut Facts) -> Result<()> {
    facts.kinds.extend([Kind::Ec2Vpcs, Kind::Ec2Subnets, Kind::Ec2Interfaces, Kind::Ec2Instances]);
    for vpc in client.describe_vpcs(&DescribeVpcs::default()).await? {
        let block = |cidr: Cidr, state: Option<String>| VpcBlock { cidr, state };
        let mut blocks = vec![block(vpc.primary_cidr, None)];
        let further = vpc.cidr_associations.iter().filter(|one| one.cidr != vpc.primary_cidr);
        blocks.extend(further.map(|one| block(one.cidr, Some(one.state.state.as_str().to_owned()))));
        blocks.retain(|one| !matches!(one.state.as_deref(), Some("disassociating" | "disassociated")));
        let id = vpc.id.to_string();
        let read = Vpc { blocks, name: vpc.tags.get("Name").cloned() };
        facts.vpcs.insert(vpc.id, cited(read, endpoint, Kind::Ec2Vpcs, &id));
    }
    for subnet in client.describe_subnets(&DescribeSubnets::default()).await? {
        let id = subnet.id.to_string();
        let read = Subnet {
            cidr: subnet.cidr,
            zone: Some(subnet.zone),
            free_addresses: Some(u64::from(subnet.available_addresses.0)),
            name: subnet.tags.get("Name").map(|name| freeboard_evidence::short_name(name)),
            vpc: Some(subnet.vpc),
            cni_role: subnet.tags.get("kubernetes.io/role/cni").cloned(),
        };
        facts.subnets.insert(subnet.id, cited(read, endpoint, Kind::Ec2Subnets, &id));
    }
    interfaces(client, endpoint, facts).await?;
    for instance in client.describe_instances(&DescribeInstances::default()).await? {
        let id = instance.id.to_string();
        let read = Instance {
            instance_type: Some(instance.instance_type),
            zone: Some(instance.placement.zone),
            address: instance.private_ip_address,
            private_name: Some(instance.private_dns_name).filter(|name| !name.is_empty()),
            state: instance.state.name.as_str().to_owned(),
            cluster: instance.tags.keys().find_map(|key| key.strip_prefix(CLUSTER_TAG)).map(str::to_owned),
        };
        facts.instances.insert(instance.id, cited(read, endpoint, Kind::Ec2Instances, &id));
    }
    neighbours(client, endpoint, facts).await
}

async fn interfaces(client: &Ec2Client, endpoint: &str, facts: &mut Facts) -> Result<()> {
    for interface in client.describe_network_interfaces(&DescribeNetworkInterfaces::default()).await? {
        let id = interface.id.to_string();
        let single = interface.secondary_addresses().map(Cidr::host);
        let prefixes = interface.prefixes.iter().map(|one| one.prefix);
        let secondary: Vec<Cidr> = single.chain(prefixes).collect();
        let own = interface
            .primary_address
            .or_else(|| interface.addresses.iter().find(|address| address.primary).map(|address| address.address));
        let read = Interface {
            subnet: Some(interface.subnet),
            status: interface.status.as_str().to_owned(),
            instance: interface.attachment.and_then(|attachment| attachment.instance),
            addresses: 1 + secondary.iter().map(|block| block.size()).sum::<u64>(),
            primary: own,
            secondary,
            made_by_cni: interface.tags.contains_key(CNI_TAG) || interface.description.starts_with("aws-K8S-"),
            description: interface.description,
        };
        facts.interfaces.insert(interface.id, cited(read, endpoint, Kind::Ec2Interfaces, &id));
    }
    Ok(())
}

async fn neighbours(client: &Ec2Client, endpoint: &str, facts: &mut Facts) -> Result<()> {
    for table in client.describe_route_tables(&DescribeRouteTables::default()).await? {
        let id = table.id.to_string();
        let routes = table.routes.iter().filter(|route| route.gateway_id.as_deref() != Some("local"));
        let read = RouteTable {
            vpc: Some(table.vpc),
            subnets: table.associations.iter().filter_map(|one| one.subnet.clone()).collect(),
            destinations: routes.filter_map(|route| route.destination).filter(|one| one.length() > 0).collect(),
        };
        facts.route_tables.insert(table.id, cited(read, endpoint, Kind::AwsAnswer, &id));
    }
    for peering in client.describe_vpc_peering_connections(&DescribeVpcPeeringConnections::default()).await? {
        let side = |side: freeboard_ec2::PeeringSide| PeeringSide {
            vpc: side.vpc_id,
            blocks: side.cidrs.iter().map(|one| one.cidr).collect(),
        };
        let read = Peering {
            status: peering.status.code.clone(),
            requester: side(peering.requester),
            accepter: side(peering.accepter),
        };
        facts.peerings.insert(peering.id.clone(), cited(read, endpoint, Kind::AwsAnswer, &peering.id));
    }
    Ok(())
}
