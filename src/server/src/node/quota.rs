//! Whether there is room: etcd's rule against a size that is measured in the background.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use cairn_state::{Command, StateError, Store, cost};
use cairn_types::limits::DISK_RESERVE_BYTES;

use crate::config::QuotaConfig;

/// The limit and the last measurement.
#[derive(Debug)]
pub(crate) struct Quota {
    config: QuotaConfig,
    /// Where the disk is asked for free space.
    dir: PathBuf,
    size: AtomicU64,
    in_use: AtomicU64,
    /// Costs of what was accepted since the last measurement.
    accepted: AtomicU64,
    disk_full: AtomicBool,
    /// So that one alarm is proposed, not one for each refused request.
    alarm_proposed_ms: AtomicI64,
}

impl Quota {
    pub(crate) fn new(config: QuotaConfig, dir: PathBuf) -> Self {
        Self {
            config,
            dir,
            size: AtomicU64::new(0),
            in_use: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            disk_full: AtomicBool::new(false),
            alarm_proposed_ms: AtomicI64::new(i64::MIN),
        }
    }

    /// Measures anew.
    pub(crate) fn measure(&self, store: &Store) -> Result<(), StateError> {
        let size = store.engine().size()?;
        self.size.store(size.total, Ordering::Relaxed);
        self.in_use.store(size.in_use, Ordering::Relaxed);
        self.accepted.store(0, Ordering::Relaxed);
        if self.config == QuotaConfig::Disk {
            // A disk that cannot be asked is not full; writing to it will tell.
            let free = rustix::fs::statvfs(&self.dir).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
            self.disk_full.store(free < DISK_RESERVE_BYTES, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether the command may still come in.
    pub(crate) fn admits(&self, command: &Command) -> bool {
        let cost = cost(command);
        if cost == 0 {
            return true;
        }
        match self.config {
            QuotaConfig::Never => true,
            QuotaConfig::Disk => !self.disk_full.load(Ordering::Relaxed),
            QuotaConfig::Bytes(limit) => {
                let accepted = self.accepted.fetch_add(cost, Ordering::Relaxed);
                self.size.load(Ordering::Relaxed) + accepted + cost < limit
            }
        }
    }

    /// Whether the alarm should be proposed now: at most once a second.
    pub(crate) fn should_raise_alarm(&self, now_ms: u64) -> bool {
        let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let last = self.alarm_proposed_ms.load(Ordering::Relaxed);
        let due = last.saturating_add(1_000) <= now;
        due && self.alarm_proposed_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Bytes of the store, and of its live data, when last measured.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.size.load(Ordering::Relaxed), self.in_use.load(Ordering::Relaxed))
    }

    /// The limit in bytes as Status shows it; 0 where the disk is the limit.
    pub(crate) fn limit(&self) -> u64 {
        match self.config {
            QuotaConfig::Bytes(limit) => limit,
            QuotaConfig::Disk | QuotaConfig::Never => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_api::etcdserverpb as pb;

    fn put(bytes: usize) -> Command {
        Command::Put(pb::PutRequest { value: vec![0; bytes].into(), ..Default::default() })
    }

    #[test]
    fn costs_add_up_until_the_next_measurement_and_deletions_are_free() {
        let quota = Quota::new(QuotaConfig::Bytes(1_000), PathBuf::from("/"));
        assert!(quota.admits(&put(200)));
        assert!(quota.admits(&put(200)));
        assert!(!quota.admits(&put(200)));
        assert!(quota.admits(&Command::DeleteRange(pb::DeleteRangeRequest::default())));
    }

    #[test]
    fn one_alarm_a_second_is_proposed_at_most() {
        let quota = Quota::new(QuotaConfig::Never, PathBuf::from("/"));
        assert!(quota.should_raise_alarm(0));
        assert!(!quota.should_raise_alarm(999));
        assert!(quota.should_raise_alarm(1_000));
    }
}
