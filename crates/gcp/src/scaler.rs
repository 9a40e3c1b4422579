//! What a person sees of exhaustion in Kubernetes: the events of a pod that waits for a node, in GKE's own words and order.
//!
//! The scheduler cannot place the pod, the cluster autoscaler asks a group for one more machine, the group gets none for want
//! of a block, the autoscaler says "IP space exhausted" without saying which range, goes into backoff, and says so.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::cloud::GoogleCloud;
use crate::error::ApiError;
use crate::ids::{GroupKey, PoolKey, ProjectId, Zone};

/// When things happen, as the seeds show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalerTiming {
    /// From the pod's first refusal to the autoscaler's next look.
    pub scan_seconds: i64,
    /// From asking a group for a machine to knowing that none comes.
    pub provisioning_seconds: i64,
    /// From there to the scheduler's next try.
    pub reschedule_seconds: i64,
    /// The first backoff of a group.
    pub backoff_seconds: i64,
    /// The longest backoff of a group; each is twice the one before.
    pub longest_backoff_seconds: i64,
}

/// Whether an event is good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

/// An event on a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// Its type.
    pub kind: EventKind,
    /// Its reason, for example `FailedScaleUp`.
    pub reason: &'static str,
    /// Who says it.
    pub source: &'static str,
    /// What it says.
    pub message: String,
    /// When it was said first.
    pub first: Timestamp,
    /// When it was said last.
    pub last: Timestamp,
    /// How often it was said.
    pub count: u32,
}

/// A pod for which no node has room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingPod {
    /// What is known of it, in the order in which it was said last.
    pub events: Vec<PodEvent>,
    /// The notes that GKE's autoscaler leaves on the pod.
    pub annotations: BTreeMap<String, String>,
    /// What the cloud said to the group, which no event repeats.
    pub refusal: Option<String>,
    /// Whether a node has come.
    pub has_node: bool,
}

/// The cluster autoscaler and the scheduler, as far as one pool and its waiting pods see them.
#[derive(Clone, Debug)]
pub struct ClusterScaler {
    pool: PoolKey,
    timing: ScalerTiming,
    /// Until when a group is left alone, and how long that was.
    backoff: BTreeMap<GroupKey, Backoff>,
}

#[derive(Clone, Copy, Debug)]
struct Backoff {
    until: Timestamp,
    seconds: i64,
}

impl Default for ScalerTiming {
    fn default() -> Self {
        Self {
            scan_seconds: 5,
            provisioning_seconds: 44,
            reschedule_seconds: 11,
            backoff_seconds: 300,
            longest_backoff_seconds: 1_800,
        }
    }
}

impl ClusterScaler {
    /// The scaler of a pool, with no backoff.
    #[must_use]
    pub fn new(pool: PoolKey, timing: ScalerTiming) -> Self {
        Self { pool, timing, backoff: BTreeMap::new() }
    }

    /// Lives through the wait of a pod that came at `now` and fits on none of the pool's nodes; the cloud is asked for one more.
    ///
    /// # Errors
    /// [`Status::NotFound`](crate::Status::NotFound) when the pool is not there.
    pub fn handle_pod_without_node(&mut self, cloud: &mut GoogleCloud, now: Timestamp) -> Result<PendingPod, ApiError> {
        let pool = cloud.pool(&self.pool)?.clone();
        let mut pod = PendingPod::default();
        let nodes = cloud.nodes_of(&pool);
        pod.say(EventKind::Warning, "FailedScheduling", "default-scheduler", too_many_pods(nodes), now);
        let scan = now + seconds(self.timing.scan_seconds);
        let largest = pool.autoscaling.map_or(0, |bounds| bounds.max_node_count);
        let free = pool.groups.iter().filter_map(|key| cloud.group(key).ok()).find(|group| {
            group.target_size < largest && self.backoff.get(&group.key).is_none_or(|backoff| backoff.until <= scan)
        });
        let Some(group) = free else {
            pod.say(
                EventKind::Normal,
                "NotTriggerScaleUp",
                "cluster-autoscaler",
                self.no_scale_up(scan, &pool.groups),
                scan,
            );
            return Ok(pod);
        };
        let (key, size) = (group.key.clone(), group.target_size);
        let text = triggered(cloud.project(), &key, size, largest);
        pod.say(EventKind::Normal, "TriggeredScaleUp", "cluster-autoscaler", text, scan);
        let operation = cloud.resize_group(&key, size + 1, scan)?;
        let Some(error) = operation.error else {
            pod.has_node = true;
            return Ok(pod);
        };
        let failed = scan + seconds(self.timing.provisioning_seconds);
        pod.refusal = Some(error.message);
        pod.say(EventKind::Warning, "FailedScaleUp", "cluster-autoscaler", failed_in(&key.zone), failed);
        // The autoscaler takes its wish back, so that the group does not go on asking.
        cloud.resize_group(&key, size, failed)?;
        self.back_off(&key, failed);
        let again = failed + seconds(self.timing.reschedule_seconds);
        pod.say(EventKind::Warning, "FailedScheduling", "default-scheduler", too_many_pods(nodes), again);
        pod.say(
            EventKind::Normal,
            "NotTriggerScaleUp",
            "cluster-autoscaler",
            self.no_scale_up(again, &pool.groups),
            again,
        );
        let since = again.strftime("%Y-%m-%dT%H:%M:%S%z").to_string();
        pod.annotations.insert("cloud.google.com/cluster_autoscaler_unhelpable_since".to_owned(), since);
        pod.annotations.insert("cloud.google.com/cluster_autoscaler_unhelpable_until".to_owned(), "Inf".to_owned());
        Ok(pod)
    }

    /// Until when the autoscaler leaves a group alone.
    #[must_use]
    pub fn backoff_until(&self, group: &GroupKey) -> Option<Timestamp> {
        self.backoff.get(group).map(|backoff| backoff.until)
    }

    fn back_off(&mut self, group: &GroupKey, now: Timestamp) {
        let longest = self.timing.longest_backoff_seconds;
        let length =
            self.backoff.get(group).map_or(self.timing.backoff_seconds, |last| (last.seconds * 2).min(longest));
        self.backoff.insert(group.clone(), Backoff { until: now + seconds(length), seconds: length });
    }

    fn no_scale_up(&self, now: Timestamp, groups: &[GroupKey]) -> String {
        let waits = |key: &&GroupKey| self.backoff.get(*key).is_some_and(|backoff| now < backoff.until);
        let (in_backoff, all) = (groups.iter().filter(waits).count(), groups.len());
        let mut reasons = Vec::new();
        if in_backoff > 0 {
            reasons.push(format!("{in_backoff} in backoff after failed scale-up"));
        }
        if in_backoff < all {
            reasons.push(format!("{} max node group size reached", all - in_backoff));
        }
        format!("pod didn't trigger scale-up: {}", reasons.join(", "))
    }
}

impl PendingPod {
    /// Notes an event; one that says the same again moves to the end and is counted.
    fn say(&mut self, kind: EventKind, reason: &'static str, source: &'static str, message: String, now: Timestamp) {
        let earlier = self.events.iter().position(|event| event.reason == reason && event.message == message);
        let event = match earlier.map(|index| self.events.remove(index)) {
            Some(event) => PodEvent { last: now, count: event.count + 1, ..event },
            None => PodEvent { kind, reason, source, message, first: now, last: now, count: 1 },
        };
        self.events.push(event);
    }
}

fn too_many_pods(nodes: u32) -> String {
    format!(
        "0/{nodes} nodes are available: {nodes} Too many pods. preemption: 0/{nodes} nodes are available: {nodes} No preemption \
         victims found for incoming pod.."
    )
}

fn triggered(project: &ProjectId, group: &GroupKey, from: u32, largest: u32) -> String {
    format!(
        "pod triggered scale-up: [{{https://www.googleapis.com/compute/v1/projects/{project}/zones/{}/instanceGroups/{} \
         {from}->{} (max: {largest})}}]",
        group.zone,
        group.name,
        from + 1
    )
}

fn failed_in(zone: &Zone) -> String {
    format!(
        "Node scale up in zones {zone} associated with this pod failed: IP space exhausted. Pod is at risk of not being \
         scheduled."
    )
}

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}
