//! RocksDB keeps the contract of engines; and what opening a database answers.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use cairn_rocks::{RocksEngine, RocksOptions};
use cairn_storage::conformance::{self, Subject};
use cairn_storage::{Batch, Column, Engine, EngineError};

const OPTIONS: RocksOptions = RocksOptions { memory_budget_bytes: 64 << 20, create_if_missing: true };
const EXISTING: RocksOptions = RocksOptions { create_if_missing: false, ..OPTIONS };

struct Rocks;

impl Subject for Rocks {
    type Engine = RocksEngine;

    fn create(&self, dir: &Path) -> RocksEngine {
        open(dir)
    }

    fn reopen(&self, engine: RocksEngine, dir: &Path) -> RocksEngine {
        drop(engine);
        RocksEngine::open(dir, EXISTING).expect("the database can be opened again")
    }

    fn open_checkpoint(&self, dir: &Path) -> RocksEngine {
        RocksEngine::open(dir, EXISTING).expect("the checkpoint can be opened")
    }
}

fn open(dir: &Path) -> RocksEngine {
    RocksEngine::open(dir, OPTIONS).expect("a database can be opened")
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn put(engine: &RocksEngine, key: &'static str) {
    let mut batch = Batch::new();
    batch.put(Column::Cur, key, "v");
    engine.write(&batch).expect("a batch can be written");
}

#[test]
fn rocksdb_keeps_the_contract() {
    let scratch = scratch();
    conformance::run(&Rocks, scratch.path());
}

#[test]
fn what_was_written_survives_an_orderly_close_without_a_flush() {
    let dir = scratch();
    let engine = open(dir.path());
    put(&engine, "k");
    drop(engine);
    let engine = open(dir.path());
    assert_eq!(engine.persisted(Column::Cur, b"k").expect("a key can be read"), Some("v".into()));
}

#[test]
fn a_read_that_may_not_touch_the_disk_says_so_and_finds_what_was_read_before() {
    let dir = scratch();
    let engine = open(dir.path());
    put(&engine, "k");
    let from_memory = |engine: &RocksEngine| engine.view().expect("a view").get_from_memory(Column::Cur, b"k");
    assert_eq!(from_memory(&engine).expect("written just now"), Some("v".into()));
    engine.flush().expect("the store can be flushed");
    drop(engine);
    let engine = open(dir.path());
    assert!(matches!(from_memory(&engine), Err(EngineError::NotInMemory)));
    assert_eq!(engine.view().expect("a view").get(Column::Cur, b"k").expect("it is on disk"), Some("v".into()));
    assert_eq!(from_memory(&engine).expect("it was read"), Some("v".into()));
}

#[test]
fn a_view_holds_the_database_after_its_engine_is_gone() {
    let dir = scratch();
    let engine = open(dir.path());
    put(&engine, "k");
    let view = engine.view().expect("a view can be taken");
    drop(engine);
    assert_eq!(view.get(Column::Cur, b"k").expect("a key can be read"), Some("v".into()));
    assert!(matches!(RocksEngine::open(dir.path(), OPTIONS), Err(EngineError::Locked { .. })));
    drop(view);
    open(dir.path());
}

#[test]
fn a_database_is_made_only_on_request() {
    let dir = scratch();
    let missing = dir.path().join("missing");
    assert!(matches!(RocksEngine::open(&missing, EXISTING), Err(EngineError::Missing { .. })));
    assert!(!missing.exists(), "asking leaves nothing behind");
    open(&missing);
    RocksEngine::open(&missing, EXISTING).expect("now it is there");
}

#[test]
fn two_engines_of_one_process_cannot_hold_one_database() {
    let dir = scratch();
    let _holder = open(dir.path());
    let error = RocksEngine::open(dir.path(), OPTIONS).expect_err("the database is held");
    assert!(matches!(error, EngineError::Locked { .. }), "{error:?}");
}

const HOLD_DIR: &str = "CAIRN_TEST_HOLD_DIR";

#[test]
fn two_processes_cannot_hold_one_database() {
    let dir = scratch();
    let mut holder = Command::new(std::env::current_exe().expect("a test knows its program"))
        .args(["--exact", "holds_the_database_when_asked", "--nocapture"])
        .env(HOLD_DIR, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test's program can be started again");
    let mut output = BufReader::new(holder.stdout.take().expect("it was asked for")).lines().map_while(Result::ok);
    let held = output.any(|line| line.contains("holding"));
    let result = RocksEngine::open(dir.path(), OPTIONS);
    drop(holder.stdin.take());
    holder.wait().expect("a child can be waited for");
    assert!(held, "the other process opened the database");
    let error = result.expect_err("the database is held");
    assert!(matches!(error, EngineError::Locked { .. }), "{error:?}");
    open(dir.path());
}

/// The other process of the test above: holds until its standard input ends.
#[test]
fn holds_the_database_when_asked() {
    let Some(dir) = std::env::var_os(HOLD_DIR) else { return };
    let _engine = open(Path::new(&dir));
    println!("\nholding");
    let _end_of_input = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_database_with_unknown_columns_is_refused_by_name() {
    let dir = scratch();
    drop(open(dir.path()));
    let known = Column::ALL.map(Column::name);
    let mut db =
        rocksdb::DB::open_cf(&rocksdb::Options::default(), dir.path(), known).expect("it is a RocksDB database");
    db.create_cf("future", &rocksdb::Options::default()).expect("a column can be made");
    drop(db);
    let error = RocksEngine::open(dir.path(), OPTIONS).expect_err("the column is unknown");
    assert!(matches!(&error, EngineError::Incompatible { reason, .. } if reason.contains("future")), "{error:?}");
}

/// The one table file of a database that was flushed once.
fn table_file(dir: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(dir).expect("the folder can be read").map(|entry| entry.expect("an entry").path());
    files.into_iter().find(|path| path.extension().is_some_and(|e| e == "sst")).expect("a table file was written")
}

#[test]
fn a_table_of_a_newer_format_is_refused_as_such() {
    let dir = scratch();
    let engine = open(dir.path());
    put(&engine, "k");
    engine.flush().expect("the engine can be flushed");
    drop(engine);
    let path = table_file(dir.path());
    let mut table = fs::read(&path).expect("the table can be read");
    // A table ends with its format's version (4 bytes) and a magic number (8 bytes).
    let version = table.len() - 12;
    table[version..version + 4].copy_from_slice(&99_u32.to_le_bytes());
    fs::write(&path, table).expect("the table can be written");
    let error = RocksEngine::open(dir.path(), OPTIONS).expect_err("the format is unknown");
    assert!(matches!(&error, EngineError::Incompatible { reason, .. } if reason.contains("99")), "{error:?}");
}

#[test]
fn damage_is_an_error_and_never_a_wrong_value() {
    let dir = scratch();
    let engine = open(dir.path());
    put(&engine, "k");
    engine.flush().expect("the engine can be flushed");
    drop(engine);
    let path = table_file(dir.path());
    let mut table = fs::read(&path).expect("the table can be read");
    table[5] ^= 1;
    fs::write(&path, table).expect("the table can be written");
    let engine = open(dir.path());
    let view = engine.view().expect("a view can be taken");
    assert!(matches!(view.get(Column::Cur, b"k"), Err(EngineError::Corrupt { .. })));
    let mut cursor = view.scan(Column::Cur, b"", None).expect("a scan can begin");
    assert!(matches!(cursor.advance(), Err(EngineError::Corrupt { .. })));
}

#[test]
fn a_database_whose_manifest_is_damaged_is_refused() {
    let dir = scratch();
    drop(open(dir.path()));
    let current = fs::read_to_string(dir.path().join("CURRENT")).expect("a database has a current manifest");
    let manifest = dir.path().join(current.trim());
    let mut bytes = fs::read(&manifest).expect("the manifest can be read");
    bytes[9] ^= 1;
    fs::write(&manifest, bytes).expect("the manifest can be written");
    let error = RocksEngine::open(dir.path(), OPTIONS).expect_err("the manifest is damaged");
    assert!(matches!(error, EngineError::Corrupt { .. }), "{error:?}");
}
