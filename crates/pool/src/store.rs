//! What the node holds: interfaces, their blocks, blocks of its own, and the state of every address on them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use freeboard_address::{AttachmentKey, Cidr, EniId, MacAddress, PodKey, SubnetId};
use jiff::Timestamp;

use crate::blocks::Blocks;
use crate::holders::Holders;
use crate::input::{ObservedInterface, OperationId, RestoredAllocation};
use crate::interfaces::{Interfaces, Number};
use crate::node_blocks::{NodeBlock, NodeBlocks};
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
    Assigned(Arc<Assignment>),
    /// Resting since `released`. Not `durable` until the release is on disk: until then it may be undone, so it is not given.
    Cooling {
        released: Timestamp,
        durable: bool,
    },
    /// Let go by its holder, but an older claim on it is still open.
    Quarantined,
}

/// A /32 or /28 that the cloud has given to an interface, or a block that the node has of its own.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    network: Ipv4Addr,
    /// In the order of the addresses.
    cells: Box<[Cell]>,
    tally: Tally,
    /// When it became known; looks started before do not count against it.
    pub(crate) known: Step,
    pub(crate) missing_since: Option<Timestamp>,
    /// Being given back: nothing of it is given.
    pub(crate) releasing: bool,
}

impl Block {
    pub(crate) fn new(cidr: Cidr, known: Step) -> Self {
        let cells: Box<[_]> = cidr.addresses().map(|_| Cell::Free { released: None }).collect();
        let size = u32::try_from(cells.len()).unwrap_or(u32::MAX);
        let tally = Tally { total: size, free: size, ..Tally::default() };
        Self { network: cidr.network(), cells, tally, known, missing_since: None, releasing: false }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = (Ipv4Addr, &Cell)> {
        (u32::from(self.network)..).map(Ipv4Addr::from).zip(&self.cells)
    }

    fn into_cells(self) -> impl Iterator<Item = (Ipv4Addr, Cell)> {
        (u32::from(self.network)..).map(Ipv4Addr::from).zip(self.cells)
    }

    /// The place of an address among those of the block.
    pub(crate) fn index(&self, address: Ipv4Addr) -> Option<usize> {
        usize::try_from(u32::from(address).checked_sub(u32::from(self.network))?).ok()
    }

    /// The address at a place, and its state.
    pub(crate) fn nth(&self, place: usize) -> Option<(Ipv4Addr, &Cell)> {
        let offset = u32::try_from(place).ok()?;
        let address = u32::from(self.network).checked_add(offset)?;
        Some((Ipv4Addr::from(address), self.cells.get(place)?))
    }

    pub(crate) fn cell(&self, address: Ipv4Addr) -> Option<&Cell> {
        self.cells.get(self.index(address)?)
    }

    /// Whether nothing is held, resting or contained on it.
    pub(crate) fn is_unused(&self) -> bool {
        self.tally.free == self.tally.total
    }

    /// Whether its free addresses may be given.
    pub(crate) fn is_open(&self) -> bool {
        self.missing_since.is_none() && !self.releasing
    }

    /// Puts an address of the block into another state; returns the one before.
    pub(crate) fn set(&mut self, address: Ipv4Addr, cell: Cell) -> Option<Cell> {
        let slot = self.index(address).and_then(|index| self.cells.get_mut(index))?;
        *count(&mut self.tally, slot) -= 1;
        *count(&mut self.tally, &cell) += 1;
        Some(std::mem::replace(slot, cell))
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
}

/// What carries an address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Carrier<'a> {
    Interface(&'a Interface),
    NodeBlock(&'a NodeBlock),
}

impl<'a> Carrier<'a> {
    /// The device index of the interface by which the address is reached: blocks of the node's own come by its primary one.
    pub(crate) fn device_index(self) -> u32 {
        match self {
            Self::Interface(interface) => interface.device_index,
            Self::NodeBlock(_) => 0,
        }
    }

    pub(crate) fn interface(self) -> Option<&'a Interface> {
        match self {
            Self::Interface(interface) => Some(interface),
            Self::NodeBlock(_) => None,
        }
    }

    /// Whether pods can be reached under its addresses.
    fn is_in_service(self) -> bool {
        self.interface().is_none_or(|interface| interface.phase == Phase::Ready)
    }
}

impl fmt::Display for Carrier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(interface) => interface.id.fmt(f),
            Self::NodeBlock(block) => write!(f, "the block {}", block.cidr),
        }
    }
}

/// A claim on an address that no interface carries, or that another claim overrides.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) address: Ipv4Addr,
    /// Since when it is contained.
    pub(crate) since: Timestamp,
    pub(crate) why: String,
}

/// Interfaces, their addresses, and who holds what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) interfaces: Interfaces,
    pub(crate) node_blocks: NodeBlocks,
    /// Blocks never overlap.
    carriers: Carriers,
    holders: Holders,
    cooling: BTreeSet<Rest>,
    /// Quarantined claims, by key.
    pub(crate) claims: BTreeMap<AttachmentKey, Claim>,
    /// Addresses that rest and are on no interface now: when they were released, and whether that is durable.
    pub(crate) resting: BTreeMap<Ipv4Addr, (Timestamp, bool)>,
}

/// Place of a cooling address in the order in which they end their rest: when it was released, and whether that is durable.
type Rest = (Timestamp, Ipv4Addr, bool);

fn rest(address: Ipv4Addr, cell: &Cell) -> Option<Rest> {
    match cell {
        Cell::Cooling { released, durable } => Some((*released, address, *durable)),
        Cell::Free { .. } | Cell::Assigned(_) | Cell::Quarantined => None,
    }
}

/// Which interface has which block, by the block's first address.
type Carriers = BTreeMap<Ipv4Addr, (Cidr, Number)>;

/// Of the carriers the one of an address: of itself, or of the /28 around it.
fn carrier(carriers: &Carriers, address: Ipv4Addr) -> Option<(Cidr, Number)> {
    let prefix = || Cidr::containing(address, 28).ok().and_then(|prefix| carriers.get(&prefix.network()));
    carriers.get(&address).or_else(prefix).copied().filter(|(cidr, _)| cidr.contains(address))
}

impl Store {
    /// What carries an address, and the block there in which it lies.
    pub(crate) fn locate(&self, address: Ipv4Addr) -> Option<(Carrier<'_>, &Block)> {
        if let Some((cidr, number)) = carrier(&self.carriers, address) {
            let interface = self.interfaces.at(number)?;
            return Some((Carrier::Interface(interface), interface.blocks.get(cidr)?));
        }
        let block = self.node_blocks.locate(address)?;
        Some((Carrier::NodeBlock(block), &block.block))
    }

    /// An interface that carries an address of this block.
    pub(crate) fn carrier_of_any(&self, block: Cidr) -> Option<&EniId> {
        let last = self.carriers.range(..=block.last()).next_back();
        let carrier = last.filter(|(_, (cidr, _))| cidr.overlaps(block)).map(|(_, (_, number))| *number)?;
        self.interfaces.at(carrier).map(|interface| &interface.id)
    }

    /// Takes a block into an interface; the caller has checked that nothing else carries any of it.
    pub(crate) fn adopt(&mut self, id: &EniId, cidr: Cidr, known: Step) {
        let Some(number) = self.interfaces.number(id) else { return };
        self.interfaces.change_at(number, |interface| interface.blocks.insert(cidr, Block::new(cidr, known)));
        self.carriers.insert(cidr.network(), (cidr, number));
        self.rest_on(cidr);
    }

    /// Whether the indexes of blocks and cooling addresses, and the sums, are what the interfaces say.
    pub(crate) fn is_consistent(&self) -> bool {
        let blocks = self.interfaces.values().flat_map(|interface| interface.blocks.iter()).map(|(_, block)| block);
        let cells = blocks.chain(self.node_blocks.iter().map(|block| &block.block)).flat_map(Block::cells);
        let cooling: BTreeSet<_> = cells.filter_map(|(address, cell)| rest(address, cell)).collect();
        if cooling != self.cooling || !self.interfaces.is_consistent() || !self.node_blocks.is_consistent() {
            return false;
        }
        let blocks = self.interfaces.values().flat_map(|interface| {
            let number = self.interfaces.number(&interface.id);
            interface.blocks.keys().filter_map(move |cidr| Some((cidr.network(), (*cidr, number?))))
        });
        blocks.collect::<BTreeMap<_, _>>() == self.carriers
    }

    pub(crate) fn cell(&self, address: Ipv4Addr) -> Option<&Cell> {
        self.locate(address)?.1.cell(address)
    }

    /// Puts an address into another state; returns what carries it and the state before.
    pub(crate) fn put(&mut self, address: Ipv4Addr, cell: Cell) -> Option<(Carrier<'_>, Cell)> {
        let rests = rest(address, &cell);
        let (carrier, previous) = match carrier(&self.carriers, address) {
            Some((cidr, number)) => {
                let (interface, previous) =
                    self.interfaces.change_at(number, |interface| interface.blocks.set(cidr, address, cell))?;
                (Carrier::Interface(interface), previous?)
            }
            None => {
                let (block, previous) = self.node_blocks.set(address, cell)?;
                (Carrier::NodeBlock(block), previous)
            }
        };
        if let Some(rested) = rest(address, &previous) {
            self.cooling.remove(&rested);
        }
        self.cooling.extend(rests);
        Some((carrier, previous))
    }

    /// The address held under a key (not a quarantined one).
    pub(crate) fn held(&self, key: &AttachmentKey) -> Option<Ipv4Addr> {
        self.holders.address(key)
    }

    pub(crate) fn holders(&self) -> impl Iterator<Item = (&AttachmentKey, Ipv4Addr)> {
        self.holders.iter().map(|(assignment, address)| (&assignment.key, address))
    }

    /// What is held, with the address.
    pub(crate) fn assignments(&self) -> impl Iterator<Item = (&Assignment, Ipv4Addr)> {
        self.holders.iter()
    }

    pub(crate) fn assignment(&self, key: &AttachmentKey) -> Option<&Arc<Assignment>> {
        self.holders.assignment(key)
    }

    /// Gives an address to a sandbox, whatever rests on it; the caller has checked that nobody holds it. Returns what
    /// carries it and the state before.
    pub(crate) fn assign(&mut self, address: Ipv4Addr, assignment: Arc<Assignment>) -> Option<(Carrier<'_>, Cell)> {
        self.holders.insert(Arc::clone(&assignment), address);
        self.put(address, Cell::Assigned(assignment))
    }

    /// Takes what a key holds from it; the caller puts the address into the state that it is to have.
    pub(crate) fn take_from(&mut self, key: &AttachmentKey) -> Option<(Arc<Assignment>, Ipv4Addr)> {
        self.holders.remove(key)
    }

    /// Takes the address from its holder and leaves it in the given state.
    pub(crate) fn vacate(&mut self, key: &AttachmentKey, cell: Cell) -> Option<Ipv4Addr> {
        let (_, address) = self.holders.remove(key)?;
        self.put(address, cell);
        Some(address)
    }

    /// Changes the state of an address that nobody holds.
    pub(crate) fn rest(&mut self, address: Ipv4Addr, cell: Cell) {
        debug_assert!(!matches!(self.cell(address), Some(Cell::Assigned(_))), "{address} is held");
        self.put(address, cell);
    }

    /// The release of an address is on disk. Returns when it was released, if it rests.
    pub(crate) fn release_is_durable(&mut self, address: Ipv4Addr) -> Option<Timestamp> {
        if let Some((_, durable)) = self.resting.get_mut(&address) {
            *durable = true;
        }
        let Some(Cell::Cooling { released, .. }) = self.cell(address) else { return None };
        let released = *released;
        self.put(address, Cell::Cooling { released, durable: true });
        Some(released)
    }

    /// What came back with a block and has not rested yet rests on.
    fn rest_on(&mut self, block: Cidr) {
        let due: Vec<_> = self.resting.keys().copied().filter(|address| block.contains(*address)).collect();
        for address in due {
            if let Some((released, durable)) = self.resting.remove(&address)
                && matches!(self.cell(address), Some(Cell::Free { .. }))
            {
                self.rest(address, Cell::Cooling { released, durable });
            }
        }
    }

    /// The cooling addresses with the time of their release and whether that is durable, longest released first.
    pub(crate) fn cooling(&self) -> impl Iterator<Item = (Ipv4Addr, Timestamp, bool)> {
        self.cooling.iter().map(|(released, address, durable)| (*address, *released, *durable))
    }

    /// Drops a block from its interface. Whoever holds an address of it becomes a quarantined claim; returns those keys.
    pub(crate) fn drop_block(&mut self, id: &EniId, cidr: Cidr, why: &str, now: Timestamp) -> Vec<AttachmentKey> {
        let removed = self.interfaces.change(id, |interface| interface.blocks.remove(cidr));
        let Some(block) = removed.and_then(|(_, block)| block) else { return Vec::new() };
        self.carriers.remove(&cidr.network());
        self.strand(block, why, now)
    }

    /// Takes in a block of the node's own, unless it overlaps one that is there.
    pub(crate) fn take_node_block(&mut self, cidr: Cidr, known: Step) -> bool {
        let taken = self.node_blocks.insert(cidr, known);
        if taken {
            self.rest_on(cidr);
        }
        taken
    }

    /// Drops a block of the node's own, as [`Self::drop_block`] does.
    pub(crate) fn drop_node_block(&mut self, cidr: Cidr, why: &str, now: Timestamp) -> Vec<AttachmentKey> {
        self.node_blocks.remove(cidr).map(|block| self.strand(block, why, now)).unwrap_or_default()
    }

    /// A block is gone: who holds an address of it becomes a claim, and what rests, rests on.
    fn strand(&mut self, block: Block, why: &str, now: Timestamp) -> Vec<AttachmentKey> {
        let mut keys = Vec::new();
        for (address, cell) in block.into_cells() {
            if let Some(rest) = rest(address, &cell) {
                self.cooling.remove(&rest);
            }
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
    /// otherwise. Entries are to come newest first; `nowhere`: what is wrong with an address that is not ours. Returns why it was
    /// quarantined.
    pub(crate) fn restore(&mut self, entry: RestoredAllocation, nowhere: &str, now: Timestamp) -> Option<String> {
        let RestoredAllocation { key, pod, address, since } = entry;
        if self.holders.address(&key).is_some() || self.claims.contains_key(&key) {
            return Some(format!("{key} is listed twice in the durable state; the newer entry counts"));
        }
        let assignment = Arc::new(Assignment { key: key.clone(), pod, since });
        let why = match self.cell(address) {
            Some(Cell::Free { .. } | Cell::Cooling { .. }) => {
                self.assign(address, assignment);
                return None;
            }
            Some(Cell::Assigned(holder)) => {
                format!("{address} is also held by {}, whose entry is newer", holder.key)
            }
            Some(Cell::Quarantined) => format!("{address} is claimed twice"),
            None => format!("{address} {nowhere}"),
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
            let in_service = self.locate(address).is_some_and(|(carrier, _)| carrier.is_in_service());
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
    pub(crate) fn quarantine(&mut self, assignment: Arc<Assignment>, address: Ipv4Addr, why: &str, now: Timestamp) {
        self.resting.remove(&address);
        let claim = Claim { assignment, address, since: now, why: why.to_owned() };
        self.claims.insert(claim.assignment.key.clone(), claim);
    }

    /// Whether a quarantined claim is open on this address.
    pub(crate) fn is_claimed(&self, address: Ipv4Addr) -> bool {
        self.claims.values().any(|claim| claim.address == address)
    }
}
