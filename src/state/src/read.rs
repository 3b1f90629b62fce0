//! Reads of key-value pairs at the latest or an older revision, from any view, also the one of a batch under way.
//!
//! The latest revision touches `cur` only. An older one merges `cur` (what did not change since) with `hist` (where to
//! find in `rev` what did).

use std::ops::ControlFlow;

use bytes::Bytes;
use cairn_api::ApiError;
use cairn_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use cairn_api::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use cairn_api::mvccpb::KeyValue;
use cairn_storage::{Column, Cursor, View};
use cairn_types::{KeyRange, Revision};

use crate::error::{ReadError, StateError};
use crate::event::{ChangeEvent, EventKind, RevisionEvents};
use crate::record::{Change, Live, decode_kind, decode_kv};
use crate::schema::{hist_after, hist_key, hist_prefix, parse_hist_key, parse_rev_key, rev_key};

/// A view together with what a read needs to know about it.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) view: &'a dyn View,
    /// The revision that the view shows; within a transaction that has changed something, the transaction's own.
    pub(crate) revision: i64,
    /// The last compaction, or -1.
    pub(crate) compacted: i64,
}

/// One version that a read found.
pub(crate) enum Found<'a> {
    /// In `cur`, still encoded.
    Live(&'a [u8]),
    /// Superseded; in `rev`.
    Older(Revision),
}

impl Reader<'_> {
    /// The revision to read at for a request's `revision` (etcd: not above 0 means the latest).
    pub(crate) fn resolve(&self, requested: i64) -> Result<i64, ApiError> {
        if requested <= 0 {
            return Ok(self.revision);
        }
        if requested > self.revision {
            return Err(ApiError::FutureRev);
        }
        if requested < self.compacted {
            return Err(ApiError::Compacted);
        }
        Ok(requested)
    }

    /// The live version of `key`, with the value wherever it is stored.
    pub(crate) fn live(&self, key: &[u8]) -> Result<Option<(KeyValue, Live)>, StateError> {
        let Some(value) = self.view.get(Column::Cur, key)? else { return Ok(None) };
        let live = Live::decode(value)?;
        let mut kv = live.key_value()?;
        if live.pointer {
            kv.value = self.change_kv(Revision::new(kv.mod_revision, live.sub))?.value;
        }
        Ok(Some((kv, live)))
    }

    /// Answers a Range request.
    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, ReadError> {
        let at = self.resolve(request.revision)?;
        let range = KeyRange::from_request(request.key.clone(), request.range_end.clone());
        let filtered = is_filtered(request);
        let sorted = request.sort_order() != SortOrder::None;
        // One more than asked for tells whether there is more; a filter or a sort has to see everything first.
        let keep = match usize::try_from(request.limit) {
            _ if request.count_only => 0,
            Ok(limit) if limit > 0 && !filtered && !sorted => limit.saturating_add(1),
            _ => usize::MAX,
        };
        let (mut kvs, count) =
            self.collect(&range, at, keep, request.keys_only && request.sort_target() != SortTarget::Value)?;
        kvs.retain(|kv| passes(request, kv));
        sort(request, &mut kvs);
        let mut more = false;
        if let Ok(limit) = usize::try_from(request.limit)
            && limit > 0
            && kvs.len() > limit
        {
            kvs.truncate(limit);
            more = true;
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeResponse { header: Some(header(self.revision)), kvs, more, count })
    }

    /// The first `keep` pairs of the range at a revision, and how many there are in all.
    pub(crate) fn collect(
        &self,
        range: &KeyRange,
        at: i64,
        keep: usize,
        without_values: bool,
    ) -> Result<(Vec<KeyValue>, i64), StateError> {
        let mut kvs = Vec::new();
        let mut count = 0;
        self.visit(range, at, &mut |found| {
            count += 1;
            if kvs.len() < keep {
                kvs.push(self.materialise(&found, without_values)?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((kvs, count))
    }

    /// The pairs of a request's range, one by one.
    pub(crate) fn visit_pairs(
        &self,
        request: &RangeRequest,
        visit: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
    ) -> Result<i64, ReadError> {
        let at = self.resolve(request.revision)?;
        let range = KeyRange::from_request(request.key.clone(), request.range_end.clone());
        let mut visited = 0;
        self.visit(&range, at, &mut |found| {
            visited += 1;
            Ok(visit(self.materialise(&found, request.keys_only)?))
        })?;
        Ok(visited)
    }

    fn materialise(&self, found: &Found<'_>, without_value: bool) -> Result<KeyValue, StateError> {
        match found {
            Found::Older(revision) => self.change_kv(*revision),
            Found::Live(value) => {
                let live = Live::decode(Bytes::copy_from_slice(value))?;
                let kv = live.key_value()?;
                if live.pointer && !without_value {
                    return self.change_kv(Revision::new(kv.mod_revision, live.sub));
                }
                Ok(kv)
            }
        }
    }

    /// Calls `visit` for every pair of the range at a revision, in key order, until it breaks.
    pub(crate) fn visit(
        &self,
        range: &KeyRange,
        at: i64,
        visit: &mut dyn FnMut(Found<'_>) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        match range {
            KeyRange::Single(key) => self.visit_single(key, at, visit),
            _ if range.is_empty() => Ok(()),
            _ if at >= self.revision => self.visit_latest(range, visit),
            _ => self.visit_older(range, at, visit),
        }
    }

    fn visit_single(
        &self,
        key: &[u8],
        at: i64,
        visit: &mut dyn FnMut(Found<'_>) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        if let Some(value) = self.view.get(Column::Cur, key)?
            && (at >= self.revision || Live::decode(value.clone())?.key_value()?.mod_revision <= at)
        {
            return visit(Found::Live(&value)).map(drop);
        }
        if at < self.revision
            && let Some((revision, EventKind::Put)) = self.newest_in_hist(key, at)?
        {
            return visit(Found::Older(revision)).map(drop);
        }
        Ok(())
    }

    fn visit_latest(
        &self,
        range: &KeyRange,
        visit: &mut dyn FnMut(Found<'_>) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        let mut cursor = self.view.scan(Column::Cur, range.start(), end(range))?;
        while cursor.advance()? {
            if visit(Found::Live(cursor.value()))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn visit_older(
        &self,
        range: &KeyRange,
        at: i64,
        visit: &mut dyn FnMut(Found<'_>) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        let mut cur = self.view.scan(Column::Cur, range.start(), end(range))?;
        let mut cur_valid = cur.advance()?;
        let hist_end = end(range).map(hist_prefix);
        let mut hist = Versions {
            cursor: self.view.scan(Column::Hist, &hist_prefix(range.start()), hist_end.as_deref())?,
            key: None,
        };
        hist.advance()?;
        loop {
            let Some(key) = smaller(cur_valid.then(|| cur.key()), hist.key.as_deref()) else { return Ok(()) };
            let in_cur = cur_valid && cur.key() == key;
            let in_hist = hist.key.as_deref() == Some(key);
            let key = key.to_vec();
            let unchanged =
                in_cur && Live::decode(Bytes::copy_from_slice(cur.value()))?.key_value()?.mod_revision <= at;
            let flow = if unchanged {
                visit(Found::Live(cur.value()))?
            } else if in_hist && let Some((revision, EventKind::Put)) = hist.newest(&key, at)? {
                visit(Found::Older(revision))?
            } else {
                ControlFlow::Continue(())
            };
            if flow.is_break() {
                return Ok(());
            }
            if in_cur {
                cur_valid = cur.advance()?;
            }
            if in_hist {
                hist.pass(&key)?;
            }
        }
    }

    /// The newest version of `key` in `hist` that is not above `at`.
    pub(crate) fn newest_in_hist(&self, key: &[u8], at: i64) -> Result<Option<(Revision, EventKind)>, StateError> {
        let start = hist_key(key, Revision::new(at, u32::MAX));
        let mut cursor = self.view.scan(Column::Hist, &start, Some(&hist_after(key)))?;
        if !cursor.advance()? {
            return Ok(None);
        }
        version_at(cursor.as_ref()).map(|(_, revision, kind)| Some((revision, kind)))
    }

    pub(crate) fn change(&self, revision: Revision) -> Result<Option<Change>, StateError> {
        self.view.get(Column::Rev, &rev_key(revision))?.map(Change::decode).transpose()
    }

    fn change_kv(&self, revision: Revision) -> Result<KeyValue, StateError> {
        let change = self.change(revision)?.ok_or_else(|| {
            StateError::damaged("column rev", format!("no change {revision}, which another column names"))
        })?;
        decode_kv(change.kv)
    }
}

pub(crate) fn header(revision: i64) -> ResponseHeader {
    ResponseHeader { revision, ..Default::default() }
}

fn end(range: &KeyRange) -> Option<&[u8]> {
    match range {
        KeyRange::Span { end, .. } => Some(end),
        KeyRange::Single(_) | KeyRange::From(_) => None,
    }
}

fn smaller<'a>(left: Option<&'a [u8]>, right: Option<&'a [u8]>) -> Option<&'a [u8]> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, other) => one.or(other),
    }
}

fn version_at(cursor: &dyn Cursor) -> Result<(Vec<u8>, Revision, EventKind), StateError> {
    let (key, revision) = parse_hist_key(cursor.key())?;
    let [kind] = *cursor.value() else {
        return Err(StateError::damaged("a value of column hist", format!("{} bytes, not 1", cursor.value().len())));
    };
    Ok((key, revision, decode_kind(kind)?))
}

/// A scan of `hist`, key by key.
struct Versions<'a> {
    cursor: Box<dyn Cursor + 'a>,
    /// The user key at the position.
    key: Option<Vec<u8>>,
}

impl Versions<'_> {
    fn advance(&mut self) -> Result<(), StateError> {
        let valid = self.cursor.advance()?;
        self.read_key(valid)
    }

    fn read_key(&mut self, valid: bool) -> Result<(), StateError> {
        self.key = if valid { Some(version_at(self.cursor.as_ref())?.0) } else { None };
        Ok(())
    }

    fn seek(&mut self, target: &[u8]) -> Result<(), StateError> {
        if self.key.is_some() && self.cursor.key() < target {
            let valid = self.cursor.seek(target)?;
            self.read_key(valid)?;
        }
        Ok(())
    }

    /// The newest version of `key`, at which the scan stands, that is not above `at`.
    fn newest(&mut self, key: &[u8], at: i64) -> Result<Option<(Revision, EventKind)>, StateError> {
        self.seek(&hist_key(key, Revision::new(at, u32::MAX)))?;
        if self.key.as_deref() != Some(key) {
            return Ok(None);
        }
        version_at(self.cursor.as_ref()).map(|(_, revision, kind)| Some((revision, kind)))
    }

    fn pass(&mut self, key: &[u8]) -> Result<(), StateError> {
        self.seek(&hist_after(key))
    }
}

fn is_filtered(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

/// etcd's order: a target other than the key sorts ascending also where no order was asked for.
fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let target = request.sort_target();
    let descending = match request.sort_order() {
        SortOrder::None if target == SortTarget::Key => return,
        SortOrder::None | SortOrder::Ascend => false,
        SortOrder::Descend => true,
    };
    kvs.sort_by(|a, b| {
        let order = match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        if descending { order.reverse() } else { order }
    });
}

/// The store's changes in order, one revision at a time.
pub struct EventCursor<'a> {
    cursor: Box<dyn Cursor + 'a>,
    valid: bool,
}

impl<'a> EventCursor<'a> {
    pub(crate) fn new(reader: Reader<'a>, from: i64) -> Result<Self, StateError> {
        let start = rev_key(Revision::new(from.max(0), 0));
        let end = rev_key(Revision::new(reader.revision + 1, 0));
        let mut cursor = reader.view.scan(Column::Rev, &start, Some(&end))?;
        let valid = cursor.advance()?;
        Ok(Self { cursor, valid })
    }

    /// All changes of the next revision that has any; `None` behind the last one of the view.
    ///
    /// # Errors
    /// Where the engine fails or the data is damaged.
    pub fn next_revision(&mut self) -> Result<Option<RevisionEvents>, ReadError> {
        if !self.valid {
            return Ok(None);
        }
        let revision = parse_rev_key(self.cursor.key())?.main;
        let mut events = Vec::new();
        while self.valid && parse_rev_key(self.cursor.key())?.main == revision {
            events.push(event(Change::decode(Bytes::copy_from_slice(self.cursor.value()))?)?);
            self.valid = self.cursor.advance()?;
        }
        Ok(Some(RevisionEvents { revision, events }))
    }
}

fn event(change: Change) -> Result<ChangeEvent, StateError> {
    let kv = decode_kv(change.kv.clone())?;
    let created = change.kind == EventKind::Put && kv.version == 1;
    Ok(ChangeEvent { kind: change.kind, key: kv.key, kv: change.kv, created, prev: change.prev, prev_kv: None })
}
