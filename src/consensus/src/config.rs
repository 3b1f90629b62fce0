//! What a member is told about itself.

use std::sync::Arc;

use cairn_types::MemberId;
use cairn_types::limits::{MAX_CACHED_LOG_BYTES, MAX_LOG_WRITE_BYTES, MAX_UNAPPLIED_BYTES};

use crate::error::ConsensusError;
use crate::log_sink::LogSink;

/// The settings of one member. The unit of time is the tick: one heartbeat interval when `heartbeat_ticks` is 1.
#[derive(Clone)]
pub struct Config {
    /// This member, never 0.
    pub id: MemberId,
    /// Differs from start to start of the same member (a random number, or a stored counter). It is part of every read
    /// context: were it to repeat, an answer from before a restart could be taken for one after it.
    pub incarnation: u64,
    /// Seed of the election jitter. It should differ between members; equal seeds repeat a run exactly.
    pub election_seed: u64,
    /// Ticks between two heartbeats of a leader; at least 1.
    pub heartbeat_ticks: u32,
    /// Ticks without a leader before an election, and ticks without a quorum before a leader steps down; more than
    /// `heartbeat_ticks`, about ten times as many. The jitter lets a member wait up to twice as long.
    pub election_ticks: u32,
    /// Whether a member asks first whether it could win, so that one that was cut off does not disturb the others.
    pub pre_vote: bool,
    /// Most bytes of entries in one message to a follower (a larger single entry still goes). Smaller recovers faster
    /// from loss, larger costs fewer messages.
    pub max_message_bytes: u64,
    /// Most append messages on the way to one follower.
    pub max_inflight_messages: usize,
    /// Most bytes that were proposed here and are not committed; at the limit a proposal is refused with
    /// [`crate::ProposeError::TooManyUncommitted`] (a single larger one is taken while nothing else waits).
    pub max_uncommitted_bytes: usize,
    /// Most bytes of committed entries in one Ready (a larger single entry still comes); the rest comes with the next.
    pub max_committed_bytes_per_ready: usize,
    /// Most bytes of applied entries that stay in memory for followers that lag; older ones come from [`crate::LogReader`].
    pub max_cached_bytes: usize,
    /// Where the library's own log lines go; none: nowhere.
    pub log_sink: Option<Arc<dyn LogSink>>,
}

impl Config {
    /// Settings for `id` with etcd's proportions: ticks of 100 ms, elections after ten of them.
    #[must_use]
    pub fn new(id: MemberId, incarnation: u64, election_seed: u64) -> Self {
        Self {
            id,
            incarnation,
            election_seed,
            heartbeat_ticks: 1,
            election_ticks: 10,
            pre_vote: true,
            max_message_bytes: 1 << 20,
            max_inflight_messages: 256,
            max_uncommitted_bytes: MAX_UNAPPLIED_BYTES,
            max_committed_bytes_per_ready: MAX_LOG_WRITE_BYTES,
            max_cached_bytes: MAX_CACHED_LOG_BYTES,
            log_sink: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConsensusError> {
        let uncommitted = self.max_uncommitted_bytes as u64;
        let rules = [
            ("id", self.id.0, self.id.0 != 0, "another number than 0"),
            ("heartbeat_ticks", self.heartbeat_ticks.into(), self.heartbeat_ticks >= 1, "at least 1"),
            (
                "election_ticks",
                self.election_ticks.into(),
                self.election_ticks > self.heartbeat_ticks && self.election_ticks <= MAX_ELECTION_TICKS,
                "more than heartbeat_ticks and at most 1000000",
            ),
            ("max_inflight_messages", self.max_inflight_messages as u64, self.max_inflight_messages >= 1, "at least 1"),
            ("max_uncommitted_bytes", uncommitted, uncommitted >= self.max_message_bytes, "at least max_message_bytes"),
        ];
        for (setting, value, holds, rule) in rules {
            if !holds {
                return Err(ConsensusError::Config { setting, value, rule });
            }
        }
        Ok(())
    }

    /// Ticks until an election in `term`: the setting and a jitter below it, the same each time it is asked.
    ///
    /// One value per term is enough: members that collide stand again in a later term, with other values.
    pub(crate) fn election_timeout(&self, term: u64) -> usize {
        let election = u64::from(self.election_ticks);
        let jitter = mix(self.election_seed ^ mix(self.id.0 ^ mix(term))) % election;
        usize::try_from(election + jitter).expect("two million ticks fit into every word")
    }

    pub(crate) fn library_config(&self, applied: u64) -> raft::Config {
        raft::Config {
            id: self.id.0,
            election_tick: self.election_ticks as usize,
            heartbeat_tick: self.heartbeat_ticks as usize,
            applied,
            max_size_per_msg: self.max_message_bytes,
            max_inflight_msgs: self.max_inflight_messages,
            check_quorum: true,
            pre_vote: self.pre_vote,
            read_only_option: raft::ReadOnlyOption::Safe,
            // Many proposals between two Readies then travel in one message.
            batch_append: true,
            max_uncommitted_size: self.max_uncommitted_bytes as u64,
            max_committed_size_per_ready: self.max_committed_bytes_per_ready as u64,
            ..raft::Config::default()
        }
    }
}

/// Keeps sums of ticks far from any overflow.
const MAX_ELECTION_TICKS: u32 = 1_000_000;

/// The finalizer of SplitMix64: every bit of the input moves every bit of the result.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
