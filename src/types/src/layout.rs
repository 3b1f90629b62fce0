//! Names within a data directory, which the server and the offline tool share.

use std::path::{Path, PathBuf};

/// The folder of the engine in the data directory `data_dir`.
#[must_use]
pub fn store_dir(data_dir: &Path) -> PathBuf {
    member_dir(data_dir).join("store")
}

/// The folder of the Raft log in the data directory `data_dir`, unless `--wal-dir` names another.
#[must_use]
pub fn wal_dir(data_dir: &Path) -> PathBuf {
    member_dir(data_dir).join("wal")
}

/// The folder for checkpoints that are being sent; emptied at every start.
#[must_use]
pub fn temporary_dir(data_dir: &Path) -> PathBuf {
    member_dir(data_dir).join("tmp")
}

/// The folder of everything but the lock.
#[must_use]
pub fn member_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("member")
}

/// The file that shows that the data directory is a real etcd's.
#[must_use]
pub fn etcd_database(data_dir: &Path) -> PathBuf {
    member_dir(data_dir).join("snap").join("db")
}
