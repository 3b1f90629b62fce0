//! A store for tests of this module.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_api::mvccpb;
use cairn_types::Revision;
use prost::Message;

use super::History;
use crate::error::ReadError;
use crate::event::{ChangeEvent, EventKind, RevisionEvents};

/// A whole history in memory; revisions are consecutive from 2.
#[derive(Debug)]
pub(super) struct TestHistory {
    pub(super) revisions: Vec<RevisionEvents>,
    pub(super) compacted: i64,
    versions: BTreeMap<Revision, Bytes>,
    live: BTreeMap<Bytes, Revision>,
}

impl Default for TestHistory {
    fn default() -> Self {
        Self { revisions: Vec::new(), compacted: -1, versions: BTreeMap::new(), live: BTreeMap::new() }
    }
}

impl TestHistory {
    /// Makes `kv_at` find a version.
    pub(super) fn set_version(&mut self, main: i64, value: &'static [u8]) {
        let kv = mvccpb::KeyValue { value: Bytes::from_static(value), mod_revision: main, ..Default::default() };
        self.versions.insert(Revision::new(main, 0), kv.encode_to_vec().into());
    }

    /// Applies one revision: each key once, `Some(value)` puts and `None` deletes. Nothing happens without a change.
    pub(super) fn write(&mut self, changes: &[(Bytes, Option<Bytes>)]) {
        let main = self.revision() + 1;
        let mut events = Vec::new();
        for (key, value) in changes {
            let prev = self.live.get(key).copied();
            if value.is_none() && prev.is_none() {
                continue;
            }
            let revision = Revision::new(main, u32::try_from(events.len()).expect("few"));
            let kv = mvccpb::KeyValue {
                key: key.clone(),
                value: value.clone().unwrap_or_default(),
                mod_revision: main,
                ..Default::default()
            };
            let (kv, kind) =
                (Bytes::from(kv.encode_to_vec()), value.as_ref().map_or(EventKind::Delete, |_| EventKind::Put));
            match kind {
                EventKind::Put => {
                    self.versions.insert(revision, kv.clone());
                    self.live.insert(key.clone(), revision);
                }
                EventKind::Delete => {
                    self.live.remove(key);
                }
            }
            let created = prev.is_none();
            // Half of the events carry the version that they superseded, as in the real store.
            let prev_kv = prev.filter(|_| main % 2 == 0).and_then(|prev| self.versions.get(&prev).cloned());
            events.push(ChangeEvent { kind, key: key.clone(), kv, created, prev, prev_kv });
        }
        if !events.is_empty() {
            self.revisions.push(RevisionEvents { revision: main, events });
        }
    }
}

/// The same history as an older view shows it.
#[derive(Debug)]
pub(super) struct AsOf<'a>(pub(super) i64, pub(super) &'a TestHistory);

impl History for AsOf<'_> {
    fn revision(&self) -> i64 {
        self.0
    }

    fn compacted(&self) -> i64 {
        self.1.compacted
    }

    fn scan(
        &self,
        from: i64,
        visit: &mut dyn FnMut(RevisionEvents) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        self.1.scan(from, &mut |events| if events.revision > self.0 { Ok(false) } else { visit(events) })
    }

    fn kv_at(&self, revision: Revision) -> Result<Option<Bytes>, ReadError> {
        if revision.main > self.0 { Ok(None) } else { self.1.kv_at(revision) }
    }
}

impl History for TestHistory {
    fn revision(&self) -> i64 {
        self.revisions.last().map_or(1, |events| events.revision)
    }

    fn compacted(&self) -> i64 {
        self.compacted
    }

    fn scan(
        &self,
        from: i64,
        visit: &mut dyn FnMut(RevisionEvents) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        assert!(from >= self.compacted, "nobody reads below the compaction");
        for events in self.revisions.iter().filter(|events| events.revision >= from) {
            if !visit(events.clone())? {
                break;
            }
        }
        Ok(())
    }

    fn kv_at(&self, revision: Revision) -> Result<Option<Bytes>, ReadError> {
        Ok(self.versions.get(&revision).cloned())
    }
}
