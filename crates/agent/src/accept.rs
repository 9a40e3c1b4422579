//! Accepts connections on the socket without letting silent ones starve it: a connection counts only when it has said hello.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

/// The first bytes of every HTTP/2 connection.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A caller that has not said hello by then is gone or hostile.
const HELLO: Duration = Duration::from_secs(5);
/// Connections that may be waiting for their hello at once; beyond that the one that has been silent longest is closed.
const SILENT: usize = 64;

/// The stream of connections that have said hello, for tonic's server.
#[must_use]
pub fn greeted(listener: UnixListener) -> ReceiverStream<io::Result<UnixStream>> {
    let (ready, connections) = mpsc::channel(SILENT);
    tokio::spawn(accept(listener, ready));
    ReceiverStream::new(connections)
}

async fn accept(listener: UnixListener, ready: mpsc::Sender<io::Result<UnixStream>>) {
    let slots = Arc::new(Semaphore::new(SILENT));
    let mut silent: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // Out of file descriptors, most likely: connections end, and then it works again.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        silent.retain(|connection| !connection.is_finished());
        if silent.len() >= SILENT
            && let Some(oldest) = silent.pop_front()
        {
            oldest.abort();
        }
        // An aborted connection frees its slot when the runtime has dropped it, so this waits for that at most.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let ready = ready.clone();
        silent.push_back(tokio::spawn(async move {
            let greeted = tokio::time::timeout(HELLO, hello(&stream)).await;
            drop(slot);
            if matches!(greeted, Ok(Ok(true))) {
                let _ = ready.send(Ok(stream)).await;
            }
        }));
    }
}

/// Waits until the preface is there, without taking it; false when something else came.
async fn hello(stream: &UnixStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    let mut before = 0;
    loop {
        stream.readable().await?;
        let peek = || recv(stream.as_raw_fd(), &mut seen, MsgFlags::MSG_PEEK).map_err(io::Error::from);
        let length = match stream.try_io(Interest::READABLE, peek) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        if length == 0 || seen[..length] != PREFACE[..length] {
            return Ok(false);
        }
        if length == PREFACE.len() {
            return Ok(true);
        }
        // A part of it stays readable, so readiness tells nothing about the rest.
        if length == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        before = length;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_caller_gets_through_a_thousand_silent_connections() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        let mut connections = greeted(UnixListener::bind(&path).unwrap());
        let mut silent = Vec::new();
        for _ in 0..400 {
            silent.push(UnixStream::connect(&path).await.unwrap());
        }
        let mut half = UnixStream::connect(&path).await.unwrap();
        half.write_all(&PREFACE[..10]).await.unwrap();
        let mut wrong = UnixStream::connect(&path).await.unwrap();
        wrong.write_all(b"GET / HTTP/1.1\r\n\r\n         ").await.unwrap();
        let mut caller = UnixStream::connect(&path).await.unwrap();
        caller.write_all(PREFACE).await.unwrap();
        assert!(connections.next().await.unwrap().is_ok());
    }
}
