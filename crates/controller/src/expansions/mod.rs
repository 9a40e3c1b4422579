//! Expansions: from the approval to the first pod in the new room, step by step, through EC2 and the API.
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

use freeboard_capacity::carry_out::{BlockState, Step, due, parts};
use freeboard_capacity::{Expansion as Plan, Means, NewSubnet, objections};
use freeboard_ec2::{Ec2Client, Ec2Error, ErrorClass};
use freeboard_kubernetes::events::{Occurrence, Recorder, Severity};
use freeboard_kubernetes::kube::runtime::watcher::Config;
use freeboard_kubernetes::kube::{Api, Client, Resource, ResourceExt};
use freeboard_kubernetes::leader::Leadership;
use freeboard_kubernetes::resources::{
    BadBlock, Expansion, ExpansionMeans, ExpansionPhase, ExpansionSpec, ExpansionStatus, parse_block,
};
use freeboard_kubernetes::watch::{Seen, collection};
use futures::StreamExt;

use cluster::Cluster;
use status::{Looked, Objection, Outcome, Trouble};

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
    known: BTreeMap<String, Expansion>,
    /// What was written last, which the watch may not show yet.
    written: BTreeMap<String, ExpansionStatus>,
}

impl Expansions {
    /// Works until the lease is lost.
    pub(crate) async fn lead(client: Client, ec2: Ec2Client, leadership: Arc<Leadership>, recorder: Recorder) {
        let mut objects = collection(Api::<Expansion>::all(client.clone()), Config::default());
        let lost = leadership.lost();
        tokio::pin!(lost);
        let mut this = Self {
            ec2,
            cluster: Cluster::new(client),
            leadership: Arc::clone(&leadership),
            recorder,
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
        }
    }

    fn take(&mut self, objects: BTreeMap<String, Expansion>) {
        self.written.retain(|name, _| objects.contains_key(name));
        self.known = objects;
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
        let before = self.written.get(name).or(object.status.as_ref()).cloned().unwrap_or_default();
        let outcome = match plan(&object.spec) {
            Ok(plan) => self.carry_on(object, &plan).await,
            Err(bad) => Outcome { phase: ExpansionPhase::Refused, now: bad.to_string(), ..Outcome::default() },
        };
        let pause = match outcome.phase {
            ExpansionPhase::Running if outcome.trouble.is_none() => SOON,
            ExpansionPhase::Running | ExpansionPhase::Stuck => AFTER_TROUBLE,
            ExpansionPhase::Proposed | ExpansionPhase::Refused | ExpansionPhase::Ready | ExpansionPhase::Done => LATER,
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
        let (name, approved) = (object.name_any(), object.spec.approved);
        let mut outcome = self.look(approved, plan).await;
        if outcome.phase != ExpansionPhase::Running || outcome.trouble.is_some() {
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
        self.look(approved, plan).await
    }

    async fn look(&self, approved: bool, plan: &Plan) -> Outcome {
        match self.try_to_look(plan).await {
            Ok(looked) => Outcome::of(approved, looked),
            Err(trouble) => Outcome::unlooked(approved, trouble),
        }
    }

    async fn try_to_look(&self, plan: &Plan) -> Result<Looked, Trouble> {
        let shown = cloud::look(&self.ec2, plan).await?;
        let mut seen = shown.seen;
        let objections = match shown.vpc {
            None => vec![Objection {
                forbids: true,
                sentence: format!("EC2 knows no {} in {}", plan.vpc, self.ec2.region()),
            }],
            // What is the VPC's already has no objections any more.
            Some(_) if seen.block != BlockState::Absent => Vec::new(),
            Some(vpc) => {
                let inventory = cloud::inventory(vpc.clone(), self.cluster.service_range().await);
                objections(&inventory, &vpc, plan.block).iter().map(Objection::from).collect()
            }
        };
        if plan.means == Means::CustomNetworking {
            seen.eni_configs = self.cluster.eni_configs().await?;
        }
        seen.pods = self.cluster.pods_in(plan.block).await?;
        Ok(Looked { parts: parts(plan, &seen), pods: seen.pods, objections })
    }

    async fn carry_out(&self, name: &str, step: &Step) -> Result<(), Trouble> {
        match step {
            Step::WriteEniConfig { zone, subnet, security_groups } => {
                self.cluster.write_eni_config(zone, subnet, security_groups).await
            }
            Step::AssociateBlock { .. }
            | Step::CreateSubnet { .. }
            | Step::AssociateRouteTable { .. }
            | Step::Tag { .. } => {
                match cloud::carry_out(&self.ec2, name, step).await {
                    // Somebody else has just done it, or the answer was lost: the next look says.
                    Err(Ec2Error { class: ErrorClass::Conflict | ErrorClass::Uncertain, .. }) | Ok(()) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// An event for each change of the phase.
    fn tell(&self, object: &Expansion, before: &ExpansionStatus, after: &ExpansionStatus) {
        if before.phase == after.phase && !before.now.is_empty() {
            return;
        }
        let severity = match after.phase {
            ExpansionPhase::Refused | ExpansionPhase::Stuck => Severity::Warning,
            ExpansionPhase::Proposed | ExpansionPhase::Running | ExpansionPhase::Ready | ExpansionPhase::Done => {
                Severity::Normal
            }
        };
        let reason = format!("Expansion{:?}", after.phase);
        let regarding = object.object_ref(&());
        self.recorder.record(Occurrence { regarding, severity, reason, message: after.now.clone(), name: None });
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
