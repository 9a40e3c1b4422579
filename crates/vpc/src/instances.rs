//! Instances: launch, start, end.

use freeboard_address::{EniId, InstanceId, SubnetId};
use jiff::Timestamp;

use crate::addressing::{PrimaryWish, Purpose, wants_prefixes};
use crate::attachments::{Slot, check_fits_type, check_slot, no_prefixes, unknown_type};
use crate::cloud::{Cloud, Remembered, after};
use crate::effect::{CloudEffect, LaunchedInstance};
use crate::error::ApiError;
use crate::interfaces::{InterfaceSpec, token_mismatch};
use crate::model::{
    IamInstanceProfile, Instance, InstanceState, InstanceStateChange, InstanceType, InterfaceStatus, Reservation,
    StateReason, Tag,
};
use crate::request::{LaunchInterface, RunInstances, TerminateInstances};
use crate::timers::Timer;

impl Cloud {
    /// RunInstances: machines of one type with their interfaces, all of them or none.
    ///
    /// # Errors
    /// `InsufficientFreeAddressesInSubnet`, `InvalidIPAddress.InUse`, `InvalidInterface.IpAddressLimitExceeded`,
    /// `InvalidNetworkInterface.InUse`, `AttachmentLimitExceeded`, `InstanceLimitExceeded`, `IdempotentParameterMismatch`,
    /// `InvalidParameterValue` for an unknown type, and what is not found.
    pub fn run_instances(&mut self, request: &RunInstances, now: Timestamp) -> Result<Reservation, ApiError> {
        self.handle_timeout(now);
        if let Some(made) = self.remembered_launch(request)? {
            return Ok(made);
        }
        check_launch(request)?;
        let limits = self.limits.get(&request.instance_type).cloned();
        let limits = limits.ok_or_else(|| unknown_type(&request.instance_type))?;
        self.check_instance_quota(request.max_count)?;
        // A launch makes many things; it is tried on a copy, so that one that fails halfway leaves nothing behind.
        let mut trial = self.clone();
        let reservation_id = trial.ids.next("r");
        for index in 0..request.max_count {
            trial.launch(request, &limits, &reservation_id, index, now)?;
        }
        if let Some(token) = &request.client_token {
            let remembered = Remembered { request: request.clone(), made: reservation_id.clone() };
            trial.launch_tokens.insert(token.clone(), remembered);
        }
        trial.settle(now);
        *self = trial;
        Ok(self.reservation(&reservation_id))
    }

    /// TerminateInstances: all of these machines or, when one is unknown, none. Repeating it changes nothing.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `MissingParameter` when none is named.
    pub fn terminate_instances(
        &mut self,
        request: &TerminateInstances,
        now: Timestamp,
    ) -> Result<Vec<InstanceStateChange>, ApiError> {
        self.handle_timeout(now);
        if request.instance_ids.is_empty() {
            return Err(ApiError::missing_parameter("InstanceId"));
        }
        for id in &request.instance_ids {
            self.instance(id)?;
        }
        let at = after(now, self.lasting(self.timing.instance_stop_seconds));
        let mut changes = Vec::new();
        for id in &request.instance_ids {
            let Some(instance) = self.instances.get_mut(id) else { continue };
            let previous_state = instance.state;
            if matches!(previous_state, InstanceState::Pending | InstanceState::Running) {
                instance.state = InstanceState::ShuttingDown;
                instance.state_reason = Some(StateReason {
                    code: "Client.UserInitiatedShutdown".to_owned(),
                    message: "Client.UserInitiatedShutdown: User initiated shutdown".to_owned(),
                });
                self.timers.set(at, Timer::InstanceTerminated(id.clone()));
            }
            let current_state = instance.state;
            changes.push(InstanceStateChange { instance_id: id.clone(), current_state, previous_state });
        }
        self.settle(now);
        Ok(changes)
    }

    pub(crate) fn instance_starts(&mut self, id: &InstanceId) {
        let Some(instance) = self.instances.get_mut(id).filter(|i| i.state == InstanceState::Pending) else { return };
        instance.state = InstanceState::Running;
        self.boot(id);
    }

    /// Asks the hypervisor for a running machine and its links.
    pub(crate) fn boot(&mut self, id: &InstanceId) {
        let Some(instance) = self.instances.get(id) else { return };
        let Some(primary_address) = instance.private_ip_address else { return };
        self.effects.push_back(CloudEffect::InstanceLaunched(LaunchedInstance {
            instance: id.clone(),
            instance_type: instance.instance_type.clone(),
            availability_zone: instance.availability_zone.clone(),
            primary_address,
            private_dns_name: instance.private_dns_name.clone(),
        }));
        let interfaces: Vec<EniId> =
            self.interfaces_of(id).into_iter().map(|eni| eni.network_interface_id.clone()).collect();
        for eni in interfaces {
            self.request_link(&eni);
        }
        self.touched.insert(id.clone());
    }

    /// The machine is gone: its interfaces go with it, or become available again.
    pub(crate) fn instance_ends(&mut self, id: &InstanceId, now: Timestamp) {
        let interfaces: Vec<EniId> =
            self.interfaces_of(id).into_iter().map(|eni| eni.network_interface_id.clone()).collect();
        for eni in &interfaces {
            self.links.remove(eni);
            let Some(interface) = self.interfaces.get_mut(eni) else { continue };
            if interface.attachment.take().is_some_and(|attachment| attachment.delete_on_termination) {
                self.forget_interface(eni);
            } else {
                interface.status = InterfaceStatus::Available;
            }
        }
        if let Some(instance) = self.instances.get_mut(id) {
            instance.state = InstanceState::Terminated;
            instance.private_dns_name.clear();
            instance.private_ip_address = None;
            instance.subnet_id = None;
            instance.vpc_id = None;
            instance.groups.clear();
        }
        self.effects.push_back(CloudEffect::InstanceTerminated { instance: id.clone(), interfaces });
        self.touched.insert(id.clone());
        let at = after(now, self.lasting(self.timing.terminated_instance_visible_seconds));
        self.timers.set(at, Timer::InstanceForgotten(id.clone()));
    }

    fn launch(
        &mut self,
        request: &RunInstances,
        limits: &InstanceType,
        reservation_id: &str,
        launch_index: u32,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let wishes = launch_interfaces(request);
        let id = InstanceId::new(self.ids.next("i"));
        let mut used = Vec::new();
        let mut attached = Vec::new();
        for wish in &wishes {
            let network_card_index = wish.network_card_index.unwrap_or(limits.default_network_card_index);
            let slot = Slot { device_index: wish.device_index, network_card_index };
            check_slot(&id, limits, &used, slot)?;
            used.push(slot);
            let eni = match &wish.network_interface_id {
                Some(existing) => self.existing_for_launch(existing, limits)?,
                None => self.create_for_launch(request, wish, limits)?,
            };
            let delete = wish.delete_on_termination.unwrap_or(wish.network_interface_id.is_none());
            self.attach(&eni, &id, slot, delete, now);
            attached.push(eni);
        }
        let zones: Vec<&str> =
            attached.iter().filter_map(|eni| self.interfaces.get(eni)).map(|e| e.availability_zone.as_str()).collect();
        if zones.windows(2).any(|pair| pair.first() != pair.last()) {
            return Err(ApiError::invalid_combination(
                "All interfaces of an instance must be in one availability zone",
            ));
        }
        let primary = wishes.iter().zip(&attached).find(|(wish, _)| wish.device_index == 0).map(|(_, eni)| eni.clone());
        let primary = primary.ok_or_else(|| ApiError::missing_parameter("NetworkInterface with DeviceIndex 0"))?;
        let tags = self.tags_for(&request.tag_specifications, &["instance", "network-interface", "volume"])?;
        let instance = self.new_instance(request, &id, reservation_id, launch_index, &primary, tags, now)?;
        self.instances.insert(id.clone(), instance);
        self.touched.insert(id.clone());
        let at = after(now, self.lasting(self.timing.instance_start_seconds));
        self.timers.set(at, Timer::InstanceRunning(id));
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what a launch knows about one machine; a struct would be named once"
    )]
    pub(crate) fn new_instance(
        &self,
        request: &RunInstances,
        id: &InstanceId,
        reservation_id: &str,
        ami_launch_index: u32,
        primary: &EniId,
        tags: Vec<Tag>,
        now: Timestamp,
    ) -> Result<Instance, ApiError> {
        let limits = self.limits.get(&request.instance_type).ok_or_else(|| unknown_type(&request.instance_type))?;
        let interface = self.interface(primary)?;
        let subnet = &self.subnet(&interface.subnet_id)?.subnet;
        let profile = request.iam_instance_profile.as_ref().map(|name| IamInstanceProfile {
            arn: format!("arn:aws:iam::{}:instance-profile/{name}", self.account_id),
            id: format!(
                "AIPA{:0>17}",
                name.to_uppercase().chars().filter(char::is_ascii_alphanumeric).collect::<String>()
            ),
        });
        Ok(Instance {
            instance_id: id.clone(),
            reservation_id: reservation_id.to_owned(),
            owner_id: self.account_id.clone(),
            image_id: request.image_id.clone(),
            state: InstanceState::Pending,
            private_dns_name: interface.private_dns_name.clone(),
            ami_launch_index,
            instance_type: request.instance_type.clone(),
            launch_time: now,
            availability_zone: subnet.availability_zone.clone(),
            availability_zone_id: subnet.availability_zone_id.clone(),
            subnet_id: Some(subnet.subnet_id.clone()),
            vpc_id: Some(subnet.vpc_id.clone()),
            private_ip_address: Some(interface.private_ip_address),
            source_dest_check: interface.source_dest_check,
            groups: interface.groups.clone(),
            state_reason: None,
            architecture: architecture_of(&request.instance_type).to_owned(),
            hypervisor: limits.hypervisor.clone(),
            client_token: request.client_token.clone().unwrap_or_default(),
            network_interfaces: Vec::new(),
            iam_instance_profile: profile,
            metadata_options: request.metadata_options.clone(),
            user_data: request.user_data.clone(),
            tags,
        })
    }

    fn existing_for_launch(&self, id: &EniId, limits: &InstanceType) -> Result<EniId, ApiError> {
        let interface = self.managed_by_caller(id)?;
        if interface.attachment.is_some() {
            return Err(ApiError::new("InvalidNetworkInterface.InUse", format!("Interface: [{id}] in use.")));
        }
        check_fits_type(interface, limits).map_err(limit_at_launch)?;
        Ok(id.clone())
    }

    fn create_for_launch(
        &mut self,
        request: &RunInstances,
        wish: &LaunchInterface,
        limits: &InstanceType,
    ) -> Result<EniId, ApiError> {
        let subnet_id: &SubnetId = wish.subnet_id.as_ref().ok_or_else(|| ApiError::missing_parameter("SubnetId"))?;
        if wants_prefixes(&wish.addresses) && !limits.supports_prefixes() {
            return Err(no_prefixes(limits));
        }
        let limit = usize::try_from(limits.ipv4_addresses_per_interface).unwrap_or(usize::MAX);
        if crate::addressing::slots_of(&wish.addresses).saturating_add(1) > limit {
            return Err(limit_at_launch(ApiError::private_address_limit()));
        }
        let vpc = self.subnet(subnet_id)?.subnet.vpc_id.clone();
        let groups = self.resolve_groups(&vpc, &wish.security_group_ids)?;
        self.check_interface_quota(1)?;
        let primary = wish.primary_address.map_or(PrimaryWish::Any, PrimaryWish::Named);
        let granted = self.grant_in(subnet_id, primary, &wish.addresses, Purpose::Launch(subnet_id))?;
        let for_interfaces = request.tag_specifications.iter().filter(|s| s.resource_type == "network-interface");
        let tags = for_interfaces.flat_map(|specification| specification.tags.clone()).collect();
        let spec = InterfaceSpec {
            description: wish.description.clone().unwrap_or_default(),
            groups,
            tags,
            ..InterfaceSpec::default()
        };
        self.add_interface(subnet_id, spec, granted)
    }

    fn check_instance_quota(&self, more: u32) -> Result<(), ApiError> {
        let alive = self.instances.values().filter(|i| i.state != InstanceState::Terminated).count();
        let limit = self.quotas.instances;
        if alive + usize::try_from(more).unwrap_or(usize::MAX) <= usize::try_from(limit).unwrap_or(usize::MAX) {
            return Ok(());
        }
        let text =
            format!("You have requested more instances than your current limit of {limit} allows: {alive} exist.");
        Err(ApiError::new("InstanceLimitExceeded", text))
    }

    fn reservation(&self, id: &str) -> Reservation {
        let instances = self.instances.values().filter(|instance| instance.reservation_id == id);
        let mut instances: Vec<Instance> = instances.map(|instance| self.shown_instance(instance)).collect();
        instances.sort_by_key(|instance| instance.ami_launch_index);
        Reservation { reservation_id: id.to_owned(), owner_id: self.account_id.clone(), instances }
    }

    fn remembered_launch(&self, request: &RunInstances) -> Result<Option<Reservation>, ApiError> {
        let Some(known) = request.client_token.as_ref().and_then(|token| self.launch_tokens.get(token)) else {
            return Ok(None);
        };
        if known.request != *request {
            return Err(token_mismatch());
        }
        let made = self.reservation(&known.made);
        if made.instances.iter().all(|instance| instance.state == InstanceState::Terminated) {
            let text = "The request's client token belongs to instances that are terminated.";
            return Err(ApiError::new("IdempotentInstanceTerminated", text));
        }
        Ok(Some(made))
    }
}

/// Checks a launch by itself.
fn check_launch(request: &RunInstances) -> Result<(), ApiError> {
    if !request.image_id.as_str().starts_with("ami-") {
        let text = format!("Invalid id: \"{}\" (expecting \"ami-...\")", request.image_id);
        return Err(ApiError::new("InvalidAMIID.Malformed", text));
    }
    let counts = (request.min_count, request.max_count);
    if request.min_count == 0 || request.min_count > request.max_count || request.max_count > 1_000 {
        let text =
            format!("MinCount is {}, MaxCount {}: expected 1 <= MinCount <= MaxCount <= 1000", counts.0, counts.1);
        return Err(ApiError::invalid_parameter(text));
    }
    let on_top =
        request.subnet_id.is_some() || request.private_ip_address.is_some() || !request.security_group_ids.is_empty();
    if on_top && !request.network_interfaces.is_empty() {
        let text = "Network interfaces and an instance-level subnet ID, address or security group may not be specified on \
                    the same request";
        return Err(ApiError::invalid_combination(text));
    }
    let named = request.private_ip_address.is_some()
        || request.network_interfaces.iter().any(|i| i.primary_address.is_some() || i.network_interface_id.is_some());
    if named && request.max_count > 1 {
        let text = "An address or interface can be named only when one instance is launched";
        return Err(ApiError::invalid_combination(text));
    }
    if !(1..=64).contains(&request.metadata_options.http_put_response_hop_limit) {
        let value = request.metadata_options.http_put_response_hop_limit.to_string();
        return Err(ApiError::invalid_value("HttpPutResponseHopLimit", &value, "Expected 1 to 64."));
    }
    Ok(())
}

/// The interfaces of a launch, also when it names only a subnet.
fn launch_interfaces(request: &RunInstances) -> Vec<LaunchInterface> {
    if request.network_interfaces.is_empty() {
        vec![LaunchInterface {
            subnet_id: request.subnet_id.clone(),
            security_group_ids: request.security_group_ids.clone(),
            primary_address: request.private_ip_address,
            ..LaunchInterface::default()
        }]
    } else {
        request.network_interfaces.clone()
    }
}

fn limit_at_launch(error: ApiError) -> ApiError {
    if error.code == "PrivateIpAddressLimitExceeded" {
        ApiError::new("InvalidInterface.IpAddressLimitExceeded", error.message)
    } else {
        error
    }
}

/// The processor architecture of a type: Graviton families carry a `g` after their generation (`m6g`, `c7gn`, `t4g`).
fn architecture_of(instance_type: &str) -> &'static str {
    let family = instance_type.split('.').next().unwrap_or_default();
    let after_generation = family.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let options = after_generation.trim_start_matches(|c: char| c.is_ascii_digit());
    if family == "a1" || options.starts_with('g') { "arm64" } else { "x86_64" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graviton_families_are_arm() {
        for (name, expected) in [
            ("t4g.small", "arm64"),
            ("m6g.large", "arm64"),
            ("c7gn.large", "arm64"),
            ("a1.large", "arm64"),
            ("t3.medium", "x86_64"),
            ("g5.xlarge", "x86_64"),
            ("m5.xlarge", "x86_64"),
        ] {
            assert_eq!(architecture_of(name), expected, "{name}");
        }
    }
}
