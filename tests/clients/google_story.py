"""The GKE demo of the seeds, driven by Google's own clients: exhaustion, the three options, the eight pools, bad input."""

import uuid

from google.api_core import exceptions
from google.cloud import compute_v1, container_v1

from google_harness import (
    CLUSTER,
    LOCATION,
    PROJECT,
    REGION,
    ZONE,
    clusters,
    container_done,
    done,
    groups,
    instances,
    managers,
    networks,
    refused,
    subnetworks,
)

EXTRA = [("range-a", "10.0.128.0/17"), ("range-b", "192.168.4.0/22"), ("range-c", "192.168.0.0/22")]


def subnet(name="cluster", **request):
    return subnetworks.get(request={"project": PROJECT, "region": REGION, "subnetwork": name, **request})


def patch(ranges, fingerprint, **request):
    resource = compute_v1.Subnetwork(
        fingerprint=fingerprint,
        secondary_ip_ranges=[
            compute_v1.SubnetworkSecondaryRange(range_name=name, ip_cidr_range=cidr) for name, cidr in ranges
        ],
    )
    request |= {"project": PROJECT, "region": REGION, "subnetwork": "cluster", "subnetwork_resource": resource}
    return subnetworks.patch_unary(request=request)


def ranges_of(subnetwork):
    return [(one.range_name, one.ip_cidr_range) for one in subnetwork.secondary_ip_ranges]


def utilization(range_name):
    details = subnet(views="WITH_UTILIZATION").utilization_details.ipv4_utilizations
    return {one.range_name: (one.total_allocated_ip, one.total_free_ip) for one in details}[range_name]


def pool(name):
    return clusters.get_node_pool(name=f"{CLUSTER}/nodePools/{name}")


def create_pool(name, max_nodes, nodes=3, **network_config):
    return clusters.create_node_pool(
        parent=CLUSTER,
        node_pool=container_v1.NodePool(
            name=name,
            initial_node_count=nodes,
            max_pods_constraint=container_v1.MaxPodsConstraint(max_pods_per_node=32),
            autoscaling=container_v1.NodePoolAutoscaling(enabled=True, min_node_count=0, max_node_count=max_nodes),
            network_config=container_v1.NodeNetworkConfig(**network_config),
            config=container_v1.NodeConfig(machine_type="e2-medium", spot=True),
        ),
    )


def resize(name, nodes):
    request = {"name": f"{CLUSTER}/nodePools/{name}", "node_count": nodes}
    return container_done(clusters.set_node_pool_size(request=request))


def update(**fields):
    return clusters.update_cluster(request={"name": CLUSTER, "update": container_v1.ClusterUpdate(**fields)})


def the_cluster_as_the_seed_shows_it():
    assert [one.name for one in networks.list(project=PROJECT)] == ["demo"]
    cluster_subnet = subnet()
    assert cluster_subnet.ip_cidr_range == "10.1.0.0/16"
    assert ranges_of(cluster_subnet) == [("pod-range", "10.0.0.0/26"), ("svc-range", "172.16.0.0/20")]
    original = pool("original-nodepool")
    assert original.max_pods_constraint.max_pods_per_node == 16 and original.pod_ipv4_cidr_size == 27
    assert original.network_config.pod_range == "pod-range"
    assert original.network_config.pod_ipv4_cidr_block == "10.0.0.0/26"
    assert original.network_config.pod_ipv4_range_utilization == 1.0
    blocks = [nic.alias_ip_ranges[0] for vm in instances.list(project=PROJECT, zone=ZONE) for nic in vm.network_interfaces]
    assert sorted(block.ip_cidr_range for block in blocks) == ["10.0.0.0/27", "10.0.0.32/27"]
    assert {block.subnetwork_range_name for block in blocks} == {"pod-range"}
    assert utilization("pod-range") == (64, 0)
    assert utilization("") == (2, 65530), "a primary range has four addresses less"
    aggregated = {place: [one.name for one in inside.subnetworks] for place, inside in subnetworks.aggregated_list(project=PROJECT)}
    assert aggregated == {f"regions/{REGION}": ["cluster"]}
    found = clusters.get_cluster(name=CLUSTER)
    assert found.ip_allocation_policy.default_pod_ipv4_range_utilization == 1.0
    assert [one.name for one in clusters.list_clusters(parent=f"projects/{PROJECT}/locations/-").clusters] == ["demo-ip"]


def the_third_node_is_refused():
    group = pool("original-nodepool").instance_group_urls[0].rsplit("/", 1)[1]
    assert group == "gke-demo-ip-original-nodepool-22330990-grp"
    where = {"project": PROJECT, "zone": ZONE, "instance_group_manager": group}
    operation = done("zone", managers.resize_unary(**where, size=3))
    [error] = operation.error.errors
    assert error.code == "IP_SPACE_EXHAUSTED_WITH_DETAILS", operation
    assert "Insufficient free IP addresses in the IP range '10.0.0.0/26'" in error.message
    assert error.error_details[0].error_info.metadatas["secondaryRange"] == "pod-range"
    assert operation.http_error_status_code == 400
    assert [one.error.code for one in managers.list_errors(**where)] == ["IP_SPACE_EXHAUSTED_WITH_DETAILS"]
    assert pool("original-nodepool").status == container_v1.NodePool.Status.RUNNING_WITH_ERROR
    assert len(list(managers.list_managed_instances(**where))) == 2
    assert groups.get(project=PROJECT, zone=ZONE, instance_group=group).size == 2
    assert done("zone", managers.resize_unary(**where, size=2)).error.errors == []
    # A machine made by hand is refused in the same words.
    vm = compute_v1.Instance(
        name="by-hand",
        machine_type=f"zones/{ZONE}/machineTypes/e2-medium",
        network_interfaces=[
            compute_v1.NetworkInterface(
                subnetwork=f"regions/{REGION}/subnetworks/cluster",
                alias_ip_ranges=[compute_v1.AliasIpRange(ip_cidr_range="/27", subnetwork_range_name="pod-range")],
            )
        ],
    )
    operation = done("zone", instances.insert_unary(project=PROJECT, zone=ZONE, instance_resource=vm))
    assert operation.error.errors[0].message.startswith("Instance 'by-hand' creation failed: IP space of 'projects/demo-project/")
    refused(exceptions.NotFound, lambda: instances.get(project=PROJECT, zone=ZONE, instance="by-hand"), reason="notFound")


def ranges_are_added_to_subnet_and_cluster():
    before = subnet()
    request_id = str(uuid.uuid4())
    wanted = ranges_of(before) + EXTRA
    first = patch(wanted, before.fingerprint, request_id=request_id)
    again = patch(wanted, before.fingerprint, request_id=request_id)
    assert again.name == first.name, "a repeated request changes nothing"
    done("region", first)
    assert ranges_of(subnet()) == wanted
    container_done(update(additional_pod_ranges_config={"pod_range_names": [name for name, _ in EXTRA]}))
    info = clusters.get_cluster(name=CLUSTER).ip_allocation_policy.additional_pod_ranges_config
    assert [(one.range_name, one.utilization) for one in info.pod_range_info] == [(name, 0.0) for name, _ in EXTRA]


def eight_pools_get_the_ranges_of_the_screenshot():
    for i in range(1, 9):
        operation = create_pool(f"nodepool-{i}", (6 + i) * i)
        refused(
            exceptions.BadRequest,
            lambda: create_pool("too-soon", 1),
            contains=f"Cluster is running incompatible operation {operation.name}",
            status="FAILED_PRECONDITION",
        )
        assert not container_done(operation).error.message
        assert not resize(f"nodepool-{i}", 0).error.message
    pools = {one.name: one for one in clusters.list_node_pools(parent=CLUSTER).node_pools}
    given = [pools[f"nodepool-{i}"].network_config.pod_ipv4_cidr_block for i in range(1, 9)]
    a, b, c = (cidr for _, cidr in EXTRA)
    assert given == [a, b, c, a, a, a, a, a], given
    assert [pools[f"nodepool-{i}"].autoscaling.max_node_count for i in range(1, 9)] == [7, 16, 27, 40, 55, 72, 91, 112]
    operation = resize("nodepool-3", 27)
    assert operation.error.code == 8 and "Expected 27, running 16, transitioning 11" in operation.error.message
    assert not resize("nodepool-3", 0).error.message


def the_other_two_options():
    assert not container_done(create_pool("by-user", 4, nodes=1, pod_range="range-c")).error.message
    container_done(create_pool("new-range", 4, nodes=1, create_pod_range=True, pod_range="fresh", pod_ipv4_cidr_block="/22"))
    assert pool("new-range").network_config.pod_ipv4_cidr_block == "10.0.4.0/22"
    refused(
        exceptions.BadRequest,
        lambda: create_pool("thief", 1, pod_range="fresh"),
        contains='"fresh" is managed by GKE',
        status="FAILED_PRECONDITION",
    )
    container_done(clusters.delete_node_pool(name=f"{CLUSTER}/nodePools/new-range"))
    assert "fresh" not in dict(ranges_of(subnet()))
    change = {"name": f"{CLUSTER}/nodePools/by-user", "node_network_config": {"pod_range": "range-a"}}
    refused(
        exceptions.BadRequest,
        lambda: clusters.update_node_pool(request=change),
        contains="cannot be changed after creation",
        status="INVALID_ARGUMENT",
    )


def blocks_of_a_machine_change_with_the_fingerprint():
    nic = compute_v1.NetworkInterface(
        subnetwork=f"regions/{REGION}/subnetworks/cluster",
        alias_ip_ranges=[compute_v1.AliasIpRange(ip_cidr_range="/27", subnetwork_range_name="range-b")],
    )
    vm = compute_v1.Instance(name="several-blocks", machine_type="e2-medium", network_interfaces=[nic])
    assert not done("zone", instances.insert_unary(project=PROJECT, zone=ZONE, instance_resource=vm)).error.errors
    where = {"project": PROJECT, "zone": ZONE, "instance": "several-blocks"}
    found = instances.get(**where).network_interfaces[0]
    first = found.alias_ip_ranges[0].ip_cidr_range
    found.alias_ip_ranges.append(compute_v1.AliasIpRange(ip_cidr_range="/28", subnetwork_range_name="range-c"))

    def change(fingerprint):
        resource = compute_v1.NetworkInterface(alias_ip_ranges=found.alias_ip_ranges, fingerprint=fingerprint)
        return instances.update_network_interface_unary(
            **where, network_interface="nic0", network_interface_resource=resource
        )

    done("zone", change(found.fingerprint))
    blocks = [one.ip_cidr_range for one in instances.get(**where).network_interfaces[0].alias_ip_ranges]
    assert blocks[0] == first and blocks[1].endswith("/28"), blocks
    refused(exceptions.PreconditionFailed, lambda: change(found.fingerprint), reason="conditionNotMet")
    done("zone", instances.delete_unary(**where))


def bad_input_is_refused_by_name():
    latest = subnet()
    have = ranges_of(latest)
    refused(exceptions.PreconditionFailed, lambda: patch(have, "AAAAAAAAAAE="), reason="conditionNotMet", contains="AAAAAAAAAAE=")
    for cidr, text in [
        ("10.8.0.1/16", "did you mean 10.8.0.0/16?"),
        ("10.8.0.0/33", "not in 0..=32"),
        ("10.0.0.0/24", "conflicts with existing subnetwork 'cluster'"),
        ("127.0.0.0/16", "loopback"),
    ]:
        refused(
            exceptions.BadRequest,
            lambda cidr=cidr: patch(have + [("more", cidr)], latest.fingerprint),
            contains=(cidr, text),
            reason="invalid",
        )
    refused(
        exceptions.BadRequest,
        lambda: patch(have[1:], latest.fingerprint),
        contains="already being used by",
        reason="resourceInUseByAnotherResource",
    )
    refused(
        exceptions.BadRequest,
        lambda: patch(have[:-1] + [("other", "10.9.0.0/16")], latest.fingerprint),
        contains="Cannot add and remove secondary IP ranges in the same request",
    )
    refused(exceptions.NotFound, lambda: subnet("nowhere"), contains="subnetworks/nowhere", reason="notFound")
    bad = {"status": "INVALID_ARGUMENT"}
    refused(exceptions.BadRequest, lambda: create_pool("x", 1, pod_range="nowhere"), contains='"nowhere" does not exist', **bad)
    refused(exceptions.BadRequest, lambda: create_pool("No_Name", 1, pod_range="range-a"), contains="'No_Name'", **bad)
    refused(
        exceptions.BadRequest,
        lambda: update(additional_pod_ranges_config={"pod_range_names": ["nowhere"]}),
        contains='"nowhere" does not exist',
        **bad,
    )
    refused(
        exceptions.BadRequest,
        lambda: update(additional_pod_ranges_config={"pod_range_names": ["svc-range"]}),
        contains="in use for the services",
        status="FAILED_PRECONDITION",
    )
    refused(
        exceptions.BadRequest,
        lambda: update(removed_additional_pod_ranges_config={"pod_range_names": ["range-a"]}),
        contains="in use by node pool",
        status="FAILED_PRECONDITION",
    )
    refused(
        exceptions.NotFound,
        lambda: clusters.get_cluster(name=f"{LOCATION}/clusters/nowhere"),
        contains="clusters/nowhere",
        status="NOT_FOUND",
    )
    refused(exceptions.BadRequest, lambda: list(networks.list(request={"project": PROJECT, "filter": "name=x"})), contains="filters")


def a_network_from_nothing():
    done("global", networks.insert_unary(project=PROJECT, network_resource=compute_v1.Network(name="second", auto_create_subnetworks=False)))
    resource = compute_v1.Subnetwork(name="second", network="global/networks/second", ip_cidr_range="10.0.0.0/29")
    done("region", subnetworks.insert_unary(project=PROJECT, region=REGION, subnetwork_resource=resource))
    wider = compute_v1.SubnetworksExpandIpCidrRangeRequest(ip_cidr_range="10.0.0.0/28")
    where = {"project": PROJECT, "region": REGION, "subnetwork": "second"}
    done("region", subnetworks.expand_ip_cidr_range_unary(**where, subnetworks_expand_ip_cidr_range_request_resource=wider))
    assert subnet("second").ip_cidr_range == "10.0.0.0/28"
    assert len(list(subnetworks.list(request={"project": PROJECT, "region": REGION, "max_results": 1}))) == 2, "two pages"
    done("region", subnetworks.delete_unary(**where))
    done("global", networks.delete_unary(project=PROJECT, network="second"))


the_cluster_as_the_seed_shows_it()
the_third_node_is_refused()
ranges_are_added_to_subnet_and_cluster()
eight_pools_get_the_ranges_of_the_screenshot()
the_other_two_options()
blocks_of_a_machine_change_with_the_fingerprint()
bad_input_is_refused_by_name()
a_network_from_nothing()
