//! The history of a store, rebuilt from what watchers saw, and the hash that etcd's HashKV has for it. Written from the
//! description of the algorithm and sharing no code with the server, so that an agreement means something.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use cairn_api::mvccpb::event::EventType;
use cairn_api::mvccpb::{Event, KeyValue};
use prost::Message;

/// All changes that a store still has: those after its last compaction, and those before that were live at it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// (main, sub) → the change; a deletion has no value here but its key.
    changes: BTreeMap<(i64, i64), Change>,
    compacted: i64,
}

#[derive(Clone, Debug)]
struct Change {
    deleted: bool,
    kv: KeyValue,
}

impl History {
    /// A store without history.
    #[must_use]
    pub fn new() -> Self {
        Self { changes: BTreeMap::new(), compacted: -1 }
    }

    /// Adds events in the order in which a watcher of the whole key space gets them.
    ///
    /// # Errors
    /// They go back behind what is known.
    pub fn add(&mut self, events: impl IntoIterator<Item = Event>) -> anyhow::Result<()> {
        for event in events {
            let deleted = event.r#type() == EventType::Delete;
            let kv = event.kv.context("an event without a pair")?;
            let (last_main, last_sub) = self.changes.last_key_value().map_or((0, 0), |(&at, _)| at);
            ensure!(kv.mod_revision >= last_main, "revision {} after {last_main}", kv.mod_revision);
            let sub = if kv.mod_revision == last_main { last_sub + 1 } else { 0 };
            self.changes.insert((kv.mod_revision, sub), Change { deleted, kv });
        }
        Ok(())
    }

    /// The newest revision that changed something, or 1.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.changes.last_key_value().map_or(1, |(&(main, _), _)| main).max(self.compacted).max(1)
    }

    /// The last compaction, or -1.
    #[must_use]
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Forgets what a completed compaction at `revision` deletes.
    pub fn compact(&mut self, revision: i64) {
        let keep = self.live_at(revision);
        self.changes.retain(|at, change| at.0 > revision || keep.contains(at) || (change.deleted && at.0 == revision));
        self.compacted = self.compacted.max(revision);
    }

    /// Where the versions that are live at a revision were written.
    fn live_at(&self, revision: i64) -> BTreeSet<(i64, i64)> {
        let mut live: BTreeMap<&Bytes, (i64, i64)> = BTreeMap::new();
        for (&at, change) in self.changes.range(..(revision + 1, 0)) {
            if change.deleted {
                live.remove(&change.kv.key);
            } else {
                live.insert(&change.kv.key, at);
            }
        }
        live.into_values().collect()
    }

    /// The pairs that are live at a revision, by key.
    #[must_use]
    pub fn pairs_at(&self, revision: i64) -> BTreeMap<Bytes, KeyValue> {
        let live = self.live_at(revision);
        live.iter().map(|at| (self.changes[at].kv.key.clone(), self.changes[at].kv.clone())).collect()
    }

    /// etcd's HashKV at a revision: CRC-32C over `key` and every stored change up to there as etcd's file has it. Of
    /// what is not newer than the compaction only versions live at `revision` count (all, if nothing is live there),
    /// and never a tombstone at the compaction itself.
    #[must_use]
    pub fn hash_kv(&self, revision: i64) -> u32 {
        let live = self.live_at(revision);
        let mut hash = crc32c::crc32c(b"key");
        for (at, change) in self.changes.range(..(revision + 1, 0)) {
            let skip = at.0 <= self.compacted && !live.is_empty() && !live.contains(at);
            if skip || (change.deleted && at.0 == self.compacted) {
                continue;
            }
            hash = crc32c::crc32c_append(hash, &stored(*at, change));
        }
        hash
    }
}

fn stored((main, sub): (i64, i64), change: &Change) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_i64(main);
    bytes.put_u8(b'_');
    bytes.put_i64(sub);
    let kv = if change.deleted {
        bytes.put_u8(b't');
        KeyValue { key: change.kv.key.clone(), ..KeyValue::default() }
    } else {
        change.kv.clone()
    };
    bytes.put_slice(&kv.encode_to_vec());
    bytes
}
