//! The simulated cloud alone, on the loopback: options, listeners, and what to tell a person about them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use freeboard_address::InstanceId;
use freeboard_vpc::{Cloud, CloudEffect, World};
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::net::TcpListener;

use crate::error::ServeError;
use crate::hypervisor::Hypervisor;
use crate::server::Server;
use crate::sigv4::AccessKey;

/// What to serve, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeOptions {
    /// The world file; worlds/README.md describes it.
    #[arg(long)]
    pub world: PathBuf,
    /// Where the EC2 API listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:4566")]
    pub ec2: SocketAddr,
    /// The port of the first instance's metadata service, the next instance gets the next port; free ports when none.
    #[arg(long)]
    pub imds_base_port: Option<u16>,
    /// Where the control endpoint listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:4567")]
    pub control: SocketAddr,
    /// The access key id that requests must be signed with; any signature is accepted when none.
    #[arg(long, requires = "secret_key")]
    pub access_key: Option<String>,
    /// The secret that belongs to the access key id.
    #[arg(long, requires = "access_key")]
    pub secret_key: Option<String>,
    /// How many times faster than the world says the cloud works.
    #[arg(long)]
    pub speed: Option<f64>,
}

/// Where everything listens. Displayed as lines for a shell.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// The region of the world.
    pub region: String,
    /// The EC2 API.
    pub ec2: SocketAddr,
    /// The control endpoint.
    pub control: SocketAddr,
    /// The metadata service of each instance.
    pub imds: BTreeMap<InstanceId, SocketAddr>,
    /// Whether requests must be signed with a given key.
    pub signatures_are_verified: bool,
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "export AWS_ENDPOINT_URL_EC2=http://{}", self.ec2)?;
        writeln!(f, "export AWS_REGION={}", self.region)?;
        if !self.signatures_are_verified {
            writeln!(
                f,
                "export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any   # no key is configured: any will do"
            )?;
        }
        for (index, (instance, address)) in self.imds.iter().enumerate() {
            let comment = if index == 0 { "" } else { "# or: " };
            writeln!(f, "{comment}export AWS_EC2_METADATA_SERVICE_ENDPOINT=http://{address}   # {instance}")?;
        }
        write!(f, "# control: curl http://{}/state", self.control)
    }
}

/// Reads a world; `name` is what messages call the text.
///
/// # Errors
/// [`ServeError::World`] that says where the text is no world, with line, column and value.
pub fn parse_world(name: &str, text: &str) -> Result<World, ServeError> {
    serde_saphyr::from_str(text)
        .map_err(|error| ServeError::World { name: name.to_owned(), message: error.to_string().trim_end().to_owned() })
}

/// Reads a world file.
///
/// # Errors
/// [`ServeError::ReadWorld`], or as [`parse_world`].
pub fn read_world(path: &Path) -> Result<World, ServeError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ServeError::ReadWorld { path: path.to_owned(), source })?;
    parse_world(&path.display().to_string(), &text)
}

/// Serves a world until Ctrl-C; `announce` is called once, when everything listens.
///
/// # Errors
/// [`ServeError`] when the world makes no sense or a listener cannot be opened; nothing listens then.
pub async fn run(options: ServeOptions, announce: impl FnOnce(&Announcement)) -> Result<(), ServeError> {
    let (server, announcement) = start(options).await?;
    announce(&announcement);
    // Without a handler for Ctrl-C the default one ends the process, which is what is wanted.
    let _ = tokio::signal::ctrl_c().await;
    server.shutdown().await;
    Ok(())
}

/// Starts to serve a world, for [`run`] and for tests.
///
/// # Errors
/// As [`run`].
pub async fn start(options: ServeOptions) -> Result<(Server, Announcement), ServeError> {
    let key = access_key(&options)?;
    let mut world = read_world(&options.world)?;
    world.speed = options.speed.unwrap_or(world.speed);
    let refused = |source| ServeError::Refused { path: options.world.clone(), source };
    let cloud = Cloud::from_world(&world, Timestamp::now()).map_err(refused)?;
    let ec2 = listen(options.ec2).await?;
    let control = listen(options.control).await?;
    let mut announcement = Announcement {
        region: world.region,
        ec2: address_of(&ec2, options.ec2),
        control: address_of(&control, options.control),
        imds: BTreeMap::new(),
        signatures_are_verified: key.is_some(),
    };
    let hypervisor = Arc::new(LoopbackHypervisor::new(options.imds_base_port));
    let server = Server::start(cloud, hypervisor.clone(), key)?;
    server.effects_applied().await;
    if let Some(error) = hypervisor.first_error() {
        server.shutdown().await;
        return Err(error);
    }
    server.serve_ec2(ec2);
    server.serve_control(control);
    announcement.imds = hypervisor.endpoints();
    Ok((server, announcement))
}

fn access_key(options: &ServeOptions) -> Result<Option<AccessKey>, ServeError> {
    match (&options.access_key, &options.secret_key) {
        (None, None) => Ok(None),
        (Some(id), Some(secret)) => {
            Ok(Some(AccessKey { access_key_id: id.clone(), secret_access_key: secret.clone(), session_token: None }))
        }
        _ => Err(ServeError::HalfAKey),
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

fn address_of(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

/// Machines that are only a metadata service on a port of their own.
struct LoopbackHypervisor(Mutex<Loopback>);

struct Loopback {
    next_port: Option<u16>,
    endpoints: BTreeMap<InstanceId, SocketAddr>,
    first_error: Option<ServeError>,
}

impl LoopbackHypervisor {
    fn new(first_port: Option<u16>) -> Self {
        Self(Mutex::new(Loopback { next_port: first_port, endpoints: BTreeMap::new(), first_error: None }))
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Loopback) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn endpoints(&self) -> BTreeMap<InstanceId, SocketAddr> {
        self.with(|state| state.endpoints.clone())
    }

    fn first_error(&self) -> Option<ServeError> {
        self.with(|state| state.first_error.take())
    }

    async fn launch(&self, server: &Server, instance: &InstanceId) -> Result<(), ServeError> {
        let port = self.with(|state| {
            let port = state.next_port;
            state.next_port = port.map(|port| port.saturating_add(1));
            port.unwrap_or(0)
        });
        let asked = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = listen(asked).await?;
        let address = address_of(&listener, asked);
        tracing::info!(%instance, %address, "metadata service");
        self.with(|state| state.endpoints.insert(instance.clone(), address));
        server.serve_imds(listener, instance.clone());
        Ok(())
    }
}

impl Hypervisor for LoopbackHypervisor {
    fn apply<'a>(
        &'a self,
        server: &'a Server,
        effect: &'a CloudEffect,
    ) -> BoxFuture<'a, Result<(), Box<dyn Error + Send + Sync>>> {
        Box::pin(async move {
            let CloudEffect::InstanceLaunched(launched) = effect else { return Ok(()) };
            let Err(error) = self.launch(server, &launched.instance).await else { return Ok(()) };
            let text = error.to_string();
            self.with(|state| state.first_error = state.first_error.take().or(Some(error)));
            Err(text.into())
        })
    }
}
