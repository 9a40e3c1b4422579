//! The read-only side of the pool: view, checkpoint, holdings, alarms.

use freeboard_address::{AttachmentKey, Cidr};

use crate::effect::CloudOperation;
use crate::input::{CheckpointState, RestoredAllocation, RestoredCooling, ReturnedBlock};
use crate::node_blocks::NodeBlock;
use crate::pool::Pool;
use crate::store::{Assignment, Block, Cell, Interface, Phase};
use crate::view::{
    AddressState, AddressView, Alarm, BlockView, Holding, InterfaceState, InterfaceView, NodeBlockView, OperationView,
    PoolView, SubnetView, Tally,
};

impl Pool {
    /// The durable state, with the revision that it covers.
    #[must_use]
    pub fn checkpoint(&self) -> CheckpointState {
        let held = self.store.assignments().map(|(assignment, address)| {
            let Assignment { key, pod, since } = assignment.clone();
            RestoredAllocation { key, pod, address, since }
        });
        let mut allocations: Vec<_> = held.collect();
        let mut conflicting = Vec::new();
        for claim in self.store.claims.values() {
            let entry = RestoredAllocation {
                key: claim.assignment.key.clone(),
                pod: claim.assignment.pod.clone(),
                address: claim.address,
                since: claim.assignment.since,
            };
            if allocations.iter().any(|known| known.address == entry.address) {
                conflicting.push(entry);
            } else {
                allocations.push(entry);
            }
        }
        let placed = self.store.cooling().map(|(address, released, _)| (address, released));
        let gone = self.store.resting.iter().map(|(address, (released, _))| (*address, *released));
        let cooling = placed.chain(gone).map(|(address, released)| RestoredCooling { address, released }).collect();
        // What was given or taken before the state was known is not there yet; then the earlier state is still the truth.
        if let Some((waiting, _)) = &self.to_restore {
            allocations.extend(waiting.iter().cloned());
        }
        CheckpointState {
            revision: self.journal.revision,
            allocations,
            conflicting,
            cooling,
            blocks: self.store.node_blocks.iter().map(|block| block.cidr).collect(),
            returned: self.returned(),
            creating: self.intents.iter().cloned().collect(),
        }
    }

    /// What was given back a short while ago, and what is about to be.
    fn returned(&self) -> Vec<ReturnedBlock> {
        let gone = self.given_back.iter().map(|(block, (_, at))| (*block, *at));
        let decided = self.last_shrink.unwrap_or(self.started);
        let blocks = self.store.interfaces.values().flat_map(|interface| interface.blocks.iter());
        let going = blocks.filter(|(_, block)| block.releasing).map(|(cidr, _)| (*cidr, decided));
        gone.chain(going).map(|(block, returned)| ReturnedBlock { block, returned }).collect()
    }

    /// Everything that can be seen.
    #[must_use]
    pub fn view(&self) -> PoolView {
        let mut interfaces: Vec<_> = self.store.interfaces.values().map(|i| self.interface_view(i)).collect();
        interfaces.sort_by(|a, b| (a.device_index, &a.id).cmp(&(b.device_index, &b.id)));
        let stranded = self.store.claims.values().filter(|claim| self.store.cell(claim.address).is_none()).count();
        let stranded = u32::try_from(stranded).unwrap_or(u32::MAX);
        let beside =
            [self.store.node_blocks.tally(), Tally { total: stranded, quarantined: stranded, ..Tally::default() }];
        let prefixes = interfaces.iter().flat_map(|i| &i.blocks).filter(|block| block.is_prefix).count();
        PoolView {
            ready: self.is_ready(),
            tally: crate::store::sum(interfaces.iter().map(|interface| interface.tally).chain(beside)),
            prefixes: u32::try_from(prefixes).unwrap_or(u32::MAX),
            waiting: self.waiting.len(),
            waiting_since: self.waiting.queue.front().map(|waiter| waiter.since),
            node_blocks: self.store.node_blocks.iter().map(node_block_view).collect(),
            interfaces,
            unmanaged_interfaces: u32::try_from(self.unmanaged.len()).unwrap_or(u32::MAX),
            interface_limit: self.interface_limit(),
            slots_per_interface: self.slots_per_interface(),
            subnets: self.subnet_views(),
            operations: self
                .operations
                .iter()
                .map(|(id, o)| OperationView { id: *id, operation: o.operation.clone(), since: o.since })
                .collect(),
            quarantined: self.store.claims.keys().filter_map(|key| self.holds(key)).collect(),
            corrections: self.corrections,
        }
    }

    fn subnet_views(&self) -> Vec<SubnetView> {
        let views = self.subnets.iter().map(|subnet| {
            let verdict = self.judge(subnet);
            SubnetView {
                id: subnet.id.clone(),
                cidr: subnet.cidr,
                zone: subnet.zone.clone(),
                free: self.subnets.free(&subnet.id).unwrap_or(subnet.free.0),
                looked_at: self.subnets.looked_at.unwrap_or(self.started),
                allowed: verdict.allowed,
                reason: verdict.reason.to_owned(),
                exhausted_until: self.subnets.exhausted_until(&subnet.id),
                fragmented_until: self.subnets.fragmented_until(&subnet.id),
            }
        });
        views.collect()
    }

    fn interface_view(&self, interface: &Interface) -> InterfaceView {
        let attaching = interface
            .operation
            .and_then(|id| self.operations.get(&id))
            .is_some_and(|operation| matches!(operation.operation, CloudOperation::AttachInterface { .. }));
        let state = match interface.phase {
            Phase::Releasing => InterfaceState::Releasing,
            Phase::Created if attaching => InterfaceState::Attaching,
            Phase::Created => InterfaceState::Created,
            Phase::Unprepared => InterfaceState::Unprepared,
            Phase::Ready if interface.is_open() => InterfaceState::Ready,
            Phase::Ready => InterfaceState::Missing,
        };
        InterfaceView {
            id: interface.id.clone(),
            mac: interface.mac,
            device_index: interface.device_index,
            is_primary: interface.id == self.facts.primary_interface,
            subnet: interface.subnet.clone(),
            primary_address: interface.primary_address,
            state,
            excluded: self.is_excluded(interface),
            tally: interface.tally(),
            blocks: interface.blocks.iter().map(|(cidr, block)| block_view(*cidr, block)).collect(),
        }
    }

    /// What is held under a key.
    #[must_use]
    pub fn holds(&self, key: &AttachmentKey) -> Option<Holding> {
        if let Some((waiting, _)) = &self.to_restore
            && let Some(entry) = waiting.iter().filter(|entry| entry.key == *key).max_by_key(|entry| entry.since)
        {
            let RestoredAllocation { key, pod, address, since } = entry.clone();
            return Some(Holding { key, pod, address, interface: None, device_index: None, since });
        }
        let (assignment, address) = match self.store.claims.get(key) {
            Some(claim) => (&claim.assignment, claim.address),
            None => (self.store.assignment(key)?, self.store.held(key)?),
        };
        let carrier = self.store.locate(address).map(|(carrier, _)| carrier);
        Some(Holding {
            key: key.clone(),
            pod: assignment.pod.clone(),
            address,
            interface: carrier.and_then(|carrier| carrier.interface()).map(|interface| interface.id.clone()),
            device_index: carrier.map(|carrier| carrier.device_index()),
            since: assignment.since,
        })
    }

    /// What should not be, and still is.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        let claims = self.store.claims.values().map(|claim| Alarm {
            since: claim.since,
            what: format!("{} holds {}: {}", claim.assignment.key, claim.address, claim.why),
            contained: "the address is given to nobody else until the sandbox is deleted".to_owned(),
        });
        let missing = self.store.interfaces.values().filter_map(|interface| {
            let since = interface.missing_since?;
            let assigned = interface.tally().assigned;
            (assigned > 0).then(|| Alarm {
                since,
                what: format!("the cloud does not show {}, which carries {assigned} pods", interface.id),
                contained: "nothing of it is given until it is seen again".to_owned(),
            })
        });
        let failing = self.journal.failing.iter().map(|(since, reason)| Alarm {
            since: *since,
            what: format!("the state cannot be written: {reason}"),
            contained: "ADD and DEL are refused until it can; nothing is promised that is not durable".to_owned(),
        });
        claims.chain(missing).chain(failing).collect()
    }
}

fn addresses(block: &Block) -> impl Iterator<Item = AddressView> {
    block.cells().map(|(address, cell)| {
        let state = match cell {
            Cell::Free { released } => AddressState::Free { released: *released },
            Cell::Assigned(assignment) => AddressState::Assigned {
                key: assignment.key.clone(),
                pod: assignment.pod.clone(),
                since: assignment.since,
            },
            Cell::Cooling { released, .. } => AddressState::Cooling { released: *released },
            Cell::Quarantined => AddressState::Quarantined,
        };
        AddressView { address, state }
    })
}

fn node_block_view(node_block: &NodeBlock) -> NodeBlockView {
    let NodeBlock { cidr, block, draining_since, .. } = node_block;
    let was_held = |view: &AddressView| view.state != AddressState::Free { released: None };
    let holders = block.cells().filter_map(|(_, cell)| match cell {
        Cell::Assigned(assignment) => assignment.pod.clone(),
        Cell::Free { .. } | Cell::Cooling { .. } | Cell::Quarantined => None,
    });
    NodeBlockView {
        cidr: *cidr,
        tally: block.tally(),
        addresses: addresses(block).filter(was_held).collect(),
        draining_since: *draining_since,
        waits_for: if draining_since.is_some() { holders.collect() } else { Vec::new() },
    }
}

fn block_view(cidr: Cidr, block: &Block) -> BlockView {
    BlockView {
        cidr,
        is_prefix: cidr.length() < 32,
        tally: block.tally(),
        addresses: addresses(block).collect(),
        missing_since: block.missing_since,
        releasing: block.releasing,
    }
}
