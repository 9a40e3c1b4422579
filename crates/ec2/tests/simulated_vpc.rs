//! The client against the simulated VPC: the demo's story, told through our own client, with signatures verified.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use freeboard_address::{Addresses, AttachmentId, Cidr, EniId, InstanceId, Prefixes, SubnetId, VpcId};
use freeboard_ec2::*;
use freeboard_vpc::Fault;
use freeboard_vpc_server::{Announcement, ServeOptions, Server};

const VPC: &str = "vpc-0f3a9ca141c0acd04";
/// A t3.medium (3 interfaces of 6 addresses) in the public subnet of zone a.
const NODE: &str = "i-0a31c7d5e9f208b46";
/// 10.0.208.0/27: 27 usable addresses, three taken by the nodes themselves, and no /28 that is free of reserved addresses.
const PUBLIC: &str = "subnet-0cd55c38980375d58";
/// How long something that the simulated cloud does "soon" may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

struct World {
    server: Server,
    listening: Announcement,
    client: Ec2Client,
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl World {
    async fn start() -> Self {
        let options = ServeOptions {
            world: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../worlds/eks-demo.yaml")),
            ec2: any_port(),
            imds_base_port: None,
            control: any_port(),
            access_key: Some("AKIDEXAMPLE".to_owned()),
            secret_key: Some("a secret".to_owned()),
            speed: Some(50.0),
        };
        let (server, listening) = freeboard_vpc_server::start(options).await.unwrap();
        let client = Ec2Client::new(Self::config(&listening, "a secret")).unwrap();
        Self { server, listening, client }
    }

    fn config(listening: &Announcement, secret: &str) -> Ec2Config {
        let endpoint = format!("http://{}", listening.ec2);
        Ec2Config::for_endpoint(&listening.region, endpoint, "AKIDEXAMPLE", secret)
    }

    fn metadata(&self) -> ImdsClient {
        let endpoint = format!("http://{}", self.listening.imds[&InstanceId::new(NODE)]);
        ImdsClient::new(ImdsConfig { endpoint, ..ImdsConfig::default() }).unwrap()
    }

    fn inject(&self, fault: &Fault) {
        self.server.with_cloud(|cloud, now| cloud.inject(fault, now)).unwrap();
    }

    async fn free(&self, subnet: &str) -> u32 {
        let request = DescribeSubnets { subnets: vec![SubnetId::new(subnet)], ..DescribeSubnets::default() };
        self.client.describe_subnets(&request).await.unwrap()[0].available_addresses.0
    }

    async fn interface(&self, id: &EniId) -> NetworkInterface {
        let request =
            DescribeNetworkInterfaces { interfaces: vec![id.clone()], ..DescribeNetworkInterfaces::default() };
        self.client.describe_network_interfaces(&request).await.unwrap().remove(0)
    }

    async fn create(&self, subnet: &str, take: Option<Take>) -> Result<NetworkInterface, Ec2Error> {
        let mut request = CreateNetworkInterface::new(SubnetId::new(subnet));
        request.description = Some(format!("aws-K8S-{NODE}"));
        request.tags = BTreeMap::from([("node.k8s.amazonaws.com/instance_id".to_owned(), NODE.to_owned())]);
        request.take = take;
        self.client.create_network_interface(&request).await
    }

    async fn attach(&self, interface: &EniId, device_index: u32) -> Result<AttachmentId, Ec2Error> {
        let (interface, instance) = (interface.clone(), InstanceId::new(NODE));
        let request = AttachNetworkInterface { interface, instance, device_index, network_card: None };
        self.client.attach_network_interface(&request).await
    }

    async fn attached(&self, interface: &EniId) {
        until("the interface is attached", async || {
            let status = self.interface(interface).await.attachment.map(|attachment| attachment.status);
            status == Some(AttachmentStatus::Attached)
        })
        .await;
    }

    async fn assign(&self, interface: &EniId, take: Take) -> Result<Assigned, Ec2Error> {
        let request = AssignPrivateIpAddresses { interface: interface.clone(), take, allow_reassignment: false };
        self.client.assign_private_ip_addresses(&request).await
    }

    async fn cidr_state(&self, cidr: Cidr) -> Option<CidrBlockState> {
        let request = DescribeVpcs { vpcs: vec![VpcId::new(VPC)], ..DescribeVpcs::default() };
        let vpc = self.client.describe_vpcs(&request).await.unwrap().remove(0);
        let association = vpc.cidr_associations.into_iter().find(|association| association.cidr == cidr);
        association.map(|association| association.state.state)
    }
}

/// Asks again until it is so; fails when that takes too long.
async fn until(what: &str, so: impl AsyncFn() -> bool) {
    let ask = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while !so().await {
            pace.tick().await;
        }
    };
    assert!(tokio::time::timeout(SOON, ask).await.is_ok(), "it did not come about that {what}");
}

fn class<T: std::fmt::Debug>(outcome: Result<T, Ec2Error>) -> ErrorClass {
    outcome.unwrap_err().class
}

#[tokio::test]
async fn an_interface_grows_to_its_limit_and_shows_in_the_metadata() {
    let world = World::start().await;
    let metadata = world.metadata();
    let identity = metadata.instance_identity().await.unwrap();
    assert_eq!((identity.instance.as_str(), identity.instance_type.as_str()), (NODE, "t3.medium"));
    assert_eq!((identity.region.as_str(), identity.zone.as_str()), ("ap-southeast-2", "ap-southeast-2a"));
    assert_eq!(world.free(PUBLIC).await, 24);

    let interface = world.create(PUBLIC, Some(Take::Addresses(Addresses(2)))).await.unwrap();
    assert_eq!(interface.secondary_addresses().count(), 2);
    let attachment = world.attach(&interface.id, 1).await.unwrap();
    let change = InterfaceChange::DeleteOnTermination { attachment, delete: true };
    let request = ModifyNetworkInterfaceAttribute { interface: interface.id.clone(), change };
    world.client.modify_network_interface_attribute(&request).await.unwrap();
    world.attached(&interface.id).await;
    assert!(world.interface(&interface.id).await.attachment.unwrap().delete_on_termination);

    let assigned = world.assign(&interface.id, Take::Addresses(Addresses(3))).await.unwrap();
    assert_eq!(assigned.addresses.len(), 3);
    assert_eq!(class(world.assign(&interface.id, Take::Addresses(Addresses(1))).await), ErrorClass::AddressLimit);
    assert_eq!(world.free(PUBLIC).await, 24 - 6);
    until("the metadata shows all six addresses", async || {
        let seen = metadata.interface(interface.mac).await.unwrap();
        seen.is_some_and(|seen| seen.id == interface.id && seen.device_index == 1 && seen.addresses.len() == 6)
    })
    .await;

    let addresses = assigned.addresses;
    let request = UnassignPrivateIpAddresses { interface: interface.id.clone(), addresses, prefixes: Vec::new() };
    world.client.unassign_private_ip_addresses(&request).await.unwrap();
    assert_eq!(world.free(PUBLIC).await, 24 - 3);
    assert_eq!(class(world.client.unassign_private_ip_addresses(&request).await), ErrorClass::NotFound);
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_full_subnet_and_full_slots_are_told_apart() {
    let world = World::start().await;
    let second = world.create(PUBLIC, None).await.unwrap();
    world.attach(&second.id, 1).await.unwrap();
    world.attached(&second.id).await;
    assert_eq!(class(world.assign(&second.id, Take::Prefixes(Prefixes(1))).await), ErrorClass::NoFreePrefix);

    world.inject(&Fault::FillSubnet { subnet: SubnetId::new(PUBLIC), take: None, leave_free: Some(2) });
    assert_eq!(class(world.assign(&second.id, Take::Addresses(Addresses(3))).await), ErrorClass::SubnetShort);
    assert_eq!(world.assign(&second.id, Take::Addresses(Addresses(2))).await.unwrap().addresses.len(), 2);
    assert_eq!(world.free(PUBLIC).await, 0);
    assert_eq!(class(world.create(PUBLIC, None).await), ErrorClass::SubnetShort);

    world.inject(&Fault::ReleaseSubnet { subnet: SubnetId::new(PUBLIC) });
    let third = world.create(PUBLIC, None).await.unwrap();
    assert_eq!(class(world.attach(&third.id, 1).await), ErrorClass::Conflict);
    world.attach(&third.id, 2).await.unwrap();
    let fourth = world.create(PUBLIC, None).await.unwrap();
    assert_eq!(class(world.attach(&fourth.id, 3).await), ErrorClass::AttachmentLimit);
    assert_eq!(class(world.client.delete_network_interface(&delete(&third)).await), ErrorClass::InUse);
    world.client.delete_network_interface(&delete(&fourth)).await.unwrap();
    assert_eq!(class(world.client.delete_network_interface(&delete(&fourth)).await), ErrorClass::NotFound);
    world.server.shutdown().await;
}

fn delete(interface: &NetworkInterface) -> DeleteNetworkInterface {
    DeleteNetworkInterface { interface: interface.id.clone() }
}

#[tokio::test]
async fn a_secondary_range_is_added_used_and_removed_again() {
    let world = World::start().await;
    let (client, range) = (&world.client, "100.64.0.0/20".parse().unwrap());
    let request = AssociateVpcCidrBlock { vpc: VpcId::new(VPC), cidr: range };
    let association = client.associate_vpc_cidr_block(&request).await.unwrap();
    let associated = Some(CidrBlockState::Associated);
    until("the range is associated", async || world.cidr_state(range).await == associated).await;

    let create = CreateSubnet {
        vpc: VpcId::new(VPC),
        cidr: "100.64.1.0/24".parse().unwrap(),
        zone: "ap-southeast-2a".to_owned(),
        tags: BTreeMap::from([("kubernetes.io/role/cni".to_owned(), "1".to_owned())]),
    };
    let subnet = client.create_subnet(&create).await.unwrap();
    assert_eq!((subnet.available_addresses, subnet.tags.len()), (Addresses(251), 1));
    assert_eq!(class(client.create_subnet(&create).await), ErrorClass::Conflict);

    let filters = vec![Filter::new("vpc-id", [VPC]), Filter::new("tag:Name", ["Public Subnets"])];
    let tables =
        client.describe_route_tables(&DescribeRouteTables { route_tables: Vec::new(), filters }).await.unwrap();
    let request = AssociateRouteTable { route_table: tables[0].id.clone(), subnet: subnet.id.clone() };
    let table_association = client.associate_route_table(&request).await.unwrap();

    let reserve = CreateSubnetCidrReservation {
        subnet: subnet.id.clone(),
        cidr: "100.64.1.128/25".parse().unwrap(),
        reservation_type: ReservationType::Prefix,
        description: Some("prefixes".to_owned()),
        tags: BTreeMap::new(),
    };
    let reservation = client.create_subnet_cidr_reservation(&reserve).await.unwrap();
    let interface = world.create(subnet.id.as_str(), Some(Take::Prefixes(Prefixes(2)))).await.unwrap();
    assert_eq!(interface.prefixes.len(), 2);
    assert!(interface.prefixes.iter().all(|prefix| reservation.cidr.contains_block(prefix.prefix)));
    let get = GetSubnetCidrReservations { subnet: subnet.id.clone(), filters: Vec::new() };
    assert_eq!(client.get_subnet_cidr_reservations(&get).await.unwrap(), [reservation]);

    let (remove, dissolve) =
        (DeleteSubnet { subnet: subnet.id }, DisassociateVpcCidrBlock { association: association.id });
    assert_eq!(class(client.delete_subnet(&remove).await), ErrorClass::InUse);
    client.delete_network_interface(&delete(&interface)).await.unwrap();
    assert_eq!(class(client.disassociate_vpc_cidr_block(&dissolve).await), ErrorClass::InUse);
    client.disassociate_route_table(&DisassociateRouteTable { association: table_association }).await.unwrap();
    client.delete_subnet(&remove).await.unwrap();
    client.disassociate_vpc_cidr_block(&dissolve).await.unwrap();
    until("the range is gone", async || world.cidr_state(range).await != Some(CidrBlockState::Disassociating)).await;
    assert_ne!(world.cidr_state(range).await, associated);
    world.server.shutdown().await;
}

#[tokio::test]
async fn an_instance_comes_and_goes_with_everything_that_describes_it() {
    let world = World::start().await;
    let client = &world.client;
    let mut run = RunInstances::new("ami-0123456789abcdef0", "t3.small", SubnetId::new(PUBLIC));
    run.tags = BTreeMap::from([("Name".to_owned(), "extra".to_owned())]);
    let launched = client.run_instances(&run).await.unwrap().remove(0);
    let by_tag = DescribeInstances { instances: Vec::new(), filters: vec![Filter::new("tag:Name", ["extra"])] };
    until("the instance runs", async || {
        let found = client.describe_instances(&by_tag).await.unwrap();
        found.len() == 1 && found[0].id == launched.id && found[0].state.name == InstanceStateName::Running
    })
    .await;
    let tag = CreateTags {
        resources: vec![launched.id.to_string()],
        tags: BTreeMap::from([("team".to_owned(), "network".to_owned())]),
    };
    client.create_tags(&tag).await.unwrap();
    let tags = client.describe_tags(&DescribeTags { filters: vec![Filter::new("resource-id", [&launched.id])] }).await;
    assert_eq!(tags.unwrap().len(), 2);

    let types = DescribeInstanceTypes { instance_types: vec!["t3.small".to_owned()], filters: Vec::new() };
    let small = client.describe_instance_types(&types).await.unwrap().remove(0);
    let network = &small.network_info;
    assert_eq!((network.maximum_network_interfaces, network.ipv4_addresses_per_interface), (3, 4));
    assert!(small.supports_prefixes());
    let all = client.describe_instance_types(&DescribeInstanceTypes::default()).await.unwrap();
    assert!(all.len() > 1000, "{} types on all pages", all.len());
    assert_eq!(client.describe_availability_zones(&DescribeAvailabilityZones::default()).await.unwrap().len(), 2);
    let groups = client.describe_security_groups(&DescribeSecurityGroups::default()).await.unwrap();
    assert!(groups.iter().any(|group| group.name == "eks-cluster-sg-eks-demo-ip-1844674407"));
    let peerings = client.describe_vpc_peering_connections(&DescribeVpcPeeringConnections::default()).await.unwrap();
    assert_eq!(peerings[0].accepter.cidrs[0].cidr, "10.99.0.0/16".parse().unwrap());

    let end = TerminateInstances { instances: vec![launched.id.clone()] };
    assert_eq!(client.terminate_instances(&end).await.unwrap()[0].instance, launched.id);
    until("its address is free again", async || world.free(PUBLIC).await == 24).await;
    world.server.shutdown().await;
}

#[tokio::test]
async fn lost_answers_leave_what_they_did_and_no_more() {
    let world = World::start().await;
    let lose = |action: &str| Fault::LoseAnswer { action: action.to_owned(), count: 1 };
    world.inject(&lose("CreateNetworkInterface"));
    let interface = world.create(PUBLIC, None).await.unwrap();
    assert_eq!(world.free(PUBLIC).await, 23, "one interface, although the request was sent twice");

    world.inject(&lose("AssignPrivateIpAddresses"));
    let outcome = world.assign(&interface.id, Take::Addresses(Addresses(2))).await;
    assert_eq!(class(outcome), ErrorClass::Uncertain);
    assert_eq!(world.interface(&interface.id).await.secondary_addresses().count(), 2);

    world.inject(&lose("DeleteNetworkInterface"));
    world.client.delete_network_interface(&delete(&interface)).await.unwrap();
    assert_eq!(world.free(PUBLIC).await, 24);
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_wrong_secret_is_not_authorized_and_throttling_is_waited_out() {
    let world = World::start().await;
    let stranger = Ec2Client::new(World::config(&world.listening, "another secret")).unwrap();
    assert_eq!(class(stranger.describe_vpcs(&DescribeVpcs::default()).await), ErrorClass::NotAuthorized);

    let (action, code) = ("DescribeVpcs".to_owned(), "RequestLimitExceeded".to_owned());
    world.inject(&Fault::Error { action, code, message: "Request limit exceeded.".to_owned(), count: 2 });
    assert_eq!(world.client.describe_vpcs(&DescribeVpcs::default()).await.unwrap().len(), 2);
    assert_eq!(world.server.calls()["DescribeVpcs"].refused["RequestLimitExceeded"], 2);
    world.server.shutdown().await;
}
