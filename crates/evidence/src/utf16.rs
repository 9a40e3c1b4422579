//! UTF-16 to UTF-8, as a stream: PowerShell writes its redirected output so.

use std::io::{self, Read};

/// Byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

/// The byte order of UTF-16 text: by its mark, or by zeros in every second byte of what is mostly ASCII.
pub(crate) fn order(head: &[u8]) -> Option<Order> {
    match head {
        [0xff, 0xfe, ..] => return Some(Order::Little),
        [0xfe, 0xff, ..] => return Some(Order::Big),
        _ => {}
    }
    let pairs = head.chunks_exact(2).take(512);
    let count = pairs.len();
    let zeros = |index: usize| pairs.clone().filter(|pair| pair.get(index) == Some(&0)).count();
    let is_text = |zeros: usize, others: usize| count >= 8 && zeros * 10 >= count * 9 && others * 20 <= count;
    match (zeros(0), zeros(1)) {
        (even, odd) if is_text(odd, even) => Some(Order::Little),
        (even, odd) if is_text(even, odd) => Some(Order::Big),
        _ => None,
    }
}

/// Reads UTF-16 and gives UTF-8; what cannot be decoded becomes U+FFFD.
pub(crate) struct Decoder<R> {
    input: R,
    order: Order,
    raw: Vec<u8>,
    ready: Vec<u8>,
    given: usize,
    is_at_end: bool,
}

impl<R: Read> Decoder<R> {
    pub(crate) fn new(input: R, order: Order) -> Self {
        Self { input, order, raw: Vec::new(), ready: Vec::new(), given: 0, is_at_end: false }
    }

    fn refill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let read = self.input.read(&mut buffer)?;
        self.is_at_end = read == 0;
        self.raw.extend_from_slice(&buffer[..read]);
        let units: Vec<u16> = self
            .raw
            .chunks_exact(2)
            .map(|pair| {
                let pair = [pair[0], pair[1]];
                if self.order == Order::Little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
            })
            .collect();
        // A high surrogate at the end waits for its other half.
        let is_half = units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit)) && !self.is_at_end;
        let whole = units.len() - usize::from(is_half);
        self.raw.drain(..whole * 2);
        let letters =
            char::decode_utf16(units[..whole].iter().copied()).map(|one| one.unwrap_or(char::REPLACEMENT_CHARACTER));
        let text: String = letters.filter(|letter| *letter != '\u{feff}').collect();
        self.ready = text.into_bytes();
        self.given = 0;
        Ok(())
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.ready.len() {
            if self.is_at_end {
                return Ok(0);
            }
            self.refill()?;
        }
        let count = into.len().min(self.ready.len() - self.given);
        into[..count].copy_from_slice(&self.ready[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{Decoder, Order, order};

    #[test]
    fn text_comes_out_as_it_went_in() {
        let text = "{\"level\":\"error\"} grüße 🦀\n".repeat(3000);
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(order(&bytes), Some(Order::Little));
        let mut decoded = String::new();
        Decoder::new(&bytes[..], Order::Little).read_to_string(&mut decoded).unwrap();
        assert_eq!(decoded, text);
        let swapped: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(order(&swapped), Some(Order::Big));
        assert_eq!(order(text.as_bytes()), None);
    }
}
