//! The simulator: the real pool engines and the real rules of the cloud under virtual time, with faults and checks.
//!
//! [`Scenario::parse`] reads what is to happen; [`Run::new`] starts it under a seed; [`Run::step`] makes one step, after which
//! every invariant ([`Check`]) is verified; [`Run::finish`] makes the rest and brings a [`Summary`], or the [`Failure`]. A run
//! has a safety phase with faults and then a liveness phase on a healthy cloud. The same scenario, seed and commit bring the
//! same steps to the byte. [`Replay`] makes a run again up to a step and shows state and difference. [`ZOO`] holds the wrong
//! behaviours that the checks must find.

mod call;
mod check;
mod compare;
mod fault;
mod fleet;
mod fleet_account;
mod inject;
mod log_replay;
mod mischief;
mod node;
mod node_blocks;
mod operation;
mod page;
mod plot;
mod random;
mod record;
mod replay;
mod run;
mod runtime;
mod scenario;
mod scenario_check;
mod shell;
mod summary;
mod verify;
mod workload;
mod world;
mod zoo;

pub use check::Check;
pub use compare::{CompareError, Comparison, Load, Loads, Standing};
pub use fault::{FaultClass, FaultSettings};
pub use fleet::{CallCount, Fleet, FleetResult, Shape, Waits};
pub use log_replay::{NodeLog, NodeLogError};
pub use node_blocks::BlockSettings;
pub use page::zoo_page;
pub use plot::PlotError;
pub use record::{Failure, Step, Violation};
pub use replay::{REPLAY_VERSION, Replay, ReplayError, Shown};
pub use run::Run;
pub use scenario::{Checking, NodeSettings, PoolChange, PoolChoice, Scenario, SubnetSettings, WorldSettings};
pub use scenario_check::ScenarioError;
pub use summary::{Sample, Summary, TimeToAddress};
pub use workload::{PodAction, PodEvent, Workload, WorkloadError};
pub use zoo::{Animal, Trail, ZOO};
