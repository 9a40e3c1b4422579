"""Calls every action of the simulated EC2 once and checks each answer against botocore's model. Arguments: the actions."""

import sys

from harness import client, tags, until
from shapes import ShapeChecker


def main():
    ec2 = client()
    checker = ShapeChecker(ec2)
    vpc, peer = networks(ec2)
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24", TagSpecifications=tags("subnet", "s"))["Subnet"]["SubnetId"]
    subnet_details(ec2, subnet)
    group = groups(ec2, vpc)
    gateway = routing(ec2, vpc, peer, subnet)
    machines(ec2, subnet, group)
    tagging(ec2, subnet)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.delete_security_group(GroupId=group)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=peer)
    checker.verdict()
    missing = set(sys.argv[1:]) - checker.operations
    assert not missing, f"never called with success: {', '.join(sorted(missing))}"
    print(f"{len(checker.operations)} actions answer in botocore's shapes")


def networks(ec2):
    ec2.describe_availability_zones()
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags("vpc", "v"))["Vpc"]["VpcId"]
    peer = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    until("both VPCs are available", lambda: all(v["State"] == "available" for v in ec2.describe_vpcs()["Vpcs"]))
    association = ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="100.64.0.0/20")["CidrBlockAssociation"]["AssociationId"]
    blocks = lambda: [a["CidrBlockState"]["State"] for a in ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["CidrBlockAssociationSet"]]
    until("the second range is associated", lambda: blocks() == ["associated", "associated"])
    ec2.disassociate_vpc_cidr_block(AssociationId=association)
    return vpc, peer


def subnet_details(ec2, subnet):
    ec2.describe_subnets(SubnetIds=[subnet])
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    made = ec2.create_subnet_cidr_reservation(SubnetId=subnet, Cidr="10.0.0.64/27", ReservationType="prefix", Description="d")
    identifier = made["SubnetCidrReservation"]["SubnetCidrReservationId"]
    assert len(ec2.get_subnet_cidr_reservations(SubnetId=subnet)["SubnetIpv4CidrReservations"]) == 1
    deleted = ec2.delete_subnet_cidr_reservation(SubnetCidrReservationId=identifier)
    assert deleted["DeletedSubnetCidrReservation"]["Cidr"] == "10.0.0.64/27"


def groups(ec2, vpc):
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    assert {g["GroupName"] for g in ec2.describe_security_groups()["SecurityGroups"]} >= {"g", "default"}
    return group


def routing(ec2, vpc, peer, subnet):
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    other = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    association = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)["AssociationId"]
    association = ec2.replace_route_table_association(AssociationId=association, RouteTableId=other)["NewAssociationId"]
    ec2.disassociate_route_table(AssociationId=association)
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.describe_internet_gateways()
    peering = ec2.create_vpc_peering_connection(VpcId=vpc, PeerVpcId=peer)["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=peering)
    ec2.describe_vpc_peering_connections()
    ec2.create_route(RouteTableId=other, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    ec2.create_route(RouteTableId=other, DestinationCidrBlock="10.9.0.0/16", VpcPeeringConnectionId=peering)
    targets = [r.get("GatewayId") for t in ec2.describe_route_tables(RouteTableIds=[other])["RouteTables"] for r in t["Routes"]]
    assert "local" in targets and gateway in targets, targets
    for destination in ("0.0.0.0/0", "10.9.0.0/16"):
        ec2.delete_route(RouteTableId=other, DestinationCidrBlock=destination)
    for identifier in (table, other):
        ec2.delete_route_table(RouteTableId=identifier)
    ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=peering)
    return gateway


def machines(ec2, subnet, group):
    types = ec2.describe_instance_types(InstanceTypes=["t3.medium", "p4d.24xlarge"])["InstanceTypes"]
    assert {t["InstanceType"]: t["NetworkInfo"]["Ipv4AddressesPerInterface"] for t in types} == {"t3.medium": 6, "p4d.24xlarge": 50}
    launched = ec2.run_instances(
        ImageId="ami-0123456789abcdef0", InstanceType="t3.medium", MinCount=1, MaxCount=1, UserData="text", KeyName="k",
        IamInstanceProfile={"Name": "node"}, MetadataOptions={"HttpTokens": "optional", "HttpPutResponseHopLimit": 3},
        NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group], "DeleteOnTermination": True, "Ipv4PrefixCount": 1}],
    )
    instance = launched["Instances"][0]["InstanceId"]
    found = lambda: ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    until("the instance runs", lambda: found()["State"]["Name"] == "running")
    assert found()["MetadataOptions"]["HttpPutResponseHopLimit"] == 3
    interface = ec2.create_network_interface(SubnetId=subnet, ClientToken="t", PrivateIpAddresses=[
        {"PrivateIpAddress": "10.0.0.200", "Primary": True}, {"PrivateIpAddress": "10.0.0.201", "Primary": False}])
    assert interface["NetworkInterface"]["PrivateIpAddress"] == "10.0.0.200" and interface["ClientToken"] == "t"
    interface = interface["NetworkInterface"]["NetworkInterfaceId"]
    attachment = ec2.attach_network_interface(NetworkInterfaceId=interface, InstanceId=instance, DeviceIndex=1)["AttachmentId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, SourceDestCheck={"Value": False})
    ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.0.202"])
    ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, Ipv4Prefixes=["10.0.0.96/28"])
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.0.202"], Ipv4Prefixes=["10.0.0.96/28"])
    status = lambda: ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]
    until("the interface is attached", lambda: status()["Attachment"]["Status"] == "attached")
    ec2.detach_network_interface(AttachmentId=attachment)
    until("the interface is detached", lambda: status()["Status"] == "available")
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    ec2.terminate_instances(InstanceIds=[instance])
    until("the instance is gone", lambda: found()["State"]["Name"] == "terminated")


def tagging(ec2, subnet):
    ec2.create_tags(Resources=[subnet], Tags=[{"Key": "a&b", "Value": "<1>"}, {"Key": "empty", "Value": ""}])
    listed = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [subnet]}])["Tags"]
    assert {t["Key"]: t["Value"] for t in listed} == {"Name": "s", "a&b": "<1>", "empty": ""}, listed
    ec2.delete_tags(Resources=[subnet], Tags=[{"Key": "a&b"}])


if __name__ == "__main__":
    main()
