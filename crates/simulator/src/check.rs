//! The invariants, each under a name so that it can be switched off and be proved to catch something.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! checks {
    ($($(#[doc = $doc:literal])* $variant:ident = $text:literal,)*) => {
        /// An invariant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Check {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Check {
            /// Every check.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name, in kebab case.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

checks! {
    /// No address is on two live pods.
    AddressOnce = "address-once",
    /// An address is given only while the cloud has it on this node, on the interface that the reply names.
    CloudHasIt = "cloud-has-it",
    /// No interface, prefix or address with a live sandbox is given back.
    LiveNotReleased = "live-not-released",
    /// What a reply has promised is still held, across crashes, until it is deleted.
    AcknowledgedSurvives = "acknowledged-survives",
    /// An ADD that is repeated brings the same address.
    SameAddress = "same-address",
    /// An address rests for its cool-down, or at least its floor, before it is given again.
    CooldownRespected = "cooldown-respected",
    /// Every request is answered, once, in time.
    AnsweredInTime = "answered-in-time",
    /// As long as nothing has gone wrong, no ADD is refused while the node, an interface or a subnet has room.
    RefusedWithoutRoom = "refused-without-room",
    /// Every refusal names cause, place, figures and remedy.
    RefusalComplete = "refusal-complete",
    /// The pool's own audit finds nothing.
    PoolAudit = "pool-audit",
    /// What the pool counts as usable is what the cloud has on the interface, and the sums close.
    BooksClose = "books-close",
    /// At most one change is in flight per interface, and calls are few: in flight, and made within a short time.
    CallsBounded = "calls-bounded",
    /// The pool never asks to be woken in the past again and again.
    NoSpinning = "no-spinning",
    /// On a healthy cloud every waiting pod is served when there is room.
    Served = "served",
    /// On a healthy cloud without load the pool comes to rest, at its target.
    Settles = "settles",
    /// Nothing of ours is left that nobody owns: interfaces, addresses, allocations without a sandbox.
    NothingLeaked = "nothing-leaked",
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
