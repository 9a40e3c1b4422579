//! Calls that make no sense are refused with Google's status and a text that quotes them, and change nothing.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod support;

use freeboard_gcp::{
    AliasRequest, AliasSize, ClusterUpdate, Fingerprint, InsertInstance, InsertSubnetwork, InstanceKey, InstanceName,
    NetworkName, PodRangeRequest, RangeName, RangeSize, Region, Status, SubnetworkKey, SubnetworkName, Zone,
    parse_range,
};
use support::{Scene, cluster, new_pool, pool, range, refused, subnetwork, zone};

fn add(names: &[&str]) -> ClusterUpdate {
    ClusterUpdate::AddPodRanges(names.iter().map(|name| RangeName::new(*name)).collect())
}

#[test]
fn ranges_with_host_bits_or_of_no_size_are_refused_with_what_was_meant() {
    let field = "resource.secondaryIpRanges[0].ipCidrRange";
    refused(
        parse_range(field, "10.0.0.1/26"),
        Status::InvalidArgument,
        &[field, "'10.0.0.1/26'", "did you mean 10.0.0.0/26?"],
    );
    refused(
        parse_range(field, "10.0.0.0/33"),
        Status::InvalidArgument,
        &["'10.0.0.0/33'", "33 of an IPv4 block is not in 0..=32"],
    );
    refused(parse_range(field, "10.0.0.0/30"), Status::InvalidArgument, &["between 4 and 29"]);
    refused(parse_range(field, "ten"), Status::InvalidArgument, &["'ten'", "expected address and length"]);
    for (range, what) in [("127.0.0.0/8", "loopback"), ("169.254.0.0/24", "link-local"), ("224.0.0.0/8", "multicast")] {
        refused(parse_range(field, range), Status::InvalidArgument, &[range, what]);
    }
    for fine in ["240.0.0.0/8", "100.64.0.0/10", "192.0.2.0/24", "8.8.8.0/24"] {
        parse_range(field, fine).unwrap();
    }
}

#[test]
fn a_secondary_range_that_overlaps_any_range_of_the_network_is_refused() {
    let mut scene = Scene::new();
    let taken = ["10.0.0.0/25", "10.0.0.32/27", "10.1.4.0/24", "172.16.0.0/12"];
    for cidr in taken {
        refused(
            scene.add_ranges(&[("more", cidr)]),
            Status::InvalidArgument,
            &[cidr, "conflicts with existing subnetwork 'cluster'"],
        );
    }
    refused(
        scene.add_ranges(&[("one", "10.8.0.0/16"), ("two", "10.8.4.0/24")]),
        Status::InvalidArgument,
        &["secondaryIpRanges[1]", "10.8.4.0/24", "10.8.0.0/16 of the same request"],
    );
    refused(scene.add_ranges(&[("pod-range", "10.8.0.0/16")]), Status::InvalidArgument, &["pod-range", "unique"]);
    refused(scene.add_ranges(&[("Pods", "10.8.0.0/16")]), Status::InvalidArgument, &["'Pods'", "regex"]);
    assert_eq!(scene.cloud.subnetwork(&subnetwork()).unwrap().secondary.len(), 2);
}

#[test]
fn a_stale_fingerprint_is_refused_and_the_latest_one_is_taken() {
    let mut scene = Scene::new();
    let old = scene.cloud.subnetwork(&subnetwork()).unwrap().fingerprint;
    let patch = scene.add_ranges(&[("more", "10.8.0.0/16")]);
    scene.done(patch);
    let wanted = [range("pod-range", "10.0.0.0/26"), range("svc-range", "172.16.0.0/20")];
    let stale = scene.cloud.patch_secondary_ranges(&subnetwork(), old, "c3RhbGU=", &wanted, scene.now);
    refused(stale, Status::ConditionNotMet, &["Invalid fingerprint 'c3RhbGU='", "Read it again"]);
    assert_eq!(Status::ConditionNotMet.http_status(), 412);
    let latest = scene.cloud.subnetwork(&subnetwork()).unwrap().fingerprint;
    let patch = scene.cloud.patch_secondary_ranges(&subnetwork(), latest, "", &wanted, scene.now);
    scene.done(patch);
    let nic = InstanceKey::new(zone(), scene.cloud.instances().next().unwrap().key.name.clone());
    let stale = scene.cloud.update_network_interface(&nic, Fingerprint(7), "Bw==", &[], scene.now);
    refused(stale, Status::ConditionNotMet, &["'Bw=='"]);
}

#[test]
fn ranges_are_added_or_removed_never_both_and_never_changed() {
    let mut scene = Scene::new();
    let patch = scene.add_ranges(&[("more", "10.8.0.0/16")]);
    scene.done(patch);
    let fingerprint = scene.cloud.subnetwork(&subnetwork()).unwrap().fingerprint;
    let kept = [range("pod-range", "10.0.0.0/26"), range("svc-range", "172.16.0.0/20")];
    let with = |name: &str, cidr: &str| kept.iter().cloned().chain([range(name, cidr)]).collect::<Vec<_>>();
    for wanted in [with("other", "10.9.0.0/16"), with("more", "10.8.0.0/15")] {
        refused(
            scene.cloud.patch_secondary_ranges(&subnetwork(), fingerprint, "", &wanted, scene.now),
            Status::InvalidArgument,
            &["Cannot add and remove secondary IP ranges in the same request.", "Removed ranges: [more:10.8.0.0/16]"],
        );
    }
}

#[test]
fn a_range_in_use_is_not_removed_and_the_user_is_named() {
    let mut scene = Scene::new();
    let fingerprint = scene.cloud.subnetwork(&subnetwork()).unwrap().fingerprint;
    let only = |kept| [kept];
    let without_pods = only(range("svc-range", "172.16.0.0/20"));
    refused(
        scene.cloud.patch_secondary_ranges(&subnetwork(), fingerprint, "", &without_pods, scene.now),
        Status::ResourceInUse,
        &[
            "'pod-range' (10.0.0.0/26)",
            "already being used by 'projects/demo-project/zones/australia-southeast1-b/instances/gke-demo-ip-original-nodepool-22330990-",
        ],
    );
    let without_services = only(range("pod-range", "10.0.0.0/26"));
    refused(
        scene.cloud.patch_secondary_ranges(&subnetwork(), fingerprint, "", &without_services, scene.now),
        Status::ResourceInUse,
        &["'svc-range'", "clusters/demo-ip'"],
    );
    refused(scene.cloud.delete_subnetwork(&subnetwork(), scene.now), Status::ResourceInUse, &["already being used by"]);
    refused(
        scene.cloud.delete_network(&NetworkName::new("demo"), scene.now),
        Status::ResourceInUse,
        &["subnetworks/cluster"],
    );
}

#[test]
fn a_cluster_gets_only_ranges_that_exist_and_that_nothing_else_has() {
    let mut scene = Scene::new();
    let update =
        |scene: &mut Scene, update: &ClusterUpdate| scene.cloud.update_cluster(&cluster(), None, update, scene.now);
    refused(
        update(&mut scene, &add(&["nowhere"])),
        Status::InvalidArgument,
        &["\"nowhere\" does not exist in subnetwork \"cluster\"", "'pod-range', 'svc-range'"],
    );
    refused(
        update(&mut scene, &add(&["svc-range"])),
        Status::FailedPrecondition,
        &["in use for the services of cluster \"demo-ip\""],
    );
    refused(update(&mut scene, &add(&["pod-range"])), Status::InvalidArgument, &["already used by cluster"]);
    refused(update(&mut scene, &add(&[])), Status::Required, &["additionalPodRangesConfig"]);
    let remove = ClusterUpdate::RemovePodRanges(vec![RangeName::new("pod-range")]);
    refused(update(&mut scene, &remove), Status::InvalidArgument, &["not an additional pod range"]);
    refused(
        scene.cloud.update_cluster(&cluster(), Some(1), &add(&["svc-range"]), scene.now),
        Status::Aborted,
        &["etag"],
    );

    let patch = scene.add_ranges(&[("more", "10.8.0.0/16")]);
    scene.done(patch);
    let added = update(&mut scene, &add(&["more"]));
    scene.done(added);
    scene.create_pool(&new_pool("second", 4, PodRangeRequest::ChosenByGke));
    let remove = ClusterUpdate::RemovePodRanges(vec![RangeName::new("more")]);
    refused(update(&mut scene, &remove), Status::FailedPrecondition, &["\"more\" is in use by node pool \"second\""]);
}

#[test]
fn a_pool_on_a_range_that_it_cannot_have_is_refused() {
    let mut scene = Scene::new();
    let on = |name: &str| PodRangeRequest::Existing(RangeName::new(name));
    let create = |scene: &mut Scene, range| scene.cloud.create_pool(&new_pool("second", 4, range), scene.now);
    refused(create(&mut scene, on("nowhere")), Status::InvalidArgument, &["\"nowhere\" does not exist"]);
    refused(create(&mut scene, on("svc-range")), Status::FailedPrecondition, &["services"]);
    refused(
        create(&mut scene, PodRangeRequest::ChosenByGke),
        Status::IpSpaceExhausted,
        &["None of the pod ranges", "/26"],
    );
    let new = |cidr: &str| PodRangeRequest::New { name: None, size: RangeSize::Block(cidr.parse().unwrap()) };
    refused(
        create(&mut scene, new("10.0.0.0/24")),
        Status::InvalidArgument,
        &["10.0.0.0/24 conflicts with existing subnetwork"],
    );
    refused(
        create(&mut scene, new("10.8.0.0/28")),
        Status::InvalidArgument,
        &["smaller than the /26 that one node needs"],
    );
    let managed = PodRangeRequest::New { name: Some(RangeName::new("fresh")), size: RangeSize::Length(20) };
    scene.create_pool(&new_pool("owner", 4, managed));
    refused(create(&mut scene, on("fresh")), Status::FailedPrecondition, &["\"fresh\" is managed by GKE"]);
    refused(
        scene.cloud.create_pool(&new_pool("owner", 4, on("pod-range")), scene.now),
        Status::AlreadyExists,
        &["nodePools/owner"],
    );
    refused(scene.cloud.delete_pool(&pool("nobody"), scene.now), Status::NotFound, &["Not found:", "nodePools/nobody"]);
    refused(
        scene.cloud.set_pool_size(&pool("owner"), 1001, scene.now),
        Status::InvalidArgument,
        &["at most 1000", "1001"],
    );
    let mut bounds = new_pool("second", 4, on("pod-range"));
    bounds.autoscaling = Some(freeboard_gcp::Autoscaling { min_node_count: 5, max_node_count: 4 });
    refused(
        scene.cloud.create_pool(&bounds, scene.now),
        Status::InvalidArgument,
        &["minNodeCount 5 and maxNodeCount 4"],
    );
    assert_eq!(scene.cloud.cluster(&cluster()).unwrap().pools.len(), 2);
}

#[test]
fn machines_get_only_blocks_that_exist_and_are_free() {
    let mut scene = Scene::new();
    let machine = |range: Option<&str>, size| InsertInstance {
        key: InstanceKey::new(zone(), InstanceName::new("lonely")),
        machine_type: "e2-medium".into(),
        subnetwork: subnetwork(),
        address: None,
        alias_ranges: vec![AliasRequest { size, range: range.map(RangeName::new) }],
        labels: std::collections::BTreeMap::new(),
    };
    let block = |text: &str| AliasSize::parse("x", text).unwrap();
    let insert = |scene: &mut Scene, request: &InsertInstance| scene.cloud.insert_instance(request, scene.now);
    refused(
        insert(&mut scene, &machine(Some("nowhere"), block("/27"))),
        Status::InvalidArgument,
        &["aliasIpRanges[0].subnetworkRangeName", "'nowhere'"],
    );
    refused(
        insert(&mut scene, &machine(Some("pod-range"), block("10.9.0.0/27"))),
        Status::InvalidArgument,
        &["does not lie in the range 10.0.0.0/26"],
    );
    refused(insert(&mut scene, &machine(Some("pod-range"), block("/25"))), Status::InvalidArgument, &["'/25'"]);
    refused(AliasSize::parse("field", "/33"), Status::InvalidArgument, &["'/33'"]);
    refused(AliasSize::parse("field", "10.0.0.1/27"), Status::InvalidArgument, &["did you mean 10.0.0.0/27?"]);
    let taken = insert(&mut scene, &machine(Some("pod-range"), block("10.0.0.0/28"))).unwrap().error.unwrap();
    assert_eq!(
        (taken.status, taken.message.as_str()),
        (Status::IpInUse, "IP '10.0.0.0/28' is already being used by another resource.")
    );
    let elsewhere = InsertInstance {
        key: InstanceKey::new(Zone::new("mars-1-a"), InstanceName::new("x")),
        ..machine(None, block("/32"))
    };
    refused(insert(&mut scene, &elsewhere), Status::InvalidArgument, &["'zone'", "mars-1-a", "Unknown zone"]);
    assert_eq!(scene.cloud.instances().count(), 2);
    let primary = insert(&mut scene, &machine(None, block("/28")));
    scene.done(primary);
    let made = scene.cloud.instance(&InstanceKey::new(zone(), InstanceName::new("lonely"))).unwrap();
    assert_eq!(
        (made.interface.address.to_string(), made.interface.alias_ranges[0].cidr.to_string()),
        ("10.1.0.4".into(), "10.1.0.16/28".into())
    );
}

#[test]
fn a_primary_range_has_four_addresses_less_and_only_grows() {
    let mut scene = Scene::new();
    let key = SubnetworkKey::new(Region::new("australia-southeast1"), SubnetworkName::new("tiny"));
    let request = |primary: &str| InsertSubnetwork {
        key: key.clone(),
        network: NetworkName::new("demo"),
        primary: primary.parse().unwrap(),
        secondary: vec![range("pods", "10.9.0.0/16")],
    };
    refused(
        scene.cloud.insert_subnetwork(&request("10.1.0.0/29"), scene.now),
        Status::InvalidArgument,
        &["conflicts with existing"],
    );
    refused(
        scene.cloud.insert_subnetwork(&request("10.9.4.0/29"), scene.now),
        Status::InvalidArgument,
        &["10.9.4.0/29 of the same request"],
    );
    let made = scene.cloud.insert_subnetwork(&request("10.8.0.0/29"), scene.now);
    scene.done(made);
    for number in 0..5 {
        let machine = InsertInstance {
            key: InstanceKey::new(zone(), InstanceName::new(format!("m{number}"))),
            machine_type: "e2-medium".into(),
            subnetwork: key.clone(),
            address: None,
            alias_ranges: Vec::new(),
            labels: std::collections::BTreeMap::new(),
        };
        let operation = scene.cloud.insert_instance(&machine, scene.now);
        let failed = scene.done(operation).error;
        assert_eq!(failed.is_some(), number == 4, "a /29 has four addresses for machines");
        if let Some(error) = failed {
            assert_eq!(
                scene.cloud.exhausted_place(&error.message).unwrap().range,
                None,
                "node addresses, not pod addresses"
            );
        }
    }
    let expand = |scene: &mut Scene, to: &str| scene.cloud.expand_primary_range(&key, to.parse().unwrap(), scene.now);
    refused(expand(&mut scene, "10.8.0.0/29"), Status::InvalidArgument, &["superset"]);
    refused(expand(&mut scene, "10.8.0.0/15"), Status::InvalidArgument, &["overlaps with 10.9.0.0/16"]);
    let wider = expand(&mut scene, "10.8.0.0/28");
    scene.done(wider);
    assert_eq!(scene.cloud.subnetwork(&key).unwrap().usages()[0].free_addresses, 8);
}
