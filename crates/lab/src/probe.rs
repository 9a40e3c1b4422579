//! Looking at the network from inside a namespace: echo requests and connections.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::LabError;
use crate::namespace::Namespace;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// An echo is asked for again after this time, in case the first packet was dropped while a link came up.
const TRY: Duration = Duration::from_millis(300);

/// What became of one echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The address that was asked.
    pub target: Ipv4Addr,
    /// Whether it answered.
    pub answered: bool,
}

/// Sends echo requests from `namespace` to every target at once, and again to those that are silent, until all have answered or
/// `limit` is over.
///
/// # Errors
/// When the namespace cannot be entered or a raw socket cannot be opened there.
pub fn ping_all(namespace: &Namespace, targets: &[Ipv4Addr], limit: Duration) -> Result<Vec<Echo>, LabError> {
    namespace
        .run(|| echo_all(targets, limit))?
        .map_err(|source| LabError::network(namespace, "send echo requests", source))
}

/// Whether `target` answers echo requests from `namespace` within `limit`.
///
/// # Errors
/// As [`ping_all`].
pub fn ping(namespace: &Namespace, target: Ipv4Addr, limit: Duration) -> Result<bool, LabError> {
    Ok(ping_all(namespace, &[target], limit)?.iter().all(|echo| echo.answered))
}

fn echo_all(targets: &[Ipv4Addr], limit: Duration) -> io::Result<Vec<Echo>> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    let identifier = identifier_of(&socket)?;
    let mut echoes: Vec<Echo> = targets.iter().map(|target| Echo { target: *target, answered: false }).collect();
    let started = Instant::now();
    let mut sequence = 0u16;
    while started.elapsed() < limit && echoes.iter().any(|echo| !echo.answered) {
        sequence += 1;
        for echo in echoes.iter().filter(|echo| !echo.answered) {
            // An unreachable target is an answer, of a kind: it stays unanswered.
            let _ = socket.send_to(&request(identifier, sequence), &SocketAddr::from((echo.target, 0)).into());
        }
        let until = (started + limit).min(Instant::now() + TRY);
        while echoes.iter().any(|echo| !echo.answered) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            if let Some(source) = receive_reply(&socket, identifier)? {
                for echo in echoes.iter_mut().filter(|echo| echo.target == source) {
                    echo.answered = true;
                }
            }
        }
    }
    Ok(echoes)
}

/// A raw socket sees the replies of every other; the identifier tells ours.
fn identifier_of(socket: &Socket) -> io::Result<u16> {
    use std::os::fd::AsRawFd;
    let mut bytes = [0; 2];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u16::from_ne_bytes(bytes) ^ u16::try_from(socket.as_raw_fd() & 0xffff).unwrap_or(0))
}

fn request(identifier: u16, sequence: u16) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[0] = ECHO_REQUEST;
    packet[4..6].copy_from_slice(&identifier.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    packet[8..].copy_from_slice(b"freebord");
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The internet checksum (RFC 1071).
fn checksum(packet: &[u8]) -> u16 {
    let mut sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Waits for a packet; returns who sent it when it is a reply to one of ours.
fn receive_reply(socket: &Socket, identifier: u16) -> io::Result<Option<Ipv4Addr>> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 256];
    let (length, source) = match socket.recv_from(&mut buffer) {
        Ok(received) => received,
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Ok(None),
        // Routers' complaints about earlier requests are told here; the request stays unanswered.
        Err(error)
            if error.raw_os_error().is_some_and(|code| [libc::EHOSTUNREACH, libc::ENETUNREACH].contains(&code)) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let packet: Vec<u8> = initialised(&buffer[..length]);
    let header = usize::from(packet.first().map_or(0, |first| first & 0x0f)) * 4;
    let Some(message) = packet.get(header..).filter(|message| message.len() >= 8) else { return Ok(None) };
    let ours = message[0] == ECHO_REPLY && message[4..6] == identifier.to_be_bytes();
    Ok(source.as_socket_ipv4().filter(|_| ours).map(|source| *source.ip()))
}

#[allow(unsafe_code, reason = "socket2 hands out received bytes as uninitialised memory of a known length")]
fn initialised(bytes: &[MaybeUninit<u8>]) -> Vec<u8> {
    // SAFETY: the caller passes exactly the bytes that recv_from reported as written.
    bytes.iter().map(|byte| unsafe { byte.assume_init() }).collect()
}

/// A listener inside a namespace that tells each caller which source address it was seen with.
#[derive(Debug)]
pub struct Mirror {
    address: SocketAddr,
}

impl Mirror {
    /// Listens on `address` in `namespace` until the lab ends.
    ///
    /// # Errors
    /// When the address is taken or the namespace cannot be entered.
    pub fn start(namespace: &Namespace, address: SocketAddr) -> Result<Self, LabError> {
        let failed = |source| LabError::network(namespace, format!("listen on {address}"), source);
        let listener = namespace.run(|| TcpListener::bind(address))?.map_err(failed)?;
        let name = format!("mirror {address}");
        std::thread::Builder::new().name(name).spawn(move || serve(&listener)).map_err(failed)?;
        Ok(Self { address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn serve(listener: &TcpListener) {
    while let Ok((mut stream, source)) = listener.accept() {
        // A caller that has gone does not want the answer.
        let _ = stream.write_all(source.ip().to_string().as_bytes());
    }
}

/// Connects from `namespace` to a [`Mirror`] and returns the source address that it saw; `None` when no connection came about.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn source_seen_by(
    namespace: &Namespace,
    mirror: SocketAddr,
    limit: Duration,
) -> Result<Option<Ipv4Addr>, LabError> {
    namespace.run(|| {
        let mut stream = TcpStream::connect_timeout(&mirror, limit).ok()?;
        stream.set_read_timeout(Some(limit)).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.parse().ok()
    })
}

/// Whether a connection from `namespace` to `target` comes about within `limit`.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn can_connect(namespace: &Namespace, target: SocketAddr, limit: Duration) -> Result<bool, LabError> {
    namespace.run(|| TcpStream::connect_timeout(&target, limit).is_ok())
}
