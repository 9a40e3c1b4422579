//! Which addresses and prefixes an interface gets: named or counted, all or nothing.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use freeboard_address::{Addresses, Cidr, Prefixes, SubnetId};

use crate::error::ApiError;
use crate::ids::IdGenerator;
use crate::request::AddressWish;
use crate::subnet_space::{PREFIX_LENGTH, SubnetSpace, is_reserved_by_ec2};
use crate::world::{AddressOrder, Behaviour, ShortageAtCreate};

/// For which action addresses are chosen; the refusals differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose<'a> {
    Assign,
    Create,
    Launch(&'a SubnetId),
}

/// What an interface gets, and the subnet's addresses once it has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) space: SubnetSpace,
    pub(crate) primary: Option<Ipv4Addr>,
    pub(crate) secondary: Vec<Ipv4Addr>,
    pub(crate) prefixes: Vec<Cidr>,
}

/// The primary address of a new interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrimaryWish {
    /// The interface has one already.
    Has,
    /// The cloud chooses.
    Any,
    /// This one.
    Named(Ipv4Addr),
}

/// Checks a wish by itself: named and counted exclude each other, and no address is named twice.
pub(crate) fn check_wish(wish: &AddressWish) -> Result<(), ApiError> {
    if !wish.private_ip_addresses.is_empty() && wish.secondary_private_ip_address_count.is_some() {
        return Err(ApiError::invalid_combination(
            "The parameter secondaryPrivateIpAddressCount cannot be used with the parameter privateIpAddresses",
        ));
    }
    if !wish.ipv4_prefixes.is_empty() && wish.ipv4_prefix_count.is_some() {
        return Err(ApiError::invalid_combination(
            "The parameter ipv4PrefixCount cannot be used with the parameter ipv4Prefixes",
        ));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = wish.private_ip_addresses.iter().find(|address| !seen.insert(**address)) {
        return Err(ApiError::invalid_value("privateIpAddress", &twice.to_string(), "It is named more than once."));
    }
    if let Some(prefix) = wish.ipv4_prefixes.iter().find(|prefix| prefix.length() != PREFIX_LENGTH) {
        return Err(ApiError::invalid_value("ipv4Prefix", &prefix.to_string(), "An IPv4 prefix is a /28."));
    }
    Ok(())
}

/// How many of the type's addresses per interface a wish takes; a prefix counts as one.
pub(crate) fn slots_of(wish: &AddressWish) -> usize {
    let counted = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    wish.private_ip_addresses
        .len()
        .saturating_add(counted(wish.secondary_private_ip_address_count.unwrap_or(Addresses::ZERO).0))
        .saturating_add(wish.ipv4_prefixes.len())
        .saturating_add(counted(wish.ipv4_prefix_count.unwrap_or(Prefixes::ZERO).0))
}

/// Whether a wish asks for prefixes.
pub(crate) fn wants_prefixes(wish: &AddressWish) -> bool {
    !wish.ipv4_prefixes.is_empty() || wish.ipv4_prefix_count.is_some_and(|count| !count.is_zero())
}

/// Chooses what an interface gets. Nothing is taken until the caller puts [`Granted::space`] in place.
pub(crate) fn grant(
    space: &SubnetSpace,
    primary: PrimaryWish,
    wish: &AddressWish,
    purpose: Purpose<'_>,
    behaviour: &Behaviour,
    ids: &mut IdGenerator,
) -> Result<Granted, ApiError> {
    check_wish(wish)?;
    let mut space = space.clone();
    let mut chosen_primary = None;
    if let PrimaryWish::Named(address) = primary {
        take_named(&mut space, address, Purpose::Create)?;
        chosen_primary = Some(address);
    }
    for address in &wish.private_ip_addresses {
        take_named(&mut space, *address, purpose)?;
    }
    for prefix in &wish.ipv4_prefixes {
        take_named_prefix(&mut space, *prefix)?;
    }
    let shortage = |prefixes| shortage(purpose, behaviour, prefixes);
    let mut prefixes = wish.ipv4_prefixes.clone();
    if let Some(count) = wish.ipv4_prefix_count {
        let automatic = space.take_prefixes(count.0, behaviour.full_prefix_reservation);
        prefixes.extend(automatic.ok_or_else(|| shortage(true))?);
    }
    let primaries = u32::from(primary == PrimaryWish::Any);
    let secondaries = wish.secondary_private_ip_address_count.unwrap_or(Addresses::ZERO).0;
    let singles = primaries.checked_add(secondaries).ok_or_else(|| shortage(false))?;
    let order: AddressOrder = behaviour.address_order;
    let mut automatic = space.take_addresses(singles, order, ids).ok_or_else(|| shortage(false))?.into_iter();
    if primary == PrimaryWish::Any {
        chosen_primary = automatic.next();
    }
    let secondary = wish.private_ip_addresses.iter().copied().chain(automatic).collect();
    Ok(Granted { space, primary: chosen_primary, secondary, prefixes })
}

/// The refusal when a subnet is short of addresses, or of /28 blocks.
fn shortage(purpose: Purpose<'_>, behaviour: &Behaviour, prefixes: bool) -> ApiError {
    match purpose {
        Purpose::Launch(subnet) => ApiError::new(
            "InsufficientFreeAddressesInSubnet",
            format!(
                "There are not enough free addresses in subnet '{subnet}' to satisfy the requested number of instances."
            ),
        ),
        Purpose::Create if behaviour.shortage_at_create == ShortageAtCreate::InvalidParameterValue => {
            ApiError::invalid_parameter("There aren't sufficient free Ipv4 addresses or prefixes")
        }
        Purpose::Create | Purpose::Assign if prefixes => ApiError::insufficient_cidr_blocks(),
        Purpose::Create | Purpose::Assign => ApiError::insufficient_free_addresses(),
    }
}

fn take_named(space: &mut SubnetSpace, address: Ipv4Addr, purpose: Purpose<'_>) -> Result<(), ApiError> {
    let block = space.block();
    if !block.contains(address) {
        return Err(ApiError::outside_subnet(address, block));
    }
    if is_reserved_by_ec2(block, address) {
        return Err(ApiError::invalid_parameter(format!(
            "Address {address} is in subnet's reserved address range: EC2 keeps the first four and the last of {block}"
        )));
    }
    if space.take(Cidr::host(address)) {
        return Ok(());
    }
    Err(match purpose {
        Purpose::Assign => ApiError::new(
            "Resource.AlreadyAssigned",
            format!("Address {address} is already assigned to a network interface; AllowReassignment moves it."),
        ),
        Purpose::Create | Purpose::Launch(_) => {
            ApiError::new("InvalidIPAddress.InUse", format!("Address {address} is in use."))
        }
    })
}

fn take_named_prefix(space: &mut SubnetSpace, prefix: Cidr) -> Result<(), ApiError> {
    let block = space.block();
    if !block.contains_block(prefix) {
        return Err(ApiError::invalid_value(
            "ipv4Prefix",
            &prefix.to_string(),
            &format!("It does not lie within the subnet's address range {block}."),
        ));
    }
    if space.take(prefix) {
        return Ok(());
    }
    Err(ApiError::invalid_value(
        "ipv4Prefix",
        &prefix.to_string(),
        "It holds addresses that are reserved or already assigned.",
    ))
}
