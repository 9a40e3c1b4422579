//! Interfaces that the node is about to create: recorded before the call, so that a restarted agent finds what its predecessor made.
//!
//! The record holds the whole request and its client token. A call that is repeated with them brings the interface that was made
//! already, or makes it; so whoever reads the record needs no other look.

use std::collections::BTreeMap;

use freeboard_address::EniId;
use jiff::{SignedDuration, Timestamp};

use crate::backoff::{Action, later};
use crate::effect::{CloudOperation, Effect};
use crate::input::{FailureKind, InterfaceIntent, OperationId, Revision};
use crate::pool::Pool;

/// EC2 remembers a client token for a limited time. What is older is left to the look for leftovers.
const TOKEN_IS_KNOWN_FOR: SignedDuration = SignedDuration::from_hours(1);

/// An intent that is not carried out yet.
#[derive(Clone, Debug)]
struct Open {
    intent: InterfaceIntent,
    /// The interface, once it is created.
    created: Option<EniId>,
    /// An answer to it was lost, or an earlier run did not live to hear it: it may have been carried out.
    is_doubtful: bool,
}

/// The intents that are not carried out yet, by token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intents {
    open: BTreeMap<String, Open>,
    /// Calls that wait until the disk knows of them.
    held: Vec<(Revision, OperationId)>,
}

impl Intents {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &InterfaceIntent> {
        self.open.values().map(|open| &open.intent)
    }
}

impl From<InterfaceIntent> for CloudOperation {
    fn from(intent: InterfaceIntent) -> Self {
        let InterfaceIntent { subnet, addresses, prefixes, groups, token, decided } = intent;
        Self::CreateInterface { subnet, addresses, prefixes, groups, token, decided }
    }
}

impl Pool {
    /// Interfaces that an earlier run was about to create ([`CheckpointState::creating`](crate::CheckpointState)). Each is created,
    /// or found, with its token as soon as the interfaces are known, and taken on. To be called before the interfaces are known.
    pub fn handle_intents(&mut self, intents: Vec<InterfaceIntent>, now: Timestamp) {
        let now = self.begin(now);
        for intent in intents {
            // One from the future is as old as the jump of the clock tells, which nobody knows.
            if intent.decided <= now && later(intent.decided, TOKEN_IS_KNOWN_FOR) > now {
                self.lost_creations.push(intent.clone().into());
                let open = Open { intent, created: None, is_doubtful: true };
                self.intents.open.insert(open.intent.token.clone(), open);
            }
        }
        self.advance(now);
    }

    /// Records that an interface is to be created, and creates it when that is durable.
    pub(crate) fn intend(&mut self, intent: InterfaceIntent, now: Timestamp) {
        let open = Open { intent: intent.clone(), created: None, is_doubtful: false };
        self.intents.open.insert(intent.token.clone(), open);
        let id = self.begin_operation(intent.into(), now);
        let revision = self.persist();
        self.intents.held.push((revision, id));
    }

    /// The disk knows of intents: their calls are made.
    pub(crate) fn create_durably(&mut self) {
        let durable = self.journal.durable;
        let due = self.intents.held.extract_if(.., |(revision, _)| *revision <= durable).collect::<Vec<_>>();
        for (_, id) in due {
            if let Some(in_flight) = self.operations.get(&id) {
                self.effects.push_back(Effect::Cloud(id, in_flight.operation.clone()));
            }
        }
    }

    /// The disk cannot be told of intents, so nothing is created.
    pub(crate) fn drop_intents(&mut self) {
        for (_, id) in std::mem::take(&mut self.intents.held) {
            if let Some(CloudOperation::CreateInterface { token, .. }) =
                self.operations.remove(&id).map(|o| o.operation)
            {
                self.intents.open.remove(&token);
            }
        }
    }

    /// What was intended is created, under this id.
    pub(crate) fn intent_is_created(&mut self, token: &str, interface: &EniId) {
        if let Some(open) = self.intents.open.get_mut(token) {
            open.created = Some(interface.clone());
        }
    }

    /// A creation failed. Where it, or a call before it, may have had its effect, its repetition with the same token settles it; one
    /// that fails for good must not be repeated for ever.
    pub(crate) fn creation_failed(&mut self, creation: &CloudOperation, kind: FailureKind, now: Timestamp) {
        let CloudOperation::CreateInterface { token, decided, .. } = creation else { return };
        let Some(open) = self.intents.open.get_mut(token) else { return };
        open.is_doubtful |= kind == FailureKind::Uncertain;
        let is_for_now = matches!(
            kind,
            FailureKind::Uncertain | FailureKind::Throttled | FailureKind::Unavailable | FailureKind::NotAuthorized
        );
        if open.is_doubtful && is_for_now && later(*decided, TOKEN_IS_KNOWN_FOR) > now {
            self.lost_creations.push(creation.clone());
        } else {
            self.intents.open.remove(token);
            self.persist();
        }
    }

    /// The interface is attached, or gone: a restarted agent needs no record to find it.
    pub(crate) fn intent_is_settled(&mut self, interface: &EniId) {
        let before = self.intents.open.len();
        self.intents.open.retain(|_, open| open.created.as_ref() != Some(interface));
        if self.intents.open.len() != before {
            self.persist();
        }
    }

    /// Repeats creations whose answer was lost, with their token: they bring the interface that may have been made already.
    pub(crate) fn repeat_lost_creations(&mut self, now: Timestamp) {
        if self.lost_creations.is_empty() {
            return;
        }
        match self.paused(Action::Create, now).and_then(|obstacle| self.gone_at(&obstacle)) {
            Some(until) => {
                self.wake(until, "a creation whose answer was lost is to be repeated", now);
            }
            None => {
                for creation in std::mem::take(&mut self.lost_creations) {
                    self.start(creation, now);
                }
            }
        }
    }
}
