//! The load beside the clients: somebody who watches everything, who compacts, and who takes snapshots.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use cairn_api::etcdserverpb::kv_client::KvClient;
use cairn_api::etcdserverpb::maintenance_client::MaintenanceClient;
use cairn_api::etcdserverpb::watch_client::WatchClient;
use cairn_api::etcdserverpb::{CompactionRequest, SnapshotRequest};
use cairn_api::mvccpb::Event;
use cairn_tests::ops::*;
use cairn_tests::watch::Watch;
use fastrand::Rng;
use sha2::{Digest, Sha256};
use tonic::transport::Channel;

use crate::client::answered;

/// Pause between two compactions, and between two snapshots.
const PAUSE: Duration = Duration::from_millis(150);

/// How far behind the newest watched revision a compaction stays at most.
const BEHIND: i64 = 400;

/// Collects all events from `start` on until the server is gone; `watched` tells how far it has come.
pub(crate) async fn watch(channel: Channel, start: i64, watched: Arc<AtomicI64>) -> anyhow::Result<Vec<Event>> {
    let mut watch = Watch::open(WatchClient::new(channel));
    let mut events: Vec<Event> = vec![];
    watch.create(watch_range(ALL, ALL, start)).await?;
    // The end of the stream is the end of the server.
    while let Ok(batch) = watch.next_batch(0).await {
        let newest = batch.last().and_then(|event| event.kv.as_ref()).context("an event without a pair")?.mod_revision;
        events.extend(batch);
        watched.store(newest, Ordering::Release);
    }
    Ok(events)
}

/// What is known about compactions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compactions {
    /// The last one that was acknowledged, or -1.
    pub(crate) acknowledged: i64,
    /// One without an answer.
    pub(crate) in_flight: Option<i64>,
}

/// Compacts until the server is gone, never beyond what was watched.
pub(crate) async fn compact(
    channel: Channel,
    mut state: Compactions,
    watched: Arc<AtomicI64>,
    mut rng: Rng,
) -> anyhow::Result<Compactions> {
    let mut kv = KvClient::new(channel);
    loop {
        tokio::time::sleep(PAUSE).await;
        let revision = watched.load(Ordering::Acquire) - rng.i64(0..BEHIND);
        if revision <= state.acknowledged.max(1) {
            // Nothing to compact; a call that fails says that the server is gone.
            let Some(_) = answered(kv.range(get("absent"))).await? else { return Ok(state) };
            continue;
        }
        state.in_flight = Some(revision);
        let request = CompactionRequest { revision, physical: rng.bool() };
        let Some(_) = answered(kv.compact(request)).await? else { return Ok(state) };
        state = Compactions { acknowledged: revision, in_flight: None };
    }
}

/// Takes snapshots until the server is gone, and returns how many were complete.
pub(crate) async fn snapshots(channel: Channel) -> anyhow::Result<u64> {
    const HASH_BYTES: usize = 32;
    let mut client = MaintenanceClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut complete = 0;
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(mut stream) = answered(client.snapshot(SnapshotRequest {})).await? else { return Ok(complete) };
        let mut bytes = vec![];
        loop {
            match stream.message().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk.blob),
                Ok(None) => break,
                Err(_) => return Ok(complete),
            }
        }
        let body = bytes.len().checked_sub(HASH_BYTES).context("a snapshot shorter than its hash")?;
        ensure!(Sha256::digest(&bytes[..body])[..] == bytes[body..], "a snapshot whose hash is not that of its bytes");
        complete += 1;
    }
}
