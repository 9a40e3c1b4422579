//! Engine: the address pool of one node.
//!
//! Pure. Facts and requests go in through `handle_*`, with the time as a parameter; what the shell must do comes out of
//! [`Pool::poll_effect`], one at a time and in order; [`Pool::poll_timeout`] says when, and why, to call
//! [`Pool::handle_timeout`]. See `ARCHITECTURE.md` for the invariants that the engine keeps.

mod audit;
mod backoff;
mod block_source;
mod blocks;
mod budget;
mod cause;
mod cloud;
mod decision;
mod effect;
mod growth;
mod holders;
mod input;
mod input_log;
mod intents;
mod interfaces;
mod lean;
mod node_blocks;
mod persist;
mod placement;
mod pod_subnets;
mod policy;
mod pool;
mod reconcile;
mod refusal;
mod requests;
mod settings;
mod shrink;
mod snapshot;
mod store;
mod subnets;
mod view;
mod waiting;

pub use block_source::BlocksRefused;
pub use budget::{CallLimit, CallLimits, Share};
pub use cause::{Cause, Place, Refusal};
pub use decision::{Choice, Decision, Reason};
pub use effect::{CloudOperation, Effect, Reply, Signal};
pub use input::{
    AddRequest, AllocationMode, CheckpointState, CloudFailure, CloudSuccess, DelRequest, FailureKind, InterfaceIntent,
    NodeFacts, ObservedInterface, ObservedSubnet, OperationId, Pacing, Policy, PoolSettings, RangePreference,
    RequestId, RestoredAllocation, RestoredCooling, ReturnedBlock, Revision, Targets,
};
pub use input_log::{Input, LOG_VERSION, Origin, Record};
pub use lean::Forecast;
pub use pod_subnets::{EniConfig, EniConfigChoice, PodSubnets};
pub use pool::Pool;
pub use settings::{SettingChange, SettingsConflict, SettingsRefused};
pub use view::{
    AddressState, AddressView, Alarm, BlockView, Corrections, Holding, InterfaceState, InterfaceView, NodeBlockView,
    OperationView, PoolView, SubnetView, Tally,
};
