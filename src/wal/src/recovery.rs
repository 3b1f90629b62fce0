//! Opening a log that exists: reads its segments, tells a torn tail from damage, and repairs the one and refuses the other.
//!
//! Contract: every byte between the header of the first segment and the end of the last batch is checked. Memory is one
//! segment at a time. Nothing is changed on disk before all of it was found good. The rules are those of
//! `docs/format/wal.md`, "Recovery".

use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::format::{
    FRAME_ALIGN, FRAME_HEADER_BYTES, Frame, HEADER_BYTES, HeaderError, Record, SegmentHeader, VERSION,
};
use crate::index::{Index, Segment, Slot, Step};
use crate::io::{Io, write_all_at, zero_fill};
use crate::{Identity, WalError};

/// The file of the segment with this epoch; names sort by age.
pub(crate) fn segment_path(dir: &Path, epoch: u64) -> PathBuf {
    dir.join(format!("{epoch:016x}.wal"))
}

/// The files of a log directory, each kind in the order of its numbers.
#[derive(Default)]
pub(crate) struct Listing {
    pub(crate) segments: Vec<(u64, PathBuf)>,
    pub(crate) spares: Vec<(u64, PathBuf)>,
    /// Spares that were not finished.
    pub(crate) unfinished: Vec<PathBuf>,
}

impl Listing {
    /// Files with other names are left alone.
    pub(crate) fn read(dir: &Path) -> Result<Self, WalError> {
        let mut listing = Self::default();
        for file in fs::read_dir(dir).map_err(WalError::io("list", dir))? {
            let path = file.map_err(WalError::io("list", dir))?.path();
            let Some((number, extension)) = parse_name(&path) else { continue };
            match extension.as_str() {
                "wal" => listing.segments.push((number, path)),
                "spare" => listing.spares.push((number, path)),
                "tmp" => listing.unfinished.push(path),
                _ => {}
            }
        }
        listing.segments.sort();
        listing.spares.sort();
        Ok(listing)
    }
}

fn parse_name(path: &Path) -> Option<(u64, String)> {
    let stem = path.file_stem()?.to_str()?;
    let extension = path.extension()?.to_str()?.to_owned();
    let number = u64::from_str_radix(stem, 16).ok()?;
    // Numbers that counting never reaches would overflow the next one.
    (number < u64::MAX / 2 && format!("{number:016x}") == stem).then_some((number, extension))
}

/// Where the log goes on.
pub(crate) struct Tail {
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) bytes: u64,
    /// The end of the last whole batch.
    pub(crate) end: u64,
    pub(crate) next_batch: u32,
}

pub(crate) struct Recovery {
    pub(crate) index: Index,
    pub(crate) tail: Tail,
    pub(crate) repaired_bytes: u64,
}

/// Reads and repairs the log made of `segments`, of which there is at least one.
pub(crate) fn recover(
    dir: &Path,
    segments: &[(u64, PathBuf)],
    identity: Identity,
    segment_bytes: u64,
    io: &dyn Io,
) -> Result<Recovery, WalError> {
    let opened = open_segments(dir, segments, identity)?;
    let first = opened.first().ok_or_else(|| WalError::MissingSegment { file: segment_path(dir, 1) })?;
    let mut index = Index::new(first.header.position, first.header.hard_state);
    let mut buffer = Vec::new();
    let mut last = None;
    for (at, segment) in opened.iter().enumerate() {
        let next = opened.get(at + 1).map(|next| &next.header);
        match next {
            Some(next) => segment.load(&mut buffer, next.previous_end)?,
            None => segment.load_last(&mut buffer, segment_bytes)?,
        }
        let replay = segment.replay(&buffer, &mut index)?;
        match next {
            Some(next) => segment.check_complete(&replay, next, &index)?,
            None => last = Some((segment, segment.check_tail(&buffer, replay)?)),
        }
    }
    let (segment, torn) = last.ok_or_else(|| WalError::MissingSegment { file: segment_path(dir, 1) })?;
    segment.repair(&buffer, &torn, segment_bytes, io)?;
    let tail = Tail {
        file: Arc::clone(&segment.file),
        path: segment.path.clone(),
        header: segment.header,
        bytes: segment.bytes.max(segment_bytes),
        end: torn.replay.end as u64,
        next_batch: torn.replay.next_batch,
    };
    Ok(Recovery { index, tail, repaired_bytes: torn.region.len() as u64 })
}

fn open_segments(dir: &Path, segments: &[(u64, PathBuf)], identity: Identity) -> Result<Vec<OpenSegment>, WalError> {
    let mut opened: Vec<OpenSegment> = Vec::with_capacity(segments.len());
    for (epoch, path) in segments {
        if let Some(before) = opened.last()
            && before.header.epoch + 1 != *epoch
        {
            return Err(WalError::MissingSegment { file: segment_path(dir, before.header.epoch + 1) });
        }
        opened.push(OpenSegment::open(*epoch, path, identity)?);
    }
    Ok(opened)
}

struct OpenSegment {
    file: Arc<File>,
    path: PathBuf,
    header: SegmentHeader,
    bytes: u64,
}

/// How far the frames of a segment are good.
struct Replay {
    /// Where the last whole batch begins, and ends.
    last_batch: usize,
    end: usize,
    /// The number of the batch that would follow.
    next_batch: u32,
    /// Where the first frame is that is not good; at or behind `end`.
    stopped: usize,
}

/// The end of the last segment.
struct TornTail {
    replay: Replay,
    /// What holds remains of a batch that was never whole; begins at the end of the last whole one.
    region: Range<usize>,
}

impl OpenSegment {
    fn open(epoch: u64, path: &Path, identity: Identity) -> Result<Self, WalError> {
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(WalError::io("open", path))?;
        let bytes = file.metadata().map_err(WalError::io("look at", path))?.len();
        let damaged = |reason: &str| damaged(path, 0, reason.to_owned());
        if bytes < HEADER_BYTES as u64 {
            return Err(damaged("it is shorter than its header"));
        }
        let mut block = [0; HEADER_BYTES];
        file.read_exact(&mut block).map_err(WalError::io("read", path))?;
        let header = SegmentHeader::decode(&block).map_err(|error| match error {
            HeaderError::Damaged(reason) => damaged(reason),
            HeaderError::Version(found) => WalError::Version { file: path.to_owned(), found, supported: VERSION },
        })?;
        if header.identity != identity {
            let file = path.to_owned();
            return Err(WalError::Identity { file, found: header.identity, expected: identity });
        }
        if header.epoch != epoch {
            return Err(damaged("the epoch in its header is not that of its name"));
        }
        Ok(Self { file: Arc::new(file), path: path.to_owned(), header, bytes })
    }

    /// Reads all of the segment; what it lacks of `segment_bytes` is taken for the zeros that the repair will write.
    fn load_last(&self, buffer: &mut Vec<u8>, segment_bytes: u64) -> Result<(), WalError> {
        self.load(buffer, self.bytes)?;
        let length =
            usize::try_from(segment_bytes).map_err(|_| damaged(&self.path, 0, "it is too large".to_owned()))?;
        buffer.resize(length.max(buffer.len()), 0);
        Ok(())
    }

    /// Reads the segment up to `end`.
    fn load(&self, buffer: &mut Vec<u8>, end: u64) -> Result<(), WalError> {
        if end > self.bytes || end < HEADER_BYTES as u64 {
            let reason = format!("the next segment says that it ends at {end}, and it has {} bytes", self.bytes);
            return Err(damaged(&self.path, self.bytes, reason));
        }
        let length = usize::try_from(end).map_err(|_| damaged(&self.path, 0, "it is too large".to_owned()))?;
        buffer.clear();
        buffer.resize(length, 0);
        self.file.read_exact_at(buffer, 0).map_err(WalError::io("read", &self.path))
    }

    /// Applies all whole batches from the beginning of the segment.
    fn replay(&self, buffer: &[u8], index: &mut Index) -> Result<Replay, WalError> {
        let stamp = self.header.stamp();
        index.push_segment(Segment::new(self.header.epoch, stamp, Arc::clone(&self.file), self.bytes));
        let mut replay = Replay { last_batch: HEADER_BYTES, end: HEADER_BYTES, next_batch: 0, stopped: HEADER_BYTES };
        let mut pending = Vec::new();
        while let Some(frame) = Frame::read(&buffer[replay.stopped..], stamp).filter(|f| f.batch == replay.next_batch) {
            let record = frame.record().map_err(str::to_owned);
            pending.push(
                record
                    .and_then(|record| step(record, replay.stopped))
                    .map_err(|reason| damaged(&self.path, replay.stopped as u64, reason))?,
            );
            replay.stopped += frame.size;
            if frame.last {
                for step in pending.drain(..) {
                    index.apply(step).map_err(|reason| damaged(&self.path, replay.end as u64, reason))?;
                }
                replay =
                    Replay { last_batch: replay.end, end: replay.stopped, next_batch: replay.next_batch + 1, ..replay };
            }
        }
        Ok(replay)
    }

    /// Holds a segment that is not the last to what the next one says about it.
    fn check_complete(&self, replay: &Replay, next: &SegmentHeader, index: &Index) -> Result<(), WalError> {
        if replay.end as u64 != next.previous_end {
            let reason =
                format!("a frame is not intact, and the next segment says that batches go on to {}", next.previous_end);
            return Err(damaged(&self.path, replay.stopped as u64, reason));
        }
        if next.position != index.last() || next.hard_state != index.hard_state() {
            let reason = "the next segment begins with another log position or hard state than this one ends with";
            return Err(damaged(&self.path, replay.end as u64, reason.to_owned()));
        }
        Ok(())
    }

    /// Finds out whether what follows the good frames of the last segment is a torn batch or damage.
    fn check_tail(&self, buffer: &[u8], replay: Replay) -> Result<TornTail, WalError> {
        let stamp = self.header.stamp();
        let mut torn_end = replay.end;
        for at in (replay.end..buffer.len()).step_by(FRAME_ALIGN) {
            let bytes = &buffer[at..];
            if !Frame::is_stamped(bytes, stamp) {
                continue;
            }
            // A batch is only begun when the one before it is durable, so a later one proves that this one was.
            if let Some(frame) = Frame::read(bytes, stamp)
                && frame.batch > replay.next_batch
            {
                let reason = format!("a frame is not intact, and a later batch at byte {at} is");
                return Err(damaged(&self.path, replay.stopped as u64, reason));
            }
            torn_end = buffer.len().min(at + FRAME_HEADER_BYTES);
        }
        Ok(TornTail { region: replay.end..torn_end, replay })
    }

    /// Makes the end of the last segment fit to go on behind it.
    fn repair(&self, buffer: &[u8], torn: &TornTail, segment_bytes: u64, io: &dyn Io) -> Result<(), WalError> {
        let never = AtomicBool::new(false);
        let fix = || {
            // A process that died, or whose fdatasync failed, may have left the last batch in the page cache only.
            let last_batch = torn.replay.last_batch..torn.replay.end;
            let offset = last_batch.start as u64;
            write_all_at(io, &self.file, &mut [IoSlice::new(&buffer[last_batch])], offset)?;
            zero_fill(io, &self.file, torn.region.start as u64..torn.region.end as u64, &never)?;
            zero_fill(io, &self.file, self.bytes..segment_bytes, &never)?;
            io.sync_data(&self.file)
        };
        fix().map_err(WalError::io("repair the end of", &self.path))
    }
}

fn step(record: Record, offset: usize) -> Result<Step, String> {
    Ok(match record {
        Record::Entry { position, data_length, .. } => {
            let slot = Slot::new(offset as u64, data_length).ok_or("it lies beyond the largest possible segment")?;
            Step::Entry { position, slot }
        }
        Record::HardState(hard_state) => Step::HardState(hard_state),
        Record::Truncate(position) => Step::Truncate(position),
        Record::Mark(position) => Step::Mark(position),
    })
}

fn damaged(file: &Path, offset: u64, reason: String) -> WalError {
    WalError::Damaged { file: file.to_owned(), offset, reason }
}
