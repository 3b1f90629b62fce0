//! The wire form of events and responses, so that an event is encoded once however many receive it.
//!
//! Contract: what [`WatchOut::encode`] writes is one `etcdserverpb.WatchResponse`. The shared part is the event as an
//! element of the response's `events` field, tag and length included; what differs between receivers (header, watch id,
//! flags) is a prefix of some thirty bytes, written when the response is sent.
//!
//! Left out: the gRPC frame around it.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use cairn_api::etcdserverpb as pb;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::History;
use crate::error::ReadError;
use crate::event::{ChangeEvent, EventKind, RevisionEvents};

/// `WatchResponse.events`, `Event.type`, `Event.kv`, `Event.prev_kv`.
const EVENTS_TAG: u32 = 11;
const TYPE_TAG: u32 = 1;
const KV_TAG: u32 = 2;
const PREV_KV_TAG: u32 = 3;
/// `Event.EventType.DELETE`; PUT is 0 and therefore not written.
const TYPE_DELETE: u64 = 1;
/// What a queued response takes beside its events, in bytes, roughly.
const OUT_OVERHEAD_BYTES: usize = 96;
/// What a response's header takes on the wire at most, roughly.
const HEADER_BYTES: usize = 40;

/// One event, encoded on first use, with and without the previous version.
#[derive(Debug, Default)]
struct Encoded {
    plain: OnceLock<Bytes>,
    with_prev: OnceLock<Bytes>,
}

/// The events of one revision, shared by all shards and watchers.
#[derive(Debug)]
pub(super) struct SharedRevision {
    source: Arc<RevisionEvents>,
    encoded: Box<[Encoded]>,
}

impl SharedRevision {
    pub(super) fn new(source: Arc<RevisionEvents>) -> Self {
        let encoded = source.events.iter().map(|_| Encoded::default()).collect();
        Self { source, encoded }
    }

    /// The memory that it takes, in bytes, once it is encoded.
    pub(super) fn cost(source: &RevisionEvents) -> usize {
        source.events.iter().map(|event| 2 * event.size()).sum()
    }

    pub(super) fn revision(&self) -> i64 {
        self.source.revision
    }

    pub(super) fn events(&self) -> &[ChangeEvent] {
        &self.source.events
    }

    /// The event at `ix` as an element of the response's list. The previous version is left out where etcd could not read
    /// it any more: etcd reads at the revision before the event's, which is refused below the compaction. What counts is
    /// the compaction that `history` shows now, wherever the event came from.
    pub(super) fn encoded(&self, ix: usize, prev_kv: bool, history: &dyn History) -> Result<Bytes, ReadError> {
        let (event, encoded) = (&self.source.events[ix], &self.encoded[ix]);
        let readable = prev_kv && self.source.revision > history.compacted();
        let Some(prev) = event.prev.filter(|_| readable) else {
            return Ok(encoded.plain.get_or_init(|| encode_event(event, None)).clone());
        };
        if let Some(bytes) = encoded.with_prev.get() {
            return Ok(bytes.clone());
        }
        let prev = match &event.prev_kv {
            Some(kv) => Some(kv.clone()),
            None => history.kv_at(prev)?,
        };
        Ok(encoded.with_prev.get_or_init(|| encode_event(event, prev.as_deref())).clone())
    }
}

fn field_len(tag: u32, body: usize) -> usize {
    key_len(tag) + encoded_len_varint(body as u64) + body
}

fn encode_event(event: &ChangeEvent, prev_kv: Option<&[u8]>) -> Bytes {
    let kind = if event.kind == EventKind::Delete { key_len(TYPE_TAG) + encoded_len_varint(TYPE_DELETE) } else { 0 };
    let body = kind + field_len(KV_TAG, event.kv.len()) + prev_kv.map_or(0, |prev| field_len(PREV_KV_TAG, prev.len()));
    let mut buffer = BytesMut::with_capacity(field_len(EVENTS_TAG, body));
    encode_key(EVENTS_TAG, WireType::LengthDelimited, &mut buffer);
    encode_varint(body as u64, &mut buffer);
    if event.kind == EventKind::Delete {
        encode_key(TYPE_TAG, WireType::Varint, &mut buffer);
        encode_varint(TYPE_DELETE, &mut buffer);
    }
    for (tag, kv) in [(KV_TAG, Some(event.kv.as_ref())), (PREV_KV_TAG, prev_kv)] {
        if let Some(kv) = kv {
            encode_key(tag, WireType::LengthDelimited, &mut buffer);
            encode_varint(kv.len() as u64, &mut buffer);
            buffer.put_slice(kv);
        }
    }
    buffer.freeze()
}

/// Encoded events; mostly there is only one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Payload {
    #[default]
    None,
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Payload {
    pub(super) fn push(&mut self, event: Bytes) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(event),
            Self::One(first) => Self::Many(vec![first, event]),
            Self::Many(mut events) => {
                events.push(event);
                Self::Many(events)
            }
        };
    }

    pub(super) fn as_slice(&self) -> &[Bytes] {
        match self {
            Self::None => &[],
            Self::One(event) => std::slice::from_ref(event),
            Self::Many(events) => events,
        }
    }
}

/// What fills a response's header beside the revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderIds {
    /// `ResponseHeader.cluster_id`.
    pub cluster_id: u64,
    /// `ResponseHeader.member_id`.
    pub member_id: u64,
    /// `ResponseHeader.raft_term`.
    pub raft_term: u64,
}

/// One response on its way to a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchOut {
    pub(super) watch_id: i64,
    pub(super) revision: i64,
    pub(super) compact_revision: i64,
    pub(super) created: bool,
    pub(super) canceled: bool,
    pub(super) fragment: bool,
    pub(super) cancel_reason: &'static str,
    pub(super) events: Payload,
    pub(super) event_bytes: usize,
}

impl WatchOut {
    /// The memory that it holds while it is queued, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.event_bytes + OUT_OVERHEAD_BYTES
    }

    /// Appends the encoded `WatchResponse`.
    pub fn encode(&self, ids: HeaderIds, buffer: &mut impl BufMut) {
        let HeaderIds { cluster_id, member_id, raft_term } = ids;
        let prefix = pb::WatchResponse {
            header: Some(pb::ResponseHeader { cluster_id, member_id, revision: self.revision, raft_term }),
            watch_id: self.watch_id,
            created: self.created,
            canceled: self.canceled,
            compact_revision: self.compact_revision,
            cancel_reason: self.cancel_reason.to_owned(),
            fragment: self.fragment,
            events: Vec::new(),
        };
        prefix.encode_raw(buffer);
        for event in self.events.as_slice() {
            buffer.put_slice(event);
        }
    }

    /// Parts a response of at least `limit` encoded bytes into several below it, one event each at least; all but the
    /// last say that more follows.
    pub(super) fn fragments(self, limit: usize) -> Vec<Self> {
        let events = match &self.events {
            Payload::Many(events) if self.event_bytes + HEADER_BYTES >= limit => events,
            _ => return vec![self],
        };
        let empty = Self { events: Payload::None, event_bytes: 0, ..self.clone() };
        let mut parts = vec![empty.clone()];
        for event in events {
            let mut part = parts.last_mut().expect("starts with one");
            if part.event_bytes > 0 && part.event_bytes + event.len() + HEADER_BYTES >= limit {
                part.fragment = true;
                parts.push(empty.clone());
                part = parts.last_mut().expect("just added");
            }
            part.event_bytes += event.len();
            part.events.push(event.clone());
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use cairn_api::mvccpb;
    use cairn_types::Revision;

    use super::*;
    use crate::watch::testing::TestHistory;

    fn event(kind: EventKind, prev: Option<i64>) -> ChangeEvent {
        let kv = mvccpb::KeyValue { key: Bytes::from_static(b"k"), mod_revision: 7, ..Default::default() };
        ChangeEvent {
            kind,
            key: kv.key.clone(),
            kv: kv.encode_to_vec().into(),
            created: prev.is_none(),
            prev: prev.map(|main| Revision::new(main, 0)),
            prev_kv: None,
        }
    }

    fn decode(out: &WatchOut, ids: HeaderIds) -> pb::WatchResponse {
        let mut buffer = BytesMut::new();
        out.encode(ids, &mut buffer);
        pb::WatchResponse::decode(buffer.freeze()).expect("what we encode decodes")
    }

    #[test]
    fn a_response_decodes_to_what_went_in() {
        let source = RevisionEvents {
            revision: 7,
            events: vec![event(EventKind::Put, None), event(EventKind::Delete, Some(3))],
        };
        let shared = SharedRevision::new(Arc::new(source));
        let mut history = TestHistory::default();
        history.set_version(3, b"old");
        let mut out = WatchOut { watch_id: 5, revision: 9, ..WatchOut::default() };
        for ix in 0..2 {
            out.events.push(shared.encoded(ix, true, &history).expect("in memory"));
        }
        let ids = HeaderIds { cluster_id: 1, member_id: 2, raft_term: 3 };
        let response = decode(&out, ids);
        assert_eq!(
            response.header,
            Some(pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 9, raft_term: 3 })
        );
        assert_eq!(response.watch_id, 5);
        let [put, delete] = &response.events[..] else { panic!("two events") };
        assert_eq!((put.r#type, &put.prev_kv), (0, &None));
        assert_eq!(put.kv.as_ref().map(|kv| kv.mod_revision), Some(7));
        assert_eq!(delete.r#type, 1);
        assert_eq!(delete.prev_kv.as_ref().map(|kv| kv.value.as_ref()), Some(b"old".as_ref()));
    }

    #[test]
    fn an_event_is_encoded_once_for_all_who_receive_it() {
        let shared =
            SharedRevision::new(Arc::new(RevisionEvents { revision: 7, events: vec![event(EventKind::Put, None)] }));
        let history = TestHistory::default();
        let (first, second) = (shared.encoded(0, false, &history).unwrap(), shared.encoded(0, true, &history).unwrap());
        assert_eq!(first.as_ptr(), second.as_ptr());
    }

    #[test]
    fn the_previous_version_is_left_out_once_it_is_compacted() {
        let carried = ChangeEvent { prev_kv: Some(Bytes::new()), ..event(EventKind::Put, Some(3)) };
        let source = RevisionEvents { revision: 7, events: vec![event(EventKind::Put, Some(3)), carried] };
        let mut history = TestHistory::default();
        history.set_version(3, b"old");
        let shared = SharedRevision::new(Arc::new(source));
        for (compacted, present) in [(6, true), (7, false)] {
            history.compacted = compacted;
            for ix in 0..2 {
                let events = Payload::One(shared.encoded(ix, true, &history).unwrap());
                let response = decode(&WatchOut { events, ..WatchOut::default() }, HeaderIds::default());
                assert_eq!(response.events[0].prev_kv.is_some(), present, "event {ix}, compacted at {compacted}");
            }
        }
    }

    #[test]
    fn fragments_stay_below_the_limit_and_only_the_last_is_final() {
        let events: Vec<_> = (0..10u8).map(|number| Bytes::from(vec![number; 100])).collect();
        let event_bytes = 1_000;
        let whole = WatchOut { events: Payload::Many(events.clone()), event_bytes, ..WatchOut::default() };
        assert_eq!(whole.clone().fragments(event_bytes + HEADER_BYTES + 1).len(), 1);
        let parts = whole.fragments(350);
        assert_eq!(parts.len(), 4);
        assert_eq!(parts.iter().map(|part| part.fragment).collect::<Vec<_>>(), [true, true, true, false]);
        assert_eq!(parts.iter().flat_map(|part| part.events.as_slice()).cloned().collect::<Vec<_>>(), events);
        let large = WatchOut { events: Payload::Many(events), event_bytes, ..WatchOut::default() };
        assert_eq!(large.fragments(10).len(), 10, "an event larger than the limit goes alone");
    }
}
