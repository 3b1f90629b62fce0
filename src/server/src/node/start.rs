//! From a data directory to a running member: what is found is checked as a whole before anything is served.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use cairn_api::etcdserverpb as pb;
use cairn_consensus::{ConfState, ConfStateError, Config, Consensus, ConsensusError, LogReadError, LogReader, Start};
use cairn_rocks::{RocksEngine, RocksOptions};
use cairn_state::{StateError, StateMachine, identity};
use cairn_storage::{Engine, EngineError};
use cairn_types::limits::LOG_SEGMENT_BYTES;
use cairn_types::{ClusterId, Entry, LogIndex, MemberId, Term};
use cairn_wal::{Identity, Recovered, Wal, WalError, WalOptions, WalReader};
use crossbeam_channel::{Sender, unbounded};
use thiserror::Error;

use super::apply_thread::ApplyThread;
use super::progress::Progress;
use super::quota::Quota;
use super::raft_thread::RaftThread;
use super::waiters::Waiters;
use super::wal_thread::WalThread;
use super::{Admission, Fatal, Node, Shared, Threads, background};
use crate::clock::Clock;
use crate::config::{AutoCompaction, NodeConfig};
use crate::data_dir::{DataDir, DataDirError};

/// Why the member does not start. Nothing was changed that a corrected start would miss.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    #[error("cannot use the data directory")]
    DataDir(#[from] DataDirError),
    #[error("cannot open the store")]
    Engine(#[from] EngineError),
    #[error("cannot read the store")]
    State(#[from] StateError),
    #[error("cannot open the Raft log")]
    Wal(#[from] WalError),
    #[error("cannot continue the Raft log")]
    Consensus(#[from] ConsensusError),
    #[error("cannot read the stored membership")]
    ConfState(#[from] ConfStateError),
    #[error(
        "the store is empty, but {} holds a Raft log; either the store was removed or --data-dir and --wal-dir do not \
         belong together. Put the right directories together, or remove both to begin a new member",
        wal.display()
    )]
    StoreLost { wal: PathBuf },
    #[error(
        "the store has applied entry {applied}, but the Raft log in {} ends at {last}: acknowledged writes may be missing. \
         Put the right directories together, or restore this member from a snapshot",
        wal.display()
    )]
    LogLost { applied: LogIndex, last: LogIndex, wal: PathBuf },
    #[error(
        "the store has applied entry {applied}, but the Raft log in {} begins after {start}: entries between are missing. \
         Put the right directories together, or restore this member from a snapshot",
        wal.display()
    )]
    LogAhead { applied: LogIndex, start: LogIndex, wal: PathBuf },
    #[error("the store names {0} members; this version runs with exactly one")]
    Members(usize),
}

/// The log on disk, for consensus.
struct DiskLog(WalReader);

fn read_error(error: WalError) -> LogReadError {
    match error {
        WalError::Released { index, .. } => LogReadError::Released(index),
        other => LogReadError::Failed(crate::logging::chain(&other)),
    }
}

impl LogReader for DiskLog {
    fn entries(&self, low: LogIndex, high: LogIndex, max_bytes: usize) -> Result<Vec<Entry>, LogReadError> {
        self.0.entries(low, high, max_bytes).map_err(read_error)
    }

    fn term(&self, index: LogIndex) -> Result<Term, LogReadError> {
        self.0.term(index).map_err(read_error)
    }

    fn first_index(&self) -> LogIndex {
        self.0.first_index()
    }
}

/// Opens what is in the data directory, or begins a new member, and starts its threads.
pub(crate) fn start(config: NodeConfig, fatal: Fatal) -> Result<Node, StartError> {
    let dir = DataDir::open(&config.data_dir, config.wal_dir.as_deref())?;
    let options = RocksOptions { memory_budget_bytes: config.memory_budget_bytes, create_if_missing: true };
    let engine: Arc<dyn Engine> = Arc::new(RocksEngine::open(&dir.store, options)?);
    start_on(engine, dir, config, fatal)
}

/// As [`start`], on any engine.
pub(crate) fn start_on(
    engine: Arc<dyn Engine>,
    dir: DataDir,
    config: NodeConfig,
    fatal: Fatal,
) -> Result<Node, StartError> {
    let mut machine = StateMachine::open(engine)?;
    let is_new = machine.cluster().is_none();
    let (cluster, member) = match machine.cluster() {
        Some(cluster) => (cluster, only_member(&machine)?),
        None => {
            let member = identity::member_id(&config.peer_urls, &config.cluster_token);
            (identity::cluster_id(&[member]), member)
        }
    };
    let options =
        WalOptions { segment_bytes: LOG_SEGMENT_BYTES, identity: Identity { cluster, member }, sync: config.sync };
    if !is_new {
        check_log_exists(&machine, &dir)?;
    }
    let (wal, recovered) = Wal::open(&dir.wal, options)?;
    check_log(&machine, &recovered, is_new, &dir)?;
    if is_new {
        bootstrap(&mut machine, cluster, member, &config)?;
    }
    let consensus = restore_consensus(&machine, &wal, recovered, member, &config)?;
    let (term, applied) = (recovered.hard_state.term, machine.applied().0);
    tracing::info!(
        member_id = %member, cluster_id = %cluster, data_dir = %config.data_dir.display(), new = is_new, term = term.0,
        applied = applied.0, replay_from = applied.0 + 1, replay_to = recovered.last_index.0,
        repaired_log_bytes = recovered.repaired_bytes, "the member starts"
    );
    Ok(spawn(config, dir, machine, wal, consensus, Ids { cluster, member }, fatal))
}

struct Ids {
    cluster: ClusterId,
    member: MemberId,
}

/// With one member it is this one, whatever the flags say now: they counted when the data was made.
fn only_member(machine: &StateMachine) -> Result<MemberId, StartError> {
    let members = machine.store().view().members().map_err(|error| match error {
        cairn_state::ReadError::State(error) => StartError::State(error),
        cairn_state::ReadError::Api(_) => StartError::Members(0),
    })?;
    match members.as_slice() {
        [member] => Ok(MemberId(member.id)),
        members => Err(StartError::Members(members.len())),
    }
}

/// A new member's log exists before its store says whose it is. This comes before the log is opened, which would begin a
/// new one: as long as the store was never flushed, the next start could not tell that one from the right one.
fn check_log_exists(machine: &StateMachine, dir: &DataDir) -> Result<(), StartError> {
    let mut files = std::fs::read_dir(&dir.wal).into_iter().flatten().flatten();
    if files.any(|file| file.path().extension().is_some_and(|extension| extension == "wal")) {
        return Ok(());
    }
    Err(StartError::LogLost { applied: machine.applied().0, last: LogIndex(0), wal: dir.wal.clone() })
}

fn check_log(machine: &StateMachine, recovered: &Recovered, is_new: bool, dir: &DataDir) -> Result<(), StartError> {
    let wal = dir.wal.clone();
    let applied = machine.applied().0;
    if is_new && recovered.last_index > LogIndex(0) {
        return Err(StartError::StoreLost { wal });
    }
    if applied > recovered.last_index {
        return Err(StartError::LogLost { applied, last: recovered.last_index, wal });
    }
    if applied < recovered.start.index {
        return Err(StartError::LogAhead { applied, start: recovered.start.index, wal });
    }
    Ok(())
}

fn bootstrap(
    machine: &mut StateMachine,
    cluster: ClusterId,
    member: MemberId,
    config: &NodeConfig,
) -> Result<(), StartError> {
    let mut peer_urls = config.peer_urls.clone();
    peer_urls.sort_unstable();
    // The client URLs are published through the log once the member serves, as in etcd.
    let own = pb::Member { id: member.0, name: config.name.clone(), peer_ur_ls: peer_urls, ..Default::default() };
    machine.bootstrap(cluster, vec![own], ConfState::bootstrap([member]).encode())?;
    Ok(())
}

fn restore_consensus(
    machine: &StateMachine,
    wal: &Wal,
    recovered: Recovered,
    member: MemberId,
    config: &NodeConfig,
) -> Result<Consensus, StartError> {
    let reader = wal.reader();
    let (applied, applied_term) = machine.applied();
    // With the last applied entry, where the log still has it: consensus compares its term with the store's.
    let first = applied.max(recovered.first_index);
    let entries = if first <= recovered.last_index {
        reader.entries(first, recovered.last_index.next(), usize::MAX)?
    } else {
        Vec::new()
    };
    let start = Start {
        hard_state: recovered.hard_state,
        conf_state: ConfState::decode(&machine.conf_state().unwrap_or_default())?,
        applied: (applied, applied_term),
        entries,
    };
    let ticks = config.election.as_millis() / config.heartbeat.as_millis().max(1);
    let mut settings = Config::new(member, fastrand::u64(..), fastrand::u64(..));
    settings.election_ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
    Ok(Consensus::new(settings, start, Box::new(DiskLog(reader)))?)
}

fn spawn(
    config: NodeConfig,
    dir: DataDir,
    machine: StateMachine,
    wal: Wal,
    consensus: Consensus,
    ids: Ids,
    fatal: Fatal,
) -> Node {
    let (raft, ingress) = unbounded();
    let (to_wal, wal_jobs) = unbounded();
    let (to_apply, committed) = unbounded();
    let (applied, applied_term) = machine.applied();
    let progress = Arc::new(Progress::new(applied, applied_term));
    let waiters = Arc::new(Waiters::new(ids.member.0));
    let shared = Arc::new(Shared {
        cluster: ids.cluster,
        member: ids.member,
        store: machine.store(),
        clock: Clock::start(),
        progress: progress.clone(),
        quota: Quota::new(config.quota, dir.store.clone()),
        fatal: fatal.clone(),
        temporary: dir.temporary.clone(),
        raft: raft.clone(),
        admission: Admission::default(),
        reclaiming: AtomicBool::new(false),
        config,
    });
    let config = &shared.config;
    let apply_thread = ApplyThread {
        machine,
        committed,
        waiters: waiters.clone(),
        progress: progress.clone(),
        slow: config.slow_apply,
        clock: shared.clock,
        lease_extension_ms: background::lease_extension_ms(config),
        promoted_in: None,
    };
    let wal_thread = WalThread::new(wal, wal_jobs, raft);
    let tick = config.heartbeat;
    let raft_thread =
        RaftThread::new(consensus, ingress, to_wal.clone(), to_apply, waiters, progress, ids.member, tick);
    let pipeline = vec![
        fatal.spawn("raft", move || raft_thread.run()),
        fatal.spawn("wal", move || wal_thread.run()),
        fatal.spawn("apply", move || apply_thread.run()),
    ];
    let (stop, background) = spawn_background(&shared, to_wal);
    Node { shared, threads: Mutex::new(Threads { background, stop: Some(stop), pipeline, _data_dir: dir }) }
}

type Chore = Box<dyn FnOnce(&Shared, &background::Stop) -> Result<(), StateError> + Send>;
type BackgroundThreads = (Sender<std::convert::Infallible>, Vec<std::thread::JoinHandle<()>>);

fn spawn_background(shared: &Arc<Shared>, to_wal: Sender<super::wal_thread::ToWal>) -> BackgroundThreads {
    let (stop, stopped) = unbounded();
    let mut threads = Vec::new();
    let mut spawn = |name, body: Chore| {
        let (shared_by_thread, stopped) = (shared.clone(), stopped.clone());
        threads.push(shared.fatal.spawn(name, move || body(&shared_by_thread, &stopped)));
    };
    spawn("leases", Box::new(background::run_leases));
    spawn("compaction", Box::new(background::run_compaction));
    spawn("chores", Box::new(move |shared, stop| background::run_chores(shared, stop, &to_wal)));
    if shared.config.auto_compaction != AutoCompaction::Off {
        spawn("auto-compaction", Box::new(background::run_auto_compaction));
    }
    (stop, threads)
}
