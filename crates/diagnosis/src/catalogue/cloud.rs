//! Findings: the cloud refuses, is slow, or says two things.

findings! {
    NOT_AUTHORIZED = "NotAuthorized", Broken, "The agent's role may not make a call that it needs";
    means: "EC2 answered `UnauthorizedOperation`. The pool cannot grow, however many addresses are free. The policy AmazonEKS_CNI_Policy holds every call that the agent makes.";
    remedies: [
        "Attach the policy to the role that the agent uses." => ["aws iam attach-role-policy --role-name {role} --policy-arn arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"],
        "See which role the agent uses." => ["kubectl -n kube-system get serviceaccount aws-node -o yaml"],
    ];
    apart_from: [Exhaustion, Throttling];

    THROTTLED = "Throttled", Wrong, "The cloud refuses calls at this rate";
    means: "EC2 answered `RequestLimitExceeded`. The limit is per account, region and action, so that every node and every other program in the account shares it. Pools grow late or not at all while it lasts.";
    remedies: [
        "Ask for whole interfaces or prefixes, so that fewer calls are made." => ["kubectl -n kube-system set env daemonset/aws-node ENABLE_PREFIX_DELEGATION=true WARM_PREFIX_TARGET=1"],
        "Let not every node sweep for leaked interfaces." => ["kubectl -n kube-system set env daemonset/aws-node DISABLE_LEAKED_ENI_CLEANUP=true"],
        "Find who makes the calls." => ["aws cloudtrail lookup-events --lookup-attributes AttributeKey=EventName,AttributeValue={action} --max-results 50"],
    ];
    apart_from: [Exhaustion, Permissions];

    CLOUD_UNAVAILABLE = "CloudUnavailable", Wrong, "The cloud does not answer, or fails";
    means: "Calls to EC2 or to the metadata service time out or end in server errors. Pods get what the node already holds and no more.";
    remedies: [
        "Look whether the node reaches the endpoint: routes, NAT, endpoint policy, DNS." => ["curl -sS -m 5 -o /dev/null -w '%{http_code}\\n' https://ec2.{region}.amazonaws.com/ping"],
        "Look whether the region has an incident." => [],
    ];
    apart_from: [Throttling, Permissions];

    METADATA_LAG = "MetadataLag", Wrong, "The metadata service does not show what EC2 has given";
    means: "The agent asked EC2 for an interface or addresses, EC2 said yes, and the instance metadata did not show them in time. The agent waits for the metadata and gives up, though the addresses exist.";
    remedies: [
        "Nothing, if it heals within a minute. If it lasts, compare both sides." => [
            "aws ec2 describe-network-interfaces --filters Name=attachment.instance-id,Values={instance}",
            "curl -s http://169.254.169.254/latest/meta-data/network/interfaces/macs/",
        ],
    ];
    apart_from: [];

    METADATA_DRIFT = "MetadataDrift", Wrong, "The metadata service and the agent's store disagree";
    means: "The list of addresses in the instance metadata is not the agent's. The agent asks EC2 and believes it. Again and again, it means that the metadata is stale or that something else changes the interface; stale metadata has led to addresses given twice.";
    remedies: [
        "Find who else changes the interface." => ["aws cloudtrail lookup-events --lookup-attributes AttributeKey=ResourceName,AttributeValue={interface} --max-results 50"],
    ];
    apart_from: [];

    API_SERVER_UNREACHABLE = "ApiServerUnreachable", Wrong, "The agent cannot reach the Kubernetes API server";
    means: "The agent starts degraded or not at all. With custom networking it cannot know which ENIConfig applies, so that the pool does not grow.";
    remedies: [
        "Look whether kube-proxy runs on the node and whether the cluster's endpoint allows the node." => ["kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide --field-selector spec.nodeName={node}"],
    ];
    apart_from: [];

    TAGGING_FAILED = "TaggingFailed", Wrong, "New interfaces could not be tagged";
    means: "Without its tags an interface that is left behind cannot be recognised and collected: it leaks. Mostly the permission `ec2:CreateTags` is missing, or the call is throttled.";
    remedies: [
        "Allow `ec2:CreateTags` on network interfaces." => ["aws iam attach-role-policy --role-name {role} --policy-arn arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"],
    ];
    apart_from: [];

    SUBNET_OF_OTHER_ACCOUNT = "SubnetOfOtherAccount", Advice, "An interface lies in a subnet that the agent cannot see";
    means: "The subnet of an attached interface is not among the VPC's subnets, as with interfaces that another account made. The agent treats it as allowed.";
    remedies: [];
    apart_from: [];
}
