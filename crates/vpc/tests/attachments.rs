//! The life of interfaces and machines: states, delays, limits, what goes with what.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use freeboard_address::{AttachmentId, EniId, InstanceId, SubnetId};
use freeboard_vpc::{
    ApiError, AttachmentStatus, Cloud, CloudEffect, DeleteNetworkInterface, Describe, DetachNetworkInterface, Fault,
    InstanceState, InterfaceAttribute, InterfaceStatus, LaunchInterface, ModifyNetworkInterfaceAttribute, RunInstances,
    TerminateInstances,
};
use support::{EKS, LARGE, NODE_ENI, PUBLIC_A, PUBLIC_B, at, attach, cloud, interface, node, run_to, wanted};

fn new_interface(cloud: &mut Cloud, subnet: &str) -> EniId {
    cloud.create_network_interface(&wanted(subnet, 0), at(0)).unwrap().network_interface_id
}

fn attached(cloud: &mut Cloud, index: u32) -> EniId {
    let eni = new_interface(cloud, PUBLIC_A);
    cloud.attach_network_interface(&attach(&eni, &node(), index), at(0)).unwrap();
    run_to(cloud, 2_000);
    eni
}

fn attachment_of(cloud: &Cloud, eni: &EniId) -> AttachmentId {
    interface(cloud, eni).attachment.unwrap().attachment_id
}

fn detach(cloud: &mut Cloud, eni: &EniId, milliseconds: i64) -> Result<(), ApiError> {
    let attachment_id = attachment_of(cloud, eni);
    cloud.detach_network_interface(&DetachNetworkInterface { attachment_id, force: false }, at(milliseconds))
}

fn statuses(cloud: &Cloud, eni: &EniId) -> (InterfaceStatus, Option<AttachmentStatus>) {
    let found = interface(cloud, eni);
    (found.status, found.attachment.map(|attachment| attachment.status))
}

fn state(cloud: &Cloud, instance: &InstanceId) -> Option<InstanceState> {
    let page = cloud.describe_instances(&Describe::by_id([instance.clone()])).ok()?;
    page.items.first()?.instances.first().map(|instance| instance.state)
}

#[test]
fn an_interface_is_attached_when_its_time_has_come_and_its_link_is_made() {
    let mut cloud = cloud(EKS);
    let eni = new_interface(&mut cloud, PUBLIC_A);
    assert_eq!(statuses(&cloud, &eni), (InterfaceStatus::Available, None));
    cloud.attach_network_interface(&attach(&eni, &node(), 1), at(0)).unwrap();
    assert_eq!(statuses(&cloud, &eni), (InterfaceStatus::InUse, Some(AttachmentStatus::Attaching)));
    assert_eq!(cloud.poll_timeout(), Some((at(2_000), "an interface is attached")));
    cloud.handle_timeout(at(1_999));
    assert_eq!(cloud.poll_effect(), None);
    cloud.handle_timeout(at(2_000));
    let Some(CloudEffect::InterfaceAttaching(link)) = cloud.poll_effect() else { panic!("no link was asked for") };
    assert_eq!(
        (link.eni.clone(), link.device_index, link.subnet_cidr),
        (eni.clone(), 1, "10.0.208.0/27".parse().unwrap())
    );
    assert_eq!(statuses(&cloud, &eni).1, Some(AttachmentStatus::Attaching));
    cloud.handle_link_ready(&eni, at(2_500));
    assert_eq!(statuses(&cloud, &eni), (InterfaceStatus::InUse, Some(AttachmentStatus::Attached)));
}

#[test]
fn speed_divides_every_delay_of_the_cloud() {
    let mut cloud = cloud(EKS);
    cloud.set_speed(10.0).unwrap();
    let eni = new_interface(&mut cloud, PUBLIC_A);
    cloud.attach_network_interface(&attach(&eni, &node(), 1), at(0)).unwrap();
    assert_eq!(cloud.poll_timeout().map(|(due, _)| due), Some(at(200)));
    assert!(cloud.set_speed(0.0).unwrap_err().to_string().starts_with("speed is 0"));
    assert!(cloud.set_speed(f64::NAN).is_err());
}

#[test]
fn a_detached_interface_is_available_when_its_link_is_gone_and_only_then_can_be_deleted() {
    let mut cloud = cloud(EKS);
    let eni = attached(&mut cloud, 1);
    detach(&mut cloud, &eni, 3_000).unwrap();
    assert_eq!(statuses(&cloud, &eni), (InterfaceStatus::InUse, Some(AttachmentStatus::Detaching)));
    let delete = DeleteNetworkInterface { network_interface_id: eni.clone() };
    let error = cloud.delete_network_interface(&delete, at(3_500)).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.message),
        ("InvalidParameterValue", format!("Network interface '{eni}' is currently in use."))
    );
    assert_eq!(detach(&mut cloud, &eni, 3_500).unwrap_err().code, "IncorrectState");
    cloud.handle_timeout(at(5_000));
    assert!(matches!(cloud.poll_effect(), Some(CloudEffect::InterfaceDetached { .. })));
    assert_eq!(statuses(&cloud, &eni).1, Some(AttachmentStatus::Detaching));
    cloud.handle_link_gone(&eni, at(5_100));
    assert_eq!(statuses(&cloud, &eni), (InterfaceStatus::Available, None));
    cloud.delete_network_interface(&delete, at(5_200)).unwrap();
}

#[test]
fn the_primary_interface_and_those_of_services_stay_where_they_are() {
    let mut cloud = cloud(EKS);
    let error = detach(&mut cloud, &EniId::new(NODE_ENI), 0).unwrap_err();
    assert_eq!(error.code, "OperationNotPermitted");
    assert_eq!(error.message, "The network interface at device index 0 and networkCard index 0 cannot be detached.");
    let control_plane = EniId::new("eni-0186a1b2c3d4e5f60");
    let error = detach(&mut cloud, &control_plane, 0).unwrap_err();
    assert_eq!(error.message, "You are not allowed to manage 'ela-attach' attachments.");
    let delete = DeleteNetworkInterface { network_interface_id: control_plane };
    assert_eq!(cloud.delete_network_interface(&delete, at(0)).unwrap_err().code, "OperationNotPermitted");
}

#[test]
fn one_interface_more_than_the_type_allows_is_refused_with_the_services_text() {
    let mut cloud = cloud(EKS);
    attached(&mut cloud, 1);
    attached(&mut cloud, 2);
    let eni = new_interface(&mut cloud, PUBLIC_A);
    let before = cloud.clone();
    let error = cloud.attach_network_interface(&attach(&eni, &node(), 3), at(9_000)).unwrap_err();
    assert_eq!(error.code, "AttachmentLimitExceeded");
    assert_eq!(error.message, "Interface count 4 exceeds the limit for t3.medium");
    assert_eq!(cloud, before);
}

#[test]
fn the_sixteenth_interface_of_the_largest_machine_is_refused() {
    let mut cloud = cloud(LARGE);
    let subnet = "subnet-0b0b0b0b0b0b0b0b0";
    let launched = cloud.run_instances(&RunInstances::one("m5.24xlarge", SubnetId::new(subnet)), at(0)).unwrap();
    let instance = launched.instances[0].instance_id.clone();
    run_to(&mut cloud, 10_000);
    for index in 1..15 {
        let eni = new_interface(&mut cloud, subnet);
        cloud.attach_network_interface(&attach(&eni, &instance, index), at(10_000)).unwrap();
    }
    let eni = new_interface(&mut cloud, subnet);
    let error = cloud.attach_network_interface(&attach(&eni, &instance, 15), at(10_000)).unwrap_err();
    assert_eq!(error.message, "Interface count 16 exceeds the limit for m5.24xlarge");
}

#[test]
fn an_attachment_needs_a_free_index_a_free_interface_the_same_zone_and_a_running_machine() {
    let mut cloud = cloud(EKS);
    let eni = new_interface(&mut cloud, PUBLIC_A);
    let elsewhere = new_interface(&mut cloud, PUBLIC_B);
    let missing = InstanceId::new("i-00000000000000000");
    for (request, code, text) in [
        (attach(&eni, &node(), 0), "InvalidParameterValue", "already has an interface attached at device index '0'."),
        (
            attach(&EniId::new(NODE_ENI), &node(), 1),
            "InvalidNetworkInterface.InUse",
            "Interface: [eni-00259388be69d244d] in use.",
        ),
        (attach(&elsewhere, &node(), 1), "InvalidParameterCombination", "same availability zone"),
        (
            attach(&eni, &missing, 1),
            "InvalidInstanceID.NotFound",
            "The instance ID 'i-00000000000000000' does not exist",
        ),
    ] {
        let error = cloud.attach_network_interface(&request, at(0)).unwrap_err();
        assert_eq!(error.code, code);
        assert!(error.message.contains(text), "{error}");
    }
    cloud.terminate_instances(&TerminateInstances { instance_ids: vec![node()] }, at(0)).unwrap();
    let error = cloud.attach_network_interface(&attach(&eni, &node(), 1), at(0)).unwrap_err();
    assert_eq!(error.code, "IncorrectState");
}

#[test]
fn a_launched_machine_runs_after_a_while_and_a_terminated_one_is_listed_for_an_hour() {
    let mut cloud = cloud(EKS);
    let launched = cloud.run_instances(&RunInstances::one("t3.small", SubnetId::new(PUBLIC_A)), at(0)).unwrap();
    let instance = launched.instances[0].instance_id.clone();
    assert_eq!(launched.instances[0].state, InstanceState::Pending);
    assert!(cloud.metadata(&instance, at(0)).is_none());
    let effects = run_to(&mut cloud, 5_000);
    assert!(matches!(effects.as_slice(), [CloudEffect::InstanceLaunched(_), CloudEffect::InterfaceAttaching(_)]));
    assert_eq!(state(&cloud, &instance), Some(InstanceState::Running));
    assert_eq!(cloud.metadata(&instance, at(5_000)).unwrap().interfaces.len(), 1);
    let terminate = TerminateInstances { instance_ids: vec![instance.clone()] };
    let change = cloud.terminate_instances(&terminate, at(6_000)).unwrap().remove(0);
    assert_eq!((change.previous_state, change.current_state), (InstanceState::Running, InstanceState::ShuttingDown));
    run_to(&mut cloud, 11_000);
    assert_eq!(state(&cloud, &instance), Some(InstanceState::Terminated));
    assert!(cloud.metadata(&instance, at(11_000)).is_none());
    let again = cloud.terminate_instances(&terminate, at(12_000)).unwrap().remove(0);
    assert_eq!(again.current_state, InstanceState::Terminated);
    run_to(&mut cloud, 11_000 + 3_599_999);
    assert_eq!(state(&cloud, &instance), Some(InstanceState::Terminated));
    run_to(&mut cloud, 11_000 + 3_600_000);
    assert_eq!(state(&cloud, &instance), None);
}

#[test]
fn only_interfaces_that_are_to_go_with_their_machine_do() {
    let mut cloud = cloud(EKS);
    let (stays, goes) = (attached(&mut cloud, 1), attached(&mut cloud, 2));
    let request = ModifyNetworkInterfaceAttribute {
        network_interface_id: goes.clone(),
        attribute: InterfaceAttribute::DeleteOnTermination {
            attachment_id: attachment_of(&cloud, &goes),
            delete_on_termination: true,
        },
    };
    cloud.modify_network_interface_attribute(&request, at(4_000)).unwrap();
    cloud.terminate_instances(&TerminateInstances { instance_ids: vec![node()] }, at(4_000)).unwrap();
    let effects = run_to(&mut cloud, 20_000);
    assert!(
        matches!(effects.last(), Some(CloudEffect::InstanceTerminated { interfaces, .. }) if interfaces.len() == 3)
    );
    assert_eq!(statuses(&cloud, &stays), (InterfaceStatus::Available, None));
    for gone in [goes, EniId::new(NODE_ENI)] {
        assert!(cloud.describe_network_interfaces(&Describe::by_id([gone])).is_err());
    }
}

#[test]
fn one_unknown_id_among_several_terminates_nothing() {
    let mut cloud = cloud(EKS);
    let before = cloud.clone();
    let request = TerminateInstances { instance_ids: vec![node(), InstanceId::new("i-00000000000000000")] };
    assert_eq!(cloud.terminate_instances(&request, at(0)).unwrap_err().code, "InvalidInstanceID.NotFound");
    assert_eq!(cloud, before);
}

#[test]
fn a_launch_that_fails_halfway_leaves_nothing_behind() {
    let mut cloud = cloud(EKS);
    let subnet = SubnetId::new(PUBLIC_A);
    let new =
        |index| LaunchInterface { device_index: index, subnet_id: Some(subnet.clone()), ..LaunchInterface::default() };
    let four = RunInstances {
        subnet_id: None,
        network_interfaces: (0..4).map(new).collect(),
        ..RunInstances::one("t3.small", subnet.clone())
    };
    let many = RunInstances { max_count: 25, ..RunInstances::one("t3.small", subnet.clone()) };
    let unknown = RunInstances::one("t3.gigantic", subnet.clone());
    let backwards = RunInstances { min_count: 3, max_count: 2, ..RunInstances::one("t3.small", subnet.clone()) };
    for (request, code) in [
        (four, "AttachmentLimitExceeded"),
        (many, "InsufficientFreeAddressesInSubnet"),
        (unknown, "InvalidParameterValue"),
        (backwards, "InvalidParameterValue"),
    ] {
        let before = cloud.clone();
        assert_eq!(cloud.run_instances(&request, at(0)).unwrap_err().code, code);
        assert_eq!(cloud, before);
    }
}

#[test]
fn a_client_token_launches_once() {
    let mut cloud = cloud(EKS);
    let once =
        RunInstances { client_token: Some("t".to_owned()), ..RunInstances::one("t3.small", SubnetId::new(PUBLIC_A)) };
    let first = cloud.run_instances(&once, at(0)).unwrap();
    assert_eq!(cloud.run_instances(&once, at(0)).unwrap(), first);
    let other = RunInstances { instance_type: "t3.medium".to_owned(), ..once.clone() };
    assert_eq!(cloud.run_instances(&other, at(0)).unwrap_err().code, "IdempotentParameterMismatch");
    let instance_ids = vec![first.instances[0].instance_id.clone()];
    cloud.terminate_instances(&TerminateInstances { instance_ids }, at(0)).unwrap();
    run_to(&mut cloud, 60_000);
    assert_eq!(cloud.run_instances(&once, at(60_000)).unwrap_err().code, "IdempotentInstanceTerminated");
}

#[test]
fn a_link_that_comes_after_the_detach_began_still_goes_away() {
    let mut cloud = cloud(EKS);
    let eni = new_interface(&mut cloud, PUBLIC_A);
    cloud.attach_network_interface(&attach(&eni, &node(), 1), at(0)).unwrap();
    cloud.handle_timeout(at(2_000));
    detach(&mut cloud, &eni, 2_100).unwrap();
    cloud.handle_link_ready(&eni, at(2_200));
    assert_eq!(statuses(&cloud, &eni).1, Some(AttachmentStatus::Detaching));
    run_to(&mut cloud, 10_000);
    assert_eq!(statuses(&cloud, &eni), (InterfaceStatus::Available, None));
}

#[test]
fn an_attachment_that_never_completes_can_be_detached() {
    let mut cloud = cloud(EKS);
    cloud.inject(&Fault::NeverAttach { count: 1 }, at(0)).unwrap();
    let stuck = attached(&mut cloud, 1);
    run_to(&mut cloud, 3_600_000);
    assert_eq!(statuses(&cloud, &stuck).1, Some(AttachmentStatus::Attaching));
    detach(&mut cloud, &stuck, 3_600_000).unwrap();
    run_to(&mut cloud, 3_610_000);
    assert_eq!(statuses(&cloud, &stuck), (InterfaceStatus::Available, None));
    cloud.attach_network_interface(&attach(&stuck, &node(), 1), at(3_610_000)).unwrap();
    run_to(&mut cloud, 3_620_000);
    assert_eq!(statuses(&cloud, &stuck).1, Some(AttachmentStatus::Attached));
}
