//! From RocksDB's errors, which are texts, to the engine's.
//!
//! The texts that matter here are held by tests that bring the errors about; RocksDB's version is pinned.

use std::path::Path;

use cairn_storage::EngineError;
use rocksdb::{Error, ErrorKind};

/// What an operation on an open database failed with.
pub(crate) fn failed(operation: &'static str, error: Error) -> EngineError {
    match error.kind() {
        ErrorKind::Corruption => {
            EngineError::Corrupt { what: format!("the database (trying to {operation})"), reason: error.into_string() }
        }
        _ => EngineError::Backend { operation, message: error.into_string() },
    }
}

/// What opening the database in `dir` failed with.
pub(crate) fn opening(dir: &Path, error: Error) -> EngineError {
    let path = dir.to_owned();
    let message = error.as_ref();
    if is_locked(message) {
        return EngineError::Locked { path };
    }
    if let Some((_, names)) = message.split_once("Column families not opened: ") {
        return EngineError::Incompatible { path, reason: format!("it has columns that are unknown here: {names}") };
    }
    if is_unknown_format(message) || error.kind() == ErrorKind::NotSupported {
        return EngineError::Incompatible { path, reason: format!("its format is newer or foreign ({message})") };
    }
    match error.kind() {
        ErrorKind::Corruption => {
            EngineError::Corrupt { what: format!("the database in {}", path.display()), reason: error.into_string() }
        }
        _ => EngineError::Backend { operation: "open the database", message: error.into_string() },
    }
}

/// The lock file is held by this process, or by another (the system's words for `EAGAIN`, which are not translated,
/// because the program never sets a locale).
fn is_locked(message: &str) -> bool {
    message.contains("lock hold by current process")
        || (message.contains("While lock file") && message.contains("temporarily unavailable"))
}

/// A table file, or a record of the manifest, of a later RocksDB.
fn is_unknown_format(message: &str) -> bool {
    ["newer version of RocksDB", "unsupported format_version", "unknown tag"].iter().any(|text| message.contains(text))
}
