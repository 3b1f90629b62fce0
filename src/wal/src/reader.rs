//! Reading entries back while the log is being written.
//!
//! Contract: only durable entries are seen. A reader holds no lock while it reads a file; if the segment was released and
//! overwritten meanwhile, the stamps in its frames tell, and the place is looked up again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use cairn_types::{Entry, LogIndex, Term};

use crate::format::{ENTRY_PREFIX_BYTES, FRAME_HEADER_BYTES, Frame, Record, Stamp};
use crate::index::{Index, Slot};
use crate::recovery::segment_path;
use crate::{LogPosition, WalError};

/// Bytes between two wanted frames that are rather read along than skipped with a second read.
const MAX_READ_GAP_BYTES: u64 = 16 << 10;

/// A view of the log for other threads; clones share it.
#[derive(Clone)]
pub struct WalReader {
    dir: Arc<PathBuf>,
    index: Arc<RwLock<Index>>,
}

/// Where one wanted entry lies.
#[derive(Clone)]
struct Place {
    epoch: u64,
    stamp: Stamp,
    file: Arc<File>,
    slot: Slot,
}

/// What is read with one call: places of one segment, in order and close together.
struct Run<'a> {
    places: &'a [Place],
    first: LogIndex,
}

impl WalReader {
    pub(crate) fn new(dir: &Path, index: Arc<RwLock<Index>>) -> Self {
        Self { dir: Arc::new(dir.to_owned()), index }
    }

    /// The position just before the first stored entry.
    #[must_use]
    pub fn start(&self) -> LogPosition {
        self.lock().start()
    }

    /// The index of the first stored entry; beyond [`Self::last_index`] if there is none.
    #[must_use]
    pub fn first_index(&self) -> LogIndex {
        self.lock().start().index.next()
    }

    /// The last durable entry, or [`Self::start`] if there is none.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        self.lock().last()
    }

    /// The index of the last durable entry.
    #[must_use]
    pub fn last_index(&self) -> LogIndex {
        self.lock().last().index
    }

    /// Segments in use.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.lock().segment_count()
    }

    /// The term of the entry at `index`, or of [`Self::start`] there. Answers from memory.
    ///
    /// # Errors
    /// [`WalError::Released`] below `start`, [`WalError::Unavailable`] beyond the end.
    pub fn term(&self, index: LogIndex) -> Result<Term, WalError> {
        let log = self.lock();
        log.term(index).ok_or_else(|| outside(&log, index))
    }

    /// The entries in `low..high`, in order: as many as fit into `max_bytes` as they are stored, and at least one. Their
    /// data share one buffer, which lives as long as any of them.
    ///
    /// # Errors
    /// [`WalError::Released`] and [`WalError::Unavailable`] if not all of `low..high` is stored; [`WalError::Damaged`] if
    /// the disk returns other bytes than were written.
    pub fn entries(&self, low: LogIndex, high: LogIndex, max_bytes: usize) -> Result<Vec<Entry>, WalError> {
        let mut places = self.places(low, high, max_bytes)?;
        loop {
            let damage = match self.read(low, &places) {
                Err(WalError::Damaged { file, offset, reason }) => WalError::Damaged { file, offset, reason },
                other => return other,
            };
            let now = self.places(low, high, max_bytes)?;
            if same_places(&places, &now) {
                return Err(damage);
            }
            places = now;
        }
    }

    fn lock(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self, low: LogIndex, high: LogIndex, max_bytes: usize) -> Result<Vec<Place>, WalError> {
        let log = self.lock();
        let (mut places, mut bytes) = (Vec::new(), 0_usize);
        if low >= high {
            return Ok(places);
        }
        if log.find(low).is_none() || log.last().index.next() < high {
            return Err(outside(&log, if log.find(low).is_none() { low } else { LogIndex(high.0 - 1) }));
        }
        for index in low.0..high.0 {
            let (segment, slot) = log.find(LogIndex(index)).ok_or_else(|| outside(&log, LogIndex(index)))?;
            bytes = bytes.saturating_add(slot.frame_bytes());
            if bytes > max_bytes && !places.is_empty() {
                break;
            }
            places.push(Place { epoch: segment.epoch, stamp: segment.stamp, file: Arc::clone(&segment.file), slot });
        }
        Ok(places)
    }

    fn read(&self, low: LogIndex, places: &[Place]) -> Result<Vec<Entry>, WalError> {
        let mut entries = Vec::with_capacity(places.len());
        let mut first = low;
        for places in places.chunk_by(|a, b| a.epoch == b.epoch && is_close(a.slot, b.slot)) {
            self.read_run(&Run { places, first }, &mut entries)?;
            first = LogIndex(low.0 + entries.len() as u64);
        }
        Ok(entries)
    }

    fn read_run(&self, run: &Run<'_>, entries: &mut Vec<Entry>) -> Result<(), WalError> {
        let (Some(head), Some(tail)) = (run.places.first(), run.places.last()) else { return Ok(()) };
        let from = head.slot.offset();
        let damaged = |offset: u64, reason: &str| WalError::Damaged {
            file: segment_path(&self.dir, head.epoch),
            offset,
            reason: reason.to_owned(),
        };
        let within = |slot: Slot| usize::try_from(slot.offset() - from).map_err(|_| damaged(from, "it is too large"));
        let mut buffer = vec![0; within(tail.slot)? + tail.slot.frame_bytes()];
        match head.file.read_exact_at(&mut buffer, from) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(damaged(from, "the file is shorter than it was"));
            }
            other => other.map_err(WalError::io("read", &segment_path(&self.dir, head.epoch)))?,
        }
        let buffer = Bytes::from(buffer);
        for (place, index) in run.places.iter().zip(run.first.0..) {
            let entry = entry_at(&buffer, within(place.slot)?, place.stamp, LogIndex(index));
            entries.push(entry.map_err(|reason| damaged(place.slot.offset(), reason))?);
        }
        Ok(())
    }
}

fn outside(log: &Index, index: LogIndex) -> WalError {
    if index <= log.start().index {
        WalError::Released { index, first: log.start().index.next() }
    } else {
        WalError::Unavailable { index, last: log.last().index }
    }
}

fn is_close(a: Slot, b: Slot) -> bool {
    let end = a.offset() + a.frame_bytes() as u64;
    b.offset().checked_sub(end).is_some_and(|gap| gap <= MAX_READ_GAP_BYTES)
}

fn same_places(before: &[Place], now: &[Place]) -> bool {
    before.len() == now.len() && before.iter().zip(now).all(|(a, b)| a.epoch == b.epoch && a.slot == b.slot)
}

fn entry_at(buffer: &Bytes, at: usize, stamp: Stamp, wanted: LogIndex) -> Result<Entry, &'static str> {
    let frame = buffer.get(at..).and_then(|bytes| Frame::read(bytes, stamp));
    let frame = frame.ok_or("the checksum of a frame no longer matches")?;
    match frame.record()? {
        Record::Entry { position, kind, data_length } if position.index == wanted => {
            let data = at + FRAME_HEADER_BYTES + ENTRY_PREFIX_BYTES;
            let data = buffer.slice(data..data + data_length);
            Ok(Entry { index: position.index, term: position.term, kind, data })
        }
        _ => Err("another entry is stored here"),
    }
}
