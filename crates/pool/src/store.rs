//! What the node holds: interfaces, their blocks, and the state of every address on them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::{AttachmentKey, Cidr, EniId, MacAddress, PodKey, SubnetId};
use jiff::Timestamp;

use crate::blocks::Blocks;
use crate::input::{ObservedInterface, OperationId, RestoredAllocation};
use crate::view::Tally;

/// One more with every input: orders what was known before and after a look at the cloud was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step(pub(crate) u64);

/// Who holds an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) key: AttachmentKey,
    pub(crate) pod: Option<PodKey>,
    pub(crate) since: Timestamp,
}

/// The state of one address; exactly one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Can be given. `released` is when it was last let go.
    Free {
        released: Option<Timestamp>,
    },
    Assigned(Assignment),
    /// Resting since `released`. Not `durable` until the release is on disk: until then it may be undone, so it is not given.
    Cooling {
        released: Timestamp,
        durable: bool,
    },
    /// Let go by its holder, but an older claim on it is still open.
    Quarantined,
}

/// A /32 or /28 that the cloud has given to an interface.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    cells: BTreeMap<Ipv4Addr, Cell>,
    tally: Tally,
    /// When it became known; looks started before do not count against it.
    pub(crate) known: Step,
    pub(crate) missing_since: Option<Timestamp>,
    /// Being given back: nothing of it is given.
    pub(crate) releasing: bool,
}

impl Block {
    fn new(cidr: Cidr, known: Step) -> Self {
        let cells: BTreeMap<_, _> = cidr.addresses().map(|address| (address, Cell::Free { released: None })).collect();
        let size = u32::try_from(cells.len()).unwrap_or(u32::MAX);
        let tally = Tally { total: size, free: size, ..Tally::default() };
        Self { cells, tally, known, missing_since: None, releasing: false }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = (Ipv4Addr, &Cell)> {
        self.cells.iter().map(|(address, cell)| (*address, cell))
    }

    /// Whether nothing is held, resting or contained on it.
    pub(crate) fn is_unused(&self) -> bool {
        self.tally.free == self.tally.total
    }

    /// Whether its free addresses may be given.
    pub(crate) fn is_open(&self) -> bool {
        self.missing_since.is_none() && !self.releasing
    }

    fn set(&mut self, address: Ipv4Addr, cell: Cell) {
        if let Some(slot) = self.cells.get_mut(&address) {
            *count(&mut self.tally, slot) -= 1;
            *count(&mut self.tally, &cell) += 1;
            *slot = cell;
        }
    }
}

fn count<'a>(tally: &'a mut Tally, cell: &Cell) -> &'a mut u32 {
    match cell {
        Cell::Free { .. } => &mut tally.free,
        Cell::Assigned(_) => &mut tally.assigned,
        Cell::Cooling { .. } => &mut tally.cooling,
        Cell::Quarantined => &mut tally.quarantined,
    }
}

/// Sums of tallies.
pub(crate) fn sum(tallies: impl Iterator<Item = Tally>) -> Tally {
    let mut sum = Tally::default();
    tallies.for_each(|tally| sum.add(tally));
    sum
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.total += other.total;
        self.assigned += other.assigned;
        self.cooling += other.cooling;
        self.free += other.free;
        self.quarantined += other.quarantined;
    }

    pub(crate) fn subtract(&mut self, other: Self) {
        self.total -= other.total;
        self.assigned -= other.assigned;
        self.cooling -= other.cooling;
        self.free -= other.free;
        self.quarantined -= other.quarantined;
    }
}

/// How far an interface is on its way into, or out of, service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Created, not attached.
    Created,
    /// Attached as far as the cloud says; the host is not set up for it.
    Unprepared,
    Ready,
    Releasing,
}

/// An interface that the pool manages.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) id: EniId,
    pub(crate) mac: MacAddress,
    pub(crate) device_index: u32,
    pub(crate) subnet: SubnetId,
    pub(crate) primary_address: Ipv4Addr,
    pub(crate) phase: Phase,
    /// Whether the cloud showed the attachment as complete.
    pub(crate) attached: bool,
    /// When it entered the pool.
    pub(crate) since: Timestamp,
    pub(crate) known: Step,
    pub(crate) missing_since: Option<Timestamp>,
    /// The operation in flight on it; at most one.
    pub(crate) operation: Option<OperationId>,
    /// An answer was lost: nothing is asked of it until a look started after this step, and not before this time, has settled it.
    pub(crate) unsettled: Option<(Step, Timestamp)>,
    /// When the cloud said that it is full, though it looked otherwise; until a look explains it.
    pub(crate) full_since: Option<Timestamp>,
    /// Blocks that the cloud shows on it and that the pool did not take in; they fill slots.
    pub(crate) foreign_blocks: u32,
    pub(crate) blocks: Blocks,
}

impl Interface {
    pub(crate) fn new(seen: &ObservedInterface, phase: Phase, now: Timestamp, known: Step) -> Self {
        Self {
            id: seen.id.clone(),
            mac: seen.mac,
            device_index: seen.device_index,
            subnet: seen.subnet.clone(),
            primary_address: seen.primary_address,
            phase,
            attached: seen.attached,
            since: now,
            known,
            missing_since: None,
            operation: None,
            unsettled: None,
            full_since: None,
            foreign_blocks: 0,
            blocks: Blocks::default(),
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.blocks.sums().all
    }

    /// Whether its addresses may be given.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Ready && self.attached && self.missing_since.is_none()
    }

    /// Whether its addresses are on their way into service.
    pub(crate) fn is_coming(&self) -> bool {
        matches!(self.phase, Phase::Created | Phase::Unprepared) && self.missing_since.is_none()
    }

    pub(crate) fn adopt(&mut self, cidr: Cidr, known: Step) {
        self.blocks.insert(cidr, Block::new(cidr, known));
    }
}

/// A claim on an address that no interface carries, or that another claim overrides.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) assignment: Assignment,
    pub(crate) address: Ipv4Addr,
    /// Since when it is contained.
    pub(crate) since: Timestamp,
    pub(crate) why: String,
}

/// Interfaces, their addresses, and who holds what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) interfaces: BTreeMap<EniId, Interface>,
    holders: BTreeMap<AttachmentKey, Ipv4Addr>,
    /// Quarantined claims, by key.
    pub(crate) claims: BTreeMap<AttachmentKey, Claim>,
    /// Addresses that rest and are on no interface now: when they were released, and whether that is durable.
    pub(crate) resting: BTreeMap<Ipv4Addr, (Timestamp, bool)>,
}

impl Store {
    /// The interface and block that carry an address.
    pub(crate) fn locate(&self, address: Ipv4Addr) -> Option<(&Interface, Cidr)> {
        self.interfaces.values().find_map(|interface| interface.blocks.carrying(address).map(|cidr| (interface, cidr)))
    }

    pub(crate) fn cell(&self, address: Ipv4Addr) -> Option<&Cell> {
        let (interface, cidr) = self.locate(address)?;
        interface.blocks.get(cidr)?.cells.get(&address)
    }

    fn set(&mut self, address: Ipv4Addr, cell: Cell) {
        let Some((id, cidr)) = self.locate(address).map(|(interface, cidr)| (interface.id.clone(), cidr)) else {
            return;
        };
        if let Some(interface) = self.interfaces.get_mut(&id) {
            interface.blocks.change(cidr, |block| block.set(address, cell));
        }
    }

    /// The address held under a key (not a quarantined one).
    pub(crate) fn held(&self, key: &AttachmentKey) -> Option<Ipv4Addr> {
        self.holders.get(key).copied()
    }

    pub(crate) fn holders(&self) -> impl Iterator<Item = (&AttachmentKey, Ipv4Addr)> {
        self.holders.iter().map(|(key, address)| (key, *address))
    }

    pub(crate) fn assignment(&self, key: &AttachmentKey) -> Option<&Assignment> {
        match self.cell(self.held(key)?)? {
            Cell::Assigned(assignment) => Some(assignment),
            Cell::Free { .. } | Cell::Cooling { .. } | Cell::Quarantined => None,
        }
    }

    /// Gives an address to a sandbox, whatever rests on it; the caller has checked that nobody holds it.
    pub(crate) fn assign(&mut self, address: Ipv4Addr, assignment: Assignment) {
        self.holders.insert(assignment.key.clone(), address);
        self.set(address, Cell::Assigned(assignment));
    }

    /// Takes the address from its holder and leaves it in the given state.
    pub(crate) fn vacate(&mut self, key: &AttachmentKey, cell: Cell) -> Option<Ipv4Addr> {
        let address = self.holders.remove(key)?;
        self.set(address, cell);
        Some(address)
    }

    /// Changes the state of an address that nobody holds.
    pub(crate) fn rest(&mut self, address: Ipv4Addr, cell: Cell) {
        debug_assert!(!matches!(self.cell(address), Some(Cell::Assigned(_))), "{address} is held");
        self.set(address, cell);
    }

    /// The release of an address is durable: from now on it may be given when it has rested.
    pub(crate) fn rests_durably(&mut self, address: Ipv4Addr) {
        if let Some((_, durable)) = self.resting.get_mut(&address) {
            *durable = true;
        }
        if let Some(Cell::Cooling { released, .. }) = self.cell(address).cloned() {
            self.rest(address, Cell::Cooling { released, durable: true });
        }
    }

    /// What came back with a block and has not rested yet rests on.
    pub(crate) fn rest_on(&mut self, block: Cidr) {
        let due: Vec<_> = self.resting.keys().copied().filter(|address| block.contains(*address)).collect();
        for address in due {
            if let Some((released, durable)) = self.resting.remove(&address)
                && matches!(self.cell(address), Some(Cell::Free { .. }))
            {
                self.rest(address, Cell::Cooling { released, durable });
            }
        }
    }

    /// The cooling addresses with the time of their release, longest released first per interface.
    pub(crate) fn cooling(&self) -> impl Iterator<Item = (Ipv4Addr, Timestamp, bool)> {
        self.interfaces
            .values()
            .flat_map(|interface| interface.blocks.cooling())
            .map(|(released, address, durable)| (address, released, durable))
    }

    /// Drops a block from its interface. Whoever holds an address of it becomes a quarantined claim; returns those keys.
    pub(crate) fn drop_block(&mut self, id: &EniId, cidr: Cidr, why: &str, now: Timestamp) -> Vec<AttachmentKey> {
        let Some(block) = self.interfaces.get_mut(id).and_then(|interface| interface.blocks.remove(cidr)) else {
            return Vec::new();
        };
        let mut keys = Vec::new();
        for (address, cell) in block.cells {
            match cell {
                Cell::Assigned(assignment) => {
                    self.holders.remove(&assignment.key);
                    keys.push(assignment.key.clone());
                    let claim = Claim { assignment, address, since: now, why: why.to_owned() };
                    self.claims.insert(claim.assignment.key.clone(), claim);
                }
                Cell::Cooling { released, durable } => drop(self.resting.insert(address, (released, durable))),
                Cell::Free { .. } | Cell::Quarantined => {}
            }
        }
        keys
    }

    /// Takes in an allocation from the durable state: on its address when that is ours and unclaimed, as a quarantined claim
    /// otherwise. Entries are to come newest first. Returns why it was quarantined.
    pub(crate) fn restore(&mut self, entry: RestoredAllocation, now: Timestamp) -> Option<String> {
        let RestoredAllocation { key, pod, address, since } = entry;
        if self.holders.contains_key(&key) || self.claims.contains_key(&key) {
            return Some(format!("{key} is listed twice in the durable state; the newer entry counts"));
        }
        let assignment = Assignment { key: key.clone(), pod, since };
        let why = match self.cell(address) {
            Some(Cell::Free { .. } | Cell::Cooling { .. }) => {
                self.assign(address, assignment);
                return None;
            }
            Some(Cell::Assigned(holder)) => {
                format!("{address} is also held by {}, whose entry is newer", holder.key)
            }
            Some(Cell::Quarantined) => format!("{address} is claimed twice"),
            None => format!("{address} is on no interface that the cloud shows"),
        };
        self.claims.insert(key, Claim { assignment, address, since: now, why: why.clone() });
        Some(why)
    }

    /// Gives quarantined claims their address back where an interface in service carries it again and nobody holds it; of several
    /// claims on one address the newest gets it. On an interface that is not in service yet the address is kept for its claim.
    /// Returns the keys that hold their address again.
    pub(crate) fn settle_claims(&mut self) -> Vec<AttachmentKey> {
        let mut claims: Vec<_> = self
            .claims
            .values()
            .map(|claim| (claim.assignment.since, claim.assignment.key.clone(), claim.address))
            .collect();
        claims.sort_by(|a, b| b.cmp(a));
        let mut settled = Vec::new();
        for (_, key, address) in claims {
            let in_service = self.locate(address).is_some_and(|(interface, _)| interface.phase == Phase::Ready);
            match self.cell(address) {
                None | Some(Cell::Assigned(_)) => {}
                Some(Cell::Free { .. } | Cell::Cooling { .. } | Cell::Quarantined) if in_service => {
                    if let Some(claim) = self.claims.remove(&key) {
                        settled.push(key);
                        self.assign(address, claim.assignment);
                    }
                }
                Some(Cell::Free { .. } | Cell::Cooling { .. } | Cell::Quarantined) => {
                    self.rest(address, Cell::Quarantined)
                }
            }
        }
        settled
    }

    /// Contains a claim on an address that is not to be had.
    pub(crate) fn quarantine(&mut self, assignment: Assignment, address: Ipv4Addr, why: &str, now: Timestamp) {
        self.resting.remove(&address);
        let claim = Claim { assignment, address, since: now, why: why.to_owned() };
        self.claims.insert(claim.assignment.key.clone(), claim);
    }

    /// Whether a quarantined claim is open on this address.
    pub(crate) fn is_claimed(&self, address: Ipv4Addr) -> bool {
        self.claims.values().any(|claim| claim.address == address)
    }
}
