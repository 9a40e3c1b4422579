"""The whole life of a network, driven by boto3: VPC, subnets, second range, instance, interfaces, prefixes, exhaustion, clean-up."""

from harness import client, refused, tags, until
from shapes import ShapeChecker


def main():
    ec2 = client()
    checker = ShapeChecker(ec2)
    vpc = make_vpc(ec2)
    small, large = make_subnets(ec2, vpc)
    association = add_range(ec2, vpc)
    prefixed = subnet(ec2, vpc, "100.64.1.0/24", "us-west-2a")
    instance = launch(ec2, small)
    interface, attachment = secondary_addresses(ec2, instance, small)
    prefix_interface, prefix_attachment = prefixes(ec2, instance, prefixed)
    exhaust(ec2, large)
    clean_up(ec2, instance, [(interface, attachment), (prefix_interface, prefix_attachment)])
    for identifier in (small, large, prefixed):
        ec2.delete_subnet(SubnetId=identifier)
    remove_range(ec2, vpc, association)
    ec2.delete_vpc(VpcId=vpc)
    assert ec2.describe_vpcs()["Vpcs"] == []
    checker.verdict()
    print(f"boto3 story: {len(checker.operations)} actions")


def make_vpc(ec2):
    refused("InvalidVpc.Range", lambda: ec2.create_vpc(CidrBlock="10.0.0.0/8"), contains="10.0.0.0/8")
    refused("InvalidParameterValue", lambda: ec2.create_vpc(CidrBlock="10.0.0.0"), contains="not a valid CIDR block")
    refused("DryRunOperation", lambda: ec2.create_vpc(CidrBlock="10.0.0.0/16", DryRun=True), status=412)
    assert ec2.describe_vpcs()["Vpcs"] == []
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags("vpc", "story"))["Vpc"]
    assert vpc["State"] == "pending" and vpc["CidrBlock"] == "10.0.0.0/16"
    identifier = vpc["VpcId"]
    until("the VPC is available", lambda: ec2.describe_vpcs(VpcIds=[identifier])["Vpcs"][0]["State"] == "available")
    found = ec2.describe_vpcs(Filters=[{"Name": "tag:Name", "Values": ["st*"]}])["Vpcs"]
    assert [v["VpcId"] for v in found] == [identifier]
    return identifier


def subnet(ec2, vpc, cidr, zone):
    made = ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone, TagSpecifications=tags("subnet", cidr))
    return made["Subnet"]["SubnetId"]


def free(ec2, identifier):
    return ec2.describe_subnets(SubnetIds=[identifier])["Subnets"][0]["AvailableIpAddressCount"]


def make_subnets(ec2, vpc):
    small = subnet(ec2, vpc, "10.0.208.0/27", "us-west-2a")
    large = subnet(ec2, vpc, "10.0.224.0/27", "us-west-2b")
    assert free(ec2, small) == 27 and free(ec2, large) == 27
    refused("InvalidSubnet.Conflict", lambda: subnet(ec2, vpc, "10.0.208.16/28", "us-west-2a"))
    refused("InvalidSubnet.Range", lambda: subnet(ec2, vpc, "100.64.1.0/24", "us-west-2a"), contains="100.64.1.0/24")
    refused("InvalidParameterValue", lambda: subnet(ec2, vpc, "10.0.0.0/27", "us-west-2z"), contains="us-west-2z")
    assert len(ec2.describe_subnets()["Subnets"]) == 2
    return small, large


def association_state(ec2, vpc, association):
    associations = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["CidrBlockAssociationSet"]
    states = [a["CidrBlockState"]["State"] for a in associations if a["AssociationId"] == association]
    return states[0] if states else "disassociated"


def add_range(ec2, vpc):
    refused("InvalidVpc.Range", lambda: ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="192.168.0.0/16"), contains="restricted")
    answer = ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="100.64.0.0/20")["CidrBlockAssociation"]
    assert answer["CidrBlockState"]["State"] == "associating"
    association = answer["AssociationId"]
    until("the range is associated", lambda: association_state(ec2, vpc, association) == "associated")
    return association


def remove_range(ec2, vpc, association):
    ec2.disassociate_vpc_cidr_block(AssociationId=association)
    until("the range is gone", lambda: association_state(ec2, vpc, association) == "disassociated")


def instance_state(ec2, instance):
    reservations = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    assert len(reservations) == 1, reservations
    return reservations[0]["Instances"][0]["State"]["Name"]


def launch(ec2, subnet_id):
    arguments = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.medium", "MinCount": 1, "MaxCount": 1}
    arguments |= {"SubnetId": subnet_id, "ClientToken": "story-1", "TagSpecifications": tags("instance", "node")}
    first = ec2.run_instances(**arguments)["Instances"][0]["InstanceId"]
    again = ec2.run_instances(**arguments)["Instances"][0]["InstanceId"]
    assert first == again, "the same token must give the same instance"
    refused("IdempotentParameterMismatch", lambda: ec2.run_instances(**(arguments | {"InstanceType": "t3.small"})))
    until("the instance runs", lambda: instance_state(ec2, first) == "running")
    assert free(ec2, subnet_id) == 26
    return first


def attach(ec2, interface, instance, index):
    attachment = ec2.attach_network_interface(NetworkInterfaceId=interface, InstanceId=instance, DeviceIndex=index)

    def status():
        found = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]
        return found["Status"] == "in-use" and found["Attachment"]["Status"] == "attached"

    until(f"{interface} is attached", status)
    return attachment["AttachmentId"]


def secondary_addresses(ec2, instance, subnet_id):
    made = ec2.create_network_interface(SubnetId=subnet_id, Description=f"aws-K8S-{instance}")["NetworkInterface"]
    interface = made["NetworkInterfaceId"]
    assert made["Status"] == "available" and "Attachment" not in made
    attachment = attach(ec2, interface, instance, 1)
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=interface, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True}
    )
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=5)
    assigned = [a["PrivateIpAddress"] for a in answer["AssignedPrivateIpAddresses"]]
    assert len(assigned) == 5
    assert free(ec2, subnet_id) == 20
    refused(
        "PrivateIpAddressLimitExceeded",
        lambda: ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=1),
    )
    refused(
        "InvalidParameterValue",
        lambda: ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.224.9"]),
        contains=interface,
    )
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=assigned[:2])
    found = ec2.describe_network_interfaces(Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])
    second = [i for i in found["NetworkInterfaces"] if i["NetworkInterfaceId"] == interface][0]
    addresses = [a["PrivateIpAddress"] for a in second["PrivateIpAddresses"]]
    assert addresses[0] == made["PrivateIpAddress"] and sorted(addresses[1:]) == sorted(assigned[2:])
    assert free(ec2, subnet_id) == 22
    return interface, attachment


def prefixes(ec2, instance, subnet_id):
    made = ec2.create_network_interface(SubnetId=subnet_id, Ipv4PrefixCount=1)["NetworkInterface"]
    interface = made["NetworkInterfaceId"]
    assert len(made["Ipv4Prefixes"]) == 1 and free(ec2, subnet_id) == 251 - 1 - 16
    attachment = attach(ec2, interface, instance, 2)
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, Ipv4PrefixCount=2)
    assigned = [p["Ipv4Prefix"] for p in answer["AssignedIpv4Prefixes"]]
    assert len(assigned) == 2 and all(p.endswith("/28") for p in assigned)
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, Ipv4Prefixes=assigned[:1])
    assert free(ec2, subnet_id) == 251 - 1 - 32
    return interface, attachment


def exhaust(ec2, subnet_id):
    """Fills a /27 and takes it apart again: one stray address costs a whole /28, and a full subnet says so."""
    fragmenting = ec2.create_network_interface(SubnetId=subnet_id, SecondaryPrivateIpAddressCount=10)["NetworkInterface"]
    refused("InsufficientCidrBlocks", lambda: ec2.assign_private_ip_addresses(NetworkInterfaceId=fragmenting["NetworkInterfaceId"], Ipv4PrefixCount=1))
    assert free(ec2, subnet_id) == 16, "fragmented is not full"
    filling = ec2.create_network_interface(SubnetId=subnet_id, SecondaryPrivateIpAddressCount=15)["NetworkInterface"]
    assert free(ec2, subnet_id) == 0
    refused(
        "InsufficientFreeAddressesInSubnet",
        lambda: ec2.assign_private_ip_addresses(NetworkInterfaceId=filling["NetworkInterfaceId"], SecondaryPrivateIpAddressCount=1),
        contains="does not have enough free addresses",
    )
    refused("InsufficientFreeAddressesInSubnet", lambda: ec2.create_network_interface(SubnetId=subnet_id))
    refused("InsufficientFreeAddressesInSubnet", lambda: launch_into(ec2, subnet_id), contains=subnet_id)
    refused("DependencyViolation", lambda: ec2.delete_subnet(SubnetId=subnet_id), contains=subnet_id)
    for interface in (fragmenting, filling):
        ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    assert free(ec2, subnet_id) == 27


def launch_into(ec2, subnet_id):
    return ec2.run_instances(ImageId="ami-0123456789abcdef0", InstanceType="t3.medium", MinCount=1, MaxCount=1, SubnetId=subnet_id)


def clean_up(ec2, instance, interfaces):
    for interface, attachment in interfaces:
        refused("InvalidParameterValue", lambda: ec2.delete_network_interface(NetworkInterfaceId=interface), contains="currently in use")
        ec2.detach_network_interface(AttachmentId=attachment)
        wait = lambda: ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]["Status"] == "available"
        until(f"{interface} is detached", wait)
        ec2.delete_network_interface(NetworkInterfaceId=interface)
        refused("InvalidNetworkInterfaceID.NotFound", lambda: ec2.describe_network_interfaces(NetworkInterfaceIds=[interface]), contains=f"'{interface}'")
    primary = ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert len(primary) == 1
    refused("OperationNotPermitted", lambda: ec2.detach_network_interface(AttachmentId=primary[0]["Attachment"]["AttachmentId"]), contains="index 0")
    change = ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"][0]
    assert change["PreviousState"]["Name"] == "running" and change["CurrentState"]["Name"] == "shutting-down"
    until("the instance is gone", lambda: instance_state(ec2, instance) == "terminated")
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []


if __name__ == "__main__":
    main()
