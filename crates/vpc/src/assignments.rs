//! Assigning addresses and prefixes to interfaces and taking them back.

use std::net::Ipv4Addr;

use freeboard_address::{Cidr, EniId};
use jiff::Timestamp;

use crate::addressing::{PrimaryWish, Purpose, check_wish, grant, slots_of, wants_prefixes};
use crate::attachments::no_prefixes;
use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::interfaces::private_dns_name;
use crate::model::{AssignResult, NetworkInterface, PrivateIpAddress};
use crate::request::{AddressWish, AssignPrivateIpAddresses, UnassignPrivateIpAddresses};

impl Cloud {
    /// AssignPrivateIpAddresses: all of what is asked for, or nothing.
    ///
    /// # Errors
    /// `InsufficientFreeAddressesInSubnet`; `InsufficientCidrBlocks` when no aligned free /28 is left;
    /// `PrivateIpAddressLimitExceeded`; `Resource.AlreadyAssigned` for a named address that is taken and not reassigned;
    /// `InvalidParameterValue` for one outside the subnet; and what is not found.
    pub fn assign_private_ip_addresses(
        &mut self,
        request: &AssignPrivateIpAddresses,
        now: Timestamp,
    ) -> Result<AssignResult, ApiError> {
        self.handle_timeout(now);
        let wish = &request.addresses;
        check_wish(wish)?;
        check_one_way(wish)?;
        let interface = self.managed_by_caller(&request.network_interface_id)?;
        self.check_room(interface, wish)?;
        let subnet = interface.subnet_id.clone();
        let record = self.subnets.get(&subnet).ok_or_else(|| ApiError::subnet_not_found(subnet.as_str()))?;
        let mut space = record.space.clone();
        let moved = if request.allow_reassignment {
            self.reassigned(&request.network_interface_id, &wish.private_ip_addresses)?
        } else {
            Vec::new()
        };
        for (_, address) in &moved {
            space.give(Cidr::host(*address));
        }
        let granted = grant(&space, PrimaryWish::Has, wish, Purpose::Assign, &self.behaviour, &mut self.ids)?;
        if let Some(record) = self.subnets.get_mut(&subnet) {
            record.space = granted.space;
        }
        for (loser, address) in moved {
            if let Some(loser) = self.interfaces.get_mut(&loser) {
                loser.private_ip_addresses.retain(|has| has.private_ip_address != address);
            }
            self.addresses_changed(&loser);
        }
        let named = |address: &Ipv4Addr| PrivateIpAddress {
            private_ip_address: *address,
            primary: false,
            private_dns_name: private_dns_name(&self.region, *address),
        };
        let new: Vec<PrivateIpAddress> = granted.secondary.iter().map(named).collect();
        let interface = self.interface_mut(&request.network_interface_id)?;
        interface.private_ip_addresses.extend(new);
        interface.ipv4_prefixes.extend(granted.prefixes.iter().copied());
        self.addresses_changed(&request.network_interface_id);
        self.settle(now);
        Ok(AssignResult {
            network_interface_id: request.network_interface_id.clone(),
            assigned_private_ip_addresses: granted.secondary,
            assigned_ipv4_prefixes: granted.prefixes,
        })
    }

    /// UnassignPrivateIpAddresses: gives secondary addresses and prefixes back, all of them or none.
    ///
    /// # Errors
    /// `InvalidParameterValue` when one is not the interface's, or is its primary address; and what is not found.
    pub fn unassign_private_ip_addresses(
        &mut self,
        request: &UnassignPrivateIpAddresses,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        self.handle_timeout(now);
        let id = &request.network_interface_id;
        if request.private_ip_addresses.is_empty() && request.ipv4_prefixes.is_empty() {
            return Err(ApiError::missing_parameter("privateIpAddress"));
        }
        let interface = self.managed_by_caller(id)?;
        if let Some(primary) = request.private_ip_addresses.iter().find(|a| **a == interface.private_ip_address) {
            let text = format!("Address {primary} is the primary address of interface {id}: it cannot be unassigned");
            return Err(ApiError::invalid_parameter(text));
        }
        let has_address =
            |address: &Ipv4Addr| interface.private_ip_addresses.iter().any(|has| has.private_ip_address == *address);
        let all_there = request.private_ip_addresses.iter().all(has_address)
            && request.ipv4_prefixes.iter().all(|prefix| interface.ipv4_prefixes.contains(prefix));
        if !all_there {
            let text = format!("Some of the specified addresses are not assigned to interface {id}");
            return Err(ApiError::invalid_parameter(text));
        }
        let subnet = interface.subnet_id.clone();
        let interface = self.interface_mut(id)?;
        interface.private_ip_addresses.retain(|has| !request.private_ip_addresses.contains(&has.private_ip_address));
        interface.ipv4_prefixes.retain(|has| !request.ipv4_prefixes.contains(has));
        let singles = request.private_ip_addresses.iter().map(|address| Cidr::host(*address));
        let given_back: Vec<Cidr> = singles.chain(request.ipv4_prefixes.iter().copied()).collect();
        if let Some(record) = self.subnets.get_mut(&subnet) {
            for cidr in given_back {
                // An address that the request names twice is given back once.
                record.space.give(cidr);
            }
        }
        self.addresses_changed(id);
        self.settle(now);
        Ok(())
    }

    /// Whether the type of the interface's machine allows what is asked for.
    fn check_room(&self, interface: &NetworkInterface, wish: &AddressWish) -> Result<(), ApiError> {
        let Some(instance) = interface.instance_id() else { return Ok(()) };
        let limits = self.type_of(instance)?;
        if wants_prefixes(wish) && !limits.supports_prefixes() {
            return Err(no_prefixes(limits));
        }
        let limit = usize::try_from(limits.ipv4_addresses_per_interface).unwrap_or(usize::MAX);
        if interface.used_slots().saturating_add(slots_of(wish)) > limit {
            return Err(ApiError::private_address_limit());
        }
        Ok(())
    }

    /// Which interfaces lose which of these addresses when they are reassigned.
    fn reassigned(&self, gainer: &EniId, addresses: &[Ipv4Addr]) -> Result<Vec<(EniId, Ipv4Addr)>, ApiError> {
        let subnet = &self.interface(gainer)?.subnet_id;
        let mut moved = Vec::new();
        for interface in self.interfaces.values().filter(|eni| eni.subnet_id == *subnet) {
            for has in interface.private_ip_addresses.iter().filter(|has| addresses.contains(&has.private_ip_address)) {
                let (address, id) = (has.private_ip_address, &interface.network_interface_id);
                if has.primary {
                    let text = format!("Address {address} is the primary address of {id}: it cannot be reassigned");
                    return Err(ApiError::new("InvalidParameterValue", text));
                }
                if id == gainer {
                    let text = format!("Address {address} is already assigned to network interface {id}");
                    return Err(ApiError::new("Resource.AlreadyAssigned", text));
                }
                if interface.requester_managed {
                    self.managed_by_caller(id)?;
                }
                moved.push((id.clone(), address));
            }
        }
        Ok(moved)
    }
}

/// Exactly one of: named addresses, an address count, named prefixes, a prefix count.
fn check_one_way(wish: &AddressWish) -> Result<(), ApiError> {
    let ways = [
        !wish.private_ip_addresses.is_empty(),
        wish.secondary_private_ip_address_count.is_some(),
        !wish.ipv4_prefixes.is_empty(),
        wish.ipv4_prefix_count.is_some(),
    ];
    let zero = wish.secondary_private_ip_address_count.is_some_and(freeboard_address::Addresses::is_zero)
        || wish.ipv4_prefix_count.is_some_and(freeboard_address::Prefixes::is_zero);
    match ways.into_iter().filter(|way| *way).count() {
        0 => Err(ApiError::missing_parameter("secondaryPrivateIpAddressCount")),
        1 if zero => {
            Err(ApiError::invalid_parameter("The count of addresses or prefixes to assign is 0: expected at least 1"))
        }
        1 => Ok(()),
        _ => Err(ApiError::invalid_combination(
            "Only one of privateIpAddress, secondaryPrivateIpAddressCount, ipv4Prefix and ipv4PrefixCount can be used",
        )),
    }
}
