//! What can go wrong below the state machine. None of it is an answer to a client: a node that meets one of these while
//! it writes must stop, because it cannot know what its disk holds.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A failure of a storage engine.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The operating system refused something.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was attempted, as a verb: `create`, `sync`.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// Bytes on disk are not what was written. Restore the member from a snapshot or let it catch up from the others.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// Which data.
        what: String,
        /// How that was noticed.
        reason: String,
    },

    /// The engine's own library failed in a way that fits nothing else here.
    #[error("storage engine failed to {operation}: {message}")]
    Backend {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// The library's words.
        message: String,
    },

    /// An earlier failure stopped the engine for good; only opening it again can help.
    #[error("cannot {operation}: the storage engine has stopped after an earlier failure: {cause}")]
    Stopped {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// The first failure.
        cause: String,
    },

    /// A checkpoint never writes over anything.
    #[error("{} exists already; choose a folder that does not exist", path.display())]
    TargetExists {
        /// The target.
        path: PathBuf,
    },

    /// The answer is not in memory, and the disk was not to be asked. Not a failure: ask again where waiting is allowed.
    #[error("the value is not in memory")]
    NotInMemory,

    /// There is no database, and none was to be created.
    #[error("there is no database in {}", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },

    /// Another process, or another engine in this one, holds the database.
    #[error("the database in {} is in use by another process; stop it or choose another data directory", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },

    /// The database was written by something newer, or by something else.
    #[error("the database in {} cannot be read by this version: {reason}", path.display())]
    Incompatible {
        /// The folder.
        path: PathBuf,
        /// What is unknown about it.
        reason: String,
    },
}
