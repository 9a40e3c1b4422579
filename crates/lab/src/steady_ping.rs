//! Echo requests without end, to see whether a single one is lost.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::LabError;
use crate::namespace::Namespace;

/// Echo requests from one namespace to some targets, every few milliseconds, until it is stopped.
#[derive(Debug)]
pub struct SteadyPing {
    namespace: Namespace,
    stop: Arc<AtomicBool>,
    worker: JoinHandle<io::Result<Vec<Steady>>>,
}

/// What became of the echo requests to one target.
#[derive(Clone, Debug)]
pub struct Steady {
    /// The address that was asked.
    pub target: Ipv4Addr,
    /// How many requests were sent.
    pub sent: usize,
    /// When those were sent that were never answered.
    pub lost_at: Vec<Instant>,
    /// Which was the first lost, counted from 0: in the middle it tells of a gap, at the end of answers that came late.
    pub first_lost: Option<usize>,
}

/// One request.
#[derive(Clone, Copy, Debug)]
struct Request {
    sent: Instant,
    is_answered: bool,
}

impl std::fmt::Display for Steady {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { target, sent, lost_at, first_lost } = self;
        let lost = lost_at.len();
        write!(formatter, "{target} answers all of {sent} requests; {lost} are lost, the first of them: {first_lost:?}")
    }
}

impl SteadyPing {
    /// Begins; every target is asked once per `interval`.
    ///
    /// # Errors
    /// When the namespace cannot be entered or a raw socket cannot be opened there.
    pub fn start(namespace: &Namespace, targets: &[Ipv4Addr], interval: Duration) -> Result<Self, LabError> {
        let open = || -> io::Result<UdpSocket> {
            // The raw socket is used through the type that reads and writes datagrams safely.
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
            Ok(UdpSocket::from(std::os::fd::OwnedFd::from(socket)))
        };
        let socket = namespace
            .run(open)?
            .map_err(|source| LabError::network(namespace, "open a socket for echo requests", source))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (told, targets) = (Arc::clone(&stop), targets.to_vec());
        let worker = std::thread::spawn(move || ping_until(&socket, &targets, interval, &told));
        Ok(Self { namespace: namespace.clone(), stop, worker })
    }

    /// Ends, and waits a moment for the last answers.
    ///
    /// # Errors
    /// When the socket could not be used.
    pub fn stop(self) -> Result<Vec<Steady>, LabError> {
        self.stop.store(true, Ordering::Relaxed);
        let outcome = self.worker.join().unwrap_or_else(|_| Err(io::Error::other("the pinging thread panicked")));
        outcome.map_err(|source| LabError::network(&self.namespace, "send echo requests", source))
    }
}

/// How long a late answer is waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

fn ping_until(
    socket: &UdpSocket,
    targets: &[Ipv4Addr],
    interval: Duration,
    stop: &AtomicBool,
) -> io::Result<Vec<Steady>> {
    let identifier = u16::try_from(std::process::id() % 0xffff).unwrap_or_default();
    let mut requests: Vec<Vec<Request>> = targets.iter().map(|_| Vec::new()).collect();
    let mut next = Instant::now();
    let mut end = None;
    loop {
        let now = Instant::now();
        if end.is_none() && stop.load(Ordering::Relaxed) {
            end = Some(now + LAST_ANSWERS);
        }
        let done = requests.iter().flatten().all(|request| request.is_answered);
        if end.is_some() && done {
            break;
        }
        if end.is_none() && now >= next {
            next += interval;
            for (target, requests) in targets.iter().zip(&mut requests) {
                let sequence = u16::try_from(requests.len() % 0x1_0000).unwrap_or_default();
                // A refusal by the kernel is a loss like any other: the request stays unanswered.
                let _ = socket.send_to(&echo_request(identifier, sequence), (*target, 0));
                requests.push(Request { sent: now, is_answered: false });
            }
        }
        let wait = next.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), interval);
        socket.set_read_timeout(Some(wait))?;
        let mut buffer = [0; 256];
        let Ok((length, SocketAddr::V4(source))) = socket.recv_from(&mut buffer) else {
            // Only silence ends it: on a busy machine answers may lie in the socket long before this thread runs again.
            if end.is_some_and(|end| now > end) {
                break;
            }
            continue;
        };
        let Some(sequence) = reply_to(&buffer[..length], identifier) else { continue };
        let Some(index) = targets.iter().position(|target| target == source.ip()) else { continue };
        mark(&mut requests[index], sequence);
    }
    let steady = |(target, requests): (&Ipv4Addr, &Vec<Request>)| Steady {
        target: *target,
        sent: requests.len(),
        lost_at: requests.iter().filter(|request| !request.is_answered).map(|request| request.sent).collect(),
        first_lost: requests.iter().position(|request| !request.is_answered),
    };
    Ok(targets.iter().zip(&requests).map(steady).collect())
}

/// Notes the answer to the latest request of this sequence number, which wraps after 65,536.
fn mark(requests: &mut [Request], sequence: u16) {
    let sequence = usize::from(sequence);
    let latest = (0..requests.len()).rev().find(|index| index % 0x1_0000 == sequence);
    if let Some(request) = latest.and_then(|index| requests.get_mut(index)) {
        request.is_answered = true;
    }
}

fn echo_request(identifier: u16, sequence: u16) -> [u8; 8] {
    let mut packet = [8, 0, 0, 0, 0, 0, 0, 0];
    packet[4..6].copy_from_slice(&identifier.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let mut sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).unwrap_or(u16::MAX);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The sequence number of a reply to one of ours.
fn reply_to(packet: &[u8], identifier: u16) -> Option<u16> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let message = packet.get(header..).filter(|message| message.len() >= 8)?;
    let ours = message[0] == 0 && message[4..6] == identifier.to_be_bytes();
    ours.then(|| u16::from_be_bytes([message[6], message[7]]))
}
