//! A cluster in which everything that can happen between members and their disks is one call, with checkers that look
//! at every step: one leader per term, one history, nothing committed that its member's disk could lose, no stale read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use cairn_consensus::{
    ConfChange, ConfState, Config, Consensus, Message, MessageKind, ProposeError, ReadToken, Ready, ReadySequence,
    Role, Snapshot, StepError,
};
use cairn_types::{Entry, EntryKind, HardState, LogIndex, MemberId, Term};

use crate::disk::Disk;

/// What the log writer of a member has to do.
#[derive(Debug)]
struct LogWrite {
    sequence: ReadySequence,
    snapshot: Option<Snapshot>,
    append: Vec<Entry>,
    hard_state: Option<HardState>,
    messages: Vec<Message>,
}

/// One member: the part that a crash takes.
pub(crate) struct Member {
    pub(crate) consensus: Consensus,
    writes: VecDeque<LogWrite>,
    /// Committed, and not yet applied to the store.
    unapplied: VecDeque<(Entry, Option<ConfState>)>,
    /// The last entry that came out as committed.
    delivered: LogIndex,
    /// The store in memory: applied index, its term, and the members as of it.
    pub(crate) applied: (LogIndex, Term),
    conf_state: ConfState,
    /// What was known to be committed anywhere when a read was asked for.
    pub(crate) reads: BTreeMap<ReadToken, LogIndex>,
    pub(crate) answered: usize,
}

/// A cluster of members 1, 2, 3, … .
pub(crate) struct World {
    pub(crate) disks: BTreeMap<u64, Disk>,
    pub(crate) members: BTreeMap<u64, Member>,
    /// Messages on their way, encoded.
    pub(crate) network: Vec<(u64, u64, Bytes)>,
    /// Pairs that cannot hear each other, smaller number first.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    /// Every entry that any member delivered as committed, from index 1 on.
    pub(crate) history: Vec<Entry>,
    leaders: BTreeMap<Term, MemberId>,
    incarnations: u64,
    /// Everything that came out of any member, folded into a number.
    pub(crate) trace: u64,
}

impl World {
    /// Members `1..=count` as voters of a new cluster.
    pub(crate) fn new(count: u64) -> Self {
        let mut world = Self {
            disks: BTreeMap::new(),
            members: BTreeMap::new(),
            network: Vec::new(),
            cut: BTreeSet::new(),
            history: Vec::new(),
            leaders: BTreeMap::new(),
            incarnations: 0,
            trace: 0,
        };
        let conf = ConfState::bootstrap((1..=count).map(MemberId));
        for id in 1..=count {
            world.disks.insert(id, Disk::with_members(conf.clone()));
            world.restart(id);
        }
        world
    }

    /// A machine that is no member yet, and knows the cluster as it began.
    pub(crate) fn add_machine(&mut self, id: u64, bootstrap: u64) {
        let conf = ConfState::bootstrap((1..=bootstrap).map(MemberId));
        self.disks.insert(id, Disk::with_members(conf));
        self.restart(id);
    }

    pub(crate) fn config(&mut self, id: u64) -> Config {
        self.incarnations += 1;
        Config {
            // Small enough that followers that lag are served from the disk, in several messages.
            max_message_bytes: 100,
            max_cached_bytes: 400,
            max_inflight_messages: 4,
            ..Config::new(MemberId(id), self.incarnations, 42)
        }
    }

    /// The member starts from its disk.
    pub(crate) fn restart(&mut self, id: u64) {
        let config = self.config(id);
        let disk = self.disks[&id].clone();
        let start = disk.start();
        let (applied, conf_state) = (start.applied, start.conf_state.clone());
        let consensus = Consensus::new(config, start, Box::new(disk)).expect("a model disk is consistent");
        let member = Member {
            consensus,
            writes: VecDeque::new(),
            unapplied: VecDeque::new(),
            delivered: applied.0,
            applied,
            conf_state,
            reads: BTreeMap::new(),
            answered: 0,
        };
        self.members.insert(id, member);
        self.turn(id);
    }

    /// The member dies. The first `written` of its outstanding writes reach the disk without anybody being told.
    pub(crate) fn crash(&mut self, id: u64, written: usize) {
        let Some(mut member) = self.members.remove(&id) else { return };
        let disk = &self.disks[&id];
        for write in member.writes.drain(..).take(written) {
            put_on_disk(disk, &write);
        }
    }

    pub(crate) fn consensus(&mut self, id: u64) -> &mut Consensus {
        &mut self.members.get_mut(&id).expect("the member runs").consensus
    }

    /// Takes every Ready of a member.
    pub(crate) fn turn(&mut self, id: u64) {
        while let Some(ready) = self.members.get_mut(&id).and_then(|member| member.consensus.ready()) {
            self.take(id, ready);
        }
        self.check_leader(id);
    }

    fn take(&mut self, id: u64, ready: Ready) {
        self.note(id, &ready);
        self.send(&ready.messages);
        let has_write = ready.has_write();
        let member = self.members.get_mut(&id).expect("its Ready was just taken");
        if let Some(snapshot) = &ready.snapshot {
            assert!(snapshot.index.0 <= self.history.len() as u64, "a snapshot of what nobody committed");
            assert!(snapshot.index > member.delivered);
            member.delivered = snapshot.index;
        }
        for entry in ready.committed {
            assert_eq!(entry.index, member.delivered.next(), "member {id} delivers out of order, or twice");
            member.delivered = entry.index;
            let on_disk = self.disks[&id].contents().entry(entry.index).cloned();
            assert_eq!(on_disk.as_ref(), Some(&entry), "member {id} delivers what its disk does not hold");
            record(&mut self.history, &entry);
            let conf_state =
                (entry.kind != EntryKind::Normal).then(|| member.consensus.apply_conf_change(&entry).ok()).flatten();
            member.unapplied.push_back((entry, conf_state));
        }
        for token in &ready.dropped_reads {
            assert!(member.reads.remove(token).is_some(), "an unknown read was dropped");
        }
        for (token, index) in ready.read_states {
            let acknowledged = member.reads.remove(&token).expect("a read is answered once, and only if it was asked");
            assert!(index >= acknowledged, "stale read on member {id}: {index} < {acknowledged}");
            member.answered += 1;
        }
        if has_write {
            member.writes.push_back(LogWrite {
                sequence: ready.sequence,
                snapshot: ready.snapshot,
                append: ready.append,
                hard_state: ready.hard_state,
                messages: ready.messages_after_persist,
            });
        } else if let Some(last) = member.writes.back_mut() {
            // Nothing of its own to write: its messages wait for the write before.
            last.messages.extend(ready.messages_after_persist);
        } else {
            assert!(ready.messages_after_persist.is_empty(), "messages wait for a write that does not exist");
        }
    }

    fn send(&mut self, messages: &[Message]) {
        for message in messages {
            self.network.push((message.from().0, message.to().0, message.encode()));
        }
    }

    /// The log writer of a member finishes its next write.
    pub(crate) fn flush_one(&mut self, id: u64) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        let Some(write) = member.writes.pop_front() else { return false };
        put_on_disk(&self.disks[&id], &write);
        member.consensus.persisted(write.sequence);
        if let Some(snapshot) = &write.snapshot {
            member.unapplied.retain(|(entry, _)| entry.index > snapshot.index);
            member.applied = (snapshot.index, snapshot.term);
            member.conf_state = snapshot.conf_state.clone();
            member.consensus.applied(snapshot.index);
        }
        self.send(&write.messages);
        self.turn(id);
        true
    }

    pub(crate) fn flush(&mut self, id: u64) {
        while self.flush_one(id) {}
    }

    /// The store of a member applies its next committed entry.
    pub(crate) fn apply_one(&mut self, id: u64) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        let Some((entry, conf_state)) = member.unapplied.pop_front() else { return false };
        member.applied = (entry.index, entry.term);
        if let Some(conf_state) = conf_state {
            member.conf_state = conf_state;
        }
        member.consensus.applied(entry.index);
        self.turn(id);
        true
    }

    /// The store of a member becomes durable; the log forgets all but the last `keep` applied entries.
    pub(crate) fn checkpoint(&mut self, id: u64, keep: u64) {
        let Some(member) = self.members.get(&id) else { return };
        let disk = &self.disks[&id];
        let mut contents = disk.contents();
        contents.applied = member.applied;
        contents.conf_state = member.conf_state.clone();
        contents.release(LogIndex(member.applied.0.0.saturating_sub(keep)));
    }

    /// The leader, asked for a snapshot, offers its durable state.
    pub(crate) fn offer_snapshot(&mut self, id: u64) {
        let Some(member) = self.members.get(&id) else { return };
        if member.consensus.status().snapshot_wanted.is_empty() {
            return;
        }
        self.checkpoint(id, 2);
        let contents = self.disks[&id].contents();
        let (index, term) = contents.applied;
        let snapshot = Snapshot { index, term, conf_state: contents.conf_state.clone(), data: Bytes::new() };
        drop(contents);
        self.consensus(id).offer_snapshot(&snapshot);
    }

    /// Message number `position` gets lost.
    pub(crate) fn lose(&mut self, position: usize) {
        let (from, to, bytes) = self.network.swap_remove(position);
        let kind = Message::decode(bytes).expect("a member encoded it").kind();
        self.report(from, to, kind, false);
    }

    /// Delivers message number `position`; a copy stays on its way if `doubled`.
    pub(crate) fn deliver(&mut self, position: usize, doubled: bool) {
        let (from, to, bytes) = self.network[position].clone();
        if self.cut.contains(&(from.min(to), from.max(to))) || !self.members.contains_key(&to) {
            self.lose(position);
            return;
        }
        if !doubled {
            self.network.swap_remove(position);
        }
        let message = Message::decode(bytes).expect("a member encoded it");
        let kind = message.kind();
        match self.consensus(to).step(message) {
            Ok(()) | Err(StepError::UnknownPeer { .. }) => {}
            Err(error) => panic!("member {to} refuses a message of member {from}: {error}"),
        }
        self.turn(to);
        self.report(from, to, kind, true);
    }

    /// The sender of a snapshot hears what became of it.
    fn report(&mut self, from: u64, to: u64, kind: MessageKind, arrived: bool) {
        if kind == MessageKind::Snapshot
            && let Some(sender) = self.members.get_mut(&from)
        {
            sender.consensus.report_snapshot(MemberId(to), arrived);
            self.turn(from);
        }
    }

    pub(crate) fn tick(&mut self, id: u64) {
        if let Some(member) = self.members.get_mut(&id) {
            member.consensus.tick();
            self.turn(id);
        }
    }

    pub(crate) fn campaign(&mut self, id: u64) {
        if let Some(member) = self.members.get_mut(&id) {
            member.consensus.campaign();
            self.turn(id);
        }
    }

    pub(crate) fn propose(&mut self, id: u64, data: &str) -> Result<(Term, LogIndex), ProposeError> {
        let outcome = self.consensus(id).propose(Bytes::copy_from_slice(data.as_bytes()));
        self.turn(id);
        outcome
    }

    pub(crate) fn change_members(&mut self, id: u64, change: &ConfChange) -> Result<(Term, LogIndex), ProposeError> {
        let outcome = self.consensus(id).propose_conf_change(change);
        self.turn(id);
        outcome
    }

    /// Asks for a read index; its answer is checked against what any member had delivered by now.
    pub(crate) fn read(&mut self, id: u64) {
        let acknowledged = LogIndex(self.history.len() as u64);
        let Some(member) = self.members.get_mut(&id) else { return };
        if let Ok(token) = member.consensus.read_index() {
            assert!(member.reads.insert(token, acknowledged).is_none(), "a token was given out twice");
        }
        self.turn(id);
    }

    /// Everything that can go on without time passing goes on, in order, until nothing is left.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            let ids: Vec<u64> = self.members.keys().copied().collect();
            let mut busy = !self.network.is_empty();
            for id in ids {
                while self.flush_one(id) || self.apply_one(id) {
                    busy = true;
                }
                self.offer_snapshot(id);
            }
            if !busy {
                return;
            }
            for _ in 0..self.network.len() {
                // The oldest message first; `deliver` moves the last one to its place.
                let (from, to, bytes) = self.network.remove(0);
                self.network.push((from, to, bytes));
                self.deliver(self.network.len() - 1, false);
            }
        }
        panic!("the cluster never comes to rest");
    }

    /// Time passes for everybody, with all messages delivered.
    pub(crate) fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            let ids: Vec<u64> = self.members.keys().copied().collect();
            for id in ids {
                self.tick(id);
            }
            self.settle();
        }
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |member: &Member| member.consensus.role() == Role::Leader;
        let leaders = self.members.iter().filter(|(_, member)| leads(member));
        leaders.max_by_key(|(_, member)| member.consensus.term()).map(|(id, _)| *id)
    }

    /// Cuts `id` off from everybody.
    pub(crate) fn isolate(&mut self, id: u64) {
        for other in self.disks.keys().filter(|other| **other != id) {
            self.cut.insert((id.min(*other), id.max(*other)));
        }
    }

    fn check_leader(&mut self, id: u64) {
        let Some(member) = self.members.get(&id) else { return };
        if member.consensus.role() == Role::Leader {
            let first = *self.leaders.entry(member.consensus.term()).or_insert(MemberId(id));
            assert_eq!(first, MemberId(id), "two leaders in term {}", member.consensus.term());
        }
    }

    /// Two logs that agree on the term of an entry agree on it and on all before (Raft thesis, 3.5).
    pub(crate) fn check_logs(&self) {
        for (one, left) in &self.disks {
            for (other, right) in self.disks.range(one + 1..) {
                let (left, right) = (left.contents(), right.contents());
                let first = left.base.0.max(right.base.0).next();
                let last = left.last_index().min(right.last_index());
                let mut must_match = false;
                for index in (first.0..=last.0).rev().map(LogIndex) {
                    let (a, b) = (left.entry(index).expect("in range"), right.entry(index).expect("in range"));
                    must_match |= a.term == b.term;
                    assert!(!must_match || a == b, "logs of {one} and {other} differ at {index} below a common entry");
                }
            }
        }
    }

    /// Folds what happened into a number, so that two runs can be compared.
    fn note(&mut self, id: u64, ready: &Ready) {
        for byte in format!("{id}{ready:?}").bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn record(history: &mut Vec<Entry>, entry: &Entry) {
    let position = usize::try_from(entry.index.0 - 1).expect("small");
    match history.get(position) {
        Some(known) => assert_eq!(known, entry, "two members deliver different entries"),
        None => {
            assert_eq!(history.len(), position, "an entry is delivered before one that precedes it");
            history.push(entry.clone());
        }
    }
}

fn put_on_disk(disk: &Disk, write: &LogWrite) {
    let mut contents = disk.contents();
    if let Some(snapshot) = &write.snapshot {
        contents.base = (snapshot.index, snapshot.term);
        contents.entries.clear();
        contents.applied = contents.base;
        contents.conf_state = snapshot.conf_state.clone();
    }
    contents.append(&write.append);
    contents.hard_state = write.hard_state.unwrap_or(contents.hard_state);
}
