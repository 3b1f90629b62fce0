//! Segment files that wait for their next use, and the thread that zero-fills a new one when none is left.
//!
//! Contract: a spare has exactly the size of a standard segment and all its blocks are written, so that using it changes
//! neither size nor extents. There is one ready before it is needed unless the log grows by a segment faster than the disk
//! takes one of zeros; then [`Spares::take`] waits for it. At most `MAX_SPARE_LOG_SEGMENTS` are kept, further ones are deleted.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use cairn_types::limits::MAX_SPARE_LOG_SEGMENTS;

use crate::WalError;
use crate::io::{Io, zero_fill};

/// What the helper thread is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Helper {
    Idle,
    Wanted,
    Busy,
    /// It could not prepare a segment; whoever needs one tries again and reports the error.
    Failed,
}

struct Pool {
    ready: VecDeque<PathBuf>,
    helper: Helper,
    next_name: u64,
}

struct Shared {
    dir: PathBuf,
    segment_bytes: u64,
    io: Arc<dyn Io>,
    pool: Mutex<Pool>,
    changed: Condvar,
    stop: AtomicBool,
}

/// Owns the helper thread, which ends when this is dropped.
pub(crate) struct Spares {
    shared: Arc<Shared>,
    helper: Option<JoinHandle<()>>,
}

impl Spares {
    /// `ready` are the spares found in `dir`, by name; a spare of another size is deleted.
    pub(crate) fn start(
        dir: &Path,
        segment_bytes: u64,
        io: Arc<dyn Io>,
        found: Vec<(u64, PathBuf)>,
    ) -> Result<Self, WalError> {
        let next_name = found.iter().map(|(name, _)| name + 1).max().unwrap_or(0);
        let mut ready = VecDeque::new();
        for (_, path) in found {
            let bytes = fs::metadata(&path).map_err(WalError::io("look at", &path))?.len();
            if bytes == segment_bytes && ready.len() < MAX_SPARE_LOG_SEGMENTS {
                ready.push_back(path);
            } else {
                fs::remove_file(&path).map_err(WalError::io("delete", &path))?;
            }
        }
        let helper = if ready.is_empty() { Helper::Wanted } else { Helper::Idle };
        let pool = Mutex::new(Pool { ready, helper, next_name });
        let (changed, stop) = (Condvar::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { dir: dir.to_owned(), segment_bytes, io, pool, changed, stop });
        let thread = std::thread::Builder::new().name("wal-spares".to_owned());
        let task = Arc::clone(&shared);
        let helper = thread.spawn(move || task.prepare_ahead()).map_err(WalError::io("start a thread for", dir))?;
        Ok(Self { shared, helper: Some(helper) })
    }

    /// A standard segment, ready to be overwritten.
    pub(crate) fn take(&self) -> Result<PathBuf, WalError> {
        let mut pool = self.shared.lock();
        while pool.ready.is_empty() && matches!(pool.helper, Helper::Wanted | Helper::Busy) {
            pool = self.shared.changed.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        let path = match pool.ready.pop_front() {
            Some(path) => path,
            None => {
                let path = pool.name(&self.shared.dir);
                create_segment(&*self.shared.io, &path, self.shared.segment_bytes, &self.shared.stop)
                    .map_err(WalError::io("prepare", &path))?;
                path
            }
        };
        if pool.ready.is_empty() {
            pool.helper = Helper::Wanted;
            self.shared.changed.notify_all();
        }
        Ok(path)
    }

    /// A segment of `bytes`, for a batch that is larger than a standard one.
    pub(crate) fn create_oversized(&self, bytes: u64) -> Result<PathBuf, WalError> {
        let path = self.shared.lock().name(&self.shared.dir);
        create_segment(&*self.shared.io, &path, bytes, &self.shared.stop).map_err(WalError::io("prepare", &path))?;
        Ok(path)
    }

    /// Takes a segment of `bytes` that is no longer used; its old name is gone for good when this returns.
    pub(crate) fn recycle(&self, path: &Path, bytes: u64) -> Result<(), WalError> {
        let mut pool = self.shared.lock();
        if bytes != self.shared.segment_bytes || pool.ready.len() >= MAX_SPARE_LOG_SEGMENTS {
            fs::remove_file(path).map_err(WalError::io("delete", path))?;
            return self.shared.sync_names();
        }
        let spare = pool.name(&self.shared.dir);
        fs::rename(path, &spare).map_err(WalError::io("rename", path))?;
        self.shared.sync_names()?;
        pool.ready.push_back(spare);
        self.shared.changed.notify_all();
        Ok(())
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        {
            // Under the lock, or the helper could look at `stop` before and sleep after.
            let _pool = self.shared.lock();
            self.shared.stop.store(true, Ordering::Relaxed);
            self.shared.changed.notify_all();
        }
        if let Some(helper) = self.helper.take() {
            // A panic of the helper was reported by the panic hook; the log itself does not depend on it.
            let _ = helper.join();
        }
    }
}

impl Pool {
    fn name(&mut self, dir: &Path) -> PathBuf {
        let name = self.next_name;
        self.next_name += 1;
        dir.join(format!("{name:016x}.spare"))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync_names(&self) -> Result<(), WalError> {
        self.io.sync_dir(&self.dir).map_err(WalError::io("sync", &self.dir))
    }

    fn prepare_ahead(&self) {
        let mut pool = self.lock();
        while !self.stop.load(Ordering::Relaxed) {
            if pool.helper != Helper::Wanted {
                pool = self.changed.wait(pool).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            if !pool.ready.is_empty() {
                pool.helper = Helper::Idle;
                continue;
            }
            pool.helper = Helper::Busy;
            let path = pool.name(&self.dir);
            drop(pool);
            let created = create_segment(&*self.io, &path, self.segment_bytes, &self.stop);
            pool = self.lock();
            pool.helper = if created.is_ok() { Helper::Idle } else { Helper::Failed };
            if created.is_ok() {
                pool.ready.push_back(path);
            }
            self.changed.notify_all();
        }
    }
}

/// Makes `path` a file of `bytes` zeros on disk; it gets its name only when it is complete.
fn create_segment(io: &dyn Io, path: &Path, bytes: u64, stop: &AtomicBool) -> io::Result<()> {
    let unfinished = path.with_extension("tmp");
    let fill = || {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        reserve(&file, bytes)?;
        zero_fill(io, &file, 0..bytes, stop)?;
        io.sync_data(&file)?;
        fs::rename(&unfinished, path)
    };
    fill().inspect_err(|_| {
        // The first error is the one to report; opening the log deletes what stays behind.
        let _ = fs::remove_file(&unfinished);
    })
}

/// Asks for the space in one piece; file systems that cannot do it are as good with the writes alone.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
