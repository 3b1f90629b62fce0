//! The member's own chores, each on a thread of its own that ends when the member stops: lease expiry, compaction,
//! flushing and releasing the log, watching the size.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_state::{Command, Compactor, ExpireLeases, Progress as CompactionProgress, StateError};
use cairn_types::LogIndex;
use cairn_types::limits::{KEPT_LOG_ENTRIES, MAX_REPLAY_BYTES, MAX_REVOKES_PER_ENTRY};
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::wal_thread::ToWal;
use super::{Shared, ToRaft};
use crate::config::AutoCompaction;

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

/// Revokes leases that ran out and writes down what others have left, while this member leads.
pub(crate) fn run_leases(shared: &Shared, stop: &Stop) -> Result<(), StateError> {
    let mut leading = false;
    let mut checkpointed = Instant::now();
    loop {
        let leads = shared.progress.leads() && shared.progress.applied_term() == shared.progress.term();
        let lessor = shared.store.lessor();
        let now = shared.clock.now_ms();
        if leads && !leading {
            lessor.promote(now, u64::try_from(shared.config.election.as_millis()).unwrap_or(u64::MAX));
        } else if leading && !leads {
            lessor.demote();
        }
        leading = leads;
        if leading {
            expire(shared);
            if checkpointed.elapsed() >= CHECKPOINT_EVERY {
                checkpointed = Instant::now();
                propose_checkpoints(
                    shared,
                    lessor.due_checkpoints(now, MAX_REVOKES_PER_ENTRY * MAX_LEASE_ENTRIES_IN_FLIGHT),
                );
            }
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
        let pause = match compactor.step(shared.config.compaction_batch)? {
            CompactionProgress::Idle => COMPACTION_IDLE,
            CompactionProgress::More => {
                begun.get_or_insert_with(Instant::now);
                shared.config.compaction_pause
            }
            CompactionProgress::Done(revision) => {
                let took = format!("{:?}", begun.take().map_or(Duration::ZERO, |begun: Instant| begun.elapsed()));
                // The engine gives the space back by itself where many neighbours are deleted; doing it here would rewrite
                // the whole history at every compaction. Defragment does it at once.
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
    let mut samples: VecDeque<(LogIndex, u64)> = VecDeque::new();
    let mut released = LogIndex(0);
    loop {
        shared.quota.measure(&shared.store)?;
        samples.push_back((shared.progress.applied(), shared.progress.applied_bytes()));
        let durable = shared.store.durable_applied()?;
        while samples.len() > 1 && samples[1].0 <= durable {
            samples.pop_front();
        }
        let replay_bytes = shared.progress.applied_bytes() - samples.front().map_or(0, |(_, bytes)| *bytes);
        if durable < shared.progress.applied() && replay_bytes > MAX_REPLAY_BYTES {
            tracing::debug!(replay_bytes, "the store is flushed, so that a restart has less to replay");
            shared.store.engine().flush()?;
        }
        let release = LogIndex(durable.0.saturating_sub(KEPT_LOG_ENTRIES));
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

/// Gives back the space of deleted data, for Defragment.
pub(crate) fn reclaim_all(shared: &Arc<Shared>) {
    let store = shared.store.clone();
    shared.fatal.spawn("reclaim", move || -> Result<(), StateError> {
        store.engine().flush()?;
        for column in cairn_storage::Column::ALL {
            store.engine().reclaim(column, &[], &[u8::MAX; 16])?;
        }
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

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
