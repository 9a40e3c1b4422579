//! Findings: agent, plugin and host.

findings! {
    NOT_READY = "NotReady", Broken, "The node's network is not ready: the agent has not finished its start";
    means: "The agent writes the CNI configuration only when it serves. Until then the runtime says `cni plugin not initialized` and the node is NotReady. If it lasts, the agent fails in its start.";
    remedies: [
        "Look at the agent's start." => ["kubectl -n kube-system logs -l k8s-app=aws-node --tail=50 --prefix", "kubectl -n kube-system describe pod -l k8s-app=aws-node"],
    ];
    apart_from: [];

    START_FAILED = "StartFailed", Broken, "The agent fails in its start";
    means: "The agent wrote `Initialization failure` and ended; it is started again and again. The words behind it name the reason.";
    remedies: [
        "Read what it says." => ["kubectl -n kube-system logs {agent_pod} -c aws-node --previous"],
    ];
    apart_from: [];

    AGENT_UNREACHABLE = "AgentUnreachable", Broken, "The plugin cannot reach the agent of its node";
    means: "The plugin dials the agent and nobody answers: the agent is down, starts, or is restarted. Pods on this node get no address until it serves; it has nothing to do with addresses.";
    remedies: [
        "Look at the agent of the node." => ["kubectl -n kube-system get pods -l k8s-app=aws-node -o wide --field-selector spec.nodeName={node}", "kubectl -n kube-system logs {agent_pod} -c aws-node --previous"],
    ];
    apart_from: [];

    TERMINATING = "Terminating", Advice, "The agent was shutting down";
    means: "The agent refuses new pods while it ends. It is a part of every update; it matters only when it lasts.";
    remedies: [];
    apart_from: [];

    POD_NETWORK_SETUP_FAILED = "PodNetworkSetupFailed", Broken, "An address was given, but the pod's network could not be built";
    means: "The plugin got an address and failed to make the pod's interface, routes or rules. The address is released again. It is a matter of the host, not of addresses.";
    remedies: [
        "Read the plugin's log for the step that failed." => ["grep -E '\"level\":\"error\"' /var/log/aws-routed-eni/plugin.log | tail"],
    ];
    apart_from: [];

    POD_NETWORK_TEARDOWN_FAILED = "PodNetworkTeardownFailed", Wrong, "The network of a pod that is gone could not be taken down";
    means: "Rules or routes of the old pod stay on the host. The next pod with the same address can be mis-routed by them.";
    remedies: [
        "Look for rules of addresses that no pod has." => ["ip rule list", "kubectl get pods -A -o wide --field-selector spec.nodeName={node}"],
    ];
    apart_from: [];

    HOST_NETWORK_FAILED = "HostNetworkFailed", Broken, "The agent cannot set up the host's rules";
    means: "iptables, rules or routes of the host could not be written. Pods on secondary interfaces or traffic that leaves the VPC do not work.";
    remedies: [
        "Look at the rules and who else writes them." => ["ip rule list", "iptables-save -t nat | grep -c AWS"],
    ];
    apart_from: [];

    SNAT_NOT_UPDATED = "SnatNotUpdated", Wrong, "A change of the VPC's blocks did not reach the host's rules";
    means: "Traffic to a new block of the VPC is translated to the node's address until the rules are written.";
    remedies: [
        "Restart the agent of the node." => ["kubectl -n kube-system delete pod --field-selector spec.nodeName={node} -l k8s-app=aws-node"],
    ];
    apart_from: [];

    NETWORK_POLICY_AGENT_DOWN = "NetworkPolicyAgentDown", Broken, "The network policy agent does not answer";
    means: "With enforcing of network policies a pod is not started before its policy is set up, and the agent for that is down.";
    remedies: [
        "Look at its container." => ["kubectl -n kube-system logs -l k8s-app=aws-node -c aws-eks-nodeagent --tail=50"],
    ];
    apart_from: [];

    VERSION_MISMATCH = "VersionMismatch", Broken, "Plugin and agent are of different versions, and the agent refuses";
    means: "The plugin on the host is not the one that the agent installs: an update stopped half-way, or something else writes the plugin.";
    remedies: [
        "Let the DaemonSet finish its update." => ["kubectl -n kube-system rollout status daemonset/aws-node"],
    ];
    apart_from: [];

    POD_LIMIT_REACHED = "PodLimitReached", Wrong, "Nodes are full by count of pods";
    means: "The scheduler finds no node that accepts another pod: the kubelets' maximum is reached. It is not a shortage of addresses as such, but no new node came either: if one should have come, look why not.";
    remedies: [
        "Add nodes, or raise the maximum where addresses allow." => [],
    ];
    apart_from: [];
}
