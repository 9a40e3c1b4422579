//! Engine: the node blocks of one cluster.
//!
//! Pure. Facts about nodes and ranges go in through `handle_*`, with the time as a parameter; what the shell must do comes out of
//! [`Blocks::poll_effect`], one at a time and in order; [`Blocks::poll_timeout`] says when, and why, to call
//! [`Blocks::handle_timeout`]. The truth is `Node.spec.podCIDRs`: after a restart the state is rebuilt from a list of the nodes.
//!
//! Beside the engine: [`assign_pools`] finds ranges for several node pools at once, [`predict`] tells which pool will not reach its
//! maximum on the range it has, and [`compatible`] decides as other controllers do, for comparison.

mod assign;
mod audit;
mod cause;
mod claims;
pub mod compatible;
mod effect;
mod engine;
mod findings;
mod hold;
mod input;
mod nodes;
mod range;
mod ranges;
mod refusal;
mod reservation;
mod selector;
mod serve;
mod table;
mod territory;
mod view;
mod writes;

pub use assign::{
    Assignment, Method, Placement, PoolDemand, RangeRoom, Shortfall, assign_pools, predict, rooms_of_empty_ranges,
};
pub use cause::{Cause, Place, Refusal};
pub use effect::{ApiOperation, Effect, Signal};
pub use engine::Blocks;
pub use findings::{Finding, Problem};
pub use freeboard_address::{AddressesPerPod, BlockLengthRefused, BlockSize};
pub use input::{Answer, BlocksSettings, ObservedNode, OperationId, ResourceVersion, RestoredCooling};
pub use range::{Exclusion, RangeRefused, RangeSpec, RangeState};
pub use reservation::{Reservation, ReservationView};
pub use selector::{Labels, NodeSelector, Operator, Requirement, SelectorRefused, SelectorTerm};
pub use view::{BlocksView, Fit, NodeView, RangeView, WaitingView};
