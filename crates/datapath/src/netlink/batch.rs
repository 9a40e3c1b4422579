//! Many requests in one system call, each with its own outcome.

use nix::errno::Errno;

use super::facts::{Link, Route};
use super::kernel::{NEW_LINK, NEW_ROUTE};
use super::request::Request;
use super::transport::{Answer, Transport};
use crate::DatapathError;
use crate::wire::Writer;

/// Requests per system call: the acknowledgements of that many fit the default receive buffer of a socket.
const REQUESTS_AT_ONCE: usize = 64;

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// Nothing was to do: what should go was absent, or what should come was there.
    Unchanged,
    /// The link that was asked for.
    Link(Link),
    /// The route that was asked for.
    Route(Route),
    /// The kernel refused.
    Refused {
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's own sentence; empty when it gave none.
        explanation: String,
    },
}

/// Sends the requests in order and collects one outcome for each.
pub(super) fn send(transport: &mut Transport, requests: &[Request]) -> Result<Vec<Outcome>, DatapathError> {
    let mut outcomes = Vec::with_capacity(requests.len());
    for chunk in requests.chunks(REQUESTS_AT_ONCE) {
        send_chunk(transport, chunk, &mut outcomes)?;
    }
    Ok(outcomes)
}

fn send_chunk(
    transport: &mut Transport,
    requests: &[Request],
    outcomes: &mut Vec<Outcome>,
) -> Result<(), DatapathError> {
    let mut writer = Writer::new();
    let sequences: Vec<u32> = requests.iter().map(|_| transport.next_sequence()).collect();
    for (request, sequence) in requests.iter().zip(&sequences) {
        request.write(&mut writer, *sequence);
    }
    transport.send(&writer)?;
    let first = outcomes.len();
    let mut found = None;
    while outcomes.len() - first < requests.len() {
        transport.receive(|answer| {
            // The kernel answers in order, so the next outcome belongs to the next request.
            let place = outcomes.len() - first;
            let (Some(request), Some(expected)) = (requests.get(place), sequences.get(place)) else { return };
            match answer {
                Answer::Data(data) if data.sequence == *expected => {
                    found = match data.kind {
                        NEW_LINK => Link::read(data.payload).map(Outcome::Link),
                        NEW_ROUTE => Route::read(data.payload).map(Outcome::Route),
                        _ => None,
                    };
                }
                Answer::Done { sequence } if sequence == *expected => {
                    outcomes.push(found.take().unwrap_or(Outcome::Done));
                }
                Answer::Refused { sequence, errno, explanation } if sequence == *expected => {
                    outcomes.push(if request.is_satisfied_by(errno) {
                        Outcome::Unchanged
                    } else {
                        Outcome::Refused { errno, explanation }
                    });
                }
                Answer::Data(_) | Answer::Done { .. } | Answer::Refused { .. } => {}
            }
        })?;
    }
    Ok(())
}
