//! Actions about instances and instance types.

use base64::Engine as _;
use freeboard_address::{EniId, InstanceId, SecurityGroupId, SubnetId};
use freeboard_vpc::{
    ApiError, Cloud, HttpTokens, ImageId, LaunchInterface, MetadataOptions, RunInstances, TerminateInstances,
};

use super::interfaces::{primary, structured_addresses};
use super::{Action, change, describe, show, tag_specifications};
use crate::query::{Member, Query};
use crate::xml::Encode;

pub(super) const ACTIONS: &[Action] = &[
    Action::new("DescribeInstances", |query| {
        query.ignore("IncludeManagedResources");
        let request = describe(query, "InstanceId", |id| InstanceId::new(id))?;
        Ok(show(request, Cloud::describe_instances, "reservationSet"))
    }),
    Action::new("DescribeInstanceTypes", |query| {
        query.ignore("IncludeUnsupportedInRegion");
        let request = describe(query, "InstanceType", str::to_owned)?;
        Ok(show(request, Cloud::describe_instance_types, "instanceTypeSet"))
    }),
    Action::new("RunInstances", |query| Ok(change(run(query)?, Cloud::run_instances, Encode::encode))),
    Action::new("TerminateInstances", |query| {
        query.ignore("Force");
        query.ignore("SkipOsShutdown");
        let instance_ids: Vec<_> = query.texts("InstanceId").into_iter().map(InstanceId::new).collect();
        if instance_ids.is_empty() {
            return Err(ApiError::missing_parameter("InstanceId"));
        }
        let request = TerminateInstances { instance_ids };
        Ok(change(request, Cloud::terminate_instances, |changes, xml| xml.values("instancesSet", changes)))
    }),
];

/// Inputs of RunInstances that concern disks, prices and guests: they have no effect on the network.
const WITHOUT_EFFECT: &[&str] = &[
    "BlockDeviceMapping",
    "CapacityReservationSpecification",
    "CpuOptions",
    "CreditSpecification",
    "DisableApiStop",
    "DisableApiTermination",
    "EbsOptimized",
    "EnclaveOptions",
    "HibernationOptions",
    "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions",
    "KeyName",
    "LicenseSpecification",
    "MaintenanceOptions",
    "Monitoring",
    "Placement",
    "PrivateDnsNameOptions",
];

fn run(query: &Query) -> Result<RunInstances, ApiError> {
    for name in WITHOUT_EFFECT {
        query.ignore(name);
    }
    let count = |name: &str| query.count(name)?.ok_or_else(|| ApiError::missing_parameter(name));
    Ok(RunInstances {
        image_id: ImageId::new(query.required("ImageId")?),
        // The service's default.
        instance_type: query.text("InstanceType").unwrap_or("m1.small").to_owned(),
        min_count: count("MinCount")?,
        max_count: count("MaxCount")?,
        subnet_id: query.text("SubnetId").map(SubnetId::new),
        security_group_ids: query.texts("SecurityGroupId").into_iter().map(SecurityGroupId::new).collect(),
        private_ip_address: query.address("PrivateIpAddress")?,
        network_interfaces: query.members("NetworkInterface").iter().map(interface).collect::<Result<_, _>>()?,
        client_token: query.text("ClientToken").map(str::to_owned),
        user_data: query.text("UserData").map(user_data).transpose()?,
        iam_instance_profile: instance_profile(query),
        metadata_options: metadata_options(query)?,
        tag_specifications: tag_specifications(query)?,
    })
}

/// The profile's name; an ARN ends in it.
fn instance_profile(query: &Query) -> Option<String> {
    let from_arn = |arn: &str| arn.rsplit('/').next().unwrap_or(arn).to_owned();
    query
        .text("IamInstanceProfile.Name")
        .map(str::to_owned)
        .or_else(|| query.text("IamInstanceProfile.Arn").map(from_arn))
}

fn user_data(text: &str) -> Result<String, ApiError> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| ApiError::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."))
}

fn interface(member: &Member<'_>) -> Result<LaunchInterface, ApiError> {
    let (mut addresses, named_primary) = structured_addresses(member)?;
    let primary_address = primary(member.address("PrivateIpAddress")?, named_primary)?;
    addresses.private_ip_addresses.retain(|address| Some(*address) != primary_address);
    // The fabric gives no public addresses; whether one is wished changes nothing in the VPC.
    member.flag("AssociatePublicIpAddress")?;
    Ok(LaunchInterface {
        device_index: member.count("DeviceIndex")?.unwrap_or(0),
        network_interface_id: member.text("NetworkInterfaceId").map(EniId::new),
        subnet_id: member.text("SubnetId").map(SubnetId::new),
        description: member.text("Description").map(str::to_owned),
        security_group_ids: member.texts("SecurityGroupId").into_iter().map(SecurityGroupId::new).collect(),
        primary_address,
        addresses,
        delete_on_termination: member.flag("DeleteOnTermination")?,
        network_card_index: member.count("NetworkCardIndex")?,
    })
}

fn metadata_options(query: &Query) -> Result<MetadataOptions, ApiError> {
    let mut options = MetadataOptions::default();
    if let Some(word) = query.text("MetadataOptions.HttpTokens") {
        options.http_tokens = HttpTokens::from_word(word)
            .ok_or_else(|| ApiError::invalid_value("httpTokens", word, "Expected required or optional."))?;
    }
    if let Some(limit) = query.count("MetadataOptions.HttpPutResponseHopLimit")? {
        let valid = u8::try_from(limit).ok().filter(|limit| (1..=64).contains(limit));
        options.http_put_response_hop_limit = valid.ok_or_else(|| {
            ApiError::invalid_value("httpPutResponseHopLimit", &limit.to_string(), "Expected a number from 1 to 64.")
        })?;
    }
    match query.text("MetadataOptions.HttpEndpoint") {
        None | Some("enabled") => {}
        Some("disabled") => options.http_endpoint_enabled = false,
        Some(other) => return Err(ApiError::invalid_value("httpEndpoint", other, "Expected enabled or disabled.")),
    }
    query.ignore("MetadataOptions.HttpProtocolIpv6");
    query.ignore("MetadataOptions.InstanceMetadataTags");
    Ok(options)
}
