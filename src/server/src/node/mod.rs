//! One member: Raft, its log and the store, each on a thread of its own, and the handle that requests come in by.
//!
//! The threads and what flows between them (DESIGN §3):
//!
//! ```text
//! requests ─Propose/Read─► raft ─AppendJob─► wal ─Persisted─► raft ─committed─► apply ─outcomes─► requests
//! ```
//!
//! Every channel is bounded by admission: each message belongs to a command that holds a ticket, to a read that a client
//! waits for, or to one of a few chores.

mod admission;
mod apply_thread;
mod background;
mod fatal;
mod progress;
mod quota;
mod raft_thread;
mod start;
#[cfg(test)]
mod tests;
mod waiters;
mod wal_thread;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_state::{Command, MemberAttributes, Outcome, ReadView, Response, Store};
use cairn_types::limits::MAX_LEASE_TTL_SECS;
use cairn_types::{ClusterId, LeaseId, LogIndex, MemberId};
use crossbeam_channel::Sender;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::config::NodeConfig;
use admission::Admission;
pub(crate) use fatal::Fatal;
use progress::Progress;
use quota::Quota;
use raft_thread::ReadReply;
pub(crate) use start::start;
use waiters::Waiter;

/// What etcd's envelope of a request adds to it, in bytes: it counts towards `--max-request-bytes`.
const ENVELOPE_BYTES: usize = 18;

/// How often a starting member looks whether it leads.
const LEADER_POLL: Duration = Duration::from_millis(5);

/// How often a physical compaction is asked whether it is done.
const PHYSICAL_COMPACTION_POLL: Duration = Duration::from_millis(10);

/// A command on its way to the raft thread.
#[derive(Debug)]
pub(crate) struct Proposal {
    command: Command,
    bytes: usize,
    waiter: Waiter,
}

/// What the raft thread is told.
#[derive(Debug)]
pub(crate) enum ToRaft {
    Propose(Proposal),
    Read(ReadReply),
    /// The log has everything up to this ready on disk.
    Persisted(u64),
    /// Entries up to here are needed by nobody soon.
    CompactCache(LogIndex),
    Stop,
}

/// What the member's threads and requests share.
pub(crate) struct Shared {
    pub(crate) config: NodeConfig,
    pub(crate) cluster: ClusterId,
    pub(crate) member: MemberId,
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Clock,
    pub(crate) progress: Arc<Progress>,
    pub(crate) quota: Quota,
    pub(crate) fatal: Fatal,
    /// Where checkpoints are made that are sent to clients.
    pub(crate) temporary: PathBuf,
    raft: Sender<ToRaft>,
    admission: Admission,
    /// Whether space is being given back to the disk.
    reclaiming: AtomicBool,
}

impl Shared {
    /// Proposes a command of the member's own, which admission does not refuse.
    fn propose_own(&self, command: Command) -> oneshot::Receiver<Outcome> {
        let bytes = command.encoded_len();
        let ticket = self.admission.admit_own(bytes);
        self.send(command, bytes, ticket)
    }

    fn send(&self, command: Command, bytes: usize, ticket: admission::Ticket) -> oneshot::Receiver<Outcome> {
        let (reply, answer) = oneshot::channel();
        let waiter = Waiter { reply, _ticket: ticket };
        // If the raft thread has stopped, the waiter is dropped, and the answer says so.
        let _stopped = self.raft.send(ToRaft::Propose(Proposal { command, bytes, waiter }));
        answer
    }

    /// How long a request may take, as etcd has it.
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.config.election
    }
}

/// A running member.
pub(crate) struct Node {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
}

/// What ends the threads.
struct Threads {
    /// The member's chores; they end when `stop` is dropped.
    background: Vec<JoinHandle<()>>,
    stop: Option<Sender<std::convert::Infallible>>,
    /// Raft, log and apply, in this order.
    pipeline: Vec<JoinHandle<()>>,
    /// Held to the end: the directory is this process's.
    _data_dir: crate::data_dir::DataDir,
}

impl Node {
    /// Agrees on a command and applies it; the response's header is complete.
    ///
    /// # Errors
    /// `too many requests`, `request is too large`, `database space exceeded`, `request timed out`, `no leader`,
    /// `leader changed`, and the command's own.
    pub(crate) async fn propose(&self, command: Command) -> Result<Response, ApiError> {
        let shared = &self.shared;
        let bytes = command.encoded_len();
        let ticket = shared.admission.admit(bytes)?;
        if bytes + ENVELOPE_BYTES > shared.config.max_request_bytes as usize {
            return Err(ApiError::RequestTooLarge);
        }
        let answer = shared.send(command, bytes, ticket);
        let mut response = self.within_timeout(answer).await??;
        if let Some(header) = header_of(&mut response) {
            *header = self.header(header.revision);
        }
        Ok(response)
    }

    /// Whether there is room for the command; if not, the alarm is raised. etcd asks before it looks at the request.
    ///
    /// # Errors
    /// `database space exceeded`.
    pub(crate) fn check_quota(&self, command: &Command) -> Result<(), ApiError> {
        let shared = &self.shared;
        if shared.quota.admits(command) {
            return Ok(());
        }
        if shared.quota.should_raise_alarm(shared.clock.now_ms()) {
            tracing::warn!(
                "the store has no room left: the alarm NOSPACE is raised; compact, delete, or enlarge the quota, then disarm it"
            );
            let alarm = pb::AlarmRequest {
                action: pb::alarm_request::AlarmAction::Activate.into(),
                member_id: shared.member.0,
                alarm: pb::AlarmType::Nospace.into(),
            };
            drop(shared.propose_own(Command::Alarm(alarm)));
        }
        Err(ApiError::NoSpace)
    }

    /// Compacts; where that is asked for, waits until the space is free.
    ///
    /// # Errors
    /// As [`propose`](Self::propose).
    pub(crate) async fn compact(&self, request: pb::CompactionRequest) -> Result<Response, ApiError> {
        let (revision, physical) = (request.revision, request.physical);
        let response = self.propose(Command::Compact(request)).await?;
        while physical && !self.shared.store.is_compacted_physically(revision) {
            tokio::time::sleep(PHYSICAL_COMPACTION_POLL).await;
        }
        Ok(response)
    }

    /// Gives a lease; the TTL is raised to what a leader can keep, and an id is chosen where none is given.
    ///
    /// # Errors
    /// As [`propose`](Self::propose).
    pub(crate) async fn grant(&self, mut request: pb::LeaseGrantRequest) -> Result<Response, ApiError> {
        let config = &self.shared.config;
        let heartbeats = config.election.as_millis().div_ceil(config.heartbeat.as_millis().max(1));
        let min_ms = (3 * heartbeats / 2) * config.heartbeat.as_millis();
        let min_ttl = i64::try_from(min_ms.div_ceil(1_000)).unwrap_or(MAX_LEASE_TTL_SECS);
        if request.ttl <= MAX_LEASE_TTL_SECS {
            request.ttl = request.ttl.max(min_ttl);
        }
        while request.id == LeaseId::NONE.0 {
            let id = LeaseId(fastrand::i64(1..=i64::MAX));
            if !self.shared.store.lessor().contains(id) {
                request.id = id.0;
            }
        }
        self.propose(Command::LeaseGrant(request)).await
    }

    /// A state that has everything that was acknowledged before this call.
    ///
    /// # Errors
    /// `no leader`, `leader changed`, `request timed out`.
    pub(crate) async fn linearizable(&self) -> Result<Arc<ReadView>, ApiError> {
        let shared = &self.shared;
        if !shared.progress.reads_need_no_hop() {
            let (reply, index) = oneshot::channel();
            let _stopped = shared.raft.send(ToRaft::Read(reply));
            let index = self.within_timeout(index).await??;
            let applied = tokio::time::timeout(shared.request_timeout(), shared.progress.wait_applied(index)).await;
            applied.map_err(|_| ApiError::Timeout)?;
        }
        Ok(shared.store.view())
    }

    /// The newest state that this member has applied.
    pub(crate) fn view(&self) -> Arc<ReadView> {
        self.shared.store.view()
    }

    async fn within_timeout<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, ApiError> {
        match tokio::time::timeout(self.shared.request_timeout(), answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(ApiError::Stopped),
            Err(_) => Err(ApiError::Timeout),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A response's header with this revision.
    pub(crate) fn header(&self, revision: i64) -> pb::ResponseHeader {
        pb::ResponseHeader {
            cluster_id: self.shared.cluster.0,
            member_id: self.shared.member.0,
            revision,
            raft_term: self.shared.progress.term().0,
        }
    }

    /// Gives the space of deleted data back to the disk, in the background.
    pub(crate) fn reclaim(&self) {
        background::reclaim_all(&self.shared);
    }

    /// Waits until this member leads and has applied what was committed before, however long that takes, and publishes
    /// its name and URLs.
    ///
    /// # Errors
    /// Where the member has stopped.
    pub(crate) async fn become_ready(&self) -> Result<(), ApiError> {
        loop {
            match self.publish_self().await {
                Err(ApiError::NoLeader) => tokio::time::sleep(LEADER_POLL).await,
                Err(error @ (ApiError::LeaderChanged | ApiError::Timeout)) => {
                    tracing::warn!(%error, applied = self.shared.progress.applied().0, "the member is not ready yet");
                }
                outcome => return outcome,
            }
        }
    }

    async fn publish_self(&self) -> Result<(), ApiError> {
        self.linearizable().await?;
        let mut client_urls = self.shared.config.client_urls.clone();
        client_urls.sort_unstable();
        let name = self.shared.config.name.clone();
        let known = self.view().members().ok().into_iter().flatten().find(|member| member.id == self.shared.member.0);
        if known.is_none_or(|member| member.name != name || member.client_ur_ls != client_urls) {
            let attributes = MemberAttributes { member: self.shared.member.0, name, client_urls };
            self.propose(Command::MemberAttributes(attributes)).await?;
        }
        tracing::info!(local_member_id = %self.shared.member, cluster_id = %self.shared.cluster, "published local member to cluster through raft");
        Ok(())
    }

    /// Ends all threads, so that a restart has nothing to replay. Blocks.
    pub(crate) fn stop(&self) {
        let mut threads = self.threads.lock().expect("nobody panics while stopping");
        if threads.stop.is_some() && self.shared.progress.leads() {
            let left = self.shared.store.lessor().all_checkpoints(self.shared.clock.now_ms());
            background::propose_checkpoints(&self.shared, left);
        }
        threads.stop = None;
        let join = |thread: JoinHandle<()>| thread.join().expect("the threads catch their panics");
        threads.background.drain(..).for_each(join);
        let _stopped = self.shared.raft.send(ToRaft::Stop);
        threads.pipeline.drain(..).for_each(join);
        if let Err(error) = self.shared.store.engine().flush() {
            self.shared.fatal.report("cannot flush the store at the end", &error);
        }
    }
}

fn header_of(response: &mut Response) -> Option<&mut pb::ResponseHeader> {
    match response {
        Response::Put(response) => response.header.as_mut(),
        Response::DeleteRange(response) => response.header.as_mut(),
        Response::Txn(response) => response.header.as_mut(),
        Response::Compact(response) => response.header.as_mut(),
        Response::LeaseGrant(response) => response.header.as_mut(),
        Response::LeaseRevoke(response) => response.header.as_mut(),
        Response::Alarm(response) => response.header.as_mut(),
        Response::LeaseCheckpoint | Response::ExpireLeases | Response::MemberAttributes => None,
    }
}
