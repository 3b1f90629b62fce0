//! The storage engine on RocksDB: the only crate that links C++, and the only one with unsafe code.
//!
//! Contract: that of [`cairn_storage::Engine`]. RocksDB's own log is off; its flushes are atomic over all columns, so that
//! what a crash leaves is the state after some whole batch. A failure in the background (a full or broken disk) stops
//! the engine: the next write or flush fails, and so does every later one, because RocksDB's own attempts to go on would
//! hide for how long nothing has become durable. Views that exist still read.
//! No type of RocksDB is visible outside of this crate. Left out: what keys and values mean (`cairn-state`).

use std::ffi::CStr;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cairn_storage::{Batch, Column, Engine, EngineError, EngineSize, View};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{Cache, ColumnFamily, CompactOptions, DB, FlushOptions, ReadOptions, ReadTier, WriteBatch};
use rocksdb::{WriteBufferManager, WriteOptions, properties};

mod error;
mod malloc;
mod options;
mod view;

pub use malloc::allocator_page_size_bytes;
pub use options::{MIN_MEMORY_BUDGET_BYTES, RocksOptions};

/// What a write costs in RocksDB's batch besides its bytes, to size the batch's buffer at once.
const BATCH_ENTRY_OVERHEAD_BYTES: usize = 16;

/// The file that names the current state of a database; there is no database without it.
const CURRENT_FILE: &str = "CURRENT";

/// A database and all that must live as long as it.
struct Database {
    db: DB,
    /// RocksDB's log off. All writes use it.
    unlogged: WriteOptions,
    /// Reads that pass over what is only in memory.
    persisted: ReadOptions,
    /// The first failure, after which nothing is written any more.
    failure: OnceLock<String>,
    cache: Cache,
    write_buffers: WriteBufferManager,
}

/// An engine on a RocksDB database.
pub struct RocksEngine {
    database: Arc<Database>,
}

/// What an engine holds in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// All that the memory budget covers: cached blocks, indexes, filters, and write buffers.
    pub budgeted: u64,
    /// The part of `budgeted` that cannot be evicted now.
    pub pinned: u64,
    /// The part of `budgeted` that is write buffers.
    pub write_buffers: u64,
}

impl RocksEngine {
    /// Opens the database in `dir`, which this engine then holds alone until it and all views of it are dropped.
    ///
    /// # Errors
    /// [`EngineError::Missing`] without `create_if_missing`; [`EngineError::Locked`] where another process, or another
    /// engine of this one, holds it; [`EngineError::Incompatible`] where something newer or foreign wrote it;
    /// [`EngineError::Corrupt`]; or where the disk fails.
    pub fn open(dir: &Path, options: RocksOptions) -> Result<Self, EngineError> {
        if options.create_if_missing {
            fs::create_dir_all(dir).map_err(|source| io_error("create", dir, source))?;
        } else if !dir.join(CURRENT_FILE).exists() {
            return Err(EngineError::Missing { path: dir.to_owned() });
        }
        let setup = options.resolve().map_err(|e| error::failed("prepare RocksDB's options", e))?;
        let db = DB::open_cf_descriptors(&setup.database, dir, setup.columns).map_err(|e| error::opening(dir, e))?;
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        let mut persisted = ReadOptions::default();
        persisted.set_read_tier(ReadTier::Persisted);
        let failure = OnceLock::new();
        let (cache, write_buffers) = (setup.cache, setup.write_buffers);
        Ok(Self { database: Arc::new(Database { db, unlogged, persisted, failure, cache, write_buffers }) })
    }

    /// What it holds in memory now. Cheap.
    #[must_use]
    pub fn memory_usage(&self) -> MemoryUsage {
        MemoryUsage {
            budgeted: self.database.cache.get_usage() as u64,
            pinned: self.database.cache.get_pinned_usage() as u64,
            write_buffers: self.database.write_buffers.get_usage() as u64,
        }
    }
}

impl fmt::Debug for RocksEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksEngine")
            .field("path", &self.database.db.path())
            .field("failure", &self.database.failure.get())
            .finish_non_exhaustive()
    }
}

impl Database {
    fn column(&self, column: Column) -> &ColumnFamily {
        self.db.cf_handle(column.name()).expect("the database was opened with all columns, and none is ever dropped")
    }

    fn columns(&self) -> [&ColumnFamily; Column::ALL.len()] {
        Column::ALL.map(|column| self.column(column))
    }

    /// Fails where an earlier call has failed, or RocksDB's own work since.
    fn check_running(&self, operation: &'static str) -> Result<(), EngineError> {
        if self.failure.get().is_none() && self.property(properties::BACKGROUND_ERRORS, None)? > 0 {
            let _lost_race = self.failure.set(self.background_failure());
        }
        match self.failure.get() {
            Some(cause) => Err(EngineError::Stopped { operation, cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Why RocksDB's own work failed: what it answers to a write of nothing then.
    fn background_failure(&self) -> String {
        let answer = self.db.write_opt(WriteBatch::default(), &self.unlogged).err().map(rocksdb::Error::into_string);
        answer.unwrap_or_else(|| "a flush or compaction failed; RocksDB's LOG file says why".to_owned())
    }

    /// Remembers that RocksDB failed, for good.
    fn stop(&self, operation: &'static str, error: rocksdb::Error) -> EngineError {
        let _lost_race = self.failure.set(error.to_string());
        error::failed(operation, error)
    }

    /// A number that RocksDB keeps about the database or one column.
    fn property(&self, name: &CStr, column: Option<&ColumnFamily>) -> Result<u64, EngineError> {
        let value = match column {
            Some(column) => self.db.property_int_value_cf(column, name),
            None => self.db.property_int_value(name),
        };
        value.map_err(|e| error::failed("read a property", e))?.ok_or_else(|| EngineError::Backend {
            operation: "read a property",
            message: format!("{} is unknown", name.to_string_lossy()),
        })
    }
}

fn encode(batch: &Batch, columns: [&ColumnFamily; Column::ALL.len()]) -> WriteBatch {
    let size = |write: &cairn_storage::Write| {
        write.key.len() + write.value.as_ref().map_or(0, Bytes::len) + BATCH_ENTRY_OVERHEAD_BYTES
    };
    let mut encoded = WriteBatch::with_capacity_bytes(batch.writes().iter().map(size).sum());
    for write in batch.writes() {
        let column = columns[write.column as usize];
        match &write.value {
            Some(value) => encoded.put_cf(column, &write.key, value),
            None => encoded.delete_cf(column, &write.key),
        }
    }
    encoded
}

impl Engine for RocksEngine {
    fn view(&self) -> Result<Arc<dyn View>, EngineError> {
        Ok(Arc::new(view::RocksView::new(Arc::clone(&self.database))))
    }

    fn write(&self, batch: &Batch) -> Result<(), EngineError> {
        const OPERATION: &str = "write a batch";
        self.database.check_running(OPERATION)?;
        if batch.is_empty() {
            return Ok(());
        }
        let encoded = encode(batch, self.database.columns());
        self.database.db.write_opt(encoded, &self.database.unlogged).map_err(|e| self.database.stop(OPERATION, e))
    }

    fn persisted(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let (db, column) = (&self.database.db, self.database.column(column));
        let value = db.get_pinned_cf_opt(column, key, &self.database.persisted);
        let value = value.map_err(|e| error::failed("read what is persisted", e))?;
        Ok(value.as_deref().map(Bytes::copy_from_slice))
    }

    fn flush(&self) -> Result<(), EngineError> {
        const OPERATION: &str = "flush";
        self.database.check_running(OPERATION)?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let columns = self.database.columns();
        let columns = columns.each_ref();
        self.database.db.flush_cfs_opt(&columns, &options).map_err(|e| self.database.stop(OPERATION, e))
    }

    fn reclaim(&self, column: Column, start: &[u8], end: &[u8]) -> Result<(), EngineError> {
        const OPERATION: &str = "reclaim space";
        self.database.check_running(OPERATION)?;
        if start >= end {
            return Ok(());
        }
        let mut options = CompactOptions::default();
        // RocksDB's own compactions go on beside this one; its work is done by the background thread, under the rate
        // limiter's lower priority.
        options.set_exclusive_manual_compaction(false);
        self.database.db.compact_range_cf_opt(self.database.column(column), Some(start), Some(end), &options);
        self.database.check_running(OPERATION)
    }

    fn checkpoint(&self, target: &Path) -> Result<(), EngineError> {
        const OPERATION: &str = "write a checkpoint";
        self.database.check_running(OPERATION)?;
        if target.symlink_metadata().is_ok() {
            return Err(EngineError::TargetExists { path: target.to_owned() });
        }
        // This flushes, so that nothing in memory is missing from the copy.
        let checkpoint = Checkpoint::new(&self.database.db).map_err(|e| error::failed(OPERATION, e))?;
        checkpoint.create_checkpoint(target).map_err(|e| error::failed(OPERATION, e))?;
        // RocksDB syncs what is in the new folder, not the name of the folder.
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(parent).and_then(|folder| folder.sync_all());
        synced.map_err(|source| io_error("sync", parent, source))
    }

    fn size(&self) -> Result<EngineSize, EngineError> {
        let mut size = EngineSize::default();
        for column in self.database.columns() {
            let property = |name| self.database.property(name, Some(column));
            let in_memory = property(properties::CUR_SIZE_ALL_MEM_TABLES)?;
            size.total += property(properties::TOTAL_SST_FILES_SIZE)? + in_memory;
            size.in_use += property(properties::ESTIMATE_LIVE_DATA_SIZE)? + in_memory;
        }
        size.in_use = size.in_use.min(size.total);
        Ok(size)
    }
}

fn io_error(operation: &'static str, path: &Path, source: std::io::Error) -> EngineError {
    EngineError::Io { operation, path: PathBuf::from(path), source }
}
