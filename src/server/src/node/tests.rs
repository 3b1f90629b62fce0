//! A whole member on a temporary directory.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_state::{Command, Response};

use super::{Fatal, Node, start};
use crate::config::{Config, NodeConfig, Settings};

fn config(root: &Path) -> NodeConfig {
    let mut config = Config::new(Settings::default()).unwrap().node;
    config.data_dir = root.join("data");
    config.memory_budget_bytes = 32 << 20;
    config.sync = false;
    config
}

fn fatal() -> Fatal {
    Fatal::new(|reason| panic!("{reason}"))
}

async fn started(config: NodeConfig) -> Node {
    let node = tokio::task::spawn_blocking(move || start(config, fatal())).await.unwrap().unwrap();
    node.become_ready().await.unwrap();
    node
}

async fn stop(node: Node) {
    tokio::task::spawn_blocking(move || node.stop()).await.unwrap();
}

fn put(key: &str, value: impl Into<Bytes>) -> Command {
    Command::Put(pb::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.into(),
        ..Default::default()
    })
}

async fn value_of(node: &Node, key: &str) -> Option<Bytes> {
    let request = pb::RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..Default::default() };
    let response = node.linearizable().await.unwrap().range(&request).unwrap();
    response.kvs.into_iter().next().map(|kv| kv.value)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart_and_the_header_is_complete() {
    let temp = tempfile::tempdir().unwrap();
    let node = started(config(temp.path())).await;
    let Response::Put(response) = node.propose(put("a", "1")).await.unwrap() else { panic!("another response") };
    let header = response.header.unwrap();
    assert_eq!((header.revision, header.member_id, header.raft_term), (2, 0x8e9e_05c5_2164_694d, 1));
    stop(node).await;
    let node = started(config(temp.path())).await;
    assert_eq!(value_of(&node, "a").await.unwrap(), "1");
    assert_eq!(node.header(0).raft_term, 2);
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_after_an_acknowledged_write_sees_it_whoever_else_writes() {
    let temp = tempfile::tempdir().unwrap();
    let node = Arc::new(started(config(temp.path())).await);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..8 {
        let node = node.clone();
        clients.spawn(async move {
            for round in 0..50 {
                let (key, value) = (format!("key-{client}"), format!("{round}"));
                node.propose(put(&key, value.clone())).await.unwrap();
                assert_eq!(value_of(&node, &key).await.unwrap(), value);
            }
        });
    }
    clients.join_all().await;
    assert_eq!(node.view().revision, 401);
    let node = Arc::into_inner(node).expect("all clients are done");
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_raft_gives_for_a_read_covers_every_acknowledged_write() {
    let temp = tempfile::tempdir().unwrap();
    let node = started(config(temp.path())).await;
    for _ in 0..20 {
        node.propose(put("a", "1")).await.unwrap();
        let acknowledged = node.view().applied;
        let (reply, index) = tokio::sync::oneshot::channel();
        node.shared().raft.send(super::ToRaft::Read(reply)).unwrap();
        assert!(index.await.unwrap().unwrap() >= acknowledged);
    }
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_leaves_nothing_to_replay() {
    let temp = tempfile::tempdir().unwrap();
    let node = started(config(temp.path())).await;
    node.propose(put("a", "1")).await.unwrap();
    let store = node.shared().store.clone();
    stop(node).await;
    assert_eq!(store.durable_applied().unwrap(), store.view().applied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_its_log_and_a_log_without_its_store_are_refused() {
    for (lost, text) in [("wal", "acknowledged writes may be missing"), ("store", "the store is empty")] {
        let temp = tempfile::tempdir().unwrap();
        let node = started(config(temp.path())).await;
        node.propose(put("a", "1")).await.unwrap();
        stop(node).await;
        std::fs::remove_dir_all(temp.path().join("data/member").join(lost)).unwrap();
        let again = config(temp.path());
        let outcome = tokio::task::spawn_blocking(move || start(again, fatal())).await.unwrap();
        let error = outcome.err().expect("half a member must not start");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_lost_before_the_store_was_ever_flushed_is_missed_at_every_start() {
    use cairn_storage::{Engine, MemoryEngine};
    let temp = tempfile::tempdir().unwrap();
    // What a crash leaves of a store into which nothing was flushed: its founding.
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let member = pb::Member { id: 1, ..Default::default() };
    let conf_state = cairn_consensus::ConfState::bootstrap([cairn_types::MemberId(1)]).encode();
    let mut machine = cairn_state::StateMachine::open(engine.clone()).unwrap();
    machine.bootstrap(cairn_types::ClusterId(1), vec![member], conf_state).unwrap();
    for _ in 0..2 {
        let (engine, settings) = (engine.clone(), config(temp.path()));
        let dir = crate::data_dir::DataDir::open(&settings.data_dir, None).unwrap();
        let starting = move || super::start::start_on(engine, dir, settings, fatal());
        let outcome = tokio::task::spawn_blocking(starting).await.unwrap();
        let error = outcome.err().expect("a member without its acknowledged writes must not start").to_string();
        assert!(error.contains("acknowledged writes may be missing"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_ask_for_a_defragmentation_again_and_again_start_one_thread() {
    let temp = tempfile::tempdir().unwrap();
    let node = started(config(temp.path())).await;
    let shared = node.shared();
    shared.reclaiming.store(true, std::sync::atomic::Ordering::Release);
    let holders = Arc::strong_count(shared);
    (0..100).for_each(|_| node.reclaim());
    assert_eq!(Arc::strong_count(shared), holders, "another thread holds the member");
    shared.reclaiming.store(false, std::sync::atomic::Ordering::Release);
    node.reclaim();
    while shared.reclaiming.load(std::sync::atomic::Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_beyond_the_limit_is_refused_before_it_is_proposed() {
    let temp = tempfile::tempdir().unwrap();
    let node = started(config(temp.path())).await;
    let large = vec![0; node.shared().config.max_request_bytes as usize];
    assert_eq!(node.propose(put("a", large)).await.unwrap_err(), ApiError::RequestTooLarge);
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_quota_writes_are_refused_and_the_alarm_is_raised() {
    let temp = tempfile::tempdir().unwrap();
    let mut small = config(temp.path());
    small.quota = crate::config::QuotaConfig::Bytes(1);
    let node = started(small).await;
    assert_eq!(node.check_quota(&put("a", "1")), Err(ApiError::NoSpace));
    while node.view().alarms().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(node.propose(put("a", "1")).await.unwrap_err(), ApiError::NoSpace);
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_runs_out_takes_its_keys_with_it() {
    let temp = tempfile::tempdir().unwrap();
    let mut fast = config(temp.path());
    fast.heartbeat = Duration::from_millis(10);
    fast.election = Duration::from_millis(100);
    let node = started(fast).await;
    let granted = node.grant(pb::LeaseGrantRequest { ttl: 1, id: 0 }).await.unwrap();
    let Response::LeaseGrant(lease) = granted else { panic!("another response") };
    assert!(lease.id > 0 && lease.ttl == 1);
    let attached = pb::PutRequest { key: Bytes::from_static(b"a"), lease: lease.id, ..Default::default() };
    node.propose(Command::Put(attached)).await.unwrap();
    while value_of(&node, "a").await.is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(node.shared().store.lessor().is_empty());
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_ttl_is_raised_to_what_a_leader_can_keep() {
    let temp = tempfile::tempdir().unwrap();
    let node = started(config(temp.path())).await;
    let Response::LeaseGrant(lease) = node.grant(pb::LeaseGrantRequest { ttl: 1, id: 5 }).await.unwrap() else {
        panic!("another response")
    };
    assert_eq!((lease.id, lease.ttl), (5, 2));
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_physical_compaction_is_answered_when_the_history_is_gone() {
    let temp = tempfile::tempdir().unwrap();
    let node = started(config(temp.path())).await;
    for value in ["1", "2", "3"] {
        node.propose(put("a", value)).await.unwrap();
    }
    node.compact(pb::CompactionRequest { revision: 4, physical: true }).await.unwrap();
    assert!(node.shared().store.is_compacted_physically(4));
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_after_the_stop_are_told_so() {
    let temp = tempfile::tempdir().unwrap();
    let node = Arc::new(started(config(temp.path())).await);
    let stopping = node.clone();
    tokio::task::spawn_blocking(move || stopping.stop()).await.unwrap();
    assert_eq!(node.propose(put("a", "1")).await.unwrap_err(), ApiError::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_store_ends_the_member() {
    use cairn_storage::{Engine, Fault, FaultyEngine, MemoryEngine, Operation};
    let temp = tempfile::tempdir().unwrap();
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let sink = reasons.clone();
    let fatal = Fatal::new(move |reason| sink.lock().unwrap().push(reason));
    let faulty = Arc::new(FaultyEngine::new(MemoryEngine::new()));
    let engine: Arc<dyn Engine> = faulty.clone();
    let dir = crate::data_dir::DataDir::open(&temp.path().join("data"), None).unwrap();
    let settings = config(temp.path());
    let node = tokio::task::spawn_blocking(move || super::start::start_on(engine, dir, settings, fatal)).await.unwrap();
    let node = Arc::new(node.unwrap());
    node.become_ready().await.unwrap();
    faulty.arm(Fault { operation: Operation::Write, after: 0 });
    let client = node.clone();
    let unanswered = tokio::spawn(async move { client.propose(put("a", "1")).await });
    while reasons.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!unanswered.is_finished(), "a write that may not be there must not be acknowledged");
    unanswered.abort();
    assert!(reasons.lock().unwrap().iter().any(|reason| reason.starts_with("the apply thread failed")), "{reasons:?}");
}
