//! A change as watchers see it: encoded once, when it was applied, and shared by all who receive it.

use bytes::Bytes;
use cairn_types::Revision;

/// What happened to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// Created or modified.
    Put,
    /// Deleted.
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeEvent {
    /// What happened.
    pub kind: EventKind,
    /// To which key.
    pub key: Bytes,
    /// The encoded `mvccpb.KeyValue` as the event carries it; of a deletion: key and mod revision only.
    pub kv: Bytes,
    /// Whether the key did not exist before.
    pub created: bool,
    /// The version that this change superseded.
    pub prev: Option<Revision>,
    /// That version, encoded, where it was at hand; otherwise [`crate::ReadView::kv_at`] has it.
    pub prev_kv: Option<Bytes>,
}

impl ChangeEvent {
    /// The memory that it holds, in bytes, as far as it is not shared.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.kv.len() + self.prev_kv.as_ref().map_or(0, Bytes::len)
    }
}

/// All changes of one store revision, in the order of their `sub`; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionEvents {
    /// The store revision.
    pub revision: i64,
    /// Its changes.
    pub events: Vec<ChangeEvent>,
}
