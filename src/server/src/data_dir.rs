//! The data directory: its layout, its lock, and what it refuses to be.
//!
//! `<data-dir>/LOCK`, `<data-dir>/member/store` (the engine), `<data-dir>/member/wal` (the Raft log, unless `--wal-dir`),
//! `<data-dir>/member/tmp` (checkpoints that are being sent; emptied at the start).

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cairn_types::layout;
use thiserror::Error;

/// Only the owner may look in; etcd has the same.
const MODE: u32 = 0o700;

/// Why the directory cannot be used.
#[derive(Debug, Error)]
pub(crate) enum DataDirError {
    #[error("cannot {operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the data directory {} is in use by another process (its LOCK file is held); stop that one first, or choose \
         another --data-dir",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error(
        "{} holds the data of an etcd server, which this version cannot open in place. Importing it is not supported yet; \
         to move the keys, start with an empty --data-dir beside the running etcd and copy them with a client (for \
         example etcdctl make-mirror). Nothing was changed",
        path.display()
    )]
    Etcd { path: PathBuf },
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    move |source| DataDirError::Io { operation, path: path.to_owned(), source }
}

/// A data directory that belongs to this process until this is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    pub(crate) store: PathBuf,
    pub(crate) wal: PathBuf,
    pub(crate) temporary: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes the directory, and creates what is missing.
    pub(crate) fn open(root: &Path, wal_dir: Option<&Path>) -> Result<Self, DataDirError> {
        let member = layout::member_dir(root);
        if layout::etcd_database(root).exists() {
            return Err(DataDirError::Etcd { path: root.to_owned() });
        }
        create(root)?;
        let lock = lock(root)?;
        create(&member)?;
        let dir = Self {
            store: layout::store_dir(root),
            wal: wal_dir.map_or_else(|| layout::wal_dir(root), Path::to_owned),
            temporary: layout::temporary_dir(root),
            _lock: lock,
        };
        if dir.temporary.exists() {
            fs::remove_dir_all(&dir.temporary).map_err(failed("remove", &dir.temporary))?;
        }
        for path in [&dir.store, &dir.wal, &dir.temporary] {
            create(path)?;
        }
        for path in [root, &member] {
            File::open(path).and_then(|folder| folder.sync_all()).map_err(failed("sync", path))?;
        }
        Ok(dir)
    }
}

fn create(path: &Path) -> Result<(), DataDirError> {
    if !path.exists() {
        DirBuilder::new().recursive(true).mode(MODE).create(path).map_err(failed("create", path))?;
        // Else a power failure could take the new folder, and every acknowledged write in it.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed("sync", parent));
    }
    let mode = fs::metadata(path).map_err(failed("look at", path))?.permissions().mode() & 0o777;
    if mode & !MODE != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "the directory can be read by others; recommended is 700");
    }
    Ok(())
}

fn lock(root: &Path) -> Result<File, DataDirError> {
    let path = root.join("LOCK");
    let options = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = options.map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataDirError::Locked { path: root.to_owned() }),
        Err(TryLockError::Error(source)) => Err(DataDirError::Io { operation: "lock", path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_process_s_only_until_that_lets_go() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("data");
        let first = DataDir::open(&root, None).unwrap();
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, MODE);
        let error = DataDir::open(&root, None).unwrap_err();
        assert!(error.to_string().contains(root.to_str().unwrap()), "{error}");
        assert!(matches!(error, DataDirError::Locked { .. }));
        drop(first);
        DataDir::open(&root, None).unwrap();
    }

    #[test]
    fn the_data_of_an_etcd_is_refused_and_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let snap = temp.path().join("member/snap");
        fs::create_dir_all(&snap).unwrap();
        fs::write(snap.join("db"), "bbolt").unwrap();
        assert!(matches!(DataDir::open(temp.path(), None), Err(DataDirError::Etcd { .. })));
        assert!(!temp.path().join("LOCK").exists());
    }

    #[test]
    fn checkpoints_that_a_crash_left_behind_are_removed() {
        let temp = tempfile::tempdir().unwrap();
        let left = temp.path().join("member/tmp/x");
        fs::create_dir_all(&left).unwrap();
        DataDir::open(temp.path(), None).unwrap();
        assert!(!left.exists());
    }
}
