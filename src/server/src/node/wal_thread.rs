//! The thread that writes the Raft log: whatever queued while the last write ran goes into the next one.
//!
//! No timer and no lingering: with one client each write carries one entry, with a thousand it carries hundreds.

use cairn_types::limits::MAX_LOG_WRITE_BYTES;
use cairn_types::{Entry, HardState, LogIndex};
use cairn_wal::{Wal, WalError};
use crossbeam_channel::{Receiver, Sender};

use super::ToRaft;

/// What Raft wants to be on disk.
#[derive(Debug, Default)]
pub(crate) struct AppendJob {
    /// Raft's number of this job; jobs become durable in this order.
    pub(crate) sequence: u64,
    pub(crate) entries: Vec<Entry>,
    pub(crate) hard_state: Option<HardState>,
}

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum ToWal {
    Append(AppendJob),
    /// The store has everything up to here on disk.
    Release(LogIndex),
}

/// Several jobs that become durable with one write.
#[derive(Debug, Default)]
struct Group {
    sequence: u64,
    entries: Vec<Entry>,
    bytes: usize,
    hard_state: Option<HardState>,
    release: Option<LogIndex>,
}

impl Group {
    /// Whether the job continues the entries that are already here (one that replaces some needs a write of its own).
    fn takes(&self, job: &AppendJob) -> bool {
        let follows = match (self.entries.last(), job.entries.first()) {
            (Some(last), Some(first)) => first.index == last.index.next(),
            _ => true,
        };
        follows && self.bytes < MAX_LOG_WRITE_BYTES
    }

    fn add(&mut self, mut job: AppendJob) {
        self.sequence = job.sequence;
        self.bytes += job.entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        self.entries.append(&mut job.entries);
        self.hard_state = job.hard_state.or(self.hard_state);
    }
}

/// The thread's state.
pub(crate) struct WalThread {
    wal: Wal,
    jobs: Receiver<ToWal>,
    raft: Sender<ToRaft>,
}

impl WalThread {
    pub(crate) fn new(wal: Wal, jobs: Receiver<ToWal>, raft: Sender<ToRaft>) -> Self {
        Self { wal, jobs, raft }
    }

    /// Runs until the raft thread is gone.
    pub(crate) fn run(mut self) -> Result<(), WalError> {
        let mut next = None;
        loop {
            let Some(first) = next.take().or_else(|| self.jobs.recv().ok()) else { return Ok(()) };
            let mut group = Group::default();
            let mut message = Some(first);
            while let Some(current) = message.take() {
                match current {
                    ToWal::Append(job) if group.takes(&job) => group.add(job),
                    ToWal::Append(job) => {
                        next = Some(ToWal::Append(job));
                        break;
                    }
                    ToWal::Release(index) => group.release = group.release.max(Some(index)),
                }
                message = self.jobs.try_recv().ok();
            }
            self.write(group)?;
        }
    }

    fn write(&mut self, group: Group) -> Result<(), WalError> {
        if group.sequence > 0 {
            self.wal.append(&group.entries, group.hard_state)?;
            let _raft_has_stopped = self.raft.send(ToRaft::Persisted(group.sequence));
        }
        group.release.map_or(Ok(()), |index| self.wal.release_to(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use cairn_types::{EntryKind, Term};
    use cairn_wal::{Identity, WalOptions};

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index: LogIndex(index), term: Term(term), kind: EntryKind::Normal, data: Bytes::from_static(b"data") }
    }

    fn run(jobs: Vec<ToWal>) -> (Vec<u64>, Vec<Entry>) {
        let dir = tempfile::tempdir().unwrap();
        let options = WalOptions { segment_bytes: 1 << 20, identity: Identity::default(), sync: false };
        let (wal, _) = Wal::open(dir.path(), options).unwrap();
        let reader = wal.reader();
        let (to_wal, received) = crossbeam_channel::unbounded();
        let (raft, from_wal) = crossbeam_channel::unbounded();
        jobs.into_iter().for_each(|job| to_wal.send(job).unwrap());
        drop(to_wal);
        WalThread::new(wal, received, raft).run().unwrap();
        let persisted = from_wal
            .try_iter()
            .map(|message| match message {
                ToRaft::Persisted(sequence) => sequence,
                other => panic!("{other:?}"),
            })
            .collect();
        let entries = reader.entries(reader.first_index(), reader.last_index().next(), usize::MAX).unwrap_or_default();
        (persisted, entries)
    }

    fn job(sequence: u64, entries: Vec<Entry>) -> ToWal {
        ToWal::Append(AppendJob { sequence, entries, hard_state: None })
    }

    #[test]
    fn jobs_that_queued_become_durable_together_and_the_last_is_reported() {
        let (persisted, entries) = run(vec![job(1, vec![entry(1, 1)]), job(2, vec![]), job(3, vec![entry(2, 1)])]);
        assert_eq!(persisted, [3]);
        assert_eq!(entries, [entry(1, 1), entry(2, 1)]);
    }

    #[test]
    fn a_job_that_replaces_entries_is_written_after_those_before_it() {
        let (persisted, entries) = run(vec![job(1, vec![entry(1, 1), entry(2, 1)]), job(2, vec![entry(2, 2)])]);
        assert_eq!(persisted, [1, 2]);
        assert_eq!(entries, [entry(1, 1), entry(2, 2)]);
    }
}
