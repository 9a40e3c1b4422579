//! What the fabric lets through between the VPC and its neighbours: the internet may answer, never open.
//!
//! The one rule is written as nf_tables messages, so that no `nft` program is needed.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = (SUBSYSTEM << 8) | 3;
const NEW_RULE: u16 = (SUBSYSTEM << 8) | 6;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const NLA_F_NESTED: u16 = 0x8000;

const TABLE: &[u8] = b"freeboard-lab\0";
const CHAIN: &[u8] = b"forward\0";
const HOOK_FORWARD: u32 = 2;
const REGISTER: u32 = 1;
const REGISTER_VERDICT: u32 = 0;
const META_INPUT_NAME: u32 = 6;
const CT_STATE: u32 = 0;
const CT_STATE_INVALID_OR_NEW: u32 = 1 | 8;
const COMPARE_EQUAL: u32 = 0;
const COMPARE_DIFFERENT: u32 = 1;
const VERDICT_DROP: u32 = 0;

/// In the calling thread's namespace, drops every forwarded packet that comes in on `link` and does not belong to a
/// connection that was opened from the other side.
pub(crate) fn refuse_new_connections_from(link: &str) -> io::Result<()> {
    let table = attribute(1, TABLE);
    let chain = [
        attribute(1, TABLE),
        attribute(3, CHAIN),
        nested(4, &[number(1, HOOK_FORWARD), number(2, 0)]),
        attribute(7, b"filter\0"),
    ]
    .concat();
    let mut name = [0u8; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(link.bytes()) {
        *to = from;
    }
    // Connection states are compared in the machine's own byte order.
    let mask = CT_STATE_INVALID_OR_NEW.to_ne_bytes();
    let rule = [
        attribute(1, TABLE),
        attribute(2, CHAIN),
        nested(
            4,
            &[
                expression("meta", &[number(1, REGISTER), number(2, META_INPUT_NAME)]),
                compare(COMPARE_EQUAL, &name),
                expression("ct", &[number(1, REGISTER), number(2, CT_STATE)]),
                expression(
                    "bitwise",
                    &[number(1, REGISTER), number(2, REGISTER), number(3, 4), value(4, &mask), value(5, &[0; 4])],
                ),
                compare(COMPARE_DIFFERENT, &[0; 4]),
                expression(
                    "immediate",
                    &[number(1, REGISTER_VERDICT), nested(2, &[nested(2, &[number(1, VERDICT_DROP)])])],
                ),
            ],
        ),
    ]
    .concat();
    let batch = [
        message(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 1, &[]),
        message(NEW_TABLE, NLM_F_REQUEST | NLM_F_CREATE, 2, &table),
        message(NEW_CHAIN, NLM_F_REQUEST | NLM_F_CREATE, 3, &chain),
        message(NEW_RULE, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, 4, &rule),
        message(NFNL_MSG_BATCH_END, NLM_F_REQUEST, 5, &[]),
    ]
    .concat();
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&batch, 0)?;
    // One acknowledgement is asked for, of the last message that does something; the first error, if any, comes before it.
    let (answer, _) = socket.recv_from_full()?;
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let batch = kind == NFNL_MSG_BATCH_BEGIN || kind == NFNL_MSG_BATCH_END;
    let length = u32::try_from(20 + body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(20 + body.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.push(if batch { 0 } else { libc::NFPROTO_IPV4 as u8 });
    bytes.push(0);
    bytes.extend(if batch { SUBSYSTEM } else { 0 }.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + payload.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(4 + payload.len().next_multiple_of(4));
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, &parts.concat())
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

/// An attribute that holds a literal.
fn value(kind: u16, literal: &[u8]) -> Vec<u8> {
    nested(kind, &[attribute(1, literal)])
}

fn expression(name: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    let name = [name.as_bytes(), b"\0"].concat();
    nested(1, &[attribute(1, &name), nested(2, parts)])
}

fn compare(operator: u32, literal: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(1, REGISTER), number(2, operator), value(3, literal)])
}
