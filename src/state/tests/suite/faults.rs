//! An engine that fails at any call: the answer is an error and never a wrong one, and what is left recovers to the state
//! of a run without failure.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::compare::TargetUnion;
use cairn_state::{Command, Compactor, Progress, ReadError, StateError, StateMachine};
use cairn_storage::{Engine, Fault, FaultyEngine, MemoryEngine, Operation};
use cairn_types::{Entry, LeaseId, Revision};

use crate::commands;
use crate::harness::{Dump, dump_replicated, entry, start};
use crate::words;

type Faulty = Arc<FaultyEngine<MemoryEngine>>;

/// A bit of everything that touches the engine, as a script: `apply` ends a batch, the rest reads.
const WORKLOAD: &str = r"
> batch
| put a 1
| put b 4096*b
| lease grant 1 60
| put c 1 lease=1
| put d 1 lease=1
> reads
> flush
> batch
| put a 2 prev
| put b ignore_value prev
| put c 2 ignore_lease
| del x \0
| txn
| if value b..c = 4096*b
| if mod c..\0 > 1
| then
|   put e 1
|   get a \0
|   get b rev=3
|   txn
|     if version e = 0
|     del d \0 prev
|   end
| else
|   put f 1
| end
| compact 6
> compact
> reads
> batch
| lease revoke 1
| put d 3
| del a \0 prev
| alarm activate nospace 1
| put a 3
| alarm deactivate nospace 1
| put a 4
| lease grant 2 60
| put g 1 lease=2
| lease checkpoint 2 30
| attributes 1 name http://client
> flush
> compact
> batch
| compact 11
| lease expire 2
| put b 1
> reads
> compact
";

/// One call of the state machine, and what came of it.
type Answers = Vec<String>;

struct Run {
    answers: Answers,
    /// All that was agreed on, whether or not it was applied.
    log: Vec<Entry>,
    error: Option<StateError>,
}

fn shown<T: Debug, E: Into<ReadError>>(result: Result<T, E>) -> Result<String, StateError> {
    match result.map_err(Into::into) {
        Ok(value) => Ok(format!("{value:?}")),
        Err(ReadError::Api(error)) => Ok(error.to_string()),
        Err(ReadError::State(error)) => Err(error),
    }
}

fn run(engine: &Faulty) -> Run {
    let mut run = Run { answers: Vec::new(), log: Vec::new(), error: None };
    run.error = try_run(engine, &mut run).err();
    run
}

fn try_run(engine: &Faulty, run: &mut Run) -> Result<(), StateError> {
    let mut machine = start(engine.clone())?;
    let mut compactor = Compactor::new(machine.store());
    for step in words::parse(WORKLOAD).0 {
        match step.command.as_str() {
            "batch" => {
                let batch = entries(&step.block, run.log.len());
                run.log.extend_from_slice(&batch);
                run.answers.push(shown(machine.apply(&batch))?);
            }
            "reads" => reads(&machine, &mut run.answers)?,
            "flush" => {
                engine.flush()?;
                run.answers.push(shown(machine.store().durable_applied())?);
            }
            _ => while compactor.step(3)? != Progress::Idle {},
        }
    }
    // A restart without a crash.
    drop(machine);
    reads(&StateMachine::open(engine.clone())?, &mut run.answers)
}

/// One entry for each command of a block.
fn entries(block: &[String], behind: usize) -> Vec<Entry> {
    let mut lines = block.iter().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let command: Command = commands::command(line, &mut lines).expect("a command");
        found.push(entry((behind + found.len()) as u64 + 1, &[command]));
    }
    found
}

fn reads(machine: &StateMachine, answers: &mut Answers) -> Result<(), StateError> {
    let view = machine.store().view();
    for revision in 0..=view.revision {
        let request =
            pb::RangeRequest { revision, key: Bytes::from("\0"), range_end: Bytes::from("\0"), ..Default::default() };
        answers.push(shown(view.range(&request))?);
        let single = pb::RangeRequest { key: Bytes::from("b"), range_end: Bytes::new(), ..request };
        answers.push(shown(view.range(&single))?);
        answers.push(shown(view.hash_kv(revision))?);
        if revision > view.compacted {
            answers.push(shown(view.kv_at(Revision::new(revision, 0)))?);
        }
    }
    for (key, range_end) in [("a", "\0"), ("a", ""), ("b", "")] {
        let compare = pb::Compare {
            key: Bytes::from(key),
            range_end: Bytes::from(range_end),
            target_union: Some(TargetUnion::Version(1)),
            ..Default::default()
        };
        answers.push(shown(view.read_txn(&pb::TxnRequest { compare: vec![compare], ..Default::default() }))?);
    }
    answers.push(shown(view.members())?);
    answers.push(shown(view.alarms())?);
    answers.push(shown(view.lease_keys(LeaseId(1)))?);
    let events = (|| {
        let mut cursor = view.events(view.compacted + 1)?;
        let mut found = Vec::new();
        while let Some(revision) = cursor.next_revision()? {
            found.push(revision);
        }
        Ok::<_, ReadError>(found)
    })();
    answers.push(shown(events)?);
    Ok(())
}

/// The store after a crash that left `lucky` batches, a replay of the whole log, and the end of compaction.
fn recover(engine: &MemoryEngine, lucky: usize, log: &[Entry]) -> [Dump; 4] {
    let engine = Arc::new(engine.crash_after(lucky));
    let mut machine = start(engine.clone()).expect("what a crash leaves opens");
    let durable = machine.store().durable_applied().expect("no fault is armed");
    assert_eq!(machine.applied().0, durable);
    let from = usize::try_from(durable.0).expect("small");
    machine.apply(log.get(from..).unwrap_or_default()).expect("no fault is armed");
    let mut compactor = Compactor::new(machine.store());
    while compactor.step(2).expect("no fault is armed") != Progress::Idle {}
    dump_replicated(&engine)
}

fn check_every_failure_of(operation: Operation) {
    let whole: Faulty = Arc::new(FaultyEngine::new(MemoryEngine::new()));
    let expected = run(&whole);
    assert!(expected.error.is_none() && !expected.answers.is_empty());
    let mut failures = 0;
    for after in 0.. {
        let engine: Faulty = Arc::new(FaultyEngine::new(MemoryEngine::new()));
        engine.arm(Fault { operation, after });
        let found = run(&engine);
        assert_eq!(engine.has_failed(), found.error.is_some(), "{operation:?} {after}: a failure was passed over");
        assert_eq!(found.answers, expected.answers[..found.answers.len()], "{operation:?} {after}: a wrong answer");
        let Some(error) = found.error else { break };
        assert!(matches!(error, StateError::Storage(_)), "{operation:?} {after}: {error}");
        failures += 1;
        let unflushed = engine.inner().unflushed();
        for lucky in [0, unflushed / 2, unflushed] {
            let replayed = recover(engine.inner(), lucky, &found.log);
            let straight = recover(&MemoryEngine::new(), 0, &found.log);
            assert_eq!(replayed, straight, "{operation:?} {after}: with {lucky} batches left");
        }
    }
    assert!(failures > 0, "the workload never calls {operation:?}");
}

#[test]
fn a_view_that_cannot_be_taken_is_an_error() {
    check_every_failure_of(Operation::View);
}

#[test]
fn a_batch_that_cannot_be_written_is_an_error() {
    check_every_failure_of(Operation::Write);
}

#[test]
fn a_flush_that_fails_is_an_error() {
    check_every_failure_of(Operation::Flush);
    check_every_failure_of(Operation::Persisted);
}

#[test]
fn a_key_that_cannot_be_read_is_an_error() {
    check_every_failure_of(Operation::Get);
}

#[test]
fn a_scan_that_cannot_begin_is_an_error() {
    check_every_failure_of(Operation::Scan);
}

#[test]
fn a_scan_that_breaks_off_is_an_error() {
    check_every_failure_of(Operation::Step);
}
