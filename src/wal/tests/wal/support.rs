//! Logs in temporary directories, entries to put into them, and the places of frames in their files.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cairn_types::{ClusterId, Entry, EntryKind, HardState, LogIndex, MemberId, Term};
use cairn_wal::{Identity, Recovered, Wal, WalError, WalOptions};

/// The smallest segments: one block of header and one of frames.
pub(crate) const SMALL: u64 = 8192;
/// Where the first frame of a segment begins.
pub(crate) const HEADER: usize = 4096;

pub(crate) fn options() -> WalOptions {
    let identity = Identity { cluster: ClusterId(0xc1), member: MemberId(0x3e) };
    WalOptions { segment_bytes: SMALL, identity, sync: false }
}

pub(crate) fn open(dir: &Path) -> (Wal, Recovered) {
    Wal::open(dir, options()).expect("the log opens")
}

pub(crate) fn open_error(dir: &Path) -> WalError {
    match Wal::open(dir, options()) {
        Ok((_, recovered)) => panic!("the log opened as {recovered:?}"),
        Err(error) => error,
    }
}

pub(crate) fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    let seed = index.wrapping_mul(31).wrapping_add(term).to_le_bytes()[0];
    let data: Vec<u8> = (seed..=255).cycle().take(bytes).collect();
    let kind = match index % 5 {
        3 => EntryKind::ConfChange,
        4 => EntryKind::ConfChangeV2,
        _ => EntryKind::Normal,
    };
    Entry { index: LogIndex(index), term: Term(term), kind, data: Bytes::from(data) }
}

pub(crate) fn entries(indices: std::ops::RangeInclusive<u64>, term: u64, bytes: usize) -> Vec<Entry> {
    indices.map(|index| entry(index, term, bytes)).collect()
}

pub(crate) fn hard_state(term: u64, commit: u64) -> HardState {
    HardState { term: Term(term), vote: 7, commit: LogIndex(commit) }
}

/// All that the log stores.
pub(crate) fn stored(wal: &Wal) -> Vec<Entry> {
    let reader = wal.reader();
    reader.entries(reader.first_index(), reader.last_index().next(), usize::MAX).expect("stored entries can be read")
}

/// Bytes of the frame of an entry, and of a hard state.
pub(crate) fn entry_frame(data: usize) -> usize {
    (24 + 16 + data).next_multiple_of(8)
}
pub(crate) const HARD_STATE_FRAME: usize = 48;

/// A length or offset within a small log.
pub(crate) fn size(number: u64) -> usize {
    usize::try_from(number).expect("test logs are small")
}

pub(crate) fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).expect("the directory lists").map(|file| file.expect("the directory lists").path());
    let mut files: Vec<_> = all.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    files(dir, "wal")
}

/// A log in a directory of its own with exactly one segment, which holds `content`.
pub(crate) fn with_segment(name: &Path, content: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = name.file_name().expect("a segment has a name");
    fs::write(dir.path().join(name), content).expect("the segment is written");
    dir
}
