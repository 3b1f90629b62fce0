//! The read side: what was applied, for any number of readers at once.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use bytes::{Buf, Bytes};
use cairn_api::etcdserverpb as pb;
use cairn_api::mvccpb::KeyValue;
use cairn_storage::{Batch, Column, Cursor, Engine, EngineError, View};
use cairn_types::limits::MAX_WATCH_RING_BYTES;
use cairn_types::{LeaseId, LogIndex, Revision, Term};

use crate::error::{ReadError, StateError};
use crate::hash::{self, HashKv};
use crate::lease::{LeaseRecord, Lessor};
use crate::read::{EventCursor, Reader};
use crate::schema::{self, META_ALARM, META_APPLIED, META_LEASE, META_MEMBER};
use crate::watch::WatchRing;
use crate::{txn, write};

/// What readers share with the apply thread, which replaces the view after every batch.
pub struct Store {
    engine: Arc<dyn Engine>,
    view: ArcSwap<ReadView>,
    ring: WatchRing,
    lessor: Lessor,
    /// The last compaction whose deletions are done.
    compaction_done: AtomicI64,
    /// Held while a batch is written and shown, so that whoever takes a view meanwhile cannot see it half.
    changing: Mutex<()>,
}

impl Store {
    pub(crate) fn new(engine: Arc<dyn Engine>, view: ReadView, lessor: Lessor, compaction_done: i64) -> Self {
        let ring = WatchRing::new(view.revision, MAX_WATCH_RING_BYTES);
        let compaction_done = AtomicI64::new(compaction_done);
        Self { engine, view: ArcSwap::from_pointee(view), ring, lessor, compaction_done, changing: Mutex::new(()) }
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().expect("nobody panics while the view changes")
    }

    /// Writes a batch and shows the state that it makes.
    pub(crate) fn commit(&self, batch: &Batch, shown: Shown) -> Result<(), StateError> {
        let _changing = self.change();
        self.engine.write(batch)?;
        self.view.store(Arc::new(ReadView::new(shown, self.engine.view()?)));
        Ok(())
    }

    /// Shows the same state by a new view of the engine: an old one keeps the engine from giving back the space of what
    /// was deleted since.
    pub(crate) fn renew_view(&self) -> Result<(), StateError> {
        let _changing = self.change();
        let shown = self.view.load().shown();
        self.view.store(Arc::new(ReadView::new(shown, self.engine.view()?)));
        Ok(())
    }

    pub(crate) fn set_compaction_done(&self, revision: i64) {
        self.compaction_done.store(revision, Ordering::Release);
    }

    /// The newest applied state. It holds every change whose answer was sent before this call.
    #[must_use]
    pub fn view(&self) -> Arc<ReadView> {
        self.view.load_full()
    }

    /// The latest events, for watchers that keep up.
    #[must_use]
    pub fn ring(&self) -> &WatchRing {
        &self.ring
    }

    /// The leases.
    #[must_use]
    pub fn lessor(&self) -> &Lessor {
        &self.lessor
    }

    /// The engine below, for sizes, flushes and checkpoints.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// The applied index that a crash right now would leave behind: the Raft log is needed from the next entry on, and
    /// only what is at or below this index may be released.
    ///
    /// # Errors
    /// Where the engine fails.
    pub fn durable_applied(&self) -> Result<LogIndex, StateError> {
        let value = self.engine.persisted(Column::Meta, META_APPLIED)?;
        Ok(value.map(|value| decode_applied(&value)).transpose()?.unwrap_or_default().0)
    }

    /// The last compaction whose deletions are done; below the first it is -1.
    #[must_use]
    pub fn compaction_done(&self) -> i64 {
        self.compaction_done.load(Ordering::Acquire)
    }

    /// Whether everything that a compaction at `revision` deletes is gone (for `CompactionRequest.physical`).
    #[must_use]
    pub fn is_compacted_physically(&self, revision: i64) -> bool {
        self.compaction_done() >= revision
    }
}

/// The state as of one applied index; what is applied later does not change it.
pub struct ReadView {
    /// The store revision.
    pub revision: i64,
    /// The revision of the last accepted compaction; -1 before the first, as in etcd.
    pub compacted: i64,
    /// The last entry that was applied.
    pub applied: LogIndex,
    /// The term of that entry.
    pub applied_term: Term,
    pub(crate) view: Arc<dyn View>,
}

/// What a view shows, beside the data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) applied: LogIndex,
    pub(crate) applied_term: Term,
}

impl ReadView {
    pub(crate) fn new(shown: Shown, view: Arc<dyn View>) -> Self {
        let Shown { revision, compacted, applied, applied_term } = shown;
        Self { revision, compacted, applied, applied_term, view }
    }

    fn shown(&self) -> Shown {
        let Self { revision, compacted, applied, applied_term, .. } = *self;
        Shown { revision, compacted, applied, applied_term }
    }

    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { view: self.view.as_ref(), revision: self.revision, compacted: self.compacted }
    }

    /// Answers a Range request, which the caller has validated. The header has the revision only.
    ///
    /// # Errors
    /// `required revision has been compacted`, `… is a future revision`; a failed engine.
    pub fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, ReadError> {
        self.reader().range(request)
    }

    /// Calls `visit` with the pairs of the request's range at its revision, in key order, until it breaks; answers how
    /// many were visited. Limit, sort and filters are the caller's. For lists that are too long to be held at once.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn visit(
        &self,
        request: &pb::RangeRequest,
        visit: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
    ) -> Result<i64, ReadError> {
        self.reader().visit_pairs(request, visit)
    }

    /// Answers a Range request as [`range`](Self::range) does, if that needs no disk; else `None`.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn range_from_memory(&self, request: &pb::RangeRequest) -> Result<Option<pb::RangeResponse>, ReadError> {
        let view = FromMemory(self.view.as_ref());
        match (Reader { view: &view, ..self.reader() }).range(request) {
            Err(ReadError::State(StateError::Storage(EngineError::NotInMemory))) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Answers a transaction that only reads ([`crate::validate::is_read_only`]). The header has the revision only.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    ///
    /// # Panics
    /// Where the transaction does not only read.
    pub fn read_txn(&self, request: &pb::TxnRequest) -> Result<pb::TxnResponse, ReadError> {
        txn::read_txn(&self.reader(), request)
    }

    /// The hash over all changes up to `revision` (0: up to now), equal to etcd's over the same history.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn hash_kv(&self, revision: i64) -> Result<HashKv, ReadError> {
        hash::hash_kv(&self.reader(), revision)
    }

    /// A hash over everything stored, to compare members of one version at one applied index.
    ///
    /// # Errors
    /// Where the engine fails.
    pub fn hash(&self) -> Result<u32, ReadError> {
        Ok(hash::hash_all(self.view.as_ref())?)
    }

    /// The changes from revision `from` (inclusive) to this view's, for watchers that are behind the ring. The caller
    /// compares `from` with [`compacted`](Self::compacted).
    ///
    /// # Errors
    /// Where the engine fails.
    pub fn events(&self, from: i64) -> Result<EventCursor<'_>, ReadError> {
        Ok(EventCursor::new(self.reader(), from)?)
    }

    /// The encoded KeyValue of one version; `None` where a compaction took it.
    ///
    /// # Errors
    /// Where the engine fails or the data is damaged.
    pub fn kv_at(&self, revision: Revision) -> Result<Option<Bytes>, ReadError> {
        Ok(self.reader().change(revision)?.map(|change| change.kv))
    }

    /// The alarms that are raised, by type and member.
    ///
    /// # Errors
    /// Where the engine fails or the data is damaged.
    pub fn alarms(&self) -> Result<Vec<pb::AlarmMember>, ReadError> {
        Ok(load_alarms(self.view.as_ref())?)
    }

    /// The members, by id.
    ///
    /// # Errors
    /// Where the engine fails or the data is damaged.
    pub fn members(&self) -> Result<Vec<pb::Member>, ReadError> {
        Ok(load_members(self.view.as_ref())?)
    }

    /// The keys that are attached to a lease, in key order.
    ///
    /// # Errors
    /// Where the engine fails.
    pub fn lease_keys(&self, lease: LeaseId) -> Result<Vec<Bytes>, ReadError> {
        Ok(write::attached_keys(self.view.as_ref(), lease)?)
    }
}

/// A view that answers only what needs no disk.
struct FromMemory<'a>(&'a dyn View);

impl View for FromMemory<'_> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.0.get_from_memory(column, key)
    }

    /// A scan may need any number of blocks, so that it is never tried.
    fn scan<'a>(&'a self, _: Column, _: &[u8], _: Option<&[u8]>) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        Err(EngineError::NotInMemory)
    }
}

/// Calls `entry` with what follows the prefix in each key of `meta` that begins with it, and the value.
pub(crate) fn each_meta(
    view: &dyn View,
    prefix: &[u8],
    mut entry: impl FnMut(&[u8], &[u8]) -> Result<(), StateError>,
) -> Result<(), StateError> {
    let mut cursor = view.scan(Column::Meta, prefix, schema::prefix_end(prefix).as_deref())?;
    while cursor.advance()? {
        entry(&cursor.key()[prefix.len()..], cursor.value())?;
    }
    Ok(())
}

pub(crate) fn load_members(view: &dyn View) -> Result<Vec<pb::Member>, StateError> {
    let mut members = Vec::new();
    each_meta(view, META_MEMBER, |_, value| {
        let member = <pb::Member as prost::Message>::decode(value);
        members.push(member.map_err(|error| StateError::damaged("a member", error.to_string()))?);
        Ok(())
    })?;
    Ok(members)
}

pub(crate) fn load_alarms(view: &dyn View) -> Result<Vec<pb::AlarmMember>, StateError> {
    let mut alarms = Vec::new();
    each_meta(view, META_ALARM, |mut key, _| {
        if key.len() != 9 {
            return Err(StateError::damaged("an alarm", format!("a key of {} bytes, not 9", key.len())));
        }
        alarms.push(pb::AlarmMember { alarm: i32::from(key.get_u8()), member_id: key.get_u64() });
        Ok(())
    })?;
    Ok(alarms)
}

pub(crate) fn load_leases(view: &dyn View, lessor: &Lessor) -> Result<(), StateError> {
    each_meta(view, META_LEASE, |mut key, value| {
        if key.len() != 8 {
            return Err(StateError::damaged("a lease", format!("a key of {} bytes, not 8", key.len())));
        }
        lessor.restore(LeaseId(key.get_i64()), LeaseRecord::decode(value)?);
        Ok(())
    })
}

pub(crate) fn decode_applied(mut value: &[u8]) -> Result<(LogIndex, Term), StateError> {
    if value.len() != 16 {
        return Err(StateError::damaged("the applied index", format!("{} bytes, not 16", value.len())));
    }
    Ok((LogIndex(value.get_u64()), Term(value.get_u64())))
}

pub(crate) fn get_i64(view: &dyn View, key: &'static [u8]) -> Result<Option<i64>, StateError> {
    let Some(value) = view.get(Column::Meta, key)? else { return Ok(None) };
    let bytes = <[u8; 8]>::try_from(value.as_ref())
        .map_err(|_| StateError::damaged("a number in column meta", format!("{} bytes, not 8", value.len())))?;
    Ok(Some(i64::from_be_bytes(bytes)))
}
