//! The hook by which a program counts and times the calls.

use std::fmt;
use std::time::Duration;

use crate::action::Action;
use crate::error::Ec2Error;

/// Sees every finished call; called on the task that made the call, so it must not block.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A call (one page of a paged action) has finished.
    ///
    /// `elapsed` runs from the caller's request to the last answer: client budget, retries and their pauses included.
    /// [`Ec2Error::attempts`] tells how many requests were sent.
    fn call_finished(&self, action: Action, outcome: Result<(), &Ec2Error>, elapsed: Duration);
}
