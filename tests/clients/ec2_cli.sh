# The aws CLI against the simulated EC2: what a person types, from an empty region to an empty region. Needs `aws` in PATH.
set -eu

say() { printf '%s\n' "$*"; }
fail() { say "FAILED: $*" >&2; exit 1; }
# Waits until a command prints the expected text; at most about 30 s.
wait_for() {
    expected=$1; shift
    for _ in $(seq 60); do
        actual=$("$@")
        [ "$actual" = "$expected" ] && return 0
        sleep 0.2
    done
    fail "expected $expected, last seen $actual: $*"
}

vpc=$(aws ec2 create-vpc --cidr-block 10.0.0.0/16 --query Vpc.VpcId --output text)
wait_for available aws ec2 describe-vpcs --vpc-ids "$vpc" --query 'Vpcs[0].State' --output text
association=$(aws ec2 associate-vpc-cidr-block --vpc-id "$vpc" --cidr-block 100.64.0.0/20 \
    --query CidrBlockAssociation.AssociationId --output text)
wait_for associated aws ec2 describe-vpcs --vpc-ids "$vpc" --output text \
    --query "Vpcs[0].CidrBlockAssociationSet[?AssociationId=='$association'].CidrBlockState.State"
subnet=$(aws ec2 create-subnet --vpc-id "$vpc" --availability-zone us-west-2a --cidr-block 100.64.1.0/28 \
    --tag-specifications 'ResourceType=subnet,Tags=[{Key=kubernetes.io/role/cni,Value=1}]' --query Subnet.SubnetId --output text)
instance=$(aws ec2 run-instances --image-id ami-0123456789abcdef0 --instance-type t3.small --subnet-id "$subnet" \
    --query 'Instances[0].InstanceId' --output text)
wait_for running aws ec2 describe-instances --instance-ids "$instance" --query 'Reservations[0].Instances[0].State.Name' --output text
interface=$(aws ec2 create-network-interface --subnet-id "$subnet" --secondary-private-ip-address-count 3 \
    --query NetworkInterface.NetworkInterfaceId --output text)
attachment=$(aws ec2 attach-network-interface --network-interface-id "$interface" --instance-id "$instance" --device-index 1 \
    --query AttachmentId --output text)
wait_for attached aws ec2 describe-network-interfaces --network-interface-ids "$interface" \
    --query 'NetworkInterfaces[0].Attachment.Status' --output text
aws ec2 assign-private-ip-addresses --network-interface-id "$interface" --secondary-private-ip-address-count 9 2>error.txt \
    && fail "a t3.small interface holds four addresses"
grep -q 'PrivateIpAddressLimitExceeded' error.txt || fail "$(cat error.txt)"
[ "$(aws ec2 describe-subnets --query 'Subnets[0].AvailableIpAddressCount' --output text)" = 6 ] || fail "six addresses should be left"
aws ec2 describe-subnets --subnet-ids subnet-00000000 2>error.txt && fail "there is no such subnet"
grep -q "InvalidSubnetID.NotFound.*'subnet-00000000' does not exist" error.txt || fail "$(cat error.txt)"

# Prefixes: a /26 has two whole /28 blocks, because the first and the last one hold reserved addresses.
blocks=$(aws ec2 create-subnet --vpc-id "$vpc" --availability-zone us-west-2a --cidr-block 100.64.2.0/26 --query Subnet.SubnetId --output text)
free() { aws ec2 describe-subnets --subnet-ids "$blocks" --query 'Subnets[0].AvailableIpAddressCount' --output text; }
prefixed=$(aws ec2 create-network-interface --subnet-id "$blocks" --private-ip-address 100.64.2.10 \
    --query NetworkInterface.NetworkInterfaceId --output text)
taken=$(aws ec2 assign-private-ip-addresses --network-interface-id "$prefixed" --ipv4-prefix-count 2 \
    --query 'sort(AssignedIpv4Prefixes[].Ipv4Prefix)' --output text)
[ "$taken" = "$(printf '100.64.2.16/28\t100.64.2.32/28')" ] || fail "two prefixes were expected, not $taken"
[ "$(free)" = 26 ] || fail "26 addresses should be left, not $(free)"
aws ec2 assign-private-ip-addresses --network-interface-id "$prefixed" --ipv4-prefix-count 1 2>error.txt \
    && fail "no aligned /28 is left"
grep -q 'InsufficientCidrBlocks' error.txt || fail "$(cat error.txt)"
# Exhaustion: another interface takes all the single addresses that are left, and then there is none.
filler=$(aws ec2 create-network-interface --subnet-id "$blocks" --secondary-private-ip-address-count 25 \
    --query NetworkInterface.NetworkInterfaceId --output text)
[ "$(free)" = 0 ] || fail "the subnet should be full, not have $(free) left"
aws ec2 create-network-interface --subnet-id "$blocks" 2>error.txt && fail "the subnet is full"
grep -q 'InsufficientFreeAddressesInSubnet' error.txt || fail "$(cat error.txt)"
aws ec2 unassign-private-ip-addresses --network-interface-id "$prefixed" --ipv4-prefixes 100.64.2.16/28
[ "$(free)" = 16 ] || fail "a returned prefix should leave 16 addresses, not $(free)"
for each in "$prefixed" "$filler"; do aws ec2 delete-network-interface --network-interface-id "$each"; done
[ "$(free)" = 59 ] || fail "the subnet should be empty again, not have $(free) left"
aws ec2 delete-subnet --subnet-id "$blocks"

aws ec2 detach-network-interface --attachment-id "$attachment"
wait_for available aws ec2 describe-network-interfaces --network-interface-ids "$interface" --query 'NetworkInterfaces[0].Status' --output text
aws ec2 delete-network-interface --network-interface-id "$interface"
aws ec2 terminate-instances --instance-ids "$instance" --output text >/dev/null
wait_for terminated aws ec2 describe-instances --instance-ids "$instance" --query 'Reservations[0].Instances[0].State.Name' --output text
aws ec2 delete-subnet --subnet-id "$subnet"
aws ec2 disassociate-vpc-cidr-block --association-id "$association" --output text >/dev/null
wait_for 1 aws ec2 describe-vpcs --vpc-ids "$vpc" --query 'length(Vpcs[0].CidrBlockAssociationSet[?CidrBlockState.State==`associated`])' --output text
aws ec2 delete-vpc --vpc-id "$vpc"
[ "$(aws ec2 describe-vpcs --query 'length(Vpcs)' --output text)" = 0 ] || fail "a VPC is left"
say "aws CLI story: done"
