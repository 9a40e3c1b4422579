//! The Google-like cloud alone, on the loopback: options, listener, and how long it stays.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use freeboard_gcp::{GoogleCloud, GoogleWorld};
use jiff::Timestamp;
use tokio::net::TcpListener;

use super::server::GoogleServer;
use crate::error::ServeError;

/// What to serve, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct GoogleServeOptions {
    /// The world file; worlds/README.md describes it.
    #[arg(long)]
    pub world: PathBuf,
    /// Where both APIs listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:4568")]
    pub listen: SocketAddr,
}

/// Reads a world of the Google-like cloud; `name` is what messages call the text.
///
/// # Errors
/// [`ServeError::World`] that says where the text is no world, with line, column and value.
pub fn parse_google_world(name: &str, text: &str) -> Result<GoogleWorld, ServeError> {
    serde_saphyr::from_str(text)
        .map_err(|error| ServeError::World { name: name.to_owned(), message: error.to_string().trim_end().to_owned() })
}

/// Reads a world file of the Google-like cloud.
///
/// # Errors
/// [`ServeError::ReadWorld`], or as [`parse_google_world`].
pub fn read_google_world(path: &Path) -> Result<GoogleWorld, ServeError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ServeError::ReadWorld { path: path.to_owned(), source })?;
    parse_google_world(&path.display().to_string(), &text)
}

/// Serves a world until Ctrl-C; `announce` is called once, when it listens.
///
/// # Errors
/// [`ServeError`] when the world makes no sense or the listener cannot be opened.
pub async fn run_google(options: GoogleServeOptions, announce: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    let (server, address) = start_google(options).await?;
    announce(address);
    // Without a handler for Ctrl-C the default one ends the process, which is what is wanted.
    let _ = tokio::signal::ctrl_c().await;
    server.shutdown().await;
    Ok(())
}

/// Starts to serve a world, for [`run_google`] and for tests.
///
/// # Errors
/// As [`run_google`].
pub async fn start_google(options: GoogleServeOptions) -> Result<(GoogleServer, SocketAddr), ServeError> {
    let world = read_google_world(&options.world)?;
    let cloud = GoogleCloud::from_world(&world, Timestamp::now())
        .map_err(|source| ServeError::GoogleRefused { path: options.world.clone(), source })?;
    if !options.listen.ip().is_loopback() {
        return Err(ServeError::NotLoopback(options.listen));
    }
    let cannot = |source| ServeError::Listen { address: options.listen, source };
    let listener = TcpListener::bind(options.listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let server = GoogleServer::new(cloud);
    server.serve(listener);
    Ok((server, address))
}
