//! The runtime of a node: pods, their sandboxes, ADDs and DELs, and what it does when they fail.

use std::net::Ipv4Addr;

use freeboard_address::{AttachmentKey, EniId};
use freeboard_pool::{AddRequest, Refusal, Reply, RequestId};
use jiff::SignedDuration;

use crate::check::Check;
use crate::fault::FaultClass;
use crate::node::{Asked, Pod, Release, Sandbox, SandboxState, Via, attachment, pod_key, rebuilt_key};
use crate::run::{Event, Run};
use crate::workload::{PodAction, PodEvent};

/// A DEL that failed is made again after this.
const DEL_RETRY: SignedDuration = SignedDuration::from_secs(2);

impl Run {
    pub(crate) fn pod_event(&mut self, event: &PodEvent) {
        let index = usize::try_from(event.node).unwrap_or(usize::MAX);
        let now = self.now;
        let Some(node) = self.nodes.get_mut(index) else { return };
        match event.event {
            PodAction::Create => {
                let fresh = Pod { wanted: true, since: now, served: false, sandbox: None, refusals: 0 };
                let pod = node.pods.entry(event.pod.clone()).or_insert(fresh);
                if pod.sandbox.is_some() {
                    // Its old sandbox has to go first; unless the runtime gets it wrong.
                    (pod.wanted, pod.since, pod.served) = (true, now, false);
                    if node.take_armed(FaultClass::SameName) {
                        self.attempt_beside(index, &event.pod);
                    }
                    return;
                }
                self.attempt(index, &event.pod);
            }
            PodAction::Delete => {
                let Some(pod) = node.pods.get_mut(&event.pod) else { return };
                pod.wanted = false;
                let Some(key) = pod.sandbox.clone() else {
                    node.pods.remove(&event.pod);
                    return;
                };
                let Some(sandbox) = node.sandboxes.get_mut(&key) else { return };
                match sandbox.state {
                    SandboxState::Adding => sandbox.doomed = true,
                    SandboxState::Live => self.schedule_delete(index, key),
                    SandboxState::Deleting => {}
                }
            }
        }
    }

    fn schedule_delete(&mut self, index: usize, key: AttachmentKey) {
        let delay = self.random.seconds(0.0, 2.0);
        self.after(delay, Event::Delete { node: index, key });
    }

    fn attempt_beside(&mut self, index: usize, pod: &str) {
        let Some(old) =
            self.nodes.get_mut(index).and_then(|node| node.pods.get_mut(pod)).and_then(|p| p.sandbox.take())
        else {
            return;
        };
        if let Some(sandbox) = self.nodes.get_mut(index).and_then(|node| node.sandboxes.get_mut(&old)) {
            sandbox.doomed = true;
        }
        self.attempt(index, pod);
        self.schedule_delete(index, old);
    }

    /// A new sandbox for a pod that has none, and its ADD.
    pub(crate) fn attempt(&mut self, index: usize, name: &str) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some(pod) = node.pods.get_mut(name).filter(|pod| pod.wanted && pod.sandbox.is_none()) else { return };
        node.next_container += 1;
        let key = attachment(format!("n{index}c{}", node.next_container));
        pod.sandbox = Some(key.clone());
        node.sandboxes.insert(key.clone(), Sandbox::new(name.to_owned()));
        if node.pool.is_none() {
            // The plugin finds no agent: the ADD fails at once, and so does its clean-up.
            self.sandbox_is_gone(index, &key, true);
            return;
        }
        if node.take_armed(FaultClass::Reordered) {
            let asked =
                Asked::Del { of: key.clone(), key: key.clone(), pod: pod_key(name), via: Via::Stray, own: false };
            self.send_del(index, asked);
        }
        self.send_add(index, &key, false);
        let Some(node) = self.nodes.get_mut(index) else { return };
        let (repeat, give_up) = (node.take_armed(FaultClass::RepeatedAdd), node.take_armed(FaultClass::GivenUp));
        if repeat {
            let delay = self.random.seconds(0.0, 2.0);
            self.after(delay, Event::Repeat { node: index, key: key.clone() });
        }
        if give_up {
            let delay = self.random.seconds(1.0, 5.0);
            self.after(delay, Event::GiveUp { node: index, key });
        }
    }

    fn send_add(&mut self, index: usize, key: &AttachmentKey, repeated: bool) {
        let now = self.now;
        self.touched.insert(index);
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some(pod) = node.sandboxes.get(key).map(|sandbox| pod_key(&sandbox.pod)) else { return };
        let (request, time) = (node.ask(Asked::Add { key: key.clone(), repeated }, now), node.time(now));
        let asked = self.distorted_key(key, repeated);
        if let Some(pool) = self.nodes.get_mut(index).and_then(|node| node.pool.as_mut()) {
            pool.handle_add(request, AddRequest { key: asked, pod: Some(pod) }, time);
        }
    }

    pub(crate) fn repeat_add(&mut self, index: usize, key: &AttachmentKey) {
        let Some(node) = self.nodes.get(index).filter(|node| node.pool.is_some()) else { return };
        if node.sandboxes.get(key).is_some_and(|sandbox| sandbox.state != SandboxState::Deleting) {
            self.send_add(index, key, true);
        }
    }

    /// The runtime's patience ends before the ADD is answered: it hangs up and deletes.
    pub(crate) fn give_up(&mut self, index: usize, key: &AttachmentKey) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(index) else { return };
        let waits = node.sandboxes.get(key).is_some_and(|sandbox| sandbox.state == SandboxState::Adding);
        if !waits || node.pool.is_none() {
            return;
        }
        let time = node.time(now);
        let adds = |open: &crate::node::Open| matches!(&open.asked, Asked::Add { key: asked, .. } if asked == key);
        let requests: Vec<RequestId> = node.open.iter().filter(|(_, open)| adds(open)).map(|(id, _)| *id).collect();
        for request in requests {
            node.open.remove(&request);
            node.given_up.insert(request);
            if let Some(pool) = &mut node.pool {
                pool.handle_cancel(request, time);
            }
        }
        self.touched.insert(index);
        self.delete_sandbox(index, key);
    }

    /// The runtime deletes a sandbox.
    pub(crate) fn delete_sandbox(&mut self, index: usize, key: &AttachmentKey) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some(sandbox) = node.sandboxes.get_mut(key) else { return };
        sandbox.state = SandboxState::Deleting;
        let pod = pod_key(&sandbox.pod);
        let under_way =
            node.open.values().any(|open| matches!(&open.asked, Asked::Del { of, via: Via::Runtime, .. } if of == key));
        if under_way {
            return;
        }
        if node.pool.is_none() || node.take_armed(FaultClass::MissedDelete) {
            self.bury(index, key);
            return;
        }
        if node.take_armed(FaultClass::LostDelete) {
            node.lost_delete = true;
            self.sandbox_is_gone(index, key, false);
            return;
        }
        self.send_del(index, Asked::Del { of: key.clone(), key: key.clone(), pod, via: Via::Runtime, own: false });
    }

    /// A sandbox is gone from runtime and kernel; its pod gets another one when it is still wanted.
    pub(crate) fn sandbox_is_gone(&mut self, index: usize, key: &AttachmentKey, failed: bool) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some(sandbox) = node.sandboxes.remove(key) else { return };
        let Some(pod) = node.pods.get_mut(&sandbox.pod).filter(|pod| pod.sandbox.as_ref() == Some(key)) else { return };
        pod.sandbox = None;
        if !pod.wanted {
            node.pods.remove(&sandbox.pod);
            return;
        }
        if !failed {
            pod.refusals = 0;
        }
        // The kubelet tries again with growing patience.
        let most = 2.0 * f64::from(1_u32 << pod.refusals.min(3));
        pod.refusals = pod.refusals.saturating_add(1);
        let delay = self.random.seconds(0.5, most);
        self.after(delay, Event::Attempt { node: index, pod: sandbox.pod });
    }

    /// A reply of the pool is released.
    pub(crate) fn on_reply(&mut self, index: usize, request: RequestId, reply: Reply) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some(open) = node.open.remove(&request) else {
            // The answer to a request that was given up is nobody's.
            if !node.given_up.remove(&request) {
                self.fail(Check::AnsweredInTime, format!("node {index}: {request:?} was answered again: {reply:?}"));
            }
            return;
        };
        match (open.asked, reply) {
            (Asked::Add { key, repeated }, Reply::Assigned { address, interface, .. }) => {
                self.assigned(index, &key, repeated, address, interface);
            }
            (Asked::Add { key, repeated }, Reply::Refused(refusal)) => self.refused(index, &key, repeated, &refusal),
            (Asked::Del { of, key, pod, via, own }, Reply::UnknownPod) => {
                let rebuilt = rebuilt_key(&pod.name);
                let later = self.is_rebuilt_since(index, &of, &rebuilt);
                if key == rebuilt || via == Via::Stray || own || later {
                    self.deleted(index, &of, via);
                } else {
                    self.send_del(index, Asked::Del { of, key: rebuilt, pod, via, own });
                }
            }
            (Asked::Del { of, via, .. }, Reply::Released { address, .. }) => {
                let released = open.at;
                let Some(node) = self.nodes.get_mut(index) else { return };
                let release = Release { at: node.time(released), epoch: node.epoch };
                node.released.insert(address, release);
                self.deleted(index, &of, via);
            }
            (Asked::Del { of, via: Via::Runtime, .. }, Reply::Refused(refusal)) => {
                self.check_refusal(index, &refusal);
                self.after(DEL_RETRY, Event::Delete { node: index, key: of });
            }
            (Asked::Del { via: Via::Tombstone, .. }, Reply::Refused(refusal)) => {
                self.check_refusal(index, &refusal);
                let incarnation = self.nodes.get(index).map_or(0, |node| node.incarnation);
                self.after(DEL_RETRY, Event::Tombstones { node: index, incarnation });
            }
            (Asked::Del { .. }, Reply::Refused(refusal)) => self.check_refusal(index, &refusal),
            (asked @ Asked::Add { .. }, reply @ (Reply::Released { .. } | Reply::UnknownPod))
            | (asked @ Asked::Del { .. }, reply @ Reply::Assigned { .. }) => {
                self.fail(Check::AnsweredInTime, format!("node {index}: {asked:?} was answered by {reply:?}"));
            }
        }
    }

    /// Whether the kernel spoke for a pod after a tombstone of that name was left: it spoke for another sandbox.
    fn is_rebuilt_since(&self, index: usize, of: &AttachmentKey, rebuilt: &AttachmentKey) -> bool {
        let Some(node) = self.nodes.get(index) else { return false };
        let held = node.pool.as_ref().and_then(|pool| pool.holds(rebuilt));
        let tombstone = node.tombstones.get(of);
        held.zip(tombstone).is_some_and(|(held, tombstone)| held.since > tombstone.deleted)
    }

    fn deleted(&mut self, index: usize, of: &AttachmentKey, via: Via) {
        match via {
            Via::Runtime => self.sandbox_is_gone(index, of, false),
            Via::Tombstone => {
                if let Some(node) = self.nodes.get_mut(index) {
                    node.tombstones.remove(of);
                }
            }
            Via::Stale | Via::Stray => {}
        }
    }

    fn assigned(
        &mut self,
        index: usize,
        key: &AttachmentKey,
        repeated: bool,
        address: Ipv4Addr,
        interface: Option<EniId>,
    ) {
        let now = self.now;
        match &interface {
            Some(interface) => self.check_assigned(index, key, address, interface),
            None => self.check_of_block(index, key, address),
        }
        // It was gone before the answer came; nothing the node does can bring the address back.
        let stranded = interface.as_ref().is_some_and(|interface| self.removed.contains(interface));
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some(sandbox) = node.sandboxes.get_mut(key) else {
            // Given up meanwhile; its DEL is on the way, or has left a tombstone.
            return;
        };
        if sandbox.state != SandboxState::Adding {
            let before = sandbox.address;
            if repeated && before.is_some_and(|before| before != address) && !sandbox.stranded {
                self.fail(Check::SameAddress, format!("{key} had {before:?} and got {address} when it asked again"));
            }
            return;
        }
        (sandbox.state, sandbox.address, sandbox.interface) = (SandboxState::Live, Some(address), interface);
        sandbox.stranded |= stranded;
        let (doomed, name) = (sandbox.doomed, sandbox.pod.clone());
        let mut waited = None;
        if let Some(pod) = node.pods.get_mut(&name).filter(|pod| pod.sandbox.as_ref() == Some(key)) {
            pod.refusals = 0;
            if pod.wanted && !pod.served {
                pod.served = true;
                waited = Some(now.duration_since(pod.since));
            }
        }
        if let Some(waited) = waited {
            self.series.served(waited);
        }
        if doomed {
            self.schedule_delete(index, key.clone());
        }
    }

    fn refused(&mut self, index: usize, key: &AttachmentKey, repeated: bool, refusal: &Refusal) {
        self.series.refused(refusal.cause);
        self.check_refusal(index, refusal);
        self.check_room(index, refusal);
        let waiting = self.nodes.get(index).and_then(|node| node.sandboxes.get(key));
        if !repeated && waiting.is_some_and(|sandbox| sandbox.state == SandboxState::Adding) {
            // A runtime deletes after a failed ADD.
            if let Some(pod) = waiting.map(|sandbox| sandbox.pod.clone())
                && let Some(pod) = self.nodes.get_mut(index).and_then(|node| node.pods.get_mut(&pod))
            {
                pod.refusals = pod.refusals.saturating_add(1);
            }
            self.delete_sandbox(index, key);
        }
    }
}
