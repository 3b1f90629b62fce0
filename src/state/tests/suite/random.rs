//! Random requests, batches, restarts, crashes and compaction steps, against the [`Model`]: every answer, every event,
//! the leases, the hash, and ranges with random options at every revision that can be reached.

use bytes::Bytes;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::compare::TargetUnion;
use cairn_api::etcdserverpb::request_op::Request;
use cairn_state::{Command, EventKind, ExpireLeases, ReadError, schema, validate};
use cairn_storage::Column;
use cairn_types::{LeaseId, Revision};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use crate::harness::{EngineKind, Subject};
use crate::model::Model;

/// What happens to a member.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Joins the batch that is being gathered.
    Propose(Command),
    /// The next command begins an entry of its own.
    CutEntry,
    /// What was gathered is applied.
    Apply,
    Flush,
    Reopen,
    Crash(usize),
    CompactStep(usize),
}

fn key() -> impl Strategy<Value = Bytes> + Clone {
    let keys: [&'static [u8]; 6] = [b"a", b"a\0", b"a\0\xff", b"b", b"b\xff", b"c"];
    prop::sample::select(keys.to_vec()).prop_map(Bytes::from_static)
}

fn range_end() -> impl Strategy<Value = Bytes> + Clone {
    let ends: [&'static [u8]; 7] = [b"", b"", b"\0", b"a\0", b"b", b"c", b"d"];
    prop::sample::select(ends.to_vec()).prop_map(Bytes::from_static)
}

fn value() -> impl Strategy<Value = Bytes> + Clone {
    prop_oneof![
        8 => (0u8..4).prop_map(|byte| Bytes::from(vec![b'0' + byte])),
        1 => Just(Bytes::new()),
        1 => (4095usize..4098).prop_map(|size| Bytes::from(vec![b'x'; size])),
    ]
}

fn lease() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![3 => Just(0i64), 2 => 1i64..4]
}

fn put() -> impl Strategy<Value = pb::PutRequest> + Clone {
    (key(), value(), lease(), any::<bool>(), 0u8..8).prop_map(|(key, value, lease, prev_kv, ignore)| pb::PutRequest {
        key,
        value: if ignore == 1 || ignore == 3 { Bytes::new() } else { value },
        lease: if ignore == 2 || ignore == 3 { 0 } else { lease },
        prev_kv,
        ignore_value: ignore == 1 || ignore == 3,
        ignore_lease: ignore == 2 || ignore == 3,
    })
}

fn delete() -> impl Strategy<Value = pb::DeleteRangeRequest> + Clone {
    (key(), range_end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| pb::DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn bound() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![4 => Just(0i64), 1 => 1i64..20]
}

pub(crate) fn range() -> impl Strategy<Value = pb::RangeRequest> + Clone {
    let bounds = (bound(), bound(), bound(), bound());
    let sort = (prop_oneof![2 => Just(0), 1 => 1i32..3], prop_oneof![2 => Just(0), 1 => 1i32..5]);
    let revision = prop_oneof![3 => Just(0i64), 1 => -1i64..20];
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    (key(), range_end(), -1i64..5, revision, sort, flags, bounds).prop_map(
        |(key, range_end, limit, revision, (sort_order, sort_target), (keys_only, count_only), bounds)| {
            pb::RangeRequest {
                key,
                range_end,
                limit: limit.max(0),
                revision,
                sort_order,
                sort_target,
                serializable: false,
                keys_only,
                count_only,
                min_mod_revision: bounds.0,
                max_mod_revision: bounds.1,
                min_create_revision: bounds.2,
                max_create_revision: bounds.3,
            }
        },
    )
}

fn compare() -> impl Strategy<Value = pb::Compare> + Clone {
    let target = prop_oneof![
        value().prop_map(|value| (3, TargetUnion::Value(value))),
        (0i64..4).prop_map(|version| (0, TargetUnion::Version(version))),
        (0i64..20).prop_map(|revision| (1, TargetUnion::CreateRevision(revision))),
        (0i64..20).prop_map(|revision| (2, TargetUnion::ModRevision(revision))),
        (0i64..4).prop_map(|lease| (4, TargetUnion::Lease(lease))),
    ];
    (key(), range_end(), 0i32..4, target).prop_map(|(key, range_end, result, (target, union))| pb::Compare {
        result,
        target,
        key,
        range_end,
        target_union: Some(union),
    })
}

fn txn() -> impl Strategy<Value = pb::TxnRequest> {
    let leaf = prop_oneof![
        3 => put().prop_map(Request::RequestPut),
        2 => delete().prop_map(Request::RequestDeleteRange),
        2 => range().prop_map(|range| {
            // Most name no revision: those that do are mostly refused.
            let revision = if range.limit == 1 { range.revision } else { 0 };
            Request::RequestRange(pb::RangeRequest { revision, ..range })
        }),
    ];
    let list = |op: BoxedStrategy<Request>| {
        (vec(compare(), 0..2), vec(op.clone(), 0..3), vec(op, 0..3)).prop_map(|(compare, success, failure)| {
            let wrap = |ops: Vec<Request>| ops.into_iter().map(|op| pb::RequestOp { request: Some(op) }).collect();
            pb::TxnRequest { compare, success: wrap(success), failure: wrap(failure) }
        })
    };
    let op = leaf.prop_recursive(2, 8, 3, move |inner| list(inner.boxed()).prop_map(Request::RequestTxn)).boxed();
    list(op).prop_filter("a transaction that is valid", |request| validate::txn(request, 128).is_ok())
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => put().prop_map(Command::Put),
        4 => delete().prop_map(Command::DeleteRange),
        8 => txn().prop_map(Command::Txn),
        2 => (-1i64..20).prop_map(|revision| Command::Compact(pb::CompactionRequest { revision, physical: false })),
        3 => (1i64..4).prop_map(|id| Command::LeaseGrant(pb::LeaseGrantRequest { id, ttl: 60 })),
        1 => (1i64..4).prop_map(|id| Command::LeaseRevoke(pb::LeaseRevokeRequest { id })),
        1 => vec(1i64..4, 0..4).prop_map(|ids| Command::ExpireLeases(ExpireLeases { ids })),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        20 => command().prop_map(Act::Propose),
        3 => Just(Act::CutEntry),
        6 => Just(Act::Apply),
        1 => Just(Act::Flush),
        1 => Just(Act::Reopen),
        1 => (0usize..4).prop_map(Act::Crash),
        3 => (1usize..6).prop_map(Act::CompactStep),
    ]
}

/// The subject, the model, and the entries that were gathered and not applied.
struct Pair {
    subject: Subject,
    model: Model,
    gathered: Vec<Vec<Command>>,
}

impl Pair {
    fn act(&mut self, act: Act) {
        if !matches!(act, Act::Propose(_) | Act::CutEntry) {
            self.apply();
        }
        match act {
            Act::Propose(command) => self.gathered.last_mut().expect("never empty").push(command),
            Act::CutEntry => self.gathered.push(Vec::new()),
            Act::Apply => {}
            Act::Flush => self.subject.store().engine().flush().expect("the engine flushes"),
            Act::Reopen => self.subject.reopen(),
            Act::Crash(lucky) => self.subject.crash(lucky),
            Act::CompactStep(changes) => {
                self.subject.compact_step(changes);
            }
        }
    }

    fn apply(&mut self) {
        let entries = std::mem::replace(&mut self.gathered, vec![Vec::new()]);
        let found = self.subject.apply(&entries).into_iter().flat_map(|entry| entry.outcomes);
        for (command, found) in entries.into_iter().flatten().zip(found) {
            assert_eq!(found, self.model.execute(&command), "the answer to {command:?}");
        }
        self.check_leases();
        self.check_events(self.model.compacted + 1);
    }

    fn check_leases(&self) {
        let store = self.subject.store();
        let found: Vec<_> = store.lessor().leases().into_iter().map(|id| id.0).collect();
        assert_eq!(found, self.model.leases());
        for id in found {
            let keys = store.view().lease_keys(LeaseId(id)).expect("the engine does not fail");
            assert_eq!(keys, self.model.attached(id), "the keys of lease {id}");
        }
    }

    fn check_events(&self, from: i64) {
        let view = self.subject.view();
        assert_eq!((view.revision, view.compacted), (self.model.revision, self.model.compacted));
        let mut cursor = view.events(from).expect("the engine does not fail");
        let mut expected = self.model.changes(from).into_iter();
        while let Some(revision) = cursor.next_revision().expect("the engine does not fail") {
            for (sub, event) in revision.events.into_iter().enumerate() {
                let (version, previous) = expected.next().expect("no event that the model does not have");
                assert_eq!((version.main, version.sub as usize), (revision.revision, sub));
                assert_eq!(event.kind == EventKind::Delete, version.deleted);
                assert_eq!(event.created, !version.deleted && version.kv.version == 1);
                assert_eq!(event.kv, version.kv.encode_to_vec());
                assert_eq!(event.prev, previous.as_ref().map(|previous| Revision::new(previous.main, previous.sub)));
                let Some(previous) = previous else { continue };
                let kept = view.kv_at(Revision::new(previous.main, previous.sub)).expect("the engine does not fail");
                for found in event.prev_kv.into_iter().chain(kept) {
                    assert_eq!(found, previous.kv.encode_to_vec());
                }
            }
        }
        assert_eq!(expected.next(), None, "an event is missing");
    }

    /// Compaction has left exactly what it must.
    fn check_space(&self) {
        let (mut revs, mut hists) = (Vec::new(), Vec::new());
        for (key, version, superseded) in self.model.kept() {
            let revision = Revision::new(version.main, version.sub);
            revs.push(schema::rev_key(revision));
            if version.deleted || superseded {
                hists.push(schema::hist_key(&key, revision));
            }
        }
        for (column, mut expected) in [(Column::Rev, revs), (Column::Hist, hists)] {
            expected.sort();
            let found: Vec<_> = self.subject.dump(column).into_iter().map(|(key, _)| key).collect();
            assert_eq!(found, expected, "{}", column.name());
        }
    }

    fn check_reads(&self, ranges: &[pb::RangeRequest]) {
        let view = self.subject.view();
        for revision in self.model.compacted - 1..=self.model.revision + 1 {
            for range in ranges {
                let request = pb::RangeRequest { revision, ..range.clone() };
                let found = view.range(&request).map_err(api_error);
                assert_eq!(found, self.model.range(&request), "{request:?}");
            }
            if revision > 0 && revision >= self.model.compacted && revision <= self.model.revision {
                let hash = view.hash_kv(revision).expect("a revision that can be read");
                assert_eq!(hash.hash, self.model.hash_kv(revision), "the hash at {revision}");
                assert_eq!((hash.compact_revision, hash.hash_revision), (self.model.compacted, revision));
            }
        }
    }
}

fn api_error(error: ReadError) -> cairn_api::ApiError {
    match error {
        ReadError::Api(error) => error,
        ReadError::State(error) => panic!("the engine does not fail: {error}"),
    }
}

fn check(kind: EngineKind, acts: Vec<Act>, ranges: &[pb::RangeRequest]) {
    let mut pair = Pair { subject: Subject::new(kind), model: Model::new(), gathered: vec![Vec::new()] };
    acts.into_iter().for_each(|act| pair.act(act));
    pair.apply();
    pair.check_reads(ranges);
    pair.subject.compact_all();
    pair.check_space();
    pair.act(Act::Apply);
    pair.check_reads(ranges);
    pair.check_events(pair.model.compacted + 1);
    pair.act(Act::Reopen);
    pair.check_reads(ranges);
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(config(256))]
    #[test]
    fn every_answer_is_the_models_on_the_memory_engine(acts in vec(act(), 1..60), ranges in vec(range(), 6)) {
        check(EngineKind::Memory, acts, &ranges);
    }
}

proptest! {
    #![proptest_config(config(6))]
    #[test]
    fn every_answer_is_the_models_on_rocksdb(acts in vec(act(), 1..60), ranges in vec(range(), 6)) {
        check(EngineKind::Rocks, acts, &ranges);
    }
}
