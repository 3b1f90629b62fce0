//! What the state machine asks of a storage engine, and engines that need no C++.
//!
//! Contract: four ordered columns of byte strings; a [`Batch`] becomes visible in one step over all columns, and after a
//! crash the engine holds the effect of a *prefix* of the batches in the order in which they were written, whole batches
//! only. Nothing is durable before [`Engine::flush`] or an earlier flush of the engine's own: what was lost is replayed
//! from the Raft log, and [`Engine::persisted`] tells from where.
//!
//! Left out: revisions, keys and what they mean (`cairn-state`), and RocksDB (`cairn-rocks`).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

mod checkpoint;
pub mod conformance;
mod error;
mod faulty;
mod map;
mod memory;
pub mod snapshot_file;

pub use error::EngineError;
pub use faulty::{Fault, FaultyEngine, Operation};
pub use memory::MemoryEngine;

/// A keyspace of its own, ordered bytewise. The meaning of each is `cairn-state::schema`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// The live version of each user key.
    Cur,
    /// Every change in the order of its revision.
    Rev,
    /// The superseded versions of each user key, newest first.
    Hist,
    /// Small fixed keys: applied index, leases, members, alarms, marks.
    Meta,
}

impl Column {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cur, Self::Rev, Self::Hist, Self::Meta];

    /// The name on disk, which is never changed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cur => "cur",
            Self::Rev => "rev",
            Self::Hist => "hist",
            Self::Meta => "meta",
        }
    }
}

/// One change of one key; a `value` of `None` deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub column: Column,
    /// Which key.
    pub key: Bytes,
    /// Its new value, or `None`.
    pub value: Option<Bytes>,
}

/// Changes that become visible, and survive a crash, together or not at all. Of two changes of one key the later wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    writes: Vec<Write>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, column: Column, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.writes.push(Write { column, key: key.into(), value: Some(value.into()) });
    }

    /// Removes `key`, which may be absent.
    pub fn delete(&mut self, column: Column, key: impl Into<Bytes>) {
        self.writes.push(Write { column, key: key.into(), value: None });
    }

    /// The changes in the order in which they were added.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// How many changes were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len()
    }
}

/// What the engine occupies, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineSize {
    /// All files and what is still in memory; 0 only where nothing was ever written.
    pub total: u64,
    /// The part of `total` that live data needs, estimated; never above `total`.
    pub in_use: u64,
}

/// A store of ordered byte strings. All methods may be called from any thread; writes come from one at a time per key.
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// A consistent picture of all columns as of now, which later writes do not change. Cheap (no data is copied), but
    /// while it is held the space of what was deleted since cannot come back.
    ///
    /// # Errors
    /// Where the engine has failed.
    fn view(&self) -> Result<Arc<dyn View>, EngineError>;

    /// Makes the batch visible in one step. Not durable when this returns.
    ///
    /// # Errors
    /// Where the engine has failed; then nothing of the batch is visible and the node must stop.
    fn write(&self, batch: &Batch) -> Result<(), EngineError>;

    /// The value of `key` that a crash right now would leave behind.
    ///
    /// # Errors
    /// Where the engine has failed.
    fn persisted(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Makes everything written before this call durable; returns when it is.
    ///
    /// # Errors
    /// Where the disk has failed; what is durable is then unknown and the node must stop.
    fn flush(&self) -> Result<(), EngineError>;

    /// Gives the space of deleted keys in `start..end` of one column back to the disk. Slow and throttled; runs on the
    /// caller's thread and blocks no other call.
    ///
    /// # Errors
    /// Where the engine has failed.
    fn reclaim(&self, column: Column, start: &[u8], end: &[u8]) -> Result<(), EngineError>;

    /// Writes a copy of the engine as of now, durable on return, into the folder `target`, which must not exist yet and
    /// should be on the same file system (files are then shared, not copied).
    ///
    /// # Errors
    /// Where `target` exists or cannot be written.
    fn checkpoint(&self, target: &Path) -> Result<(), EngineError>;

    /// What it occupies now.
    ///
    /// # Errors
    /// Where the engine has failed.
    fn size(&self) -> Result<EngineSize, EngineError>;
}

impl<E: Engine + ?Sized> Engine for Arc<E> {
    fn view(&self) -> Result<Arc<dyn View>, EngineError> {
        (**self).view()
    }

    fn write(&self, batch: &Batch) -> Result<(), EngineError> {
        (**self).write(batch)
    }

    fn persisted(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        (**self).persisted(column, key)
    }

    fn flush(&self) -> Result<(), EngineError> {
        (**self).flush()
    }

    fn reclaim(&self, column: Column, start: &[u8], end: &[u8]) -> Result<(), EngineError> {
        (**self).reclaim(column, start, end)
    }

    fn checkpoint(&self, target: &Path) -> Result<(), EngineError> {
        (**self).checkpoint(target)
    }

    fn size(&self) -> Result<EngineSize, EngineError> {
        (**self).size()
    }
}

/// A consistent picture of an engine.
pub trait View: Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    /// Where the engine has failed or the data is damaged.
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// The value of `key` as [`get`](Self::get) has it, but never from the disk, so that a thread which must not wait can
    /// ask.
    ///
    /// # Errors
    /// [`EngineError::NotInMemory`] where only the disk could tell; as [`get`](Self::get).
    fn get_from_memory(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.get(column, key)
    }

    /// The entries of `column` from `start` on (inclusive) up to `end` (exclusive; `None`: to the last), ascending. The
    /// cursor stands before the first of them.
    ///
    /// # Errors
    /// Where the engine has failed.
    fn scan<'a>(
        &'a self,
        column: Column,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, EngineError>;
}

/// A position in a scan.
pub trait Cursor {
    /// Moves to the next entry; false once there is none (and then on).
    ///
    /// # Errors
    /// Where the engine has failed or the data is damaged.
    fn advance(&mut self) -> Result<bool, EngineError>;

    /// Moves to the first entry at or after `key` (which must not lie before the position; within the scan's end).
    /// False if there is none. No [`advance`](Self::advance) is needed to read it.
    ///
    /// # Errors
    /// Where the engine has failed or the data is damaged.
    fn seek(&mut self, key: &[u8]) -> Result<bool, EngineError>;

    /// The key at the position; empty where the last move answered false.
    fn key(&self) -> &[u8];

    /// The value at the position; empty where the last move answered false.
    fn value(&self) -> &[u8];
}
