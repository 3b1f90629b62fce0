//! Messages of a peer that may have lost its disk or be no Cairn at all, at a member of three.
//!
//! Promises (`cairn-consensus`): a message that cannot be true is a typed error. Whatever the others say, the term never
//! falls, committed entries come out once and in order, and none of them is replaced in the log.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use cairn_consensus::{ConfState, Config, Consensus, LogReadError, LogReader, Message, Ready, Start, StepError};
use cairn_types::{Entry, EntryKind, HardState, LogIndex, MemberId, Term};

use crate::input::{Input, put_act};

/// Most acts that are taken from one input.
const MAX_ACTS: usize = 64;

/// The members; the first is the one that is looked at.
const MEMBERS: [MemberId; 3] = [MemberId(1), MemberId(2), MemberId(3)];

/// Kinds of acts, as an act's byte has them.
const MESSAGE: u8 = 0;
const TICK: u8 = 1;
const PROPOSE: u8 = 2;
const CAMPAIGN: u8 = 3;
const READ: u8 = 4;
const KINDS: u8 = 5;

/// What the disk of the member holds.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Log>>);

#[derive(Default)]
struct Log {
    /// The entry before the first of `entries`.
    base: (LogIndex, Term),
    entries: Vec<Entry>,
}

impl Disk {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().expect("one thread uses it")
    }
}

impl Log {
    fn entry(&self, index: LogIndex) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base.0.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let last = self.base.0.0 + self.entries.len() as u64;
        assert!(first.index > self.base.0 && first.index.0 <= last + 1, "the write would leave a hole");
        self.entries.retain(|entry| entry.index < first.index);
        self.entries.extend_from_slice(entries);
    }
}

impl LogReader for Disk {
    fn entries(&self, low: LogIndex, high: LogIndex, _: usize) -> Result<Vec<Entry>, LogReadError> {
        let log = self.log();
        let entries: Vec<_> = (low.0..high.0).map_while(|index| log.entry(LogIndex(index)).cloned()).collect();
        if entries.is_empty() { Err(LogReadError::Released(low)) } else { Ok(entries) }
    }

    fn term(&self, index: LogIndex) -> Result<Term, LogReadError> {
        let log = self.log();
        if index == log.base.0 {
            return Ok(log.base.1);
        }
        log.entry(index).map(|entry| entry.term).ok_or(LogReadError::Released(index))
    }

    fn first_index(&self) -> LogIndex {
        self.log().base.0.next()
    }
}

/// One member with its disk.
struct Member {
    consensus: Consensus,
    disk: Disk,
    term: Term,
    /// The last index that was committed.
    commit: LogIndex,
}

impl Member {
    fn new(id: MemberId) -> Self {
        let disk = Disk::default();
        let start = Start {
            hard_state: HardState::default(),
            conf_state: ConfState::bootstrap(MEMBERS),
            applied: (LogIndex(0), Term(0)),
            entries: Vec::new(),
        };
        let consensus = Consensus::new(Config::new(id, 1, 1), start, Box::new(disk.clone())).expect("a new member");
        Self { consensus, disk, term: Term(0), commit: LogIndex(0) }
    }

    /// Does what the crate's documentation says of a Ready, and returns what is to be sent.
    fn work(&mut self) -> Vec<Message> {
        let mut sent = Vec::new();
        while let Some(ready) = self.consensus.ready() {
            sent.extend(self.carry_out(ready));
        }
        let term = self.consensus.term();
        assert!(term >= self.term, "the term fell from {} to {term}", self.term);
        self.term = term;
        sent
    }

    fn carry_out(&mut self, ready: Ready) -> Vec<Message> {
        let mut sent = ready.messages;
        if let Some(snapshot) = &ready.snapshot {
            assert!(snapshot.index > self.commit, "a snapshot takes back what was committed");
            *self.disk.log() = Log { base: (snapshot.index, snapshot.term), entries: Vec::new() };
            self.commit = snapshot.index;
        }
        if let Some(first) = ready.append.first() {
            assert!(first.index > self.commit, "a committed entry would be replaced at {}", first.index);
        }
        self.disk.log().append(&ready.append);
        self.consensus.persisted(ready.sequence);
        if let Some(snapshot) = &ready.snapshot {
            self.consensus.applied(snapshot.index);
        }
        sent.extend(ready.messages_after_persist);
        for entry in ready.committed {
            assert_eq!(entry.index, self.commit.next(), "committed entries are consecutive");
            self.commit = entry.index;
            if entry.kind != EntryKind::Normal {
                // An entry that does not decode as a change of members is an error, and is then passed over.
                let _ = self.consensus.apply_conf_change(&entry);
            }
            self.consensus.applied(entry.index);
        }
        sent
    }

    fn act(&mut self, kind: u8, message: Bytes) -> Result<(), StepError> {
        match kind % KINDS {
            MESSAGE => {
                if let Ok(message) = Message::decode(message) {
                    let again = Message::decode(message.encode()).expect("what was encoded here decodes");
                    assert!(again == message, "{message:?} is another message after encoding it");
                    return self.consensus.step(message);
                }
            }
            TICK => self.consensus.tick(),
            // Refusals of these are answers, too.
            PROPOSE => drop(self.consensus.propose(message)),
            CAMPAIGN => self.consensus.campaign(),
            _ => drop(self.consensus.read_index()),
        }
        Ok(())
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut member = Member::new(MEMBERS[0]);
    for _ in 0..MAX_ACTS {
        let Some(kind) = input.byte() else { return };
        let outcome = member.act(kind, input.message());
        member.work();
        // With these the caller stops the node.
        if matches!(outcome, Err(StepError::CommitBeyondLog { .. } | StepError::ConflictsWithCommitted { .. })) {
            return;
        }
    }
}

/// What the first member sees while one of the three leads: itself, and another.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    MEMBERS[..2].iter().map(|leader| history(*leader)).collect()
}

fn history(leader: MemberId) -> Vec<u8> {
    let mut seed = Vec::new();
    let mut members: Vec<_> = MEMBERS.map(Member::new).into();
    let leading = MEMBERS.iter().position(|id| *id == leader).expect("one of the three");
    for (act, data) in [(CAMPAIGN, ""), (PROPOSE, "a"), (PROPOSE, "b"), (TICK, ""), (READ, ""), (PROPOSE, "c")] {
        if leading == 0 {
            put_act(&mut seed, act, data.as_bytes());
        }
        members[leading].act(act, Bytes::from_static(data.as_bytes())).expect("it is no message");
        let mut on_the_way: Vec<_> = members.iter_mut().flat_map(Member::work).collect();
        while !on_the_way.is_empty() {
            for message in std::mem::take(&mut on_the_way) {
                let to = MEMBERS.iter().position(|id| *id == message.to()).expect("one of the three");
                let bytes = message.encode();
                if to == 0 {
                    put_act(&mut seed, MESSAGE, &bytes);
                }
                members[to].act(MESSAGE, bytes).expect("honest members' messages are taken");
                on_the_way.extend(members[to].work());
            }
        }
    }
    assert!(members.iter().all(|member| member.commit == LogIndex(4)), "the history of a seed went well");
    seed
}
