//! Who calls: only root may take or release addresses.

use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

/// Refuses a caller that is not root. The socket's mode keeps others out already; the mode is a file's, and files are
/// mounted into containers.
///
/// # Errors
/// `PermissionDenied`, naming the caller's user id.
pub fn root_only<T>(request: &Request<T>) -> Result<(), Box<Status>> {
    let caller = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    match caller.map(|caller| caller.uid()) {
        Some(0) => Ok(()),
        Some(uid) => {
            tracing::warn!(uid, "a caller that is not root was turned away");
            Err(Box::new(Status::permission_denied(format!(
                "user id {uid} may not ask for addresses; expected 0 (root)"
            ))))
        }
        None => Err(Box::new(Status::permission_denied("the caller's user id is unknown; expected 0 (root)"))),
    }
}
