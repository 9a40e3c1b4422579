//! The shell around the cloud: its clock, its lock, its timer, its hypervisor, its listeners.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freeboard_address::InstanceId;
use freeboard_vpc::{Cloud, CloudEffect};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::calls::{CallCount, CallCounts};
use crate::control::ControlHandler;
use crate::ec2::Ec2Handler;
use crate::error::ServeError;
use crate::http_server;
use crate::hypervisor::Hypervisor;
use crate::imds::{ImdsHandler, Tokens};
use crate::random;
use crate::sigv4::AccessKey;

/// A running cloud: shared by its listeners, its timer and its owner. Clones are the same cloud.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Wakes the timer task: what is due next may have changed.
    changed: Notify,
    effects: mpsc::UnboundedSender<Order>,
    calls: Mutex<CallCounts>,
    /// The keys that callers must sign with; when empty, signatures are not looked at.
    keys: Vec<AccessKey>,
    role_key: AccessKey,
    tokens: Mutex<Tokens>,
    shutdown: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

struct State {
    cloud: Cloud,
    /// The latest time the cloud was told: the system's clock may step back, the cloud's may not.
    latest: Timestamp,
}

/// What the effects task is told.
enum Order {
    Apply(CloudEffect),
    /// Says that everything ordered before was carried out.
    Report(oneshot::Sender<()>),
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Server {
    /// Starts the cloud's timer and hands its effects to `hypervisor`. Nothing listens yet.
    ///
    /// With a `key`, every EC2 request must be signed with it or with the key that the metadata service gives to roles.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ServeError::Random`] when the role's key cannot be made.
    pub fn start(cloud: Cloud, hypervisor: Arc<dyn Hypervisor>, key: Option<AccessKey>) -> Result<Self, ServeError> {
        let (effects, orders) = mpsc::unbounded_channel();
        let role_key = AccessKey {
            access_key_id: format!("ASIA{}", random::key_text(16)?),
            secret_access_key: random::key_text(40)?,
            session_token: Some(random::key_text(64)?),
        };
        let keys = key.map_or_else(Vec::new, |key| vec![key, role_key.clone()]);
        let server = Self(Arc::new(Shared {
            state: Mutex::new(State { cloud, latest: Timestamp::now() }),
            changed: Notify::new(),
            effects,
            calls: Mutex::default(),
            keys,
            role_key,
            tokens: Mutex::default(),
            shutdown: watch::Sender::new(false),
            tasks: Mutex::default(),
        }));
        server.spawn(server.clone().keep_time());
        server.spawn(server.clone().carry_out(orders, hypervisor));
        // The world's own effects are waiting.
        server.with_cloud(|_, _| ());
        Ok(server)
    }

    /// Runs `use_it` on the cloud, at the time it is now there. What that makes the hypervisor do is ordered when it returns.
    ///
    /// Do not wait for anything in it: every request waits for the same lock.
    pub fn with_cloud<T>(&self, use_it: impl FnOnce(&mut Cloud, Timestamp) -> T) -> T {
        let mut state = locked(&self.0.state);
        let now = Timestamp::now().max(state.latest);
        state.latest = now;
        if state.cloud.poll_timeout().is_some_and(|(due, _)| due <= now) {
            state.cloud.handle_timeout(now);
        }
        let result = use_it(&mut state.cloud, now);
        // Ordered under the lock, so that effects of two calls keep the order of the calls.
        while let Some(effect) = state.cloud.poll_effect() {
            // The receiver is gone only after a shutdown, when nothing is carried out any more.
            let _ = self.0.effects.send(Order::Apply(effect));
        }
        drop(state);
        self.0.changed.notify_one();
        result
    }

    /// Waits until the hypervisor has carried out everything that the cloud has ordered up to now.
    pub async fn effects_applied(&self) {
        let (done, report) = oneshot::channel();
        let ordered = self.0.effects.send(Order::Report(done)).is_ok();
        if ordered {
            // An error means that the server was shut down: then nothing is left to wait for.
            let _ = report.await;
        }
    }

    /// Serves the EC2 Query API on `listener` until the shutdown.
    pub fn serve_ec2(&self, listener: TcpListener) {
        let server = self.clone();
        self.spawn(http_server::serve(listener, self.0.shutdown.subscribe(), move |_| {
            Ok(Ec2Handler::new(server.clone()))
        }));
    }

    /// Serves the metadata service of `instance` on `listener` until the shutdown.
    pub fn serve_imds(&self, listener: TcpListener, instance: InstanceId) {
        let server = self.clone();
        self.spawn(http_server::serve(listener, self.0.shutdown.subscribe(), move |stream| {
            ImdsHandler::new(server.clone(), instance.clone(), stream)
        }));
    }

    /// Serves the control endpoint on `listener` until the shutdown.
    pub fn serve_control(&self, listener: TcpListener) {
        let server = self.clone();
        self.spawn(http_server::serve(listener, self.0.shutdown.subscribe(), move |_| {
            Ok(ControlHandler::new(server.clone()))
        }));
    }

    /// How often each action was called since the start, or since [`Server::reset_calls`].
    #[must_use]
    pub fn calls(&self) -> CallCounts {
        locked(&self.0.calls).clone()
    }

    /// Sets all counts of calls back to none.
    pub fn reset_calls(&self) {
        locked(&self.0.calls).clear();
    }

    /// Ends all listeners, connections and tasks, and waits for their end.
    pub async fn shutdown(&self) {
        self.0.shutdown.send_replace(true);
        let mut tasks = std::mem::take(&mut *locked(&self.0.tasks));
        while tasks.join_next().await.is_some() {}
    }

    pub(crate) fn count(&self, action: &'static str, change: impl FnOnce(&mut CallCount)) {
        change(locked(&self.0.calls).entry(action).or_default());
    }

    pub(crate) fn keys(&self) -> &[AccessKey] {
        &self.0.keys
    }

    /// The key that the metadata service gives to the role of an instance.
    pub(crate) fn role_key(&self) -> &AccessKey {
        &self.0.role_key
    }

    pub(crate) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        locked(&self.0.tokens)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        locked(&self.0.tasks).spawn(task);
    }

    /// Calls the cloud whenever something is due.
    async fn keep_time(self) {
        let mut shutdown = self.0.shutdown.subscribe();
        loop {
            let due = locked(&self.0.state).cloud.poll_timeout();
            let wait = async {
                match due {
                    Some((due, _)) => tokio::time::sleep(until(due)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = http_server::ended(&mut shutdown) => return,
                () = self.0.changed.notified() => {}
                () = wait => self.with_cloud(|cloud, now| cloud.handle_timeout(now)),
            }
        }
    }

    /// Hands effects to the hypervisor, one at a time, and tells the cloud of links that are ready or gone.
    async fn carry_out(self, mut orders: mpsc::UnboundedReceiver<Order>, hypervisor: Arc<dyn Hypervisor>) {
        let mut shutdown = self.0.shutdown.subscribe();
        loop {
            let order = tokio::select! {
                () = http_server::ended(&mut shutdown) => return,
                order = orders.recv() => order,
            };
            match order {
                None => return,
                // The one who waits may have given up.
                Some(Order::Report(done)) => drop(done.send(())),
                Some(Order::Apply(effect)) => self.apply(&effect, hypervisor.as_ref()).await,
            }
        }
    }

    async fn apply(&self, effect: &CloudEffect, hypervisor: &dyn Hypervisor) {
        if let Err(error) = hypervisor.apply(self, effect).await {
            tracing::error!(%error, ?effect, "the hypervisor could not carry out what the cloud decided");
            return;
        }
        match effect {
            CloudEffect::InterfaceAttaching(link) => {
                self.with_cloud(|cloud, now| cloud.handle_link_ready(&link.eni, now))
            }
            CloudEffect::InterfaceDetached { eni, .. } => {
                self.with_cloud(|cloud, now| cloud.handle_link_gone(eni, now))
            }
            CloudEffect::VpcCidrsChanged { .. }
            | CloudEffect::InstanceLaunched(_)
            | CloudEffect::AddressesChanged { .. }
            | CloudEffect::InstanceTerminated { .. } => {}
        }
    }
}

fn until(due: Timestamp) -> Duration {
    // Tokio's timer has steps of a millisecond; one more makes sure that it is due when it fires.
    Duration::try_from(due.duration_since(Timestamp::now()))
        .map_or(Duration::ZERO, |wait| wait + Duration::from_millis(1))
}

/// Locks; a panic of another holder does not make the cloud's state unusable, since the cloud changes all or nothing.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
