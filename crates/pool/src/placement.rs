//! Which address a pod gets: packed, so that interfaces and prefixes empty again and can be given back; the same every time.

use std::cmp::Reverse;
use std::net::Ipv4Addr;

use freeboard_address::Cidr;

use crate::store::{Block, Cell, Interface, Store};

/// The free address to give next. `rank` tells how preferred an interface's range is, or `None` when the interface is not to be
/// used. Order: preferred range, fullest interface, lowest device index, fullest block, single address before prefix, never used,
/// longest released, lowest address.
pub(crate) fn pick(store: &Store, rank: impl Fn(&Interface) -> Option<u8>) -> Option<Ipv4Addr> {
    let interface = store
        .interfaces
        .values()
        .filter(|interface| interface.is_open() && open_blocks(interface).any(|(_, block)| block.tally().free > 0))
        .filter_map(|interface| Some((rank(interface)?, interface)))
        .min_by_key(|(rank, interface)| (*rank, Reverse(interface.tally().assigned), interface.device_index))
        .map(|(_, interface)| interface)?;
    let (_, block) = open_blocks(interface)
        .filter(|(_, block)| block.tally().free > 0)
        .min_by_key(|(cidr, block)| (Reverse(block.tally().assigned), block.tally().total, **cidr))?;
    block
        .cells()
        .filter_map(|(address, cell)| match cell {
            Cell::Free { released } => Some((*released, address)),
            Cell::Assigned(_) | Cell::Cooling { .. } | Cell::Quarantined => None,
        })
        .min()
        .map(|(_, address)| address)
}

fn open_blocks(interface: &Interface) -> impl Iterator<Item = (&Cidr, &Block)> {
    interface.blocks.iter().filter(|(_, block)| block.is_open())
}
