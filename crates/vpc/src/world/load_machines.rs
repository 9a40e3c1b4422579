//! The machines and interfaces of a world file.

use freeboard_address::{Addresses, AttachmentId, EniId, InstanceId, Prefixes};
use jiff::Timestamp;

use super::load::{named_tags, refused};
use super::{World, WorldError, WorldInstance, WorldInterface};
use crate::addressing::{PrimaryWish, Purpose};
use crate::attachments::{Slot, check_fits_type, check_slot};
use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::ids::ImageId;
use crate::interfaces::InterfaceSpec;
use crate::model::{
    AttachmentStatus, HttpTokens, InstanceState, InstanceType, InterfaceAttachment, InterfaceStatus, MetadataOptions,
};
use crate::request::{AddressWish, RunInstances};

/// One interface of a world, and the machine that it is in.
struct Placed<'a> {
    interface: &'a WorldInterface,
    machine: Option<&'a WorldInstance>,
    /// Its place among the machine's interfaces.
    place: u32,
}

impl Placed<'_> {
    fn name(&self) -> String {
        let id = self.interface.id.as_ref().map(ToString::to_string);
        match (id, self.machine) {
            (Some(id), _) => format!("network interface {id}"),
            (None, Some(machine)) => format!("interface {} of instance {}", self.place, machine.id),
            (None, None) => format!("interface {} of the world", self.place),
        }
    }
}

impl Cloud {
    pub(super) fn load_machines(&mut self, world: &World, now: Timestamp) -> Result<(), WorldError> {
        for machine in &world.instances {
            if machine.interfaces.is_empty() {
                return Err(WorldError::NoInterface(machine.id.to_string()));
            }
            self.known_type(machine)?;
        }
        let loose = world.interfaces.iter().map(|interface| (None, interface));
        let attached = world.instances.iter().flat_map(|m| m.interfaces.iter().map(move |i| (Some(m), i)));
        let mut counter = (None::<&InstanceId>, 0);
        let mut all: Vec<Placed<'_>> = Vec::new();
        for (machine, interface) in loose.chain(attached) {
            let owner = machine.map(|machine| &machine.id);
            counter = if counter.0 == owner { (owner, counter.1) } else { (owner, 0) };
            all.push(Placed { interface, machine, place: counter.1 });
            counter.1 += 1;
        }
        // Named addresses first: a choice of the cloud must not take one that the file names further down.
        let (choosing, named): (Vec<_>, Vec<_>) = all.into_iter().partition(|placed| {
            let interface = placed.interface;
            interface.address.is_none() || interface.secondary_address_count > 0 || interface.prefix_count > 0
        });
        for placed in named.iter().chain(&choosing) {
            self.load_interface(placed, now)?;
        }
        for machine in &world.instances {
            self.load_instance(machine, now)?;
        }
        Ok(())
    }

    fn known_type(&self, machine: &WorldInstance) -> Result<InstanceType, WorldError> {
        let found = self.limits.get(&machine.instance_type).cloned();
        found.ok_or_else(|| WorldError::UnknownInstanceType {
            instance: machine.id.to_string(),
            name: machine.instance_type.clone(),
            known: self.limits.len(),
            near: self.limits.near(&machine.instance_type),
        })
    }

    fn load_interface(&mut self, placed: &Placed<'_>, now: Timestamp) -> Result<(), WorldError> {
        let interface = placed.interface;
        let unknown = || WorldError::Unknown { place: placed.name(), kind: "subnet", id: interface.subnet.to_string() };
        let vpc = self.subnets.get(&interface.subnet).ok_or_else(unknown)?.subnet.vpc_id.clone();
        let fails = |error: ApiError| refused(placed.name(), error);
        let groups = self.resolve_groups(&vpc, &interface.security_groups).map_err(fails)?;
        let named = AddressWish {
            private_ip_addresses: interface.secondary_addresses.clone(),
            ipv4_prefixes: interface.prefixes.clone(),
            ..AddressWish::default()
        };
        let primary = interface.address.map_or(PrimaryWish::Any, PrimaryWish::Named);
        let mut granted = self.grant_in(&interface.subnet, primary, &named, Purpose::Create).map_err(fails)?;
        if interface.secondary_address_count > 0 || interface.prefix_count > 0 {
            let counted = AddressWish {
                secondary_private_ip_address_count: Some(Addresses(interface.secondary_address_count)),
                ipv4_prefix_count: Some(Prefixes(interface.prefix_count)),
                ..AddressWish::default()
            };
            let more = crate::addressing::grant(
                &granted.space,
                PrimaryWish::Has,
                &counted,
                Purpose::Assign,
                &self.behaviour,
                &mut self.ids,
            );
            let more = more.map_err(fails)?;
            granted.space = more.space;
            granted.secondary.extend(more.secondary);
            granted.prefixes.extend(more.prefixes);
        }
        let spec = InterfaceSpec {
            id: interface.id.clone(),
            description: interface.description.clone(),
            groups,
            requester: interface.requester.clone(),
            interface_type: None,
            tags: named_tags(None, &interface.tags),
        };
        let eni = self.add_interface(&interface.subnet, spec, granted).map_err(fails)?;
        match placed.machine {
            Some(machine) => self.load_attachment(&eni, placed, machine, now),
            None => {
                if interface.requester.is_some() {
                    self.attach_to_service(&eni, now);
                }
                Ok(())
            }
        }
    }

    fn load_attachment(
        &mut self,
        eni: &EniId,
        placed: &Placed<'_>,
        machine: &WorldInstance,
        now: Timestamp,
    ) -> Result<(), WorldError> {
        let limits = self.known_type(machine)?;
        let device_index = placed.interface.device_index.unwrap_or(placed.place);
        let network_card_index = placed.interface.network_card.unwrap_or(limits.default_network_card_index);
        let slot = Slot { device_index, network_card_index };
        let fails = |error: ApiError| refused(placed.name(), error);
        check_slot(&machine.id, &limits, &self.slots_of_instance(&machine.id), slot).map_err(fails)?;
        let interface = self.interface(eni).map_err(fails)?;
        check_fits_type(interface, &limits).map_err(fails)?;
        let delete = placed.interface.delete_on_termination.unwrap_or(device_index == 0);
        self.attach(eni, &machine.id, slot, delete, now);
        if let Some(attachment) = self.interfaces.get_mut(eni).and_then(|eni| eni.attachment.as_mut()) {
            attachment.status = AttachmentStatus::Attached;
        }
        Ok(())
    }

    fn load_instance(&mut self, machine: &WorldInstance, now: Timestamp) -> Result<(), WorldError> {
        let fails = |error: ApiError| refused(format!("instance {}", machine.id), error);
        let mut interfaces = self.interfaces_of(&machine.id).into_iter();
        let primary = interfaces
            .next()
            .filter(|eni| eni.attachment.as_ref().is_some_and(|a| a.device_index == 0 && a.network_card_index == 0));
        let primary = primary.ok_or_else(|| WorldError::NoInterface(machine.id.to_string()))?;
        if let Some(other) = interfaces.find(|eni| eni.availability_zone != primary.availability_zone) {
            let error = ApiError::invalid_combination(format!(
                "its first interface is in {}, {} in {}: expected one zone",
                primary.availability_zone, other.network_interface_id, other.availability_zone
            ));
            return Err(fails(error));
        }
        let (primary, subnet) = (primary.network_interface_id.clone(), primary.subnet_id.clone());
        let options = &machine.metadata_options;
        if !(1..=64).contains(&options.hop_limit) {
            return Err(WorldError::OutOfRange {
                key: format!("metadata_options.hop_limit of instance {}", machine.id),
                value: options.hop_limit.to_string(),
                expected: "1 to 64",
            });
        }
        let request = RunInstances {
            image_id: machine.image.clone().unwrap_or_else(|| ImageId::new("ami-0123456789abcdef0")),
            user_data: machine.user_data.clone(),
            iam_instance_profile: machine.instance_profile.clone(),
            metadata_options: MetadataOptions {
                http_tokens: if options.tokens_required { HttpTokens::Required } else { HttpTokens::Optional },
                http_put_response_hop_limit: options.hop_limit,
                http_endpoint_enabled: options.enabled,
            },
            ..RunInstances::one(machine.instance_type.clone(), subnet)
        };
        let reservation = self.ids.next("r");
        let tags = named_tags(machine.name.as_ref(), &machine.tags);
        let instance = self.new_instance(&request, &machine.id, &reservation, 0, &primary, tags, now).map_err(fails)?;
        let instance = crate::model::Instance { state: InstanceState::Running, ..instance };
        self.instances.insert(machine.id.clone(), instance);
        Ok(())
    }

    /// Shows an interface as used by the service that made it.
    pub(crate) fn attach_to_service(&mut self, eni: &EniId, now: Timestamp) {
        let attachment_id = AttachmentId::new(self.ids.next("ela-attach"));
        if let Some(interface) = self.interfaces.get_mut(eni) {
            interface.status = InterfaceStatus::InUse;
            interface.attachment = Some(InterfaceAttachment {
                attachment_id,
                instance_id: None,
                instance_owner_id: "amazon-aws".to_owned(),
                device_index: 1,
                network_card_index: 0,
                status: AttachmentStatus::Attached,
                attach_time: now,
                delete_on_termination: false,
            });
        }
    }
}
