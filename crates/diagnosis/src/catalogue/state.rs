//! Findings: what the agent holds is wrong, lost, or leaked.

findings! {
    CHECKPOINT_UNREADABLE = "CheckpointUnreadable", Broken, "The agent cannot read its checkpoint and does not start";
    means: "The file with the node's assignments is torn or of another version. The Amazon VPC CNI ends, is started again and ends again: no pod on the node gets an address.";
    remedies: [
        "Drain the node and replace it." => ["kubectl drain {node} --ignore-daemonsets --delete-emptydir-data"],
        "If that is not possible: move the file away. The agent then knows no running pod, and may give their addresses again: only with no pods on the node." => ["mv /var/run/aws-node/ipam.json /var/run/aws-node/ipam.json.broken"],
    ];
    apart_from: [];

    CHECKPOINT_FAILED = "CheckpointFailed", Broken, "The agent's state could not be written to disk";
    means: "An assignment that is not durable is undone and refused, so that no address is given twice after a crash. The disk is full, read-only or broken.";
    remedies: [
        "Look at the node's disk." => ["kubectl debug node/{node} -it --image=busybox -- df -h /host/var/run"],
    ];
    apart_from: [];

    LIVE_ALLOCATION_DISCARDED = "LiveAllocationDiscarded", Broken, "An assignment was discarded at start though its pod may live";
    means: "At its start the agent found an assignment whose address no interface seemed to have, and discarded it as stale. If the interface list was incomplete at that moment, the pod still runs: its address, or the prefix around it, can be given to another. Pods on the node that time out while host-network pods work are the sign.";
    remedies: [
        "Find the pods of these addresses, and delete those that do not answer." => ["kubectl get pods -A -o wide --field-selector spec.nodeName={node}"],
    ];
    apart_from: [];

    FORCED_REMOVAL = "ForcedRemoval", Broken, "An interface or address with pods on it was removed from the agent's store";
    means: "The agent found an interface gone from the metadata, or an address gone from EC2, and dropped it with the pods on it. Either it was really taken away from outside, and these pods have no network; or the metadata was wrong, and their addresses can be given again.";
    remedies: [
        "Find who detached it." => ["aws cloudtrail lookup-events --lookup-attributes AttributeKey=ResourceName,AttributeValue={interface} --max-results 50"],
        "Delete the pods whose addresses are gone." => ["kubectl get pods -A -o wide --field-selector spec.nodeName={node}"],
    ];
    apart_from: [];

    LEAKED_ALLOCATION = "LeakedAllocation", Wrong, "Addresses were held for pods that are gone";
    means: "A pod was deleted while the agent was down: the plugin answered success, and the address stayed assigned until the agent's next start. Rules of the host may be left too, and mis-route the next pod with this address.";
    remedies: [
        "Restart the agent on the node: it reclaims at start." => ["kubectl -n kube-system delete pod --field-selector spec.nodeName={node} -l k8s-app=aws-node"],
        "Look for rules of addresses that no pod has." => ["ip rule list | grep -E 'from|to'"],
    ];
    apart_from: [];

    LEAKED_INTERFACE = "LeakedInterface", Wrong, "Interfaces of the CNI belong to no instance and hold addresses";
    means: "An interface that the CNI made is attached to nothing: its node died between creating and attaching, or between detaching and deleting. Each holds at least one address of its subnet, and up to as many as an interface can carry.";
    remedies: [
        "Delete it, after a look that it is still unattached." => ["aws ec2 describe-network-interfaces --network-interface-ids {interface} --query 'NetworkInterfaces[].Status'", "aws ec2 delete-network-interface --network-interface-id {interface}"],
    ];
    apart_from: [];

    INTERFACE_RELEASE_FAILED = "InterfaceReleaseFailed", Wrong, "An interface or its addresses could not be given back";
    means: "Detaching, deleting or unassigning failed. The addresses stay taken though no pod uses them.";
    remedies: [
        "See what EC2 says of the interface." => ["aws ec2 describe-network-interfaces --network-interface-ids {interface}"],
    ];
    apart_from: [];
}
