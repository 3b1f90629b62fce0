//! What is left when the process is killed, or the disk refuses: whole batches in order, and a typed error.
//!
//! The process that dies is this test's own program, started again with one of the two environment variables below.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use cairn_rocks::{RocksEngine, RocksOptions};
use cairn_storage::{Batch, Column, Engine, EngineError, View};

const WRITER_DIR: &str = "CAIRN_TEST_WRITER_DIR";
const REFUSED_DIR: &str = "CAIRN_TEST_REFUSED_DIR";

const OPTIONS: RocksOptions = RocksOptions { memory_budget_bytes: 32 << 20, create_if_missing: true };

/// Batches between two flushes that the writer asks for.
const FLUSH_EVERY: u64 = 700;

fn open(dir: &Path) -> RocksEngine {
    RocksEngine::open(dir, OPTIONS).expect("a database can be opened")
}

/// The `n`th batch: sets a few keys and deletes one, in every column, and names itself.
fn batch(n: u64) -> Batch {
    let mut batch = Batch::new();
    for (i, column) in (0..).zip(Column::ALL) {
        batch.put(column, "last", n.to_be_bytes().to_vec());
        batch.put(column, key((n * (i + 7)) % 2_003), noise(n, n * (i + 1) % 2_000));
        batch.delete(column, key((n * (i + 3)) % 1_009));
    }
    batch
}

/// About `len` bytes that do not compress, from a number.
fn noise(mut seed: u64, len: u64) -> Bytes {
    let words = (0..len / 8).flat_map(|_| {
        seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        seed.to_be_bytes()
    });
    words.collect()
}

fn key(n: u64) -> Vec<u8> {
    format!("key-{n:08}").into_bytes()
}

fn last(view: &dyn View, column: Column) -> u64 {
    let value = view.get(column, b"last").expect("a key can be read");
    value.map_or(0, |value| u64::from_be_bytes(value.as_ref().try_into().expect("the writer wrote 8 bytes")))
}

fn child(variable: &str, dir: &Path, command: &mut Command) -> Child {
    let command = command.env(variable, dir).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("the test's program can be started again")
}

#[test]
fn a_killed_process_leaves_whole_batches_in_order_up_to_its_last_flush_at_least() {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let mut expected = BTreeMap::new();
    let mut applied = 0;
    for lines in [1, 9, 3, 17, 2, 6] {
        let flushed = run_and_kill(dir.path(), lines);
        let engine = open(dir.path());
        let view = engine.view().expect("a view can be taken");
        let survived = last(&*view, Column::Meta);
        assert!(survived >= flushed, "batch {flushed} was flushed, but {survived} is the last one left");
        for n in applied + 1..=survived {
            apply(&mut expected, &batch(n));
        }
        applied = survived;
        check_content(&engine, &*view, &expected);
    }
    assert!(applied > 20 * FLUSH_EVERY, "the writers got somewhere");
}

/// Starts a writer, kills it when it has written so many lines, and returns the last batch that it said was flushed.
fn run_and_kill(dir: &Path, lines: usize) -> u64 {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its program"));
    let mut writer = child(WRITER_DIR, dir, command.args(["--exact", "writes_until_killed_when_asked", "--nocapture"]));
    let stdout = BufReader::new(writer.stdout.take().expect("it was asked for"));
    let flushed = stdout.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("flushed ")?.parse().ok());
    let flushed = flushed.take(lines).last();
    writer.kill().expect("a child can be killed");
    writer.wait().expect("a child can be waited for");
    flushed.expect("the writer flushed before it died")
}

fn apply(model: &mut BTreeMap<(Column, Bytes), Bytes>, batch: &Batch) {
    for write in batch.writes() {
        match &write.value {
            Some(value) => model.insert((write.column, write.key.clone()), value.clone()),
            None => model.remove(&(write.column, write.key.clone())),
        };
    }
}

fn check_content(engine: &RocksEngine, view: &dyn View, expected: &BTreeMap<(Column, Bytes), Bytes>) {
    let mut found = BTreeMap::new();
    for column in Column::ALL {
        let mut cursor = view.scan(column, b"", None).expect("a scan can begin");
        while cursor.advance().expect("a cursor can move") {
            let key = Bytes::copy_from_slice(cursor.key());
            let persisted = engine.persisted(column, &key).expect("a key can be read");
            assert_eq!(persisted.as_deref(), Some(cursor.value()), "what was read after a crash is durable");
            found.insert((column, key), Bytes::copy_from_slice(cursor.value()));
        }
    }
    assert!(found == *expected, "the content is not that of a prefix of whole batches");
}

/// The process that gets killed: continues after the last batch that it finds.
#[test]
fn writes_until_killed_when_asked() {
    let Some(dir) = std::env::var_os(WRITER_DIR) else { return };
    let engine = open(Path::new(&dir));
    let mut n = last(&*engine.view().expect("a view can be taken"), Column::Meta);
    loop {
        n += 1;
        engine.write(&batch(n)).expect("a batch can be written");
        if n.is_multiple_of(FLUSH_EVERY) {
            engine.flush().expect("the engine can be flushed");
            println!("\nflushed {n}");
        }
    }
}

#[test]
fn a_disk_that_refuses_stops_the_engine_for_good_and_spares_what_was_flushed() {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    for name in REFUSED {
        let engine = open(&dir.path().join(name));
        engine.write(&batch(1)).expect("a batch can be written");
        engine.flush().expect("the engine can be flushed");
    }
    // The limit on a file's size makes writes fail in the background as a full disk does, without needing one.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$0\" --exact writes_until_refused_when_asked --nocapture"]);
    command.arg(std::env::current_exe().expect("a test knows its program"));
    let mut writer = child(REFUSED_DIR, dir.path(), &mut command);
    let mut output = String::new();
    let stdout = writer.stdout.as_mut().expect("it was asked for");
    stdout.read_to_string(&mut output).expect("the writer's output is text");
    let status = writer.wait().expect("a child can be waited for");
    assert!(status.success() && output.contains("stopped as it should"), "{output}");

    for name in REFUSED {
        let engine = open(&dir.path().join(name));
        let view = engine.view().expect("a view can be taken");
        let mut expected = BTreeMap::new();
        (1..=last(&*view, Column::Cur)).for_each(|n| apply(&mut expected, &batch(n)));
        check_content(&engine, &*view, &expected);
    }
}

/// The databases of the test above: of one that only writes, and of one that asks for a flush.
const REFUSED: [&str; 2] = ["write", "flush"];

/// The process whose disk refuses.
#[test]
fn writes_until_refused_when_asked() {
    let Some(dir) = std::env::var_os(REFUSED_DIR) else { return };
    let engines = REFUSED.map(|name| open(&Path::new(&dir).join(name)));
    let views = engines.each_ref().map(|engine| engine.view().expect("a view can be taken"));
    // Far more than fits before a flush is due.
    let mut writes = 2..100_000;
    let error = writes.find_map(|n| engines[0].write(&batch(n)).err()).expect("a write must fail at last");
    println!("\nthe write: {error}");
    assert!(error.to_string().contains("File too large"), "the system's reason comes along");
    (2..1_000).for_each(|n| engines[1].write(&batch(n)).expect("no flush is due"));
    let error = engines[1].flush().expect_err("the flush must fail");
    println!("the flush: {error}");
    for (engine, view) in engines.iter().zip(views) {
        assert!(matches!(engine.write(&batch(1)), Err(EngineError::Stopped { .. })));
        assert!(matches!(engine.flush(), Err(EngineError::Stopped { .. })));
        assert_eq!(last(&*view, Column::Cur), 1, "views still read");
    }
    println!("stopped as it should");
}
