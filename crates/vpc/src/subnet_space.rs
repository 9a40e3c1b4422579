//! The addresses of one subnet: which are free, which are kept for one use, which are chosen next.

use std::net::Ipv4Addr;

use freeboard_address::{Cidr, FreeSpace, ReservationId};

use crate::ids::IdGenerator;
use crate::model::ReservationType;
use crate::world::{AddressOrder, FullPrefixReservation};

/// The length of an IPv4 prefix that an interface can hold.
pub(crate) const PREFIX_LENGTH: u8 = 28;

/// How many addresses of every subnet EC2 keeps: the first four and the last.
pub(crate) const RESERVED_BY_EC2: u64 = 5;

/// The addresses of one subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubnetSpace {
    /// Addresses that nobody owns; those that EC2 keeps are never among them.
    free: FreeSpace,
    reservations: Vec<ReservedPart>,
}

/// A part of the subnet kept for one use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReservedPart {
    pub(crate) id: ReservationId,
    pub(crate) cidr: Cidr,
    pub(crate) kind: ReservationType,
}

impl SubnetSpace {
    /// A fresh subnet: all free but the five addresses that EC2 keeps.
    pub(crate) fn new(block: Cidr) -> Self {
        let mut free = FreeSpace::all_free(block);
        for address in block.addresses().filter(|address| is_reserved_by_ec2(block, *address)) {
            free.take(Cidr::host(address));
        }
        Self { free, reservations: Vec::new() }
    }

    pub(crate) fn block(&self) -> Cidr {
        self.free.block()
    }

    pub(crate) fn free(&self) -> &FreeSpace {
        &self.free
    }

    /// EC2's `availableIpAddressCount`: what is free, without the free part of `prefix` reservations, which count as used
    /// as soon as they are made; `explicit` ones count only as their addresses are assigned.
    pub(crate) fn available(&self) -> u64 {
        let kept = self.reservations.iter().filter(|part| part.kind == ReservationType::Prefix);
        self.free.free_addresses() - kept.map(|part| free_within(&self.free, part.cidr)).sum::<u64>()
    }

    pub(crate) fn take(&mut self, part: Cidr) -> bool {
        self.free.take(part)
    }

    pub(crate) fn give(&mut self, part: Cidr) -> bool {
        self.free.give(part)
    }

    /// Keeps a part; the caller has checked that it lies in the subnet and overlaps no other.
    pub(crate) fn reserve(&mut self, part: ReservedPart) {
        self.reservations.push(part);
    }

    /// Ends a reservation; what was assigned from it stays assigned.
    pub(crate) fn unreserve(&mut self, id: &ReservationId) {
        self.reservations.retain(|part| part.id != *id);
    }

    /// Takes `count` single addresses of the cloud's choice, none of them inside a reservation; none when there are too few.
    pub(crate) fn take_addresses(
        &mut self,
        count: u32,
        order: AddressOrder,
        ids: &mut IdGenerator,
    ) -> Option<Vec<Ipv4Addr>> {
        let mut open = self.outside_reservations();
        if open.free_addresses() < u64::from(count) {
            return None;
        }
        let mut taken = Vec::new();
        for _ in 0..count {
            let index = match order {
                AddressOrder::Scattered => ids.number() % open.free_addresses(),
                AddressOrder::Lowest => 0,
            };
            let address = nth_free(&open, index)?;
            open.take(Cidr::host(address));
            self.free.take(Cidr::host(address));
            taken.push(address);
        }
        Some(taken)
    }

    /// Takes `count` /28 blocks, the lowest ones that are free; none when there are too few.
    ///
    /// While the subnet has a `prefix` reservation they come from there only (what happens when it is full is not
    /// documented, hence `full`); without one, from outside every reservation.
    pub(crate) fn take_prefixes(&mut self, count: u32, full: FullPrefixReservation) -> Option<Vec<Cidr>> {
        let wanted = usize::try_from(count).ok()?;
        let of_kind = |kind| self.reservations.iter().filter(move |part| part.kind == kind).map(|part| part.cidr);
        let prefix_parts: Vec<Cidr> = of_kind(ReservationType::Prefix).collect();
        let mut chosen: Vec<Cidr> = self
            .free
            .free_blocks(PREFIX_LENGTH)
            .filter(|block| prefix_parts.iter().any(|part| part.contains_block(*block)))
            .take(wanted)
            .collect();
        if prefix_parts.is_empty() || full == FullPrefixReservation::FallThrough {
            let rest = wanted - chosen.len();
            chosen.extend(self.outside_reservations().free_blocks(PREFIX_LENGTH).take(rest));
        }
        if chosen.len() < wanted {
            return None;
        }
        for block in &chosen {
            self.free.take(*block);
        }
        Some(chosen)
    }

    /// How many addresses of the cloud's choice could be given now.
    pub(crate) fn open_addresses(&self) -> u64 {
        self.outside_reservations().free_addresses()
    }

    fn outside_reservations(&self) -> FreeSpace {
        let mut open = self.free.clone();
        for part in &self.reservations {
            for address in part.cidr.addresses() {
                open.take(Cidr::host(address));
            }
        }
        open
    }
}

/// Whether EC2 keeps this address of a subnet: network, router, resolver, future use, last.
pub(crate) fn is_reserved_by_ec2(block: Cidr, address: Ipv4Addr) -> bool {
    address == block.last() || (0..4).any(|index| block.nth(index) == Some(address))
}

fn free_within(free: &FreeSpace, part: Cidr) -> u64 {
    let (low, high) = (u32::from(part.network()), u32::from(part.last()));
    let overlap = |(first, last): (Ipv4Addr, Ipv4Addr)| {
        let (first, last) = (u32::from(first).max(low), u32::from(last).min(high));
        if first <= last { u64::from(last - first) + 1 } else { 0 }
    };
    free.runs().map(overlap).sum()
}

fn nth_free(free: &FreeSpace, index: u64) -> Option<Ipv4Addr> {
    let mut rest = index;
    for (first, last) in free.runs() {
        let (first, last) = (u32::from(first), u32::from(last));
        let length = u64::from(last - first) + 1;
        if rest < length {
            return u32::try_from(rest).ok().map(|offset| Ipv4Addr::from(first + offset));
        }
        rest -= length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(block: &str) -> SubnetSpace {
        SubnetSpace::new(block.parse().unwrap())
    }

    fn reserve(space: &mut SubnetSpace, cidr: &str, kind: ReservationType) {
        let id = ReservationId::new(format!("scr-{cidr}"));
        space.reserve(ReservedPart { id, cidr: cidr.parse().unwrap(), kind });
    }

    #[test]
    fn a_fresh_subnet_has_as_many_addresses_and_prefixes_as_ec2_counts() {
        for (block, addresses, prefixes) in [
            ("10.0.0.0/28", 11, 0),
            ("10.0.0.0/27", 27, 0),
            ("10.0.0.0/26", 59, 2),
            ("10.0.0.0/24", 251, 14),
            ("10.0.0.0/20", 4_091, 254),
        ] {
            let space = space(block);
            assert_eq!(space.available(), addresses, "{block}");
            assert_eq!(space.free().free_blocks(28).count(), prefixes, "{block}");
        }
    }

    #[test]
    fn a_prefix_reservation_counts_as_used_at_once_and_feeds_prefixes_only() {
        let mut space = space("10.0.0.0/24");
        reserve(&mut space, "10.0.0.64/27", ReservationType::Prefix);
        assert_eq!(space.available(), 251 - 32);
        let mut ids = IdGenerator::new(0);
        let singles = space.take_addresses(219, AddressOrder::Scattered, &mut ids).unwrap();
        assert!(singles.iter().all(|address| !(64..96).contains(&address.octets()[3])));
        assert_eq!(space.available(), 0);
        assert!(space.take_addresses(1, AddressOrder::Lowest, &mut ids).is_none());
        let prefixes = space.take_prefixes(2, FullPrefixReservation::Fail).unwrap();
        assert_eq!(prefixes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.64/28", "10.0.0.80/28"]);
        assert!(space.take_prefixes(1, FullPrefixReservation::FallThrough).is_none());
    }

    #[test]
    fn an_explicit_reservation_counts_only_as_its_addresses_are_taken() {
        let mut space = space("10.0.0.0/27");
        reserve(&mut space, "10.0.0.16/29", ReservationType::Explicit);
        assert_eq!(space.available(), 27);
        assert_eq!(space.open_addresses(), 19);
        assert!(space.take("10.0.0.17/32".parse().unwrap()));
        assert_eq!(space.available(), 26);
        space.unreserve(&ReservationId::new("scr-10.0.0.16/29"));
        assert_eq!(space.open_addresses(), 26);
    }

    #[test]
    fn a_full_prefix_reservation_fails_or_falls_through_as_told() {
        let mut space = space("10.0.0.0/24");
        reserve(&mut space, "10.0.0.64/28", ReservationType::Prefix);
        assert!(space.clone().take_prefixes(2, FullPrefixReservation::Fail).is_none());
        let prefixes = space.take_prefixes(2, FullPrefixReservation::FallThrough).unwrap();
        assert_eq!(prefixes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.64/28", "10.0.0.16/28"]);
    }

    #[test]
    fn scattered_addresses_follow_from_the_seed() {
        let take = |seed| space("10.0.0.0/24").take_addresses(20, AddressOrder::Scattered, &mut IdGenerator::new(seed));
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }
}
