//! Why the simulated cloud cannot be served.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The world file could not be read.
    #[error("cannot read the world file {}: {source}", path.display())]
    ReadWorld {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The world file is not a world.
    #[error("{name}: {message}")]
    World {
        /// The file, or what else the text is called.
        name: String,
        /// What is wrong, with line and value.
        message: String,
    },
    /// The world file is in order, and the world that it describes is not.
    #[error("{}: {source}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What makes no sense.
        source: freeboard_vpc::WorldError,
    },
    /// The world file is in order, and the Google-like cloud that it describes is not.
    #[error("{}: {source}", path.display())]
    GoogleRefused {
        /// The file.
        path: PathBuf,
        /// What makes no sense.
        source: freeboard_gcp::WorldError,
    },
    /// A listener could not be opened.
    #[error("cannot listen on {address}: {source}; is another server using it?")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system has no more random bytes to give, so no keys or tokens can be made.
    #[error("cannot make a random key: {0}")]
    Random(String),
    /// A listener was asked for on an address that other machines can reach.
    #[error("{0} is not a loopback address: the simulated cloud listens on 127.0.0.0/8 only")]
    NotLoopback(SocketAddr),
    /// One of the two halves of a key is missing.
    #[error("an access key id and a secret key go together: give both or neither")]
    HalfAKey,
}
