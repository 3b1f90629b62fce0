//! What all services share: the member, limits, and where reads run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_state::ReadError;
use cairn_types::limits::{
    MAX_CONCURRENT_RANGE_STREAMS, MAX_CONCURRENT_SCANS, MAX_SCAN_WAIT_MS, MAX_SLOW_REQUEST_LINES_PER_SEC,
};
use tokio::sync::Semaphore;
use tonic::Status;

use crate::node::Node;

/// Shared by all services.
pub(crate) struct Core {
    pub(crate) node: Arc<Node>,
    pub(crate) max_txn_ops: usize,
    pub(crate) slow_request: Duration,
    pub(crate) progress_interval: Duration,
    scans: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    slow_log: Limiter,
}

impl Core {
    pub(crate) fn new(node: Arc<Node>, config: &crate::config::ServeConfig) -> Self {
        Self {
            node,
            max_txn_ops: config.max_txn_ops,
            slow_request: config.slow_request,
            progress_interval: config.progress_notify_interval,
            scans: Arc::new(Semaphore::new(MAX_CONCURRENT_SCANS)),
            streams: Arc::new(Semaphore::new(MAX_CONCURRENT_RANGE_STREAMS)),
            slow_log: Limiter::default(),
        }
    }

    /// Runs a read that may take long on a thread that may block. So many at once are let in; the others wait a moment
    /// and are then refused, so that lists cannot occupy all threads and all memory.
    ///
    /// # Errors
    /// `too many requests`; what the read gives.
    pub(crate) async fn scan<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Status> {
        self.admitted(&self.scans, read).await
    }

    /// As [`scan`](Self::scan), for a read that goes as fast as its client takes what it sends: those have places of their
    /// own, so that clients which take nothing cannot keep others from reading.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub(crate) async fn stream<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Status> {
        self.admitted(&self.streams, read).await
    }

    async fn admitted<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Status> {
        let permit =
            tokio::time::timeout(Duration::from_millis(MAX_SCAN_WAIT_MS), places.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(ApiError::TooManyRequests.into()) };
        let run = move || {
            // The read goes on where the client gives up, and holds its place until it ends.
            let _permit = permit;
            read()
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(result) => result.map_err(|error| self.read_error(error)),
            Err(error) => Err(Status::internal(format!("the read was given up: {error}"))),
        }
    }

    /// A store that cannot be read stops the member: its next answer could be wrong.
    pub(crate) fn read_error(&self, error: ReadError) -> Status {
        match error {
            ReadError::Api(error) => error.into(),
            ReadError::State(error) => {
                self.node.shared().fatal.report("cannot read the store", &error);
                Status::internal(crate::logging::chain(&error))
            }
        }
    }

    /// Fills in what the state machine does not know.
    pub(crate) fn fill(&self, header: &mut Option<pb::ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(self.node.header(revision));
    }

    /// A header with the current revision.
    #[expect(clippy::unnecessary_wraps, reason = "messages have their header as an Option")]
    pub(crate) fn header(&self) -> Option<pb::ResponseHeader> {
        Some(self.node.header(self.node.view().revision))
    }

    /// A header as calls about members have it: without a revision.
    #[expect(clippy::unnecessary_wraps, reason = "messages have their header as an Option")]
    pub(crate) fn cluster_header(&self) -> Option<pb::ResponseHeader> {
        Some(self.node.header(0))
    }

    /// Logs a request that took long; at most so many in a second, because a slow disk makes all of them slow.
    pub(crate) fn finished(&self, method: &'static str, begun: Instant) {
        let took = begun.elapsed();
        if took <= self.slow_request {
            return;
        }
        if let Some(not_logged) = self.slow_log.admit(self.node.shared().clock.now_ms() / 1_000) {
            let (took, expected) = (format!("{took:?}"), format!("{:?}", self.slow_request));
            tracing::warn!(method, took, expected_duration = expected, not_logged, "request took too long");
        }
    }
}

/// Lets a few log lines through in each second and counts the others.
#[derive(Debug, Default)]
struct Limiter {
    second: AtomicU64,
    logged: AtomicU64,
    skipped: AtomicU64,
}

impl Limiter {
    /// How many were skipped since the last line that was let through; `None` if this one is skipped too. Lines that
    /// race at the turn of a second may be one more or less, which does no harm.
    fn admit(&self, second: u64) -> Option<u64> {
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.logged.store(0, Ordering::Relaxed);
        }
        if self.logged.fetch_add(1, Ordering::Relaxed) < MAX_SLOW_REQUEST_LINES_PER_SEC {
            return Some(self.skipped.swap(0, Ordering::Relaxed));
        }
        self.skipped.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// The answer to what this version does not do.
pub(crate) fn unsupported(what: &str) -> Status {
    Status::unimplemented(format!("{what} is not supported by this version of Cairn ({})", crate::VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_slow_requests_is_a_few_lines_and_a_count() {
        let limiter = Limiter::default();
        let lines = (0..1_000).filter_map(|_| limiter.admit(7)).count() as u64;
        assert_eq!(lines, MAX_SLOW_REQUEST_LINES_PER_SEC);
        assert_eq!(limiter.admit(8), Some(1_000 - MAX_SLOW_REQUEST_LINES_PER_SEC));
        assert_eq!(limiter.admit(8), Some(0));
    }
}
