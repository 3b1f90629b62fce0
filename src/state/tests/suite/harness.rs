//! A state machine on an engine of choice, with the Raft log that a real member would have.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cairn_api::etcdserverpb as pb;
use cairn_rocks::{MIN_MEMORY_BUDGET_BYTES, RocksEngine, RocksOptions};
use cairn_state::schema::{META_APPLIED, META_COMPACTION_DONE, parse_hist_key, parse_rev_key};
use cairn_state::{
    AppliedEntry, Command, Compactor, EntryBuilder, Origin, Progress, ReadView, StateError, StateMachine, Store,
};
use cairn_storage::{Column, Engine, MemoryEngine};
use cairn_types::{ClusterId, Entry, EntryKind, LogIndex, Term};
use tempfile::TempDir;

/// The engines that every suite runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineKind {
    Memory,
    Rocks,
}

enum Backing {
    Memory(Arc<MemoryEngine>),
    Rocks(TempDir),
}

/// One column, in order.
pub(crate) type Dump = Vec<(Bytes, Bytes)>;

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the folder of the database");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    // What is listed in a manifest was written before it, and goes only after it is no longer listed.
    files.sort_by_key(|path| !path.to_string_lossy().contains("MANIFEST"));
    files
}

/// What the disk holds of a database that is open: a copy during which no file came or went.
fn copy_while_open(dir: &TempDir) -> TempDir {
    loop {
        let copy = tempfile::tempdir().expect("a temporary folder");
        let before = files(dir.path());
        let copied = before
            .iter()
            .filter(|path| !path.ends_with("LOCK"))
            .try_for_each(|path| fs::copy(path, copy.path().join(path.file_name().expect("a file"))).map(drop));
        if copied.is_ok() && before == files(dir.path()) {
            return copy;
        }
    }
}

/// Everything that runs on an open engine; dropped as a whole before the engine is opened again.
struct Running {
    machine: StateMachine,
    compactor: Compactor,
}

/// A member without network: state machine, background compaction and log.
pub(crate) struct Subject {
    /// Before `backing`, because it is dropped first: a folder goes only after its database was closed.
    running: Option<Running>,
    backing: Backing,
    /// The entry at index 1 is the first.
    pub(crate) log: Vec<Entry>,
}

pub(crate) fn open_rocks(dir: &TempDir) -> Arc<dyn Engine> {
    let options = RocksOptions { memory_budget_bytes: MIN_MEMORY_BUDGET_BYTES, create_if_missing: true };
    Arc::new(RocksEngine::open(dir.path(), options).expect("RocksDB opens"))
}

pub(crate) fn start(engine: Arc<dyn Engine>) -> Result<StateMachine, StateError> {
    let mut machine = StateMachine::open(engine)?;
    if machine.cluster().is_none() {
        let member = pb::Member { id: 1, peer_ur_ls: vec!["http://peer".to_owned()], ..Default::default() };
        machine.bootstrap(ClusterId(0xc1), vec![member], Bytes::from_static(b"conf"))?;
    }
    Ok(machine)
}

/// The entry at `index` with these commands.
pub(crate) fn entry(index: u64, commands: &[Command]) -> Entry {
    let mut builder = EntryBuilder::new(Origin { member: 1, sequence: index });
    commands.iter().for_each(|command| builder.push(command));
    Entry { index: LogIndex(index), term: Term(1), kind: EntryKind::Normal, data: builder.finish() }
}

impl Subject {
    pub(crate) fn new(kind: EngineKind) -> Self {
        let backing = match kind {
            EngineKind::Memory => Backing::Memory(Arc::new(MemoryEngine::new())),
            EngineKind::Rocks => Backing::Rocks(tempfile::tempdir().expect("a temporary folder")),
        };
        let mut subject = Self { backing, running: None, log: Vec::new() };
        subject.open();
        subject
    }

    fn open(&mut self) {
        let engine: Arc<dyn Engine> = match &self.backing {
            Backing::Memory(engine) => engine.clone(),
            Backing::Rocks(dir) => open_rocks(dir),
        };
        let machine = start(engine).expect("the state opens");
        let compactor = Compactor::new(machine.store());
        self.running = Some(Running { machine, compactor });
    }

    pub(crate) fn machine(&mut self) -> &mut StateMachine {
        &mut self.running.as_mut().expect("it runs except within reopen()").machine
    }

    pub(crate) fn store(&self) -> Arc<Store> {
        self.running.as_ref().expect("it runs except within reopen()").machine.store()
    }

    pub(crate) fn view(&self) -> Arc<ReadView> {
        self.store().view()
    }

    pub(crate) fn compact_step(&mut self, max_changes: usize) -> Progress {
        let running = self.running.as_mut().expect("it runs except within reopen()");
        running.compactor.step(max_changes).expect("the engine does not fail")
    }

    pub(crate) fn compact_all(&mut self) {
        while self.compact_step(3) != Progress::Idle {}
    }

    /// Appends one entry for each list of commands and applies them all in one call.
    pub(crate) fn apply(&mut self, entries: &[Vec<Command>]) -> Vec<AppliedEntry> {
        let from = self.log.len();
        for commands in entries {
            self.log.push(entry(self.log.len() as u64 + 1, commands));
        }
        let new = self.log[from..].to_vec();
        self.machine().apply(&new).expect("the engine does not fail")
    }

    /// A restart after which everything is there.
    pub(crate) fn reopen(&mut self) {
        self.store().engine().flush().expect("the engine flushes");
        self.running = None;
        self.open();
    }

    /// A crash that leaves `lucky` of the unflushed batches (RocksDB: what its files hold now), and the recovery from it.
    pub(crate) fn crash(&mut self, lucky: usize) {
        let (before, compacted) = (self.dump_all(), self.view().compacted);
        let left = match &self.backing {
            Backing::Memory(engine) => Backing::Memory(Arc::new(engine.crash_after(lucky))),
            // Closing would flush.
            Backing::Rocks(dir) => Backing::Rocks(copy_while_open(dir)),
        };
        self.running = None;
        self.backing = left;
        self.open();
        let durable = self.store().durable_applied().expect("the engine does not fail");
        assert_eq!(self.machine().applied().0, durable, "what a crash leaves is what was said to be durable");
        let replayed = self.log[usize::try_from(durable.0).expect("small")..].to_vec();
        self.machine().apply(&replayed).expect("the engine does not fail");
        assert_recovered(&before, &self.dump_all(), compacted);
    }

    pub(crate) fn dump(&self, column: Column) -> Dump {
        dump(self.store().engine().as_ref(), column)
    }

    pub(crate) fn dump_all(&self) -> [Dump; 4] {
        Column::ALL.map(|column| self.dump(column))
    }
}

pub(crate) fn dump(engine: &dyn Engine, column: Column) -> Dump {
    let view = engine.view().expect("the engine does not fail");
    let mut cursor = view.scan(column, &[], None).expect("the engine does not fail");
    let mut entries = Dump::new();
    while cursor.advance().expect("the engine does not fail") {
        entries.push((Bytes::copy_from_slice(cursor.key()), Bytes::copy_from_slice(cursor.value())));
    }
    entries
}

/// Without what says how far this member has come, which is allowed to differ.
pub(crate) fn dump_replicated(engine: &dyn Engine) -> [Dump; 4] {
    Column::ALL.map(|column| {
        let mut entries = dump(engine, column);
        entries
            .retain(|(key, _)| column != Column::Meta || ![META_APPLIED, META_COMPACTION_DONE].contains(&key.as_ref()));
        entries
    })
}

/// Recovery may only bring back what background compaction had deleted.
fn assert_recovered(before: &[Dump; 4], after: &[Dump; 4], compacted: i64) {
    for (column, (before, after)) in Column::ALL.into_iter().zip(before.iter().zip(after)) {
        let progress = |key: &[u8]| column == Column::Meta && key == META_COMPACTION_DONE;
        for entry in before.iter().filter(|(key, _)| !progress(key)) {
            assert!(after.contains(entry), "{} lost {entry:?} in a crash", column.name());
        }
        for (key, _) in after.iter().filter(|(key, _)| !progress(key)) {
            let main = match column {
                Column::Rev => parse_rev_key(key).expect("a key of rev").main,
                Column::Hist => parse_hist_key(key).expect("a key of hist").1.main,
                Column::Cur | Column::Meta => i64::MAX,
            };
            let known = before.iter().any(|(other, _)| other == key);
            assert!(known || main <= compacted, "{} gained {key:?} in a crash", column.name());
        }
    }
}
