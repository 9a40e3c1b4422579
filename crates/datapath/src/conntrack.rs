//! Connection tracking: a UDP flow that began before a port led to a pod goes on to where it went.

use std::collections::BTreeSet;

use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::DatapathError;
use crate::netlink::{Answer, REQUEST_ACKNOWLEDGED, Transport};
use crate::nft::{FAMILY_IPV4, family_header};
use crate::wire::{Attributes, Writer};

// linux/netfilter/nfnetlink_conntrack.h.
const SUBSYSTEM: u16 = 1;
const GET: u16 = (SUBSYSTEM << 8) | 1;
const DELETE: u16 = (SUBSYSTEM << 8) | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const DESTINATION_PORT: u16 = 3;
const UDP: u8 = 17;

/// Forgets the UDP flows to these ports, so that their next packet is led anew. Where connection tracking cannot be asked they
/// end by themselves, seconds after their last packet.
pub(crate) fn forget_udp(ports: &BTreeSet<u16>) {
    if !ports.is_empty() {
        let _ = try_to_forget(ports);
    }
}

fn try_to_forget(ports: &BTreeSet<u16>) -> Result<(), DatapathError> {
    let mut transport = Transport::open(NETLINK_NETFILTER)?;
    let body = |w: &mut Writer| family_header(w, FAMILY_IPV4, 0);
    let flows = transport.dump("tracked connections", GET, body, |payload| {
        let tuple = Attributes(payload.get(4..)?).find(TUPLE_ORIGINAL)?;
        let protocol = Attributes(tuple).nested(TUPLE_PROTOCOL);
        let port = u16::from_be_bytes(protocol.find(DESTINATION_PORT)?.try_into().ok()?);
        let is_udp = protocol.find(PROTOCOL_NUMBER)? == [UDP];
        (is_udp && ports.contains(&port)).then(|| tuple.to_vec())
    })?;
    for flow in flows {
        forget(&mut transport, &flow)?;
    }
    Ok(())
}

/// A flow that has ended meanwhile is refused, which is as good.
fn forget(transport: &mut Transport, tuple: &[u8]) -> Result<(), DatapathError> {
    let asked = transport.next_sequence();
    let mut writer = Writer::new();
    writer.message(DELETE, REQUEST_ACKNOWLEDGED, asked, |w| {
        family_header(w, FAMILY_IPV4, 0);
        w.nested(TUPLE_ORIGINAL, |w| w.raw(tuple));
    });
    transport.send(&writer)?;
    let mut answered = false;
    while !answered {
        transport.receive(|answer| match answer {
            Answer::Done { sequence } | Answer::Refused { sequence, .. } => answered |= sequence == asked,
            Answer::Data(_) => {}
        })?;
    }
    Ok(())
}
