//! The log as the library sees it: recent entries in memory, older ones through [`LogReader`].

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};

use cairn_types::{Entry, LogIndex, MemberId, Term};
use raft::eraftpb;
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::conf::ConfState;
use crate::error::LogReadError;
use crate::message::entry_to_library;

/// Reads entries back from the log on disk, for followers that lag behind what memory holds.
///
/// It is asked only for entries that [`crate::Consensus::persisted`] has reported. The call may touch the disk; it
/// happens while a lagging follower catches up, and never for a single voter.
pub trait LogReader: Send {
    /// The entries in `low..high`, consecutive from `low` on, and fewer once they exceed `max_bytes`, but at least one.
    ///
    /// # Errors
    /// [`LogReadError::Released`] where `low` is no longer held; [`LogReadError::Failed`] on a fault.
    fn entries(&self, low: LogIndex, high: LogIndex, max_bytes: usize) -> Result<Vec<Entry>, LogReadError>;

    /// The term of an entry.
    ///
    /// # Errors
    /// As for [`Self::entries`].
    fn term(&self, index: LogIndex) -> Result<Term, LogReadError>;

    /// The first entry that can still be read; one more than the last where the log holds none.
    fn first_index(&self) -> LogIndex;
}

/// Bytes that an entry takes in memory beside its data.
const ENTRY_OVERHEAD_BYTES: usize = size_of::<eraftpb::Entry>();

/// Invariants: `entries` are consecutive from `base.0 + 1` on; `bytes` is the sum of [`size_of_entry`] over them;
/// everything at and below `base.0` is applied here and persisted.
pub(crate) struct LogCache {
    reader: Box<dyn LogReader>,
    initial: RaftState,
    /// The first entry that the disk can return, as of the last [`Self::refresh`].
    disk_first: u64,
    /// Index and term of the entry before the first cached one.
    base: (u64, u64),
    entries: VecDeque<eraftpb::Entry>,
    bytes: usize,
    offered: Option<eraftpb::Snapshot>,
    wanted: RefCell<BTreeSet<u64>>,
    fault: RefCell<Option<LogReadError>>,
}

impl LogCache {
    pub(crate) fn new(
        reader: Box<dyn LogReader>,
        initial: RaftState,
        base: (LogIndex, Term),
        entries: impl IntoIterator<Item = Entry>,
    ) -> Self {
        let mut cache = Self {
            disk_first: reader.first_index().0.max(1),
            reader,
            initial,
            base: (base.0.0, base.1.0),
            entries: VecDeque::new(),
            bytes: 0,
            offered: None,
            wanted: RefCell::default(),
            fault: RefCell::default(),
        };
        cache.append(entries.into_iter().map(entry_to_library).collect());
        cache
    }

    /// Asks the disk anew where its log starts; that never goes back.
    pub(crate) fn refresh(&mut self) {
        self.disk_first = self.disk_first.max(self.reader.first_index().0);
    }

    /// Adds entries, in place of what is held from the same index on.
    pub(crate) fn append(&mut self, entries: Vec<eraftpb::Entry>) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.base.0, "entry {} would replace one that is applied", first.index);
        while self.last() >= first.index {
            let dropped = self.entries.pop_back().expect("an entry above the base is cached");
            self.bytes -= size_of_entry(&dropped);
        }
        for entry in entries {
            assert!(entry.index == self.last() + 1, "entry {} does not follow entry {}", entry.index, self.last());
            self.bytes += size_of_entry(&entry);
            self.entries.push_back(entry);
        }
    }

    /// Forgets entries up to `upto`, all of which the disk holds and the store has applied.
    pub(crate) fn evict(&mut self, upto: u64) {
        while self.entries.front().is_some_and(|entry| entry.index <= upto) {
            self.pop_front();
        }
    }

    /// Forgets the oldest entries, none beyond `upto`, until at most `max_bytes` are held.
    pub(crate) fn shrink(&mut self, max_bytes: usize, upto: u64) {
        while self.bytes > max_bytes && self.entries.front().is_some_and(|entry| entry.index <= upto) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        let entry = self.entries.pop_front().expect("the caller has seen it");
        self.bytes -= size_of_entry(&entry);
        self.base = (entry.index, entry.term);
    }

    /// The log now starts after a snapshot.
    pub(crate) fn restart_after(&mut self, index: u64, term: u64) {
        self.entries.clear();
        self.bytes = 0;
        self.base = (index, term);
        self.disk_first = index + 1;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A snapshot for members that lag behind the log; replaces an earlier one.
    pub(crate) fn offer(&mut self, snapshot: eraftpb::Snapshot) {
        self.offered = Some(snapshot);
        self.wanted.borrow_mut().clear();
    }

    pub(crate) fn snapshot_wanted(&self) -> BTreeSet<u64> {
        self.wanted.borrow().clone()
    }

    pub(crate) fn take_fault(&mut self) -> Option<LogReadError> {
        self.fault.get_mut().take()
    }

    fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    fn first(&self) -> u64 {
        self.disk_first.min(self.base.0 + 1)
    }

    fn cached(&self, index: u64) -> Option<&eraftpb::Entry> {
        let offset = index.checked_sub(self.base.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    fn note(&self, fault: LogReadError) -> StorageError {
        if matches!(fault, LogReadError::Released(_)) {
            return StorageError::Compacted;
        }
        self.fault.borrow_mut().get_or_insert(fault);
        StorageError::LogTemporarilyUnavailable
    }

    fn read(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<eraftpb::Entry>, LogReadError> {
        let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let entries = self.reader.entries(LogIndex(low), LogIndex(high), max_bytes)?;
        if entries.is_empty() {
            return Err(LogReadError::Mismatch { expected: LogIndex(low), found: LogIndex(0) });
        }
        for (expected, entry) in (low..).zip(&entries) {
            if entry.index.0 != expected || expected >= high {
                return Err(LogReadError::Mismatch { expected: LogIndex(expected), found: entry.index });
            }
        }
        Ok(entries.into_iter().map(entry_to_library).collect())
    }

    fn cached_slice(&self, low: u64, high: u64, max_bytes: u64) -> Vec<eraftpb::Entry> {
        let mut taken = 0_u64;
        (low..high)
            .map_while(|index| self.cached(index))
            .take_while(|entry| {
                let first = taken == 0;
                taken = taken.saturating_add(size_of_entry(entry) as u64);
                first || taken <= max_bytes
            })
            .cloned()
            .collect()
    }
}

fn size_of_entry(entry: &eraftpb::Entry) -> usize {
    entry.data.len() + entry.context.len() + ENTRY_OVERHEAD_BYTES
}

impl Storage for LogCache {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        let max_bytes = max_size.into().unwrap_or(u64::MAX);
        if low > self.base.0 {
            return Ok(self.cached_slice(low, high, max_bytes));
        }
        if low < self.first() {
            return Err(StorageError::Compacted.into());
        }
        // What is not yet applied is always cached, so only messages to followers ask for older entries, and those can
        // be put off; anything else would be a fault of this crate, which the library reports as it panics.
        assert!(
            context.can_async(),
            "entry {low} is needed at once, but only entries after {} are cached",
            self.base.0
        );
        let disk_high = high.min(self.base.0 + 1);
        let mut entries = self.read(low, disk_high, max_bytes).map_err(|fault| self.note(fault))?;
        let read_bytes = entries.iter().map(|entry| size_of_entry(entry) as u64).sum::<u64>();
        if low + entries.len() as u64 == disk_high && read_bytes < max_bytes {
            entries.extend(self.cached_slice(disk_high, high, max_bytes - read_bytes));
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        if index > self.last() {
            return Err(StorageError::Unavailable.into());
        }
        if let Some(entry) = self.cached(index) {
            return Ok(entry.term);
        }
        if index == 0 {
            return Ok(0);
        }
        match self.reader.term(LogIndex(index)) {
            Ok(term) => Ok(term.0),
            // The library knows no other fault here that it survives; `note` has kept the true one for the caller.
            Err(fault) => {
                self.note(fault);
                Err(StorageError::Compacted.into())
            }
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<eraftpb::Snapshot> {
        let oldest = request_index.max(self.first() - 1);
        // Behind an older snapshot the follower would again ask for an entry that is gone, and it would not take one in
        // which it is no member.
        let fits = |metadata: &eraftpb::SnapshotMetadata| {
            metadata.index >= oldest && ConfState::from_library(metadata.get_conf_state()).is_member(MemberId(to))
        };
        match &self.offered {
            Some(offered) if fits(offered.get_metadata()) => Ok(offered.clone()),
            _ => {
                self.wanted.borrow_mut().insert(to);
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}
