//! The Raft log on disk: segments of fixed size that are zero-filled once and then overwritten for ever.
//!
//! Contract: what [`Wal::append`] acknowledged is there after any crash, in whole batches and in order. A batch is one
//! write and one fdatasync. Opening cuts a batch that a crash tore, and refuses, with the place and the reason, a log
//! that is damaged anywhere before its last batch. A write or fdatasync that fails makes the [`Wal`] useless for the rest
//! of its life; nothing is ever retried, because the kernel forgets dirty pages after reporting such an error.
//!
//! Why overwrite: fdatasync on a file whose size and extents do not change needs no journal commit of the file system.
//! The bytes are described in `docs/format/wal.md`, and a test holds this crate to that page.
//!
//! Left out: what entries mean, when the log may be released, and exclusive use of the directory (the server's lock).

mod encode;
mod error;
mod format;
mod index;
mod io;
mod reader;
mod recovery;
mod spares;
#[cfg(test)]
mod unit_tests;
mod wal;

use cairn_types::{ClusterId, HardState, LogIndex, MemberId, Term};

pub use error::WalError;
pub use reader::WalReader;
pub use wal::Wal;

/// Whose log it is; stored in the header of every segment, and compared when the log is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member of that cluster.
    pub member: MemberId,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "member {} of cluster {}", self.member, self.cluster)
    }
}

/// How a log is opened.
#[derive(Clone, Copy, Debug)]
pub struct WalOptions {
    /// Size of a new segment in bytes (`limits::LOG_SEGMENT_BYTES`); rounded up to 4 KiB, at least 8 KiB, at most 4 GiB.
    pub segment_bytes: u64,
    /// Whose log it is.
    pub identity: Identity,
    /// Whether appends wait for the disk. `false` gives up durability against power loss, and only that.
    pub sync: bool,
}

/// An index of the log and the term of the entry there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// The index; 0 is the place before the first entry.
    pub index: LogIndex,
    /// The term of the entry at `index`; 0 at index 0.
    pub term: Term,
}

/// What was found when the log was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The last hard state that was written, or the default.
    pub hard_state: HardState,
    /// The position just before the first entry that is stored: where the log was released to, or reset to.
    pub start: LogPosition,
    /// `start.index + 1`; nothing is stored if it is greater than `last_index`.
    pub first_index: LogIndex,
    /// The last entry that is stored, or `start.index`.
    pub last_index: LogIndex,
    /// The term of `last_index`.
    pub last_term: Term,
    /// Length in bytes of the torn batch that was cut, as far as it could be told from what lay there before; 0 if the
    /// log ended cleanly.
    pub repaired_bytes: u64,
    /// Segments in use.
    pub segments: usize,
    /// Whether the directory held no log and a new one was begun.
    pub created: bool,
}
