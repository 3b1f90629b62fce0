//! How an input is cut into acts: each is a byte that says which, and where it carries a message, that with its length.

use bytes::{BufMut, Bytes};

/// What is left of an input. Whatever it holds, it ends.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte; none at the end.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next two bytes as a number; what is missing counts as zero.
    pub(crate) fn number(&mut self) -> u16 {
        u16::from_le_bytes([self.byte().unwrap_or(0), self.byte().unwrap_or(0)])
    }

    /// The next message: its length, then as much of it as there is.
    pub(crate) fn message(&mut self) -> Bytes {
        let length = usize::from(self.number()).min(self.0.len());
        let (message, rest) = self.0.split_at(length);
        self.0 = rest;
        Bytes::copy_from_slice(message)
    }
}

/// Appends an act with its message, as [`Input`] reads it.
///
/// # Panics
/// Where the message is longer than a length can say, which no seed is.
pub(crate) fn put_act(seed: &mut Vec<u8>, kind: u8, message: &[u8]) {
    seed.put_u8(kind);
    seed.put_u16_le(u16::try_from(message.len()).expect("seeds have short messages"));
    seed.put_slice(message);
}
