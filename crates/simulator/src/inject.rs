//! Faults as they happen, and their end.

use freeboard_vpc::Fault;
use jiff::SignedDuration;

use crate::fault::{FaultClass, Occurrence};
use crate::node::{Asked, Node, StaleList, Via, attachment, pod_key};
use crate::run::{Event, Run, Undo};
use crate::world::subnet_id;

/// Actions that fail on purpose; `*` is all of them.
const ACTIONS: [&str; 9] = [
    "*",
    "DescribeSubnets",
    "DescribeNetworkInterfaces",
    "CreateNetworkInterface",
    "AttachNetworkInterface",
    "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses",
    "DetachNetworkInterface",
    "DeleteNetworkInterface",
];

/// Errors that EC2 gives now and then, with the text by which they are told apart.
const ERRORS: [(&str, &str, &str); 6] = [
    ("*", "InternalError", "An internal error has occurred"),
    ("*", "Unavailable", "The service is unavailable. Please try again shortly."),
    ("AssignPrivateIpAddresses", "InsufficientCidrBlocks", "There are not enough free cidr blocks"),
    ("CreateNetworkInterface", "InsufficientFreeAddressesInSubnet", "Not enough free addresses in subnet"),
    ("DetachNetworkInterface", "OperationNotPermitted", "The operation is not permitted now"),
    ("DeleteNetworkInterface", "InvalidParameterValue", "Network interface is currently in use."),
];

/// How long a reboot takes, at least and at most.
const REBOOT_SECONDS: (f64, f64) = (60.0, 90.0);

impl Run {
    pub(crate) fn fault(&mut self, occurrence: Occurrence) {
        if self.healthy {
            return;
        }
        self.troubled = true;
        let index = self.random.index(self.nodes.len());
        self.note(|| format!("fault {:?} (node {index})", occurrence.class));
        match occurrence.class {
            FaultClass::Throttle
            | FaultClass::Ec2Error
            | FaultClass::LostAnswer
            | FaultClass::IamDenied
            | FaultClass::AttachNever
            | FaultClass::AttachmentLimit => self.refuse_calls(occurrence.class),
            FaultClass::ApiOutage => {
                let length = self.random.seconds(10.0, 120.0);
                self.outage_until = self.now.checked_add(length).unwrap_or(self.now);
            }
            FaultClass::AttachSlow => self.slow_links += 1,
            FaultClass::InterfaceRemoved => self.remove_interface(index),
            FaultClass::ForeignConsumer | FaultClass::Fragmentation => self.fill_subnet(occurrence.class),
            FaultClass::StaleList => self.freeze_list(index, false),
            FaultClass::GhostList => self.freeze_list(index, true),
            FaultClass::Crash => self.crash(index),
            FaultClass::TornState => {
                self.crash(index);
                if let Some(node) = self.nodes.get_mut(index).filter(|node| node.pool.is_none()) {
                    node.disk.torn = true;
                }
            }
            FaultClass::Reboot => self.reboot(index, true),
            FaultClass::RebootLosingState => self.reboot(index, false),
            FaultClass::DiskFull => {
                if let Some(node) = self.nodes.get_mut(index) {
                    node.disk.full = true;
                }
                let length = self.random.seconds(5.0, 60.0);
                self.after(length, Event::Undo(Undo::Disk(index)));
            }
            FaultClass::UnknownDelete => self.delete_unknown(index),
            FaultClass::ClockJump => self.jump_clock(index),
            FaultClass::Cordon => {
                self.set_schedulable(index, false);
                let length = self.random.seconds(10.0, 120.0);
                self.after(length, Event::Undo(Undo::Cordon(index)));
            }
            FaultClass::CrashBeforeWrite
            | FaultClass::CrashAfterWrite
            | FaultClass::MissedDelete
            | FaultClass::LostDelete
            | FaultClass::RepeatedAdd
            | FaultClass::Reordered
            | FaultClass::GivenUp
            | FaultClass::SameName
            | FaultClass::CrashAfterCreate => {
                if let Some(node) = self.nodes.get_mut(index) {
                    *node.armed.entry(occurrence.class).or_default() += 1;
                }
            }
        }
    }

    /// Injects a fault into the cloud; one that makes no sense at this moment has no effect.
    fn inject(&mut self, fault: &Fault) -> bool {
        self.cloud.inject(fault, self.now).is_ok()
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has sorted out every other class")]
    fn refuse_calls(&mut self, class: FaultClass) {
        let action = self.random.pick(&ACTIONS).copied().unwrap_or("*").to_owned();
        let count = 1 + u32::try_from(self.random.index(4)).unwrap_or(0);
        let error = |action: String, code: &str, message: &str, count| Fault::Error {
            action,
            code: code.to_owned(),
            message: message.to_owned(),
            count,
        };
        let fault = match class {
            FaultClass::Throttle => Fault::Throttle { action, seconds: self.random.between(5.0, 60.0) },
            FaultClass::LostAnswer => Fault::LoseAnswer { action, count },
            FaultClass::AttachNever => Fault::NeverAttach { count: 1 },
            FaultClass::AttachmentLimit => {
                let text = "Interface count exceeds the limit of the instance";
                error("AttachNetworkInterface".to_owned(), "AttachmentLimitExceeded", text, 1)
            }
            FaultClass::IamDenied => {
                let text = "You are not authorized to perform this operation.";
                error(action, "UnauthorizedOperation", text, count)
            }
            class => {
                debug_assert_eq!(class, FaultClass::Ec2Error, "only faults of calls come here");
                let (only, code, text) = self.random.pick(&ERRORS).copied().unwrap_or(ERRORS[0]);
                error(if only == "*" { action } else { only.to_owned() }, code, text, count)
            }
        };
        self.inject(&fault);
    }

    fn remove_interface(&mut self, index: usize) {
        let Some(node) = self.nodes.get(index) else { return };
        let links: Vec<_> = node.links.iter().filter(|link| **link != node.facts.primary_interface).cloned().collect();
        let Some(interface) = self.random.pick(&links).cloned() else { return };
        if !self.inject(&Fault::RemoveInterface { interface: interface.clone() }) {
            return;
        }
        self.touched.insert(index);
        if let Some(node) = self.nodes.get_mut(index) {
            strand(node, &interface);
        }
        self.removed.insert(interface);
    }

    fn fill_subnet(&mut self, class: FaultClass) {
        let count = self.scenario.world.subnets.len();
        let place = self.random.index(count);
        let subnet = subnet_id(place);
        let (take, leave_free) = if class == FaultClass::Fragmentation {
            let size = self.scenario.world.subnets.get(place).map_or(0, |subnet| subnet.cidr.size());
            (u32::try_from(size / 12).ok(), None)
        } else {
            (None, u32::try_from(self.random.index(4)).ok())
        };
        if self.inject(&Fault::FillSubnet { subnet: subnet.clone(), take, leave_free }) {
            let length = self.random.seconds(30.0, 300.0);
            self.after(length, Event::Undo(Undo::Subnet(subnet)));
        }
    }

    fn freeze_list(&mut self, index: usize, ghosts: bool) {
        let shown = self.interfaces_of(index);
        let until = self.now.checked_add(self.random.seconds(10.0, 60.0)).unwrap_or(self.now);
        if let Some(node) = self.nodes.get_mut(index) {
            node.stale = Some(StaleList { until, shown, ghosts });
        }
    }

    /// All sandboxes end with the machine; the interfaces stay attached.
    fn reboot(&mut self, index: usize, keep_state: bool) {
        self.crash_for(index, REBOOT_SECONDS);
        let Some(node) = self.nodes.get_mut(index) else { return };
        if !keep_state {
            node.disk.state = None;
            node.disk.torn = false;
            node.tombstones.clear();
            node.forget_releases();
        }
        let keys: Vec<_> = node.sandboxes.keys().cloned().collect();
        for key in keys {
            self.sandbox_is_gone(index, &key, false);
        }
    }

    fn delete_unknown(&mut self, index: usize) {
        let Some(node) = self.nodes.get_mut(index).filter(|node| node.pool.is_some()) else { return };
        node.next_container += 1;
        let key = attachment(format!("n{index}unknown{}", node.next_container));
        self.send_del(index, Asked::Del { of: key.clone(), key, pod: pod_key("nobody"), via: Via::Stray, own: false });
    }

    fn jump_clock(&mut self, index: usize) {
        let forward = self.random.chance(0.5);
        let jump = if forward { self.random.seconds(1.0, 3_600.0) } else { -self.random.seconds(1.0, 600.0) };
        self.touched.insert(index);
        if let Some(node) = self.nodes.get_mut(index) {
            node.clock = node.clock.saturating_add(jump);
        }
    }

    fn set_schedulable(&mut self, index: usize, schedulable: bool) {
        let now = self.now;
        self.touched.insert(index);
        let Some(node) = self.nodes.get_mut(index) else { return };
        let time = node.time(now);
        if let Some(pool) = &mut node.pool {
            pool.handle_schedulable(schedulable, time);
        }
    }

    pub(crate) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Subnet(subnet) => self.release_subnet(subnet),
            Undo::Disk(index) => {
                if let Some(node) = self.nodes.get_mut(index) {
                    node.disk.full = false;
                }
            }
            Undo::Cordon(index) => self.set_schedulable(index, true),
        }
    }

    /// The foreign consumer leaves; what others held from the start it keeps.
    fn release_subnet(&mut self, subnet: freeboard_address::SubnetId) {
        self.inject(&Fault::ReleaseSubnet { subnet: subnet.clone() });
        let settings = self.scenario.world.subnets.iter().enumerate();
        let kept = settings.filter(|(place, _)| subnet_id(*place) == subnet).map(|(_, s)| s.taken_by_others).sum();
        if kept > 0 {
            self.inject(&Fault::FillSubnet { subnet, take: Some(kept), leave_free: None });
        }
    }

    /// The liveness phase begins: the cloud is healthy and every fault ends. Nobody restarts an agent, and the runtime
    /// collects its garbage only where a DEL was lost for good.
    pub(crate) fn heal(&mut self) {
        self.healthy = true;
        self.cloud.clear_faults(self.now);
        self.outage_until = self.now;
        self.slow_links = 0;
        let faulty = !self.scenario.faults.per_hour.is_empty();
        if !faulty {
            return;
        }
        for place in 0..self.scenario.world.subnets.len() {
            self.release_subnet(subnet_id(place));
        }
        for index in 0..self.nodes.len() {
            if let Some(node) = self.nodes.get_mut(index) {
                node.disk.full = false;
                node.stale = None;
                node.armed.clear();
            }
            // Of a sandbox that ended without any DEL only the runtime's own list can tell.
            if self.nodes.get(index).is_some_and(|node| node.lost_delete) {
                self.after(SignedDuration::from_secs(60), Event::Collect { node: index });
            }
        }
    }
}

/// The pods on an interface that is gone have lost their addresses.
fn strand(node: &mut Node, interface: &freeboard_address::EniId) {
    for sandbox in node.sandboxes.values_mut().filter(|sandbox| sandbox.interface.as_ref() == Some(interface)) {
        sandbox.stranded = true;
    }
}
