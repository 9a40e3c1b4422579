//! The agent's socket: one live owner, safe modes, and a stale file of a dead one removed.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Someone answers on it.
    #[error("{} is in use by a live process; stop the other agent (or choose another FREEBOARD_SOCKET)", .0.display())]
    InUse(PathBuf),
    /// Something else lies there.
    #[error("{} exists and is not a socket; remove it (or choose another FREEBOARD_SOCKET)", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot {action} {}: {error}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        error: io::Error,
    },
}

/// Listens on `path`: the directory is made with 0755, the socket has 0660. A file that nobody listens on is removed.
///
/// # Errors
/// When a live process holds the socket, something else lies at `path`, or the system refuses.
pub fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let system = |action| move |error| SocketError::System { action, path: path.to_owned(), error };
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.map_err(system("make the directory of"))?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            // A full queue of connections means that a live process is slow, not gone.
            Ok(_) => return Err(SocketError::InUse(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(SocketError::InUse(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(system("remove the stale socket"))?;
            }
            Err(error) => return Err(system("try the existing socket")(error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(system("look at")(error)),
    }
    let listener = UnixListener::bind(path).map_err(system("listen on"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(system("set the mode of"))?;
    listener.set_nonblocking(true).map_err(system("set up"))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/ipamd.sock");
        let first = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let message = bind(&path).unwrap_err().to_string();
        assert!(
            message.ends_with("is in use by a live process; stop the other agent (or choose another FREEBOARD_SOCKET)"),
            "{message}"
        );
        drop(first);
        assert!(path.exists(), "a dead owner leaves its file");
        bind(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipamd.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
