//! How far this member is and who leads: numbers that any thread reads without asking another.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cairn_types::{LogIndex, Term};
use tokio::sync::watch;

/// The numbers. The raft and apply threads write, all others read.
#[derive(Debug)]
pub(crate) struct Progress {
    term: AtomicU64,
    leader: AtomicU64,
    commit: AtomicU64,
    leads: AtomicBool,
    /// The term in which this member leads as the only voter; 0: it does not.
    lone_term: AtomicU64,
    applied: watch::Sender<LogIndex>,
    applied_term: AtomicU64,
    applied_bytes: AtomicU64,
}

impl Progress {
    pub(crate) fn new(applied: LogIndex, applied_term: Term) -> Self {
        Self {
            term: AtomicU64::new(0),
            leader: AtomicU64::new(0),
            commit: AtomicU64::new(0),
            leads: AtomicBool::new(false),
            lone_term: AtomicU64::new(0),
            applied: watch::Sender::new(applied),
            applied_term: AtomicU64::new(applied_term.0),
            applied_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_raft(&self, term: Term, leader: u64, commit: LogIndex, leads: bool) {
        self.term.store(term.0, Ordering::Release);
        self.leader.store(leader, Ordering::Release);
        self.commit.store(commit.0, Ordering::Release);
        self.leads.store(leads, Ordering::Release);
    }

    /// `term` is that in which this member leads as the only voter; none where it does not.
    pub(crate) fn set_lone_term(&self, term: Option<Term>) {
        self.lone_term.store(term.map_or(0, |term| term.0), Ordering::SeqCst);
    }

    pub(crate) fn set_applied(&self, index: LogIndex, term: Term, bytes: usize) {
        self.applied_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.applied_term.store(term.0, Ordering::Release);
        self.applied.send_replace(index);
    }

    pub(crate) fn term(&self) -> Term {
        Term(self.term.load(Ordering::Acquire))
    }

    /// 0: none is known.
    pub(crate) fn leader(&self) -> u64 {
        self.leader.load(Ordering::Acquire)
    }

    pub(crate) fn commit(&self) -> LogIndex {
        LogIndex(self.commit.load(Ordering::Acquire))
    }

    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// Whether the newest view has every acknowledged write, so that a read need not ask Raft. So it is with the only
    /// voter: nobody else can be elected, so nobody else acknowledges writes; what was acknowledged before this term is
    /// applied once an entry of this term is (the log is applied in order); and in this term a write is acknowledged after it
    /// became visible.
    pub(crate) fn reads_need_no_hop(&self) -> bool {
        let term = self.lone_term.load(Ordering::SeqCst);
        term != 0 && self.applied_term() == Term(term)
    }

    pub(crate) fn applied(&self) -> LogIndex {
        *self.applied.borrow()
    }

    pub(crate) fn applied_term(&self) -> Term {
        Term(self.applied_term.load(Ordering::Acquire))
    }

    /// Bytes of entries applied since the program started.
    pub(crate) fn applied_bytes(&self) -> u64 {
        self.applied_bytes.load(Ordering::Relaxed)
    }

    /// Returns once the entry at `index` is applied.
    pub(crate) async fn wait_applied(&self, index: LogIndex) {
        let mut applied = self.applied.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _reached = applied.wait_for(|applied| *applied >= index).await;
    }
}
