//! Every maximum of the program, with its unit. Behaviour at each one is said here and tested where it is enforced.

/// Largest encoded request, in bytes, that is accepted without `--max-request-bytes`; larger: `request is too large`.
pub const DEFAULT_MAX_REQUEST_BYTES: u32 = 1_572_864;

/// What gRPC may receive beyond the largest request, in bytes, before the transport itself refuses the message.
pub const GRPC_OVERHEAD_BYTES: u32 = 524_288;

/// Most operations in one list of a transaction without `--max-txn-ops`; more: `too many operations in txn request`.
pub const DEFAULT_MAX_TXN_OPS: u32 = 128;

/// Longest TTL of a lease in seconds; longer: `too large lease TTL`.
pub const MAX_LEASE_TTL_SECS: i64 = 9_000_000_000;

/// Most commands that were proposed and not yet applied; at the limit a request gets `too many requests`.
pub const MAX_UNAPPLIED_COMMANDS: usize = 5_000;

/// Most bytes of commands that were proposed and not yet applied; at the limit a request gets `too many requests`.
pub const MAX_UNAPPLIED_BYTES: usize = 64 << 20;

/// Most bytes of commands in one Raft entry (a single larger command still gets an entry of its own).
pub const MAX_ENTRY_BYTES: usize = 2 << 20;

/// Most bytes of entries that one write to the log carries; what queues beyond goes into the next write.
pub const MAX_LOG_WRITE_BYTES: usize = 8 << 20;

/// Size in bytes of one segment of the log on disk.
pub const LOG_SEGMENT_BYTES: u64 = 64 << 20;

/// Most segment files of the log that are kept for later use; those released beyond are deleted.
pub const MAX_SPARE_LOG_SEGMENTS: usize = 4;

/// Most bytes of log entries that consensus keeps in memory; older ones are read from the log on disk.
pub const MAX_CACHED_LOG_BYTES: usize = 32 << 20;

/// Most bytes of log that a restart replays: the store is flushed when this much was applied since the last flush.
pub const MAX_REPLAY_BYTES: u64 = 64 << 20;

/// Entries of the log that are kept below what the store has on disk, for members that are behind (etcd's number).
pub const KEPT_LOG_ENTRIES: u64 = 5_000;

/// Most bytes of entries that are kept so; at the limit fewer entries are kept.
pub const MAX_KEPT_LOG_BYTES: u64 = 256 << 20;

/// Most leases that one log entry revokes on expiry; the rest wait for the next entry.
pub const MAX_REVOKES_PER_ENTRY: usize = 1_000;

/// Most bytes of frames that are held while their headers are looked through for a URL as authority, beyond what h2 accepts;
/// at the limit they go on unchanged, for h2 to refuse.
pub const MAX_HELD_HEADER_BYTES: usize = 64 << 10;

/// Most bytes of events in the ring that watchers at the head share; one that falls behind it reads the store.
pub const MAX_WATCH_RING_BYTES: usize = 32 << 20;

/// Most bytes queued for one watch stream; at the limit its watchers leave the ring and read the store when there is room.
pub const MAX_WATCH_QUEUE_BYTES: usize = 4 << 20;

/// Most requests of one watch stream that were read and not yet served; at the limit the stream is not read.
pub const MAX_WATCH_REQUESTS_AHEAD: usize = 64;

/// Bytes of events at which a watch response is sent and the next revision begins another; one revision is never parted.
pub const WATCH_MESSAGE_BYTES: usize = 1 << 20;

/// Most bytes of events that a watcher which reads the store gets in one step before others have their turn.
pub const MAX_WATCH_CATCH_UP_BYTES: usize = 1 << 20;

/// Size in bytes of one chunk of a snapshot stream (etcd's).
pub const SNAPSHOT_CHUNK_BYTES: usize = 32 << 10;

/// Most snapshots that are streamed at once; at the limit the next gets `too many requests`.
pub const MAX_CONCURRENT_SNAPSHOTS: usize = 4;

/// Most reads of more than one key at once; at the limit the next waits.
pub const MAX_CONCURRENT_SCANS: usize = 32;

/// Most RangeStreams that are being read at once; at the limit the next waits as other reads do.
pub const MAX_CONCURRENT_RANGE_STREAMS: usize = 32;

/// How long such a read waits, in milliseconds, before it gets `too many requests`.
pub const MAX_SCAN_WAIT_MS: u64 = 5_000;

/// Most log lines about slow requests in one second; the next line says how many were left out.
pub const MAX_SLOW_REQUEST_LINES_PER_SEC: u64 = 10;

/// Size in bytes at which a chunk of a RangeStream is sent.
pub const RANGE_STREAM_CHUNK_BYTES: usize = 256 << 10;

/// Free bytes of the disk below which writes get `database space exceeded` where no quota is configured.
pub const DISK_RESERVE_BYTES: u64 = 256 << 20;

/// Values of this many bytes and more are stored once, in `rev`; `cur` then holds a pointer.
pub const INLINE_VALUE_MAX_BYTES: usize = 4 << 10;
