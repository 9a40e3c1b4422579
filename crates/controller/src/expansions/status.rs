//! What an expansion's object says of it.

use freeboard_capacity::Weight;
use freeboard_capacity::carry_out::{Part, State, Step};
use freeboard_ec2::{Ec2Error, ErrorClass};
use freeboard_kubernetes::conditions::{Condition, ConditionStatus};
use freeboard_kubernetes::resources::{ExpansionPart, ExpansionPhase, ExpansionStatus, PartState};
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
    pub(crate) fn of(approved: bool, looked: Looked) -> Self {
        let Looked { parts, pods, objections } = looked;
        let (made, last) = match parts.split_last() {
            Some((last, made)) => (made, Some(last)),
            None => (parts.as_slice(), None),
        };
        let is_made = made.iter().all(|part| matches!(part.state, State::Done { .. }));
        let is_used = last.is_some_and(|part| matches!(part.state, State::Done { .. }));
        let stuck = parts.iter().find_map(|part| match &part.state {
            State::Stuck { reason } => Some(reason.clone()),
            State::Done { .. } | State::Due(_) | State::Waits { .. } => None,
        });
        let open = parts.iter().find_map(|part| match &part.state {
            State::Due(step) => Some(step.to_string()),
            State::Waits { reason } => Some(reason.clone()),
            State::Done { .. } | State::Stuck { .. } => None,
        });
        let used = last.map(|part| detail(&part.state)).unwrap_or_default();
        let (phase, now) = match (approved, stuck) {
            (_, Some(reason)) => (ExpansionPhase::Stuck, reason),
            (false, None) => (
                ExpansionPhase::Proposed,
                "it waits to be approved: freeboard expand --approve NAME, or set spec.approved".to_owned(),
            ),
            (true, None) if is_made && is_used => (ExpansionPhase::Done, used),
            (true, None) if is_made => (ExpansionPhase::Ready, used),
            (true, None) => (ExpansionPhase::Running, open.unwrap_or_default()),
        };
        let refused = objections.iter().find(|objection| objection.forbids);
        let (phase, now) = refused.map_or((phase, now), |one| (ExpansionPhase::Refused, one.sentence.clone()));
        let objections = objections.into_iter().map(|objection| objection.sentence).collect();
        Self { phase, now, parts, pods: Some(pods), objections, trouble: None }
    }

    /// It could not even be looked at.
    pub(crate) fn unlooked(approved: bool, trouble: Trouble) -> Self {
        let phase = match (approved, trouble.is_for_people) {
            (false, _) => ExpansionPhase::Proposed,
            (true, true) => ExpansionPhase::Stuck,
            (true, false) => ExpansionPhase::Running,
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
