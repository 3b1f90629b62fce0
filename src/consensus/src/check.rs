//! Whether a peer message can be true, before the library sees it.
//!
//! The library panics on some messages that an honest peer never sends; one that has lost its disk, or runs other
//! software, might. What is refused here has changed nothing.

use cairn_types::{LogIndex, MemberId};
use raft::{RawNode, Storage, eraftpb};

use crate::conf::ConfState;
use crate::error::StepError;
use crate::message::{Message, MessageKind};
use crate::reads::CONTEXT_BYTES;
use crate::start::MAX_NUMBER;

/// What to do with a message that can be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The library takes it.
    Take,
    /// It came late: the library would draw a wrong conclusion from it.
    Stale,
}

pub(crate) fn check<S: Storage>(node: &RawNode<S>, message: &Message) -> Result<Verdict, StepError> {
    let (kind, raw) = (message.kind(), &message.0);
    check_address(node.raft.id, message)?;
    check_numbers(message)?;
    let malformed = |what| StepError::Malformed { from: message.from(), kind, what };
    if kind == MessageKind::ReadIndex {
        return if raw.entries.len() == 1 { Ok(Verdict::Take) } else { Err(malformed("it names no context")) };
    }
    if raw.term == 0 {
        // The library takes these for its own, and checks nothing.
        return Err(malformed("it has no term"));
    }
    match kind {
        MessageKind::Append => check_append(node, message).map(|()| Verdict::Take),
        MessageKind::AppendResponse => check_append_response(node, message),
        MessageKind::VoteResponse | MessageKind::PreVoteResponse | MessageKind::HeartbeatResponse => {
            check_known(node, message).map(|()| Verdict::Take)
        }
        MessageKind::Heartbeat if raw.term >= node.raft.term && raw.commit > node.raft.raft_log.last_index() => {
            let last = LogIndex(node.raft.raft_log.last_index());
            Err(StepError::CommitBeyondLog { from: message.from(), commit: LogIndex(raw.commit), last })
        }
        MessageKind::Snapshot => check_snapshot(message).map(|()| Verdict::Take),
        MessageKind::ReadIndexResponse => match raw.entries.first() {
            Some(entry) if raw.entries.len() == 1 && entry.data.len() == CONTEXT_BYTES => Ok(Verdict::Take),
            _ => Err(malformed("it names no context")),
        },
        MessageKind::Foreign => Err(StepError::ForeignKind(kind)),
        MessageKind::Vote
        | MessageKind::PreVote
        | MessageKind::Heartbeat
        | MessageKind::TimeoutNow
        | MessageKind::ReadIndex => Ok(Verdict::Take),
    }
}

fn check_address(own: u64, message: &Message) -> Result<(), StepError> {
    if message.0.to != own {
        return Err(StepError::WrongRecipient { to: message.to(), own: MemberId(own) });
    }
    if message.0.from == 0 || message.0.from == own {
        return Err(StepError::WrongSender(message.from()));
    }
    Ok(())
}

fn check_numbers(message: &Message) -> Result<(), StepError> {
    let raw = &message.0;
    let numbers = [raw.term, raw.log_term, raw.index, raw.commit, raw.commit_term, raw.reject_hint];
    if numbers.into_iter().any(|number| number > MAX_NUMBER) {
        return Err(StepError::Malformed {
            from: message.from(),
            kind: message.kind(),
            what: "it holds a number that no log can reach",
        });
    }
    Ok(())
}

/// Answers come only from members.
fn check_known<S: Storage>(node: &RawNode<S>, message: &Message) -> Result<(), StepError> {
    match node.raft.prs().get(message.0.from) {
        Some(_) => Ok(()),
        None => Err(StepError::UnknownPeer { from: message.from() }),
    }
}

fn check_append<S: Storage>(node: &RawNode<S>, message: &Message) -> Result<(), StepError> {
    let raw = &message.0;
    let malformed = |what| Err(StepError::Malformed { from: message.from(), kind: message.kind(), what });
    let mut before = (raw.index, raw.log_term);
    for entry in &raw.entries {
        if entry.index != before.0 + 1 {
            return malformed("its entries are not consecutive");
        }
        if entry.term < before.1 || entry.term > raw.term || entry.term == 0 {
            return malformed("the terms of its entries are out of order");
        }
        before = (entry.index, entry.term);
    }
    if raw.log_term > raw.term {
        return malformed("it follows an entry of a later term");
    }
    if (raw.index == 0) != (raw.log_term == 0) {
        return malformed("it follows an entry without a term");
    }
    check_against_committed(node, message)
}

/// A leader of this or a later term has every committed entry (Raft thesis, 3.6.3), so what it builds upon cannot
/// contradict the last one that is committed here.
fn check_against_committed<S: Storage>(node: &RawNode<S>, message: &Message) -> Result<(), StepError> {
    let (raw, log) = (&message.0, &node.raft.raft_log);
    if raw.term < node.raft.term || raw.index < log.committed {
        return Ok(());
    }
    let committed_term = log.term(log.committed).unwrap_or(0);
    let contradicts = raw.log_term < committed_term || (raw.index == log.committed && raw.log_term != committed_term);
    if contradicts {
        return Err(StepError::ConflictsWithCommitted { from: message.from(), index: LogIndex(log.committed) });
    }
    Ok(())
}

fn check_append_response<S: Storage>(node: &RawNode<S>, message: &Message) -> Result<Verdict, StepError> {
    check_known(node, message)?;
    let raw = &message.0;
    let leads = node.raft.state == raft::StateRole::Leader && raw.term == node.raft.term;
    if !leads {
        return Ok(Verdict::Take);
    }
    if !raw.reject && raw.index > node.raft.raft_log.last_index() {
        return Err(StepError::Malformed {
            from: message.from(),
            kind: message.kind(),
            what: "it acknowledges entries that were never sent",
        });
    }
    // A refusal of what the follower has acknowledged since is old news. The library would, while it probes, take it
    // for new, and go back behind what is known to match.
    let matched = node.raft.prs().get(raw.from).map_or(0, |progress| progress.matched);
    if raw.reject && matched > 0 && raw.index <= matched {
        return Ok(Verdict::Stale);
    }
    Ok(Verdict::Take)
}

fn check_snapshot(message: &Message) -> Result<(), StepError> {
    let raw = &message.0;
    let metadata: &eraftpb::SnapshotMetadata = raw.get_snapshot().get_metadata();
    let in_range = (1..=MAX_NUMBER).contains(&metadata.index) && (1..=raw.term).contains(&metadata.term);
    if !in_range {
        return Err(StepError::Malformed {
            from: message.from(),
            kind: message.kind(),
            what: "its snapshot is of no possible entry",
        });
    }
    ConfState::from_library(metadata.get_conf_state())
        .validate()
        .map_err(|source| StepError::SnapshotConfState { from: message.from(), source })
}
