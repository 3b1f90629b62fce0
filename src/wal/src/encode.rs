//! A batch of records as the buffers of one write.
//!
//! Contract: [`batch_bytes`] is exactly what [`EncodedBatch::new`] produces; the last frame, and only it, ends the batch.

use std::io::IoSlice;
use std::ops::Range;

use cairn_types::{Entry, HardState};

use crate::format::{
    ENTRY_PREFIX_BYTES, FRAME_HEADER_BYTES, FrameHeader, MAX_BATCH_BYTES, RecordKind, Stamp, frame_size, put_words,
};
use crate::index::{Slot, Step};
use crate::{LogPosition, WalError};

/// Data of this many bytes and more is handed to the system where it lies; below, copying costs less than a buffer.
const IN_PLACE_MIN_BYTES: usize = 16 << 10;
/// Longest fixed part of a payload: a hard state.
const MAX_FIXED_BYTES: usize = 24;

/// Something to write.
pub(crate) enum Record<'a> {
    Truncate(LogPosition),
    Mark(LogPosition),
    Entry(&'a Entry),
    HardState(HardState),
}

impl<'a> Record<'a> {
    fn kind(&self) -> RecordKind {
        match self {
            Self::Truncate(_) => RecordKind::Truncate,
            Self::Mark(_) => RecordKind::Mark,
            Self::Entry(entry) => RecordKind::Entry(entry.kind),
            Self::HardState(_) => RecordKind::HardState,
        }
    }

    /// The part of the payload before an entry's data.
    fn fixed(&self, buffer: &mut [u8; MAX_FIXED_BYTES]) -> usize {
        match self {
            Self::Truncate(at) | Self::Mark(at) => put_words(buffer, &[at.index.0, at.term.0]),
            Self::Entry(entry) => put_words(buffer, &[entry.index.0, entry.term.0]),
            Self::HardState(state) => put_words(buffer, &[state.term.0, state.vote, state.commit.0]),
        }
        if matches!(self, Self::HardState(_)) { MAX_FIXED_BYTES } else { ENTRY_PREFIX_BYTES }
    }

    fn data(&self) -> &'a [u8] {
        match self {
            Self::Entry(entry) => &entry.data,
            _ => &[],
        }
    }

    fn payload_bytes(&self) -> usize {
        self.fixed(&mut [0; MAX_FIXED_BYTES]) + self.data().len()
    }
}

/// Length of the frames of a batch in bytes.
pub(crate) fn batch_bytes(records: &[Record<'_>]) -> Result<u64, WalError> {
    let bytes = records.iter().map(|record| frame_size(record.payload_bytes()) as u64).sum();
    if bytes > MAX_BATCH_BYTES {
        return Err(WalError::TooLarge { bytes, max: MAX_BATCH_BYTES });
    }
    Ok(bytes)
}

enum Chunk<'a> {
    Copied(Range<usize>),
    InPlace(&'a [u8]),
}

/// The frames of a batch, and what they mean.
pub(crate) struct EncodedBatch<'a> {
    copied: Vec<u8>,
    chunks: Vec<Chunk<'a>>,
    /// Offset in the segment behind what was encoded so far.
    end: u64,
    pub(crate) steps: Vec<Step>,
}

impl<'a> EncodedBatch<'a> {
    /// Encodes `records`, whose [`batch_bytes`] were checked, to be written at `offset`. `buffer` is only there to reuse its memory.
    pub(crate) fn new(records: &[Record<'a>], stamp: Stamp, batch: u32, offset: u64, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        let steps = Vec::with_capacity(records.len());
        let mut encoded = Self { copied: buffer, chunks: Vec::new(), end: offset, steps };
        for (at, record) in records.iter().enumerate() {
            encoded.push(record, stamp, batch, at + 1 == records.len());
        }
        encoded
    }

    fn push(&mut self, record: &Record<'a>, stamp: Stamp, batch: u32, last: bool) {
        let mut fixed = [0; MAX_FIXED_BYTES];
        let fixed = {
            let length = record.fixed(&mut fixed);
            &fixed[..length]
        };
        let data = record.data();
        let length = fixed.len() + data.len();
        let padding = &[0; 8][..frame_size(length) - FRAME_HEADER_BYTES - length];
        let wire_length = u32::try_from(length).expect("batch_bytes bounds the batch, so also its frames");
        let header = FrameHeader::new(stamp, batch, last, &record.kind(), wire_length);
        self.steps.push(self.step(record));
        self.copy(&header.encode(&[fixed, data, padding]));
        self.copy(fixed);
        if data.len() < IN_PLACE_MIN_BYTES {
            self.copy(data);
        } else {
            self.chunks.push(Chunk::InPlace(data));
        }
        self.copy(padding);
        self.end += frame_size(length) as u64;
    }

    fn step(&self, record: &Record<'_>) -> Step {
        match record {
            Record::Truncate(position) => Step::Truncate(*position),
            Record::Mark(position) => Step::Mark(*position),
            Record::HardState(hard_state) => Step::HardState(*hard_state),
            Record::Entry(entry) => Step::Entry {
                position: LogPosition { index: entry.index, term: entry.term },
                slot: Slot::new(self.end, entry.data.len()).expect("batches and segments are at most 4 GiB long"),
            },
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        let from = self.copied.len();
        self.copied.extend_from_slice(bytes);
        let to = self.copied.len();
        match self.chunks.last_mut() {
            Some(Chunk::Copied(range)) => range.end = to,
            _ => self.chunks.push(Chunk::Copied(from..to)),
        }
    }

    /// The bytes in order, as few pieces as possible.
    pub(crate) fn buffers(&self) -> Vec<IoSlice<'_>> {
        self.chunks
            .iter()
            .map(|chunk| {
                IoSlice::new(match chunk {
                    Chunk::Copied(range) => &self.copied[range.clone()],
                    Chunk::InPlace(data) => data,
                })
            })
            .collect()
    }

    /// The memory, to be used for the next batch.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.copied
    }
}
