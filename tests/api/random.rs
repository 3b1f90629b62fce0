//! Random operations over few keys: every answer, the whole history and its hash must be equal.

use bytes::Bytes;
use cairn_api::etcdserverpb::compare::{CompareResult, TargetUnion};
use cairn_api::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, HashKvResponse, LeaseRevokeRequest, LeaseTimeToLiveRequest,
    PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use cairn_tests::ops::*;
use cairn_tests::{Session, compare};
use fastrand::Rng;

/// Operations of one run.
const OPERATIONS: usize = 2_000;

/// How deep transactions nest.
const DEPTH: usize = 2;

#[tokio::test]
async fn random_operations_agree_seed_1() {
    agree(1).await;
}

#[tokio::test]
async fn random_operations_agree_seed_2() {
    agree(2).await;
}

#[tokio::test]
async fn random_operations_agree_seed_3() {
    agree(3).await;
}

/// Further seeds, for a longer search: `CAIRN_TEST_SEEDS=100..120`.
#[tokio::test]
async fn random_operations_agree_on_the_seeds_of_the_environment() -> anyhow::Result<()> {
    let Ok(seeds) = std::env::var("CAIRN_TEST_SEEDS") else { return Ok(()) };
    let (first, end) = seeds.split_once("..").unwrap_or((&seeds, &seeds));
    for seed in first.parse::<u64>()?..end.parse()? {
        agree(seed).await;
    }
    Ok(())
}

async fn agree(seed: u64) {
    compare(&format!("random operations, seed {seed}"), async |s| {
        let mut generator = Generator { rng: Rng::with_seed(seed), revision: 1, compacted: 0, open_ends: true };
        for _ in 0..OPERATIONS {
            generator.step(s).await;
        }
        let mut watch = s.watch();
        s.watch_create(&mut watch, watch_range(ALL, ALL, generator.compacted + 1)).await?;
        let mut last = generator.compacted;
        while last < generator.revision {
            let event = watch.next_events(0, 1).await?.remove(0);
            last = event.kv.as_ref().map_or(last, |kv| kv.mod_revision);
            s.write_down("history", String::new(), format!("{event:?}"));
        }
        for revision in generator.compacted + 1..=generator.revision {
            s.hash_kv(revision).await;
        }
        Ok(())
    })
    .await;
}

/// Draws requests. Revisions that it has seen in answers steer what it draws, so two members that agree get the same.
struct Generator {
    rng: Rng,
    revision: i64,
    compacted: i64,
    /// Whether intervals may be open. In transactions it excludes `ignore_value` and `ignore_lease`: an open deletion
    /// is not seen as touching the put of a key, and etcd ends its process when the put finds nothing to keep.
    open_ends: bool,
}

impl Generator {
    async fn step(&mut self, s: &mut Session) {
        let seen = match self.rng.u32(0..100) {
            0..30 => s.put(self.put()).await.and_then(|a| a.header),
            30..42 => s.delete(self.delete()).await.and_then(|a| a.header),
            42..62 => s.range(self.range()).await.and_then(|a| a.header),
            62..88 => {
                self.open_ends = self.rng.bool();
                let request = self.txn(DEPTH);
                self.open_ends = true;
                s.txn(request).await.and_then(|a| a.header)
            }
            88..90 => {
                let request = CompactionRequest { revision: self.near(), physical: true };
                let answer = s.compact_request(request).await;
                if answer.is_some() {
                    self.compacted = self.compacted.max(request.revision);
                }
                None
            }
            90..94 => s.grant(self.lease(), 1000).await.and_then(|a| a.header),
            94..97 => s.lease_revoke(LeaseRevokeRequest { id: self.lease() }).await.and_then(|a| a.header),
            97..99 => s
                .lease_time_to_live(LeaseTimeToLiveRequest { id: self.lease(), keys: true })
                .await
                .and_then(|a| a.header),
            _ => self.hash(s).await.and_then(|a| a.header),
        };
        self.revision = self.revision.max(seen.map_or(0, |header| header.revision));
    }

    async fn hash(&mut self, s: &mut Session) -> Option<HashKvResponse> {
        let revision = self.near().max(0);
        if revision == self.compacted {
            s.step("hash at the compaction");
        }
        s.hash_kv(revision).await
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(["a", "aa", "ab", "b", "b\0", "ba", "c", "d"][self.rng.usize(0..8)])
    }

    fn lease(&mut self) -> i64 {
        self.rng.i64(1..5)
    }

    /// A revision about the present, sometimes of the future or compacted.
    fn near(&mut self) -> i64 {
        self.revision - self.rng.i64(-2..40)
    }

    fn interval(&mut self) -> (Bytes, Bytes) {
        let key = if self.rng.u32(0..50) == 0 { Bytes::new() } else { self.key() };
        let end = match self.rng.u32(0..10) {
            0..5 => Bytes::new(),
            5..9 => self.key(),
            _ if self.open_ends => Bytes::from_static(ALL),
            _ => Bytes::from_static(b"zz"),
        };
        (key, end)
    }

    fn put(&mut self) -> PutRequest {
        let rng = &mut self.rng;
        let ignore_value = rng.u32(0..12) == 0;
        let ignore_lease = rng.u32(0..12) == 0;
        let with_lease = rng.u32(0..6) == 0;
        let prev_kv = rng.bool();
        let value = if ignore_value && rng.u32(0..4) > 0 { String::new() } else { rng.u32(0..9).to_string() };
        let lease = if with_lease { self.lease() } else { 0 };
        PutRequest { key: self.key(), value: value.into(), lease, prev_kv, ignore_value, ignore_lease }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let (key, range_end) = self.interval();
        DeleteRangeRequest { key, range_end, prev_kv: self.rng.bool() }
    }

    fn range(&mut self) -> RangeRequest {
        let (key, range_end) = self.interval();
        let revision = if self.rng.u32(0..3) == 0 { self.near() } else { 0 };
        let rng = &mut self.rng;
        // Only targets without ties: an order among equals is not promised.
        let sort_target = [0, 0, 3][rng.usize(0..3)];
        let mut request = RangeRequest {
            key,
            range_end,
            revision,
            limit: rng.i64(0..5),
            sort_order: rng.i32(0..3),
            sort_target,
            serializable: rng.bool(),
            keys_only: rng.u32(0..4) == 0,
            count_only: rng.u32(0..6) == 0,
            ..RangeRequest::default()
        };
        if rng.u32(0..5) == 0 {
            request.min_mod_revision = self.near();
        }
        if self.rng.u32(0..5) == 0 {
            request.max_create_revision = self.near();
        }
        request
    }

    fn compare(&mut self) -> Compare {
        let result = [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual]
            [self.rng.usize(0..4)];
        let target = match self.rng.u32(0..5) {
            0 => TargetUnion::Version(self.rng.i64(0..4)),
            1 => TargetUnion::CreateRevision(self.near()),
            2 => TargetUnion::ModRevision(self.near()),
            3 => TargetUnion::Value(self.rng.u32(0..9).to_string().into()),
            _ => TargetUnion::Lease(self.rng.i64(0..5)),
        };
        let (key, range_end) = self.interval();
        let range_end = if self.rng.u32(0..3) == 0 { range_end } else { Bytes::new() };
        Compare { range_end, ..cmp(key, result, target) }
    }

    fn ops(&mut self, depth: usize) -> Vec<RequestOp> {
        (0..self.rng.usize(0..4)).map(|_| self.op(depth)).collect()
    }

    fn op(&mut self, depth: usize) -> RequestOp {
        match self.rng.u32(0..10) {
            0..5 if self.open_ends => PutRequest { ignore_value: false, ignore_lease: false, ..self.put() }.op(),
            0..5 => self.put().op(),
            5..7 => self.delete().op(),
            7..9 => RangeRequest { revision: 0, ..self.range() }.op(),
            _ if depth > 0 => self.txn(depth - 1).op(),
            _ => self.range().op(),
        }
    }

    fn txn(&mut self, depth: usize) -> TxnRequest {
        let compare = (0..self.rng.usize(0..3)).map(|_| self.compare()).collect();
        TxnRequest { compare, success: self.ops(depth), failure: self.ops(depth) }
    }
}
