//! What an expansion's object says of it.

use freeboard_capacity::Weight;
use freeboard_capacity::carry_out::{Part, State, Step};
use freeboard_ec2::{Ec2Error, ErrorClass};
use freeboard_kubernetes::conditions::{Condition, ConditionStatus};
use freeboard_kubernetes::resources::{ExpansionPart, ExpansionPhase, ExpansionSpec, ExpansionStatus, PartState};
use jiff::Timestamp;

/// Why something could not be done or looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Why, as a sentence.
    pub(crate) sentence: String,
    /// Whether it stays so until somebody does something.
    pub(crate) is_for_people: bool,
}

impl From<Ec2Error> for Trouble {
    fn from(error: Ec2Error) -> Self {
        let is_for_people = match error.class {
            ErrorClass::NotAuthorized
            | ErrorClass::Invalid
            | ErrorClass::Other
            | ErrorClass::InUse
            | ErrorClass::SubnetShort
            | ErrorClass::NoFreePrefix
            | ErrorClass::AddressLimit
            | ErrorClass::AttachmentLimit => true,
            ErrorClass::Throttled
            | ErrorClass::NotFound
            | ErrorClass::Conflict
            | ErrorClass::Uncertain
            | ErrorClass::Unavailable => false,
        };
        let sentence = if error.class == ErrorClass::NotAuthorized {
            format!("{error}: allow ec2:{} to the role of freeboard-controller", error.action)
        } else {
            error.to_string()
        };
        Self { sentence, is_for_people }
    }
}

/// What is to become of an expansion, by what people have said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// It waits to be approved.
    Wait,
    /// It is carried out.
    CarryOut,
    /// It was approved, and is taken back.
    Withdraw,
    /// It was never approved, so nothing was made for it.
    Forget,
}

impl Intent {
    pub(crate) fn of(spec: &ExpansionSpec) -> Self {
        match (spec.approved, spec.withdrawn) {
            (false, false) => Self::Wait,
            (true, false) => Self::CarryOut,
            (true, true) => Self::Withdraw,
            (false, true) => Self::Forget,
        }
    }
}

/// What a look has shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looked {
    pub(crate) parts: Vec<Part>,
    /// Pods with an address of the block.
    pub(crate) pods: u64,
    pub(crate) objections: Vec<Objection>,
}

/// Something that speaks against the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Objection {
    /// Whether the block is not to be added because of it.
    pub(crate) forbids: bool,
    pub(crate) sentence: String,
}

impl From<&freeboard_capacity::Objection> for Objection {
    fn from(objection: &freeboard_capacity::Objection) -> Self {
        Self { forbids: objection.weight() != Weight::Remark, sentence: objection.to_string() }
    }
}

/// How an expansion stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) phase: ExpansionPhase,
    pub(crate) now: String,
    pub(crate) parts: Vec<Part>,
    /// What the last look has shown besides; none when there was none.
    pub(crate) pods: Option<u64>,
    pub(crate) objections: Vec<String>,
    pub(crate) trouble: Option<Trouble>,
}

impl Outcome {
    /// By what a look has shown.
    pub(crate) fn of(intent: Intent, looked: Looked) -> Self {
        let Looked { parts, pods, objections } = looked;
        let (phase, now) = match (intent, first_stuck(&parts)) {
            (Intent::Forget, _) => {
                (ExpansionPhase::Withdrawn, "it was never approved, and nothing was made for it".to_owned())
            }
            (Intent::Wait | Intent::CarryOut | Intent::Withdraw, Some(reason)) => (ExpansionPhase::Stuck, reason),
            (Intent::Wait, None) => (
                ExpansionPhase::Proposed,
                "it waits to be approved: freeboard expand --approve NAME, or set spec.approved".to_owned(),
            ),
            (Intent::CarryOut, None) => made(&parts),
            (Intent::Withdraw, None) => withdrawn(&parts),
        };
        let refused = objections.iter().find(|objection| objection.forbids);
        let (phase, now) = refused.map_or((phase, now), |one| (ExpansionPhase::Refused, one.sentence.clone()));
        let objections = objections.into_iter().map(|objection| objection.sentence).collect();
        Self { phase, now, parts, pods: Some(pods), objections, trouble: None }
    }

    /// It could not even be looked at.
    pub(crate) fn unlooked(intent: Intent, trouble: Trouble) -> Self {
        let phase = match (intent, trouble.is_for_people) {
            (Intent::Wait, _) => ExpansionPhase::Proposed,
            (Intent::Forget, _) => ExpansionPhase::Withdrawn,
            (Intent::CarryOut | Intent::Withdraw, true) => ExpansionPhase::Stuck,
            (Intent::CarryOut, false) => ExpansionPhase::Running,
            (Intent::Withdraw, false) => ExpansionPhase::Withdrawing,
        };
        Self { phase, now: trouble.sentence.clone(), trouble: Some(trouble), ..Self::default() }
    }

    /// A step could not be done.
    pub(crate) fn take_trouble(&mut self, step: &Step, trouble: Trouble) {
        if trouble.is_for_people {
            self.phase = ExpansionPhase::Stuck;
        }
        self.now = format!("cannot {step}: {}", trouble.sentence);
        self.trouble = Some(trouble);
    }

    /// The status as it follows on the one before; equal to it when nothing is new.
    pub(crate) fn into_status(self, before: &ExpansionStatus, generation: i64) -> ExpansionStatus {
        let now = Timestamp::now();
        let parts = if self.parts.is_empty() {
            before.parts.clone()
        } else {
            self.parts.iter().map(|part| shown(part, before, now)).collect()
        };
        let mut conditions = before.conditions.clone();
        for condition in conditions_of(self.phase, &self.now, now) {
            condition.put_into(&mut conditions);
        }
        let Self { phase, now, pods, objections, .. } = self;
        let pods = pods.unwrap_or(before.pods);
        ExpansionStatus { observed_generation: generation, phase, now, pods, parts, objections, conditions }
    }
}

/// What people have to do something about.
fn first_stuck(parts: &[Part]) -> Option<String> {
    parts.iter().find_map(|part| match &part.state {
        State::Stuck { reason } => Some(reason.clone()),
        State::Done { .. } | State::Due(_) | State::Waits { .. } => None,
    })
}

/// What is done next, or waited for.
fn first_open(parts: &[Part]) -> Option<String> {
    parts.iter().find_map(|part| match &part.state {
        State::Due(step) => Some(step.to_string()),
        State::Waits { reason } => Some(reason.clone()),
        State::Done { .. } | State::Stuck { .. } => None,
    })
}

/// How far an expansion is that is carried out; its last part is the first pod.
fn made(parts: &[Part]) -> (ExpansionPhase, String) {
    let Some((last, before)) = parts.split_last() else { return (ExpansionPhase::Running, String::new()) };
    if let Some(open) = first_open(before) {
        return (ExpansionPhase::Running, open);
    }
    let phase = match last.state {
        State::Done { .. } => ExpansionPhase::Done,
        State::Due(_) | State::Waits { .. } | State::Stuck { .. } => ExpansionPhase::Ready,
    };
    (phase, detail(&last.state))
}

/// How far an expansion is that is taken back; its last part is the block, which goes last or stays with what is in it.
fn withdrawn(parts: &[Part]) -> (ExpansionPhase, String) {
    if let Some(open) = first_open(parts) {
        return (ExpansionPhase::Withdrawing, open);
    }
    (ExpansionPhase::Withdrawn, parts.last().map(|part| detail(&part.state)).unwrap_or_default())
}

fn shown(part: &Part, before: &ExpansionStatus, now: Timestamp) -> ExpansionPart {
    let state = match part.state {
        State::Done { .. } => PartState::Done,
        State::Due(_) => PartState::Due,
        State::Waits { .. } => PartState::Waits,
        State::Stuck { .. } => PartState::Stuck,
    };
    let same = before.parts.iter().find(|known| known.aim == part.aim && known.state == state);
    let since = same.map_or(now, |known| known.since);
    ExpansionPart { aim: part.aim.clone(), state, detail: detail(&part.state), since }
}

fn detail(state: &State) -> String {
    match state {
        State::Done { evidence } => evidence.clone(),
        State::Due(step) => step.to_string(),
        State::Waits { reason } | State::Stuck { reason } => reason.clone(),
    }
}

fn conditions_of(phase: ExpansionPhase, message: &str, now: Timestamp) -> [Condition; 3] {
    let status = |holds: bool| if holds { ConditionStatus::True } else { ConditionStatus::False };
    let accepted = phase != ExpansionPhase::Refused;
    let ready = matches!(phase, ExpansionPhase::Ready | ExpansionPhase::Done);
    let used = phase == ExpansionPhase::Done;
    [("Accepted", accepted), ("Ready", ready), ("Used", used)]
        .map(|(kind, holds)| Condition::new(kind, status(holds), format!("{phase:?}"), message, now))
}
