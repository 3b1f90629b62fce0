//! The writer: one batch after the other, each durable before the next is begun.
//!
//! Contract: there is one writer per directory. Because a batch is only written when the one before it is on disk, at most
//! the last batch of the last segment can be torn; recovery depends on that.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cairn_types::limits::MAX_LOG_WRITE_BYTES;
use cairn_types::{Entry, HardState, LogIndex, Term};

use crate::encode::{EncodedBatch, Record, batch_bytes};
use crate::format::{HEADER_BYTES, MAX_BATCH_BYTES, SegmentHeader};
use crate::index::{Index, Segment};
use crate::io::{Io, SystemIo, write_all_at};
use crate::reader::WalReader;
use crate::recovery::{Listing, Tail, recover, segment_path};
use crate::spares::Spares;
use crate::{Identity, LogPosition, Recovered, WalError, WalOptions};

/// Segments are a multiple of this many bytes.
const BLOCK_BYTES: u64 = 4096;

/// The log of one member, opened for writing. Dropping it stops its helper thread.
pub struct Wal {
    dir: PathBuf,
    identity: Identity,
    segment_bytes: u64,
    io: Arc<dyn Io>,
    spares: Spares,
    index: Arc<RwLock<Index>>,
    tail: Tail,
    /// Memory for encoding, kept from batch to batch.
    buffer: Vec<u8>,
    poisoned: bool,
}

impl Wal {
    /// Opens the log in `dir`, or begins one if there is none. A torn last batch is cut off; on return all that was
    /// recovered is durable, even if the process before died between its write and its fdatasync.
    ///
    /// # Errors
    /// [`WalError::Damaged`], [`WalError::MissingSegment`], [`WalError::Version`] and [`WalError::Identity`] leave the
    /// segments as they were; [`WalError::Io`] for all else.
    pub fn open(dir: &Path, options: WalOptions) -> Result<(Self, Recovered), WalError> {
        Self::open_with(dir, options, Arc::new(SystemIo { sync: options.sync }))
    }

    pub(crate) fn open_with(dir: &Path, options: WalOptions, io: Arc<dyn Io>) -> Result<(Self, Recovered), WalError> {
        let segment_bytes = options.segment_bytes.clamp(2 * BLOCK_BYTES, MAX_BATCH_BYTES - BLOCK_BYTES);
        let segment_bytes = segment_bytes.next_multiple_of(BLOCK_BYTES);
        prepare_dir(dir, &*io).map_err(WalError::io("prepare", dir))?;
        let listing = Listing::read(dir)?;
        let created = listing.segments.is_empty();
        let recovery =
            if created { None } else { Some(recover(dir, &listing.segments, options.identity, segment_bytes, &*io)?) };
        // Without a segment the epoch begins anew, and no frame of an earlier log may be left to meet it.
        let (spares, stale) = if created { (Vec::new(), listing.spares) } else { (listing.spares, Vec::new()) };
        for path in stale.iter().map(|(_, path)| path).chain(&listing.unfinished) {
            fs::remove_file(path).map_err(WalError::io("delete", path))?;
        }
        io.sync_dir(dir).map_err(WalError::io("sync", dir))?;
        let spares = Spares::start(dir, segment_bytes, Arc::clone(&io), spares)?;
        let (index, tail, repaired_bytes) = match recovery {
            Some(found) => (found.index, found.tail, found.repaired_bytes),
            None => begin_log(dir, options.identity, &*io, &spares)?,
        };
        let recovered = describe(&index, repaired_bytes, created);
        let (dir, index) = (dir.to_owned(), Arc::new(RwLock::new(index)));
        let (identity, buffer) = (options.identity, Vec::new());
        let wal = Self { dir, identity, segment_bytes, io, spares, index, tail, buffer, poisoned: false };
        Ok((wal, recovered))
    }

    /// Adds `entries`, and after them `hard_state`, as one batch: one write and one fdatasync. If the first entry is not
    /// beyond the end of the log, it and everything behind it is replaced (Raft's truncation of a conflicting suffix).
    /// Durable, and visible to readers, when it returns `Ok`; after a crash all of it is there or nothing. A batch that
    /// does not fit into the segment goes into the next, which is larger than others if it must be.
    ///
    /// # Errors
    /// [`WalError::NotConsecutive`] and [`WalError::TooLarge`] change nothing; after [`WalError::Io`] every further call
    /// gives [`WalError::Poisoned`], and only opening the log again tells whether the batch is there.
    pub fn append(&mut self, entries: &[Entry], hard_state: Option<HardState>) -> Result<(), WalError> {
        let mut records = Vec::with_capacity(entries.len() + 2);
        records.extend(self.truncation(entries)?.map(Record::Truncate));
        records.extend(entries.iter().map(Record::Entry));
        records.extend(hard_state.map(Record::HardState));
        self.write(&records)
    }

    /// Drops all entries; the log goes on behind the entry at `index` with `term`, which a snapshot covers. One batch, as
    /// with [`Self::append`]. Segments that this leaves without entries are recycled.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn reset_to(&mut self, index: LogIndex, term: Term, hard_state: HardState) -> Result<(), WalError> {
        self.write(&[Record::Mark(LogPosition { index, term }), Record::HardState(hard_state)])?;
        self.release_to(index)
    }

    /// Allows to forget the entries up to `index`: the oldest segments that hold no others are recycled, so entries at
    /// and below `index` may remain. The hard state, and the term of the last entry that was forgotten, are kept. The
    /// caller promises that the state machine has everything up to `index` on disk.
    ///
    /// # Errors
    /// [`WalError::Io`] if a file cannot be renamed or deleted; poisons as a failed append does.
    pub fn release_to(&mut self, index: LogIndex) -> Result<(), WalError> {
        self.check_usable()?;
        loop {
            // Readers must not find it any more when its file gets another use.
            let Some(segment) = self.index_mut().pop_released(index) else { return Ok(()) };
            let recycled = self.spares.recycle(&segment_path(&self.dir, segment.epoch), segment.bytes);
            self.poison_on_error(recycled)?;
        }
    }

    /// A view for other threads; it goes on to work while this is written, and after this is gone.
    #[must_use]
    pub fn reader(&self) -> WalReader {
        WalReader::new(&self.dir, Arc::clone(&self.index))
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), WalError> {
        self.check_usable()?;
        if records.is_empty() {
            return Ok(());
        }
        let bytes = batch_bytes(records)?;
        if self.tail.end + bytes > self.tail.bytes {
            let begun = self.begin_segment(bytes);
            self.poison_on_error(begun)?;
        }
        let (stamp, buffer) = (self.tail.header.stamp(), std::mem::take(&mut self.buffer));
        let batch = EncodedBatch::new(records, stamp, self.tail.next_batch, self.tail.end, buffer);
        let written = write_all_at(&*self.io, &self.tail.file, &mut batch.buffers(), self.tail.end)
            .map_err(WalError::io("write", &self.tail.path))
            .and_then(|()| self.io.sync_data(&self.tail.file).map_err(WalError::io("sync", &self.tail.path)));
        self.poison_on_error(written)?;
        self.tail.end += bytes;
        self.tail.next_batch += 1;
        self.publish(&batch);
        self.buffer = batch.into_buffer();
        self.buffer.clear();
        self.buffer.shrink_to(MAX_LOG_WRITE_BYTES);
        Ok(())
    }

    fn publish(&self, batch: &EncodedBatch<'_>) {
        let mut index = self.index_mut();
        for step in &batch.steps {
            index.apply(*step).expect("append checked that the entries continue the log");
        }
    }

    /// Goes on in the next segment, with room for a batch of `bytes`.
    fn begin_segment(&mut self, bytes: u64) -> Result<(), WalError> {
        let header = {
            let index = self.index();
            SegmentHeader {
                epoch: self.tail.header.epoch + 1,
                salt: self.io.salt(),
                identity: self.identity,
                previous_end: self.tail.end,
                position: index.last(),
                hard_state: index.hard_state(),
            }
        };
        let needed = (HEADER_BYTES as u64 + bytes).next_multiple_of(BLOCK_BYTES);
        let (spare, size) = if needed > self.segment_bytes {
            (self.spares.create_oversized(needed)?, needed)
        } else {
            (self.spares.take()?, self.segment_bytes)
        };
        let (tail, segment) = use_segment(&self.dir, header, &spare, size, &*self.io)?;
        self.tail = tail;
        self.index_mut().push_segment(segment);
        Ok(())
    }

    /// Checks that `entries` continue the log, and gives the position behind which they replace others, if they do.
    fn truncation(&self, entries: &[Entry]) -> Result<Option<LogPosition>, WalError> {
        let Some(first) = entries.first() else { return Ok(None) };
        let index = self.index();
        let (low, high) = (index.start().index.next(), index.last().index.next());
        if !(low..=high).contains(&first.index) {
            return Err(WalError::NotConsecutive { got: first.index, low, high });
        }
        if let Some(pair) = entries.windows(2).find(|pair| pair[1].index != pair[0].index.next()) {
            let wanted = pair[0].index.next();
            return Err(WalError::NotConsecutive { got: pair[1].index, low: wanted, high: wanted });
        }
        let before = LogIndex(first.index.0 - 1);
        let term = index.term(before).expect("low <= first <= high, so the entry before is stored or is the start");
        Ok((first.index < high).then_some(LogPosition { index: before, term }))
    }

    fn check_usable(&self) -> Result<(), WalError> {
        if self.poisoned { Err(WalError::Poisoned { dir: self.dir.clone() }) } else { Ok(()) }
    }

    fn poison_on_error(&mut self, result: Result<(), WalError>) -> Result<(), WalError> {
        result.inspect_err(|_| self.poisoned = true)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn describe(index: &Index, repaired_bytes: u64, created: bool) -> Recovered {
    let last = index.last();
    Recovered {
        hard_state: index.hard_state(),
        start: index.start(),
        first_index: index.start().index.next(),
        last_index: last.index,
        last_term: last.term,
        repaired_bytes,
        segments: index.segment_count(),
        created,
    }
}

/// The directory, for its owner only, with a durable name.
fn prepare_dir(dir: &Path, io: &dyn Io) -> io::Result<()> {
    if !dir.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => io.sync_dir(parent)?,
            _ => io.sync_dir(Path::new("."))?,
        }
    }
    if fs::metadata(dir)?.permissions().mode() & 0o777 != 0o700 {
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn begin_log(dir: &Path, identity: Identity, io: &dyn Io, spares: &Spares) -> Result<(Index, Tail, u64), WalError> {
    let (position, hard_state) = (LogPosition::default(), HardState::default());
    let header = SegmentHeader { epoch: 1, salt: io.salt(), identity, previous_end: 0, position, hard_state };
    let spare = spares.take()?;
    let bytes = fs::metadata(&spare).map_err(WalError::io("look at", &spare))?.len();
    let (tail, segment) = use_segment(dir, header, &spare, bytes, io)?;
    let mut index = Index::new(position, hard_state);
    index.push_segment(segment);
    Ok((index, tail, 0))
}

/// Gives `spare` a header, and then, when that is on disk, the name of a segment.
fn use_segment(
    dir: &Path,
    header: SegmentHeader,
    spare: &Path,
    bytes: u64,
    io: &dyn Io,
) -> Result<(Tail, Segment), WalError> {
    let path = segment_path(dir, header.epoch);
    let begin = || -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).open(spare)?;
        write_all_at(io, &file, &mut [IoSlice::new(&header.encode())], 0)?;
        io.sync_data(&file)?;
        fs::rename(spare, &path)?;
        io.sync_dir(dir)?;
        Ok(file)
    };
    let file = Arc::new(begin().map_err(WalError::io("begin", &path))?);
    let segment = Segment::new(header.epoch, header.stamp(), Arc::clone(&file), bytes);
    Ok((Tail { file, path, header, bytes, end: HEADER_BYTES as u64, next_batch: 0 }, segment))
}
