//! Findings: settings that refuse, contradict one another, or waste addresses.

findings! {
    INVALID_SETTINGS = "InvalidSettings", Broken, "The agent refuses its settings";
    means: "A combination of settings is not possible, and the agent does not start with it.";
    remedies: [
        "See the settings." => ["kubectl -n kube-system get daemonset aws-node -o jsonpath='{.spec.template.spec.containers[0].env}'"],
    ];
    apart_from: [];

    PREFIXES_NOT_SUPPORTED = "PrefixesNotSupported", Wrong, "Prefixes are asked for on an instance type that cannot carry them";
    means: "Prefixes need a Nitro or bare-metal instance. Elsewhere the agent silently takes single addresses, so that the node holds far fewer pods than planned.";
    remedies: [
        "Use a Nitro instance type, or plan with single addresses." => [],
    ];
    apart_from: [];

    MORE_PODS_THAN_ADDRESSES = "MorePodsThanAddresses", Wrong, "A node accepts more pods than it can ever have addresses";
    means: "The kubelet's maximum of pods is above what the instance type's interfaces and addresses allow. The scheduler sends pods that can never get an address.";
    remedies: [
        "Set the maximum to what fits." => ["kubelet --max-pods={max_pods} …"],
        "Or give prefixes instead of single addresses." => ["kubectl -n kube-system set env daemonset/aws-node ENABLE_PREFIX_DELEGATION=true"],
    ];
    apart_from: [];

    MINIMUM_WITHOUT_WARM = "MinimumWithoutWarm", Wrong, "MINIMUM_IP_TARGET is set without WARM_IP_TARGET: the pool stops at the minimum";
    means: "With a minimum alone, the agent asks for nothing once it holds the minimum, and the next pod waits for ever.";
    remedies: [
        "Set both." => ["kubectl -n kube-system set env daemonset/aws-node WARM_IP_TARGET=2"],
    ];
    apart_from: [];

    CUSTOM_NETWORKING_WITHOUT_CONFIG = "CustomNetworkingWithoutConfig", Wrong, "Custom networking is on, and there is no ENIConfig";
    means: "Nodes that start now cannot attach an interface for pods and do not get ready. Create the ENIConfigs before the setting is switched on.";
    remedies: [
        "Create one ENIConfig per zone." => ["kubectl apply -f - <<< '{\"apiVersion\":\"crd.k8s.amazonaws.com/v1alpha1\",\"kind\":\"ENIConfig\",\"metadata\":{\"name\":\"{zone}\"},\"spec\":{\"subnet\":\"{other_subnet}\",\"securityGroups\":[\"{security_group}\"]}}'"],
    ];
    apart_from: [];

    WARM_POOL_WASTE = "WarmPoolWaste", Advice, "Nodes hold many addresses that no pod uses";
    means: "With the default (`WARM_ENI_TARGET=1`) every node keeps a whole spare interface with all its addresses, though a few would do. In a small subnet this is what fills it. The addresses of a node's first interface are not counted: the node needs that interface anyway.";
    remedies: [
        "Keep few spare addresses instead of whole spare interfaces." => ["kubectl -n kube-system set env daemonset/aws-node WARM_IP_TARGET=2 MINIMUM_IP_TARGET={minimum_ip_target}"],
    ];
    apart_from: [];
}
