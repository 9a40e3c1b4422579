//! `freeboard vpc describe`: objects of the Google-like cloud, as gcloud shows them.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use freeboard_vpc_server::{GoogleServeOptions, google_get, start_google};
use serde_json::Value;

/// What to describe.
#[derive(Debug, Subcommand)]
pub(crate) enum Describe {
    /// A subnetwork, as `gcloud compute networks subnets describe` shows it.
    Subnet {
        /// Its name.
        name: String,
        /// Its region; needed only when two regions have a subnetwork of this name.
        #[arg(long)]
        region: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// A node pool, as `gcloud container node-pools describe` shows it.
    NodePool {
        /// Its name.
        name: String,
        /// Its cluster.
        #[arg(long)]
        cluster: String,
        /// The cluster's location; needed only when two locations have a cluster of this name.
        #[arg(long)]
        location: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// A cluster, as `gcloud container clusters describe` shows it.
    Cluster {
        /// Its name.
        name: String,
        /// Its location; needed only when two locations have a cluster of this name.
        #[arg(long)]
        location: Option<String>,
        #[command(flatten)]
        how: How,
    },
}

/// Whom to ask, and how to show the answer.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// Describe what a world file says, instead of a cloud that is served.
    #[arg(long, conflicts_with = "endpoint")]
    world: Option<PathBuf>,
    /// Where the cloud is served (freeboard vpc serve-google).
    #[arg(long, default_value = "127.0.0.1:4568")]
    endpoint: SocketAddr,
    /// The project of the served cloud.
    #[arg(long, default_value = "demo-project")]
    project: String,
    /// Show only these fields, separated by commas.
    #[arg(long, value_delimiter = ',')]
    fields: Vec<String>,
    /// How to show it.
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As gcloud does it.
    Yaml,
    /// As the API does it.
    Json,
}

/// Runs the command.
pub(crate) async fn run(what: &Describe) -> Result<()> {
    let (Describe::Subnet { how, .. } | Describe::NodePool { how, .. } | Describe::Cluster { how, .. }) = what;
    let object = match &how.world {
        None => find(what, how.endpoint, &how.project).await?,
        Some(world) => {
            let project = freeboard_vpc_server::read_google_world(world)?.project;
            let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
            let (server, endpoint) =
                start_google(GoogleServeOptions { world: world.clone(), listen: any_port }).await?;
            let object = find(what, endpoint, project.as_str()).await;
            server.shutdown().await;
            object?
        }
    };
    let fields: Vec<&str> = how.fields.iter().map(String::as_str).collect();
    let unknown: Vec<&str> = fields.iter().copied().filter(|field| object.get(field).is_none()).collect();
    if !unknown.is_empty() {
        let known = object.as_object().map(|object| object.keys().map(String::as_str).collect::<Vec<_>>());
        bail!("there is no field {}; there are {}", unknown.join(", "), known.unwrap_or_default().join(", "));
    }
    let shown = crate::yaml::select(&object, &fields);
    match how.format {
        Format::Yaml => anstream::print!("{}", crate::yaml::show(&shown)),
        Format::Json => anstream::println!("{shown:#}"),
    }
    Ok(())
}

/// Asks the cloud for the object.
async fn find(what: &Describe, endpoint: SocketAddr, project: &str) -> Result<Value> {
    match what {
        Describe::Subnet { name, region, .. } => {
            let path = format!("/compute/v1/projects/{project}/aggregated/subnetworks");
            let answer = google_get(endpoint, &path).await?;
            let regions = answer["items"].as_object().cloned().unwrap_or_default();
            let found = regions.iter().flat_map(|(place, inside)| {
                let subnetworks = inside["subnetworks"].as_array().cloned().unwrap_or_default();
                subnetworks.into_iter().map(|subnetwork| (place.trim_start_matches("regions/").to_owned(), subnetwork))
            });
            the_one("subnetwork", "--region", name, region.as_deref(), found.collect())
        }
        Describe::Cluster { name, location, .. } => cluster(endpoint, project, name, location.as_deref()).await,
        Describe::NodePool { name, cluster: of, location, .. } => {
            let cluster = cluster(endpoint, project, of, location.as_deref()).await?;
            let pools = cluster["nodePools"].as_array().cloned().unwrap_or_default();
            let found = pools.into_iter().map(|pool| (of.clone(), pool)).collect();
            the_one("node pool", "--cluster", name, None, found)
        }
    }
}

async fn cluster(endpoint: SocketAddr, project: &str, name: &str, location: Option<&str>) -> Result<Value> {
    let answer = google_get(endpoint, &format!("/v1/projects/{project}/locations/-/clusters")).await?;
    let clusters = answer["clusters"].as_array().cloned().unwrap_or_default();
    let place = |cluster: &Value| cluster["location"].as_str().unwrap_or_default().to_owned();
    let found = clusters.into_iter().map(|cluster| (place(&cluster), cluster)).collect();
    the_one("cluster", "--location", name, location, found)
}

/// The only object of this name, in this place if one is given.
fn the_one(kind: &str, option: &str, name: &str, place: Option<&str>, all: Vec<(String, Value)>) -> Result<Value> {
    let names: Vec<String> =
        all.iter().map(|(_, object)| object["name"].as_str().unwrap_or_default().to_owned()).collect();
    let here = |at: &str| place.is_none_or(|place| place == at);
    let mut found: Vec<(String, Value)> =
        all.into_iter().filter(|(at, object)| object["name"] == name && here(at)).collect();
    if found.len() > 1 {
        let places: Vec<String> = found.into_iter().map(|(place, _)| place).collect();
        bail!("there are several of the {kind} {name}: say which with {option} ({})", places.join(", "));
    }
    let there =
        if names.is_empty() { "there is none at all".to_owned() } else { format!("there are {}", names.join(", ")) };
    let place = place.map_or_else(String::new, |place| format!(" in {place}"));
    found.pop().map(|(_, object)| object).with_context(|| format!("there is no {kind} {name}{place}; {there}"))
}
