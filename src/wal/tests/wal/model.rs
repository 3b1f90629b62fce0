//! Random histories against the simplest model: a list of entries.

use std::path::Path;

use cairn_types::{Entry, HardState, LogIndex, Term};
use cairn_wal::{LogPosition, Recovered, Wal};
use proptest::prelude::*;

use crate::support::*;

#[derive(Clone, Debug)]
enum Op {
    /// Entries of these sizes at the end of the log, and perhaps a hard state.
    Append(Vec<usize>, bool),
    /// The same, but they replace what is stored from that share (in thousandths) on.
    Overwrite(u64, Vec<usize>, bool),
    /// That share of what is stored, in thousandths.
    Release(u64),
    Reset(u64),
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let sizes = || prop::collection::vec(prop_oneof![9 => 0..600_usize, 1 => 5_000..20_000_usize], 0..6);
    prop_oneof![
        8 => (sizes(), any::<bool>()).prop_map(|(sizes, state)| Op::Append(sizes, state)),
        3 => (0..1_000_u64, sizes(), any::<bool>()).prop_map(|(share, sizes, state)| Op::Overwrite(share, sizes, state)),
        3 => (0..1_100_u64).prop_map(Op::Release),
        1 => (1..50_u64).prop_map(Op::Reset),
        3 => Just(Op::Reopen),
    ]
}

/// What must be there.
#[derive(Default)]
struct Model {
    /// Everything since the last reset, released or not.
    entries: Vec<Entry>,
    start: LogPosition,
    released: LogIndex,
    hard_state: HardState,
    term: u64,
}

impl Model {
    fn last(&self) -> u64 {
        self.start.index.0 + self.entries.len() as u64
    }

    fn batch(&mut self, first: u64, sizes: &[usize], with_state: bool) -> (Vec<Entry>, Option<HardState>) {
        self.term += 1;
        let batch: Vec<_> = sizes.iter().zip(first..).map(|(bytes, index)| entry(index, self.term, *bytes)).collect();
        if !batch.is_empty() {
            self.entries.truncate(size(first - self.start.index.0 - 1));
            self.entries.extend(batch.iter().cloned());
        }
        let state = with_state.then(|| hard_state(self.term, self.last()));
        self.hard_state = state.unwrap_or(self.hard_state);
        (batch, state)
    }

    fn apply(&mut self, op: &Op, wal: &mut Wal) {
        let first = wal.reader().first_index().0;
        let at = |share: u64, last: u64| first + (last + 1 - first) * share / 1_000;
        match op {
            Op::Append(sizes, with_state) => {
                let (batch, state) = self.batch(self.last() + 1, sizes, *with_state);
                wal.append(&batch, state).unwrap();
            }
            Op::Overwrite(share, sizes, with_state) => {
                let (batch, state) = self.batch(at(*share, self.last()), sizes, *with_state);
                wal.append(&batch, state).unwrap();
            }
            Op::Release(share) => {
                let index = LogIndex(at(*share, self.last()));
                wal.release_to(index).unwrap();
                self.released = self.released.max(index);
            }
            Op::Reset(ahead) => {
                self.term += 1;
                self.start = LogPosition { index: LogIndex(self.last() + ahead), term: Term(self.term) };
                self.entries.clear();
                self.released = self.start.index;
                self.hard_state = hard_state(self.term, self.start.index.0);
                wal.reset_to(self.start.index, self.start.term, self.hard_state).unwrap();
            }
            Op::Reopen => {}
        }
    }

    fn check(&self, wal: &Wal) {
        let reader = wal.reader();
        let first = reader.first_index();
        assert!(first <= self.released.next().max(self.start.index.next()), "released too much");
        assert_eq!(reader.last_index().0, self.last());
        let known = &self.entries[size(first.0 - self.start.index.0 - 1)..];
        assert_eq!(stored(wal), known);
        for entry in known {
            assert_eq!(reader.term(entry.index).unwrap(), entry.term);
        }
        let before =
            first.0.checked_sub(self.start.index.0 + 2).map_or(self.start.term, |at| self.entries[size(at)].term);
        assert_eq!(reader.start().term, before);
    }
}

fn reopen(dir: &Path, wal: Wal) -> (Wal, Recovered) {
    let (start, last) = (wal.reader().start(), wal.reader().last());
    drop(wal);
    let (wal, recovered) = open(dir);
    assert_eq!((recovered.start, recovered.last_index, recovered.last_term), (start, last.index, last.term));
    assert_eq!(recovered.repaired_bytes, 0);
    (wal, recovered)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_leaves_what_the_model_says(ops in prop::collection::vec(op(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut wal, mut model) = (open(dir.path()).0, Model::default());
        for op in ops {
            if matches!(op, Op::Reopen) {
                let (again, recovered) = reopen(dir.path(), wal);
                prop_assert_eq!(recovered.hard_state, model.hard_state);
                wal = again;
            } else {
                model.apply(&op, &mut wal);
            }
            model.check(&wal);
        }
    }
}
