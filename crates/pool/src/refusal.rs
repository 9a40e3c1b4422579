//! Why no address can be given: the cause, where it is, the figures, and what to do about it.

use freeboard_address::{EniId, SubnetId};
use jiff::Timestamp;

use crate::backoff::{Action, Pause};
use crate::block_source::Source;
use crate::cause::{Cause, Place, Refusal};
use crate::effect::CloudOperation;
use crate::growth::{Obstacle, Route, Way};
use crate::input::FailureKind;
use crate::pod_subnets::PodSubnets;
use crate::pool::Pool;
use crate::store::{Interface, Phase};

impl Refusal {
    fn new(cause: Cause, place: Place, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause, place, message: message.into(), remedy: remedy.into() }
    }

    pub(crate) fn checkpoint_failed(reason: &str) -> Self {
        Self::new(
            Cause::CheckpointFailed,
            Place::Node,
            format!("the state could not be written, so nothing may be promised: {reason}"),
            "free space on, or repair, the file system that holds AWS_VPC_K8S_CNI_BACKING_STORE; the runtime will ask again",
        )
    }

    pub(crate) fn queue_full(limit: usize) -> Self {
        Self::new(
            Cause::QueueFull,
            Place::Node,
            format!("{limit} requests wait for an address already"),
            "find out why they wait (freeboard explain); the runtime will ask again",
        )
    }
}

impl Pool {
    /// Whether the ADD at this place of the queue may still be served before its deadline.
    pub(crate) fn is_room_coming(&self, position: usize, deadline: Timestamp, now: Timestamp) -> bool {
        if self.terminating {
            return false;
        }
        if !self.is_ready() || self.arriving() > 0 {
            return true;
        }
        let awaited = self.operations.values().any(|in_flight| match in_flight.operation {
            CloudOperation::DescribeSubnets => self.could_subnets_help(now),
            CloudOperation::ReleaseInterface { .. } => self.may_grow(),
            CloudOperation::DescribeInterfaces
            | CloudOperation::CreateInterface { .. }
            | CloudOperation::AttachInterface { .. }
            | CloudOperation::PrepareInterface { .. }
            | CloudOperation::AssignAddresses { .. }
            | CloudOperation::AssignPrefixes { .. }
            | CloudOperation::Unassign { .. } => false,
        });
        awaited
            || (self.may_grow() && !self.lost_creations.is_empty())
            || self.routes(now).iter().any(|route| self.may_open(route, deadline))
            || self.cooling_soon().nth(position).is_some_and(|(from, _)| from <= deadline)
    }

    fn may_open(&self, route: &Route, deadline: Timestamp) -> bool {
        if matches!(route.way, Way::Assign(_) | Way::Create(_)) && !self.may_grow() {
            return false;
        }
        match &route.obstacle {
            None | Some(Obstacle::Busy { .. }) => true,
            Some(Obstacle::Exhausted { .. }) => false,
            Some(Obstacle::Paused(action)) => self
                .actions
                .get(action)
                .is_none_or(|pause| pause.kind != FailureKind::NotAuthorized && pause.backoff.until <= deadline),
            Some(obstacle @ (Obstacle::Host(_) | Obstacle::Share { .. })) => {
                self.gone_at(obstacle).is_some_and(|at| at <= deadline)
            }
        }
    }

    /// Why no address can be given now.
    pub(crate) fn explain(&self, now: Timestamp) -> Refusal {
        if self.terminating {
            return Refusal::new(
                Cause::Terminating,
                Place::Node,
                "the node's address agent is shutting down",
                "nothing needs to be done: the runtime will ask its successor",
            );
        }
        if !self.is_ready() {
            return self.explain_start();
        }
        if self.source == Source::NodeBlocks {
            return self.explain_blocks(now);
        }
        let routes = self.routes(now);
        if self.arriving() > 0 || routes.iter().any(|route| self.is_settling(route)) {
            return self.explain_growth();
        }
        if !self.may_grow() {
            return self.explain_no_growth();
        }
        let paused = routes.iter().find_map(|route| match &route.obstacle {
            Some(Obstacle::Paused(action)) => self.actions.get(action).map(|pause| (*action, pause)),
            Some(Obstacle::Busy { .. } | Obstacle::Exhausted { .. } | Obstacle::Share { .. } | Obstacle::Host(_))
            | None => None,
        });
        if let Some((action, pause)) = paused {
            return explain_pause(action, pause);
        }
        let share = routes.iter().find_map(|route| match &route.obstacle {
            Some(Obstacle::Share { action, until }) => Some((*action, *until)),
            Some(Obstacle::Busy { .. } | Obstacle::Exhausted { .. } | Obstacle::Paused(_) | Obstacle::Host(_))
            | None => None,
        });
        if let Some((action, until)) = share {
            return explain_share(action, until);
        }
        let host = routes.iter().find_map(|route| match &route.obstacle {
            Some(Obstacle::Host(id)) => Some(id),
            Some(Obstacle::Busy { .. } | Obstacle::Exhausted { .. } | Obstacle::Paused(_) | Obstacle::Share { .. })
            | None => None,
        });
        if let Some(id) = host {
            return self.explain_host(id);
        }
        let full = routes.iter().find_map(|route| match &route.obstacle {
            Some(Obstacle::Exhausted { subnet, .. }) => Some(subnet),
            Some(Obstacle::Busy { .. } | Obstacle::Paused(_) | Obstacle::Share { .. } | Obstacle::Host(_)) | None => {
                None
            }
        });
        if let Some(subnet) = full {
            return self.explain_full(subnet, now);
        }
        self.explain_limit(now)
    }

    fn is_settling(&self, route: &Route) -> bool {
        let grows = matches!(route.way, Way::Assign(_) | Way::Create(_));
        matches!(route.obstacle, None | Some(Obstacle::Busy { .. })) && (self.may_grow() || !grows)
    }

    fn explain_start(&self) -> Refusal {
        if self.source == Source::NodeBlocks && !self.source_known {
            return self.explain_no_block();
        }
        if let Some(pause) = self.actions.get(&Action::DescribeInterfaces) {
            return explain_pause(Action::DescribeInterfaces, pause);
        }
        Refusal::new(
            Cause::NotReady,
            Place::Node,
            "the node's address agent has not finished its start: it does not know its interfaces and allocations yet",
            "nothing needs to be done: the runtime will ask again in some seconds",
        )
    }

    fn explain_growth(&self) -> Refusal {
        let arriving = self.arriving();
        let waiting = self.waiting.len();
        let calls = self.operations.values().filter(|o| crate::shrink::is_change(&o.operation)).count();
        Refusal::new(
            Cause::StillGrowing,
            Place::Node,
            format!("{waiting} wait, {arriving} addresses are on their way by {calls} cloud calls in flight"),
            "nothing needs to be done: the runtime will ask again; raise WARM_IP_TARGET when this happens often",
        )
    }

    fn explain_no_growth(&self) -> Refusal {
        let tally = self.usable_tally();
        let figures =
            format!("{} of {} addresses are assigned, {} cool down", tally.assigned, tally.total, tally.cooling);
        if self.settings.provisioning_disabled {
            return Refusal::new(
                Cause::ProvisioningDisabled,
                Place::Node,
                format!("{figures}, and DISABLE_NETWORK_RESOURCE_PROVISIONING forbids to take more"),
                "provide more addresses from outside, or set DISABLE_NETWORK_RESOURCE_PROVISIONING=false",
            );
        }
        Refusal::new(
            Cause::NodeCordoned,
            Place::Node,
            format!("{figures}, and the node is cordoned, so its pool is not grown"),
            "uncordon the node, or set AWS_MANAGE_ENIS_NON_SCHEDULABLE=true",
        )
    }

    fn explain_host(&self, id: &EniId) -> Refusal {
        let detail = self.hosts.get(id).map_or("", |pause| pause.detail.as_str());
        Refusal::new(
            Cause::StillGrowing,
            Place::Interface { id: id.clone() },
            format!("the host could not be set up for interface {id}: {detail}"),
            "look at the node's links and routes; it is tried again after a pause",
        )
    }

    fn explain_full(&self, subnet: &SubnetId, now: Timestamp) -> Refusal {
        let slots = self.interface_slots_left();
        let others = self.others_than(subnet);
        let Some(seen) = self.subnets.get(subnet) else {
            return Refusal::new(
                Cause::SubnetExhausted,
                Place::Node,
                format!("subnet {subnet} has no address left (EC2 refused even one); its figures could not be read"),
                "add a secondary range to the VPC, or allow ec2:DescribeSubnets so that others can be found",
            );
        };
        let free = self.subnets.free(subnet).unwrap_or(seen.free.0);
        let usable = seen.cidr.size().saturating_sub(5);
        let fragmented = free > 0 && self.subnets.fragmented_until(subnet).is_some_and(|until| until > now);
        let (cause, state) = if fragmented {
            (
                Cause::SubnetFragmented,
                format!("has no aligned /28 left and gives no single address ({free} of {usable} free)"),
            )
        } else {
            (Cause::SubnetExhausted, format!("is full ({free} of {usable} free)"))
        };
        let zone = &self.facts.zone;
        let slots_left = match slots {
            0 => "no interface slot left".to_owned(),
            1 => "1 interface slot left".to_owned(),
            more => format!("{more} interface slots left"),
        };
        let elsewhere = match (slots, others) {
            (0, _) => slots_left,
            (_, 0) => format!("{slots_left} but no other subnet in {zone} allows pods"),
            (_, others) => {
                format!("{slots_left} but the {others} other subnets for pods in {zone} have no room either")
            }
        };
        Refusal::new(
            cause,
            Place::Subnet { id: subnet.clone(), cidr: seen.cidr },
            format!("subnet {} {state}; {elsewhere}", seen.cidr),
            self.remedy_for_room(slots),
        )
    }

    /// What can be done when subnets are full, the cheapest first.
    fn remedy_for_room(&self, slots: u32) -> String {
        let idle = self.subnets.iter().filter(|s| !self.judge(s).allowed && s.free.0 > 1);
        let best = idle.max_by_key(|subnet| (subnet.free, subnet.id.clone()));
        match (slots, best) {
            (0, _) => "release warm addresses of other nodes in this subnet, or run the pod on another node".to_owned(),
            (_, Some(subnet)) => format!(
                "tag {} ({}, {} free) with kubernetes.io/role/cni=1, release warm addresses of other nodes, or add a secondary range",
                subnet.id, subnet.cidr, subnet.free.0
            ),
            (_, None) => format!(
                "add a secondary range to {} with a subnet in {} tagged kubernetes.io/role/cni=1, or release warm addresses of other nodes",
                self.facts.vpc, self.facts.zone
            ),
        }
    }

    /// Custom networking names no subnet that can be used.
    fn explain_configuration(&self, figures: &str) -> Refusal {
        let slots = self.interface_slots_left();
        let zone = &self.facts.zone;
        let (what, remedy) = match &self.pod_subnets {
            PodSubnets::Configured(config) => (
                format!("ENIConfig {:?} names {}, which is no subnet of {zone}", config.name, config.subnet),
                format!("name a subnet of {zone} in ENIConfig {:?}, or choose another for this node", config.name),
            ),
            PodSubnets::Missing { name } => (
                format!("eniconfig is not available: there is no ENIConfig named {name:?}"),
                format!("create ENIConfig {name:?}, or name another by the node's label or annotation"),
            ),
            PodSubnets::Discovered => ("no subnet allows pods".to_owned(), self.remedy_for_room(slots)),
        };
        Refusal::new(
            Cause::NoSubnetAllowed,
            Place::Node,
            format!("{figures} and {slots} interface slots are left, but {what}"),
            remedy,
        )
    }

    fn others_than(&self, subnet: &SubnetId) -> usize {
        self.candidates().iter().filter(|other| *other != subnet).count()
    }

    fn usable_tally(&self) -> crate::view::Tally {
        crate::store::sum(
            self.store
                .interfaces
                .values()
                .filter(|i| i.phase == Phase::Ready && !self.is_excluded(i))
                .map(Interface::tally),
        )
    }

    /// No way at all: every slot is taken, or no subnet is allowed.
    fn explain_limit(&self, now: Timestamp) -> Refusal {
        let tally = self.usable_tally();
        let instance_type = &self.facts.instance_type;
        let interfaces = self.store.interfaces.len() + self.unmanaged.len();
        let figures = format!("{} of {} addresses are assigned", tally.assigned, tally.total);
        if self.interface_slots_left() > 0 && self.is_primary_reserved() {
            return self.explain_configuration(&figures);
        }
        if self.interface_slots_left() > 0 {
            return Refusal::new(
                Cause::NoSubnetAllowed,
                Place::Node,
                format!(
                    "{figures} and {} interface slots are left, but none of the {} subnets in {} allows pods",
                    self.interface_slots_left(),
                    self.subnets.iter().count(),
                    self.facts.zone
                ),
                self.remedy_for_room(1),
            );
        }
        if tally.cooling > 0 && tally.free == 0 {
            let soon = self.cooling_soon().next().map_or(0, |(from, _)| from.duration_since(now).as_secs().max(0));
            return Refusal::new(
                Cause::CoolingDown,
                Place::Node,
                format!("{figures}, the other {} cool down after use, the first for {soon} s more", tally.cooling),
                "nothing needs to be done: the runtime will ask again; shorten IP_COOLDOWN_PERIOD when pods come and go fast",
            );
        }
        Refusal::new(
            Cause::InterfaceLimit,
            Place::Node,
            format!(
                "{figures}; {instance_type} has {interfaces} of {} interfaces, each with {} slots for addresses, and all are taken",
                self.interface_limit(),
                self.slots_per_interface()
            ),
            "run the pod on another node, use prefixes (ENABLE_PREFIX_DELEGATION=true) or a larger instance type, and lower max-pods",
        )
    }
}

/// No call was refused: the node itself waits, so that all nodes of the account come to theirs.
fn explain_share(action: Action, until: Timestamp) -> Refusal {
    Refusal::new(
        Cause::Throttled,
        Place::Api { action: format!("ec2:{action}") },
        format!("the node waits for its share of {action}, which comes at {until}"),
        "nothing needs to be done: the runtime will ask again; many nodes that grow at once share the account's request rate, \
         which AWS raises on request",
    )
}

fn explain_pause(action: Action, pause: &Pause) -> Refusal {
    let name = if pause.action.is_empty() { action.to_string() } else { pause.action.clone() };
    let api = format!("ec2:{}", name.trim_start_matches("ec2:"));
    let (cause, what, remedy) = match pause.kind {
        FailureKind::NotAuthorized => (
            Cause::NotAuthorized,
            format!("the node's role may not call {api}"),
            format!(
                "allow {api} in the role of the node or of the aws-node service account (policy AmazonEKS_CNI_Policy)"
            ),
        ),
        FailureKind::Throttled => (
            Cause::Throttled,
            format!("{api} is throttled"),
            "reduce calls from other clients of this account and region, or ask AWS for a higher request rate"
                .to_owned(),
        ),
        FailureKind::SubnetShort
        | FailureKind::NoFreePrefix
        | FailureKind::AddressLimit
        | FailureKind::AttachmentLimit
        | FailureKind::NotFound
        | FailureKind::Uncertain
        | FailureKind::Host
        | FailureKind::Unavailable
        | FailureKind::Other => (
            Cause::CloudUnavailable,
            format!("{api} failed or did not answer"),
            "look at the EC2 endpoint and the node's network; the call is repeated after a pause".to_owned(),
        ),
    };
    let message = format!("{what}; next try at {}: {}", pause.backoff.until, pause.detail);
    Refusal::new(cause, Place::Api { action: api }, message, remedy)
}
