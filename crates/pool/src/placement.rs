//! Which address a pod gets: packed, so that interfaces and prefixes empty again and can be given back; the same every time.

use std::cmp::Reverse;
use std::net::Ipv4Addr;

use crate::store::{Interface, Store};

/// The free address to give next. `rank` tells whether an interface is to become empty and how preferred its range is, or `None`
/// when it is not to be used. Order: one that is to stay, preferred range, fullest interface, lowest device index, fullest block, single address before prefix, never used,
/// longest released, lowest address.
pub(crate) fn pick(store: &Store, rank: impl Fn(&Interface) -> Option<(bool, u8)>) -> Option<Ipv4Addr> {
    store
        .interfaces
        .values()
        .filter(|interface| interface.is_open() && interface.blocks.sums().open.free > 0)
        .filter_map(|interface| Some((rank(interface)?, interface)))
        .min_by_key(|(rank, interface)| (*rank, Reverse(interface.tally().assigned), interface.device_index))
        .and_then(|(_, interface)| interface.blocks.next())
}
