//! Expansions: from the approval to the first pod in the new room, step by step, through EC2 and the API; and back again, as long as
//! nobody uses it.
//!
//! What is missing follows from what the cloud and the cluster show (`freeboard_capacity::carry_out`), so a leader that comes to an
//! expansion half-way goes on where it stands, and one that lost the lease can do no harm: a step that is done twice is refused by
//! EC2, or changes nothing.

mod cloud;
mod cluster;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use freeboard_capacity::carry_out::{self, BlockState, Step, due};
use freeboard_capacity::{Expansion as Plan, Means, NewSubnet, objections, withdraw};
use freeboard_ec2::{Ec2Client, Ec2Error, ErrorClass};
use freeboard_kubernetes::events::{Occurrence, Recorder, Severity};
use freeboard_kubernetes::kube::runtime::watcher::Config;
use freeboard_kubernetes::kube::{Api, Client, Resource, ResourceExt};
use freeboard_kubernetes::leader::Leadership;
use freeboard_kubernetes::resources::{
    BadBlock, Expansion, ExpansionMeans, ExpansionPart, ExpansionPhase, ExpansionSpec, ExpansionStatus, PartState,
    parse_block,
};
use freeboard_kubernetes::watch::{Seen, collection};
use futures::StreamExt;

use crate::metrics::Metrics;

use cluster::Cluster;
use status::{Intent, Looked, Objection, Outcome, Trouble};

/// How often an expansion is looked at while something of it is under way.
const SOON: Duration = Duration::from_secs(1);
/// How often it is looked at when only people or pods can change something.
const LATER: Duration = Duration::from_secs(15);
/// How often a step that was refused is tried again.
const AFTER_TROUBLE: Duration = Duration::from_secs(10);

/// Carries out the approved expansions of a cluster.
pub(crate) struct Expansions {
    ec2: Ec2Client,
    cluster: Cluster,
    leadership: Arc<Leadership>,
    recorder: Recorder,
    metrics: Arc<Metrics>,
    known: BTreeMap<String, Expansion>,
    /// What was written last, which the watch may not show yet.
    written: BTreeMap<String, ExpansionStatus>,
}

impl Expansions {
    /// Works until the lease is lost.
    pub(crate) async fn lead(
        client: Client,
        ec2: Ec2Client,
        leadership: Arc<Leadership>,
        recorder: Recorder,
        metrics: Arc<Metrics>,
    ) {
        let mut objects = collection(Api::<Expansion>::all(client.clone()), Config::default());
        let lost = leadership.lost();
        tokio::pin!(lost);
        let mut this = Self {
            ec2,
            cluster: Cluster::new(client),
            leadership: Arc::clone(&leadership),
            recorder,
            metrics,
            known: BTreeMap::new(),
            written: BTreeMap::new(),
        };
        let mut next = LATER;
        loop {
            tokio::select! {
                () = &mut lost => return,
                Some(seen) = objects.next() => match seen {
                    Seen::Now(objects) => this.take(objects),
                    Seen::Lost(why) => {
                        tracing::warn!("the expansions cannot be watched, and are asked for again: {why}");
                        continue;
                    }
                },
                () = tokio::time::sleep(next) => {}
            }
            // A step that has begun is finished, and nothing begins after the lease is lost.
            next = this.attend_to_all().await;
            this.count();
        }
    }

    fn take(&mut self, objects: BTreeMap<String, Expansion>) {
        for (name, gone) in &self.known {
            if !objects.contains_key(name) {
                self.tell_what_is_left(gone, self.status(name, gone));
            }
        }
        self.written.retain(|name, _| objects.contains_key(name));
        self.known = objects;
    }

    /// The status as it is known best: what was written last may not have come back yet.
    fn status<'a>(&'a self, name: &str, object: &'a Expansion) -> Option<&'a ExpansionStatus> {
        self.written.get(name).or(object.status.as_ref())
    }

    /// Deleting an object stops the work and undoes nothing; its events outlive it for an hour.
    fn tell_what_is_left(&self, gone: &Expansion, status: Option<&ExpansionStatus>) {
        let parts = status.filter(|status| status.phase != ExpansionPhase::Withdrawn).map(|status| &status.parts);
        let is_made = |part: &&ExpansionPart| gone.spec.approved && part.state == PartState::Done;
        let made: Vec<&str> = parts.into_iter().flatten().filter(is_made).map(|part| part.detail.as_str()).collect();
        if made.is_empty() {
            return;
        }
        let message = format!(
            "deleted, and what was made of it stays: {}. To undo that, set spec.withdrawn first",
            made.join("; ")
        );
        self.record(gone, Severity::Warning, "ExpansionLeft".to_owned(), message);
    }

    fn count(&self) {
        let phases: Vec<ExpansionPhase> =
            self.known.iter().filter_map(|(name, object)| Some(self.status(name, object)?.phase)).collect();
        for phase in ExpansionPhase::ALL {
            let count = phases.iter().filter(|found| **found == phase).count();
            let gauge = self.metrics.expansions.with_label_values(&[format!("{phase:?}")]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Returns when to look again.
    async fn attend_to_all(&mut self) -> Duration {
        let mut soonest = LATER;
        for (name, object) in self.known.clone() {
            if object.metadata.deletion_timestamp.is_none() {
                soonest = soonest.min(self.attend(&name, &object).await);
            }
        }
        soonest
    }

    async fn attend(&mut self, name: &str, object: &Expansion) -> Duration {
        let before = self.status(name, object).cloned().unwrap_or_default();
        let outcome = match plan(&object.spec) {
            Ok(plan) => self.carry_on(object, &plan).await,
            Err(bad) => Outcome { phase: ExpansionPhase::Refused, now: bad.to_string(), ..Outcome::default() },
        };
        let pause = match outcome.phase {
            ExpansionPhase::Running | ExpansionPhase::Withdrawing if outcome.trouble.is_none() => SOON,
            ExpansionPhase::Running | ExpansionPhase::Withdrawing | ExpansionPhase::Stuck => AFTER_TROUBLE,
            ExpansionPhase::Proposed
            | ExpansionPhase::Refused
            | ExpansionPhase::Ready
            | ExpansionPhase::Done
            | ExpansionPhase::Withdrawn => LATER,
        };
        let status = outcome.into_status(&before, object.metadata.generation.unwrap_or_default());
        if status != before && self.cluster.write_status(name, &status).await {
            self.tell(object, &before, &status);
            self.written.insert(name.to_owned(), status);
        }
        pause
    }

    /// Looks, does what is due when it may, and looks again.
    async fn carry_on(&self, object: &Expansion, plan: &Plan) -> Outcome {
        let (name, intent) = (object.name_any(), Intent::of(&object.spec));
        let mut outcome = self.look(&name, intent, plan).await;
        let is_under_way = matches!(outcome.phase, ExpansionPhase::Running | ExpansionPhase::Withdrawing);
        if !is_under_way || outcome.trouble.is_some() {
            return outcome;
        }
        for step in due(&outcome.parts).into_iter().cloned().collect::<Vec<_>>() {
            if let Err(not) = self.leadership.check() {
                outcome.now = not.to_string();
                return outcome;
            }
            tracing::info!(expansion = name, "{step}");
            if let Err(trouble) = self.carry_out(&name, &step).await {
                tracing::warn!(expansion = name, "cannot {step}: {}", trouble.sentence);
                outcome.take_trouble(&step, trouble);
                return outcome;
            }
        }
        self.look(&name, intent, plan).await
    }

    async fn look(&self, name: &str, intent: Intent, plan: &Plan) -> Outcome {
        match self.try_to_look(name, intent, plan).await {
            Ok(looked) => Outcome::of(intent, looked),
            Err(trouble) => Outcome::unlooked(intent, trouble),
        }
    }

    async fn try_to_look(&self, name: &str, intent: Intent, plan: &Plan) -> Result<Looked, Trouble> {
        if intent == Intent::Forget {
            return Ok(Looked::default());
        }
        let shown = cloud::look(&self.ec2, plan).await?;
        let mut seen = shown.seen;
        let objections = match shown.vpc {
            // What is the VPC's already has no objections any more, and what is taken back needs none.
            _ if seen.block != BlockState::Absent || intent == Intent::Withdraw => Vec::new(),
            None => vec![Objection {
                forbids: true,
                sentence: format!("EC2 knows no {} in {}", plan.vpc, self.ec2.region()),
            }],
            Some(vpc) => {
                let inventory = cloud::inventory(vpc.clone(), self.cluster.service_range().await);
                objections(&inventory, &vpc, plan.block).iter().map(Objection::from).collect()
            }
        };
        if plan.means == Means::CustomNetworking {
            seen.eni_configs = self.cluster.eni_configs().await?;
        }
        seen.pods = self.cluster.pods_in(plan.block).await?;
        let parts = if intent == Intent::Withdraw {
            cloud::look_for_users(&self.ec2, name, &mut seen.subnets).await?;
            withdraw::parts(plan, name, &seen)
        } else {
            carry_out::parts(plan, &seen)
        };
        Ok(Looked { parts, pods: seen.pods, objections })
    }

    async fn carry_out(&self, name: &str, step: &Step) -> Result<(), Trouble> {
        match step {
            Step::WriteEniConfig { zone, subnet, security_groups } => {
                self.cluster.write_eni_config(zone, subnet, security_groups).await
            }
            Step::WithdrawEniConfig { zone, subnet } => self.cluster.withdraw_eni_config(zone, subnet).await,
            Step::AssociateBlock { .. }
            | Step::CreateSubnet { .. }
            | Step::AssociateRouteTable { .. }
            | Step::Tag { .. }
            | Step::CloseSubnet { .. }
            | Step::DeleteSubnet { .. }
            | Step::DisassociateBlock { .. } => match cloud::carry_out(&self.ec2, name, step).await {
                // Somebody else has just done it, or the answer was lost: the next look says.
                Err(Ec2Error { class: ErrorClass::Conflict | ErrorClass::Uncertain, .. }) | Ok(()) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// An event for each change of the phase.
    fn tell(&self, object: &Expansion, before: &ExpansionStatus, after: &ExpansionStatus) {
        if before.phase == after.phase && !before.now.is_empty() {
            return;
        }
        let severity = match after.phase {
            ExpansionPhase::Refused | ExpansionPhase::Stuck => Severity::Warning,
            ExpansionPhase::Proposed
            | ExpansionPhase::Running
            | ExpansionPhase::Ready
            | ExpansionPhase::Done
            | ExpansionPhase::Withdrawing
            | ExpansionPhase::Withdrawn => Severity::Normal,
        };
        self.record(object, severity, format!("Expansion{:?}", after.phase), after.now.clone());
    }

    fn record(&self, object: &Expansion, severity: Severity, reason: String, message: String) {
        let regarding = object.object_ref(&());
        self.recorder.record(Occurrence { regarding, severity, reason, message, name: None });
    }
}

/// The object as the engine's value.
fn plan(spec: &ExpansionSpec) -> Result<Plan, BadBlock> {
    let subnets = spec.subnets.iter().map(|subnet| {
        Ok(NewSubnet {
            zone: subnet.zone.clone(),
            cidr: parse_block(&subnet.cidr)?,
            route_table: subnet.route_table.as_deref().map(freeboard_address::RouteTableId::new),
        })
    });
    Ok(Plan {
        vpc: freeboard_address::VpcId::new(spec.vpc.as_str()),
        block: parse_block(&spec.block)?,
        subnets: subnets.collect::<Result<_, _>>()?,
        means: match spec.means {
            ExpansionMeans::Tag => Means::Tag,
            ExpansionMeans::CustomNetworking => Means::CustomNetworking,
        },
        security_groups: spec
            .security_groups
            .iter()
            .map(|id| freeboard_address::SecurityGroupId::new(id.as_str()))
            .collect(),
        objections: Vec::new(),
    })
}
