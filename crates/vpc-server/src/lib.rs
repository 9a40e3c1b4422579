//! Wire: the simulated clouds over HTTP: EC2's Query API, the metadata service of its instances and a control endpoint; and
//! Google's compute and container APIs.
//!
//! [`Server`] puts the pure [`Cloud`](freeboard_vpc::Cloud) into real time: it keeps the cloud's timers, hands its effects
//! to a [`Hypervisor`], and serves listeners that the caller has opened, in whatever network namespace that was.
//! [`run`] serves a world file alone on the loopback.
//!
//! [`GoogleServer`] does the same for the pure [`GoogleCloud`](freeboard_gcp::GoogleCloud); nothing is under it yet.
//!
//! The control endpoint speaks JSON:
//!
//! | request | does |
//! |---|---|
//! | `GET /state` | shows region, speed, VPCs, subnets with their free addresses, interfaces, instances, and what does not add up (`audit`) |
//! | `GET /calls`, `DELETE /calls` | shows, or sets back, how often each action was called and how the calls ended |
//! | `POST /faults` | makes things go wrong: a [`Fault`](freeboard_vpc::Fault) or a list of them, all or none |
//! | `DELETE /faults` | ends all faults of the API and of the metadata service |
//! | `PUT /speed` | `{"speed": 4}` makes what starts from now on four times faster than the world says |

mod calls;
mod control;
mod dispatch;
mod ec2;
mod encode;
mod error;
mod google;
mod http_server;
mod hypervisor;
mod imds;
mod query;
mod random;
mod serve;
mod server;
mod sigv4;
mod xml;

pub use calls::{CallCount, CallCounts};
pub use error::ServeError;
pub use google::{
    GetError, GoogleServeOptions, GoogleServer, cluster_json, get as google_get, node_pool_json, parse_google_world,
    read_google_world, run_google, start_google, subnetwork_json,
};
pub use hypervisor::{Hypervisor, NoHypervisor};
pub use serve::{Announcement, ServeOptions, parse_world, read_world, run, start};
pub use server::Server;
pub use sigv4::AccessKey;

/// The names of all EC2 actions that the server knows.
pub fn action_names() -> impl Iterator<Item = &'static str> {
    dispatch::Action::all().map(|action| action.name)
}
