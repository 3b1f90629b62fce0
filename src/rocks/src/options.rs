//! How RocksDB is set up: one memory budget, little background work at a time, space given back, quick to open.

use cairn_storage::Column;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, Error, LogLevel, Options,
    WriteBufferManager,
};

const MIB: usize = 1 << 20;

/// The smallest memory budget in bytes that an engine works with; a smaller one counts as this.
pub const MIN_MEMORY_BUDGET_BYTES: u64 = 32 << 20;

/// The share of the memory budget that write buffers may take, within the two bounds below.
const WRITE_BUFFER_SHARE: usize = 4;

/// Smaller write buffers would make files so small that compaction could not keep up.
const MIN_WRITE_BUFFER_BYTES: usize = 16 * MIB;

/// Larger write buffers would lengthen the replay after a crash.
const MAX_WRITE_BUFFER_BYTES: usize = 64 * MIB;

/// Write buffers per column: one that is written, one that is being flushed, one for a flush that takes longer. Writes
/// wait at the limit.
const MAX_WRITE_BUFFERS: i32 = 3;

/// Most table files that are open at once; each one costs a file descriptor and its pinned index in the cache.
const MAX_OPEN_FILES: i32 = 512;

/// One flush and one compaction: on a small machine more would take the processor from requests.
const MAX_BACKGROUND_JOBS: i32 = 2;

/// The most that flushes and compactions together write in a second, flushes first. RocksDB can tune the rate itself below
/// that, and must not: ten quiet seconds bring it to a twentieth, from where it grows by 5 % in ten seconds, so that a burst
/// after a rest waits for flushes. Measured: 500,000 puts of 1000 clients after such a rest took 27 s instead of 12, with a
/// p99 of 1.6 s instead of 46 ms.
const MAX_BACKGROUND_BYTES_PER_SEC: i64 = 256 << 20;

/// How often the rate limiter hands out bytes, in microseconds, and how often compactions get theirs before flushes.
const RATE_REFILL_MICROS: i64 = 100_000;
const RATE_FAIRNESS: i32 = 10;

/// Files are written back this often, in bytes, so that the sync at their end does not hold up the log's.
const SYNC_EVERY_BYTES: u64 = 1 << 20;

/// RocksDB's own diary, of which this many files of this many bytes are kept.
const MAX_DIARY_FILES: usize = 4;
const MAX_DIARY_FILE_BYTES: usize = 4 * MIB;

/// The manifest is written anew at this size; reading it is part of opening.
const MAX_MANIFEST_BYTES: usize = 16 * MIB;
const MANIFEST_PREALLOCATION_BYTES: usize = 64 << 10;

/// Bits of filter per key: one lookup of an absent key in a hundred reads a block in vain.
const FILTER_BITS_PER_KEY: f64 = 10.0;

/// The share of a write buffer that is a filter of its keys. Measured with 100,000 keys: an absent key costs 0.5 us instead
/// of 1.3, a put 0.14 us more.
const WRITE_BUFFER_FILTER_SHARE: f64 = 0.01;

/// A file is compacted where this many of this many entries in a row are deletions, or this share of all of them.
const DELETION_WINDOW: usize = 4_096;
const DELETION_TRIGGER: usize = 2_048;
const DELETION_RATIO: f64 = 0.5;

/// What RocksDB offers only by name. A background error is final (this engine stops then, and does not want to be told
/// that all is well again); and opening looks for each table file but does not ask for its size.
const NAMED_OPTIONS: &str = "max_bgerror_resume_count=0;skip_checking_sst_file_sizes_on_db_open=true";

/// How to open an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// All that the engine may hold in memory, in bytes: cached blocks, indexes, filters and write buffers. What it needs
    /// for a moment (compaction, a scan's block) comes on top, a few MiB. At least [`MIN_MEMORY_BUDGET_BYTES`].
    pub memory_budget_bytes: u64,
    /// Whether to make a database where there is none.
    pub create_if_missing: bool,
}

/// RocksDB's options, and the objects that they share.
pub(crate) struct Setup {
    pub(crate) database: Options,
    pub(crate) columns: Vec<ColumnFamilyDescriptor>,
    pub(crate) cache: Cache,
    pub(crate) write_buffers: WriteBufferManager,
}

impl RocksOptions {
    pub(crate) fn resolve(self) -> Result<Setup, Error> {
        let budget = usize::try_from(self.memory_budget_bytes.max(MIN_MEMORY_BUDGET_BYTES)).unwrap_or(usize::MAX);
        let write_buffer = (budget / WRITE_BUFFER_SHARE).clamp(MIN_WRITE_BUFFER_BYTES, MAX_WRITE_BUFFER_BYTES);
        // Entries differ in size (blocks, and the write buffers' shares), so that no typical size can be given.
        let cache = Cache::new_hyper_clock_cache(budget, 0);
        // It starts flushes in time and makes no writer wait: that is for the number of write buffers to do.
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(write_buffer, false, cache.clone());

        let mut base = Options::default().get_options_from_string(NAMED_OPTIONS)?;
        set_memory(&mut base, write_buffer, &write_buffers);
        set_background_work(&mut base);
        set_files(&mut base);
        set_writes(&mut base);

        let columns = Column::ALL.map(|column| (column.name(), Some(column)));
        // RocksDB insists on a column of this name; nothing is ever written to it.
        let columns = columns.into_iter().chain([("default", None)]);
        let columns =
            columns.map(|(name, column)| ColumnFamilyDescriptor::new(name, column_options(&base, column, &cache)));
        let columns = columns.collect();
        base.create_if_missing(self.create_if_missing);
        base.create_missing_column_families(true);
        Ok(Setup { database: base, columns, cache, write_buffers })
    }
}

fn set_memory(options: &mut Options, write_buffer: usize, write_buffers: &WriteBufferManager) {
    options.set_write_buffer_manager(write_buffers);
    // A flush is of all columns, so that one of them may as well fill the whole share before it causes one.
    options.set_write_buffer_size(write_buffer);
    options.set_max_write_buffer_number(MAX_WRITE_BUFFERS);
    options.set_max_open_files(MAX_OPEN_FILES);
}

fn set_background_work(options: &mut Options) {
    options.set_max_background_jobs(MAX_BACKGROUND_JOBS);
    options.set_max_subcompactions(1);
    options.set_ratelimiter(MAX_BACKGROUND_BYTES_PER_SEC, RATE_REFILL_MICROS, RATE_FAIRNESS);
    options.set_bytes_per_sync(SYNC_EVERY_BYTES);
    options.set_level_compaction_dynamic_level_bytes(true);
    // Files of a dropped view are deleted in the background, not by the reader that dropped it.
    options.set_avoid_unnecessary_blocking_io(true);
}

fn set_files(options: &mut Options) {
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Info);
    options.set_keep_log_file_num(MAX_DIARY_FILES);
    options.set_max_log_file_size(MAX_DIARY_FILE_BYTES);
    options.set_max_manifest_file_size(MAX_MANIFEST_BYTES);
    options.set_manifest_preallocation_size(MANIFEST_PREALLOCATION_BYTES);
}

fn set_writes(options: &mut Options) {
    // With RocksDB's log off, this is what makes a crash leave whole batches only.
    options.set_atomic_flush(true);
    // One thread applies; what allows several to fill a write buffer at once, or to spin for their turn, only costs.
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
}

fn column_options(base: &Options, column: Option<Column>, cache: &Cache) -> Options {
    let mut options = base.clone();
    let mut table = BlockBasedOptions::default();
    set_table_memory(&mut table, cache);
    // The same at every level: a file that overlaps no other is then moved down as it is. All files of `rev` are such;
    // a stronger compression below would write each again.
    options.set_compression_type(DBCompressionType::Lz4);
    match column {
        Some(Column::Cur) => {
            // Smaller blocks, for gets; and filters at every level, because keys that do not exist are asked for often
            // (each create asks), so that leaving them out at the last level would cost a block read each.
            table.set_block_size(8 << 10);
            table.set_bloom_filter(FILTER_BITS_PER_KEY, false);
            // Each put asks for the key's last version, which is seldom in the write buffer.
            options.set_memtable_whole_key_filtering(true);
            options.set_memtable_prefix_bloom_ratio(WRITE_BUFFER_FILTER_SHARE);
            compact_on_deletions(&mut options);
        }
        Some(Column::Rev) => {
            // Whoever asks for a revision knows that it exists, so that the last level needs no filter.
            table.set_block_size(16 << 10);
            table.set_bloom_filter(FILTER_BITS_PER_KEY, false);
            options.set_optimize_filters_for_hits(true);
            compact_on_deletions(&mut options);
        }
        Some(Column::Hist) => {
            // Only ever scanned.
            table.set_block_size(16 << 10);
            compact_on_deletions(&mut options);
        }
        Some(Column::Meta) | None => {}
    }
    options.set_block_based_table_factory(&table);
    options
}

/// Indexes and filters count against the budget like data, in pieces that come and go; only their small top stays.
/// Whole ones would make a get from the cache a third faster (2.7 us instead of 3.8), and a miss read a quarter of a MiB.
fn set_table_memory(table: &mut BlockBasedOptions, cache: &Cache) {
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_pin_top_level_index_and_filter(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_whole_key_filtering(true);
}

/// Files that are mostly deletions are compacted although nothing else asks for it, so that space comes back.
fn compact_on_deletions(options: &mut Options) {
    options.add_compact_on_deletion_collector_factory(DELETION_WINDOW, DELETION_TRIGGER, DELETION_RATIO);
}
