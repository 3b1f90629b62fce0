//! What can go wrong, split by what follows from it.

use cairn_api::ApiError;
use cairn_storage::EngineError;
use cairn_types::LogIndex;
use thiserror::Error;

use crate::command::CommandError;

/// A failure after which this member's state can no longer be trusted: the node stops.
#[derive(Debug, Error)]
pub enum StateError {
    /// The engine below failed.
    #[error("the storage engine failed")]
    Storage(#[from] EngineError),
    /// A committed entry cannot be read.
    #[error("entry {index} of the Raft log cannot be applied")]
    Entry {
        /// Its position.
        index: LogIndex,
        /// Why.
        #[source]
        source: CommandError,
    },
    /// A committed entry does not follow the last one that was applied.
    #[error(
        "entry {found} was handed in where entry {expected} is next; the Raft log and the store do not fit together"
    )]
    OutOfOrder {
        /// The entry that is next.
        expected: LogIndex,
        /// The one that came.
        found: LogIndex,
    },
    /// Stored bytes that no version of this program writes.
    #[error("the store is damaged: {what} has {reason}; restore this member from a snapshot or from its peers")]
    Damaged {
        /// Which record.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A store that a newer version wrote.
    #[error(
        "the store has schema version {found}, this program reads up to {supported}; start the version that wrote it"
    )]
    SchemaVersion {
        /// What the store says.
        found: u32,
        /// What this program knows.
        supported: u32,
    },
}

impl StateError {
    pub(crate) fn damaged(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Damaged { what, reason: reason.into() }
    }
}

/// Why a read has no answer.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The request's own fault; goes to the client.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The store's fault; the node stops.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<EngineError> for ReadError {
    fn from(error: EngineError) -> Self {
        Self::State(StateError::Storage(error))
    }
}
