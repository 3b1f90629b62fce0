//! A watch that goes on after its connection was lost.
//!
//! Contract: events arrive in order and each once, also over a reconnect, because the stream is opened again at the
//! revision after the last one seen; that is tried for as long as the watch is polled. Parts of one revision that the
//! server sent as fragments are joined first. Nothing runs in the background: the watch makes progress while
//! [`Watcher::next`] is polled, and dropping it cancels it.

use cairn_api::etcdserverpb::*;
use cairn_api::mvccpb::Event;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status, Streaming};

use crate::retry::{Verdict, backoff, is_transport_failure, judge};
use crate::{Client, Error};

/// Most requests that wait for being sent on one stream: the creation and a request for progress; more are dropped.
const MAX_QUEUED_REQUESTS: usize = 4;

/// One watch on a stream of its own.
#[derive(Debug)]
pub struct Watcher {
    client: Client,
    /// What is asked for when the stream is opened again; `start_revision` follows the events.
    request: WatchCreateRequest,
    require_leader: bool,
    stream: Option<Streaming<WatchResponse>>,
    progress: Progress,
    requests: mpsc::Receiver<()>,
    sender: Option<mpsc::Sender<WatchRequest>>,
    fragments: Vec<Event>,
    failures: u32,
    ended: bool,
}

/// Asks for progress on a watch from elsewhere than where it is read.
#[derive(Clone, Debug)]
pub struct Progress(mpsc::Sender<()>);

impl Progress {
    /// Asks the server for the revision that the watch has reached. The answer is a response without events from
    /// [`Watcher::next`]; the server answers only once the watch has caught up, so there may be none.
    pub fn request(&self) {
        // A full queue means that a request is on its way already.
        let _ = self.0.try_send(());
    }
}

impl Watcher {
    pub(crate) fn new(client: Client, request: WatchCreateRequest, require_leader: bool) -> Self {
        let (progress, requests) = mpsc::channel(MAX_QUEUED_REQUESTS);
        Self {
            client,
            request,
            require_leader,
            stream: None,
            progress: Progress(progress),
            requests,
            sender: None,
            fragments: Vec::new(),
            failures: 0,
            ended: false,
        }
    }

    /// A handle that asks for progress.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The next response with events, with progress (no events), or with the end (`canceled`); `None` after the end.
    /// The confirmation of the creation is not reported. Safe to cancel.
    ///
    /// # Errors
    /// What the server answered where trying again is of no use; the watch is over then.
    pub async fn next(&mut self) -> Result<Option<WatchResponse>, Error> {
        while !self.ended {
            let received = match self.receive().await {
                Ok(response) => response,
                Err(status) => {
                    self.lost(status).await?;
                    continue;
                }
            };
            self.failures = 0;
            if let Some(response) = self.accept(received) {
                return Ok(Some(response));
            }
        }
        Ok(None)
    }

    /// The next message of the stream, which is opened first where there is none.
    async fn receive(&mut self) -> Result<WatchResponse, Status> {
        if self.stream.is_none() {
            let (sender, stream) = self.open().await?;
            (self.sender, self.stream) = (Some(sender), Some(stream));
        }
        let (Some(stream), Some(sender)) = (&mut self.stream, &self.sender) else {
            return Err(Status::unavailable("the stream is gone"));
        };
        loop {
            tokio::select! {
                message = stream.message() => return message?.ok_or_else(|| Status::unavailable("the stream ended")),
                Some(()) = self.requests.recv() => {
                    let union = watch_request::RequestUnion::ProgressRequest(WatchProgressRequest {});
                    let _ = sender.try_send(WatchRequest { request_union: Some(union) });
                }
            }
        }
    }

    async fn open(&self) -> Result<(mpsc::Sender<WatchRequest>, Streaming<WatchResponse>), Status> {
        let (sender, requests) = mpsc::channel(MAX_QUEUED_REQUESTS);
        let create = watch_request::RequestUnion::CreateRequest(self.request.clone());
        let queued = sender.try_send(WatchRequest { request_union: Some(create) });
        debug_assert!(queued.is_ok(), "a new queue has room");
        let mut call = Request::new(ReceiverStream::new(requests));
        if self.require_leader {
            call.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        }
        let stream = self.client.watches().watch(call).await?.into_inner();
        Ok((sender, stream))
    }

    /// Forgets the stream and waits before the next one, unless the failure is final.
    async fn lost(&mut self, status: Status) -> Result<(), Error> {
        (self.stream, self.sender) = (None, None);
        self.fragments.clear();
        let retryable = matches!(status.code(), Code::Unavailable | Code::Internal) || is_transport_failure(&status);
        if !retryable {
            self.ended = true;
            return Err(status.into());
        }
        self.failures = self.failures.saturating_add(1);
        let verdict = match judge(&status) {
            Verdict::Final => Verdict::MaybeSent,
            verdict => verdict,
        };
        tokio::time::sleep(backoff(self.failures, verdict)).await;
        Ok(())
    }

    /// Takes note of what was received and returns what is for the caller.
    fn accept(&mut self, mut response: WatchResponse) -> Option<WatchResponse> {
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if response.canceled || response.compact_revision != 0 {
            response.canceled = true;
            self.ended = true;
            return Some(response);
        }
        if response.created {
            if self.request.start_revision == 0 {
                self.request.start_revision = revision + 1;
            }
            return None;
        }
        if response.fragment {
            self.fragments.append(&mut response.events);
            return None;
        }
        if !self.fragments.is_empty() {
            self.fragments.append(&mut response.events);
            response.events = std::mem::take(&mut self.fragments);
        }
        let last = response.events.last().and_then(|event| event.kv.as_ref()).map_or(revision, |kv| kv.mod_revision);
        self.request.start_revision = self.request.start_revision.max(last + 1);
        Some(response)
    }
}
