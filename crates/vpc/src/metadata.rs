//! What the metadata service of an instance knows: a view that lags behind the control plane.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use freeboard_address::{Cidr, EniId, InstanceId, MacAddress, SecurityGroupId, SubnetId, VpcId};
use jiff::Timestamp;
use serde::Serialize;

use crate::cloud::{Cloud, after};
use crate::ids::ImageId;
use crate::links::Link;
use crate::model::{IamInstanceProfile, InstanceState, MetadataOptions, NetworkInterface, Tag};

/// Everything that the metadata service of one instance can answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetadataView {
    /// `instance-id`.
    pub instance_id: InstanceId,
    /// `instance-type`.
    pub instance_type: String,
    /// `ami-id`.
    pub image_id: ImageId,
    /// `reservation-id`.
    pub reservation_id: String,
    /// `ami-launch-index`.
    pub launch_index: u32,
    /// The account (`owner-id`, identity document).
    pub account_id: String,
    /// `x86_64` or `arm64` (identity document).
    pub architecture: String,
    /// When the instance was launched (identity document).
    pub pending_time: Timestamp,
    /// `placement/region`.
    pub region: String,
    /// `placement/availability-zone`.
    pub availability_zone: String,
    /// `placement/availability-zone-id`.
    pub availability_zone_id: String,
    /// `mac`: the first interface's.
    pub mac: MacAddress,
    /// `local-ipv4`: the first interface's primary address.
    pub local_ipv4: Ipv4Addr,
    /// `hostname` and `local-hostname`.
    pub local_hostname: String,
    /// `security-groups`: names of the first interface's groups.
    pub security_groups: Vec<String>,
    /// `iam/info`.
    pub iam_instance_profile: Option<IamInstanceProfile>,
    /// `user-data`.
    pub user_data: Option<String>,
    /// Token and hop-limit settings.
    pub options: MetadataOptions,
    /// The instance's tags.
    pub tags: Vec<Tag>,
    /// `network/interfaces/macs/`: the interfaces whose link exists, by device index.
    pub interfaces: Vec<InterfaceMetadata>,
}

/// The keys under `network/interfaces/macs/<mac>/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceMetadata {
    /// `mac`, and the directory's name.
    pub mac: MacAddress,
    /// `interface-id`.
    pub interface_id: EniId,
    /// `device-number`.
    pub device_number: u32,
    /// `network-card`.
    pub network_card: u32,
    /// `owner-id`.
    pub owner_id: String,
    /// `subnet-id`.
    pub subnet_id: SubnetId,
    /// `vpc-id`.
    pub vpc_id: VpcId,
    /// `subnet-ipv4-cidr-block`.
    pub subnet_ipv4_cidr_block: Cidr,
    /// `vpc-ipv4-cidr-block`: the primary block.
    pub vpc_ipv4_cidr_block: Cidr,
    /// `vpc-ipv4-cidr-blocks`: all usable blocks.
    pub vpc_ipv4_cidr_blocks: Vec<Cidr>,
    /// `local-hostname`.
    pub local_hostname: String,
    /// `local-ipv4s`: single addresses, the primary one first.
    pub local_ipv4s: Vec<Ipv4Addr>,
    /// `ipv4-prefix`: /28 blocks; the key is absent when there is none.
    pub ipv4_prefixes: Vec<Cidr>,
    /// `security-group-ids`.
    pub security_group_ids: Vec<SecurityGroupId>,
    /// `security-groups`.
    pub security_groups: Vec<String>,
}

/// The views of one instance that have been true, from the one that is visible now to the newest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MetadataHistory {
    views: VecDeque<DatedView>,
    frozen: Option<FrozenView>,
}

/// A view, and from when on the metadata service shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DatedView {
    visible_from: Timestamp,
    view: MetadataView,
}

/// A view that the metadata service goes on showing for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FrozenView {
    until: Timestamp,
    view: Option<MetadataView>,
}

impl MetadataHistory {
    fn visible(&self, now: Timestamp) -> Option<&MetadataView> {
        if let Some(frozen) = self.frozen.as_ref().filter(|frozen| now < frozen.until) {
            return frozen.view.as_ref();
        }
        self.views.iter().rev().find(|dated| dated.visible_from <= now).map(|dated| &dated.view)
    }

    fn push(&mut self, view: MetadataView, visible_from: Timestamp, now: Timestamp) {
        if self.views.back().is_some_and(|newest| newest.view == view) {
            return;
        }
        // A change of the configured lag must not let a newer view overtake an older one.
        let floor = self.views.back().map_or(visible_from, |newest| newest.visible_from.max(visible_from));
        self.views.push_back(DatedView { visible_from: floor, view });
        while self.views.get(1).is_some_and(|second| second.visible_from <= now) {
            self.views.pop_front();
        }
    }

    pub(crate) fn freeze(&mut self, now: Timestamp, until: Timestamp) {
        let view = self.visible(now).cloned();
        self.frozen = Some(FrozenView { until, view });
    }

    pub(crate) fn thaw(&mut self) {
        self.frozen = None;
    }
}

impl Cloud {
    /// What the metadata service of this instance shows now; none when there is no such instance, or it is terminated, or
    /// not booted yet.
    #[must_use]
    pub fn metadata(&self, instance: &InstanceId, now: Timestamp) -> Option<MetadataView> {
        self.metadata.get(instance)?.visible(now).cloned()
    }

    /// Records what the metadata service of an instance will show, if that has changed.
    pub(crate) fn refresh_metadata(&mut self, id: &InstanceId, now: Timestamp) {
        let Some(view) = self.metadata_view(id) else {
            self.metadata.remove(id);
            return;
        };
        let lag = self.lasting(self.timing.metadata_lag_seconds);
        let history = self.metadata.entry(id.clone()).or_default();
        // A machine boots with its first interface: nothing lags before that one shows.
        let booting = history.views.back().is_none_or(|newest| newest.view.interfaces.is_empty());
        let visible_from = if booting { now } else { after(now, lag) };
        history.push(view, visible_from, now);
    }

    /// What the metadata service would show if it did not lag.
    fn metadata_view(&self, id: &InstanceId) -> Option<MetadataView> {
        let instance = self.instances.get(id)?;
        if matches!(instance.state, InstanceState::Pending | InstanceState::Terminated) {
            return None;
        }
        let interfaces = self.interfaces_of(id);
        let primary = *interfaces.first()?;
        let visible = interfaces
            .iter()
            .filter(|eni| matches!(self.links.get(&eni.network_interface_id), Some(Link::Ready | Link::Leaving)));
        Some(MetadataView {
            instance_id: id.clone(),
            instance_type: instance.instance_type.clone(),
            image_id: instance.image_id.clone(),
            reservation_id: instance.reservation_id.clone(),
            launch_index: instance.ami_launch_index,
            account_id: instance.owner_id.clone(),
            architecture: instance.architecture.clone(),
            pending_time: instance.launch_time,
            region: self.region.clone(),
            availability_zone: instance.availability_zone.clone(),
            availability_zone_id: instance.availability_zone_id.clone(),
            mac: primary.mac_address,
            local_ipv4: primary.private_ip_address,
            local_hostname: primary.private_dns_name.clone(),
            security_groups: primary.groups.iter().map(|group| group.group_name.clone()).collect(),
            iam_instance_profile: instance.iam_instance_profile.clone(),
            user_data: instance.user_data.clone(),
            options: instance.metadata_options.clone(),
            tags: instance.tags.clone(),
            interfaces: visible.filter_map(|eni| self.interface_metadata(eni)).collect(),
        })
    }

    fn interface_metadata(&self, interface: &NetworkInterface) -> Option<InterfaceMetadata> {
        let attachment = interface.attachment.as_ref()?;
        let subnet = &self.subnets.get(&interface.subnet_id)?.subnet;
        let vpc = self.vpcs.get(&interface.vpc_id)?;
        Some(InterfaceMetadata {
            mac: interface.mac_address,
            interface_id: interface.network_interface_id.clone(),
            device_number: attachment.device_index,
            network_card: attachment.network_card_index,
            owner_id: interface.owner_id.clone(),
            subnet_id: interface.subnet_id.clone(),
            vpc_id: interface.vpc_id.clone(),
            subnet_ipv4_cidr_block: subnet.cidr_block,
            vpc_ipv4_cidr_block: vpc.cidr_block,
            vpc_ipv4_cidr_blocks: vpc.usable_cidrs().collect(),
            local_hostname: interface.private_dns_name.clone(),
            local_ipv4s: interface.private_ip_addresses.iter().map(|has| has.private_ip_address).collect(),
            ipv4_prefixes: interface.ipv4_prefixes.clone(),
            security_group_ids: interface.groups.iter().map(|group| group.group_id.clone()).collect(),
            security_groups: interface.groups.iter().map(|group| group.group_name.clone()).collect(),
        })
    }
}
