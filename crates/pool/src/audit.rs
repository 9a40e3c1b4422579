//! The invariants of `ARCHITECTURE.md` that one node's pool can check on itself.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::Cidr;

use crate::pool::Pool;
use crate::store::{Block, Carrier, Cell, Interface, Phase};
use crate::view::Tally;

impl Pool {
    /// Violations of the invariants, each as a sentence; empty when all is well. For tests and for a self-check.
    #[must_use]
    pub fn audit(&self) -> Vec<String> {
        let mut violations = Vec::new();
        let mut places: BTreeMap<Ipv4Addr, Carrier<'_>> = BTreeMap::new();
        for interface in self.store.interfaces.values() {
            for (cidr, block) in interface.blocks.iter() {
                for (address, cell) in block.cells() {
                    if !cidr.contains(address) || address == interface.primary_address {
                        violations.push(format!("{address} must not be in {cidr} of {}", interface.id));
                    }
                    let carrier = Carrier::Interface(interface);
                    if let Some(other) = places.insert(address, carrier) {
                        violations.push(format!("{address} is on {other} and on {carrier}"));
                    }
                    violations.extend(self.audit_cell(address, cell));
                }
                violations.extend(audit_block(*cidr, block));
            }
            if !interface.blocks.is_consistent() {
                violations.push(format!("the running sums or orders of {} are not what a count gives", interface.id));
            }
            if interface.phase == Phase::Releasing && interface.tally().assigned > 0 {
                violations.push(format!("{} is being given back and carries pods", interface.id));
            }
            if interface.operation.is_some_and(|id| !self.operations.contains_key(&id)) {
                violations.push(format!("{} waits for an operation that is not in flight", interface.id));
            }
        }
        for node_block in self.store.node_blocks.iter() {
            let carrier = Carrier::NodeBlock(node_block);
            for (address, cell) in node_block.block.cells() {
                if let Some(other) = places.insert(address, carrier) {
                    violations.push(format!("{address} is on {other} and on {carrier}"));
                }
                violations.extend(self.audit_cell(address, cell));
            }
            violations.extend(audit_block(node_block.cidr, &node_block.block));
        }
        if !self.store.is_consistent() {
            violations.push("the index of blocks is not what the interfaces say".to_owned());
        }
        let on_interfaces = self.store.interfaces.values().map(Interface::tally);
        let assigned = crate::store::sum(on_interfaces.chain([self.store.node_blocks.tally()])).assigned;
        if u32::try_from(self.store.holders().count()) != Ok(assigned) {
            violations.push("holders and assigned addresses do not match one to one".to_owned());
        }
        for (key, address) in self.store.holders() {
            if self.store.assignment(key).is_none_or(|assignment| assignment.key != *key) {
                violations.push(format!("{key} holds {address}, which does not say so"));
            }
            if self.store.claims.contains_key(key) {
                violations.push(format!("{key} holds {address} and has a quarantined claim"));
            }
        }
        violations
    }

    fn audit_cell(&self, address: Ipv4Addr, cell: &Cell) -> Option<String> {
        let is_claimed = self.store.is_claimed(address);
        match cell {
            Cell::Free { .. } | Cell::Cooling { .. } if is_claimed => {
                Some(format!("{address} is claimed and could be given"))
            }
            Cell::Quarantined if !is_claimed => Some(format!("{address} is quarantined and nobody claims it")),
            Cell::Assigned(assignment) if self.store.held(&assignment.key) != Some(address) => {
                Some(format!("{address} names {} as its holder, who holds another", assignment.key))
            }
            Cell::Free { .. } | Cell::Cooling { .. } | Cell::Quarantined | Cell::Assigned(_) => None,
        }
    }
}

fn audit_block(cidr: Cidr, block: &Block) -> Vec<String> {
    let mut violations = Vec::new();
    let mut counted = Tally::default();
    for (_, cell) in block.cells() {
        counted.total += 1;
        match cell {
            Cell::Free { .. } => counted.free += 1,
            Cell::Cooling { .. } => counted.cooling += 1,
            Cell::Quarantined => counted.quarantined += 1,
            Cell::Assigned(_) => counted.assigned += 1,
        }
    }
    if counted != block.tally() {
        violations.push(format!("the sums of {cidr} are {:?} and should be {counted:?}", block.tally()));
    }
    if u64::from(counted.total) != cidr.size() {
        violations.push(format!("{cidr} has {} addresses and should have {}", counted.total, cidr.size()));
    }
    if block.releasing && !block.is_unused() {
        violations.push(format!("{cidr} is being given back and is in use"));
    }
    violations
}
