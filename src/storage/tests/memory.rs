//! The memory engine keeps the contract of engines, and the faulty engine breaks it when told to.

use std::path::Path;

use cairn_storage::conformance::{self, Subject};
use cairn_storage::{Batch, Column, Engine, EngineError, Fault, FaultyEngine, MemoryEngine, Operation};

struct Memory;

impl Subject for Memory {
    type Engine = MemoryEngine;

    fn create(&self, _dir: &Path) -> MemoryEngine {
        MemoryEngine::new()
    }

    fn reopen(&self, engine: MemoryEngine, _dir: &Path) -> MemoryEngine {
        engine.crash()
    }

    fn open_checkpoint(&self, dir: &Path) -> MemoryEngine {
        MemoryEngine::open_checkpoint(dir).expect("the checkpoint can be read")
    }
}

/// The faulty engine with no fault armed.
struct Faultless;

impl Subject for Faultless {
    type Engine = FaultyEngine<MemoryEngine>;

    fn create(&self, _dir: &Path) -> Self::Engine {
        FaultyEngine::new(MemoryEngine::new())
    }

    fn reopen(&self, engine: Self::Engine, _dir: &Path) -> Self::Engine {
        FaultyEngine::new(engine.inner().crash())
    }

    fn open_checkpoint(&self, dir: &Path) -> Self::Engine {
        FaultyEngine::new(Memory.open_checkpoint(dir))
    }
}

fn put(engine: &dyn Engine, value: &'static str) -> Result<(), EngineError> {
    let mut batch = Batch::new();
    batch.put(Column::Cur, "k", value);
    batch.put(Column::Rev, value, "");
    engine.write(&batch)
}

fn value(engine: &dyn Engine) -> Option<bytes::Bytes> {
    engine.view().expect("a view can be taken").get(Column::Cur, b"k").expect("a key can be read")
}

#[test]
fn the_memory_engine_keeps_the_contract() {
    let scratch = tempfile::tempdir().expect("a temporary folder can be made");
    conformance::run(&Memory, scratch.path());
}

#[test]
fn the_faulty_engine_keeps_the_contract_until_a_fault_strikes() {
    let scratch = tempfile::tempdir().expect("a temporary folder can be made");
    conformance::run(&Faultless, scratch.path());
}

#[test]
fn a_crash_leaves_the_flushed_state_and_any_prefix_of_what_followed() {
    let engine = MemoryEngine::new();
    put(&engine, "1").expect("memory does not fail");
    engine.flush().expect("memory does not fail");
    put(&engine, "2").expect("memory does not fail");
    put(&engine, "3").expect("memory does not fail");

    assert_eq!(engine.unflushed(), 2);
    for (kept, expected) in [(0, "1"), (1, "2"), (2, "3"), (9, "3")] {
        let crashed = engine.crash_after(kept);
        assert_eq!(value(&crashed), Some(expected.into()), "with {kept} batches kept");
        assert_eq!(crashed.persisted(Column::Cur, b"k").expect("memory does not fail"), Some(expected.into()));
        assert_eq!(crashed.unflushed(), 0);
    }
    assert_eq!(value(&engine.crash()), Some("1".into()));
    assert_eq!(value(&engine), Some("3".into()), "the engine itself goes on");
}

#[test]
fn a_fault_strikes_at_its_call_and_then_everything_fails() {
    let engine = FaultyEngine::new(MemoryEngine::new());
    engine.arm(Fault { operation: Operation::Write, after: 2 });
    put(&engine, "1").expect("the first write passes");
    let view = engine.view().expect("other operations do not count");
    put(&engine, "2").expect("the second write passes");
    assert!(!engine.has_failed());

    assert!(matches!(put(&engine, "3"), Err(EngineError::Backend { .. })));
    assert!(engine.has_failed());
    assert!(matches!(put(&engine, "4"), Err(EngineError::Stopped { .. })));
    assert!(matches!(engine.flush(), Err(EngineError::Stopped { .. })));
    assert!(matches!(view.get(Column::Cur, b"k"), Err(EngineError::Stopped { .. })));
    assert_eq!(value(engine.inner()), Some("2".into()), "nothing of the failed batch is visible");
}

#[test]
fn a_fault_can_strike_in_the_middle_of_a_scan() {
    let engine = FaultyEngine::new(MemoryEngine::new());
    put(&engine, "1").expect("the write passes");
    put(&engine, "2").expect("the write passes");
    engine.arm(Fault { operation: Operation::Step, after: 1 });
    let view = engine.view().expect("a view can be taken");
    let mut cursor = view.scan(Column::Rev, b"", None).expect("a scan can begin");
    assert!(cursor.advance().expect("the first step passes"));
    assert!(cursor.advance().is_err());
    assert!(view.scan(Column::Rev, b"", None).is_err());
}
