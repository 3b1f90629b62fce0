//! The leases: which exist, and on the leader when each runs out.
//!
//! Existence and TTLs are replicated: they change only while entries are applied. Deadlines are the leader's alone and
//! in memory; a keep-alive writes nothing. What a lease has left is checkpointed through the log once it was not
//! renewed for half its TTL, so that neither a new leader nor a restart gives it a full TTL again, and leases that
//! clients keep alive cost no writes. Time is milliseconds of a monotonic clock that the caller owns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cairn_api::ApiError;
use cairn_api::etcdserverpb::LeaseCheckpoint;
use cairn_types::LeaseId;
use cairn_types::limits::MAX_LEASE_TTL_SECS;

use crate::error::StateError;

/// How long a revoke that was proposed has, in milliseconds, before the lease is reported as expired again.
const REVOKE_RETRY_MS: u64 = 3_000;

/// What a lease is in `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRecord {
    /// Granted TTL in seconds.
    pub(crate) ttl: i64,
    /// Seconds that were left at the last checkpoint; 0: none since the last renewal.
    pub(crate) remaining: i64,
}

impl LeaseRecord {
    pub(crate) fn encode(self) -> Bytes {
        let mut value = BytesMut::with_capacity(16);
        value.put_i64(self.ttl);
        value.put_i64(self.remaining);
        value.freeze()
    }

    pub(crate) fn decode(mut value: &[u8]) -> Result<Self, StateError> {
        if value.len() != 16 {
            return Err(StateError::damaged("a lease", format!("{} bytes, not 16", value.len())));
        }
        Ok(Self { ttl: value.get_i64(), remaining: value.get_i64() })
    }

    fn left_secs(self) -> i64 {
        if self.remaining > 0 { self.remaining } else { self.ttl }
    }
}

/// The answer to a keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// Renewed for this many seconds.
    Renewed {
        /// The granted TTL.
        ttl: i64,
    },
    /// There is no such lease, or it is being revoked.
    NotFound,
    /// Its checkpoint must be cleared through the log first (a checkpoint with remaining TTL 0), else a new leader would
    /// cut the renewed lease short; then ask again.
    MustClearCheckpoint,
}

/// The times of a lease, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// What was granted.
    pub granted_ttl: i64,
    /// What is left on the leader's clock, rounded down as etcd does; not below 0.
    pub remaining_ttl: i64,
}

#[derive(Debug)]
struct Lease {
    record: LeaseRecord,
    /// When it runs out; `None` on a member that does not lead.
    deadline_ms: Option<u64>,
    /// Until when a proposed revoke is waited for.
    revoking_until_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    leases: BTreeMap<LeaseId, Lease>,
    /// Invariant: exactly the leases that have a deadline, by it.
    by_deadline: BTreeSet<(u64, LeaseId)>,
    leading: bool,
    /// The latest time that it was told.
    now_ms: u64,
    /// Granted since then: their time begins when the next call tells what time it is, so that none ends early.
    unstarted: Vec<LeaseId>,
}

/// All leases of the store. Every call takes one short lock.
#[derive(Debug, Default)]
pub struct Lessor {
    inner: Mutex<Inner>,
}

impl Inner {
    fn set_deadline(&mut self, id: LeaseId, deadline_ms: Option<u64>) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        if let Some(old) = lease.deadline_ms {
            self.by_deadline.remove(&(old, id));
        }
        lease.deadline_ms = deadline_ms;
        if let Some(deadline) = deadline_ms {
            self.by_deadline.insert((deadline, id));
        }
    }

    fn tell(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        for id in std::mem::take(&mut self.unstarted) {
            if let Some(lease) = self.leases.get(&id).filter(|lease| lease.deadline_ms.is_none()) {
                let deadline = self.now_ms.saturating_add(secs_to_millis(lease.record.left_secs()));
                self.set_deadline(id, Some(deadline));
            }
        }
    }

    fn remaining_secs(lease: &Lease, now_ms: u64) -> i64 {
        match lease.deadline_ms {
            Some(deadline) => millis_to_secs(deadline.saturating_sub(now_ms)),
            None => lease.record.left_secs(),
        }
    }
}

fn secs_to_millis(secs: i64) -> u64 {
    u64::try_from(secs).unwrap_or(0).saturating_mul(1_000)
}

fn millis_to_secs(millis: u64) -> i64 {
    i64::try_from(millis / 1_000).expect("a TTL is limited to far below 2^63 seconds")
}

impl Lessor {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no caller panics while it holds the leases")
    }

    /// Whether the lease exists.
    #[must_use]
    pub fn contains(&self, id: LeaseId) -> bool {
        self.lock().leases.contains_key(&id)
    }

    /// How many leases there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().leases.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins to count time: each lease gets what it has left, and `extend_ms` more for the time without a leader. Does
    /// nothing if time is counted already.
    pub fn promote(&self, now_ms: u64, extend_ms: u64) {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.leading, true) {
            return;
        }
        inner.tell(now_ms);
        let left: Vec<_> =
            inner.leases.iter().map(|(id, lease)| (*id, secs_to_millis(lease.record.left_secs()))).collect();
        for (id, left_ms) in left {
            inner.set_deadline(id, Some(now_ms.saturating_add(left_ms).saturating_add(extend_ms)));
        }
    }

    /// Stops counting time, if it is counted.
    pub fn demote(&self) {
        let mut inner = self.lock();
        if !std::mem::replace(&mut inner.leading, false) {
            return;
        }
        inner.unstarted.clear();
        inner.by_deadline.clear();
        for lease in inner.leases.values_mut() {
            lease.deadline_ms = None;
            // The revoke may be lost with this leadership, and then the lease goes on.
            lease.revoking_until_ms = None;
        }
    }

    /// Renews a lease.
    pub fn keep_alive(&self, id: LeaseId, now_ms: u64) -> KeepAlive {
        let mut inner = self.lock();
        inner.tell(now_ms);
        let Some(lease) = inner.leases.get(&id) else { return KeepAlive::NotFound };
        if lease.revoking_until_ms.is_some() || lease.deadline_ms.is_some_and(|deadline| deadline <= now_ms) {
            return KeepAlive::NotFound;
        }
        if lease.record.remaining > 0 {
            return KeepAlive::MustClearCheckpoint;
        }
        let ttl = lease.record.ttl;
        if inner.leading {
            inner.set_deadline(id, Some(now_ms.saturating_add(secs_to_millis(ttl))));
        }
        KeepAlive::Renewed { ttl }
    }

    /// The times of a lease, if it exists.
    #[must_use]
    pub fn time_to_live(&self, id: LeaseId, now_ms: u64) -> Option<LeaseTimes> {
        let inner = self.lock();
        let lease = inner.leases.get(&id)?;
        Some(LeaseTimes { granted_ttl: lease.record.ttl, remaining_ttl: Inner::remaining_secs(lease, now_ms) })
    }

    /// All leases, those that run out first in front.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseId> {
        let inner = self.lock();
        // One granted a moment ago has no deadline until the clock is looked at.
        let left = |lease: &Lease| inner.now_ms.saturating_add(secs_to_millis(lease.record.left_secs()));
        let mut ids: Vec<_> =
            inner.leases.iter().map(|(id, lease)| (lease.deadline_ms.unwrap_or_else(|| left(lease)), *id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// Up to `max` leases that have run out, the oldest first. Each is reported once, and again if it still exists after
    /// [`REVOKE_RETRY_MS`].
    pub fn expired(&self, now_ms: u64, max: usize) -> Vec<LeaseId> {
        let mut inner = self.lock();
        inner.tell(now_ms);
        let Inner { leases, by_deadline, .. } = &mut *inner;
        let mut expired = Vec::new();
        for (_, id) in by_deadline.iter().take_while(|(deadline, _)| *deadline <= now_ms) {
            if expired.len() == max {
                break;
            }
            let lease = leases.get_mut(id).expect("by_deadline holds leases that exist");
            if lease.revoking_until_ms.is_none_or(|until| until <= now_ms) {
                lease.revoking_until_ms = Some(now_ms.saturating_add(REVOKE_RETRY_MS));
                expired.push(*id);
            }
        }
        expired
    }

    /// Up to `max` leases whose remaining TTL should be written down: not renewed for half the TTL, and at least a tenth
    /// of it gone since the last time.
    pub fn due_checkpoints(&self, now_ms: u64, max: usize) -> Vec<LeaseCheckpoint> {
        self.checkpoints(now_ms, max, |record, remaining| {
            let step = (record.ttl / 10).max(1);
            remaining <= record.ttl / 2 && record.left_secs() - remaining >= step
        })
    }

    /// What every lease has left, for a clean shutdown.
    #[must_use]
    pub fn all_checkpoints(&self, now_ms: u64) -> Vec<LeaseCheckpoint> {
        self.checkpoints(now_ms, usize::MAX, |record, remaining| record.left_secs() > remaining)
    }

    fn checkpoints(&self, now_ms: u64, max: usize, due: impl Fn(LeaseRecord, i64) -> bool) -> Vec<LeaseCheckpoint> {
        let mut inner = self.lock();
        inner.tell(now_ms);
        let leases = inner.leases.iter().filter(|(_, lease)| lease.deadline_ms.is_some());
        leases
            .filter_map(|(id, lease)| {
                // 0 on the wire means "no checkpoint", so a lease in its last second has 1 left.
                let remaining = Inner::remaining_secs(lease, now_ms).max(1);
                due(lease.record, remaining).then_some(LeaseCheckpoint { id: id.0, remaining_ttl: remaining })
            })
            .take(max)
            .collect()
    }

    /// When the next lease runs out; a time in the past where one was granted since the last call that told the time.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let inner = self.lock();
        if !inner.unstarted.is_empty() {
            return Some(inner.now_ms);
        }
        inner.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn restore(&self, id: LeaseId, record: LeaseRecord) {
        self.lock().leases.insert(id, Lease { record, deadline_ms: None, revoking_until_ms: None });
    }

    pub(crate) fn grant(&self, id: LeaseId, ttl: i64) -> Result<LeaseRecord, ApiError> {
        if id == LeaseId::NONE {
            return Err(ApiError::LeaseNotFound);
        }
        if ttl > MAX_LEASE_TTL_SECS {
            return Err(ApiError::LeaseTtlTooLarge);
        }
        let mut inner = self.lock();
        if inner.leases.contains_key(&id) {
            return Err(ApiError::LeaseExists);
        }
        let record = LeaseRecord { ttl, remaining: 0 };
        inner.leases.insert(id, Lease { record, deadline_ms: None, revoking_until_ms: None });
        if inner.leading {
            inner.unstarted.push(id);
        }
        Ok(record)
    }

    pub(crate) fn revoke(&self, id: LeaseId) -> bool {
        let mut inner = self.lock();
        inner.set_deadline(id, None);
        inner.leases.remove(&id).is_some()
    }

    /// Writes down what a lease has left (0 clears that); answers its record, if it exists.
    pub(crate) fn checkpoint(&self, id: LeaseId, remaining: i64) -> Option<LeaseRecord> {
        let mut inner = self.lock();
        let lease = inner.leases.get_mut(&id)?;
        lease.record.remaining = remaining;
        Some(lease.record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LeaseId = LeaseId(7);

    fn leading(ttl: i64) -> Lessor {
        let lessor = Lessor::default();
        lessor.promote(1_000, 0);
        lessor.grant(ID, ttl).unwrap();
        assert_eq!(lessor.expired(1_000, 10), []);
        lessor
    }

    #[test]
    fn the_time_of_a_lease_begins_when_the_next_call_tells_it_and_not_in_the_past() {
        let lessor = leading(100);
        lessor.grant(LeaseId(8), 1).unwrap();
        assert_eq!(lessor.next_deadline_ms(), Some(1_000), "the caller comes at once");
        assert_eq!(lessor.expired(50_000, 10), []);
        assert_eq!(lessor.next_deadline_ms(), Some(51_000));
    }

    #[test]
    fn a_member_that_does_not_lead_counts_no_time() {
        let lessor = leading(10);
        lessor.demote();
        assert_eq!(lessor.keep_alive(ID, 2_000), KeepAlive::Renewed { ttl: 10 });
        assert_eq!(lessor.next_deadline_ms(), None);
        assert_eq!(lessor.expired(99_000, 10), []);
    }

    #[test]
    fn a_lease_runs_out_when_nobody_renews_it_and_is_reported_once() {
        let lessor = leading(10);
        assert_eq!(lessor.expired(10_999, 10), []);
        assert_eq!(lessor.expired(11_000, 10), [ID]);
        assert_eq!(lessor.keep_alive(ID, 11_001), KeepAlive::NotFound);
        assert_eq!(lessor.expired(11_500, 10), []);
        assert_eq!(lessor.expired(11_000 + REVOKE_RETRY_MS, 10), [ID]);
        assert!(lessor.revoke(ID));
        assert_eq!(lessor.expired(u64::MAX, 10), []);
    }

    #[test]
    fn a_keep_alive_gives_the_whole_ttl_again() {
        let lessor = leading(10);
        assert_eq!(lessor.keep_alive(ID, 9_000), KeepAlive::Renewed { ttl: 10 });
        assert_eq!(lessor.next_deadline_ms(), Some(19_000));
        let times = lessor.time_to_live(ID, 10_500).unwrap();
        assert_eq!(times, LeaseTimes { granted_ttl: 10, remaining_ttl: 8 });
    }

    #[test]
    fn a_new_leader_counts_on_from_the_last_checkpoint() {
        let lessor = leading(100);
        assert_eq!(lessor.due_checkpoints(50_000, 10), [], "not yet half gone");
        let due = lessor.due_checkpoints(61_000, 10);
        assert_eq!(due, [LeaseCheckpoint { id: ID.0, remaining_ttl: 40 }]);
        lessor.checkpoint(ID, 40);
        assert_eq!(lessor.due_checkpoints(62_000, 10), [], "nothing new to say");
        lessor.demote();
        assert_eq!(lessor.next_deadline_ms(), None);
        lessor.promote(100_000, 1_000);
        assert_eq!(lessor.next_deadline_ms(), Some(141_000));
    }

    #[test]
    fn only_the_first_of_several_promotions_gives_time_for_the_change_of_leader() {
        let lessor = leading(100);
        lessor.grant(LeaseId(8), 50).unwrap();
        lessor.promote(2_000, 5_000);
        assert_eq!(lessor.expired(2_000, 1), []);
        assert_eq!(lessor.next_deadline_ms(), Some(52_000));
    }

    #[test]
    fn a_renewal_clears_the_checkpoint_through_the_log_first() {
        let lessor = leading(100);
        lessor.checkpoint(ID, 40);
        assert_eq!(lessor.keep_alive(ID, 70_000), KeepAlive::MustClearCheckpoint);
        lessor.checkpoint(ID, 0);
        assert_eq!(lessor.keep_alive(ID, 70_000), KeepAlive::Renewed { ttl: 100 });
    }

    #[test]
    fn grants_that_etcd_refuses_are_refused() {
        let lessor = leading(10);
        assert_eq!(lessor.grant(ID, 10), Err(ApiError::LeaseExists));
        assert_eq!(lessor.grant(LeaseId::NONE, 10), Err(ApiError::LeaseNotFound));
        assert_eq!(lessor.grant(LeaseId(8), MAX_LEASE_TTL_SECS + 1), Err(ApiError::LeaseTtlTooLarge));
    }

    #[test]
    fn at_most_as_many_expired_leases_as_asked_for_are_reported_at_once() {
        let lessor = leading(1);
        for id in 100..110 {
            lessor.grant(LeaseId(id), 1).unwrap();
        }
        assert_eq!(lessor.expired(1_000, 100), []);
        assert_eq!(lessor.expired(10_000, 4).len(), 4);
        assert_eq!(lessor.expired(10_000, 100).len(), 7);
    }
}
