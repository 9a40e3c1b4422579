//! The interfaces of the node, with running sums and an order over them, so that no event has to look at each of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::EniId;

use crate::blocks::Sums;
use crate::store::{Interface, Phase};

/// The number of an interface in the pool: what points at one does not compare its id, a text, at each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(u32);

/// Place of an interface in the order in which interfaces give addresses: the fullest first, then the lowest device index. The
/// primary address tells two of them apart.
type Place = (Reverse<u32>, u32, Ipv4Addr);

/// What one interface adds to the sums and to the order.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Share {
    /// Of its blocks, when its addresses may be given.
    open: Option<Sums>,
    is_steady: bool,
    is_unused: bool,
    place: Option<Place>,
}

impl Share {
    fn of(interface: &Interface) -> Self {
        let sums = interface.blocks.sums();
        let is_open = interface.is_open();
        let place = (Reverse(sums.all.assigned), interface.device_index, interface.primary_address);
        Self {
            open: is_open.then_some(sums),
            is_steady: is_open && interface.unsettled.is_none(),
            is_unused: interface.phase == Phase::Ready && sums.all.free == sums.all.total,
            place: (is_open && sums.open.free > 0).then_some(place),
        }
    }
}

/// Sums over all interfaces, and their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Totals {
    open: Sums,
    steady: usize,
    unused: usize,
    giving: BTreeMap<Place, Number>,
}

impl Totals {
    fn count(&mut self, share: &Share, number: Number) {
        if let Some(sums) = &share.open {
            self.open.add(sums);
        }
        self.steady += usize::from(share.is_steady);
        self.unused += usize::from(share.is_unused);
        if let Some(place) = share.place {
            self.giving.insert(place, number);
        }
    }

    fn discount(&mut self, share: &Share) {
        if let Some(sums) = &share.open {
            self.open.subtract(sums);
        }
        self.steady -= usize::from(share.is_steady);
        self.unused -= usize::from(share.is_unused);
        if let Some(place) = &share.place {
            self.giving.remove(place);
        }
    }
}

/// The interfaces that the pool manages, in the order of their ids. One is changed only through this, which keeps the sums and the
/// order in step; the audit counts them anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interfaces {
    numbers: BTreeMap<EniId, Number>,
    known: BTreeMap<Number, Interface>,
    last: u32,
    totals: Totals,
}

impl Interfaces {
    pub(crate) fn number(&self, id: &EniId) -> Option<Number> {
        self.numbers.get(id).copied()
    }

    pub(crate) fn at(&self, number: Number) -> Option<&Interface> {
        self.known.get(&number)
    }

    pub(crate) fn get(&self, id: &EniId) -> Option<&Interface> {
        self.at(self.number(id)?)
    }

    pub(crate) fn contains_key(&self, id: &EniId) -> bool {
        self.numbers.contains_key(id)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &EniId> {
        self.numbers.keys()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Interface> {
        self.numbers.values().filter_map(|number| self.known.get(number))
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// The sums over the interfaces whose addresses may be given.
    pub(crate) fn open(&self) -> Sums {
        self.totals.open
    }

    /// Whether each is in service and nothing about it is in doubt: then there is none to attach, prepare, settle or give up.
    pub(crate) fn are_steady(&self) -> bool {
        self.totals.steady == self.known.len()
    }

    /// How many are in service with nothing held, resting or contained on them.
    pub(crate) fn unused(&self) -> usize {
        self.totals.unused
    }

    /// Those that have an address to give, the fullest first; no look at any other.
    pub(crate) fn giving(&self) -> impl Iterator<Item = &Interface> {
        self.totals.giving.values().filter_map(|number| self.known.get(number))
    }

    /// Changes an interface, if it is there. Returns it as it is then, and what the change returned.
    pub(crate) fn change<R>(
        &mut self,
        id: &EniId,
        change: impl FnOnce(&mut Interface) -> R,
    ) -> Option<(&Interface, R)> {
        self.change_at(self.number(id)?, change)
    }

    /// The same by its number.
    pub(crate) fn change_at<R>(
        &mut self,
        number: Number,
        change: impl FnOnce(&mut Interface) -> R,
    ) -> Option<(&Interface, R)> {
        let interface = self.known.get_mut(&number)?;
        let before = Share::of(interface);
        let result = change(interface);
        let after = Share::of(interface);
        if before != after {
            self.totals.discount(&before);
            self.totals.count(&after, number);
        }
        Some((interface, result))
    }

    /// Adds an interface that is not there yet.
    pub(crate) fn insert(&mut self, interface: Interface) {
        if !self.numbers.contains_key(&interface.id) {
            self.last += 1;
            let number = Number(self.last);
            self.totals.count(&Share::of(&interface), number);
            self.numbers.insert(interface.id.clone(), number);
            self.known.insert(number, interface);
        }
    }

    pub(crate) fn remove(&mut self, id: &EniId) {
        if let Some(interface) = self.numbers.remove(id).and_then(|number| self.known.remove(&number)) {
            self.totals.discount(&Share::of(&interface));
        }
    }

    /// Whether sums and order are what a count from scratch gives.
    pub(crate) fn is_consistent(&self) -> bool {
        let mut fresh = Totals::default();
        for (number, interface) in &self.known {
            fresh.count(&Share::of(interface), *number);
        }
        let is_named = |(number, interface): (&Number, &Interface)| self.number(&interface.id) == Some(*number);
        fresh == self.totals && self.numbers.len() == self.known.len() && self.known.iter().all(is_named)
    }
}
