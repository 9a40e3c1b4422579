//! Links: the hypervisor's side of an attachment, from the request to make one until it is gone.

use freeboard_address::{AttachmentId, EniId, InstanceId};
use jiff::Timestamp;

use crate::cloud::{Cloud, after};
use crate::effect::{CloudEffect, InterfaceLink};
use crate::model::{AttachmentStatus, InstanceState, InterfaceStatus, NetworkInterface};
use crate::timers::Timer;

/// How far the link of an attached interface is; an interface without one is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The hypervisor was asked to make it.
    Requested,
    /// It exists.
    Ready,
    /// The hypervisor was asked to remove it.
    Leaving,
}

impl Cloud {
    /// The hypervisor has made the link of this interface: the attachment is complete, and the instance's metadata will
    /// show it. Ignored when the interface is gone or was detached in the meantime.
    pub fn handle_link_ready(&mut self, eni: &EniId, now: Timestamp) {
        self.handle_timeout(now);
        if self.links.get(eni) != Some(&Link::Requested) {
            return;
        }
        self.links.insert(eni.clone(), Link::Ready);
        if let Some(attachment) = self.interfaces.get_mut(eni).and_then(|eni| eni.attachment.as_mut()) {
            if attachment.status == AttachmentStatus::Attaching {
                attachment.status = AttachmentStatus::Attached;
            }
            self.touched.extend(attachment.instance_id.clone());
        }
        self.settle(now);
    }

    /// The hypervisor has removed the link of this interface: a detachment is complete.
    pub fn handle_link_gone(&mut self, eni: &EniId, now: Timestamp) {
        self.handle_timeout(now);
        let left = self.links.remove(eni);
        let owner = self.interfaces.get(eni).and_then(|eni| eni.instance_id().cloned());
        self.touched.extend(owner);
        if left == Some(Link::Leaving) {
            self.detachment_is_complete(eni);
        }
        self.settle(now);
    }

    pub(crate) fn attach_is_due(&mut self, eni: &EniId, attachment: &AttachmentId) {
        let due = self.interfaces.get(eni).and_then(|eni| eni.attachment.as_ref()).is_some_and(|current| {
            current.attachment_id == *attachment
                && current.status == AttachmentStatus::Attaching
                && current.instance_id.as_ref().is_some_and(|id| self.is_running(id))
        });
        if due {
            self.request_link(eni);
        }
    }

    pub(crate) fn detach_is_due(&mut self, eni: &EniId, attachment: &AttachmentId) {
        let Some(interface) = self.interfaces.get(eni) else { return };
        let leaving = interface
            .attachment
            .as_ref()
            .filter(|current| current.attachment_id == *attachment && current.status == AttachmentStatus::Detaching);
        let Some(instance) = leaving.and_then(|attachment| attachment.instance_id.clone()) else { return };
        if self.links.contains_key(eni) {
            self.links.insert(eni.clone(), Link::Leaving);
            let mac = interface.mac_address;
            self.effects.push_back(CloudEffect::InterfaceDetached { instance, eni: eni.clone(), mac });
        } else {
            self.touched.insert(instance);
            self.detachment_is_complete(eni);
        }
    }

    /// Asks the hypervisor to make the link of an attached interface.
    pub(crate) fn request_link(&mut self, eni: &EniId) {
        let Some(interface) = self.interfaces.get(eni) else { return };
        let (Some(attachment), Some(record)) = (&interface.attachment, self.subnets.get(&interface.subnet_id)) else {
            return;
        };
        let Some(instance) = attachment.instance_id.clone() else { return };
        let link = InterfaceLink {
            instance,
            eni: eni.clone(),
            mac: interface.mac_address,
            device_index: attachment.device_index,
            network_card_index: attachment.network_card_index,
            subnet: interface.subnet_id.clone(),
            subnet_cidr: record.subnet.cidr_block,
            vpc: interface.vpc_id.clone(),
            primary_address: interface.private_ip_address,
            cidrs: interface.cidrs(),
        };
        self.links.insert(eni.clone(), Link::Requested);
        self.effects.push_back(CloudEffect::InterfaceAttaching(link));
    }

    /// Tells the hypervisor and the metadata service that an interface owns other addresses now.
    pub(crate) fn addresses_changed(&mut self, eni: &EniId) {
        let Some(interface) = self.interfaces.get(eni) else { return };
        let Some(instance) = interface.instance_id().cloned() else { return };
        if matches!(self.links.get(eni), Some(Link::Requested | Link::Ready)) {
            let cidrs = interface.cidrs();
            let changed = CloudEffect::AddressesChanged { instance: instance.clone(), eni: eni.clone(), cidrs };
            self.effects.push_back(changed);
        }
        self.touched.insert(instance);
    }

    /// Starts the clock of a new attachment, unless a fault says that it never completes.
    pub(crate) fn schedule_attach(&mut self, eni: &EniId, attachment: &AttachmentId, now: Timestamp) {
        if self.front_door.take_never_attach() {
            return;
        }
        let at = after(now, self.lasting(self.timing.attach_seconds));
        self.timers.set(at, Timer::AttachDue(eni.clone(), attachment.clone()));
    }

    pub(crate) fn is_running(&self, instance: &InstanceId) -> bool {
        self.instances.get(instance).is_some_and(|instance| instance.state == InstanceState::Running)
    }

    /// Removes an interface and gives its addresses back.
    pub(crate) fn forget_interface(&mut self, eni: &EniId) -> Option<NetworkInterface> {
        let interface = self.interfaces.remove(eni)?;
        self.links.remove(eni);
        self.foreign.remove(eni);
        if let Some(record) = self.subnets.get_mut(&interface.subnet_id) {
            for cidr in interface.cidrs() {
                record.space.give(cidr);
            }
        }
        Some(interface)
    }

    fn detachment_is_complete(&mut self, eni: &EniId) {
        if let Some(interface) = self.interfaces.get_mut(eni) {
            interface.attachment = None;
            interface.status = InterfaceStatus::Available;
        }
    }
}
