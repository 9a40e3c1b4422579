//! The baseline of the engine's bench: the plainest allocator that does the same work, by looking at every address.
//!
//! It keeps one list of addresses and finds the sandbox, and a rested free address, by going through it, as the Amazon VPC CNI's
//! datastore does. It has no policy, no records and no interfaces, so it does less than any real one.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use freeboard_address::AttachmentKey;
use jiff::{SignedDuration, Timestamp};
use nix::errno::Errno;

use crate::engine::thread_time;

#[derive(Clone, Debug)]
struct Slot {
    address: Ipv4Addr,
    holder: Option<AttachmentKey>,
    released: Option<Timestamp>,
}

/// The list of addresses.
#[derive(Clone, Debug)]
pub struct ScanAllocator {
    slots: Vec<Slot>,
    cooldown: SignedDuration,
}

impl ScanAllocator {
    /// An allocator of so many addresses.
    #[must_use]
    pub fn new(addresses: u32, cooldown: SignedDuration) -> Self {
        let base = u32::from(Ipv4Addr::new(10, 0, 0, 0));
        let slot = |index| Slot { address: Ipv4Addr::from(base + index), holder: None, released: None };
        Self { slots: (0..addresses).map(slot).collect(), cooldown }
    }

    /// Gives an address; the same key gets the same one.
    pub fn add(&mut self, key: AttachmentKey, now: Timestamp) -> Option<Ipv4Addr> {
        if let Some(slot) = self.slots.iter().find(|slot| slot.holder.as_ref() == Some(&key)) {
            return Some(slot.address);
        }
        let cooldown = self.cooldown;
        let rested = |slot: &Slot| slot.released.is_none_or(|released| now.duration_since(released) >= cooldown);
        let slot = self.slots.iter_mut().find(|slot| slot.holder.is_none() && rested(slot))?;
        slot.holder = Some(key);
        Some(slot.address)
    }

    /// Takes what a key holds.
    pub fn delete(&mut self, key: &AttachmentKey, now: Timestamp) -> Option<Ipv4Addr> {
        let slot = self.slots.iter_mut().find(|slot| slot.holder.as_ref() == Some(key))?;
        slot.holder = None;
        slot.released = Some(now);
        Some(slot.address)
    }

    /// Addresses that can be given now: what a policy has to know after each event.
    #[must_use]
    pub fn available(&self, now: Timestamp) -> usize {
        let rested = |slot: &&Slot| {
            slot.holder.is_none() && slot.released.is_none_or(|released| now.duration_since(released) >= self.cooldown)
        };
        self.slots.iter().filter(rested).count()
    }
}

/// The processor time per event of the allocator with pods on nine tenths of its addresses, over `pairs` DELs and as many ADDs in turns.
///
/// # Errors
/// When the system does not tell a thread's processor time.
///
/// # Panics
/// When the allocator does not answer.
pub fn churn(addresses: u32, pairs: usize) -> Result<Duration, Errno> {
    let mut allocator = ScanAllocator::new(addresses, SignedDuration::from_secs(2));
    let mut now = Timestamp::UNIX_EPOCH;
    let key = |number: u32| AttachmentKey {
        network: "aws-cni".to_owned(),
        container: format!("{number:064x}"),
        interface: "eth0".to_owned(),
    };
    let pods = addresses * 9 / 10;
    let mut held: VecDeque<AttachmentKey> = (0..pods).map(key).collect();
    for pod in &held {
        assert!(allocator.add(pod.clone(), now).is_some(), "there is room");
    }
    let events = u32::try_from(pairs).unwrap_or(u32::MAX);
    let new: Vec<AttachmentKey> = (pods..pods + events).map(key).collect();
    let begin = thread_time()?;
    for pod in new {
        let old = held.pop_front().unwrap_or_else(|| pod.clone());
        assert!(allocator.delete(&old, now).is_some(), "it is held");
        std::hint::black_box(allocator.available(now));
        now += SignedDuration::from_millis(500);
        held.push_back(pod.clone());
        assert!(allocator.add(pod, now).is_some(), "there is room");
        std::hint::black_box(allocator.available(now));
        now += SignedDuration::from_millis(500);
    }
    Ok(thread_time()?.saturating_sub(begin) / (2 * events).max(1))
}
