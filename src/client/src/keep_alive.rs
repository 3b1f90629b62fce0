//! Keeps a lease alive.

use std::time::Duration;

use cairn_api::etcdserverpb::*;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::retry::{Verdict, backoff, judge};
use crate::{Client, Error};

/// How long the first answer may take before the lease counts as lost; later the TTL decides.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// Most renewals that wait for being sent; there is never more than one under way.
const MAX_QUEUED_RENEWALS: usize = 1;

/// Renewals of one lease, at a third of its TTL, while it is polled.
#[derive(Debug)]
pub struct KeepAlive {
    client: Client,
    lease: i64,
    stream: Option<(mpsc::Sender<LeaseKeepAliveRequest>, Streaming<LeaseKeepAliveResponse>)>,
    next_renewal: Instant,
    /// When the lease is gone unless an answer arrives.
    expires: Instant,
    failures: u32,
    ended: bool,
}

impl KeepAlive {
    pub(crate) fn new(client: Client, lease: i64) -> Self {
        let now = Instant::now();
        Self { client, lease, stream: None, next_renewal: now, expires: now + FIRST_ANSWER, failures: 0, ended: false }
    }

    /// Waits for the next renewal and returns the server's answer; `None` once the lease expired or was revoked, or
    /// could not be renewed for its whole TTL. Lost connections are made again.
    ///
    /// # Errors
    /// What the server answered where trying again is of no use.
    pub async fn next(&mut self) -> Result<Option<LeaseKeepAliveResponse>, Error> {
        while !self.ended {
            tokio::time::sleep_until(self.next_renewal).await;
            match tokio::time::timeout_at(self.expires, self.renew()).await {
                Err(_) => self.ended = true,
                Ok(Ok(answer)) if answer.ttl <= 0 => self.ended = true,
                Ok(Ok(answer)) => {
                    self.renewed(answer.ttl);
                    return Ok(Some(answer));
                }
                Ok(Err(status)) => self.lost(status)?,
            }
        }
        Ok(None)
    }

    async fn renew(&mut self) -> Result<LeaseKeepAliveResponse, Status> {
        if self.stream.is_none() {
            let (sender, renewals) = mpsc::channel(MAX_QUEUED_RENEWALS);
            // The first renewal is on its way before the stream is open: servers may answer nothing until then.
            let _ = sender.try_send(LeaseKeepAliveRequest { id: self.lease });
            let stream = self.client.lease().lease_keep_alive(ReceiverStream::new(renewals)).await?.into_inner();
            self.stream = Some((sender, stream));
        } else if let Some((sender, _)) = &self.stream {
            let _ = sender.try_send(LeaseKeepAliveRequest { id: self.lease });
        }
        let gone = || Status::unavailable("the stream ended");
        let (_, stream) = self.stream.as_mut().ok_or_else(gone)?;
        stream.message().await?.ok_or_else(gone)
    }

    fn renewed(&mut self, ttl_secs: i64) {
        let ttl = Duration::from_secs(ttl_secs.unsigned_abs());
        self.failures = 0;
        self.next_renewal = Instant::now() + ttl / 3;
        self.expires = Instant::now() + ttl;
    }

    fn lost(&mut self, status: Status) -> Result<(), Error> {
        self.stream = None;
        if judge(&status) == Verdict::Final {
            self.ended = true;
            return Err(status.into());
        }
        self.failures = self.failures.saturating_add(1);
        self.next_renewal = Instant::now() + backoff(self.failures, judge(&status));
        Ok(())
    }
}
