//! Runs a script's steps against a [`Subject`] and writes the transcript.

use std::fmt::Write;

use bytes::Bytes;
use cairn_state::{Command, KeepAlive, Progress, ReadError, validate};
use cairn_storage::Column;
use cairn_types::limits::DEFAULT_MAX_TXN_OPS;
use cairn_types::{Entry, EntryKind, LeaseId, LogIndex, Revision, Term};

use crate::commands::{self, split};
use crate::harness::{EngineKind, Subject};
use crate::render;
use crate::watching::Watching;
use crate::words::{self, Step, at};

/// The transcript of a script.
pub(crate) fn transcript(text: &str, kind: EngineKind) -> String {
    run(text, kind).0
}

/// The transcript, and the subject as the script left it.
pub(crate) fn run(text: &str, kind: EngineKind) -> (String, Subject) {
    let (steps, epilogue) = words::parse(text);
    let mut subject = Subject::new(kind);
    let mut watching = Watching::default();
    let mut written = String::new();
    for step in &steps {
        let words = split(&step.command);
        if ["reopen", "crash"].contains(&words[0]) {
            watching = Watching::default();
        }
        let output =
            if words[0] == "watch" { watching.answer(&subject.store(), &words) } else { answer(&mut subject, step) };
        written += &words::render(step, &output);
    }
    for line in epilogue {
        written += &format!("{line}\n");
    }
    (written, subject)
}

fn answer(subject: &mut Subject, step: &Step) -> String {
    let words = split(&step.command);
    let mut block = step.block.iter().peekable();
    if let Some(command) = commands::command(&step.command, &mut block) {
        return propose(subject, &[vec![command]]);
    }
    match words[0] {
        "entry" => propose(subject, &[block_commands(step)]),
        "batch" => propose(subject, &block_commands(step).into_iter().map(|command| vec![command]).collect::<Vec<_>>()),
        "empty" => propose_nothing(subject),
        "get" => get(subject, &words),
        "readtxn" => read_txn(subject, step),
        "lease" => lease(subject, &words),
        "compactor" => compactor(subject, &words),
        "events" => read(events(subject, at(&words, 1))),
        "version" => version(subject, &words),
        "hash" => hash(subject, words.get(1).map_or(0, |_| at(&words, 1))),
        "alarms" => read(subject.view().alarms().map(|alarms| render::alarms(&alarms))),
        "members" => read(subject.view().members().map(|members| members.iter().map(|m| format!("{m:?}\n")).collect())),
        "dump" => dump(subject, words[1]),
        "status" => status(subject),
        "flush" => {
            subject.store().engine().flush().expect("the engine flushes");
            String::new()
        }
        "reopen" => {
            subject.reopen();
            String::new()
        }
        "crash" => {
            subject.crash(words.get(1).map_or(0, |_| at(&words, 1)));
            String::new()
        }
        other => panic!("no command is called {other}"),
    }
}

fn block_commands(step: &Step) -> Vec<Command> {
    let mut lines = step.block.iter().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        found.push(commands::command(line, &mut lines).unwrap_or_else(|| panic!("{line} does not go through the log")));
    }
    found
}

/// As the server does it: what is wrong by itself never reaches the log.
fn propose(subject: &mut Subject, entries: &[Vec<Command>]) -> String {
    for command in entries.iter().flatten() {
        let checked = match command {
            Command::Put(request) => validate::put(request),
            Command::DeleteRange(request) => validate::delete_range(request),
            Command::Txn(request) => validate::txn(request, DEFAULT_MAX_TXN_OPS as usize),
            _ => Ok(()),
        };
        if let Err(refused) = checked {
            return format!("refused: {refused}\n");
        }
    }
    let applied = subject.apply(entries);
    applied.iter().flat_map(|entry| &entry.outcomes).map(render::outcome).collect()
}

/// The first entry of a new leader. It also shows readers what background compaction has deleted since the last one.
fn propose_nothing(subject: &mut Subject) -> String {
    let index = subject.log.len() as u64 + 1;
    let entry = Entry { index: LogIndex(index), term: Term(2), kind: EntryKind::Normal, data: Bytes::new() };
    subject.log.push(entry.clone());
    let applied = subject.machine().apply(&[entry]).expect("the engine does not fail");
    assert!(applied[0].outcomes.is_empty());
    String::new()
}

fn read(result: Result<String, ReadError>) -> String {
    match result {
        Ok(text) => text,
        Err(ReadError::Api(error)) => render::error(error),
        Err(ReadError::State(error)) => panic!("the engine does not fail: {error}"),
    }
}

fn get(subject: &Subject, words: &[&str]) -> String {
    let request = commands::range(words);
    if let Err(refused) = validate::range(&request) {
        return format!("refused: {refused}\n");
    }
    read(subject.view().range(&request).map(|response| render::range(&response)))
}

fn read_txn(subject: &Subject, step: &Step) -> String {
    let request = commands::txn(&mut step.block.iter().peekable());
    if !validate::is_read_only(&request) {
        return "not read-only\n".to_owned();
    }
    if let Err(refused) = validate::txn(&request, DEFAULT_MAX_TXN_OPS as usize) {
        return format!("refused: {refused}\n");
    }
    let serializable = if validate::is_serializable(&request) { "serializable\n" } else { "" };
    read(subject.view().read_txn(&request).map(|response| format!("{serializable}{}", render::txn(&response))))
}

fn events(subject: &Subject, from: i64) -> Result<String, ReadError> {
    let view = subject.view();
    let mut cursor = view.events(from)?;
    let mut text = String::new();
    while let Some(revision) = cursor.next_revision()? {
        let _ = writeln!(text, "rev={}", revision.revision);
        for event in &revision.events {
            text += &render::event(event);
        }
    }
    Ok(text)
}

fn version(subject: &Subject, words: &[&str]) -> String {
    let (main, sub) = words[1].split_once('.').expect("main.sub");
    let revision = Revision::new(main.parse().expect("a number"), sub.parse().expect("a number"));
    let found = subject.view().kv_at(revision);
    read(found.map(|kv| kv.map_or("none\n".to_owned(), |kv| format!("{}\n", render::encoded_pair(&kv)))))
}

fn hash(subject: &Subject, revision: i64) -> String {
    let hash = subject.view().hash_kv(revision);
    read(hash.map(|h| format!("hash={} compact_rev={} hash_rev={}\n", h.hash, h.compact_revision, h.hash_revision)))
}

fn dump(subject: &Subject, name: &str) -> String {
    let column = Column::ALL.into_iter().find(|column| column.name() == name).expect("a column");
    let line =
        |(key, value): &(bytes::Bytes, bytes::Bytes)| format!("{} → {}\n", render::show(key), render::show(value));
    subject.dump(column).iter().map(line).collect()
}

fn status(subject: &mut Subject) -> String {
    let (index, term) = subject.machine().applied();
    let (view, done) = (subject.view(), subject.store().compaction_done());
    assert_eq!((view.applied, view.applied_term), (index, term), "readers see what was applied");
    format!("rev={} compacted={} compaction_done={done} applied={index} term={term}\n", view.revision, view.compacted)
}

fn compactor(subject: &mut Subject, words: &[&str]) -> String {
    if words[1] == "run" {
        subject.compact_all();
        return String::new();
    }
    match subject.compact_step(at(words, 2)) {
        Progress::Idle => "idle\n".to_owned(),
        Progress::More => "more\n".to_owned(),
        Progress::Done(revision) => {
            assert!(subject.store().is_compacted_physically(revision));
            format!("done {revision}\n")
        }
    }
}

/// What the leader does with leases on its own clock, in milliseconds.
fn lease(subject: &Subject, words: &[&str]) -> String {
    let store = subject.store();
    let lessor = store.lessor();
    let id = || LeaseId(at(words, 2));
    let ids = |ids: Vec<LeaseId>| ids.iter().map(|id| format!("{}\n", id.0)).collect();
    let checkpoints = |due: Vec<cairn_api::etcdserverpb::LeaseCheckpoint>| {
        due.iter().map(|lease| format!("{} remaining={}\n", lease.id, lease.remaining_ttl)).collect()
    };
    match words[1] {
        "promote" => lessor.promote(at(words, 2), at(words, 3)),
        "demote" => lessor.demote(),
        "keepalive" => {
            return match lessor.keep_alive(id(), at(words, 3)) {
                KeepAlive::Renewed { ttl } => format!("renewed ttl={ttl}\n"),
                KeepAlive::NotFound => "not found\n".to_owned(),
                KeepAlive::MustClearCheckpoint => "must clear its checkpoint first\n".to_owned(),
            };
        }
        "ttl" => {
            let times = lessor.time_to_live(id(), at(words, 3));
            let shown = times.map(|times| format!("granted={} remaining={}\n", times.granted_ttl, times.remaining_ttl));
            return shown.unwrap_or_else(|| "not found\n".to_owned());
        }
        "keys" => {
            let keys = subject.view().lease_keys(id());
            return read(keys.map(|keys| keys.iter().map(|key| format!("{}\n", render::show(key))).collect()));
        }
        "list" => return ids(lessor.leases()),
        "expired" => return ids(lessor.expired(at(words, 2), at(words, 3))),
        "due" => return checkpoints(lessor.due_checkpoints(at(words, 2), at(words, 3))),
        "all" => return checkpoints(lessor.all_checkpoints(at(words, 2))),
        "deadline" => return lessor.next_deadline_ms().map_or("none\n".to_owned(), |at| format!("{at}\n")),
        other => panic!("no command is called lease {other}"),
    }
    String::new()
}
