//! The threads that drive shards, and how streams talk to them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_state::ReadError;
use cairn_state::watch::{Feed, Shard, ShardStats, StreamId};
use cairn_types::limits::{GRPC_OVERHEAD_BYTES, MAX_WATCH_REQUESTS_AHEAD};

use super::{Line, WatchDeps};

/// Without a leader for so many election timeouts, streams that need one end (etcd's rule).
const LEADERLESS_ELECTIONS: u32 = 3;

/// What streams tell their shard. A stream's last command is `Close`.
pub(super) enum Command {
    Open(StreamId, Arc<Line>, u64),
    Request(StreamId, pb::WatchRequest),
    Drained(StreamId),
    Close(StreamId),
}

/// A shard as its streams and the apply thread know it.
pub(super) struct ShardHandle {
    /// `None` once the shard has ended. Bounded by streams · (`MAX_WATCH_REQUESTS_AHEAD` + 3).
    inbox: Mutex<Option<Vec<Command>>>,
    slots: Mutex<Slots>,
    stats: Mutex<ShardStats>,
    thread: OnceLock<Thread>,
    stop: AtomicBool,
}

/// The stream ids that are free.
#[derive(Default)]
struct Slots {
    free: VecDeque<StreamId>,
    used: u32,
}

impl ShardHandle {
    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Lets the thread end after its current step.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    #[cfg(test)]
    pub(super) fn stats(&self) -> ShardStats {
        *lock(&self.stats)
    }

    /// False once the shard has ended.
    pub(super) fn send(&self, command: Command) -> bool {
        let open = match lock(&self.inbox).as_mut() {
            Some(inbox) => {
                inbox.push(command);
                true
            }
            None => false,
        };
        self.wake();
        open
    }

    /// Gives a new stream its place; `None` once the shard has ended.
    pub(super) fn open(&self, line: Arc<Line>, progress_interval_ms: u64) -> Option<StreamId> {
        let id = {
            let mut slots = lock(&self.slots);
            let unused = StreamId(slots.used);
            slots.free.pop_front().unwrap_or_else(|| {
                slots.used += 1;
                unused
            })
        };
        self.send(Command::Open(id, line, progress_interval_ms)).then_some(id)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is changed in single steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that drives one shard.
pub(super) struct Driver {
    handle: Arc<ShardHandle>,
    deps: WatchDeps,
    shard: Shard,
    lines: Vec<Option<Arc<Line>>>,
    started: Instant,
    /// How many streams need a leader, and since when there has been none.
    need_leader: usize,
    leaderless_since: Option<Instant>,
}

impl Driver {
    pub(super) fn spawn(number: usize, deps: &WatchDeps) -> std::io::Result<(Arc<ShardHandle>, JoinHandle<()>)> {
        let handle = Arc::new(ShardHandle {
            inbox: Mutex::new(Some(Vec::new())),
            slots: Mutex::default(),
            stats: Mutex::default(),
            thread: OnceLock::new(),
            stop: AtomicBool::new(false),
        });
        let driver = Self {
            handle: Arc::clone(&handle),
            deps: deps.clone(),
            shard: Shard::new(deps.max_request_bytes.saturating_add(GRPC_OVERHEAD_BYTES) as usize),
            lines: Vec::new(),
            started: Instant::now(),
            need_leader: 0,
            leaderless_since: None,
        };
        let thread = thread::Builder::new().name(format!("watch-{number}")).spawn(move || driver.run())?;
        handle.thread.set(thread.thread().clone()).expect("a handle gets its thread once");
        Ok((handle, thread))
    }

    fn run(mut self) {
        while !self.handle.stop.load(Ordering::Acquire) {
            match self.round() {
                Ok(true) => {}
                Ok(false) => self.park(),
                Err(error) => {
                    tracing::error!(%error, "a watch shard cannot read the store; its streams end");
                    break;
                }
            }
        }
        self.finish();
    }

    /// One round of everything; true where there is more to do at once.
    fn round(&mut self) -> Result<bool, ReadError> {
        let commands = lock(&self.handle.inbox).as_mut().map(std::mem::take).unwrap_or_default();
        let store = Arc::clone(&self.deps.store);
        let view = store.view();
        let now_ms = self.now_ms();
        let feed = Feed { ring: store.ring(), history: view.as_ref(), now_ms };
        self.shard.deliver(feed)?;
        for command in commands {
            self.serve(command, feed);
        }
        self.shard.tick(now_ms);
        let more = self.shard.catch_up(feed)?;
        for id in self.shard.take_ready() {
            if let Some(line) = &self.lines[id.0 as usize] {
                line.waker.wake();
            }
        }
        self.check_leader();
        *lock(&self.handle.stats) = self.shard.stats();
        Ok(more || self.shard.is_behind(store.ring()))
    }

    fn serve(&mut self, command: Command, feed: Feed<'_>) {
        match command {
            Command::Open(id, line, progress_interval_ms) => {
                let ix = id.0 as usize;
                if self.lines.len() <= ix {
                    self.lines.resize_with(ix + 1, || None);
                }
                self.shard.open(id, Arc::clone(&line.outbox), progress_interval_ms, feed.now_ms);
                self.need_leader += usize::from(line.needs_leader);
                self.lines[ix] = Some(line);
            }
            Command::Request(id, request) => {
                self.shard.request(id, request, feed);
                if let Some(line) = &self.lines[id.0 as usize] {
                    let before = line.unserved.fetch_sub(1, Ordering::AcqRel);
                    if before == MAX_WATCH_REQUESTS_AHEAD {
                        line.waker.wake(); // it may have stopped reading
                    }
                }
            }
            Command::Drained(id) => self.shard.drained(id),
            Command::Close(id) => {
                self.shard.close(id, feed.ring);
                if let Some(line) = self.lines[id.0 as usize].take() {
                    self.need_leader -= usize::from(line.needs_leader);
                }
                lock(&self.handle.slots).free.push_back(id);
            }
        }
    }

    /// Ends the streams that need a leader once there has been none for long.
    fn check_leader(&mut self) {
        if self.need_leader == 0 || (self.deps.has_leader)() {
            self.leaderless_since = None;
            return;
        }
        let since = *self.leaderless_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.deps.election_timeout * LEADERLESS_ELECTIONS {
            for line in self.lines.iter().flatten().filter(|line| line.needs_leader) {
                line.end(ApiError::NoLeader);
            }
        }
    }

    /// Sleeps until somebody wakes the shard or something is due.
    fn park(&self) {
        let tick = self.shard.next_tick_ms().map(|due| Duration::from_millis(due.saturating_sub(self.now_ms())));
        let leader = (self.need_leader > 0).then_some(self.deps.election_timeout);
        match tick.into_iter().chain(leader).min() {
            Some(wait) => thread::park_timeout(wait),
            None => thread::park(),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn finish(mut self) {
        let left = lock(&self.handle.inbox).take().unwrap_or_default();
        for command in left {
            if let Command::Open(_, line, _) = command {
                line.end(ApiError::Stopped);
            }
        }
        for line in self.lines.drain(..).flatten() {
            line.end(ApiError::Stopped);
        }
    }
}
