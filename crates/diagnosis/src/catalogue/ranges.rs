//! Findings: ranges that are, or will be, too small, and blocks that clash.

findings! {
    POOL_EXCEEDS_RANGE = "PoolExceedsRange", Wrong, "Node pools may grow to more nodes than their pod range holds";
    means: "The pools on one range may together grow to more nodes than the range has blocks. A pool has one range for life, and GKE chooses it without regard to the pool's largest size: the last nodes will fail with `IP_SPACE_EXHAUSTED`, even when another range has room.";
    remedies: [
        "Make new pools on a range with room, and move the load; a pool cannot change its range." => ["gcloud container node-pools create {new_pool} --cluster {cluster} --location {location} --pod-ipv4-range={other_range} --max-pods-per-node={max_pods} --enable-autoscaling --min-nodes=0 --max-nodes={most_nodes}"],
        "Or limit the pools to what the range holds." => ["gcloud container node-pools update {pool} --cluster {cluster} --location {location} --enable-autoscaling --max-nodes={fewer_nodes}"],
    ];
    apart_from: [];

    POD_RANGE_NEARLY_FULL = "PodRangeNearlyFull", Wrong, "More than 80 % of a pod range is given to nodes";
    means: "Few blocks are left: the next scale-up may fail. GKE's own insight warns at the same mark.";
    remedies: [
        "Add a range before it is needed." => ["gcloud compute networks subnets update {subnet} --region {region} --add-secondary-ranges={new_range}={new_range_block}"],
    ];
    apart_from: [];

    SUBNET_NEARLY_FULL = "SubnetNearlyFull", Wrong, "A subnet that nodes use is nearly full";
    means: "Less than a tenth of the subnet's usable addresses are free. One new node, or one new interface with its warm addresses, can take what is left.";
    remedies: [
        "Keep few spare addresses instead of whole spare interfaces." => ["kubectl -n kube-system set env daemonset/aws-node WARM_IP_TARGET=2 MINIMUM_IP_TARGET={minimum_ip_target}"],
        "Let new interfaces use another subnet of the same zone." => ["aws ec2 create-tags --resources {other_subnet} --tags Key=kubernetes.io/role/cni,Value=1"],
    ];
    apart_from: [];

    VPC_BLOCK_NOT_ASSOCIATED = "VpcBlockNotAssociated", Broken, "A block of the VPC is not usable";
    means: "The association of the block with the VPC has failed or is being undone. Subnets in it cannot be created or used.";
    remedies: [
        "Look at the reason, and associate another block." => ["aws ec2 describe-vpcs --vpc-ids {vpc} --query 'Vpcs[].CidrBlockAssociationSet[]'"],
    ];
    apart_from: [];

    DUPLICATE_POD_BLOCK = "DuplicatePodBlock", Broken, "Two nodes have the same pod block";
    means: "The pod blocks of two nodes overlap, so that two pods can hold one address. Known causes are two controllers at the same time, and a node that was deleted and came back.";
    remedies: [
        "Drain one of the nodes, delete it and let it join again: the block of a node cannot be changed." => ["kubectl drain {node} --ignore-daemonsets --delete-emptydir-data", "kubectl delete node {node}"],
    ];
    apart_from: [];

    DUPLICATE_ADDRESS = "DuplicateAddress", Broken, "Two running pods hold the same address";
    means: "Two pods that do not use their node's network have the same address. Traffic for one reaches the other. Known causes are an allocation that was dropped at a restart while its pod lived, and a prefix that was released while in use.";
    remedies: [
        "Delete both pods, so that each gets a new address." => ["kubectl delete pod --namespace {namespace} {pod}"],
    ];
    apart_from: [];

    NODE_BLOCK_ASSIGNMENT_FAILED = "NodeBlockAssignmentFailed", Broken, "A pod block was chosen for a node and could not be written to it";
    means: "The controller found a block but could not write it to the node. The node stays without a pod block until the next try.";
    remedies: [
        "Look at the controller's log for the refused write." => ["kubectl -n kube-system logs {controller_pod} | grep {node}"],
    ];
    apart_from: [];

    SCALE_UP_BACKOFF = "ScaleUpBackoff", Wrong, "The autoscaler waits after a failed scale-up";
    means: "After a failure the autoscaler leaves the node group alone for five minutes, then longer, up to half an hour. It does not know ranges: it will try again and fail again until the cause is gone.";
    remedies: [
        "Find the failure that came before." => ["kubectl -n kube-system get configmap cluster-autoscaler-status -o yaml"],
    ];
    apart_from: [];

    SCALE_UP_OTHER = "ScaleUpOtherCause", Wrong, "The autoscaler cannot add nodes, and addresses are not the reason";
    means: "The cloud has no machine of the type, or a quota other than addresses is used up.";
    remedies: [
        "Ask for quota, or use another machine type or zone." => [],
    ];
    apart_from: [];
}
