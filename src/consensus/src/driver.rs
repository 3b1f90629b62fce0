//! The driver: inputs in, [`Ready`]s out.

use bytes::Bytes;
use cairn_types::{Entry, LogIndex, MemberId, Term};
use raft::{RaftState, RawNode, StateRole, eraftpb};

use crate::cache::{LogCache, LogReader};
use crate::check::{Verdict, check};
use crate::conf::{ConfChange, ConfState};
use crate::config::Config;
use crate::error::{
    ConfChangeError, ConsensusError, LogReadError, ProposeError, ReadIndexError, StepError, TransferError,
};
use crate::log_sink;
use crate::message::{Message, MessageKind, entry_from_library, hard_state_from_library, hard_state_to_library};
use crate::pipeline::{Pipeline, Write};
use crate::reads::{ReadToken, Reads};
use crate::ready::{LeaderChange, Ready, ReadySequence, Snapshot};
use crate::start::Start;
use crate::status::{Role, Status, progress};

/// One member's part in the agreement. Not thread-safe and without a thread: one caller drives it.
pub struct Consensus {
    node: RawNode<LogCache>,
    config: Config,
    pipeline: Pipeline,
    /// A hard state that waits for the next write, because nothing but its commit index is new.
    unwritten: Option<eraftpb::HardState>,
    reads: Reads,
    /// What the caller was told last.
    told: LeaderChange,
    /// What [`Self::reads`] were asked under.
    reads_under: LeaderChange,
}

impl Consensus {
    /// A member as its disk describes it. It starts as a follower, without a leader.
    ///
    /// # Errors
    /// Where a setting is out of range, or what the disk holds does not fit together.
    pub fn new(config: Config, start: Start, log: Box<dyn LogReader>) -> Result<Self, ConsensusError> {
        config.validate()?;
        let start = start.validated()?;
        let initial = RaftState::new(hard_state_to_library(start.hard_state), start.conf_state.to_library());
        let cache = LogCache::new(log, initial, start.applied, start.entries);
        let logger = log_sink::logger(config.log_sink.clone());
        let node = RawNode::new(&config.library_config(start.applied.0.0), cache, &logger)
            .map_err(|error| ConsensusError::Library(error.to_string()))?;
        let now = standing(&node);
        let mut consensus = Self {
            pipeline: Pipeline::new(now.term.0),
            unwritten: None,
            reads: Reads::new(config.id, config.incarnation),
            told: now,
            reads_under: now,
            node,
            config,
        };
        consensus.settle();
        Ok(consensus)
    }

    /// One tick of time passed.
    ///
    /// A member whose own log has writes outstanding does not stand for election, however late it is: a stuck disk is
    /// no place for a leader, and the library counts on it.
    pub fn tick(&mut self) {
        self.node.mut_store().refresh();
        let raft = &self.node.raft;
        let would_campaign =
            raft.state != StateRole::Leader && raft.election_elapsed + 1 >= raft.randomized_election_timeout();
        if would_campaign && !self.log_is_durable() {
            return;
        }
        self.node.tick();
        self.settle();
    }

    /// Stands for election now, without waiting for the election timeout. Nothing happens on a leader, on a member that
    /// does not vote, or while the own log has writes outstanding.
    pub fn campaign(&mut self) {
        if !self.node.raft.promotable() || !self.log_is_durable() {
            return;
        }
        // The only error is a dropped proposal, and this is none.
        let _ = self.node.campaign();
        self.settle();
    }

    /// Appends a command to the log; `data` is not copied. Where it is lost with a change of leader, no entry of this
    /// term is ever committed at this index.
    ///
    /// # Errors
    /// Where this member does not lead, hands over the leadership, or too much waits to be committed.
    pub fn propose(&mut self, data: Bytes) -> Result<(Term, LogIndex), ProposeError> {
        self.append(eraftpb::Entry { data, ..Default::default() })
    }

    /// Appends a change of members. It takes effect when it is committed and [`Self::apply_conf_change`] is called.
    ///
    /// # Errors
    /// As for [`Self::propose`]; also where an earlier change is under way, or this one cannot follow the present set.
    pub fn propose_conf_change(&mut self, change: &ConfChange) -> Result<(Term, LogIndex), ProposeError> {
        self.check_may_propose()?;
        if self.node.raft.has_pending_conf() {
            return Err(ProposeError::ConfChangePending);
        }
        self.rehearse(change)?;
        self.append(eraftpb::Entry {
            entry_type: eraftpb::EntryType::EntryConfChangeV2,
            data: change.encode(),
            ..Default::default()
        })
    }

    fn check_may_propose(&self) -> Result<(), ProposeError> {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        match raft.lead_transferee {
            Some(target) => Err(ProposeError::Transferring(MemberId(target))),
            None => Ok(()),
        }
    }

    fn append(&mut self, entry: eraftpb::Entry) -> Result<(Term, LogIndex), ProposeError> {
        self.check_may_propose()?;
        let message = eraftpb::Message {
            msg_type: eraftpb::MessageType::MsgPropose,
            from: self.config.id.0,
            entries: vec![entry].into(),
            ..Default::default()
        };
        // What else the library refuses is ruled out by the check above.
        self.node.raft.step(message).map_err(|_| ProposeError::TooManyUncommitted)?;
        let raft = &self.node.raft;
        Ok((Term(raft.term), LogIndex(raft.raft_log.last_index())))
    }

    /// Whether `change` could be applied to the present set of members.
    fn rehearse(&self, change: &ConfChange) -> Result<(), ConfChangeError> {
        if change.changes.iter().any(|step| step.member() == MemberId(0)) {
            return Err(ConfChangeError::Refused("it names member 0".to_owned()));
        }
        let change = change.to_library();
        let mut changer = raft::Changer::new(self.node.raft.prs());
        let outcome = if change.leave_joint() {
            changer.leave_joint()
        } else if let Some(auto_leave) = change.enter_joint() {
            changer.enter_joint(auto_leave, &change.changes)
        } else {
            changer.simple(&change.changes)
        };
        outcome.map(drop).map_err(|error| ConfChangeError::Refused(error.to_string()))
    }

    /// Puts a committed change of members into effect. To be called for each such entry of [`Ready::committed`], in
    /// order, before [`Self::applied`] reaches it; the result is to be stored with the applied index.
    ///
    /// # Errors
    /// Where the change is none or cannot follow the present set. It is then without effect, on every member alike.
    pub fn apply_conf_change(&mut self, entry: &Entry) -> Result<ConfState, ConfChangeError> {
        let change = ConfChange::from_entry(entry)?;
        self.rehearse(&change)?;
        let applied = self
            .node
            .apply_conf_change(&change.to_library())
            .map_err(|error| ConfChangeError::Refused(error.to_string()))?;
        let conf_state = ConfState::from_library(&applied);
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Leader && !conf_state.is_voter(self.config.id) {
            // The library would go on leading a cluster in which it has no vote, confirm reads by the others' quorum of
            // one, and fail when it looks for its own progress.
            let term = raft.term;
            raft.become_follower(term, raft::INVALID_ID);
        }
        self.settle();
        Ok(conf_state)
    }

    /// Asks from which index a linearizable read may be served. The answer comes with a [`Ready`]; it may come late or,
    /// where messages are lost on a follower, only with the answer to a later read.
    ///
    /// # Errors
    /// Where no leader is known.
    pub fn read_index(&mut self) -> Result<ReadToken, ReadIndexError> {
        let raft = &self.node.raft;
        if raft.leader_id == raft::INVALID_ID {
            return Err(ReadIndexError::NoLeader);
        }
        let deferred = raft.state == StateRole::Leader && !raft.commit_to_current_term();
        let token = self.reads.ask(Term(raft.term), deferred);
        if !deferred {
            self.ask_library(token.sequence);
        }
        self.settle();
        Ok(token)
    }

    fn ask_library(&mut self, sequence: u64) {
        let context = self.reads.context(Term(self.node.raft.term), sequence);
        self.node.read_index(context.to_vec());
    }

    /// A follower asks this member for a read index. Not leading, it stays silent: the follower hears of the new leader.
    fn answer_follower(&mut self, message: &Message) {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader {
            return;
        }
        let Some(entry) = message.0.entries.first() else { return };
        let deferred = !raft.commit_to_current_term();
        let sequence = self.reads.ask_for(message.from(), entry.data.clone(), deferred);
        if !deferred {
            self.ask_library(sequence);
        }
    }

    /// Takes a message from a peer.
    ///
    /// # Errors
    /// Where the message cannot be true; nothing has changed then. [`StepError::CommitBeyondLog`] and
    /// [`StepError::ConflictsWithCommitted`] mean that a disk has lost or changed data: the caller should stop.
    pub fn step(&mut self, message: Message) -> Result<(), StepError> {
        if check(&self.node, &message)? == Verdict::Stale {
            return Ok(());
        }
        match message.kind() {
            MessageKind::ReadIndex => self.answer_follower(&message),
            // It would stand for election.
            MessageKind::TimeoutNow if !self.log_is_durable() => {}
            _ => self.node.step(message.0).map_err(|error| StepError::Library(error.to_string()))?,
        }
        self.settle();
        Ok(())
    }

    /// The next portion of work, or `None` when there is none. To be taken after every input or batch of inputs.
    pub fn ready(&mut self) -> Option<Ready> {
        if !self.node.has_ready() && !self.reads.has_output() && standing(&self.node) == self.told {
            return None;
        }
        let mut library = self.node.ready();
        let leads = self.node.raft.state == StateRole::Leader;
        let sequence = ReadySequence(library.number());
        let entries = library.take_entries();
        let snapshot = (!library.snapshot().is_empty()).then(|| library.snapshot().clone());
        let hard_state = self.hard_state_to_write(&library, snapshot.is_some() || !entries.is_empty());
        let write = Write::new(sequence, hard_state.as_ref(), snapshot.as_ref(), &entries);
        let mut messages = library.take_messages();
        messages.append(&mut library.take_persisted_messages());
        let term = Term(self.node.raft.term);
        for state in library.take_read_states() {
            self.reads.answer(term, &state.request_ctx, LogIndex(state.index));
        }
        messages.extend(self.answers_to_followers());
        let (at_once, after_persist) = self.split_messages(messages, leads);
        let mut ready = Ready {
            sequence,
            snapshot: snapshot.as_ref().map(Snapshot::from_library),
            append: entries.iter().cloned().map(entry_from_library).collect(),
            hard_state: hard_state.as_ref().map(hard_state_from_library),
            messages: at_once,
            messages_after_persist: after_persist,
            committed: library.take_committed_entries().into_iter().map(entry_from_library).collect(),
            read_states: self.reads.take_answered(),
            dropped_reads: self.reads.take_dropped(),
            leader_change: self.tell(),
        };
        if let Some(metadata) = snapshot.as_ref().map(eraftpb::Snapshot::get_metadata) {
            self.node.mut_store().restart_after(metadata.index, metadata.term);
        }
        self.node.mut_store().append(entries);
        self.node.advance_append_async(library);
        self.issue(write, &mut ready);
        Some(ready)
    }

    /// The hard state that belongs into the write of this Ready. A commit index can be learned again after a crash, so
    /// one that moved alone is not worth a write: it goes with the next.
    fn hard_state_to_write(&mut self, library: &raft::Ready, writes_more: bool) -> Option<eraftpb::HardState> {
        self.unwritten = library.hs().cloned().or(self.unwritten.take());
        if writes_more || library.must_sync() { self.unwritten.take() } else { None }
    }

    /// Sends the write on its way, or reports it at once where it is empty and nothing else is under way.
    fn issue(&mut self, write: Write, ready: &mut Ready) {
        let nothing_to_wait_for = !ready.has_write() && self.pipeline.is_idle() && !self.pipeline.has_entries();
        self.pipeline.issue(write);
        if nothing_to_wait_for {
            ready.messages.append(&mut ready.messages_after_persist);
            self.persisted(ready.sequence);
        }
    }

    fn answers_to_followers(&mut self) -> Vec<eraftpb::Message> {
        let (from, term) = (self.config.id.0, self.node.raft.term);
        let answers = self.reads.take_remote_answers().into_iter();
        answers
            .map(|answer| eraftpb::Message {
                msg_type: eraftpb::MessageType::MsgReadIndexResp,
                to: answer.member.0,
                from,
                term,
                index: answer.index.0,
                entries: vec![eraftpb::Entry { data: answer.context, ..Default::default() }].into(),
                ..Default::default()
            })
            .collect()
    }

    /// Which messages may overtake the write of their Ready: what a leader says as a leader, in a term that its disk
    /// will not forget. Everything else speaks of a term, vote or entry that must be durable first.
    fn split_messages(&self, messages: Vec<eraftpb::Message>, leads: bool) -> (Vec<Message>, Vec<Message>) {
        let term_is_durable = self.pipeline.durable_term() == self.node.raft.term;
        messages.into_iter().map(Message).partition(|message| {
            let as_leader = matches!(
                message.kind(),
                MessageKind::Append
                    | MessageKind::Heartbeat
                    | MessageKind::Snapshot
                    | MessageKind::TimeoutNow
                    | MessageKind::ReadIndexResponse
            );
            leads && as_leader && term_is_durable && message.0.term == self.node.raft.term
        })
    }

    fn tell(&mut self) -> Option<LeaderChange> {
        let now = standing(&self.node);
        let changed = now != self.told;
        self.told = now;
        changed.then_some(now)
    }

    /// The log wrote everything of the Readies up to and including this one, durably where they said so. Only now send
    /// their `messages_after_persist`.
    ///
    /// # Panics
    /// Where no such Ready was given out.
    pub fn persisted(&mut self, ready: ReadySequence) {
        if let Some(upto) = self.pipeline.done(ready) {
            self.node.on_persist_ready(upto.0);
        }
        self.shrink_cache();
        self.settle();
    }

    /// The store has applied everything up to `index`, in memory at least. An index below an earlier one is ignored.
    ///
    /// # Panics
    /// Where `index` was never given out as committed.
    pub fn applied(&mut self, index: LogIndex) {
        if index.0 <= self.node.raft.raft_log.applied {
            return;
        }
        self.node.advance_apply_to(index.0);
        self.shrink_cache();
        self.settle();
    }

    /// Entries up to `upto` may leave memory; those that are not applied or not persisted stay.
    pub fn compact_cache(&mut self, upto: LogIndex) {
        let bound = upto.0.min(self.settled_index());
        self.node.mut_store().evict(bound);
    }

    fn shrink_cache(&mut self) {
        let (bound, max_bytes) = (self.settled_index(), self.config.max_cached_bytes);
        self.node.mut_store().shrink(max_bytes, bound);
    }

    /// Up to here everything is applied and can be read back from the disk.
    fn settled_index(&self) -> u64 {
        let log = &self.node.raft.raft_log;
        log.applied.min(log.persisted)
    }

    /// Hands the leadership to `target`, once that one has every entry; given up after an election timeout.
    ///
    /// # Errors
    /// Where this member does not lead or `target` does not vote.
    pub fn transfer_leader(&mut self, target: MemberId) -> Result<(), TransferError> {
        if self.node.raft.state != StateRole::Leader {
            return Err(TransferError::NotLeader { leader: self.leader() });
        }
        if !self.conf_state().is_voter(target) {
            return Err(TransferError::NotAVoter(target));
        }
        self.node.transfer_leader(target.0);
        self.settle();
        Ok(())
    }

    /// A message to `member` could not be sent: the leader probes before it streams again.
    pub fn report_unreachable(&mut self, member: MemberId) {
        self.node.report_unreachable(member.0);
    }

    /// A snapshot for the members in [`Status::snapshot_wanted`], and for those that come to need one later. It must be
    /// of an applied entry that the log still reaches and after which those are members; otherwise they ask again.
    pub fn offer_snapshot(&mut self, snapshot: &Snapshot) {
        self.node.mut_store().offer(snapshot.to_library());
    }

    /// Whether `member` got the snapshot of the last [`MessageKind::Snapshot`] message. Until told, the leader sends it
    /// nothing else.
    pub fn report_snapshot(&mut self, member: MemberId, arrived: bool) {
        let status = if arrived { raft::SnapshotStatus::Finish } else { raft::SnapshotStatus::Failure };
        self.node.report_snapshot(member.0, status);
    }

    /// A fault that [`LogReader`] reported since the last call. The follower that needed the entries waits meanwhile;
    /// a caller that sees damage should stop.
    pub fn take_log_fault(&mut self) -> Option<LogReadError> {
        self.node.mut_store().take_fault()
    }

    /// What this member is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.node.raft.state.into()
    }

    /// Who leads, as far as this member knows.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        standing(&self.node).leader
    }

    /// The present term.
    #[must_use]
    pub fn term(&self) -> Term {
        Term(self.node.raft.term)
    }

    /// The present set of members.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        ConfState::from_library(&self.node.raft.prs().conf().to_conf_state())
    }

    /// Where this member stands. It copies; not for every turn of a loop.
    #[must_use]
    pub fn status(&self) -> Status {
        let raft = &self.node.raft;
        let leads = raft.state == StateRole::Leader;
        let store = self.node.store();
        Status {
            id: self.config.id,
            role: self.role(),
            leader: self.leader(),
            term: self.term(),
            commit: LogIndex(raft.raft_log.committed),
            last_index: LogIndex(raft.raft_log.last_index()),
            persisted: LogIndex(raft.raft_log.persisted),
            applied: LogIndex(raft.raft_log.applied),
            single_voter: leads && self.conf_state().is_only_voter(self.config.id),
            transferring_to: raft.lead_transferee.map(MemberId),
            cached_bytes: store.bytes(),
            progress: if leads { progress(raft.prs()) } else { std::collections::BTreeMap::new() },
            snapshot_wanted: store.snapshot_wanted().into_iter().map(MemberId).collect(),
        }
    }

    /// Whether every entry of the own log is durable, as the library sees it.
    fn log_is_durable(&self) -> bool {
        let log = &self.node.raft.raft_log;
        log.unstable_entries().is_empty()
            && log.unstable_snapshot().is_none()
            && log.persisted == log.last_index()
            && !self.pipeline.has_entries()
    }

    /// After every input: what depends on term, role and commit is brought up to date.
    fn settle(&mut self) {
        self.fix_election_timeout();
        let now = standing(&self.node);
        if now != self.reads_under {
            self.reads_under = now;
            self.reads.abandon();
        }
        let may_ask = now.role == Role::Leader && self.node.raft.commit_to_current_term();
        if may_ask && let Some(sequence) = self.reads.take_deferred() {
            self.ask_library(sequence);
        }
    }

    /// Replaces the library's jitter, drawn from the thread's generator, by one that follows from seed and term.
    fn fix_election_timeout(&mut self) {
        let timeout = self.config.election_timeout(self.node.raft.term);
        self.node.raft.set_randomized_election_timeout(timeout);
    }
}

fn standing(node: &RawNode<LogCache>) -> LeaderChange {
    let raft = &node.raft;
    let leader = (raft.leader_id != raft::INVALID_ID).then_some(MemberId(raft.leader_id));
    LeaderChange { leader, role: raft.state.into(), term: Term(raft.term) }
}
