//! What needs a disk that fails, or a salt that is known.

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cairn_types::{ClusterId, Entry, EntryKind, HardState, LogIndex, MemberId, Term};

use crate::io::{Io, SystemIo, write_all_at};
use crate::{Identity, Wal, WalError, WalOptions};

/// A disk whose operations fail from a countdown on, or write only a few bytes at once.
struct TestIo {
    system: SystemIo,
    writes_left: AtomicUsize,
    syncs_left: AtomicUsize,
    /// Syncs that were asked for, failed ones too.
    syncs: AtomicUsize,
    /// Most bytes of one write.
    chunk: usize,
}

impl TestIo {
    fn new(chunk: usize) -> Arc<Self> {
        let many = || AtomicUsize::new(usize::MAX / 2);
        let system = SystemIo { sync: false };
        Arc::new(Self { system, writes_left: many(), syncs_left: many(), syncs: AtomicUsize::new(0), chunk })
    }

    fn spend(left: &AtomicUsize, error: io::ErrorKind) -> io::Result<()> {
        let spent = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        spent.map(drop).map_err(|_| error.into())
    }
}

impl Io for TestIo {
    fn write_at(&self, file: &File, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Self::spend(&self.writes_left, io::ErrorKind::StorageFull)?;
        if self.chunk == usize::MAX {
            return self.system.write_at(file, buffers, offset);
        }
        let bytes = &buffers[0][..buffers[0].len().min(self.chunk)];
        self.system.write_at(file, &[IoSlice::new(bytes)], offset)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        Self::spend(&self.syncs_left, io::ErrorKind::Other)?;
        self.system.sync_data(file)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.system.sync_dir(dir)
    }

    fn salt(&self) -> u32 {
        0x5a17_5a17
    }
}

fn options() -> WalOptions {
    let identity = Identity { cluster: ClusterId(0x0102_0304_0506_0708), member: MemberId(0x1112_1314_1516_1718) };
    WalOptions { segment_bytes: 8192, identity, sync: false }
}

fn entry(index: u64, data: &'static [u8]) -> Entry {
    Entry { index: LogIndex(index), term: Term(2), kind: EntryKind::ConfChange, data: Bytes::from_static(data) }
}

/// A log that has its spare, so that no helper works beside the test.
fn settled(dir: &Path, io: &Arc<TestIo>) -> Wal {
    let spares =
        || fs::read_dir(dir).unwrap().filter(|f| f.as_ref().unwrap().path().extension().unwrap() == "spare").count();
    let wal = Wal::open_with(dir, options(), Arc::clone(io) as Arc<dyn Io>).unwrap().0;
    while spares() == 0 {
        std::thread::yield_now();
    }
    wal
}

fn is_poisoned(wal: &mut Wal) -> bool {
    let calls = [
        wal.append(&[entry(1, b"x")], None),
        wal.append(&[], None),
        wal.release_to(LogIndex(0)),
        wal.reset_to(LogIndex(9), Term(9), HardState::default()),
    ];
    calls.iter().all(|call| matches!(call, Err(WalError::Poisoned { .. })))
}

#[test]
fn a_failed_write_poisons_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let io = TestIo::new(usize::MAX);
    let mut wal = settled(dir.path(), &io);
    wal.append(&[entry(1, b"kept")], None).unwrap();
    io.writes_left.store(0, Ordering::SeqCst);
    let error = wal.append(&[entry(2, b"lost")], None).unwrap_err();
    assert!(matches!(error, WalError::Io { operation: "write", .. }), "{error}");
    io.writes_left.store(100, Ordering::SeqCst);
    assert!(is_poisoned(&mut wal));
    assert_eq!(wal.reader().last_index(), LogIndex(1));
    drop(wal);
    assert_eq!(Wal::open(dir.path(), options()).unwrap().1.last_index, LogIndex(1));
}

#[test]
fn a_failed_sync_poisons_the_log_and_is_not_retried() {
    let dir = tempfile::tempdir().unwrap();
    let io = TestIo::new(usize::MAX);
    let mut wal = settled(dir.path(), &io);
    let before = io.syncs.load(Ordering::SeqCst);
    io.syncs_left.store(1, Ordering::SeqCst);
    wal.append(&[entry(1, b"kept"), entry(2, b"kept")], Some(HardState::default())).unwrap();
    assert_eq!(io.syncs.load(Ordering::SeqCst), before + 1, "one sync for the whole batch");
    let error = wal.append(&[entry(3, b"unknown")], None).unwrap_err();
    assert!(matches!(error, WalError::Io { operation: "sync", .. }), "{error}");
    assert!(is_poisoned(&mut wal));
    assert_eq!(io.syncs.load(Ordering::SeqCst), before + 2, "the failed sync was the last");
    assert_eq!(wal.reader().last_index(), LogIndex(2), "readers never see what may not be durable");
}

#[test]
fn a_failure_while_a_segment_is_begun_poisons_the_log_and_loses_nothing() {
    for syncs in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        let io = TestIo::new(usize::MAX);
        let mut wal = settled(dir.path(), &io);
        wal.append(&[entry(1, &[7; 3_000])], None).unwrap();
        io.syncs_left.store(syncs, Ordering::SeqCst);
        assert!(matches!(wal.append(&[entry(2, &[8; 3_000])], None), Err(WalError::Io { .. })));
        assert!(is_poisoned(&mut wal));
        drop(wal);
        let (mut wal, recovered) = Wal::open(dir.path(), options()).unwrap();
        let next = recovered.last_index.next();
        assert!(next == LogIndex(2) || next == LogIndex(3));
        wal.append(&[entry(next.0, b"more")], None).unwrap();
        drop(wal);
        assert_eq!(Wal::open(dir.path(), options()).unwrap().1.last_index, next);
    }
}

#[test]
fn opening_makes_the_last_batch_durable_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = Wal::open(dir.path(), options()).unwrap().0;
    wal.append(&[entry(1, b"was it synced?")], None).unwrap();
    drop(wal);
    let io = TestIo::new(usize::MAX);
    io.syncs_left.store(0, Ordering::SeqCst);
    let error = Wal::open_with(dir.path(), options(), Arc::clone(&io) as Arc<dyn Io>).err().unwrap();
    assert!(matches!(error, WalError::Io { operation: "repair the end of", .. }), "{error}");
}

#[test]
fn a_disk_that_takes_few_bytes_at_once_gets_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = Wal::open_with(dir.path(), options(), TestIo::new(100)).unwrap().0;
    let large = Entry { data: Bytes::from(vec![3; 40_000]), ..entry(2, b"") };
    let batch = [entry(1, b"small"), large, entry(3, b"small")];
    wal.append(&batch, None).unwrap();
    drop(wal);
    let (wal, _) = Wal::open(dir.path(), options()).unwrap();
    assert_eq!(wal.reader().entries(LogIndex(1), LogIndex(4), usize::MAX).unwrap(), batch);
}

#[test]
fn a_segment_of_a_later_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(Wal::open(dir.path(), options()).unwrap());
    let path = dir.path().join("0000000000000001.wal");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..4096]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = Wal::open(dir.path(), options()).err().unwrap();
    assert!(matches!(error, WalError::Version { found: 2, supported: 1, .. }), "{error}");
}

#[test]
fn more_buffers_than_the_system_takes_at_once_are_written() {
    let file = tempfile::tempfile().unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    let mut buffers: Vec<_> = bytes.chunks(1).map(IoSlice::new).collect();
    write_all_at(&SystemIo { sync: false }, &file, &mut buffers, 3).unwrap();
    let mut found = vec![0; 5_000];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut found, 3).unwrap();
    assert_eq!(found, bytes);
}

/// The example at the end of `docs/format/wal.md`, which this test reads: the page and the program agree, or this fails.
#[test]
fn a_segment_has_the_bytes_that_the_format_page_shows() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = Wal::open_with(dir.path(), options(), TestIo::new(usize::MAX)).unwrap().0;
    let hard_state = HardState { term: Term(2), vote: 0x1112_1314_1516_1718, commit: LogIndex(1) };
    wal.append(&[entry(1, b"first"), entry(2, b"")], Some(hard_state)).unwrap();
    wal.append(&[Entry { kind: EntryKind::Normal, ..entry(2, b"replaced") }], None).unwrap();
    wal.reset_to(LogIndex(7), Term(3), HardState { commit: LogIndex(7), ..hard_state }).unwrap();
    let bytes = fs::read(dir.path().join("0000000000000001.wal")).unwrap();
    let shown: String = hex_lines(&bytes).join("\n");
    let page = include_str!("../../../docs/format/wal.md");
    let example = page.split("```hex\n").nth(1).and_then(|rest| rest.split("\n```").next());
    assert_eq!(example, Some(shown.as_str()), "the segment is now\n{shown}");
}

/// Sixteen bytes a line behind their offset; lines of zeros are left out.
fn hex_lines(bytes: &[u8]) -> Vec<String> {
    let lines = bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0));
    lines
        .map(|(at, line)| {
            let hex: Vec<_> =
                line.chunks(4).map(|four| four.iter().map(|b| format!("{b:02x}")).collect::<String>()).collect();
            format!("{:04x}  {}", at * 16, hex.join(" "))
        })
        .collect()
}
