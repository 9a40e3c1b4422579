//! The interfaces of the node, with running sums and an order over them, so that no event has to look at each of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::EniId;

use crate::blocks::Sums;
use crate::store::{Interface, Phase};

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
    giving: BTreeMap<Place, EniId>,
}

impl Totals {
    fn count(&mut self, share: &Share, id: &EniId) {
        if let Some(sums) = &share.open {
            self.open.add(sums);
        }
        self.steady += usize::from(share.is_steady);
        self.unused += usize::from(share.is_unused);
        if let Some(place) = share.place {
            self.giving.insert(place, id.clone());
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
    known: BTreeMap<EniId, Interface>,
    totals: Totals,
}

impl Interfaces {
    pub(crate) fn get(&self, id: &EniId) -> Option<&Interface> {
        self.known.get(id)
    }

    pub(crate) fn contains_key(&self, id: &EniId) -> bool {
        self.known.contains_key(id)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &EniId> {
        self.known.keys()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Interface> {
        self.known.values()
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
        self.totals.giving.values().filter_map(|id| self.known.get(id))
    }

    /// Changes an interface, if it is there. Returns it as it is then, and what the change returned.
    pub(crate) fn change<R>(
        &mut self,
        id: &EniId,
        change: impl FnOnce(&mut Interface) -> R,
    ) -> Option<(&Interface, R)> {
        let interface = self.known.get_mut(id)?;
        let before = Share::of(interface);
        let result = change(interface);
        let after = Share::of(interface);
        if before != after {
            self.totals.discount(&before);
            self.totals.count(&after, id);
        }
        Some((interface, result))
    }

    /// Adds an interface that is not there yet.
    pub(crate) fn insert(&mut self, interface: Interface) {
        if !self.known.contains_key(&interface.id) {
            self.totals.count(&Share::of(&interface), &interface.id);
            self.known.insert(interface.id.clone(), interface);
        }
    }

    pub(crate) fn remove(&mut self, id: &EniId) {
        if let Some(interface) = self.known.remove(id) {
            self.totals.discount(&Share::of(&interface));
        }
    }

    /// Whether sums and order are what a count from scratch gives.
    pub(crate) fn is_consistent(&self) -> bool {
        let mut fresh = Totals::default();
        for interface in self.known.values() {
            fresh.count(&Share::of(interface), &interface.id);
        }
        fresh == self.totals
    }
}
