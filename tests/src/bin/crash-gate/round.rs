//! One round: load, kill, restart, and the checks.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use cairn_api::etcdserverpb::kv_client::KvClient;
use cairn_api::etcdserverpb::lease_client::LeaseClient;
use cairn_api::etcdserverpb::maintenance_client::MaintenanceClient;
use cairn_api::etcdserverpb::watch_client::WatchClient;
use cairn_api::etcdserverpb::{HashKvRequest, LeaseLeasesRequest};
use cairn_api::mvccpb::KeyValue;
use cairn_testkit::Member;
use cairn_tests::model::History;
use cairn_tests::ops::*;
use cairn_tests::watch::Watch;
use fastrand::Rng;
use tonic::transport::Channel;

use crate::client::{Client, LEASE_SPAN, Owned};
use crate::load::{self, Compactions};

/// How long the load runs before the kill, in milliseconds.
const LOAD_MS: std::ops::Range<u64> = 50..2_000;

/// How long a server that is killed during its start has lived, in milliseconds.
const START_MS: std::ops::Range<u64> = 0..150;

/// The server and all that is known about what it must have.
pub(crate) struct Gate {
    member: Member,
    rng: Rng,
    seed: u64,
    clients: Vec<Client>,
    compactions: Compactions,
    history: History,
    /// Whether the data of the first round comes back after the second kill.
    pub(crate) sabotage: bool,
}

impl Gate {
    pub(crate) fn new(member: Member, seed: u64, clients: u32) -> Self {
        Self {
            member,
            rng: Rng::with_seed(seed),
            seed,
            clients: (0..clients).map(|number| Client::new(number, seed)).collect(),
            compactions: Compactions { acknowledged: -1, in_flight: None },
            history: History::new(),
            sabotage: false,
        }
    }

    /// Writes that were acknowledged over all rounds.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.clients.iter().map(|client| client.writes).sum()
    }

    /// Ends the server.
    pub(crate) fn stop(&mut self) {
        self.member.kill();
    }

    /// Load, kill, restart, checks.
    pub(crate) async fn round(&mut self, number: u32) -> anyhow::Result<()> {
        let before = self.acknowledged();
        let load = Duration::from_millis(self.rng.u64(LOAD_MS));
        let snapshots = self.load_until_killed(load).await?;
        if self.sabotage {
            self.turn_back(number)?;
        }
        // A third of the kills is followed by another one while the server replays its log.
        let again = self.rng.u32(0..3) == 0;
        if again {
            self.member.spawn()?;
            tokio::time::sleep(Duration::from_millis(self.rng.u64(START_MS))).await;
            self.member.kill();
        }
        let started = Instant::now();
        self.member.restart().await?;
        let restart = started.elapsed();
        let in_flight = self.clients.iter().filter(|client| client.in_flight.is_some()).count();
        let applied = self.check().await?;
        println!(
            "round {number}: killed after {} ms{}, {} writes acknowledged, {snapshots} snapshots, serving again after \
             {} ms, {applied} of {in_flight} writes without an answer are there, revision {}, compacted {}",
            load.as_millis(),
            if again { " and again while starting" } else { "" },
            self.acknowledged() - before,
            restart.as_millis(),
            self.history.revision(),
            self.history.compacted(),
        );
        Ok(())
    }

    fn turn_back(&self, number: u32) -> anyhow::Result<()> {
        let (data, old) = (self.member.data_dir(), self.member.scratch().join("old"));
        let copy = |from: &Path, to: &Path| {
            let status = Command::new("cp").arg("-a").arg(from).arg(to).status().context("copy the data")?;
            ensure!(status.success(), "cp ended with {status}");
            Ok(())
        };
        match number {
            1 => copy(&data, &old),
            2 => {
                std::fs::remove_dir_all(&data).context("remove the data")?;
                copy(&old, &data)
            }
            _ => Ok(()),
        }
    }

    /// Runs all load, kills the server in the middle of it, and takes stock. Returns the number of whole snapshots.
    async fn load_until_killed(&mut self, duration: Duration) -> anyhow::Result<u64> {
        let start = self.history.revision();
        let watched = Arc::new(AtomicI64::new(start));
        let watcher = tokio::spawn(load::watch(self.member.connect().await?, start + 1, watched.clone()));
        let rng = Rng::with_seed(self.seed ^ self.rng.u64(..));
        let compactor = tokio::spawn(load::compact(self.member.connect().await?, self.compactions, watched, rng));
        let snapshots = tokio::spawn(load::snapshots(self.member.connect().await?));
        let mut clients = vec![];
        for client in self.clients.drain(..) {
            clients.push(tokio::spawn(client.run(self.member.connect().await?)));
        }
        // The moment of the kill is the one thing here that is a time and not a condition.
        tokio::time::sleep(duration).await;
        ensure!(
            self.member.is_running()?,
            "the server ended by itself; its log ends with:\n{}",
            self.member.log_tail()
        );
        self.member.kill();
        for client in clients {
            self.clients.push(client.await.context("a client panicked")??);
        }
        self.compactions = compactor.await.context("the compactor panicked")??;
        self.history.add(watcher.await.context("the watcher panicked")??)?;
        if self.compactions.acknowledged > 0 {
            self.history.compact(self.compactions.acknowledged);
        }
        snapshots.await.context("the snapshots panicked")?
    }

    /// Checks everything; returns how many writes without an answer turned out to be there.
    async fn check(&mut self) -> anyhow::Result<usize> {
        let channel = self.member.connect().await?;
        let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        let answer = kv.range(all()).await.context("read everything")?.into_inner();
        let revision = answer.header.context("an answer without a header")?.revision;
        let newest = self.clients.iter().map(|client| client.revision).max().unwrap_or(1);
        ensure!(revision >= newest, "the store is back at revision {revision}; {newest} was acknowledged");
        let shown = self.history.revision();
        ensure!(revision >= shown, "the store is back at revision {revision}; watchers were shown {shown}");
        let applied = self.check_ownership(&channel, &answer.kvs).await?;
        self.catch_up(&channel, revision).await?;
        self.check_history(&channel, revision, answer.kvs).await?;
        Ok(applied)
    }

    /// Everything belongs to a client, which has what was acknowledged, or that and its request without an answer.
    async fn check_ownership(&mut self, channel: &Channel, pairs: &[KeyValue]) -> anyhow::Result<usize> {
        let mut found: BTreeMap<u32, Owned> = BTreeMap::new();
        for kv in pairs {
            let owner = self.clients.iter().find(|client| kv.key.starts_with(client.prefix().as_bytes()));
            let owner = owner.with_context(|| format!("a key that nobody wrote: {:?}", kv.key))?.number;
            found.entry(owner).or_default().pairs.insert(kv.key.clone(), (kv.value.clone(), kv.lease));
        }
        let leases =
            LeaseClient::new(channel.clone()).lease_leases(LeaseLeasesRequest {}).await.context("list leases")?;
        for lease in leases.into_inner().leases {
            let owner = u32::try_from(lease.id / LEASE_SPAN - 1).context("a lease that nobody was granted")?;
            found.entry(owner).or_default().leases.insert(lease.id);
        }
        let mut applied = 0;
        for client in &mut self.clients {
            let found = found.remove(&client.number).unwrap_or_default();
            let in_flight = client.in_flight.take();
            if found == client.acknowledged {
                continue;
            }
            let with_last = in_flight.as_ref().map(|writes| client.acknowledged.after(writes));
            if with_last.as_ref() != Some(&found) {
                bail!(
                    "client {} lost something: {}",
                    client.number,
                    difference(&client.acknowledged, &found, in_flight)
                );
            }
            client.acknowledged = found;
            applied += 1;
        }
        ensure!(found.is_empty(), "leases that nobody was granted: {found:?}");
        Ok(applied)
    }

    /// Learns the events that were not watched before the kill.
    async fn catch_up(&mut self, channel: &Channel, revision: i64) -> anyhow::Result<()> {
        let mut watch = Watch::open(WatchClient::new(channel.clone()));
        watch.create(watch_range(ALL, ALL, self.history.revision() + 1)).await?;
        while self.history.revision() < revision {
            self.history.add(watch.next_batch(0).await.context("catch up with the history")?)?;
        }
        ensure!(self.history.revision() == revision, "events beyond revision {revision}");
        Ok(())
    }

    /// The model of the history and the store agree: pairs in every field, compaction, and hashes.
    async fn check_history(&mut self, channel: &Channel, revision: i64, pairs: Vec<KeyValue>) -> anyhow::Result<()> {
        let mut maintenance = MaintenanceClient::new(channel.clone());
        let answer = maintenance.hash_kv(HashKvRequest { revision }).await.context("hash the store")?.into_inner();
        let compacted = answer.compact_revision;
        let Compactions { acknowledged, in_flight } = self.compactions;
        ensure!(
            compacted == acknowledged || in_flight == Some(compacted),
            "compacted at {compacted}; {acknowledged} was acknowledged, {in_flight:?} was without an answer",
        );
        if compacted > acknowledged {
            self.history.compact(compacted);
        }
        self.compactions = Compactions { acknowledged: compacted, in_flight: None };
        let found: BTreeMap<Bytes, KeyValue> = pairs.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        ensure!(found == self.history.pairs_at(revision), "the pairs are not those that the history leads to");
        let earlier = self.rng.i64(compacted.max(0) + 1..=revision);
        for at in [revision, earlier] {
            let answer = maintenance.hash_kv(HashKvRequest { revision: at }).await.context("hash the store")?;
            let (found, expected) = (answer.into_inner().hash, self.history.hash_kv(at));
            ensure!(found == expected, "HashKV at {at} is {found:#010x}, the history has {expected:#010x}");
        }
        Ok(())
    }
}

/// What of the acknowledged is missing or different, and what is there instead.
fn difference(expected: &Owned, found: &Owned, in_flight: Option<Vec<crate::client::Write>>) -> String {
    let missing = expected.pairs.iter().filter(|(key, pair)| found.pairs.get(*key) != Some(pair));
    let missing: Vec<_> = missing.map(|(key, pair)| (key, pair, found.pairs.get(key))).collect();
    let extra: Vec<_> = found.pairs.iter().filter(|(key, _)| !expected.pairs.contains_key(*key)).collect();
    let leases: Vec<_> = expected.leases.symmetric_difference(&found.leases).collect();
    format!(
        "(key, acknowledged, found) {missing:?}; extra keys {extra:?}; leases {leases:?}; without an answer {in_flight:?}"
    )
}
