//! Why the log could not be opened, written or read.

use std::io;
use std::path::{Path, PathBuf};

use cairn_types::LogIndex;

use crate::Identity;

/// An operation on the log that failed. After [`WalError::Io`] from a method of [`crate::Wal`] every further call gives
/// [`WalError::Poisoned`]; the other variants leave the log as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// The operating system refused.
    #[error("log: cannot {operation} {}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Bytes that were once durable are wrong, and more follows them: cutting here would lose acknowledged entries.
    #[error(
        "log: {} is damaged at byte {offset}: {reason}; nothing was changed. Entries that were acknowledged may lie behind \
         this place, so the log is not cut here: check the disk, then restore this member from a snapshot, or remove it \
         from the cluster and add it again with an empty data directory",
        file.display()
    )]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A segment between two others is gone.
    #[error(
        "log: {} is missing although later segments exist; nothing was changed. Put the file back, or restore this member \
         from a snapshot",
        file.display()
    )]
    MissingSegment {
        /// The file that should be there.
        file: PathBuf,
    },
    /// The segment was written in a format that this program does not know.
    #[error("log: {} has format version {found}, and this program reads version {supported}; use the release that wrote it", file.display())]
    Version {
        /// The segment.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The version of this program.
        supported: u32,
    },
    /// The log belongs to another member or cluster.
    #[error("log: {} belongs to {found}, but this is {expected}; check the data directory and the cluster flags", file.display())]
    Identity {
        /// The segment.
        file: PathBuf,
        /// Whose it is.
        found: Identity,
        /// Who opened it.
        expected: Identity,
    },
    /// The caller's entries do not continue the log.
    #[error("log: entry {got} does not continue the log, which accepts {low} to {high}")]
    NotConsecutive {
        /// The entry that does not fit.
        got: LogIndex,
        /// The lowest index that would have been accepted there.
        low: LogIndex,
        /// The highest index that would have been accepted there.
        high: LogIndex,
    },
    /// More bytes in one entry or batch than the format can express.
    #[error("log: {bytes} bytes in one write, and at most {max} are possible")]
    TooLarge {
        /// Bytes that were asked for.
        bytes: u64,
        /// Most bytes in one write.
        max: u64,
    },
    /// The entry is no longer stored.
    #[error("log: entry {index} was released; the log begins at {first}")]
    Released {
        /// The entry that was asked for.
        index: LogIndex,
        /// The first one that is stored.
        first: LogIndex,
    },
    /// The entry is not stored yet.
    #[error("log: entry {index} is beyond the end of the log, {last}")]
    Unavailable {
        /// The entry that was asked for.
        index: LogIndex,
        /// The last one that is stored.
        last: LogIndex,
    },
    /// An earlier write failed; what the disk holds is unknown until the log is opened again.
    #[error("log: an earlier write to {} failed; restart the member", dir.display())]
    Poisoned {
        /// The directory of the log.
        dir: PathBuf,
    },
}

impl WalError {
    /// For `map_err`: names the operation and the file.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source }
    }
}
