//! A netlink socket of either family: sending, answers by sequence number, and dumps that are retried when interrupted.

use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use crate::DatapathError;
use crate::wire::{Attributes, Messages, Received, Writer, u32_at};

/// Header flags of a request that wants an acknowledgement.
pub(crate) const REQUEST_ACKNOWLEDGED: u16 = 0x1 | 0x4;
/// Header flags of a request for a list.
const REQUEST_DUMP: u16 = 0x1 | 0x300;
/// Header flag of a list that changed while it was read.
const DUMP_INTERRUPTED: u16 = 0x10;
/// Header flag of an acknowledgement that carries attributes.
const ACKNOWLEDGEMENT_EXPLAINED: u16 = 0x200;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Attribute of an acknowledgement: the kernel's own sentence.
const EXPLANATION: u16 = 1;
/// Answers fit: the kernel builds lists in pieces of at most 32 KiB.
const RECEIVE_BYTES: usize = 64 * 1024;
/// How often a list is read again before giving up.
const DUMP_ATTEMPTS: u32 = 5;

/// One message from the kernel.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    /// A request was carried out.
    Done { sequence: u32 },
    /// A request was refused.
    Refused { sequence: u32, errno: Errno, explanation: String },
    /// What was asked for.
    Data(Received<'a>),
}

/// A netlink socket.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Transport {
    /// Opens a socket of this protocol in the calling thread's namespace.
    pub(crate) fn open(protocol: isize) -> Result<Self, DatapathError> {
        let open = || {
            let socket = Socket::new(protocol)?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            Ok(socket)
        };
        let socket = open().map_err(DatapathError::io("open a netlink socket"))?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BYTES) })
    }

    /// Makes the kernel honour filters in requests for lists, and refuse what it does not understand.
    pub(crate) fn check_strictly(&self) {
        // Kernels before 4.20 do not know the option; they answer with more than was asked, and the caller filters anyway.
        let _ = self.socket.set_netlink_get_strict_chk(true);
    }

    /// The number for the next message.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }

    /// Sends the messages in one system call.
    pub(crate) fn send(&self, messages: &Writer) -> Result<(), DatapathError> {
        self.socket.send(messages.bytes(), 0).map_err(DatapathError::io("send to the kernel by netlink"))?;
        Ok(())
    }

    /// Receives one datagram and shows each of its answers.
    pub(crate) fn receive(&mut self, mut show: impl FnMut(Answer<'_>)) -> Result<(), DatapathError> {
        // Not zeroed first: most answers touch one page of the sixteen, and a short-lived process pays for each page.
        self.buffer.clear();
        self.socket.recv(&mut self.buffer, 0).map_err(DatapathError::io("receive from the kernel by netlink"))?;
        for message in Messages(&self.buffer) {
            show(answer(message));
        }
        Ok(())
    }

    /// Asks for a list and shows the payload of each entry of type `entry`; starts again when the list changed meanwhile.
    pub(crate) fn dump<T>(
        &mut self,
        what: &'static str,
        kind: u16,
        body: impl Fn(&mut Writer),
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, DatapathError> {
        for _ in 0..DUMP_ATTEMPTS {
            let sequence = self.next_sequence();
            let mut writer = Writer::new();
            writer.message(kind, REQUEST_DUMP, sequence, &body);
            self.send(&writer)?;
            if let Some(entries) = self.read_dump(what, sequence, &mut read)? {
                return Ok(entries);
            }
        }
        Err(DatapathError::Interrupted { what, attempts: DUMP_ATTEMPTS })
    }

    fn read_dump<T>(
        &mut self,
        what: &'static str,
        sequence: u32,
        read: &mut impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, DatapathError> {
        let mut entries = Vec::new();
        let mut interrupted = false;
        let mut outcome: Option<Result<(), DatapathError>> = None;
        while outcome.is_none() {
            self.receive(|answer| match answer {
                Answer::Data(data) if data.sequence == sequence => {
                    interrupted |= data.flags & DUMP_INTERRUPTED != 0;
                    if data.kind == DONE {
                        outcome = Some(Ok(()));
                    } else {
                        entries.extend(read(data.payload));
                    }
                }
                Answer::Refused { sequence: refused, errno, explanation } if refused == sequence => {
                    outcome = Some(Err(DatapathError::Refused { request: format!("list {what}"), errno, explanation }));
                }
                Answer::Data(_) | Answer::Done { .. } | Answer::Refused { .. } => {}
            })?;
        }
        match outcome {
            // A list that is empty because its table does not exist yet is an empty list.
            Some(Err(DatapathError::Refused { errno: Errno::ENOENT, .. })) => Ok(Some(entries)),
            Some(Err(DatapathError::Refused { errno: Errno::EINTR, .. })) => Ok(None),
            Some(Err(error)) => Err(error),
            Some(Ok(())) | None => Ok((!interrupted).then_some(entries)),
        }
    }
}

fn answer(message: Received<'_>) -> Answer<'_> {
    if message.kind != ERROR {
        return Answer::Data(message);
    }
    let error = u32_at(message.payload, 0).map_or(0, u32::cast_signed);
    if error == 0 {
        return Answer::Done { sequence: message.sequence };
    }
    let explained = message.flags & ACKNOWLEDGEMENT_EXPLAINED != 0;
    let attributes = Attributes(if explained { message.payload.get(20..).unwrap_or(&[]) } else { &[] });
    Answer::Refused {
        sequence: message.sequence,
        errno: Errno::from_raw(error.saturating_neg()),
        explanation: attributes.text(EXPLANATION).unwrap_or_default(),
    }
}
