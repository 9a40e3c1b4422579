//! The shell around the Google-like cloud: its clock, its lock, its listeners.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use freeboard_gcp::GoogleCloud;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::handler::GoogleHandler;
use crate::http_server;

/// A running Google-like cloud: shared by its listeners and its owner. Clones are the same cloud.
#[derive(Clone)]
pub struct GoogleServer(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    shutdown: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

struct State {
    cloud: GoogleCloud,
    /// The latest time the cloud was told: the system's clock may step back, the cloud's may not.
    latest: Timestamp,
}

impl fmt::Debug for GoogleServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleServer").finish_non_exhaustive()
    }
}

impl GoogleServer {
    /// Puts the cloud into real time. Nothing listens yet.
    #[must_use]
    pub fn new(cloud: GoogleCloud) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State { cloud, latest: Timestamp::now() }),
            shutdown: watch::Sender::new(false),
            tasks: Mutex::default(),
        }))
    }

    /// Runs `use_it` on the cloud, at the time it is now there. Do not wait for anything in it.
    pub fn with_cloud<T>(&self, use_it: impl FnOnce(&mut GoogleCloud, Timestamp) -> T) -> T {
        // A panic of another holder does not make the state unusable, since the cloud changes all or nothing.
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Timestamp::now().max(state.latest);
        state.latest = now;
        use_it(&mut state.cloud, now)
    }

    /// Serves both APIs on `listener` until the shutdown. Must be called inside a tokio runtime.
    pub fn serve(&self, listener: TcpListener) {
        let server = self.clone();
        let serving =
            http_server::serve(listener, self.0.shutdown.subscribe(), move |_| Ok(GoogleHandler::new(server.clone())));
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(serving);
    }

    /// Ends all listeners and connections, and waits for their end.
    pub async fn shutdown(&self) {
        self.0.shutdown.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}
