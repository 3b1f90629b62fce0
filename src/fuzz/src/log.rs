//! The Raft log on a disk that changed some bytes.
//!
//! Promises (`cairn-wal`): opening ends with a log or a typed error. What it says it holds was written, up to the end of
//! a batch, and can be read, or the error says where it is damaged. A batch is missing only at the end, and only if a byte
//! of it changed: damage before an intact batch is refused. Opened again it is the same, with nothing left to cut.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use bytes::Bytes;
use cairn_types::{ClusterId, Entry, EntryKind, HardState, LogIndex, MemberId, Term};
use cairn_wal::{Identity, Recovered, Wal, WalOptions};

use crate::input::Input;

/// The smallest that there is.
const SEGMENT_BYTES: u64 = 8192;

/// Most bytes that one input changes.
const MAX_CHANGES: usize = 64;

const OPTIONS: WalOptions = WalOptions {
    segment_bytes: SEGMENT_BYTES,
    identity: Identity { cluster: ClusterId(0xc1), member: MemberId(1) },
    sync: false,
};

/// A log of two segments.
struct Sound {
    /// Name and content of its files.
    files: Vec<(String, Vec<u8>)>,
    /// Every entry that was written, in the order of the writes.
    written: Vec<Entry>,
    /// The hard state and the last entry after each batch; before the first, those of a new log.
    states: Vec<(HardState, LogIndex, Term)>,
}

fn entry(index: u64, term: u64, size: usize) -> Entry {
    let data = Bytes::from(vec![b'x'; size]);
    Entry { index: LogIndex(index), term: Term(term), kind: EntryKind::Normal, data }
}

fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| {
        let hard_state = |term, commit| HardState { term: Term(term), vote: 1, commit: LogIndex(commit) };
        let batches = [
            (vec![entry(1, 1, 10), entry(2, 1, 100)], hard_state(1, 0)),
            (vec![entry(3, 1, 6000)], hard_state(1, 2)),
            // In the next segment.
            (vec![entry(4, 1, 3000), entry(5, 1, 0)], hard_state(1, 3)),
            // Replaces an entry.
            (vec![entry(5, 2, 20)], hard_state(2, 3)),
        ];
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mut wal, new) = Wal::open(folder.path(), OPTIONS).expect("a new log");
        let mut states = vec![(new.hard_state, new.last_index, new.last_term)];
        for (entries, hard_state) in &batches {
            wal.append(entries, Some(*hard_state)).expect("the disk takes a batch");
            let last = wal.reader().last();
            states.push((*hard_state, last.index, last.term));
        }
        drop(wal);
        let written = batches.into_iter().flat_map(|(entries, _)| entries).collect();
        let files = fs::read_dir(folder.path()).expect("the folder of the log").map(|file| {
            let file = file.expect("a readable folder");
            let name = file.file_name().into_string().expect("names of segments are ASCII");
            (name, fs::read(file.path()).expect("a readable segment"))
        });
        let mut files: Vec<_> = files.collect();
        files.sort();
        Sound { files, written, states }
    })
}

/// Opens the log, of which so many bytes are not as they were, and reads all that it says it holds.
fn open(folder: &Path, changed: usize) -> Option<Recovered> {
    let (wal, recovered) = Wal::open(folder, OPTIONS).ok()?;
    let state = (recovered.hard_state, recovered.last_index, recovered.last_term);
    let batches = sound().states.iter().rposition(|sound| *sound == state);
    let batches = batches.unwrap_or_else(|| panic!("{state:?} was the state after no batch"));
    let missing = sound().states.len() - 1 - batches;
    assert!(missing <= changed, "{missing} batches are missing after {changed} changed bytes");
    let reader = wal.reader();
    assert_eq!(reader.first_index(), recovered.first_index);
    assert_eq!(reader.last_index(), recovered.last_index);
    let mut next = recovered.first_index;
    while next <= recovered.last_index {
        let Ok(entries) = reader.entries(next, recovered.last_index.next(), 1 << 20) else { break };
        assert!(!entries.is_empty(), "no entry and no error at {next}");
        for entry in entries {
            assert_eq!(entry.index, next);
            assert!(sound().written.contains(&entry), "{entry:?} was never written");
            next = next.next();
        }
    }
    Some(recovered)
}

pub(crate) fn run(bytes: &[u8]) {
    let mut files = sound().files.clone();
    let mut input = Input::new(bytes);
    for _ in 0..MAX_CHANGES {
        let Some(file) = input.byte() else { break };
        let (at, value) = (usize::from(input.number()), input.byte().unwrap_or(0));
        let count = files.len();
        let content = &mut files[usize::from(file) % count].1;
        let length = content.len();
        content[at % length] = value;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, content) in &files {
        fs::write(folder.path().join(name), content).expect("a segment can be written");
    }
    let were = sound().files.iter().flat_map(|(_, content)| content);
    let changed = files.iter().flat_map(|(_, content)| content).zip(were).filter(|(is, was)| is != was).count();
    if let Some(first) = open(folder.path(), changed) {
        let second = open(folder.path(), changed).expect("a log that was opened opens again");
        assert_eq!(second, Recovered { repaired_bytes: 0, segments: second.segments, ..first });
    }
}

/// Nothing changed; a byte of each file; the start of what a batch that was torn might have left.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![vec![], vec![0, 0, 1, 1, 1, 40, 0, 1], vec![1, 0, 16, 7]]
}
