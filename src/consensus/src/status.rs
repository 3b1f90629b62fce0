//! Where a member stands.

use std::collections::{BTreeMap, BTreeSet};

use cairn_types::{LogIndex, MemberId, Term};

/// What a member is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it could win an election.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
}

impl From<raft::StateRole> for Role {
    fn from(role: raft::StateRole) -> Self {
        match role {
            raft::StateRole::Follower => Self::Follower,
            raft::StateRole::PreCandidate => Self::PreCandidate,
            raft::StateRole::Candidate => Self::Candidate,
            raft::StateRole::Leader => Self::Leader,
        }
    }
}

/// How a leader sends entries to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplicationState {
    /// Looks for the last entry on which both agree; one message at a time.
    Probe,
    /// Streams.
    Replicate,
    /// Waits until the member has installed a snapshot.
    Snapshot,
}

/// What a leader knows of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The last entry that is known to be on the member's disk.
    pub matched: LogIndex,
    /// The next entry to send.
    pub next: LogIndex,
    /// How entries are sent.
    pub state: ReplicationState,
    /// Whether the member was heard since the last check of the quorum.
    pub recently_active: bool,
    /// Whether the member learns and does not vote.
    pub learner: bool,
}

/// Where a member stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub id: MemberId,
    /// What it is.
    pub role: Role,
    /// Who leads, as far as it knows.
    pub leader: Option<MemberId>,
    /// Its term.
    pub term: Term,
    /// The last entry that it knows to be committed.
    pub commit: LogIndex,
    /// The last entry of its log, durable or not.
    pub last_index: LogIndex,
    /// The last entry that is durable in its own log.
    pub persisted: LogIndex,
    /// The last entry that the store has applied.
    pub applied: LogIndex,
    /// Whether this member leads and is the only voter, without a joint configuration.
    pub single_voter: bool,
    /// To whom the leadership is being handed.
    pub transferring_to: Option<MemberId>,
    /// Bytes of log that are held in memory.
    pub cached_bytes: usize,
    /// What the leader knows of each member, itself included; empty where this member does not lead.
    pub progress: BTreeMap<MemberId, PeerProgress>,
    /// Members that cannot go on without [`crate::Consensus::offer_snapshot`].
    pub snapshot_wanted: BTreeSet<MemberId>,
}

pub(crate) fn progress(tracker: &raft::ProgressTracker) -> BTreeMap<MemberId, PeerProgress> {
    let learners = tracker.conf().learners();
    tracker
        .iter()
        .map(|(id, progress)| {
            let peer = PeerProgress {
                matched: LogIndex(progress.matched),
                next: LogIndex(progress.next_idx),
                state: match progress.state {
                    raft::ProgressState::Probe => ReplicationState::Probe,
                    raft::ProgressState::Replicate => ReplicationState::Replicate,
                    raft::ProgressState::Snapshot => ReplicationState::Snapshot,
                },
                recently_active: progress.recent_active,
                learner: learners.contains(id),
            };
            (MemberId(*id), peer)
        })
        .collect()
}
