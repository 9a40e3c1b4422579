//! What the Amazon VPC CNI left in nf_tables, found and removed when Freeboard takes over a node.
//!
//! Its iptables rules lie in the tables `ip nat` and `ip mangle` that other programs share, so they are removed one by one,
//! known by their comments and chains. What it wrote by iptables-legacy is not in nf_tables and is out of reach here.

use std::collections::BTreeSet;

use super::encode::{Part, delete_table};
use super::kernel as k;
use super::socket::{KernelRule, NftSocket};
use crate::DatapathError;

const SHARED_TABLES: [&str; 2] = ["nat", "mangle"];
const OWN_TABLE: &str = "aws-cni";
const CHAIN_PREFIXES: [&str; 2] = ["AWS-SNAT-CHAIN-", "AWS-CONNMARK-CHAIN-"];
const COMMENTS: [&str; 6] = [
    "AWS SNAT CHAIN",
    "AWS SNAT CHAIN EXCLUSION",
    "AWS, SNAT",
    "AWS, CONNMARK",
    "AWS, outbound connections",
    "AWS, primary ENI",
];

/// What the incumbent left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    rules: Vec<KernelRule>,
    chains: BTreeSet<(String, String)>,
    has_own_table: bool,
}

impl Leftovers {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.chains.is_empty() && !self.has_own_table
    }

    /// How many rules in tables shared with others.
    #[must_use]
    pub fn shared_rules(&self) -> usize {
        self.rules.len()
    }

    /// The names of its chains and tables, for people.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let chains = self.chains.iter().map(|(table, chain)| format!("chain {chain} in table ip {table}"));
        chains.chain(self.has_own_table.then(|| format!("table ip {OWN_TABLE}"))).collect()
    }
}

/// Looks for what the incumbent left.
///
/// # Errors
/// When the kernel refuses, or keeps changing while it is read.
pub fn find_leftovers(socket: &mut NftSocket) -> Result<Leftovers, DatapathError> {
    let tables = socket.tables()?;
    let mut leftovers = Leftovers { has_own_table: tables.iter().any(|t| t == OWN_TABLE), ..Leftovers::default() };
    for table in SHARED_TABLES.into_iter().filter(|table| tables.iter().any(|found| found == table)) {
        for chain in socket.chains(table)? {
            if is_its_chain(&chain) {
                leftovers.chains.insert((table.to_owned(), chain));
            }
        }
        leftovers.rules.extend(socket.rules(table)?.into_iter().filter(is_its_rule));
    }
    Ok(leftovers)
}

/// Removes what was found, in one transaction.
///
/// # Errors
/// [`DatapathError::Refused`]; everything is then still there.
pub fn remove_leftovers(socket: &mut NftSocket, leftovers: &Leftovers) -> Result<(), DatapathError> {
    let rules = leftovers.rules.iter().map(|rule| {
        let phrase = format!("delete rule {:?} from chain {} in table ip {}", rule.comment, rule.chain, rule.table);
        Part::new(k::DEL_RULE, 0, phrase, |w| {
            w.text(k::RULE_TABLE, &rule.table);
            w.text(k::RULE_CHAIN, &rule.chain);
            w.attribute(k::RULE_HANDLE, &rule.handle);
        })
    });
    // A chain can only go when no rule jumps to it any more.
    let chains = leftovers.chains.iter().map(|(table, chain)| {
        Part::new(k::DEL_CHAIN, 0, format!("delete chain {chain} from table ip {table}"), |w| {
            w.text(k::CHAIN_TABLE, table);
            w.text(k::CHAIN_NAME, chain);
        })
    });
    let table = leftovers.has_own_table.then(|| delete_table(OWN_TABLE));
    socket.batch(&rules.chain(chains).chain(table).collect::<Vec<_>>())
}

fn is_its_chain(name: &str) -> bool {
    CHAIN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_its_rule(rule: &KernelRule) -> bool {
    is_its_chain(&rule.chain)
        || rule.jumps_to.as_deref().is_some_and(is_its_chain)
        || COMMENTS.contains(&rule.comment.as_str())
}
