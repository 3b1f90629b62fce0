//! Watch streams in scripts: one shard, driven step by step as the server's thread does it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::watch_create_request::FilterType;
use cairn_api::etcdserverpb::watch_request::RequestUnion;
use cairn_api::mvccpb::event::EventType;
use cairn_state::Store;
use cairn_state::watch::{Feed, HeaderIds, Outbox, Shard, StreamId};
use cairn_types::limits::{DEFAULT_MAX_REQUEST_BYTES, GRPC_OVERHEAD_BYTES, MAX_WATCH_QUEUE_BYTES};
use prost::Message;

use crate::commands;
use crate::render;
use crate::words::{at, flag, number, option};

const TICK_MS: u64 = 1_000;

/// The streams of a script. A restart ends them all.
pub(crate) struct Watching {
    shard: Shard,
    streams: BTreeMap<u32, Arc<Outbox>>,
    now_ms: u64,
}

impl Default for Watching {
    fn default() -> Self {
        let limit = DEFAULT_MAX_REQUEST_BYTES + GRPC_OVERHEAD_BYTES;
        Self { shard: Shard::new(limit as usize), streams: BTreeMap::new(), now_ms: 0 }
    }
}

impl Watching {
    /// Runs one `watch …` command.
    pub(crate) fn answer(&mut self, store: &Store, words: &[&str]) -> String {
        let (view, ring) = (store.view(), store.ring());
        let feed = Feed { ring, history: view.as_ref(), now_ms: self.now_ms };
        match words[1] {
            "open" => self.open(at(words, 2), option(words, "queue")),
            "close" => self.shard.close(StreamId(at(words, 2)), ring),
            "create" => self.request(words, RequestUnion::CreateRequest(create(&words[2..])), feed),
            "cancel" => {
                let cancel = pb::WatchCancelRequest { watch_id: at(words, 3) };
                self.request(words, RequestUnion::CancelRequest(cancel), feed);
            }
            "progress" => self.request(words, RequestUnion::ProgressRequest(pb::WatchProgressRequest {}), feed),
            "deliver" => self.shard.deliver(feed).expect("the engine does not fail"),
            "catchup" => {
                let more = self.shard.catch_up(feed).expect("the engine does not fail");
                return if more { "more\n" } else { "idle\n" }.to_owned();
            }
            "run" => {
                self.shard.deliver(feed).expect("the engine does not fail");
                while self.shard.catch_up(feed).expect("the engine does not fail") {}
            }
            "tick" => {
                self.now_ms += at::<u64>(words, 2);
                self.shard.tick(self.now_ms);
            }
            "read" => return self.read(at(words, 2), option(words, "max")),
            "ready" => return self.shard.take_ready().iter().map(|id| format!("{}\n", id.0)).collect(),
            "stats" => {
                let stats = self.shard.stats();
                return format!("streams={} watchers={} behind={}\n", stats.streams, stats.watchers, stats.behind);
            }
            other => panic!("no command is called watch {other}"),
        }
        String::new()
    }

    fn open(&mut self, id: u32, queue: Option<&str>) {
        let bytes = queue.map_or(MAX_WATCH_QUEUE_BYTES, |bytes| bytes.parse().expect("a number of bytes"));
        let outbox = Arc::new(Outbox::new(bytes));
        self.shard.open(StreamId(id), outbox.clone(), TICK_MS, self.now_ms);
        self.streams.insert(id, outbox);
    }

    fn request(&mut self, words: &[&str], union: RequestUnion, feed: Feed<'_>) {
        self.shard.request(StreamId(at(words, 2)), pb::WatchRequest { request_union: Some(union) }, feed);
    }

    /// What the client of a stream takes in: at most `max` responses.
    fn read(&mut self, id: u32, max: Option<&str>) -> String {
        let max = max.map_or(usize::MAX, |max| max.parse().expect("a number"));
        let mut text = String::new();
        for _ in 0..max {
            let Some(popped) = self.streams[&id].pop() else { break };
            let mut encoded = Vec::new();
            popped.response.encode(HeaderIds { cluster_id: 1, member_id: 2, raft_term: 3 }, &mut encoded);
            let response = pb::WatchResponse::decode(encoded.as_slice()).expect("a response");
            text += &show(&response);
            if popped.resume {
                self.shard.drained(StreamId(id));
            }
        }
        text
    }
}

/// `STREAM KEY [END] [start=N] [id=N] [prev] [progress] [fragment] [noput] [nodelete]`.
fn create(words: &[&str]) -> pb::WatchCreateRequest {
    let own = ["progress", "fragment", "noput", "nodelete"];
    let plain: Vec<_> = words.iter().copied().filter(|word| !own.contains(word)).collect();
    let range = commands::range(&plain);
    let filters = [("noput", FilterType::Noput), ("nodelete", FilterType::Nodelete)];
    pb::WatchCreateRequest {
        key: range.key,
        range_end: range.range_end,
        start_revision: number(words, "start"),
        progress_notify: flag(words, "progress"),
        filters: filters.iter().filter(|(name, _)| flag(words, name)).map(|(_, filter)| *filter as i32).collect(),
        prev_kv: flag(words, "prev"),
        watch_id: number(words, "id"),
        fragment: flag(words, "fragment"),
    }
}

fn show(response: &pb::WatchResponse) -> String {
    let header = response.header.as_ref().expect("a header");
    let mut text = format!("id={} rev={}", response.watch_id, header.revision);
    let flags = [(response.created, "created"), (response.canceled, "canceled"), (response.fragment, "fragment")];
    for (_, name) in flags.iter().filter(|(set, _)| *set) {
        let _ = write!(text, " {name}");
    }
    if response.compact_revision != 0 {
        let _ = write!(text, " compact_revision={}", response.compact_revision);
    }
    if !response.cancel_reason.is_empty() {
        let _ = write!(text, " reason: {}", response.cancel_reason);
    }
    text.push('\n');
    for event in &response.events {
        let kind = if event.r#type() == EventType::Put { "put" } else { "delete" };
        let kv = event.kv.as_ref().expect("an event has its pair");
        let _ = writeln!(text, "  {kind} {}", render::pair(kv));
        if let Some(prev) = &event.prev_kv {
            let _ = writeln!(text, "    prev {}", render::pair(prev));
        }
    }
    text
}
