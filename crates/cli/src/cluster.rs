//! A living cluster as a source of evidence: what its API server answers, in pages, as the text that it is.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use freeboard_kubernetes::client::{Access, ClientOptions, connect, is_forbidden, is_not_found, sentence};
use freeboard_kubernetes::kube::{Client, Error};
use freeboard_kubernetes::pages::{Pages, text};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Answers that wait to be read while the next one is asked for.
const WAITING_ANSWERS: usize = 2;

/// What is asked for: how kubectl is asked for the same, where it is in the API, and whether it is a list.
const ASKED: [(&str, &str, Shape); 14] = [
    ("kubectl get nodes", "/api/v1/nodes", Shape::List),
    ("kubectl get pods -A", "/api/v1/pods", Shape::List),
    ("kubectl get events -A", "/api/v1/events", Shape::List),
    (
        "kubectl get daemonset -n kube-system aws-node",
        "/apis/apps/v1/namespaces/kube-system/daemonsets/aws-node",
        Shape::One,
    ),
    ("kubectl get configmap -n kube-system aws-node", "/api/v1/namespaces/kube-system/configmaps/aws-node", Shape::One),
    (
        "kubectl get configmap -n kube-system amazon-vpc-cni",
        "/api/v1/namespaces/kube-system/configmaps/amazon-vpc-cni",
        Shape::One,
    ),
    (
        "kubectl get configmap -n kube-system cluster-autoscaler-status",
        "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status",
        Shape::One,
    ),
    ("kubectl get eniconfigs", "/apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs", Shape::List),
    ("kubectl get nodeaddresses", "/apis/ipam.freeboard.dev/v1alpha1/nodeaddresses", Shape::List),
    ("kubectl get podranges", "/apis/ipam.freeboard.dev/v1alpha1/podranges", Shape::List),
    ("kubectl get expansions", "/apis/ipam.freeboard.dev/v1alpha1/expansions", Shape::List),
    ("kubectl get ippools", "/apis/crd.projectcalico.org/v1/ippools", Shape::List),
    ("kubectl get ciliumnodes", "/apis/cilium.io/v2/ciliumnodes", Shape::List),
    ("kubectl get ciliumpodippools", "/apis/cilium.io/v2alpha1/ciliumpodippools", Shape::List),
];

/// How an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// In pages.
    List,
    /// As one object.
    One,
}

/// Which cluster.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ClusterArguments {
    /// The kubeconfig of the cluster to ask; without it and without a PATH, the one that kubectl would ask
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// What the cluster told.
#[derive(Debug)]
pub(crate) enum Told {
    /// An answer, or a page of it.
    Answer {
        /// The command of kubectl that shows the same.
        name: &'static str,
        /// The text.
        text: String,
    },
    /// Something that may not be seen, with the reason.
    Withheld {
        /// The command of kubectl that would show it.
        name: &'static str,
        /// Why.
        why: String,
    },
}

impl ClusterArguments {
    /// Whether a cluster was named, and not just left to be found.
    pub(crate) fn is_named(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// The words of the command line that name it.
    pub(crate) fn named(&self) -> String {
        let file = self.kubeconfig.iter().map(|file| format!("--kubeconfig {}", file.display()));
        let context = self.context.iter().map(|context| format!("--context {context}"));
        file.chain(context).collect::<Vec<_>>().join(" ")
    }

    /// A client of its API server.
    ///
    /// # Errors
    /// Nothing says where it is.
    pub(crate) fn connect(&self, runtime: &Runtime) -> Result<Client> {
        let access = match (&self.kubeconfig, &self.context) {
            (kubeconfig, Some(context)) => Access::Context { kubeconfig: kubeconfig.clone(), context: context.clone() },
            (Some(kubeconfig), None) => Access::Kubeconfig(kubeconfig.clone()),
            (None, None) => Access::Person,
        };
        let options = ClientOptions { access, server: None, user_agent: user_agent() };
        Ok(runtime.block_on(connect(&options))?)
    }
}

fn user_agent() -> String {
    format!("freeboard/{}", env!("CARGO_PKG_VERSION"))
}

/// A runtime that asks while this thread reads what was answered.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// Asks for everything that says how addresses are used, and hands on each answer as it comes.
///
/// # Errors
/// The API server cannot be asked, or `each` fails.
pub(crate) fn ask(runtime: &Runtime, client: &Client, mut each: impl FnMut(Told) -> Result<()>) -> Result<()> {
    let (sender, mut receiver): (Sender<Result<Told>>, Receiver<Result<Told>>) = channel(WAITING_ANSWERS);
    let client = client.clone();
    let asking = runtime.spawn(async move {
        for (name, path, shape) in ASKED {
            let outcome = match shape {
                Shape::List => pages(&client, name, path, &sender).await,
                Shape::One => one(&client, name, path, &sender).await,
            };
            if let Err(error) = outcome {
                // Whoever listened is gone if this is not heard.
                let _ = sender.send(Err(error)).await;
                return;
            }
        }
    });
    while let Some(told) = receiver.blocking_recv() {
        each(told?)?;
    }
    runtime.block_on(asking).context("asking the API server ended before its time")
}

async fn pages(client: &Client, name: &'static str, path: &str, sender: &Sender<Result<Told>>) -> Result<()> {
    let mut pages = Pages::of(client, path);
    loop {
        match pages.next().await {
            Ok(Some(text)) => sender.send(Ok(Told::Answer { name, text })).await?,
            Ok(None) => return Ok(()),
            Err(error) => return withheld(name, &error, sender).await,
        }
    }
}

async fn one(client: &Client, name: &'static str, path: &str, sender: &Sender<Result<Told>>) -> Result<()> {
    match text(client, path, &http::HeaderMap::new()).await {
        Ok(text) => Ok(sender.send(Ok(Told::Answer { name, text })).await?),
        Err(error) => withheld(name, &error, sender).await,
    }
}

/// What is not there is no news; what may not be seen is told; anything else ends the asking.
async fn withheld(name: &'static str, error: &Error, sender: &Sender<Result<Told>>) -> Result<()> {
    if is_not_found(error) {
        return Ok(());
    }
    if is_forbidden(error) {
        return Ok(sender.send(Ok(Told::Withheld { name, why: sentence(error) })).await?);
    }
    bail!("the API server cannot be asked (`{name}`): {}", sentence(error))
}
