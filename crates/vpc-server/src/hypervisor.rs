//! What stands under the cloud: whoever makes machines and links exist, or only says so.

use std::error::Error;

use freeboard_vpc::CloudEffect;
use futures::future::BoxFuture;

use crate::server::Server;

/// Carries out what the cloud decides. Effects come one at a time, in order; the next one waits for this one's end.
pub trait Hypervisor: Send + Sync + 'static {
    /// Carries out `effect`. When it returns without an error the server tells the cloud that a link is ready or gone.
    ///
    /// `server` is the one that asks, so that a machine's metadata service can be started with [`Server::serve_imds`].
    ///
    /// # Errors
    /// Any; it is logged, and an interface whose link could not be made stays `attaching`, as in the real cloud.
    fn apply<'a>(
        &'a self,
        server: &'a Server,
        effect: &'a CloudEffect,
    ) -> BoxFuture<'a, Result<(), Box<dyn Error + Send + Sync>>>;
}

/// A hypervisor that makes nothing and calls every link ready at once: for clients of the API alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHypervisor;

impl Hypervisor for NoHypervisor {
    fn apply<'a>(
        &'a self,
        _: &'a Server,
        _: &'a CloudEffect,
    ) -> BoxFuture<'a, Result<(), Box<dyn Error + Send + Sync>>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
