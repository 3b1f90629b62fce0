//! A stream of watchers. How a server spreads events over messages is its own affair, so events and control messages
//! are recorded apart: control messages one by one in order, events per watcher as one list.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cairn_api::etcdserverpb::watch_client::WatchClient;
use cairn_api::etcdserverpb::watch_request::RequestUnion;
use cairn_api::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use cairn_api::mvccpb::Event;
use cairn_testkit::DEADLINE;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use crate::Session;
use crate::normal::Normal;

/// Requests that may wait for the transport; more than any scenario sends at once.
const QUEUE: usize = 64;

/// How long an answer to a progress request may take before it is asked for again: a server whose watchers still catch
/// up says nothing.
const PROGRESS_PATIENCE: Duration = Duration::from_millis(200);

/// The watch id of answers that concern the whole stream.
const WHOLE_STREAM: i64 = -1;

/// One stream.
pub struct Watch {
    requests: mpsc::Sender<WatchRequest>,
    answers: mpsc::Receiver<Result<WatchResponse, Status>>,
    controls: VecDeque<WatchResponse>,
    progress: VecDeque<WatchResponse>,
    events: BTreeMap<i64, Vec<Event>>,
    /// Messages that carried `fragment`, over the whole life of the stream.
    pub fragments: usize,
}

impl Watch {
    /// Opens a stream. A server may answer the call only when it has its first message to send, so that is left to a
    /// task; errors come with the first wait for a message.
    #[must_use]
    pub fn open(client: WatchClient<Channel>) -> Self {
        let (requests, receiver) = mpsc::channel(QUEUE);
        let (sender, answers) = mpsc::channel(QUEUE);
        tokio::spawn(forward(client.max_decoding_message_size(usize::MAX), receiver, sender));
        Self {
            requests,
            answers,
            controls: VecDeque::new(),
            events: BTreeMap::new(),
            fragments: 0,
            progress: VecDeque::new(),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The stream is gone.
    pub async fn send(&self, request: RequestUnion) -> anyhow::Result<()> {
        let request = WatchRequest { request_union: Some(request) };
        self.requests.send(request).await.context("the watch stream is gone")
    }

    /// Sends a create request without waiting for its answer.
    ///
    /// # Errors
    /// The stream is gone.
    pub async fn create(&self, request: WatchCreateRequest) -> anyhow::Result<()> {
        self.send(RequestUnion::CreateRequest(request)).await
    }

    /// Asks for the cancellation of a watcher without waiting for the answer.
    ///
    /// # Errors
    /// The stream is gone.
    pub async fn cancel(&self, watch_id: i64) -> anyhow::Result<()> {
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id })).await
    }

    /// Next message that is neither events nor progress of the stream: created, canceled, progress of one watcher.
    ///
    /// # Errors
    /// Nothing comes in time, or the stream ends.
    pub async fn next_control(&mut self) -> anyhow::Result<WatchResponse> {
        loop {
            if let Some(control) = self.controls.pop_front() {
                return Ok(control);
            }
            self.receive().await?;
        }
    }

    /// The next `count` events of a watcher.
    ///
    /// # Errors
    /// They do not come in time, or the stream ends.
    pub async fn next_events(&mut self, watch_id: i64, count: usize) -> anyhow::Result<Vec<Event>> {
        loop {
            let seen = self.events.entry(watch_id).or_default();
            if seen.len() >= count {
                return Ok(seen.drain(..count).collect());
            }
            let seen = seen.len();
            self.receive().await.with_context(|| format!("{seen} of {count} events of watcher {watch_id}"))?;
        }
    }

    /// The events of a watcher that came so far and were not read, at least one; always whole messages.
    ///
    /// # Errors
    /// None come in time, or the stream ends.
    pub async fn next_batch(&mut self, watch_id: i64) -> anyhow::Result<Vec<Event>> {
        loop {
            if let Some(events) = self.events.remove(&watch_id).filter(|events| !events.is_empty()) {
                return Ok(events);
            }
            self.receive().await?;
        }
    }

    /// Asks for progress until the server answers, and returns the revision that it names.
    ///
    /// # Errors
    /// It does not answer in time.
    pub async fn progress(&mut self) -> anyhow::Result<i64> {
        let started = std::time::Instant::now();
        self.progress.clear();
        while started.elapsed() < DEADLINE {
            self.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await?;
            let Ok(received) = tokio::time::timeout(PROGRESS_PATIENCE, self.next_progress()).await else { continue };
            return received;
        }
        bail!("no answer to progress requests")
    }

    async fn next_progress(&mut self) -> anyhow::Result<i64> {
        loop {
            if let Some(message) = self.progress.pop_front() {
                return Ok(message.header.map_or(0, |header| header.revision));
            }
            self.receive().await?;
        }
    }

    /// Events that came and were not asked for yet.
    #[must_use]
    pub fn unread_events(&self) -> usize {
        self.events.values().map(Vec::len).sum()
    }

    async fn receive(&mut self) -> anyhow::Result<()> {
        let received = tokio::time::timeout(DEADLINE, self.answers.recv()).await;
        let message = received.ok().context("nothing more on the watch stream in time")?;
        let message = message.context("the server ended the watch stream")?.context("watch stream")?;
        self.fragments += usize::from(message.fragment);
        if message.events.is_empty() {
            // The late answer to a progress request that was repeated is nothing that a scenario waits for.
            let queue = if is_stream_progress(&message) { &mut self.progress } else { &mut self.controls };
            queue.push_back(message);
            return Ok(());
        }
        ensure!(!message.created && !message.canceled, "events in a control message: {message:?}");
        let revision = message.header.context("events without a header")?.revision;
        let newest = message.events.iter().filter_map(|event| event.kv.as_ref()).map(|kv| kv.mod_revision).max();
        ensure!(newest <= Some(revision), "events at {newest:?} under a header of revision {revision}");
        self.events.entry(message.watch_id).or_default().extend(message.events);
        Ok(())
    }
}

/// Passes on what the server sends, until it ends the stream or nobody listens any more.
async fn forward(
    mut client: WatchClient<Channel>,
    requests: mpsc::Receiver<WatchRequest>,
    answers: mpsc::Sender<Result<WatchResponse, Status>>,
) {
    let mut stream = match client.watch(ReceiverStream::new(requests)).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => return drop(answers.send(Err(status)).await),
    };
    while let Some(message) = stream.message().await.transpose() {
        let last = message.is_err();
        if answers.send(message).await.is_err() || last {
            return;
        }
    }
}

fn is_stream_progress(message: &WatchResponse) -> bool {
    message.watch_id == WHOLE_STREAM && !message.created && !message.canceled && message.events.is_empty()
}

impl Session {
    /// Creates a watcher and records the answer.
    ///
    /// # Errors
    /// No answer comes.
    pub async fn watch_create(&mut self, watch: &mut Watch, request: WatchCreateRequest) -> anyhow::Result<()> {
        let shown = format!("{request:?}");
        watch.create(request).await?;
        self.control(watch, "watch_create", shown).await
    }

    /// Cancels a watcher and records the answer.
    ///
    /// # Errors
    /// No answer comes.
    pub async fn watch_cancel(&mut self, watch: &mut Watch, watch_id: i64) -> anyhow::Result<()> {
        watch.cancel(watch_id).await?;
        self.control(watch, "watch_cancel", watch_id.to_string()).await
    }

    /// Records the next control message.
    ///
    /// # Errors
    /// None comes.
    pub async fn watch_control(&mut self, watch: &mut Watch) -> anyhow::Result<()> {
        self.control(watch, "watch_control", String::new()).await
    }

    /// Records the next `count` events of a watcher.
    ///
    /// # Errors
    /// They do not come.
    pub async fn watch_events(&mut self, watch: &mut Watch, watch_id: i64, count: usize) -> anyhow::Result<()> {
        let events = watch.next_events(watch_id, count).await?;
        self.write_down("watch_events", format!("{count} of watcher {watch_id}"), format!("{events:#?}"));
        Ok(())
    }

    /// Records the revision of the stream's progress, and that no event is left that was not asked for.
    ///
    /// # Errors
    /// No progress is reported, or there are further events.
    pub async fn watch_progress(&mut self, watch: &mut Watch) -> anyhow::Result<()> {
        let revision = watch.progress().await?;
        ensure!(watch.unread_events() == 0, "events that nobody expected: {:?}", watch.events);
        self.write_down("watch_progress", String::new(), format!("progress at revision {revision}"));
        Ok(())
    }

    async fn control(&mut self, watch: &mut Watch, method: &str, shown: String) -> anyhow::Result<()> {
        let mut message = watch.next_control().await?;
        message.normalise();
        self.write_down(method, shown, format!("{message:#?}"));
        Ok(())
    }
}
