//! The thread that runs Raft. Pure computation: it waits for no disk and no socket, so nothing that is slow can make a
//! heartbeat late. (Consensus could read old entries from the log for a follower that is far behind; one member has none.)
//!
//! It packs whatever queued into as few entries as fit, hands entries to the log thread and committed ones to the apply
//! thread, and answers which index a linearizable read must wait for. Only the log thread's word that something is
//! durable makes it count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_api::ApiError;
use cairn_consensus::{Consensus, ProposeError, ReadToken, ReadySequence, Role};
use cairn_state::{EntryBuilder, Origin};
use cairn_types::limits::MAX_ENTRY_BYTES;
use cairn_types::{Entry, LogIndex, MemberId};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use thiserror::Error;
use tokio::sync::oneshot;

use super::progress::Progress;
use super::waiters::{Waiter, Waiters};
use super::wal_thread::{AppendJob, ToWal};
use super::{Proposal, ToRaft};

/// How long the index of a read may take before it is asked for anew, with a new token: a confirmation that was lost
/// does not come again.
const READ_RETRY: Duration = Duration::from_millis(500);

/// Why the thread stops the node.
#[derive(Debug, Error)]
pub(crate) enum RaftError {
    #[error(
        "Raft wants to send {messages} messages to other members or to install a snapshot, but this version runs one member"
    )]
    Peers { messages: usize },
}

/// Where the index that a read must wait for goes.
pub(crate) type ReadReply = oneshot::Sender<Result<LogIndex, ApiError>>;

struct PendingRead {
    asked: Instant,
    replies: Vec<ReadReply>,
}

/// The thread's state.
pub(crate) struct RaftThread {
    consensus: Consensus,
    ingress: Receiver<ToRaft>,
    wal: Sender<ToWal>,
    apply: Sender<Vec<Entry>>,
    waiters: Arc<Waiters>,
    progress: Arc<Progress>,
    member: u64,
    /// The sequence of the next entry; unique over restarts, because it begins at a random place.
    next_sequence: u64,
    tick: Duration,
    is_only_voter: bool,
    commit: LogIndex,
    reads: BTreeMap<ReadToken, PendingRead>,
}

/// What one round took from the ingress.
#[derive(Default)]
struct Round {
    proposals: Vec<Proposal>,
    reads: Vec<ReadReply>,
    stop: bool,
}

impl RaftThread {
    #[expect(clippy::too_many_arguments, reason = "each is one end of a channel to another thread")]
    pub(crate) fn new(
        consensus: Consensus,
        ingress: Receiver<ToRaft>,
        wal: Sender<ToWal>,
        apply: Sender<Vec<Entry>>,
        waiters: Arc<Waiters>,
        progress: Arc<Progress>,
        member: MemberId,
        tick: Duration,
    ) -> Self {
        let next_sequence = fastrand::u64(..);
        let is_only_voter = consensus.conf_state().is_only_voter(member);
        let (commit, reads) = (progress.applied(), BTreeMap::new());
        let member = member.0;
        Self {
            consensus,
            ingress,
            wal,
            apply,
            waiters,
            progress,
            member,
            next_sequence,
            tick,
            is_only_voter,
            commit,
            reads,
        }
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) -> Result<(), RaftError> {
        if self.is_only_voter {
            // Nobody else could be elected: waiting for a timeout would only delay the start.
            self.consensus.campaign();
        }
        self.handle_ready()?;
        let mut next_tick = Instant::now() + self.tick;
        loop {
            let mut round = Round::default();
            match self.ingress.recv_deadline(next_tick) {
                Ok(message) => self.take(message, &mut round),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            // What queued is bounded by admission.
            while let Ok(message) = self.ingress.try_recv() {
                self.take(message, &mut round);
            }
            // Looked at, not reported: nothing here is waiting for it, and a report would wake this thread at each batch.
            self.consensus.applied(self.progress.applied());
            self.propose(round.proposals);
            self.read(round.reads);
            let now = Instant::now();
            if now >= next_tick {
                // A thread that was held up does not make up for ticks: the time that passed is no peer's fault.
                next_tick = now + self.tick;
                self.consensus.tick();
                self.retry_reads(now);
            }
            self.handle_ready()?;
            if round.stop {
                return Ok(());
            }
        }
    }

    fn take(&mut self, message: ToRaft, round: &mut Round) {
        match message {
            ToRaft::Propose(proposal) => round.proposals.push(proposal),
            ToRaft::Read(reply) => round.reads.push(reply),
            ToRaft::Persisted(sequence) => self.consensus.persisted(ReadySequence(sequence)),
            ToRaft::CompactCache(index) => self.consensus.compact_cache(index),
            ToRaft::Stop => round.stop = true,
        }
    }

    fn propose(&mut self, proposals: Vec<Proposal>) {
        let (member, next_sequence) = (self.member, &mut self.next_sequence);
        let entries = pack(proposals, || {
            *next_sequence = next_sequence.wrapping_add(1);
            Origin { member, sequence: *next_sequence }
        });
        for Packed { sequence, data, waiters } in entries {
            match self.consensus.propose(data) {
                Ok((_, index)) => self.waiters.insert(index, sequence, waiters),
                Err(error) => {
                    tracing::debug!(%error, "a proposal was dropped");
                    let answer = match error {
                        ProposeError::TooManyUncommitted => ApiError::TooManyRequests,
                        _ => ApiError::NoLeader,
                    };
                    waiters.into_iter().for_each(|waiter| waiter.answer(Err(answer)));
                }
            }
        }
    }

    fn read(&mut self, replies: Vec<ReadReply>) {
        if replies.is_empty() {
            return;
        }
        match self.consensus.read_index() {
            Ok(token) => {
                self.reads.insert(token, PendingRead { asked: Instant::now(), replies });
            }
            Err(error) => {
                tracing::debug!(%error, "no index for a read");
                replies.into_iter().for_each(|reply| answer(reply, Err(ApiError::NoLeader)));
            }
        }
    }

    fn retry_reads(&mut self, now: Instant) {
        let late: Vec<_> =
            self.reads.iter().filter(|(_, read)| now - read.asked >= READ_RETRY).map(|(token, _)| *token).collect();
        let replies = late.into_iter().filter_map(|token| self.reads.remove(&token)).flat_map(|read| read.replies);
        let waiting = replies.filter(|reply| !reply.is_closed()).collect();
        self.read(waiting);
    }

    fn handle_ready(&mut self) -> Result<(), RaftError> {
        while let Some(ready) = self.consensus.ready() {
            // A single member has nobody to send to, and none that could send it a snapshot.
            let messages = ready.messages.len() + ready.messages_after_persist.len();
            if messages > 0 || ready.snapshot.is_some() {
                return Err(RaftError::Peers { messages });
            }
            if ready.has_write() {
                let job = AppendJob { sequence: ready.sequence.0, entries: ready.append, hard_state: ready.hard_state };
                let _wal_has_stopped = self.wal.send(ToWal::Append(job));
            }
            if let Some(last) = ready.committed.last() {
                self.commit = last.index;
                let _apply_has_stopped = self.apply.send(ready.committed);
            }
            for (token, index) in ready.read_states {
                let replies = self.reads.remove(&token).map(|read| read.replies);
                replies.into_iter().flatten().for_each(|reply| answer(reply, Ok(index)));
            }
            for token in ready.dropped_reads {
                let replies = self.reads.remove(&token).map(|read| read.replies);
                replies.into_iter().flatten().for_each(|reply| answer(reply, Err(ApiError::LeaderChanged)));
            }
        }
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        let term = self.consensus.term();
        let leads = self.consensus.role() == Role::Leader;
        self.progress.set_raft(term, self.consensus.leader().map_or(0, |leader| leader.0), self.commit, leads);
        self.progress.set_lone_term((leads && self.is_only_voter).then_some(term));
    }
}

/// One entry to propose, and who waits for it.
struct Packed {
    sequence: u64,
    data: Bytes,
    waiters: Vec<Waiter>,
}

/// Packs commands into as few entries as fit, in the order in which they came.
fn pack(proposals: Vec<Proposal>, mut next_origin: impl FnMut() -> Origin) -> Vec<Packed> {
    let mut packed = Vec::new();
    let mut open: Option<(u64, EntryBuilder, Vec<Waiter>)> = None;
    let close = |(sequence, builder, waiters): (u64, EntryBuilder, Vec<Waiter>)| Packed {
        sequence,
        data: builder.finish(),
        waiters,
    };
    for Proposal { command, bytes, waiter } in proposals {
        if open.as_ref().is_some_and(|(_, builder, _)| builder.len() + bytes > MAX_ENTRY_BYTES) {
            packed.extend(open.take().map(close));
        }
        let (_, builder, waiters) = open.get_or_insert_with(|| {
            let origin = next_origin();
            (origin.sequence, EntryBuilder::new(origin), Vec::new())
        });
        builder.push(&command);
        waiters.push(waiter);
    }
    packed.extend(open.map(close));
    packed
}

fn answer(reply: ReadReply, index: Result<LogIndex, ApiError>) {
    let _client_has_gone = reply.send(index);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::admission::Admission;
    use cairn_api::etcdserverpb as pb;
    use cairn_state::{Command, decode_entry};

    fn proposal(value_bytes: usize) -> Proposal {
        let command = Command::Put(pb::PutRequest { value: vec![0; value_bytes].into(), ..Default::default() });
        let bytes = command.encoded_len();
        let waiter = Waiter { reply: oneshot::channel().0, _ticket: Admission::default().admit_own(bytes) };
        Proposal { command, bytes, waiter }
    }

    fn sizes(proposals: Vec<Proposal>) -> Vec<usize> {
        let mut sequence = 0;
        let packed = pack(proposals, || {
            sequence += 1;
            Origin { member: 1, sequence }
        });
        for (expected, entry) in (1..).zip(&packed) {
            let (origin, commands) = decode_entry(entry.data.clone()).unwrap().unwrap();
            assert_eq!((origin.member, origin.sequence, entry.sequence), (1, expected, expected));
            assert_eq!(commands.len(), entry.waiters.len());
        }
        packed.iter().map(|entry| entry.waiters.len()).collect()
    }

    #[test]
    fn all_that_queued_goes_into_one_entry_while_it_fits() {
        assert!(sizes(Vec::new()).is_empty());
        assert_eq!(sizes((0..100).map(|_| proposal(256)).collect()), [100]);
    }

    #[test]
    fn an_entry_is_closed_before_it_would_grow_too_large_and_a_larger_command_has_its_own() {
        let third = MAX_ENTRY_BYTES / 3;
        assert_eq!(sizes((0..5).map(|_| proposal(third)).collect()), [2, 2, 1]);
        assert_eq!(sizes(vec![proposal(1), proposal(2 * MAX_ENTRY_BYTES), proposal(1)]), [1, 1, 1]);
    }
}
