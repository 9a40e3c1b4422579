//! Which address a pod gets: packed, so that interfaces and prefixes empty again and can be given back; the same every time.

use std::net::Ipv4Addr;

use crate::store::{Interface, Store};

/// The rank than which none is better.
const BEST: (bool, u8) = (false, 0);

/// The free address to give next. `rank` tells whether an interface is to become empty and how preferred its range is, or `None`
/// when it is not to be used. Order: one that is to stay, preferred range, fullest interface, lowest device index, fullest block, single address before prefix, never used,
/// longest released, lowest address.
pub(crate) fn pick(store: &Store, rank: impl Fn(&Interface) -> Option<(bool, u8)>) -> Option<Ipv4Addr> {
    let mut best: Option<((bool, u8), &Interface)> = None;
    for interface in store.interfaces.giving() {
        let Some(rank) = rank(interface) else { continue };
        if best.is_none_or(|(known, _)| rank < known) {
            best = Some((rank, interface));
        }
        if rank == BEST {
            break;
        }
    }
    best.and_then(|(_, interface)| interface.blocks.next())
}
