//! Who of several replicas leads: a `Lease`, held by renewing it, and given up before anybody else may take it.
//!
//! The leader counts from the moment *before* its last renewal was sent, and stops at the renew deadline; another replica takes
//! over only when it has seen the lease unchanged for the whole lease duration. As the deadline is shorter than the duration, and
//! both are measured on one's own steady clock, there are never two leaders, whatever the clocks of the machines say.

mod elector;

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::{is_conflict, sentence};
use elector::{Elector, Step};

/// Which lease, and who asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderOptions {
    /// The namespace of the lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The replica: a name that no other replica has, such as its pod's.
    pub identity: String,
    /// How long the lease counts after its last renewal.
    pub lease_duration: Duration,
    /// How long the leader leads after its last renewal; shorter than the duration.
    pub renew_deadline: Duration,
    /// How often the lease is renewed, or looked at.
    pub retry_period: Duration,
}

impl LeaderOptions {
    /// The periods that Kubernetes' own controllers have: 15 s, 10 s and 2 s.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// A time of leading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Which one: each change of the holder has a higher number. A writer that records it with what it writes can tell a late
    /// write of an earlier leader.
    pub number: u32,
    /// Until when it counts, unless the lease is renewed before.
    pub until: Instant,
}

/// This replica does not lead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica does not lead (any more); the lease {lease} is held by {holder}")]
pub struct NotLeading {
    /// The lease.
    pub lease: String,
    /// Its holder as it was seen last.
    pub holder: String,
}

/// The elector's view, for those who need to know whether they lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct View {
    term: Option<Term>,
    holder: String,
}

/// Takes part in the election until it is dropped or resigns.
#[derive(Debug)]
pub struct Leadership {
    lease: String,
    view: watch::Receiver<View>,
    resign: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Leadership {
    /// Takes part in the election.
    #[must_use]
    pub fn campaign(client: Client, options: LeaderOptions) -> Self {
        let lease = format!("{}/{}", options.namespace, options.name);
        let (shown, view) = watch::channel(View::default());
        let (resign, resigned) = watch::channel(false);
        let api = Api::namespaced(client, &options.namespace);
        let task = tokio::spawn(Campaign { api, elector: Elector::new(options), shown, resigned }.run());
        Self { lease, view, resign, task }
    }

    /// The term, when this replica leads now. To be asked before every change that only the leader may make.
    ///
    /// # Errors
    /// When it does not lead, or could not renew the lease in time.
    pub fn check(&self) -> Result<Term, NotLeading> {
        let view = self.view.borrow();
        match view.term {
            Some(term) if Instant::now() < term.until => Ok(term),
            _ => Err(NotLeading { lease: self.lease.clone(), holder: view.holder.clone() }),
        }
    }

    /// Waits until this replica leads.
    pub async fn won(&self) -> Term {
        let mut view = self.view.clone();
        loop {
            if let Ok(term) = self.check() {
                return term;
            }
            if view.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until this replica does not lead any more.
    pub async fn lost(&self) {
        let mut view = self.view.clone();
        while let Ok(term) = self.check() {
            tokio::select! {
                () = tokio::time::sleep_until(term.until.into()) => {}
                _ = view.changed() => {}
            }
        }
    }

    /// Gives the lease back, so that another replica need not wait until it runs out.
    pub async fn resign(mut self) {
        self.resign.send_replace(true);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Campaign {
    api: Api<Lease>,
    elector: Elector,
    shown: watch::Sender<View>,
    resigned: watch::Receiver<bool>,
}

impl Campaign {
    async fn run(mut self) {
        loop {
            let resigned = *self.resigned.borrow_and_update();
            let started = Instant::now();
            // A request that hangs must not outlive the term in which it was made.
            let limit = self.elector.options.renew_deadline;
            match tokio::time::timeout(limit, self.turn(resigned)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if is_conflict(&error) => tracing::debug!("another replica changed the lease first"),
                Ok(Err(error)) => tracing::warn!("the lease cannot be read or renewed: {}", sentence(&error)),
                Err(_) => tracing::warn!("the API server did not answer in time about the lease"),
            }
            if resigned {
                return;
            }
            let rest = self.elector.options.retry_period.saturating_sub(started.elapsed());
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = self.resigned.changed() => {}
            }
        }
    }

    async fn turn(&mut self, resigned: bool) -> Result<(), Error> {
        let name = self.elector.options.name.clone();
        // The term counts from before the request that renews it.
        let (now, time) = (Instant::now(), Timestamp::now());
        let found = self.api.get_opt(&name).await?;
        let step = if resigned {
            self.elector.resign(found.as_ref(), time)
        } else {
            self.elector.next(found.as_ref(), now, time)
        };
        let written = match step {
            Step::Create(lease) => self.api.create(&PostParams::default(), &lease).await?,
            Step::Replace(lease) => self.api.replace(&name, &PostParams::default(), &lease).await?,
            Step::Wait { holder } => {
                self.shown.send_if_modified(|view| {
                    let changed = view.term.is_some() || view.holder != holder;
                    *view = View { term: None, holder };
                    changed
                });
                return Ok(());
            }
        };
        let term = if resigned { None } else { self.elector.written(&written, now) };
        let holder = written.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        let before = self.shown.send_replace(View { term, holder });
        if before.term.is_none()
            && let Some(term) = term
        {
            tracing::info!(lease = name, term = term.number, "this replica leads");
        }
        Ok(())
    }
}
