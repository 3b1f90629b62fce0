//! A RocksDB snapshot that keeps its database open, and scans of it.

use std::sync::Arc;

use bytes::Bytes;
use cairn_storage::{Column, Cursor, EngineError, View};
use rocksdb::{DB, DBRawIterator, ErrorKind, ReadOptions, ReadTier, Snapshot};

use crate::{Database, error};

/// A snapshot. Making one costs a short lock and a few small allocations; no data is touched.
///
/// The order of the fields is part of the safety argument in [`RocksView::new`]: Rust drops them from first to last.
pub(crate) struct RocksView {
    /// For gets; made once, because each one is an allocation in C++. Points to `snapshot`.
    read: ReadOptions,
    /// The same for gets that may not read the disk.
    read_memory: ReadOptions,
    /// Borrows from `database`.
    snapshot: Snapshot<'static>,
    database: Arc<Database>,
}

impl RocksView {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        let snapshot = database.db.snapshot();
        // SAFETY: the snapshot borrows `database.db`, which lives in the `Arc`'s allocation: it does not move, and it is
        // dropped no sooner than the last `Arc`. This view owns one for as long as it owns the snapshot, and drops it
        // after the snapshot (field order). The field is private and never given away with its false lifetime.
        #[expect(unsafe_code, reason = "Rust has no way to say that one field borrows from another")]
        let snapshot = unsafe { std::mem::transmute::<Snapshot<'_>, Snapshot<'static>>(snapshot) };
        let mut read = ReadOptions::default();
        read.set_snapshot(&snapshot);
        let mut read_memory = ReadOptions::default();
        read_memory.set_snapshot(&snapshot);
        read_memory.set_read_tier(ReadTier::BlockCache);
        Self { read, read_memory, snapshot, database }
    }
}

impl View for RocksView {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let value = self.database.db.get_pinned_cf_opt(self.database.column(column), key, &self.read);
        let value = value.map_err(|e| error::failed("read a key", e))?;
        Ok(value.as_deref().map(Bytes::copy_from_slice))
    }

    fn get_from_memory(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        match self.database.db.get_pinned_cf_opt(self.database.column(column), key, &self.read_memory) {
            Ok(value) => Ok(value.as_deref().map(Bytes::copy_from_slice)),
            Err(e) if e.kind() == ErrorKind::Incomplete => Err(EngineError::NotInMemory),
            Err(e) => Err(error::failed("read a key", e)),
        }
    }

    fn scan<'a>(
        &'a self,
        column: Column,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        if end.is_some_and(|end| end <= start) {
            return Ok(Box::new(Nothing));
        }
        // Read-ahead is left to RocksDB: none for the first blocks, then growing, so that a page of a list costs little
        // and a whole list reads in large pieces.
        let mut options = ReadOptions::default();
        if let Some(end) = end {
            options.set_iterate_upper_bound(end);
        }
        options.set_snapshot(&self.snapshot);
        let entries = self.database.db.raw_iterator_cf_opt(self.database.column(column), options);
        Ok(Box::new(RocksCursor { entries, place: Place::Before(start.into()) }))
    }
}

enum Place {
    /// Before the first entry at or after this key; nothing was read yet, for a scan may begin with a seek.
    Before(Box<[u8]>),
    /// On an entry.
    At,
    /// Past the last one.
    After,
}

struct RocksCursor<'a> {
    entries: DBRawIterator<'a>,
    place: Place,
}

impl RocksCursor<'_> {
    /// Takes note of where RocksDB's iterator went.
    fn settle(&mut self) -> Result<bool, EngineError> {
        if self.entries.valid() {
            self.place = Place::At;
            return Ok(true);
        }
        self.place = Place::After;
        self.entries.status().map_err(|e| error::failed("scan", e))?;
        Ok(false)
    }
}

impl Cursor for RocksCursor<'_> {
    fn advance(&mut self) -> Result<bool, EngineError> {
        match &self.place {
            Place::Before(start) => self.entries.seek(start),
            Place::At => self.entries.next(),
            Place::After => return Ok(false),
        }
        self.settle()
    }

    fn seek(&mut self, key: &[u8]) -> Result<bool, EngineError> {
        match &self.place {
            Place::Before(start) => self.entries.seek(key.max(start)),
            Place::At if self.key() >= key => return Ok(true),
            Place::At => self.entries.seek(key),
            Place::After => return Ok(false),
        }
        self.settle()
    }

    fn key(&self) -> &[u8] {
        match self.place {
            Place::At => self.entries.key().unwrap_or_default(),
            Place::Before(_) | Place::After => &[],
        }
    }

    fn value(&self) -> &[u8] {
        match self.place {
            Place::At => self.entries.value().unwrap_or_default(),
            Place::Before(_) | Place::After => &[],
        }
    }
}

/// A scan of an empty range, which RocksDB's iterators do not expect.
struct Nothing;

impl Cursor for Nothing {
    fn advance(&mut self) -> Result<bool, EngineError> {
        Ok(false)
    }

    fn seek(&mut self, _key: &[u8]) -> Result<bool, EngineError> {
        Ok(false)
    }

    fn key(&self) -> &[u8] {
        &[]
    }

    fn value(&self) -> &[u8] {
        &[]
    }
}

/// Views cross threads: readers take them from the apply thread.
const fn is_shared<T: Send + Sync>() {}
const _: () = is_shared::<RocksView>();
const _: () = is_shared::<DB>();
