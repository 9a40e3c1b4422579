//! Findings: a node's pool has no address to give, by cause.

findings! {
    SUBNET_EXHAUSTED = "SubnetExhausted", Broken, "A subnet that pods use has no free address left";
    means: "EC2 has no address left to give in the subnet: each is taken by a pod, by a node's own interface, by a warm address that some node keeps for later, or by something outside the cluster. No node in it can grow its pool, and new pods stay in ContainerCreating with `failed to assign an IP address to container`. The size of the VPC does not matter: addresses are given per subnet, and a VPC that is almost empty can hold a subnet that is full.";
    remedies: [
        "Give back warm addresses that no pod uses: keep few spare addresses instead of whole spare interfaces." => ["kubectl -n kube-system set env daemonset/aws-node WARM_IP_TARGET=2 MINIMUM_IP_TARGET={minimum_ip_target}"],
        "Let new interfaces use another subnet of the same zone that has room." => ["aws ec2 create-tags --resources {other_subnet} --tags Key=kubernetes.io/role/cni,Value=1"],
        "Add a range to the VPC and a subnet of it in each zone, with the route table of the old subnets, and let pods use it." => [
            "aws ec2 associate-vpc-cidr-block --vpc-id {vpc} --cidr-block {new_block}",
            "aws ec2 create-subnet --vpc-id {vpc} --availability-zone {zone} --cidr-block {new_subnet_block} --tag-specifications 'ResourceType=subnet,Tags=[{Key=kubernetes.io/role/cni,Value=1}]'",
            "aws ec2 associate-route-table --subnet-id {new_subnet} --route-table-id {route_table}",
        ],
    ];
    apart_from: [Fragmentation, InterfaceLimits, Throttling, Permissions, CoolDown];

    SUBNET_FRAGMENTED = "SubnetFragmented", Broken, "The subnet has free addresses, but no aligned /28 is left for a prefix";
    means: "A prefix is an aligned block of sixteen addresses. Single addresses scattered over the subnet can leave no such block free while many addresses are. EC2 answers `InsufficientCidrBlocks` then, and the Amazon VPC CNI does not fall back to single addresses, so the node stops growing.";
    remedies: [
        "Reserve a part of the subnet for prefixes, so that single addresses stay out of it." => ["aws ec2 create-subnet-cidr-reservation --subnet-id {subnet} --cidr {reservation_block} --reservation-type prefix"],
        "Take a new subnet for prefixes only." => ["aws ec2 create-subnet --vpc-id {vpc} --availability-zone {zone} --cidr-block {new_subnet_block} --tag-specifications 'ResourceType=subnet,Tags=[{Key=kubernetes.io/role/cni,Value=1}]'"],
        "Go back to single addresses until there is one." => ["kubectl -n kube-system set env daemonset/aws-node ENABLE_PREFIX_DELEGATION=false"],
    ];
    apart_from: [Exhaustion, InterfaceLimits, Throttling, Permissions];

    POD_RANGE_EXHAUSTED = "PodRangeExhausted", Broken, "A pod range has no block left for another node";
    means: "Where each node gets a block of the pod range when it is created, the range holds a fixed number of nodes: its size divided by the size of a node's block, which is twice the pods per node rounded up to a power of two. When all blocks are given, a new node cannot be created, however few pods run. On GKE the machine's creation fails with `IP_SPACE_EXHAUSTED` and the pod's event says `IP space exhausted` without naming the range.";
    remedies: [
        "Add a secondary range to the subnet, and a node pool that uses it; existing pools keep their range for life." => [
            "gcloud compute networks subnets update {subnet} --region {region} --add-secondary-ranges={new_range}={new_range_block}",
            "gcloud container node-pools create {new_pool} --cluster {cluster} --location {location} --pod-ipv4-range={new_range} --max-pods-per-node={max_pods}",
        ],
        "Let GKE choose among added ranges for every new pool." => ["gcloud container clusters update {cluster} --location {location} --additional-pod-ipv4-ranges={new_range}"],
        "Where pods per node are few, a new pool with fewer of them takes smaller blocks, so that more nodes fit." => ["gcloud container node-pools create {new_pool} --cluster {cluster} --location {location} --max-pods-per-node={fewer_pods}"],
    ];
    apart_from: [NodeRange, OtherQuota];

    NODE_RANGE_EXHAUSTED = "NodeRangeExhausted", Broken, "The range of the nodes' own addresses is full";
    means: "New machines need an address of the subnet's primary range (on GKE) or of their subnet (elsewhere), and none is left. Pods are not the reason.";
    remedies: [
        "Widen the subnet's primary range; it can grow, never shrink." => ["gcloud compute networks subnets expand-ip-range {subnet} --region {region} --prefix-length={shorter_length}"],
        "Or put new nodes into another subnet." => [],
    ];
    apart_from: [OtherQuota];

    IP_SPACE_EXHAUSTED = "IpSpaceExhausted", Broken, "A range is exhausted, and the evidence does not say which";
    means: "A machine could not be created because a range of the subnet has no room. The message names neither the range nor whether nodes or pods ran out: it takes the subnet and the node pools to tell.";
    remedies: [
        "Collect the subnet and the node pools, and run freeboard doctor again." => [
            "gcloud compute networks subnets describe {subnet} --region {region} > subnet.yaml",
            "gcloud container node-pools list --cluster {cluster} --location {location} --format=yaml > node-pools.yaml",
        ],
    ];
    apart_from: [NodeRange, OtherQuota];

    NODE_BLOCK_UNAVAILABLE = "NodeBlockUnavailable", Broken, "The controller manager has no pod block left for a node";
    means: "kube-controller-manager gives each node a block of the cluster's pod CIDR, and none is left. It tells so with an event of type Normal (`CIDRNotAvailable`), so that alerts on warnings miss it. The node stays without a pod block and NotReady; after space is freed, it may wait up to a quarter of an hour for the next try.";
    remedies: [
        "Give smaller blocks to new nodes, or a wider cluster CIDR: both are flags of kube-controller-manager." => ["kube-controller-manager --cluster-cidr={cluster_cidr} --node-cidr-mask-size={longer_length} …"],
        "Remove nodes that are no longer needed; their blocks come back." => ["kubectl delete node {node}"],
    ];
    apart_from: [];

    CALICO_POOL_EXHAUSTED = "CalicoPoolExhausted", Broken, "Calico has no address left in its pools";
    means: "Every block of every pool that the node may use is taken, or the node has reached its limit of blocks and borrowing is forbidden. Calico raises neither an event nor a condition: only the pod's failure tells.";
    remedies: [
        "See what is used and what has leaked." => ["calicoctl ipam show --show-blocks", "calicoctl ipam check"],
        "Add a pool." => ["calicoctl create -f - <<< '{\"apiVersion\":\"projectcalico.org/v3\",\"kind\":\"IPPool\",\"metadata\":{\"name\":\"pool-2\"},\"spec\":{\"cidr\":\"{new_block}\",\"blockSize\":26,\"natOutgoing\":true}}'"],
    ];
    apart_from: [];

    CILIUM_POOL_EXHAUSTED = "CiliumPoolExhausted", Broken, "Cilium has no pod block left for a node, or the node no address";
    means: "The operator could not give the node a block (`CiliumNode.status.operator.error`), or the node's block has no free address. One size of block holds for all nodes, and a node gets one slice in cluster-pool mode.";
    remedies: [
        "Append a block to the cluster pool; entries that exist must not change." => ["kubectl -n kube-system patch configmap cilium-config --type merge -p '{\"data\":{\"cluster-pool-ipv4-cidr\":\"{old_blocks} {new_block}\"}}'"],
        "In multi-pool mode add a block to the pool." => ["kubectl edit ciliumpodippool {pool}"],
    ];
    apart_from: [];

    PLUGIN_RANGE_EXHAUSTED = "PluginRangeExhausted", Broken, "The address plugin on a node has no address left in its range";
    means: "host-local, Whereabouts or another plugin with a fixed range has given out every address. With host-local the usual reason is leaked reservation files after reboots or crashes; with a small range it is simply full.";
    remedies: [
        "Compare the reservations with the sandboxes that exist, and remove those of none." => ["ls /var/lib/cni/networks/{network}", "crictl pods -q"],
        "Give the node a larger block." => [],
    ];
    apart_from: [];

    COOLING_DOWN = "CoolingDown", Broken, "Free addresses exist, but all of them are cooling down after use";
    means: "An address is not given again for a while after a pod left it (30 s by default), so that nothing still talks to its old owner. With many short-lived pods near a node's limit, every free address can be cooling at the same time.";
    remedies: [
        "Hold a few more addresses than pods." => ["kubectl -n kube-system set env daemonset/aws-node WARM_IP_TARGET=5"],
        "Shorten the cool-down, where nothing caches addresses of pods." => ["kubectl -n kube-system set env daemonset/aws-node IP_COOLDOWN_PERIOD=10"],
    ];
    apart_from: [Exhaustion, InterfaceLimits];

    INTERFACE_LIMIT = "InterfaceLimit", Broken, "Every interface and address that the node's instance type allows is taken";
    means: "An instance type allows so many interfaces, and so many addresses on each. The node has reached that and all its addresses are held by pods, while the kubelet still accepts more pods: the scheduler counts pods, not addresses.";
    remedies: [
        "Let the kubelet accept only as many pods as there are addresses." => ["kubelet --max-pods={max_pods} …"],
        "Give prefixes instead of single addresses: sixteen times as many fit (Nitro instances)." => ["kubectl -n kube-system set env daemonset/aws-node ENABLE_PREFIX_DELEGATION=true"],
        "Add nodes, or larger ones." => [],
    ];
    apart_from: [Exhaustion, Throttling];

    NODE_BLOCK_EXHAUSTED = "NodeBlockExhausted", Broken, "Every block of pod addresses that the node has of its own is full";
    means: "The node gives its pods addresses out of its own blocks (Node.spec.podCIDRs), and each address is held by a pod, while the kubelet still accepts more pods. A block is sized for the node's max-pods when the node comes up, and does not grow.";
    remedies: [
        "Let the kubelet accept only as many pods as there are addresses." => ["kubelet --max-pods={max_pods} …"],
        "Let new nodes have larger blocks, or add nodes." => [],
    ];
    apart_from: [CoolDown];

    NODE_BLOCK_MISSING = "NodeBlockMissing", Broken, "The node has no block of pod addresses that gives any";
    means: "The node gives its pods addresses out of its own blocks (Node.spec.podCIDRs), and it has none, or all of them are being drained. The controller that gives blocks to nodes says in events on the Node which range is short.";
    remedies: [
        "Look for the reason in the events of the Node." => ["kubectl describe node {node}"],
        "Give the cluster a range with room." => [],
    ];
    apart_from: [];

    NO_SUBNET_ALLOWED = "NoSubnetAllowed", Broken, "No subnet of the node's zone is allowed for pods";
    means: "The tags `kubernetes.io/role/cni` and `cni.networking.k8s.aws/cluster/<name>` leave no subnet of the zone in which the agent may create an interface. The subnet of the node's own interface is allowed unless it is tagged 0; every other subnet only when it is tagged 1.";
    remedies: [
        "Tag a subnet of the zone." => ["aws ec2 create-tags --resources {other_subnet} --tags Key=kubernetes.io/role/cni,Value=1"],
    ];
    apart_from: [Exhaustion];

    PROVISIONING_DISABLED = "ProvisioningDisabled", Wrong, "The agent is forbidden to take more addresses";
    means: "`DISABLE_NETWORK_RESOURCE_PROVISIONING` or `ENABLE_IMDS_ONLY_MODE` is true: the agent uses what the instance has and asks EC2 for nothing more. Once these addresses are taken, pods wait.";
    remedies: [
        "Let it provision again, if nothing else does." => ["kubectl -n kube-system set env daemonset/aws-node DISABLE_NETWORK_RESOURCE_PROVISIONING=false"],
    ];
    apart_from: [];

    NODE_CORDONED = "NodeCordoned", Wrong, "The node is cordoned, so its pool is not grown";
    means: "The agent does not take addresses for a node that is not schedulable. Pods that are bound to it all the same (DaemonSets, or pods with a node name) get only what the node already holds.";
    remedies: [
        "Uncordon the node, or drain it wholly." => ["kubectl uncordon {node}"],
        "Or let the agent work on cordoned nodes." => ["kubectl -n kube-system set env daemonset/aws-node AWS_MANAGE_ENIS_NON_SCHEDULABLE=true"],
    ];
    apart_from: [];

    STILL_GROWING = "StillGrowing", Wrong, "Addresses are on their way, but did not arrive in the time a pod may wait";
    means: "The agent has asked the cloud for room, and the answer took longer than an ADD may wait. The pod is tried again. If it happens often, bursts of pods are larger than the pool's reserve.";
    remedies: [
        "Keep a larger reserve." => ["kubectl -n kube-system set env daemonset/aws-node WARM_IP_TARGET=5"],
    ];
    apart_from: [Exhaustion, Throttling];

    QUEUE_FULL = "QueueFull", Wrong, "More pods wait on the node than its agent lets wait";
    means: "The agent answers the pods that it cannot queue at once with an error; the kubelet tries again. It is the sign of a burst on a node whose pool cannot grow: look for the other finding.";
    remedies: [];
    apart_from: [];

    ADDRESS_NOT_ASSIGNED = "AddressNotAssigned", Broken, "Pods get no address, and the evidence does not say why";
    means: "The runtime reports that no address could be assigned. The same words are used for a full subnet, the instance's limits, throttling, missing permissions, cool-down and more; the reason stands in the node agent's log.";
    remedies: [
        "Collect the agent's log and the node's introspection, and run freeboard doctor on them." => [
            "kubectl -n kube-system exec {agent_pod} -c aws-node -- cat /host/var/log/aws-routed-eni/ipamd.log > ipamd.log",
            "kubectl -n kube-system exec {agent_pod} -c aws-node -- curl -s http://localhost:61679/v1/enis > enis.json",
        ],
        "Collect the subnets." => ["aws ec2 describe-subnets --filters Name=vpc-id,Values={vpc} > subnets.json"],
    ];
    apart_from: [];
}
