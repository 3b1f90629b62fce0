//! The few system calls that make bytes durable, behind a trait so that tests can make them fail.
//!
//! Contract: nothing here retries a failed write or sync; an interrupted write is not a failed one.

use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most buffers of one call (Linux: `UIO_MAXIOV`).
const MAX_BUFFERS: usize = 1024;
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

pub(crate) trait Io: Send + Sync {
    /// Writes some of `buffers` at `offset`; gives the number of bytes.
    fn write_at(&self, file: &File, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// Returns when the file's bytes, and its length, are on disk.
    fn sync_data(&self, file: &File) -> io::Result<()>;
    /// Returns when the names in `dir` are on disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// A number that nobody can guess.
    fn salt(&self) -> u32;
}

/// The operating system.
pub(crate) struct SystemIo {
    pub(crate) sync: bool,
}

impl Io for SystemIo {
    fn write_at(&self, file: &File, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(file, buffers, offset)?)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        if self.sync { file.sync_data() } else { Ok(()) }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.sync { File::open(dir)?.sync_all() } else { Ok(()) }
    }

    fn salt(&self) -> u32 {
        // The standard library seeds every `RandomState` from the system's generator.
        let bytes = std::hash::RandomState::new().build_hasher().finish().to_le_bytes();
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// Writes all of `buffers` at `offset`, with one call if there are no more than the system takes at once.
pub(crate) fn write_all_at(io: &dyn Io, file: &File, buffers: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    let mut rest = buffers;
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match io.write_at(file, &rest[..rest.len().min(MAX_BUFFERS)], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut rest, written);
                offset += u64::try_from(written).map_err(io::Error::other)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Overwrites `range` with zeros; gives up with `Interrupted` as soon as `stop` is set.
pub(crate) fn zero_fill(io: &dyn Io, file: &File, range: Range<u64>, stop: &AtomicBool) -> io::Result<()> {
    let mut offset = range.start;
    while offset < range.end {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = usize::try_from(range.end - offset).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        write_all_at(io, file, &mut [IoSlice::new(&ZEROS[..length])], offset)?;
        offset += u64::try_from(length).map_err(io::Error::other)?;
    }
    Ok(())
}
