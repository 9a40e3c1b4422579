//! Random sequences of actions: after each one the cloud's books close, and the same sequence gives the same cloud.

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a test that cannot go on fails")]
#![allow(clippy::wildcard_enum_match_arm, reason = "the steps are spread over several matches")]

mod support;

use freeboard_address::{Addresses, Cidr, EniId, InstanceId, Prefixes, ReservationId, SubnetId, VpcId};
use freeboard_vpc::{
    AddressWish, ApiError, AssignPrivateIpAddresses, AssociateVpcCidrBlock, Cloud, CloudEffect, CreateNetworkInterface,
    CreateSubnet, CreateSubnetCidrReservation, DeleteNetworkInterface, DeleteSubnet, DeleteSubnetCidrReservation,
    Describe, DetachNetworkInterface, DisassociateVpcCidrBlock, Fault, InterfaceStatus, ReservationType, RunInstances,
    TerminateInstances, UnassignPrivateIpAddresses,
};
use proptest::prelude::*;
use support::{at, attach, world};

/// One step; numbers choose among what exists at that moment.
#[derive(Clone, Debug)]
enum Step {
    Create { subnet: usize, secondaries: u32, prefixes: u32 },
    Attach { eni: usize, instance: usize, device_index: u32 },
    Detach { eni: usize, force: bool },
    Delete { eni: usize },
    Assign { eni: usize, count: u32, prefixes: bool },
    Take { eni: usize, offset: u32, reassign: bool },
    Unassign { eni: usize, all: bool },
    Run { subnet: usize, small: bool },
    Terminate { instance: usize },
    Reserve { subnet: usize, offset: u32, length: u8, prefix: bool },
    Unreserve { subnet: usize },
    Associate { block: u8 },
    Disassociate { vpc: usize, place: usize },
    CreateSubnet { vpc: usize, block: u8, length: u8 },
    DeleteSubnet { subnet: usize },
    Remove { eni: usize },
    Fill { subnet: usize, leave_free: u32 },
    Release { subnet: usize },
    NeverAttach,
    Wait { milliseconds: i64 },
    AnswerLinks { count: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let pick = 0usize..64;
    prop_oneof![
        4 => (pick.clone(), 0u32..8, 0u32..3).prop_map(|(subnet, secondaries, prefixes)| Step::Create { subnet, secondaries, prefixes }),
        4 => (pick.clone(), pick.clone(), 0u32..4).prop_map(|(eni, instance, device_index)| Step::Attach { eni, instance, device_index }),
        2 => (pick.clone(), any::<bool>()).prop_map(|(eni, force)| Step::Detach { eni, force }),
        2 => pick.clone().prop_map(|eni| Step::Delete { eni }),
        6 => (pick.clone(), 0u32..5, any::<bool>()).prop_map(|(eni, count, prefixes)| Step::Assign { eni, count, prefixes }),
        2 => (pick.clone(), 0u32..64, any::<bool>()).prop_map(|(eni, offset, reassign)| Step::Take { eni, offset, reassign }),
        3 => (pick.clone(), any::<bool>()).prop_map(|(eni, all)| Step::Unassign { eni, all }),
        1 => (pick.clone(), any::<bool>()).prop_map(|(subnet, small)| Step::Run { subnet, small }),
        1 => pick.clone().prop_map(|instance| Step::Terminate { instance }),
        1 => (pick.clone(), 0u32..64, 26u8..=29, any::<bool>()).prop_map(|(subnet, offset, length, prefix)| Step::Reserve { subnet, offset, length, prefix }),
        1 => pick.clone().prop_map(|subnet| Step::Unreserve { subnet }),
        1 => any::<u8>().prop_map(|block| Step::Associate { block }),
        1 => (pick.clone(), pick.clone()).prop_map(|(vpc, place)| Step::Disassociate { vpc, place }),
        1 => (pick.clone(), any::<u8>(), 24u8..=28).prop_map(|(vpc, block, length)| Step::CreateSubnet { vpc, block, length }),
        1 => pick.clone().prop_map(|subnet| Step::DeleteSubnet { subnet }),
        1 => pick.clone().prop_map(|eni| Step::Remove { eni }),
        1 => (pick.clone(), 0u32..30).prop_map(|(subnet, leave_free)| Step::Fill { subnet, leave_free }),
        1 => pick.prop_map(|subnet| Step::Release { subnet }),
        1 => Just(Step::NeverAttach),
        4 => (0i64..8_000).prop_map(|milliseconds| Step::Wait { milliseconds }),
        4 => (1usize..4).prop_map(|count| Step::AnswerLinks { count }),
    ]
}

/// A cloud, its clock, and what the hypervisor was asked for and has not answered yet.
struct Run {
    cloud: Cloud,
    milliseconds: i64,
    unanswered: Vec<CloudEffect>,
}

impl Run {
    fn new() -> Self {
        // A wider subnet than the demo's, so that there is room for prefixes.
        let text = support::EKS.replace("cidr: 10.0.208.0/27", "cidr: 10.0.208.0/24");
        let cloud = Cloud::from_world(&world(&text), at(0)).unwrap();
        Self { cloud, milliseconds: 0, unanswered: Vec::new() }
    }

    fn pick<Item: Clone>(items: &[Item], index: usize) -> Option<Item> {
        items.get(index % items.len().max(1)).cloned()
    }

    fn subnet(&self, index: usize) -> SubnetId {
        let all = self.cloud.describe_subnets(&Describe::default()).unwrap().items;
        Self::pick(&all, index).map_or(SubnetId::new("subnet-00000000"), |subnet| subnet.subnet_id)
    }

    fn eni(&self, index: usize) -> EniId {
        let all = self.cloud.describe_network_interfaces(&Describe::default()).unwrap().items;
        Self::pick(&all, index).map_or(EniId::new("eni-00000000"), |eni| eni.network_interface_id)
    }

    /// An interface that no service manages, in this state if one is named; any interface when there is none.
    fn own_eni(&self, index: usize, status: Option<InterfaceStatus>) -> EniId {
        let mut all = self.cloud.describe_network_interfaces(&Describe::default()).unwrap().items;
        all.retain(|eni| !eni.requester_managed && status.is_none_or(|status| eni.status == status));
        Self::pick(&all, index).map_or(self.eni(index), |eni| eni.network_interface_id)
    }

    fn instance(&self, index: usize) -> InstanceId {
        let all = self.cloud.describe_instances(&Describe::default()).unwrap().items;
        let all: Vec<InstanceId> = all.into_iter().flat_map(|r| r.instances).map(|i| i.instance_id).collect();
        Self::pick(&all, index).unwrap_or(InstanceId::new("i-00000000"))
    }

    /// Carries out a step; a refusal must have changed nothing.
    fn take(&mut self, step: &Step) {
        let now = at(self.milliseconds);
        self.cloud.handle_timeout(now);
        let before = self.cloud.clone();
        let outcome = self.act(step);
        if let Err(error) = outcome {
            assert_eq!(self.cloud, before, "{step:?} was refused ({error}) and changed something");
        }
        self.unanswered.extend(std::iter::from_fn(|| self.cloud.poll_effect()));
        if let Err(found) = self.cloud.audit() {
            panic!("after {step:?}:\n{found}");
        }
    }

    fn act(&mut self, step: &Step) -> Result<(), ApiError> {
        let now = at(self.milliseconds);
        match *step {
            Step::Create { subnet, secondaries, prefixes } => {
                let request = CreateNetworkInterface {
                    addresses: wish(secondaries, prefixes),
                    ..CreateNetworkInterface::in_subnet(self.subnet(subnet))
                };
                self.cloud.create_network_interface(&request, now).map(|_| ())
            }
            Step::Attach { eni, instance, device_index } => {
                let eni = self.own_eni(eni, Some(InterfaceStatus::Available));
                let request = attach(&eni, &self.instance(instance), device_index);
                self.cloud.attach_network_interface(&request, now).map(|_| ())
            }
            Step::Detach { eni, force } => {
                let eni = support::interface(&self.cloud, &self.own_eni(eni, Some(InterfaceStatus::InUse)));
                let Some(attachment) = eni.attachment else { return Ok(()) };
                let request = DetachNetworkInterface { attachment_id: attachment.attachment_id, force };
                self.cloud.detach_network_interface(&request, now)
            }
            Step::Delete { eni } => {
                let request = DeleteNetworkInterface { network_interface_id: self.eni(eni) };
                self.cloud.delete_network_interface(&request, now)
            }
            Step::Assign { eni, count, prefixes } => {
                let wish = if prefixes { wish(0, count) } else { wish(count, 0) };
                let request = support::assign(&self.own_eni(eni, None), wish);
                self.cloud.assign_private_ip_addresses(&request, now).map(|_| ())
            }
            Step::Take { eni, offset, reassign } => self.assign_named(eni, offset, reassign),
            Step::Unassign { eni, all } => self.unassign(eni, all),
            Step::Wait { .. } | Step::AnswerLinks { .. } => {
                self.pass(step);
                Ok(())
            }
            Step::Remove { .. } | Step::Fill { .. } | Step::Release { .. } | Step::NeverAttach => {
                self.break_something(step);
                Ok(())
            }
            _ => self.act_on_network(step),
        }
    }

    fn act_on_network(&mut self, step: &Step) -> Result<(), ApiError> {
        let now = at(self.milliseconds);
        match *step {
            Step::Run { subnet, small } => {
                let instance_type = if small { "t3.small" } else { "m5.large" };
                self.cloud.run_instances(&RunInstances::one(instance_type, self.subnet(subnet)), now).map(|_| ())
            }
            Step::Terminate { instance } => {
                let request = TerminateInstances { instance_ids: vec![self.instance(instance)] };
                self.cloud.terminate_instances(&request, now).map(|_| ())
            }
            Step::Reserve { subnet, offset, length, prefix } => {
                let subnet_id = self.subnet(subnet);
                let block = support::subnet(&self.cloud, subnet_id.as_str()).cidr_block;
                let address = block.nth(offset).unwrap_or(block.last());
                let reservation_type = if prefix { ReservationType::Prefix } else { ReservationType::Explicit };
                let cidr = Cidr::containing(address, length).unwrap();
                let request = CreateSubnetCidrReservation {
                    subnet_id,
                    cidr,
                    reservation_type,
                    description: None,
                    tag_specifications: Vec::new(),
                };
                self.cloud.create_subnet_cidr_reservation(&request, now).map(|_| ())
            }
            Step::Unreserve { subnet } => {
                let request = freeboard_vpc::GetSubnetCidrReservations {
                    subnet_id: self.subnet(subnet),
                    describe: Describe::default(),
                };
                let all = self.cloud.get_subnet_cidr_reservations(&request)?.items;
                let id = all.first().map(|found| found.subnet_cidr_reservation_id.clone());
                let subnet_cidr_reservation_id = id.unwrap_or(ReservationId::new("scr-00000000"));
                let request = DeleteSubnetCidrReservation { subnet_cidr_reservation_id };
                self.cloud.delete_subnet_cidr_reservation(&request, now).map(|_| ())
            }
            Step::Associate { block } => {
                let cidr_block = format!("100.64.{}.0/24", block % 8).parse().unwrap();
                let request = AssociateVpcCidrBlock { vpc_id: support::vpc_id(), cidr_block };
                self.cloud.associate_vpc_cidr_block(&request, now).map(|_| ())
            }
            Step::Disassociate { vpc, place } => {
                let vpcs = self.cloud.describe_vpcs(&Describe::default()).unwrap().items;
                let vpc = Self::pick(&vpcs, vpc).unwrap();
                let association = Self::pick(&vpc.cidr_block_associations, place).unwrap();
                let request = DisassociateVpcCidrBlock { association_id: association.association_id };
                self.cloud.disassociate_vpc_cidr_block(&request, now).map(|_| ())
            }
            Step::CreateSubnet { vpc, block, length } => {
                let vpcs = self.cloud.describe_vpcs(&Describe::default()).unwrap().items;
                let vpc_id = Self::pick(&vpcs, vpc).map_or(VpcId::new("vpc-00000000"), |vpc| vpc.vpc_id);
                let text = format!("100.64.{}.{}/{length}", block % 8, block & 0xf0);
                let request = CreateSubnet {
                    vpc_id,
                    cidr_block: Cidr::parse_clearing_host_bits(&text).unwrap(),
                    availability_zone: None,
                    availability_zone_id: None,
                    tag_specifications: Vec::new(),
                };
                self.cloud.create_subnet(&request, now).map(|_| ())
            }
            Step::DeleteSubnet { subnet } => {
                let request = DeleteSubnet { subnet_id: self.subnet(subnet) };
                self.cloud.delete_subnet(&request, now)
            }
            _ => Ok(()),
        }
    }

    fn assign_named(&mut self, eni: usize, offset: u32, allow_reassignment: bool) -> Result<(), ApiError> {
        let eni = self.own_eni(eni, None);
        let subnet = support::interface(&self.cloud, &eni).subnet_id;
        let block = support::subnet(&self.cloud, subnet.as_str()).cidr_block;
        let address = block.nth(offset).unwrap_or(block.last());
        let wish = AddressWish { private_ip_addresses: vec![address], ..AddressWish::default() };
        let request = AssignPrivateIpAddresses { allow_reassignment, ..support::assign(&eni, wish) };
        self.cloud.assign_private_ip_addresses(&request, at(self.milliseconds)).map(|_| ())
    }

    fn unassign(&mut self, eni: usize, all: bool) -> Result<(), ApiError> {
        let eni = support::interface(&self.cloud, &self.own_eni(eni, None));
        let mut addresses: Vec<_> =
            eni.private_ip_addresses.iter().filter(|a| !a.primary).map(|a| a.private_ip_address).collect();
        let mut prefixes = eni.ipv4_prefixes.clone();
        if !all {
            addresses.truncate(1);
            prefixes.truncate(1);
        }
        let request = UnassignPrivateIpAddresses {
            network_interface_id: eni.network_interface_id,
            private_ip_addresses: addresses,
            ipv4_prefixes: prefixes,
        };
        self.cloud.unassign_private_ip_addresses(&request, at(self.milliseconds))
    }

    /// Time passes, or the hypervisor answers the oldest things it was asked for.
    fn pass(&mut self, step: &Step) {
        match *step {
            Step::Wait { milliseconds } => {
                self.milliseconds += milliseconds;
                self.cloud.handle_timeout(at(self.milliseconds));
            }
            Step::AnswerLinks { count } => {
                let count = count.min(self.unanswered.len());
                for effect in self.unanswered.drain(..count).collect::<Vec<_>>() {
                    let now = at(self.milliseconds);
                    if let CloudEffect::InterfaceAttaching(link) = effect {
                        self.cloud.handle_link_ready(&link.eni, now);
                    } else if let CloudEffect::InterfaceDetached { eni, .. } = effect {
                        self.cloud.handle_link_gone(&eni, now);
                    }
                }
            }
            _ => {}
        }
    }

    fn break_something(&mut self, step: &Step) {
        let fault = match *step {
            Step::Remove { eni } => Fault::RemoveInterface { interface: self.eni(eni) },
            Step::Fill { subnet, leave_free } => {
                let subnet = self.subnet(subnet);
                // Filling a /24 again and again is slow and shows nothing new.
                let many = support::subnet(&self.cloud, subnet.as_str()).available_ip_address_count > 60;
                let take = many.then_some(20);
                Fault::FillSubnet { subnet, take, leave_free: take.is_none().then_some(leave_free) }
            }
            Step::Release { subnet } => Fault::ReleaseSubnet { subnet: self.subnet(subnet) },
            _ => Fault::NeverAttach { count: 1 },
        };
        let before = self.cloud.clone();
        if self.cloud.inject(&fault, at(self.milliseconds)).is_err() {
            assert_eq!(self.cloud, before);
        }
    }
}

fn wish(addresses: u32, prefixes: u32) -> AddressWish {
    AddressWish {
        secondary_private_ip_address_count: (addresses > 0).then_some(Addresses(addresses)),
        ipv4_prefix_count: (prefixes > 0).then_some(Prefixes(prefixes)),
        ..AddressWish::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_books_close_after_every_step(steps in prop::collection::vec(step(), 1..80)) {
        let mut run = Run::new();
        for step in &steps {
            run.take(step);
        }
        // Same steps, same cloud: nothing but the inputs has a say.
        let mut again = Run::new();
        for step in &steps {
            again.take(step);
        }
        prop_assert_eq!(&run.cloud, &again.cloud);
        prop_assert_eq!(&run.unanswered, &again.unanswered);
    }
}
