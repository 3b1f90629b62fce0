//! The member's own chores, each on a thread of its own that ends when the member stops: lease expiry, compaction,
//! flushing and releasing the log, watching the size.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_state::{Command, Compactor, ExpireLeases, Progress as CompactionProgress, StateError};
use cairn_types::LogIndex;
use cairn_types::limits::{KEPT_LOG_ENTRIES, MAX_KEPT_LOG_BYTES, MAX_REPLAY_BYTES, MAX_REVOKES_PER_ENTRY};
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::wal_thread::ToWal;
use super::{Shared, ToRaft};
use crate::config::{AutoCompaction, NodeConfig};

/// How often leases are looked at.
const LEASE_TICK: Duration = Duration::from_millis(100);
/// How often remaining TTLs are looked at: what a crash may give back to a lease.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Entries of expired leases, or of checkpoints, that are on their way at once.
const MAX_LEASE_ENTRIES_IN_FLIGHT: usize = 16;
/// How often the log and the size of the store are looked at.
const CHORES_EVERY: Duration = Duration::from_millis(100);
/// How often an idle compaction thread looks whether there is work.
const COMPACTION_IDLE: Duration = Duration::from_millis(50);

/// Ends when the member stops: then every receiver is told at once.
pub(crate) type Stop = Receiver<std::convert::Infallible>;

/// Waits; true if the member stops.
fn stopped_within(stop: &Stop, pause: Duration) -> bool {
    !matches!(stop.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
}

/// What a lease gets for the time without a leader, as in etcd: an election timeout.
pub(crate) fn lease_extension_ms(config: &NodeConfig) -> u64 {
    u64::try_from(config.election.as_millis()).unwrap_or(u64::MAX)
}

/// Revokes leases that ran out and writes down what others have left, while this member leads.
pub(crate) fn run_leases(shared: &Shared, stop: &Stop) -> Result<(), StateError> {
    let mut checkpointed = Instant::now();
    loop {
        let leads = shared.progress.leads() && shared.progress.applied_term() == shared.progress.term();
        let lessor = shared.store.lessor();
        let now = shared.clock.now_ms();
        if leads {
            lessor.promote(now, lease_extension_ms(&shared.config));
            expire(shared);
            if checkpointed.elapsed() >= CHECKPOINT_EVERY {
                checkpointed = Instant::now();
                propose_checkpoints(
                    shared,
                    lessor.due_checkpoints(now, MAX_REVOKES_PER_ENTRY * MAX_LEASE_ENTRIES_IN_FLIGHT),
                );
            }
        } else {
            lessor.demote();
        }
        if stopped_within(stop, LEASE_TICK) {
            return Ok(());
        }
    }
}

fn expire(shared: &Shared) {
    let expired =
        shared.store.lessor().expired(shared.clock.now_ms(), MAX_REVOKES_PER_ENTRY * MAX_LEASE_ENTRIES_IN_FLIGHT);
    let commands = expired.chunks(MAX_REVOKES_PER_ENTRY).map(|leases| {
        tracing::info!(leases = leases.len(), first = %leases[0], "leases have run out and are revoked");
        Command::ExpireLeases(ExpireLeases { ids: leases.iter().map(|lease| lease.0).collect() })
    });
    propose_all(shared, commands.collect());
}

/// Proposes what leases have left and waits until it is applied.
pub(crate) fn propose_checkpoints(shared: &Shared, checkpoints: Vec<pb::LeaseCheckpoint>) {
    let commands = checkpoints
        .chunks(MAX_REVOKES_PER_ENTRY)
        .map(|checkpoints| Command::LeaseCheckpoint(pb::LeaseCheckpointRequest { checkpoints: checkpoints.to_vec() }));
    propose_all(shared, commands.collect());
}

/// Proposes all and waits for each. What fails (a change of leader, the end of the member) is found again in the next
/// round, so failures are not errors.
fn propose_all(shared: &Shared, commands: Vec<Command>) {
    let answers: Vec<_> = commands.into_iter().map(|command| shared.propose_own(command)).collect();
    for answer in answers {
        if let Err(error) = answer.blocking_recv().unwrap_or(Err(ApiError::Stopped)) {
            tracing::debug!(%error, "an own proposal failed and will be made again");
        }
    }
}

/// Deletes what compactions made unreachable, in small steps with pauses.
pub(crate) fn run_compaction(shared: &Shared, stop: &Stop) -> Result<(), StateError> {
    let mut compactor = Compactor::new(shared.store.clone());
    let mut begun = None;
    loop {
        let step = Instant::now();
        let pause = match compactor.step(shared.config.compaction_batch)? {
            CompactionProgress::Idle => COMPACTION_IDLE,
            CompactionProgress::More => {
                begun.get_or_insert(step);
                shared.config.compaction_pause
            }
            CompactionProgress::Done(revision) => {
                let took = format!("{:?}", begun.take().unwrap_or(step).elapsed());
                // On disk, files that are mostly deletions make the engine merge them with what they delete, so space
                // comes back at a cost that follows what was deleted. To merge all of the history instead, at every
                // compaction, is what Defragment is for.
                shared.store.engine().flush()?;
                tracing::info!(compact_revision = revision, took, "finished scheduled compaction");
                Duration::ZERO
            }
        };
        if stopped_within(stop, pause) {
            return Ok(());
        }
    }
}

/// Flushes the store when too much would have to be replayed, releases the log behind it, and measures the size.
pub(crate) fn run_chores(
    shared: &Shared,
    stop: &Stop,
    wal: &crossbeam_channel::Sender<ToWal>,
) -> Result<(), StateError> {
    let mut tail = LogTail::default();
    let mut released = LogIndex(0);
    loop {
        shared.quota.measure(&shared.store)?;
        // The bytes first: what is measured behind an index is then rather too much than too little.
        let bytes = shared.progress.applied_bytes();
        let applied = shared.progress.applied();
        tail.note(applied, bytes);
        let durable = shared.store.durable_applied()?;
        let replay_bytes = tail.bytes_after(durable, bytes);
        if durable < applied && replay_bytes > MAX_REPLAY_BYTES {
            tracing::debug!(replay_bytes, "the store is flushed, so that a restart has less to replay");
            shared.store.engine().flush()?;
        }
        let release = tail.release(durable, bytes);
        if release > released {
            released = release;
            let _wal_has_stopped = wal.send(ToWal::Release(release));
            let _raft_has_stopped = shared.raft.send(ToRaft::CompactCache(release));
        }
        if stopped_within(stop, CHORES_EVERY) {
            return Ok(());
        }
    }
}

/// How many bytes of entries the end of the log has, from samples that are taken while it grows.
#[derive(Debug, Default)]
struct LogTail {
    /// Indices, and the bytes that were applied up to them, both since the program started; at least
    /// [`SAMPLE_BYTES`] apart, so that there are few of them however long nothing is flushed.
    samples: VecDeque<(LogIndex, u64)>,
}

/// How exactly the end of the log is measured.
const SAMPLE_BYTES: u64 = 256 << 10;

impl LogTail {
    fn note(&mut self, applied: LogIndex, bytes: u64) {
        if self.samples.back().is_none_or(|(_, noted)| bytes - noted >= SAMPLE_BYTES) {
            self.samples.push_back((applied, bytes));
        }
    }

    /// The bytes of entries behind `index`, or a little more.
    fn bytes_after(&self, index: LogIndex, bytes: u64) -> u64 {
        let behind = self.samples.partition_point(|(sampled, _)| *sampled <= index);
        let before = behind.checked_sub(1).map_or(0, |at| self.samples[at].1);
        bytes - before
    }

    /// Up to where the log is needed no longer: [`KEPT_LOG_ENTRIES`] are kept, unless they are more than
    /// [`MAX_KEPT_LOG_BYTES`]. Never beyond `durable`.
    fn release(&mut self, durable: LogIndex, bytes: u64) -> LogIndex {
        let mut release = LogIndex(durable.0.saturating_sub(KEPT_LOG_ENTRIES));
        while let Some((next, noted)) = self.samples.get(1)
            && (*next <= release || (*next <= durable && bytes - noted >= MAX_KEPT_LOG_BYTES))
        {
            release = release.max(*next);
            self.samples.pop_front();
        }
        release
    }
}

/// The revisions at times in the past, to know what to compact a period later.
struct History {
    period: Duration,
    samples: VecDeque<(Instant, i64)>,
}

impl History {
    /// The newest revision that is at least a period old.
    fn old_enough(&mut self, now: Instant, revision: i64) -> Option<i64> {
        self.samples.push_back((now, revision));
        let mut newest = None;
        while self.samples.front().is_some_and(|(time, _)| now.duration_since(*time) >= self.period) {
            newest = self.samples.pop_front().map(|(_, revision)| revision);
        }
        newest
    }
}

/// Compacts by itself, as etcd does: once a period (at most an hour apart), or every five minutes by revisions.
pub(crate) fn run_auto_compaction(shared: &Shared, stop: &Stop) -> Result<(), StateError> {
    /// How often the revision is written down within an interval.
    const SAMPLES_PER_INTERVAL: u32 = 10;
    const REVISION_INTERVAL: Duration = Duration::from_secs(300);
    let (pause, mut history, keep) = match shared.config.auto_compaction {
        AutoCompaction::Off => return Ok(()),
        AutoCompaction::Periodic(period) => {
            let interval = period.min(Duration::from_secs(3_600));
            (interval / SAMPLES_PER_INTERVAL, Some(History { period, samples: VecDeque::new() }), 0)
        }
        AutoCompaction::Revisions(keep) => (REVISION_INTERVAL, None, keep),
    };
    loop {
        if stopped_within(stop, pause) {
            return Ok(());
        }
        let view = shared.store.view();
        let target = match &mut history {
            Some(history) => history.old_enough(Instant::now(), view.revision),
            None => Some(view.revision - keep),
        };
        if let Some(revision) = target.filter(|revision| *revision > view.compacted.max(0)) {
            let request = pb::CompactionRequest { revision, physical: false };
            match shared.propose_own(Command::Compact(request)).blocking_recv() {
                Ok(Ok(_)) => tracing::info!(revision, "completed auto compaction"),
                Ok(Err(error)) => {
                    tracing::warn!(revision, %error, "auto compaction failed; it is tried again at the next interval")
                }
                Err(_) => return Ok(()),
            }
        }
    }
}

/// Gives back the space of deleted data, for Defragment. One at a time: who asks meanwhile gets what is under way, since
/// clients could otherwise start threads without end.
pub(crate) fn reclaim_all(shared: &Arc<Shared>) {
    if shared.reclaiming.swap(true, Ordering::AcqRel) {
        return;
    }
    let shared_by_thread = shared.clone();
    shared.fatal.spawn("reclaim", move || -> Result<(), StateError> {
        let outcome = reclaim_columns(&shared_by_thread);
        shared_by_thread.reclaiming.store(false, Ordering::Release);
        outcome
    });
}

fn reclaim_columns(shared: &Shared) -> Result<(), StateError> {
    let engine = shared.store.engine();
    engine.flush()?;
    for column in cairn_storage::Column::ALL {
        engine.reclaim(column, &[], &[u8::MAX; 16])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log in which each entry has this many bytes.
    fn log_of(entry_bytes: u64, entries: u64) -> LogTail {
        let mut tail = LogTail::default();
        (0..=entries).for_each(|index| tail.note(LogIndex(index), index * entry_bytes));
        tail
    }

    #[test]
    fn the_end_of_the_log_is_measured_without_a_sample_for_each_look() {
        let mut tail = log_of(100, 100_000);
        assert!(tail.samples.len() < 50, "{} samples of 10 MB", tail.samples.len());
        let idle = tail.samples.len();
        (0..1_000).for_each(|_| tail.note(LogIndex(100_000), 10_000_000));
        assert!(tail.samples.len() <= idle + 1, "an idle member needs no memory");
        let measured = tail.bytes_after(LogIndex(50_000), 10_000_000);
        assert!((5_000_000..5_000_000 + SAMPLE_BYTES).contains(&measured), "{measured}");
    }

    #[test]
    fn small_entries_are_kept_by_their_number_and_large_ones_by_their_bytes_but_none_that_a_crash_needs() {
        let small = 200_000;
        assert_eq!(log_of(10, small).release(LogIndex(small), small * 10).0, small - KEPT_LOG_ENTRIES);
        let large = (2 * MAX_KEPT_LOG_BYTES) >> 20;
        let released = log_of(1 << 20, large).release(LogIndex(large), large << 20);
        assert_eq!(released.0, large - (MAX_KEPT_LOG_BYTES >> 20));
        let released = log_of(1 << 20, large).release(LogIndex(10), large << 20);
        assert_eq!(released, LogIndex(10), "only what the store has on disk");
        assert_eq!(log_of(1 << 20, large).release(LogIndex(0), large << 20), LogIndex(0));
    }

    #[test]
    fn a_periodic_compaction_takes_the_newest_revision_that_is_a_period_old() {
        let mut history = History { period: Duration::from_secs(10), samples: VecDeque::new() };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(history.old_enough(at(0), 5), None);
        assert_eq!(history.old_enough(at(5), 7), None);
        assert_eq!(history.old_enough(at(10), 9), Some(5));
        assert_eq!(history.old_enough(at(20), 9), Some(9));
    }
}
