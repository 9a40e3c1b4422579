//! Tables as nf_tables messages.

use std::net::Ipv4Addr;

use freeboard_address::Cidr;

use super::kernel as k;
use super::node::PortRandomisation;
use super::table::{AddressField, AddressSet, BaseChain, Chain, ChainKind, Expression, Hook, Protocol, Rule, Table};
use crate::wire::Writer;

/// Bytes of an interface name in the kernel, its terminating zeros included.
const NAME_BYTES: usize = 16;
/// Bytes of a comment that fit its length byte, with the terminating zero.
const COMMENT_BYTES: usize = 250;

/// One message of a batch: its type, its flags, and what is in it.
pub(super) struct Part {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) body: Writer,
    /// What it does, as a phrase for errors.
    pub(super) phrase: String,
}

impl Part {
    pub(super) fn new(kind: u16, flags: u16, phrase: String, body: impl FnOnce(&mut Writer)) -> Self {
        let mut writer = Writer::new();
        family_header(&mut writer, k::FAMILY_IPV4, 0);
        body(&mut writer);
        Self { kind, flags, body: writer, phrase }
    }
}

/// The header in front of every nf_tables message.
pub(crate) fn family_header(w: &mut Writer, family: u8, resource: u16) {
    let [high, low] = resource.to_be_bytes();
    w.raw(&[family, 0, high, low]);
}

/// The messages that make the table, without those that remove an older one.
pub(super) fn table(table: &Table, fingerprint: &[u8]) -> Vec<Part> {
    let mut parts = vec![new_table(&table.name, fingerprint)];
    for (place, set) in (1..).zip(&table.sets) {
        parts.push(new_set(table, set, place));
        parts.extend(new_elements(table, set));
    }
    parts.extend(table.chains.iter().map(|chain| new_chain(table, chain)));
    for chain in &table.chains {
        parts.extend(chain.rules.iter().map(|rule| new_rule(table, chain, rule)));
    }
    parts
}

pub(super) fn new_table(name: &str, fingerprint: &[u8]) -> Part {
    Part::new(k::NEW_TABLE, k::FLAG_CREATE, format!("make table ip {name}"), |w| {
        w.text(k::TABLE_NAME, name);
        if !fingerprint.is_empty() {
            w.attribute(k::TABLE_USERDATA, fingerprint);
        }
    })
}

pub(super) fn delete_table(name: &str) -> Part {
    Part::new(k::DEL_TABLE, 0, format!("delete table ip {name}"), |w| w.text(k::TABLE_NAME, name))
}

fn new_set(table: &Table, set: &AddressSet, place: u32) -> Part {
    Part::new(k::NEW_SET, k::FLAG_CREATE, format!("make set {} in table ip {}", set.name, table.name), |w| {
        w.text(k::SET_TABLE, &table.name);
        w.text(k::SET_NAME, &set.name);
        w.big_endian(k::SET_FLAGS, k::SET_OF_INTERVALS);
        w.big_endian(k::SET_KEY_TYPE, k::TYPE_IPV4_ADDRESS);
        w.big_endian(k::SET_KEY_LENGTH, 4);
        w.big_endian(k::SET_ID, place);
    })
}

fn new_elements(table: &Table, set: &AddressSet) -> Option<Part> {
    let runs = set.runs();
    if runs.is_empty() {
        return None;
    }
    let element = |w: &mut Writer, address: u32, flags: u32| {
        w.nested(k::LIST_ELEMENT, |w| {
            w.nested(k::ELEMENT_KEY, |w| w.big_endian(k::DATA_VALUE, address));
            if flags != 0 {
                w.big_endian(k::ELEMENT_FLAGS, flags);
            }
        });
    };
    Some(Part::new(k::NEW_ELEMENTS, k::FLAG_CREATE, format!("fill set {} in table ip {}", set.name, table.name), |w| {
        w.text(k::ELEMENTS_TABLE, &table.name);
        w.text(k::ELEMENTS_SET, &set.name);
        w.nested(k::ELEMENTS_LIST, |w| {
            for (first, last) in runs {
                element(w, first, 0);
                // A run up to the last address of all has no end.
                if let Some(end) = last.checked_add(1) {
                    element(w, end, k::ELEMENT_ENDS_INTERVAL);
                }
            }
        });
    }))
}

fn new_chain(table: &Table, chain: &Chain) -> Part {
    Part::new(k::NEW_CHAIN, k::FLAG_CREATE, format!("make chain {} in table ip {}", chain.name, table.name), |w| {
        w.text(k::CHAIN_TABLE, &table.name);
        w.text(k::CHAIN_NAME, &chain.name);
        if let Some(base) = chain.base {
            w.nested(k::CHAIN_HOOK, |w| {
                w.big_endian(k::HOOK_NUMBER, hook_number(base));
                w.attribute(k::HOOK_PRIORITY, &base.priority.to_be_bytes());
            });
            w.text(k::CHAIN_TYPE, if base.kind == ChainKind::Nat { "nat" } else { "filter" });
        }
    })
}

fn hook_number(base: BaseChain) -> u32 {
    match base.hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

fn new_rule(table: &Table, chain: &Chain, rule: &Rule) -> Part {
    let phrase = format!("add rule {:?} to chain {} in table ip {}", rule.comment, chain.name, table.name);
    Part::new(k::NEW_RULE, k::FLAG_CREATE | k::FLAG_APPEND, phrase, |w| {
        w.text(k::RULE_TABLE, &table.name);
        w.text(k::RULE_CHAIN, &chain.name);
        w.nested(k::RULE_EXPRESSIONS, |w| {
            for expression in &rule.expressions {
                write_expression(w, expression);
            }
        });
        if !rule.comment.is_empty() {
            w.attribute(k::RULE_USERDATA, &comment(&rule.comment));
        }
    })
}

fn comment(text: &str) -> Vec<u8> {
    let end = (0..=text.len().min(COMMENT_BYTES)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let text = &text.as_bytes()[..end];
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    [&[k::USERDATA_COMMENT, length], text, &[0]].concat()
}

fn write_expression(w: &mut Writer, expression: &Expression) {
    match expression {
        Expression::InputInterface { name, is } => interface(w, k::META_INPUT_NAME, name, *is),
        Expression::OutputInterface { name, is } => interface(w, k::META_OUTPUT_NAME, name, *is),
        Expression::AddressInSet { address, set, is } => {
            load_address(w, *address);
            one(w, "lookup", |w| {
                w.text(k::LOOKUP_SET, set);
                w.big_endian(k::LOOKUP_SOURCE, k::REGISTER_1);
                w.big_endian(k::LOOKUP_FLAGS, if *is { 0 } else { k::LOOKUP_INVERTED });
            });
        }
        Expression::AddressInBlock { address, block } => in_block(w, *address, *block),
        Expression::DestinationIsLocal { is } => local(w, k::FIB_OF_DESTINATION, *is),
        Expression::DestinationIsLocalOnInput => local(w, k::FIB_OF_DESTINATION | k::FIB_ON_INPUT, true),
        Expression::ConnectionStateIn(states) => {
            load_connection(w, k::CT_STATE);
            bitwise(w, &states.to_ne_bytes(), &[0; 4]);
            compare(w, k::COMPARE_DIFFERENT, &[0; 4]);
        }
        Expression::ConnectionMarkHas { bits, is } => {
            load_connection(w, k::CT_MARK);
            bitwise(w, &bits.to_ne_bytes(), &[0; 4]);
            compare(w, if *is { k::COMPARE_DIFFERENT } else { k::COMPARE_EQUAL }, &[0; 4]);
        }
        Expression::ProtocolIs(protocol) => {
            load_meta(w, k::META_PROTOCOL);
            compare(w, k::COMPARE_EQUAL, &[protocol_number(*protocol)]);
        }
        Expression::DestinationPortIs(port) => {
            load_payload(w, k::BASE_TRANSPORT, k::OFFSET_DESTINATION_PORT, 2);
            compare(w, k::COMPARE_EQUAL, &port.to_be_bytes());
        }
        Expression::Counter => one(w, "counter", |_| {}),
        Expression::SetConnectionMark { bits } => {
            load_connection(w, k::CT_MARK);
            bitwise(w, &(!bits).to_ne_bytes(), &bits.to_ne_bytes());
            one(w, "ct", |w| {
                w.big_endian(k::CT_KEY, k::CT_MARK);
                w.big_endian(k::CT_SOURCE, k::REGISTER_1);
            });
        }
        Expression::SetMark { bits, clear } => {
            load_meta(w, k::META_MARK);
            bitwise(w, &(!bits).to_ne_bytes(), &if *clear { 0 } else { *bits }.to_ne_bytes());
            one(w, "meta", |w| {
                w.big_endian(k::META_KEY, k::META_MARK);
                w.big_endian(k::META_SOURCE, k::REGISTER_1);
            });
        }
        Expression::Verdict { code, chain } => verdict(w, *code, chain.as_deref()),
        Expression::Masquerade => one(w, "masq", |_| {}),
        Expression::SourceNat { address, ports } => source_nat(w, *address, *ports),
        Expression::DestinationNat { address, port } => destination_nat(w, *address, *port),
    }
}

fn one(w: &mut Writer, name: &str, data: impl FnOnce(&mut Writer)) {
    w.nested(k::LIST_ELEMENT, |w| {
        w.text(k::EXPRESSION_NAME, name);
        w.nested(k::EXPRESSION_DATA, data);
    });
}

fn load_meta(w: &mut Writer, key: u32) {
    one(w, "meta", |w| {
        w.big_endian(k::META_DESTINATION, k::REGISTER_1);
        w.big_endian(k::META_KEY, key);
    });
}

fn load_connection(w: &mut Writer, key: u32) {
    one(w, "ct", |w| {
        w.big_endian(k::CT_DESTINATION, k::REGISTER_1);
        w.big_endian(k::CT_KEY, key);
    });
}

fn load_payload(w: &mut Writer, base: u32, offset: u32, length: u32) {
    one(w, "payload", |w| {
        w.big_endian(k::PAYLOAD_DESTINATION, k::REGISTER_1);
        w.big_endian(k::PAYLOAD_BASE, base);
        w.big_endian(k::PAYLOAD_OFFSET, offset);
        w.big_endian(k::PAYLOAD_LENGTH, length);
    });
}

fn load_address(w: &mut Writer, address: AddressField) {
    let offset = match address {
        AddressField::Source => k::OFFSET_SOURCE_ADDRESS,
        AddressField::Destination => k::OFFSET_DESTINATION_ADDRESS,
    };
    load_payload(w, k::BASE_NETWORK, offset, 4);
}

fn compare(w: &mut Writer, operation: u32, value: &[u8]) {
    one(w, "cmp", |w| {
        w.big_endian(k::COMPARE_SOURCE, k::REGISTER_1);
        w.big_endian(k::COMPARE_OPERATION, operation);
        w.nested(k::COMPARE_DATA, |w| w.attribute(k::DATA_VALUE, value));
    });
}

fn bitwise(w: &mut Writer, mask: &[u8; 4], xor: &[u8; 4]) {
    one(w, "bitwise", |w| {
        w.big_endian(k::BITWISE_SOURCE, k::REGISTER_1);
        w.big_endian(k::BITWISE_DESTINATION, k::REGISTER_1);
        w.big_endian(k::BITWISE_LENGTH, 4);
        w.nested(k::BITWISE_MASK, |w| w.attribute(k::DATA_VALUE, mask));
        w.nested(k::BITWISE_XOR, |w| w.attribute(k::DATA_VALUE, xor));
    });
}

fn interface(w: &mut Writer, key: u32, name: &str, is: bool) {
    load_meta(w, key);
    let operation = if is { k::COMPARE_EQUAL } else { k::COMPARE_DIFFERENT };
    match name.strip_suffix('*') {
        Some(prefix) => compare(w, operation, prefix.as_bytes()),
        None => {
            let mut padded = [0; NAME_BYTES];
            for (to, from) in padded.iter_mut().zip(name.bytes()) {
                *to = from;
            }
            compare(w, operation, &padded);
        }
    }
}

fn in_block(w: &mut Writer, address: AddressField, block: Cidr) {
    load_address(w, address);
    bitwise(w, &block.netmask().octets(), &[0; 4]);
    compare(w, k::COMPARE_EQUAL, &block.network().octets());
}

fn local(w: &mut Writer, flags: u32, is: bool) {
    one(w, "fib", |w| {
        w.big_endian(k::FIB_DESTINATION, k::REGISTER_1);
        w.big_endian(k::FIB_RESULT, k::FIB_ADDRESS_TYPE);
        w.big_endian(k::FIB_FLAGS, flags);
    });
    let operation = if is { k::COMPARE_EQUAL } else { k::COMPARE_DIFFERENT };
    compare(w, operation, &k::ADDRESS_TYPE_LOCAL.to_ne_bytes());
}

fn verdict(w: &mut Writer, code: i32, chain: Option<&str>) {
    one(w, "immediate", |w| {
        w.big_endian(k::IMMEDIATE_DESTINATION, k::REGISTER_VERDICT);
        w.nested(k::IMMEDIATE_DATA, |w| {
            w.nested(k::DATA_VERDICT, |w| {
                w.attribute(k::VERDICT_CODE, &code.to_be_bytes());
                if let Some(chain) = chain {
                    w.text(k::VERDICT_CHAIN, chain);
                }
            });
        });
    });
}

fn load_value(w: &mut Writer, register: u32, value: &[u8]) {
    one(w, "immediate", |w| {
        w.big_endian(k::IMMEDIATE_DESTINATION, register);
        w.nested(k::IMMEDIATE_DATA, |w| w.attribute(k::DATA_VALUE, value));
    });
}

fn source_nat(w: &mut Writer, address: Ipv4Addr, ports: PortRandomisation) {
    load_value(w, k::REGISTER_1, &address.octets());
    one(w, "nat", |w| {
        w.big_endian(k::NAT_TYPE, k::NAT_SOURCE);
        w.big_endian(k::NAT_FAMILY, u32::from(k::FAMILY_IPV4));
        w.big_endian(k::NAT_ADDRESS, k::REGISTER_1);
        match ports {
            PortRandomisation::None => {}
            PortRandomisation::Hashed => w.big_endian(k::NAT_FLAGS, k::NAT_PORT_HASHED),
            PortRandomisation::Random => w.big_endian(k::NAT_FLAGS, k::NAT_PORT_RANDOM),
        }
    });
}

fn destination_nat(w: &mut Writer, address: Ipv4Addr, port: u16) {
    load_value(w, k::REGISTER_1, &address.octets());
    load_value(w, k::REGISTER_2, &port.to_be_bytes());
    one(w, "nat", |w| {
        w.big_endian(k::NAT_TYPE, k::NAT_DESTINATION);
        w.big_endian(k::NAT_FAMILY, u32::from(k::FAMILY_IPV4));
        w.big_endian(k::NAT_ADDRESS, k::REGISTER_1);
        w.big_endian(k::NAT_PORT, k::REGISTER_2);
    });
}

fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}
