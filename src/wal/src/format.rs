//! The bytes of a segment: its header and its frames, as `docs/format/wal.md` describes them.
//!
//! Contract: all integers are little-endian; nothing here touches a file; bytes from disk lead to `None` or a reason,
//! never to a panic.

use cairn_types::{ClusterId, EntryKind, HardState, LogIndex, MemberId, Term};

use crate::{Identity, LogPosition};

/// The header has a block of its own, so that writing the first frame cannot tear it.
pub(crate) const HEADER_BYTES: usize = 4096;
/// Bytes before the payload of a frame.
pub(crate) const FRAME_HEADER_BYTES: usize = 24;
/// Bytes of an entry's payload before its data: index and term.
pub(crate) const ENTRY_PREFIX_BYTES: usize = 16;
/// Frames begin at multiples of this.
pub(crate) const FRAME_ALIGN: usize = 8;
/// Most bytes of one batch, and of the `segment_bytes` option: well below what 32-bit offsets in units of 8 reach.
pub(crate) const MAX_BATCH_BYTES: u64 = u32::MAX as u64;
/// The version of everything here.
pub(crate) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"CAIRNWAL";
/// Indices from here on are taken for damage, which keeps arithmetic on them from overflowing.
const INDEX_LIMIT: u64 = 1 << 62;
const FLAG_LAST: u8 = 1;
const TYPE_ENTRY: u8 = 1;
const TYPE_HARD_STATE: u8 = 2;
const TYPE_TRUNCATE: u8 = 3;
const TYPE_MARK: u8 = 4;

/// What every frame of one use of a segment carries: the epoch makes it differ from all earlier uses, the random salt
/// makes it unguessable for clients, whose data lies between the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    pub(crate) const fn new(epoch: u64, salt: u32) -> Self {
        Self((epoch << 32) | salt as u64)
    }
}

/// The first block of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Counts the uses of segments in this log from 1; also the name of the file.
    pub(crate) epoch: u64,
    pub(crate) salt: u32,
    pub(crate) identity: Identity,
    /// Where the frames of the segment before this one end; 0 in the first segment of a log.
    pub(crate) previous_end: u64,
    /// The last entry of the log when this segment was begun.
    pub(crate) position: LogPosition,
    /// The hard state when this segment was begun.
    pub(crate) hard_state: HardState,
}

/// Why a block is not a usable header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    Damaged(&'static str),
    Version(u32),
}

impl SegmentHeader {
    pub(crate) const fn stamp(&self) -> Stamp {
        Stamp::new(self.epoch, self.salt)
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut block = [0; HEADER_BYTES];
        block[0..8].copy_from_slice(&MAGIC);
        block[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let words = [
            self.epoch,
            self.identity.cluster.0,
            self.identity.member.0,
            self.previous_end,
            self.position.index.0,
            self.position.term.0,
            self.hard_state.term.0,
            self.hard_state.vote,
            self.hard_state.commit.0,
        ];
        put_words(&mut block[16..88], &words);
        block[88..92].copy_from_slice(&self.salt.to_le_bytes());
        let crc = header_crc(&block);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        block
    }

    pub(crate) fn decode(block: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        if block[0..8] != MAGIC {
            return Err(HeaderError::Damaged("this is not the header of a log segment"));
        }
        if u32_at(block, 12) != header_crc(block) {
            return Err(HeaderError::Damaged("the checksum of the segment header does not match"));
        }
        let version = u32_at(block, 8);
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let word = |at| u64_at(block, at);
        Ok(Self {
            epoch: word(16),
            identity: Identity { cluster: ClusterId(word(24)), member: MemberId(word(32)) },
            previous_end: word(40),
            position: position(word(48), word(56)).map_err(HeaderError::Damaged)?,
            hard_state: HardState { term: Term(word(64)), vote: word(72), commit: LogIndex(word(80)) },
            salt: u32_at(block, 88),
        })
    }
}

fn header_crc(block: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&block[..12]), &block[16..])
}

/// The fixed part of a frame that is about to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHeader {
    pub(crate) stamp: Stamp,
    /// Counts the batches of a segment from 0.
    pub(crate) batch: u32,
    /// Whether it ends its batch.
    pub(crate) last: bool,
    /// Length of the payload, padding not counted.
    pub(crate) length: u32,
    frame_type: u8,
    entry_kind: u8,
}

impl FrameHeader {
    pub(crate) fn new(stamp: Stamp, batch: u32, last: bool, record: &RecordKind, length: u32) -> Self {
        let (frame_type, entry_kind) = match record {
            RecordKind::Entry(kind) => (TYPE_ENTRY, kind_to_byte(*kind)),
            RecordKind::HardState => (TYPE_HARD_STATE, 0),
            RecordKind::Truncate => (TYPE_TRUNCATE, 0),
            RecordKind::Mark => (TYPE_MARK, 0),
        };
        Self { stamp, batch, last, length, frame_type, entry_kind }
    }

    /// The bytes before the payload; `rest` is the payload with its padding, in pieces.
    pub(crate) fn encode(&self, rest: &[&[u8]]) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.stamp.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.batch.to_le_bytes());
        bytes[20] = self.frame_type;
        bytes[21] = self.entry_kind;
        bytes[22] = if self.last { FLAG_LAST } else { 0 };
        let crc = rest.iter().fold(frame_header_crc(&bytes), |crc, piece| crc32c::crc32c_append(crc, piece));
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

fn frame_header_crc(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..4]), &header[8..FRAME_HEADER_BYTES])
}

/// The type of a frame, and for an entry its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Entry(EntryKind),
    HardState,
    Truncate,
    Mark,
}

/// A frame with the right stamp and checksum.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) batch: u32,
    pub(crate) last: bool,
    /// Bytes from the beginning of this frame to that of the next.
    pub(crate) size: usize,
    frame_type: u8,
    entry_kind: u8,
    payload: &'a [u8],
}

/// What a frame says; the data of an entry lies behind its prefix and is not part of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Entry { position: LogPosition, kind: EntryKind, data_length: usize },
    HardState(HardState),
    Truncate(LogPosition),
    Mark(LogPosition),
}

impl<'a> Frame<'a> {
    /// The frame at the beginning of `bytes`, which go on to the end of the segment; `None` if there is no intact one.
    pub(crate) fn read(bytes: &'a [u8], stamp: Stamp) -> Option<Self> {
        let header = bytes.get(..FRAME_HEADER_BYTES)?;
        if u64_at(header, 8) != stamp.0 {
            return None;
        }
        let length = usize::try_from(u32_at(header, 0)).ok()?;
        let size = frame_size(length);
        let body = bytes.get(FRAME_HEADER_BYTES..size)?;
        if crc32c::crc32c_append(frame_header_crc(header), body) != u32_at(header, 4) {
            return None;
        }
        Some(Self {
            batch: u32_at(header, 16),
            last: header[22] & FLAG_LAST != 0,
            size,
            frame_type: header[20],
            entry_kind: header[21],
            payload: &body[..length],
        })
    }

    /// Whether bytes with this stamp stand where a frame at the beginning of `bytes` would have them.
    pub(crate) fn is_stamped(bytes: &[u8], stamp: Stamp) -> bool {
        bytes.get(8..16).is_some_and(|field| field == stamp.0.to_le_bytes())
    }

    pub(crate) fn record(&self) -> Result<Record, &'static str> {
        let words = |count: usize| {
            if self.payload.len() == count * 8 { Ok(()) } else { Err("a frame has the wrong length for its type") }
        };
        let word = |at| u64_at(self.payload, at);
        match self.frame_type {
            TYPE_ENTRY => {
                let data_length = self.payload.len().checked_sub(ENTRY_PREFIX_BYTES).ok_or("an entry is too short")?;
                let kind = kind_from_byte(self.entry_kind).ok_or("an entry has an unknown kind")?;
                Ok(Record::Entry { position: position(word(0), word(8))?, kind, data_length })
            }
            TYPE_HARD_STATE => words(3)
                .map(|()| HardState { term: Term(word(0)), vote: word(8), commit: LogIndex(word(16)) })
                .map(Record::HardState),
            TYPE_TRUNCATE => words(2).and_then(|()| position(word(0), word(8))).map(Record::Truncate),
            TYPE_MARK => words(2).and_then(|()| position(word(0), word(8))).map(Record::Mark),
            _ => Err("a frame has an unknown type"),
        }
    }
}

/// Bytes of a frame with a payload of `length`, padding included.
pub(crate) const fn frame_size(length: usize) -> usize {
    (FRAME_HEADER_BYTES + length).next_multiple_of(FRAME_ALIGN)
}

fn kind_to_byte(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Normal => 0,
        EntryKind::ConfChange => 1,
        EntryKind::ConfChangeV2 => 2,
    }
}

fn kind_from_byte(byte: u8) -> Option<EntryKind> {
    match byte {
        0 => Some(EntryKind::Normal),
        1 => Some(EntryKind::ConfChange),
        2 => Some(EntryKind::ConfChangeV2),
        _ => None,
    }
}

fn position(index: u64, term: u64) -> Result<LogPosition, &'static str> {
    if index >= INDEX_LIMIT {
        return Err("an index is out of range");
    }
    Ok(LogPosition { index: LogIndex(index), term: Term(term) })
}

/// Writes `words` over the whole of `target`.
pub(crate) fn put_words(target: &mut [u8], words: &[u64]) {
    for (slot, word) in target.chunks_exact_mut(8).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}
