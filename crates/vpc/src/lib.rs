//! Engine: the rules of the cloud network (EC2's, one account and region), with no I/O, clock or randomness of its own.
//!
//! [`Cloud`] is the whole: it is made from a [`World`], answers one method per EC2 action with typed values or an
//! [`ApiError`] that has EC2's own code and text, and hands out [`CloudEffect`]s for whoever makes real links. Time comes in
//! as a parameter; ids, hardware addresses and address choice follow from the world's seed, so equal inputs give equal states.

mod addressing;
mod assignments;
mod attachments;
mod audit;
mod cloud;
mod describe;
mod effect;
mod error;
mod faults;
mod filterable;
mod filters;
mod front_door;
mod gateways;
mod ids;
mod instances;
mod interfaces;
mod limits;
mod links;
mod metadata;
mod model;
mod peering;
mod request;
mod reservations;
mod routing;
mod security_groups;
mod subnet_space;
mod subnets;
mod tags;
mod throttle;
mod timers;
mod vpc_cidr_rules;
mod vpcs;
mod world;

pub use cloud::Cloud;
pub use effect::{CloudEffect, InterfaceLink, LaunchedInstance};
pub use error::{ApiError, parse_address, parse_cidr};
pub use faults::{Admission, Call, Fault, FaultError, Outcome};
pub use filters::{Filter, Filterable, passes};
pub use ids::{GatewayId, ImageId, PeeringId};
pub use limits::LimitTable;
pub use metadata::{InterfaceMetadata, MetadataView};
pub use model::*;
pub use request::*;
pub use world::*;
