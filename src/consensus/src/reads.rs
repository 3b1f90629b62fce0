//! Which reads wait for an index, and the contexts under which the cluster confirms them.
//!
//! The library tells acknowledgements apart by their context alone, so a context that came up twice would let a delayed
//! acknowledgement of the first read stand for the second: a stale read. Here the member that leads names every read
//! that it confirms, its own and those of followers, by (member, incarnation, term, sequence); a term has one leader and
//! that leader one incarnation in it. Followers name theirs in the same way, so that a late answer finds nobody.
//!
//! An answer to a read also answers all that were asked before it: the index was taken after them.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use cairn_types::{LogIndex, MemberId, Term};

/// Most reads that wait for an index at a time; beyond it the oldest one is dropped.
pub const MAX_OUTSTANDING_READS: usize = 10_000;

/// Stands for one read that was asked for; given out once and never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadToken {
    /// The term in which it was asked for.
    pub term: Term,
    /// Counts the reads of this start of the member.
    pub sequence: u64,
}

/// Who waits for the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Local(ReadToken),
    Remote { member: MemberId, context: Bytes },
}

/// Answers that the leader has for others: to whom, and under which context that one asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteAnswer {
    pub(crate) member: MemberId,
    pub(crate) context: Bytes,
    pub(crate) index: LogIndex,
}

/// Invariant: the keys of `outstanding` were all asked for under the present term and leader.
#[derive(Debug)]
pub(crate) struct Reads {
    member: MemberId,
    incarnation: u64,
    next_sequence: u64,
    outstanding: BTreeMap<u64, Origin>,
    /// The newest read that the library was not asked for yet, because the leader has committed nothing in its term.
    deferred: Option<u64>,
    answered: Vec<(ReadToken, LogIndex)>,
    remote_answers: Vec<RemoteAnswer>,
    dropped: Vec<ReadToken>,
}

impl Reads {
    pub(crate) fn new(member: MemberId, incarnation: u64) -> Self {
        Self {
            member,
            incarnation,
            next_sequence: 1,
            outstanding: BTreeMap::new(),
            deferred: None,
            answered: Vec::new(),
            remote_answers: Vec::new(),
            dropped: Vec::new(),
        }
    }

    /// A new read of this member; `deferred` if the library may not be asked yet.
    pub(crate) fn ask(&mut self, term: Term, deferred: bool) -> ReadToken {
        let token = ReadToken { term, sequence: self.next_sequence };
        self.add(Origin::Local(token), deferred);
        token
    }

    /// A read that a follower asks this leader for; the sequence under which the library is to confirm it.
    pub(crate) fn ask_for(&mut self, member: MemberId, context: Bytes, deferred: bool) -> u64 {
        let sequence = self.next_sequence;
        self.add(Origin::Remote { member, context }, deferred);
        sequence
    }

    fn add(&mut self, origin: Origin, deferred: bool) {
        if self.outstanding.len() >= MAX_OUTSTANDING_READS
            && let Some((_, Origin::Local(token))) = self.outstanding.pop_first()
        {
            self.dropped.push(token);
        }
        self.outstanding.insert(self.next_sequence, origin);
        if deferred {
            self.deferred = Some(self.next_sequence);
        }
        self.next_sequence += 1;
    }

    /// The read to ask the library for, once it may be asked: it stands for all before it.
    pub(crate) fn take_deferred(&mut self) -> Option<u64> {
        self.deferred.take()
    }

    /// Term or leader changed: the library has forgotten every read.
    pub(crate) fn abandon(&mut self) {
        self.deferred = None;
        for (_, origin) in std::mem::take(&mut self.outstanding) {
            if let Origin::Local(token) = origin {
                self.dropped.push(token);
            }
        }
    }

    /// The unique context of a read.
    pub(crate) fn context(&self, term: Term, sequence: u64) -> Bytes {
        let mut context = BytesMut::with_capacity(CONTEXT_BYTES);
        for number in [self.member.0, self.incarnation, term.0, sequence] {
            context.put_u64(number);
        }
        context.freeze()
    }

    /// The library confirmed `context` at `index`. A context of another start, term or member answers nothing.
    pub(crate) fn answer(&mut self, term: Term, context: &[u8], index: LogIndex) {
        let Some(sequence) = context.last_chunk().map(|tail| u64::from_be_bytes(*tail)) else { return };
        if context != self.context(term, sequence) || !self.outstanding.contains_key(&sequence) {
            return;
        }
        let later = self.outstanding.split_off(&(sequence + 1));
        for (_, origin) in std::mem::replace(&mut self.outstanding, later) {
            match origin {
                Origin::Local(token) => self.answered.push((token, index)),
                Origin::Remote { member, context } => {
                    self.remote_answers.push(RemoteAnswer { member, context, index });
                }
            }
        }
    }

    pub(crate) fn has_output(&self) -> bool {
        !(self.answered.is_empty() && self.remote_answers.is_empty() && self.dropped.is_empty())
    }

    pub(crate) fn take_answered(&mut self) -> Vec<(ReadToken, LogIndex)> {
        std::mem::take(&mut self.answered)
    }

    pub(crate) fn take_remote_answers(&mut self) -> Vec<RemoteAnswer> {
        std::mem::take(&mut self.remote_answers)
    }

    pub(crate) fn take_dropped(&mut self) -> Vec<ReadToken> {
        std::mem::take(&mut self.dropped)
    }
}

/// Member, incarnation, term and sequence, each in eight bytes, the highest first.
pub(crate) const CONTEXT_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Term = Term(3);

    fn reads() -> Reads {
        Reads::new(MemberId(1), 7)
    }

    #[test]
    fn an_answer_also_answers_the_reads_that_were_asked_before_it() {
        let mut reads = reads();
        let [first, second, third] = [(); 3].map(|()| reads.ask(TERM, false));
        reads.answer(TERM, &reads.context(TERM, second.sequence), LogIndex(9));
        assert_eq!(reads.take_answered(), [(first, LogIndex(9)), (second, LogIndex(9))]);
        reads.answer(TERM, &reads.context(TERM, third.sequence), LogIndex(10));
        assert_eq!(reads.take_answered(), [(third, LogIndex(10))]);
    }

    #[test]
    fn an_answer_counts_once() {
        let mut reads = reads();
        let token = reads.ask(TERM, false);
        let context = reads.context(TERM, token.sequence);
        reads.answer(TERM, &context, LogIndex(9));
        reads.answer(TERM, &context, LogIndex(9));
        assert_eq!(reads.take_answered().len(), 1);
    }

    #[test]
    fn an_answer_to_an_earlier_start_or_term_of_this_member_is_ignored() {
        let mut reads = reads();
        let token = reads.ask(TERM, false);
        let earlier_start = Reads::new(MemberId(1), 6);
        reads.answer(TERM, &earlier_start.context(TERM, token.sequence), LogIndex(1));
        reads.answer(TERM, &reads.context(Term(2), token.sequence), LogIndex(1));
        reads.answer(TERM, b"short", LogIndex(1));
        assert!(!reads.has_output());
    }

    #[test]
    fn a_change_of_leader_drops_what_waits_and_never_reuses_its_tokens() {
        let mut reads = reads();
        let before = reads.ask(TERM, true);
        reads.abandon();
        assert_eq!(reads.take_dropped(), [before]);
        assert_eq!(reads.take_deferred(), None);
        assert!(reads.ask(TERM, false).sequence > before.sequence);
    }

    #[test]
    fn beyond_the_limit_the_oldest_read_is_dropped() {
        let mut reads = reads();
        let oldest = reads.ask(TERM, false);
        for _ in 0..MAX_OUTSTANDING_READS {
            reads.ask(TERM, false);
        }
        assert_eq!(reads.take_dropped(), [oldest]);
        assert_eq!(reads.outstanding.len(), MAX_OUTSTANDING_READS);
    }
}
