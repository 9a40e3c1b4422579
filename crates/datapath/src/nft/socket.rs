//! The nf_tables netlink socket: whole tables in, counters out.

use std::collections::BTreeMap;

use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use sha1::{Digest, Sha1};

use super::encode::{self, Part, family_header};
use super::kernel as k;
use super::table::Table;
use crate::netlink::{Answer, Transport};
use crate::wire::{Attributes, Writer, u64_be_at};
use crate::{DatapathError, NetworkNamespace};

/// What a rule has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCounter {
    /// The rule's chain.
    pub chain: String,
    /// The rule's comment.
    pub comment: String,
    /// Packets that came to its counter.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A rule as the kernel has it, as far as Freeboard reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KernelRule {
    pub(super) table: String,
    pub(super) chain: String,
    pub(super) handle: [u8; 8],
    pub(super) comment: String,
    pub(super) jumps_to: Option<String>,
    pub(super) counter: Option<(u64, u64)>,
}

/// An nf_tables netlink socket, for tables of the IPv4 family.
#[derive(Debug)]
pub struct NftSocket {
    transport: Transport,
}

impl NftSocket {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// [`DatapathError::Io`] when the kernel refuses.
    pub fn open() -> Result<Self, DatapathError> {
        Ok(Self { transport: Transport::open(NETLINK_NETFILTER)? })
    }

    /// Opens a socket in another namespace; the calling thread is back in its own when this returns.
    ///
    /// # Errors
    /// [`DatapathError::NoNamespace`] when it cannot be entered, [`DatapathError::Io`] when the kernel refuses the socket.
    pub fn open_in(namespace: &NetworkNamespace) -> Result<Self, DatapathError> {
        namespace.run(Self::open)?
    }

    /// Makes the kernel have exactly this table; says whether anything had to be written. The table carries a fingerprint, so
    /// one that is right already, with all its rules, is left alone, and with it its counters.
    ///
    /// # Errors
    /// [`DatapathError::Refused`]; the old table is then still there, whole.
    pub fn ensure(&mut self, table: &Table) -> Result<bool, DatapathError> {
        if self.is_as(table)? {
            return Ok(false);
        }
        let fingerprint = fingerprint(table);
        let mut parts = vec![encode::new_table(&table.name, &[]), encode::delete_table(&table.name)];
        parts.extend(encode::table(table, &fingerprint));
        self.batch(&parts)?;
        Ok(true)
    }

    /// Whether the kernel has exactly this table.
    ///
    /// # Errors
    /// As [`Self::counters`].
    pub fn is_as(&mut self, table: &Table) -> Result<bool, DatapathError> {
        let fingerprint = fingerprint(table);
        Ok(self.fingerprint(&table.name)?.as_deref() == Some(&fingerprint[..]) && self.has_all_rules(table)?)
    }

    /// Whether there is a table of this name; none when the kernel has no nf_tables.
    ///
    /// # Errors
    /// [`DatapathError::Refused`].
    pub fn has(&mut self, table: &str) -> Result<bool, DatapathError> {
        let asked = self.transport.next_sequence();
        let mut writer = Writer::new();
        writer.message(k::GET_TABLE, k::FLAG_REQUEST | k::FLAG_ACKNOWLEDGE, asked, |w| {
            family_header(w, k::FAMILY_IPV4, 0);
            w.text(k::TABLE_NAME, table);
        });
        self.transport.send(&writer)?;
        let mut answer = None;
        while answer.is_none() {
            self.transport.receive(|received| match received {
                Answer::Done { sequence } if sequence == asked => answer = Some(Ok(true)),
                Answer::Refused { sequence, errno, explanation } if sequence == asked => {
                    let is_absent = matches!(errno, Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP);
                    let request = format!("look for table ip {table}");
                    let refused = DatapathError::Refused { request, errno, explanation };
                    answer = Some(if is_absent { Ok(false) } else { Err(refused) });
                }
                Answer::Done { .. } | Answer::Refused { .. } | Answer::Data(_) => {}
            })?;
        }
        answer.unwrap_or(Ok(false))
    }

    /// Removes a table; says whether there was one.
    ///
    /// # Errors
    /// [`DatapathError::Refused`].
    pub fn remove(&mut self, table: &str) -> Result<bool, DatapathError> {
        match self.batch(&[encode::delete_table(table)]) {
            Ok(()) => Ok(true),
            Err(DatapathError::Refused { errno: Errno::ENOENT, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the rules of a table have counted, in order; rules without a counter are left out.
    ///
    /// # Errors
    /// When the kernel refuses, or the list changed during five readings.
    pub fn counters(&mut self, table: &str) -> Result<Vec<RuleCounter>, DatapathError> {
        let rules = self.rules(table)?.into_iter();
        let counted = rules.filter_map(|rule| {
            let (packets, bytes) = rule.counter?;
            Some(RuleCounter { chain: rule.chain, comment: rule.comment, packets, bytes })
        });
        Ok(counted.collect())
    }

    /// The names of all tables.
    ///
    /// # Errors
    /// As [`Self::counters`].
    pub fn tables(&mut self) -> Result<Vec<String>, DatapathError> {
        let read = |payload: &[u8]| Attributes(payload.get(4..)?).text(k::TABLE_NAME);
        self.transport.dump("packet filter tables", k::GET_TABLE, |w| family_header(w, k::FAMILY_IPV4, 0), read)
    }

    /// The names of a table's chains.
    ///
    /// # Errors
    /// As [`Self::counters`].
    pub fn chains(&mut self, table: &str) -> Result<Vec<String>, DatapathError> {
        let read = |payload: &[u8]| {
            let attributes = Attributes(payload.get(4..)?);
            (attributes.text(k::CHAIN_TABLE)? == table).then(|| attributes.text(k::CHAIN_NAME))?
        };
        self.transport.dump("packet filter chains", k::GET_CHAIN, |w| family_header(w, k::FAMILY_IPV4, 0), read)
    }

    /// The rules of a table; none when there is no such table.
    pub(super) fn rules(&mut self, table: &str) -> Result<Vec<KernelRule>, DatapathError> {
        let body = |w: &mut Writer| {
            family_header(w, k::FAMILY_IPV4, 0);
            w.text(k::RULE_TABLE, table);
        };
        let read = |payload: &[u8]| KernelRule::read(payload).filter(|rule| rule.table == table);
        self.transport.dump("packet filter rules", k::GET_RULE, body, read)
    }

    /// Sends the messages as one transaction.
    pub(super) fn batch(&mut self, parts: &[Part]) -> Result<(), DatapathError> {
        let Some(last) = parts.len().checked_sub(1) else { return Ok(()) };
        let mut writer = Writer::new();
        let begin = self.transport.next_sequence();
        let bound = |w: &mut Writer| family_header(w, 0, k::SUBSYSTEM);
        writer.message(k::BATCH_BEGIN, k::FLAG_REQUEST, begin, bound);
        let mut phrases = BTreeMap::new();
        let mut final_sequence = begin;
        for (place, part) in parts.iter().enumerate() {
            final_sequence = self.transport.next_sequence();
            phrases.insert(final_sequence, part.phrase.as_str());
            // Refusals come unasked; only the end of a batch without one must be told.
            let acknowledge = if place == last { k::FLAG_ACKNOWLEDGE } else { 0 };
            let flags = k::FLAG_REQUEST | part.flags | acknowledge;
            writer.message(part.kind, flags, final_sequence, |w| w.raw(part.body.bytes()));
        }
        writer.message(k::BATCH_END, k::FLAG_REQUEST, self.transport.next_sequence(), bound);
        self.transport.send(&writer)?;
        self.await_batch(begin, final_sequence, &phrases)
    }

    fn await_batch(&mut self, begin: u32, last: u32, phrases: &BTreeMap<u32, &str>) -> Result<(), DatapathError> {
        let mut refusal = None;
        let mut ended = false;
        while !ended {
            self.transport.receive(|answer| match answer {
                Answer::Done { sequence } if sequence == last => ended = true,
                Answer::Refused { sequence, errno, explanation } if (begin..=last).contains(&sequence) => {
                    ended |= sequence == last || sequence == begin;
                    let request = phrases.get(&sequence).copied().unwrap_or("change the packet filter");
                    let refused = DatapathError::Refused { request: request.to_owned(), errno, explanation };
                    // The first refusal is the cause; the later ones follow from it.
                    refusal.get_or_insert(refused);
                }
                Answer::Done { .. } | Answer::Refused { .. } | Answer::Data(_) => {}
            })?;
        }
        refusal.map_or(Ok(()), Err)
    }

    fn fingerprint(&mut self, table: &str) -> Result<Option<Vec<u8>>, DatapathError> {
        let read = |payload: &[u8]| {
            let attributes = Attributes(payload.get(4..)?);
            (attributes.text(k::TABLE_NAME)? == table)
                .then(|| attributes.find(k::TABLE_USERDATA).unwrap_or_default().to_vec())
        };
        let body = |w: &mut Writer| family_header(w, k::FAMILY_IPV4, 0);
        Ok(self.transport.dump("packet filter tables", k::GET_TABLE, body, read)?.into_iter().next())
    }

    /// Whether every chain has as many rules as it should: somebody may have flushed the table and left its fingerprint.
    fn has_all_rules(&mut self, table: &Table) -> Result<bool, DatapathError> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for rule in self.rules(&table.name)? {
            *counts.entry(rule.chain).or_default() += 1;
        }
        let wanted = table.chains.iter().filter(|chain| !chain.rules.is_empty());
        Ok(wanted.map(|chain| (chain.name.clone(), chain.rules.len())).collect::<BTreeMap<_, _>>() == counts)
    }
}

/// A digest of everything in the table.
fn fingerprint(table: &Table) -> Vec<u8> {
    let mut hash = Sha1::new();
    for part in encode::table(table, &[]) {
        hash.update(part.kind.to_be_bytes());
        hash.update(part.body.bytes());
    }
    hash.finalize().to_vec()
}

impl KernelRule {
    fn read(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes(payload.get(4..)?);
        let mut rule = Self {
            table: attributes.text(k::RULE_TABLE)?,
            chain: attributes.text(k::RULE_CHAIN)?,
            handle: attributes.find(k::RULE_HANDLE)?.try_into().ok()?,
            comment: comment(attributes.find(k::RULE_USERDATA).unwrap_or_default()),
            ..Self::default()
        };
        for (_, expression) in attributes.nested(k::RULE_EXPRESSIONS) {
            rule.read_expression(Attributes(expression));
        }
        Some(rule)
    }

    fn read_expression(&mut self, expression: Attributes<'_>) {
        let data = expression.nested(k::EXPRESSION_DATA);
        match expression.text(k::EXPRESSION_NAME).as_deref() {
            Some("immediate") => {
                let verdict = data.nested(k::IMMEDIATE_DATA).nested(k::DATA_VERDICT);
                self.jumps_to = verdict.text(k::VERDICT_CHAIN).or_else(|| self.jumps_to.take());
            }
            Some("counter") => {
                let number = |kind| data.find(kind).and_then(|value| u64_be_at(value, 0)).unwrap_or(0);
                self.counter = Some((number(k::COUNTER_PACKETS), number(k::COUNTER_BYTES)));
            }
            // The iptables programs keep a comment as a match of theirs.
            Some("match") if data.text(k::MATCH_NAME).as_deref() == Some("comment") => {
                self.comment = data.text(k::MATCH_INFO).unwrap_or_default();
            }
            _ => {}
        }
    }
}

/// The comment in a rule's user data: type, length and value, one after the other.
fn comment(mut userdata: &[u8]) -> String {
    while let [kind, length, rest @ ..] = userdata {
        let Some(value) = rest.get(..usize::from(*length)) else { break };
        if *kind == k::USERDATA_COMMENT {
            return crate::wire::text(value);
        }
        userdata = &rest[value.len()..];
    }
    String::new()
}
