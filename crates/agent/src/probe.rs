//! `freeboard-agent --probe`: asks the agent of this node about its health, as kubelet's probes do.

use std::path::Path;
use std::time::Duration;

use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::grpc::READY;

/// How long the answer may take; kubelet's own limit, in the manifest, is longer.
const LIMIT: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Question {
    /// Whether the process answers.
    Live,
    /// Whether it has finished its start: it knows the node's interfaces and allocations.
    Ready,
}

/// The agent is not as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody answers.
    #[error("the agent does not answer on {socket}: {problem}")]
    NoAnswer {
        /// The socket.
        socket: String,
        /// What went wrong.
        problem: String,
    },
    /// It answers, and has not finished its start.
    #[error("the agent has not finished its start; see the last lines of its log")]
    NotReady,
}

/// Asks the agent on a socket.
///
/// # Errors
/// When it does not answer, or not as it was hoped.
pub fn ask(question: Question, socket: &Path) -> Result<(), ProbeError> {
    let failed = |problem: String| ProbeError::NoAnswer { socket: socket.display().to_string(), problem };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(error.to_string()))?;
    let service = match question {
        Question::Live => "",
        Question::Ready => READY,
    };
    let call = async {
        let endpoint = Endpoint::try_from(format!("unix://{}", socket.display())).map_err(|e| e.to_string())?;
        let channel = endpoint.connect().await.map_err(|e| root(&e))?;
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel).check(request).await.map_err(|status| status.message().to_owned())?;
        Ok::<_, String>(answer.into_inner().status())
    };
    let limited = runtime.block_on(async { tokio::time::timeout(LIMIT, call).await });
    match limited {
        Ok(Ok(ServingStatus::Serving)) => Ok(()),
        Ok(Ok(ServingStatus::NotServing | ServingStatus::Unknown | ServingStatus::ServiceUnknown)) => {
            Err(ProbeError::NotReady)
        }
        Ok(Err(problem)) => Err(failed(problem)),
        Err(_) => Err(failed(format!("not within {} s", LIMIT.as_secs()))),
    }
}

/// What lies at the bottom of an error says it best.
fn root(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}
