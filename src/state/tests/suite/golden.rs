//! Golden scripts: each gives the transcript that it holds, on every engine, and leaves the same store behind however
//! its entries are batched. `UPDATE_GOLDEN=1` writes the transcripts anew: read the difference before keeping it.

use std::path::{Path, PathBuf};
use std::{env, fs, thread};

use cairn_state::{Command, Outcome, RevisionEvents, decode_entry};

use crate::harness::{Dump, EngineKind, Subject, dump_replicated};
use crate::runner;

const AREAS: [&str; 5] = ["mvcc", "txn", "lease", "compaction", "watch"];

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let list = |area: &str| fs::read_dir(folder.join(area)).expect("the folder of scripts");
    let entries = AREAS.iter().flat_map(|area| list(area));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    assert!(paths.len() > AREAS.len(), "too few scripts");
    paths
}

fn check(path: &Path, kind: EngineKind) {
    let expected = fs::read_to_string(path).expect("a readable script");
    let found = runner::transcript(&expected, kind);
    if env::var_os("UPDATE_GOLDEN").is_none() {
        compare(path, kind, &expected, &found);
    } else if kind == EngineKind::Memory && found != expected {
        fs::write(path, &found).expect("a script that can be written");
    }
}

fn compare(path: &Path, kind: EngineKind, expected: &str, found: &str) {
    if expected == found {
        return;
    }
    let same = expected.lines().zip(found.lines()).take_while(|(a, b)| a == b).count();
    let section = |text: &str| text.lines().skip(same.saturating_sub(4)).take(12).collect::<Vec<_>>().join("\n");
    panic!(
        "{} on {kind:?} differs from line {} on\n--- expected\n{}\n--- found\n{}\n",
        path.display(),
        same + 1,
        section(expected),
        section(found)
    );
}

#[test]
fn transcripts_hold_on_the_memory_engine() {
    scripts().iter().for_each(|path| check(path, EngineKind::Memory));
}

#[test]
fn transcripts_hold_on_rocksdb() {
    // All at once: they mostly wait for the disk.
    thread::scope(|scope| {
        for path in scripts() {
            scope.spawn(move || check(&path, EngineKind::Rocks));
        }
    });
}

/// What a log leads to: the store once compaction is done, all answers, and all events that are left.
#[derive(Debug, PartialEq)]
struct Result {
    dump: [Dump; 4],
    outcomes: Vec<Outcome>,
    events: Vec<RevisionEvents>,
}

/// Applies the commands in entries and calls of the sizes that `sizes` answers, compacting in between if told to.
fn replay(commands: &[Command], per_entry: usize, per_call: &dyn Fn(usize) -> usize, eager: bool) -> Result {
    let entries: Vec<_> = commands.chunks(per_entry).map(<[Command]>::to_vec).collect();
    let mut subject = Subject::new(EngineKind::Memory);
    let mut outcomes = Vec::new();
    let mut rest = entries.as_slice();
    for call in 0.. {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(per_call(call).clamp(1, rest.len()));
        outcomes.extend(subject.apply(now).into_iter().flat_map(|entry| entry.outcomes));
        rest = later;
        if eager {
            subject.compact_step(call % 3 + 1);
        }
    }
    subject.compact_all();
    let (store, view) = (subject.store(), subject.view());
    let mut events = Vec::new();
    let mut cursor = view.events(view.compacted.max(0)).expect("the engine does not fail");
    while let Some(mut revision) = cursor.next_revision().expect("the engine does not fail") {
        revision.events.iter_mut().for_each(|event| event.prev_kv = None);
        events.push(revision);
    }
    Result { dump: dump_replicated(store.engine().as_ref()), outcomes, events }
}

#[test]
fn batches_make_no_difference() {
    for path in scripts() {
        let text = fs::read_to_string(&path).expect("a readable script");
        let (_, subject) = runner::run(&text, EngineKind::Memory);
        let decoded = subject.log.iter().filter_map(|entry| decode_entry(entry.data.clone()).expect("our own entry"));
        let commands: Vec<_> = decoded.flat_map(|(_, commands)| commands).collect();
        let expected = replay(&commands, 1, &|_| 1, false);
        let scattered = |call: usize| call.wrapping_mul(0x9e37_79b9) >> 7 & 7;
        for (per_entry, per_call, eager) in
            [(1, usize::MAX, false), (1, 1, true), (3, 1, false), (2, 3, true), (7, 2, true)]
        {
            let found = replay(&commands, per_entry, &|_| per_call, eager);
            assert_eq!(found, expected, "{}: {per_entry} per entry, {per_call} per call", path.display());
        }
        assert_eq!(replay(&commands, 1, &scattered, true), expected, "{}: scattered", path.display());
    }
}
