//! Attaching and detaching interfaces, within the limits of the instance type.

use freeboard_address::{AttachmentId, EniId, InstanceId};
use jiff::Timestamp;

use crate::cloud::{Cloud, after};
use crate::error::ApiError;
use crate::model::{
    AttachResult, AttachmentStatus, InstanceState, InstanceType, InterfaceAttachment, InterfaceStatus, NetworkInterface,
};
use crate::request::{AttachNetworkInterface, DetachNetworkInterface};
use crate::timers::Timer;

/// Where an interface goes in a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) device_index: u32,
    pub(crate) network_card_index: u32,
}

impl Cloud {
    /// AttachNetworkInterface: answers at once; the attachment is `attaching` until the machine has the link.
    ///
    /// # Errors
    /// `AttachmentLimitExceeded`, `PrivateIpAddressLimitExceeded`, `InvalidParameterValue` when the device index is taken,
    /// `InvalidNetworkInterface.InUse`, `InvalidParameterCombination` for another zone, `IncorrectState` unless the machine
    /// is running, and what is not found.
    pub fn attach_network_interface(
        &mut self,
        request: &AttachNetworkInterface,
        now: Timestamp,
    ) -> Result<AttachResult, ApiError> {
        self.handle_timeout(now);
        let interface = self.managed_by_caller(&request.network_interface_id)?;
        let instance = self.instance(&request.instance_id)?;
        if interface.attachment.is_some() {
            let text = format!("Interface: [{}] in use.", request.network_interface_id);
            return Err(ApiError::new("InvalidNetworkInterface.InUse", text));
        }
        if instance.state != InstanceState::Running {
            let text = format!(
                "Instance '{}' is not in a state in which an interface can be attached: it is '{}', expected 'running'",
                request.instance_id, instance.state
            );
            return Err(ApiError::new("IncorrectState", text));
        }
        if interface.availability_zone != instance.availability_zone {
            return Err(ApiError::invalid_combination(format!(
                "You may not attach a network interface to an instance if they are not in the same availability zone: \
                 '{}' is in {}, '{}' in {}",
                request.network_interface_id,
                interface.availability_zone,
                request.instance_id,
                instance.availability_zone
            )));
        }
        let limits = self.type_of(&request.instance_id)?;
        let network_card_index = request.network_card_index.unwrap_or(limits.default_network_card_index);
        let slot = Slot { device_index: request.device_index, network_card_index };
        let used: Vec<Slot> = self.slots_of_instance(&request.instance_id);
        check_slot(&request.instance_id, limits, &used, slot)?;
        check_fits_type(interface, limits)?;
        let eni = request.network_interface_id.clone();
        let attachment_id = self.attach(&eni, &request.instance_id, slot, false, now);
        self.schedule_attach(&eni, &attachment_id, now);
        self.settle(now);
        Ok(AttachResult { attachment_id, network_card_index })
    }

    /// DetachNetworkInterface: answers at once; the interface is `available` when the machine has lost the link.
    ///
    /// # Errors
    /// `OperationNotPermitted` for a machine's first interface or one that a service manages, `InvalidAttachmentID.NotFound`,
    /// `IncorrectState` when it is detaching already.
    pub fn detach_network_interface(
        &mut self,
        request: &DetachNetworkInterface,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let id = &request.attachment_id;
        let has_it = |eni: &&NetworkInterface| eni.attachment.as_ref().is_some_and(|a| a.attachment_id == *id);
        let found = self.interfaces.values().find(has_it).map(|eni| eni.network_interface_id.clone());
        let eni = found.ok_or_else(|| ApiError::attachment_not_found(id.as_str()))?;
        let interface = self.managed_by_caller(&eni)?;
        let Some(attachment) = &interface.attachment else {
            return Err(ApiError::attachment_not_found(id.as_str()));
        };
        if attachment.device_index == 0 && attachment.network_card_index == 0 {
            return Err(ApiError::new(
                "OperationNotPermitted",
                "The network interface at device index 0 and networkCard index 0 cannot be detached.",
            ));
        }
        if attachment.status == AttachmentStatus::Detaching {
            let text = format!("Interface attachment '{id}' is already detaching.");
            return Err(ApiError::new("IncorrectState", text));
        }
        if let Some(attachment) = self.interface_mut(&eni)?.attachment.as_mut() {
            attachment.status = AttachmentStatus::Detaching;
        }
        let seconds = if request.force { 0.0 } else { self.timing.detach_seconds };
        let at = after(now, self.lasting(seconds));
        self.timers.set(at, Timer::DetachDue(eni, id.clone()));
        self.handle_timeout(now);
        self.settle(now);
        Ok(())
    }

    /// Records an attachment, `attaching`; the caller has checked everything.
    pub(crate) fn attach(
        &mut self,
        eni: &EniId,
        instance: &InstanceId,
        slot: Slot,
        delete_on_termination: bool,
        now: Timestamp,
    ) -> AttachmentId {
        let attachment_id = AttachmentId::new(self.ids.next("eni-attach"));
        if let Some(interface) = self.interfaces.get_mut(eni) {
            interface.status = InterfaceStatus::InUse;
            interface.attachment = Some(InterfaceAttachment {
                attachment_id: attachment_id.clone(),
                instance_id: Some(instance.clone()),
                instance_owner_id: self.account_id.clone(),
                device_index: slot.device_index,
                network_card_index: slot.network_card_index,
                status: AttachmentStatus::Attaching,
                attach_time: now,
                delete_on_termination,
            });
        }
        attachment_id
    }

    /// The limits of a machine's type.
    pub(crate) fn type_of(&self, instance: &InstanceId) -> Result<&InstanceType, ApiError> {
        let name = &self.instance(instance)?.instance_type;
        self.limits.get(name).ok_or_else(|| unknown_type(name))
    }

    /// The device slots that a machine's interfaces hold, also those on the way out.
    pub(crate) fn slots_of_instance(&self, instance: &InstanceId) -> Vec<Slot> {
        let slot = |eni: &&NetworkInterface| {
            eni.attachment
                .as_ref()
                .map(|a| Slot { device_index: a.device_index, network_card_index: a.network_card_index })
        };
        self.interfaces_of(instance).iter().filter_map(slot).collect()
    }
}

/// A type that EC2 does not have.
pub(crate) fn unknown_type(name: &str) -> ApiError {
    ApiError::invalid_value("InstanceType", name, "There is no such instance type.")
}

/// Whether one more interface fits into a machine at this place.
pub(crate) fn check_slot(
    instance: &InstanceId,
    limits: &InstanceType,
    used: &[Slot],
    slot: Slot,
) -> Result<(), ApiError> {
    let card = usize::try_from(slot.network_card_index).unwrap_or(usize::MAX);
    let Some(per_card) = limits.interfaces_per_network_card.get(card) else {
        let cards = limits.interfaces_per_network_card.len();
        let text = format!("{} has {cards} network card(s), counted from 0.", limits.instance_type);
        return Err(ApiError::invalid_value("networkCardIndex", &card.to_string(), &text));
    };
    if used.contains(&slot) {
        return Err(ApiError::invalid_parameter(format!(
            "Instance '{instance}' already has an interface attached at device index '{}'.",
            slot.device_index
        )));
    }
    let on_card = used.iter().filter(|other| other.network_card_index == slot.network_card_index).count() + 1;
    if on_card > usize::try_from(*per_card).unwrap_or(usize::MAX) {
        let text = format!("Interface count {} exceeds the limit for {}", used.len() + 1, limits.instance_type);
        return Err(ApiError::new("AttachmentLimitExceeded", text));
    }
    Ok(())
}

/// Whether what an interface owns is within the limits of the machine's type.
pub(crate) fn check_fits_type(interface: &NetworkInterface, limits: &InstanceType) -> Result<(), ApiError> {
    if !interface.ipv4_prefixes.is_empty() && !limits.supports_prefixes() {
        return Err(no_prefixes(limits));
    }
    if interface.used_slots() > usize::try_from(limits.ipv4_addresses_per_interface).unwrap_or(usize::MAX) {
        return Err(ApiError::private_address_limit());
    }
    Ok(())
}

/// The refusal of prefixes on a type that cannot hold them.
pub(crate) fn no_prefixes(limits: &InstanceType) -> ApiError {
    ApiError::invalid_parameter(format!(
        "The instance type {} does not support IPv4 prefixes: expected a Nitro or bare-metal type",
        limits.instance_type
    ))
}
