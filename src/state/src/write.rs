//! Changes of key-value pairs, on top of the batch that is being applied.

use std::ops::ControlFlow;

use bytes::Bytes;
use cairn_api::mvccpb::KeyValue;
use cairn_storage::{Column, View};
use cairn_types::limits::MAX_WATCH_RING_BYTES;
use cairn_types::{KeyRange, LeaseId, Revision};

use crate::error::StateError;
use crate::event::{ChangeEvent, EventKind, RevisionEvents};
use crate::overlay::Overlay;
use crate::read::Reader;
use crate::record::{Change, Live, encode_kind, encode_live, kv_of_change};
use crate::schema::{hist_key, lease_attachment, prefix_end, rev_key};

/// The changes of one request; all share one main revision, which is used up only if there is any.
pub(crate) struct Writer<'a> {
    overlay: &'a mut Overlay,
    /// The store revision before this request.
    begin: i64,
    compacted: i64,
    events: Vec<ChangeEvent>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(overlay: &'a mut Overlay, begin: i64, compacted: i64) -> Self {
        Self { overlay, begin, compacted, events: Vec::new() }
    }

    /// Reads that see what this request changed so far.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { view: self.overlay, revision: self.revision(), compacted: self.compacted }
    }

    /// The store revision as of now: one more than before if something changed.
    pub(crate) fn revision(&self) -> i64 {
        if self.events.is_empty() { self.begin } else { self.begin + 1 }
    }

    /// Ends the request: its events, if it changed anything.
    pub(crate) fn finish(self) -> Option<RevisionEvents> {
        let revision = self.begin + 1;
        (!self.events.is_empty()).then_some(RevisionEvents { revision, events: self.events })
    }

    fn next(&self) -> Revision {
        let sub = u32::try_from(self.events.len()).expect("a request of limited size changes fewer than 2^32 keys");
        Revision::new(self.begin + 1, sub)
    }

    /// Sets a key; `lease` 0 detaches it from the lease that it had.
    pub(crate) fn put(&mut self, key: Bytes, value: Bytes, lease: LeaseId) -> Result<(), StateError> {
        let revision = self.next();
        let previous = self.previous(&key)?;
        let kv = KeyValue {
            create_revision: previous.as_ref().map_or(revision.main, |(kv, _)| kv.create_revision),
            mod_revision: revision.main,
            version: previous.as_ref().map_or(1, |(kv, _)| kv.version + 1),
            key,
            value,
            lease: lease.0,
        };
        let old_lease = previous.as_ref().map_or(LeaseId::NONE, |(kv, _)| LeaseId(kv.lease));
        self.move_attachment(&kv.key, old_lease, lease);
        let encoded = self.record(EventKind::Put, revision, &kv, previous);
        self.overlay.put(Column::Cur, kv.key.clone(), encode_live(&kv, &encoded, revision.sub));
        Ok(())
    }

    /// Deletes the keys of a range; answers how many there were.
    pub(crate) fn delete_range(&mut self, range: &KeyRange) -> Result<i64, StateError> {
        let keys = self.keys(range)?;
        let deleted = i64::try_from(keys.len()).expect("a count of keys in memory fits");
        for key in keys {
            self.delete(key)?;
        }
        Ok(deleted)
    }

    /// Deletes all keys that are attached to a lease, in key order.
    pub(crate) fn delete_attached(&mut self, lease: LeaseId) -> Result<(), StateError> {
        for key in attached_keys(self.overlay, lease)? {
            self.delete(key)?;
        }
        Ok(())
    }

    fn keys(&self, range: &KeyRange) -> Result<Vec<Bytes>, StateError> {
        if let KeyRange::Single(key) = range {
            let present = self.overlay.get(Column::Cur, key)?.is_some();
            return Ok(present.then(|| key.clone()).into_iter().collect());
        }
        let mut keys = Vec::new();
        let reader = self.reader();
        reader.visit(range, reader.revision, &mut |found| {
            let crate::read::Found::Live(value) = found else { unreachable!("the latest revision is in cur only") };
            keys.push(Live::decode(Bytes::copy_from_slice(value))?.key_value()?.key);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(keys)
    }

    fn delete(&mut self, key: Bytes) -> Result<(), StateError> {
        let Some(previous) = self.previous(&key)? else { return Ok(()) };
        let revision = self.next();
        self.move_attachment(&key, LeaseId(previous.0.lease), LeaseId::NONE);
        let tombstone = KeyValue { key: key.clone(), mod_revision: revision.main, ..Default::default() };
        self.record(EventKind::Delete, revision, &tombstone, Some(previous));
        self.overlay.put(Column::Hist, hist_key(&key, revision), vec![encode_kind(EventKind::Delete)]);
        self.overlay.delete(Column::Cur, key);
        Ok(())
    }

    /// The live version as `cur` has it (without a large value).
    fn previous(&self, key: &[u8]) -> Result<Option<(KeyValue, Live)>, StateError> {
        let Some(value) = self.overlay.get(Column::Cur, key)? else { return Ok(None) };
        let live = Live::decode(value)?;
        Ok(Some((live.key_value()?, live)))
    }

    /// Writes the change to `rev`, its predecessor to `hist`, and the event; answers the encoded KeyValue.
    fn record(
        &mut self,
        kind: EventKind,
        revision: Revision,
        kv: &KeyValue,
        previous: Option<(KeyValue, Live)>,
    ) -> Bytes {
        let prev = previous.as_ref().map(|(kv, live)| Revision::new(kv.mod_revision, live.sub));
        let change = Change::encode(kind, prev, kv);
        let encoded = kv_of_change(&change);
        self.overlay.put(Column::Rev, rev_key(revision), change);
        if let Some(prev) = prev {
            self.overlay.put(Column::Hist, hist_key(&kv.key, prev), vec![encode_kind(EventKind::Put)]);
        }
        let prev_kv = previous.and_then(|(_, live)| (!live.pointer).then_some(live.kv));
        let prev_kv = prev_kv.filter(|prev_kv| self.hold_previous(prev_kv.len()));
        self.events.push(ChangeEvent {
            kind,
            key: key_of_kv(&encoded, &kv.key),
            kv: encoded.clone(),
            created: kind == EventKind::Put && prev.is_none(),
            prev,
            prev_kv,
        });
        encoded
    }

    /// Whether the events of the batch may hold so many bytes more of previous versions: not where a deletion of many
    /// keys would read the values of all of them into memory; who wants them then finds them in the store.
    fn hold_previous(&mut self, bytes: usize) -> bool {
        let held = self.overlay.previous_bytes + bytes;
        let fits = held <= MAX_WATCH_RING_BYTES;
        if fits {
            self.overlay.previous_bytes = held;
        }
        fits
    }

    fn move_attachment(&mut self, key: &[u8], from: LeaseId, to: LeaseId) {
        if from == to {
            return;
        }
        if from != LeaseId::NONE {
            self.overlay.delete(Column::Meta, lease_attachment(from, key));
        }
        if to != LeaseId::NONE {
            self.overlay.put(Column::Meta, lease_attachment(to, key), Bytes::new());
        }
    }
}

/// The key within an encoded KeyValue, whose first field it is. The request's own bytes are part of the whole Raft entry,
/// which an event would keep in memory for as long as it is in the ring.
fn key_of_kv(encoded: &Bytes, key: &Bytes) -> Bytes {
    let start = 1 + prost::length_delimiter_len(key.len());
    match encoded.get(start..start + key.len()) {
        Some(found) if found == key.as_ref() => encoded.slice(start..start + key.len()),
        _ => Bytes::copy_from_slice(key),
    }
}

/// The keys that are attached to a lease, in key order.
pub(crate) fn attached_keys(view: &dyn View, lease: LeaseId) -> Result<Vec<Bytes>, StateError> {
    let prefix = lease_attachment(lease, &[]);
    let mut cursor = view.scan(Column::Meta, &prefix, prefix_end(&prefix).as_deref())?;
    let mut keys = Vec::new();
    while cursor.advance()? {
        keys.push(Bytes::copy_from_slice(&cursor.key()[prefix.len()..]));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cairn_storage::{Engine, MemoryEngine};

    use super::*;

    fn overlay() -> Overlay {
        Overlay::new(MemoryEngine::new().view().expect("the memory engine has views"))
    }

    fn put(writer: &mut Writer<'_>, key: Bytes, value: Bytes) {
        writer.put(key, value, LeaseId::NONE).expect("the memory engine does not fail");
    }

    #[test]
    fn an_event_does_not_keep_the_entry_in_memory_that_it_came_with() {
        let mut overlay = overlay();
        let mut writer = Writer::new(&mut overlay, 1, -1);
        let entry = Bytes::from(vec![b'k'; 1 << 20]);
        for length in [1, 127, 128, 20_000] {
            put(&mut writer, entry.slice(1_000..1_000 + length), Bytes::new());
        }
        writer.delete_range(&KeyRange::all()).unwrap();
        let events = writer.finish().unwrap().events;
        drop(overlay);
        assert_eq!(events.len(), 8);
        assert!(entry.is_unique(), "an event shares the memory of the whole entry");
        assert!(events.iter().all(|event| !event.key.is_empty() && event.key.iter().all(|byte| *byte == b'k')));
    }

    #[test]
    fn the_deletion_of_much_does_not_hold_all_that_was_deleted() {
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        let mut overlay = Overlay::new(engine.view().unwrap());
        let value = Bytes::from(vec![0; cairn_types::limits::INLINE_VALUE_MAX_BYTES - 1]);
        let keys = 2 * MAX_WATCH_RING_BYTES / value.len();
        let mut writer = Writer::new(&mut overlay, 1, -1);
        (0..keys).for_each(|key| put(&mut writer, Bytes::from(format!("{key:08}")), value.clone()));
        writer.finish().unwrap();
        let mut writer = Writer::new(&mut overlay, 2, -1);
        assert_eq!(writer.delete_range(&KeyRange::all()).unwrap(), i64::try_from(keys).unwrap());
        let events = writer.finish().unwrap().events;
        let held: usize = events.iter().filter_map(|event| event.prev_kv.as_ref()).map(Bytes::len).sum();
        assert!(held > MAX_WATCH_RING_BYTES / 2 && held <= MAX_WATCH_RING_BYTES, "{held}");
        assert!(events.iter().all(|event| event.prev.is_some()), "the store still knows them");
    }
}
