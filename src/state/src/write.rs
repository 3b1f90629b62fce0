//! Changes of key-value pairs, on top of the batch that is being applied.

use std::ops::ControlFlow;

use bytes::Bytes;
use cairn_api::mvccpb::KeyValue;
use cairn_storage::{Column, View};
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
        self.events.push(ChangeEvent {
            kind,
            key: kv.key.clone(),
            kv: encoded.clone(),
            created: kind == EventKind::Put && prev.is_none(),
            prev,
            prev_kv: previous.and_then(|(_, live)| (!live.pointer).then_some(live.kv)),
        });
        encoded
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
