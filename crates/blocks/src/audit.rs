//! The invariants that the engine can check on itself.

use std::collections::BTreeSet;

use freeboard_address::{AlignedSpace, Cidr};

use crate::engine::Blocks;
use crate::nodes::State;
use crate::table::NodeId;
use crate::territory::{Summary, Territory};

impl Blocks {
    /// Violations of the invariants, each as a sentence; empty when all is well. For tests and for a self-check.
    #[must_use]
    pub fn audit(&self) -> Vec<String> {
        let mut violations = Vec::new();
        self.audit_nodes(&mut violations);
        self.audit_claims(&mut violations);
        for (index, territory) in self.territories.iter().enumerate() {
            self.audit_territory(index, territory, &mut violations);
        }
        if !self.territories.iter().map(Summary::of).eq(self.summaries.iter().copied()) {
            violations.push("the summaries of the ranges are not what the ranges are".to_owned());
        }
        self.audit_queues(&mut violations);
        violations
    }

    /// What nodes say and what the claims say is the same.
    fn audit_nodes(&self, violations: &mut Vec<String>) {
        let mut claimed: BTreeSet<(NodeId, Cidr)> = BTreeSet::new();
        for (cidr, claim) in self.claims.touching(Cidr::EVERYTHING) {
            for node in std::iter::once(claim.node).chain(claim.others.iter().copied()) {
                claimed.insert((node, cidr));
            }
        }
        for (id, node) in self.nodes.iter() {
            let name = &node.name;
            if self.nodes.find(name) != Some(id) {
                violations.push(format!("{name} is not found by its name"));
            }
            let blocks = match &node.state {
                State::Held { cidr, more } => std::iter::once(*cidr).chain(more.iter().copied()).collect(),
                State::Granted { cidr, write } => {
                    if !write.is_tracked(id, self) {
                        violations.push(format!("the write of {cidr} for {name} is nowhere"));
                    }
                    vec![*cidr]
                }
                State::Waiting { .. } | State::Refused { .. } | State::Unusable => Vec::new(),
            };
            for cidr in blocks {
                if !claimed.remove(&(id, cidr)) {
                    violations.push(format!("{name} has {cidr}, and no claim says so"));
                }
            }
        }
        for (id, cidr) in claimed {
            let name = self.name_of(id);
            violations.push(format!("{cidr} is claimed for {name}, which does not have it"));
        }
    }

    /// A block that is chosen by this engine is nobody else's.
    fn audit_claims(&self, violations: &mut Vec<String>) {
        for (cidr, claim) in self.claims.touching(Cidr::EVERYTHING) {
            if claim.is_irregular {
                continue;
            }
            if !claim.others.is_empty() {
                violations.push(format!("{cidr} has several nodes and passes for regular"));
            }
            if let Some((other, node)) = self.overlapping(cidr).next() {
                violations.push(format!(
                    "{cidr} of {} overlaps {other} of {} and passes for regular",
                    self.name_of(claim.node),
                    self.name_of(node)
                ));
            }
        }
    }

    /// Free, cooling, claimed and excluded addresses make up the range, and none is two of these.
    fn audit_territory(&self, index: usize, territory: &Territory, violations: &mut Vec<String>) {
        let (name, range) = (&territory.spec.name, territory.spec.cidr);
        let mut expected = AlignedSpace::all_free(range);
        for exclusion in territory.spec.excluded.iter().chain(&self.settings.excluded) {
            expected.take_any(exclusion.cidr);
        }
        let mut claims = 0;
        for (cidr, _) in self.claims_touching(range) {
            expected.take_any(cidr);
            claims += u64::from(range.contains_block(cidr));
        }
        if claims != territory.claims {
            violations.push(format!("{name} counts {} blocks of nodes and has {claims}", territory.claims));
        }
        if self.counted_reserved(index).is_none_or(|counted| counted != territory.reserved_nodes) {
            violations.push(format!("{name} does not count the nodes for which it keeps room as they are"));
        }
        let mut cooling = 0;
        let remembered: BTreeSet<_> = self.cooling.iter().map(|block| (&block.cidr, &block.released)).collect();
        for (block, released) in &territory.cooling {
            cooling += block.size();
            if !expected.take(*block) {
                violations.push(format!("{block} cools down in {name} and is something else as well"));
            }
            if !remembered.contains(&(block, released)) {
                violations.push(format!("{block} cools down in {name} for ever"));
            }
        }
        if cooling != territory.cooling_addresses {
            violations
                .push(format!("{name} counts {} cooling addresses and has {cooling}", territory.cooling_addresses));
        }
        for block in self.held_in(index) {
            if !expected.take(*block) {
                violations.push(format!("{block} is kept in {name} and is not free"));
            }
        }
        let held: u64 = self.held_in(index).iter().map(|block| block.size()).sum();
        if held != territory.held_addresses {
            violations.push(format!("{name} counts {} kept addresses and has {held}", territory.held_addresses));
        }
        if expected != territory.space {
            let missing = expected.free_addresses().abs_diff(territory.space.free_addresses());
            violations.push(format!("the free space of {name} is not what is left of it ({missing} addresses differ)"));
        }
    }

    /// Who waits is in a queue, and no queue could be served.
    fn audit_queues(&self, violations: &mut Vec<String>) {
        let queued = self.queues.in_order();
        for (id, node) in self.nodes.iter() {
            let name = &node.name;
            if let State::Waiting { ticket, .. } = &node.state
                && queued.get(ticket) != Some(&id)
            {
                violations.push(format!("{name} waits and is in no queue"));
            }
        }
        for (ticket, id) in queued {
            let name = self.name_of(id);
            let waits =
                self.nodes.get(id).is_some_and(|n| matches!(n.state, State::Waiting { ticket: t, .. } if t == ticket));
            if !waits {
                violations.push(format!("{name} is in a queue and does not wait"));
            }
        }
        if self.is_ready() {
            for (key, length) in self.queues.lengths() {
                if self.could_serve(key) {
                    violations.push(format!("{length} nodes wait although there is room"));
                }
            }
        }
    }
}
