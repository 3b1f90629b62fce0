//! One client: what it owns, what it draws to write, and how it sends that.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::compare::{CompareResult, TargetUnion};
use cairn_api::etcdserverpb::kv_client::KvClient;
use cairn_api::etcdserverpb::lease_client::LeaseClient;
use cairn_testkit::DEADLINE;
use cairn_tests::ops::*;
use fastrand::Rng;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Keys of one client.
const KEYS: u32 = 60;

/// Most leases of one client at a time.
const LEASES: usize = 6;

/// Seconds of a lease: longer than any run, so that none expires.
const TTL: i64 = 1_000_000;

/// Ids of a client's leases start at its number times this.
pub(crate) const LEASE_SPAN: i64 = 1_000_000_000;

/// One change of what a client owns.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Put { key: Bytes, value: Bytes, lease: i64 },
    Delete { key: Bytes, end: Bytes },
    Grant(i64),
    Revoke(i64),
}

/// What a client owns: keys with their value and lease, and leases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) pairs: BTreeMap<Bytes, (Bytes, i64)>,
    pub(crate) leases: BTreeSet<i64>,
}

impl Owned {
    /// This after `writes`, which happen together.
    pub(crate) fn after(&self, writes: &[Write]) -> Self {
        let mut next = self.clone();
        for write in writes {
            match write {
                Write::Put { key, value, lease } => {
                    next.pairs.insert(key.clone(), (value.clone(), *lease));
                }
                Write::Delete { key, end } => next.pairs.retain(|owned, _| !covers(key, end, owned)),
                Write::Grant(id) => {
                    next.leases.insert(*id);
                }
                Write::Revoke(id) => {
                    next.leases.remove(id);
                    next.pairs.retain(|_, (_, lease)| lease != id);
                }
            }
        }
        next
    }
}

fn covers(key: &Bytes, end: &Bytes, owned: &Bytes) -> bool {
    if end.is_empty() { owned == key } else { owned >= key && owned < end }
}

/// A client and its view of the store.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: u32,
    rng: Rng,
    /// What must be there.
    pub(crate) acknowledged: Owned,
    /// The request without an answer: it may have happened, completely or not at all.
    pub(crate) in_flight: Option<Vec<Write>>,
    /// Newest revision that an answer named.
    pub(crate) revision: i64,
    /// Writes that were acknowledged.
    pub(crate) writes: u64,
    counter: i64,
}

impl Client {
    pub(crate) fn new(number: u32, seed: u64) -> Self {
        Self {
            number,
            rng: Rng::with_seed(seed ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            acknowledged: Owned::default(),
            in_flight: None,
            revision: 0,
            writes: 0,
            counter: 0,
        }
    }

    pub(crate) fn prefix(&self) -> String {
        format!("client{:03}/", self.number)
    }

    /// Writes until the server is gone.
    ///
    /// # Errors
    /// The server answered wrongly.
    pub(crate) async fn run(mut self, channel: Channel) -> anyhow::Result<Self> {
        loop {
            let outcome = if self.rng.u32(0..10) == 0 {
                self.read(&channel).await
            } else {
                let writes = self.draw();
                self.in_flight = Some(writes.clone());
                self.write(&channel, &writes).await
            };
            let Some(revision) = outcome.with_context(|| format!("client {}", self.number))? else { return Ok(self) };
            ensure!(revision >= self.revision, "client {}: revision {revision} after {}", self.number, self.revision);
            self.revision = revision;
            if let Some(writes) = self.in_flight.take() {
                self.acknowledged = self.acknowledged.after(&writes);
                self.writes += 1;
            }
        }
    }

    fn key(&mut self) -> Bytes {
        format!("{}{:02}", self.prefix(), self.rng.u32(0..KEYS)).into()
    }

    fn value(&mut self) -> Bytes {
        self.counter += 1;
        // Now and then one above the size from which values are stored apart.
        let padding = if self.rng.u32(0..40) == 0 { 6_000 } else { self.rng.usize(0..200) };
        format!("{}:{}", self.counter, "x".repeat(padding)).into()
    }

    fn put(&mut self, key: Bytes) -> Write {
        let leases: Vec<_> = self.acknowledged.leases.iter().copied().collect();
        let lease = if self.rng.u32(0..4) == 0 { self.rng.choice(leases).unwrap_or_default() } else { 0 };
        Write::Put { key, value: self.value(), lease }
    }

    /// The next request: several writes make a transaction.
    fn draw(&mut self) -> Vec<Write> {
        let key = self.key();
        let single = match self.rng.u32(0..100) {
            0..55 => self.put(key),
            55..63 => Write::Delete { key, end: Bytes::new() },
            63..66 => Write::Delete { key, end: self.key() },
            66..72 if self.acknowledged.leases.len() < LEASES => {
                self.counter += 1;
                Write::Grant(i64::from(self.number + 1) * LEASE_SPAN + self.counter)
            }
            66..74 => {
                let leases: Vec<_> = self.acknowledged.leases.iter().copied().collect();
                self.rng.choice(leases).map_or_else(|| Write::Delete { key, end: Bytes::new() }, Write::Revoke)
            }
            _ => return self.draw_transaction(),
        };
        vec![single]
    }

    fn draw_transaction(&mut self) -> Vec<Write> {
        let keys: BTreeSet<_> = (0..self.rng.usize(2..6)).map(|_| self.key()).collect();
        let write = |key: Bytes| {
            if self.rng.u32(0..4) == 0 { Write::Delete { key, end: Bytes::new() } } else { self.put(key) }
        };
        keys.into_iter().map(write).collect()
    }

    /// Sends one request and checks its answer: the revision, or `None` if there is no answer any more.
    async fn write(&mut self, channel: &Channel, writes: &[Write]) -> anyhow::Result<Option<i64>> {
        let mut kv = KvClient::new(channel.clone());
        let mut leases = LeaseClient::new(channel.clone());
        let header = match writes {
            [Write::Put { key, value, lease }] => {
                let Some(answer) = answered(kv.put(put_leased(key, value, *lease))).await? else { return Ok(None) };
                answer.header
            }
            [Write::Delete { key, end }] => {
                let Some(answer) = answered(kv.delete_range(del_range(key, end))).await? else { return Ok(None) };
                let expected = self.acknowledged.pairs.keys().filter(|owned| covers(key, end, owned)).count();
                ensure!(usize::try_from(answer.deleted)? == expected, "deleted {} of {expected}", answer.deleted);
                answer.header
            }
            [Write::Grant(id)] => {
                let request = pb::LeaseGrantRequest { id: *id, ttl: TTL };
                let Some(answer) = answered(leases.lease_grant(request)).await? else { return Ok(None) };
                answer.header
            }
            [Write::Revoke(id)] => {
                let request = pb::LeaseRevokeRequest { id: *id };
                let Some(answer) = answered(leases.lease_revoke(request)).await? else { return Ok(None) };
                answer.header
            }
            several => {
                let (request, succeeds) = self.transaction(several)?;
                let Some(answer) = answered(kv.txn(request)).await? else { return Ok(None) };
                ensure!(answer.succeeded == succeeds, "a comparison with what is owned came out wrong");
                answer.header
            }
        };
        header.map(|header| Some(header.revision)).context("an answer without a header")
    }

    /// A transaction that does `writes` in the branch that must be taken, and whether that is the success branch.
    fn transaction(&mut self, writes: &[Write]) -> anyhow::Result<(pb::TxnRequest, bool)> {
        let mut ops = vec![];
        for write in writes {
            ops.push(match write {
                Write::Put { key, value, lease } => put_leased(key, value, *lease).op(),
                Write::Delete { key, end } => del_range(key, end).op(),
                Write::Grant(_) | Write::Revoke(_) => bail!("leases do not belong into transactions"),
            });
        }
        let key = self.key();
        let state = match self.acknowledged.pairs.get(&key) {
            Some((value, _)) => cmp(&key, CompareResult::Equal, TargetUnion::Value(value.clone())),
            None => cmp(&key, CompareResult::Equal, TargetUnion::Version(0)),
        };
        if self.rng.u32(0..5) > 0 {
            return Ok((pb::TxnRequest { compare: vec![state], success: ops, failure: vec![] }, true));
        }
        let wrong = pb::Compare { result: CompareResult::NotEqual.into(), ..state };
        Ok((pb::TxnRequest { compare: vec![wrong], success: vec![], failure: ops }, false))
    }

    /// A linearizable read of all that is owned, which must be what was acknowledged.
    async fn read(&mut self, channel: &Channel) -> anyhow::Result<Option<i64>> {
        let prefix = self.prefix();
        let request = range(&prefix, format!("{}0", prefix.trim_end_matches('/')));
        let Some(answer) = answered(KvClient::new(channel.clone()).range(request)).await? else { return Ok(None) };
        let pairs = answer.kvs.into_iter().map(|kv| (kv.key, (kv.value, kv.lease))).collect::<BTreeMap<_, _>>();
        ensure!(pairs == self.acknowledged.pairs, "a read is not what was acknowledged");
        answer.header.map(|header| Some(header.revision)).context("an answer without a header")
    }
}

/// The answer, or `None` if the server went away before it came.
pub(crate) async fn answered<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> anyhow::Result<Option<T>> {
    match tokio::time::timeout(DEADLINE, call).await.context("no answer in time")? {
        Ok(answer) => Ok(Some(answer.into_inner())),
        // tonic reports a broken connection as Unknown, Unavailable, Cancelled or Internal, whatever it was doing.
        Err(status) if !status.message().starts_with("etcdserver: ") && is_transport(status.code()) => Ok(None),
        Err(status) => bail!("refused: {status}"),
    }
}

fn is_transport(code: Code) -> bool {
    matches!(code, Code::Unknown | Code::Unavailable | Code::Cancelled | Code::Internal)
}
