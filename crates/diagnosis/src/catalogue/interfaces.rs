//! Findings: interfaces cannot be made, attached or used.

findings! {
    ENI_CONFIG_MISSING = "EniConfigMissing", Broken, "A node asks for an ENIConfig that does not exist";
    means: "With custom networking a new interface takes subnet and security groups from the ENIConfig that the node's label or annotation names, `default` if none does. There is no object of that name, so that the pool cannot grow; a fresh node does not get ready.";
    remedies: [
        "Create the ENIConfig for the zone." => ["kubectl apply -f - <<< '{\"apiVersion\":\"crd.k8s.amazonaws.com/v1alpha1\",\"kind\":\"ENIConfig\",\"metadata\":{\"name\":\"{eni_config}\"},\"spec\":{\"subnet\":\"{other_subnet}\",\"securityGroups\":[\"{security_group}\"]}}'"],
        "Or let the name follow the zone." => ["kubectl -n kube-system set env daemonset/aws-node ENI_CONFIG_LABEL_DEF=topology.kubernetes.io/zone"],
    ];
    apart_from: [];

    ENI_CONFIG_WRONG_ZONE = "EniConfigWrongZone", Broken, "An ENIConfig names a subnet of another zone, or one that does not exist";
    means: "An interface can be attached only inside its zone. Nothing checks this when the ENIConfig is created: the error of EC2, in the agent's log, is the only sign.";
    remedies: [
        "Point the ENIConfig to a subnet of the zone." => ["kubectl patch eniconfig {eni_config} --type merge -p '{\"spec\":{\"subnet\":\"{other_subnet}\"}}'"],
    ];
    apart_from: [];

    ATTACHMENT_LIMIT_MISMATCH = "AttachmentLimitMismatch", Broken, "EC2 attaches fewer interfaces than the agent expects";
    means: "EC2 answered `AttachmentLimitExceeded`, or no device index is free: other programs have attached interfaces, or the agent's table of limits is wrong for this type. The agent creates an interface and deletes it again every few seconds.";
    remedies: [
        "Tell the agent how many interfaces it may use." => ["kubectl -n kube-system set env daemonset/aws-node MAX_ENI={max_eni}"],
        "See what is attached." => ["aws ec2 describe-network-interfaces --filters Name=attachment.instance-id,Values={instance}"],
    ];
    apart_from: [InterfaceLimits];

    ADDRESS_LIMIT_MISMATCH = "AddressLimitMismatch", Wrong, "The agent's store is behind EC2: an interface is full already";
    means: "EC2 answered `PrivateIpAddressLimitExceeded`: the interface carries more addresses than the agent knows of. It reads them again and goes on; if it comes back, something else assigns addresses to the interface.";
    remedies: [
        "Find who else assigns addresses." => ["aws cloudtrail lookup-events --lookup-attributes AttributeKey=EventName,AttributeValue=AssignPrivateIpAddresses --max-results 50"],
    ];
    apart_from: [];

    LIMITS_UNKNOWN = "LimitsUnknown", Broken, "The agent does not know the limits of the instance type";
    means: "The type is younger than the agent's table, and the agent may not ask EC2 (`ec2:DescribeInstanceTypes`). It does not start.";
    remedies: [
        "Allow the call, or update the agent." => ["aws iam attach-role-policy --role-name {role} --policy-arn arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"],
    ];
    apart_from: [];

    ATTACH_FAILED = "AttachFailed", Wrong, "An interface could not be attached, or its link did not appear";
    means: "EC2 refused to attach the interface, or attached it and the kernel showed no link with its hardware address: a driver or udev is in the way.";
    remedies: [
        "Compare the links of the node with the interfaces in EC2." => ["ip -br link", "aws ec2 describe-network-interfaces --filters Name=attachment.instance-id,Values={instance}"],
    ];
    apart_from: [];

    TRUNK_INTERFACE_MISSING = "TrunkInterfaceMissing", Broken, "Pods with security groups cannot start: there is no trunk interface";
    means: "Security groups for pods need a trunk interface, and the node has no slot for one or none was made.";
    remedies: [
        "Leave a slot for it." => ["kubectl -n kube-system set env daemonset/aws-node WARM_ENI_TARGET=0 WARM_IP_TARGET=2"],
        "Use an instance type that supports trunk interfaces." => [],
    ];
    apart_from: [];

    SECURITY_GROUP_FALLBACK = "SecurityGroupFallback", Advice, "An ENIConfig names no security groups: those of the node's first interface are used";
    means: "With custom networking the pods' interfaces then have the node's groups. It works; it may be more than pods should have.";
    remedies: [
        "Name the groups." => ["kubectl patch eniconfig {eni_config} --type merge -p '{\"spec\":{\"securityGroups\":[\"{security_group}\"]}}'"],
    ];
    apart_from: [];

    FOREIGN_INTERFACE = "ForeignInterface", Advice, "Something else attaches interfaces to a node";
    means: "The agent found an interface that it did not attach. It adopts it unless told otherwise, and the slot is gone for pods if it may not.";
    remedies: [
        "Mark interfaces that pods must not use." => ["aws ec2 create-tags --resources {interface} --tags Key=node.k8s.amazonaws.com/no_manage,Value=true"],
    ];
    apart_from: [];
}
