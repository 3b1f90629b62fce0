//! etcd's key-value store, leases and hash as plainly as they can be written: every version of every key in a list, and
//! nothing is ever deleted. Slow and obvious; shares no code with the state machine but the messages.

use std::collections::BTreeMap;

use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use cairn_api::etcdserverpb::request_op::Request;
use cairn_api::etcdserverpb::response_op;
use cairn_api::mvccpb::KeyValue;
use cairn_state::{Command, Outcome, Response};
use prost::Message;

/// One change of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    pub(crate) main: i64,
    pub(crate) sub: u32,
    pub(crate) deleted: bool,
    /// Of a deletion: key and mod revision.
    pub(crate) kv: KeyValue,
}

#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    /// All versions of each key, oldest first.
    keys: BTreeMap<Vec<u8>, Vec<Version>>,
    /// TTL and what is left of it by the last checkpoint.
    leases: BTreeMap<i64, i64>,
}

type Answer<T> = Result<T, ApiError>;

/// A request that is being executed: the revision that it uses once it changes something, and how much it changed.
struct Running<'a> {
    model: &'a mut Model,
    changes: u32,
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

fn contains(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == start,
        [0] => key >= start,
        _ => key >= start && key < end,
    }
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { revision: 1, compacted: -1, keys: BTreeMap::new(), leases: BTreeMap::new() }
    }

    pub(crate) fn leases(&self) -> Vec<i64> {
        self.leases.keys().copied().collect()
    }

    /// The version of each key of an interval that is visible at a revision.
    fn visible(&self, start: &[u8], end: &[u8], at: i64) -> Vec<&Version> {
        let keys = self.keys.iter().filter(|(key, _)| contains(key, start, end));
        let newest = keys.filter_map(|(_, versions)| versions.iter().rfind(|version| version.main <= at));
        newest.filter(|version| !version.deleted).collect()
    }

    fn pairs(&self, start: &[u8], end: &[u8]) -> Vec<KeyValue> {
        self.visible(start, end, self.revision).into_iter().map(|version| version.kv.clone()).collect()
    }

    pub(crate) fn attached(&self, lease: i64) -> Vec<Vec<u8>> {
        let all = self.pairs(b"", b"\0");
        all.into_iter().filter(|kv| kv.lease == lease && lease != 0).map(|kv| kv.key.to_vec()).collect()
    }

    /// All changes at or after a revision, in order, each with the version that it superseded.
    pub(crate) fn changes(&self, from: i64) -> Vec<(Version, Option<Version>)> {
        let mut found = Vec::new();
        for versions in self.keys.values() {
            for (position, version) in versions.iter().enumerate() {
                let previous = position.checked_sub(1).map(|before| versions[before].clone());
                found.push((version.clone(), previous.filter(|previous| !previous.deleted)));
            }
        }
        found.retain(|(version, _)| version.main >= from);
        found.sort_by_key(|(version, _)| (version.main, version.sub));
        found
    }

    /// What a finished compaction leaves: what is newer, the newest version of each key as of then, and the tombstones of
    /// that very revision. With each whether something came after it in its key.
    pub(crate) fn kept(&self) -> Vec<(Vec<u8>, Version, bool)> {
        let mut found = Vec::new();
        for (key, versions) in &self.keys {
            let newest = versions.iter().rposition(|version| version.main <= self.compacted);
            for (position, version) in versions.iter().enumerate() {
                let live = newest == Some(position) && !version.deleted;
                let tombstone = version.deleted && version.main == self.compacted;
                if version.main > self.compacted || live || tombstone {
                    found.push((key.clone(), version.clone(), position + 1 < versions.len()));
                }
            }
        }
        found
    }

    pub(crate) fn execute(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Put(request) => self.change(|running| running.put(request)).map(Response::Put),
            Command::DeleteRange(request) => self.change(|running| running.delete(request)).map(Response::DeleteRange),
            Command::Txn(request) => self.txn(request).map(Response::Txn),
            Command::Compact(request) => self.compact(request.revision).map(Response::Compact),
            Command::LeaseGrant(request) => {
                if self.leases.contains_key(&request.id) {
                    return Err(ApiError::LeaseExists);
                }
                self.leases.insert(request.id, request.ttl);
                let (header, error) = (header(self.revision), String::new());
                Ok(Response::LeaseGrant(pb::LeaseGrantResponse { header, id: request.id, ttl: request.ttl, error }))
            }
            Command::LeaseRevoke(request) => {
                self.revoke(request.id).ok_or(ApiError::LeaseNotFound)?;
                Ok(Response::LeaseRevoke(pb::LeaseRevokeResponse { header: header(self.revision) }))
            }
            Command::ExpireLeases(request) => {
                request.ids.iter().for_each(|id| {
                    let _existed = self.revoke(*id);
                });
                Ok(Response::ExpireLeases)
            }
            other => panic!("{other:?} is not part of the model"),
        }
    }

    fn compact(&mut self, revision: i64) -> Answer<pb::CompactionResponse> {
        if revision <= self.compacted {
            return Err(ApiError::Compacted);
        }
        if revision > self.revision {
            return Err(ApiError::FutureRev);
        }
        self.compacted = revision;
        Ok(pb::CompactionResponse { header: header(self.revision) })
    }

    fn revoke(&mut self, id: i64) -> Option<()> {
        self.leases.remove(&id)?;
        let keys = self.attached(id);
        let deleted = self.change(|running| {
            keys.iter().for_each(|key| running.delete_key(key));
            Ok(())
        });
        deleted.ok()
    }

    /// Runs a request on a copy, which counts only if nothing was refused.
    fn change<T>(&mut self, run: impl FnOnce(&mut Running<'_>) -> Answer<T>) -> Answer<T> {
        let mut copy = self.clone();
        let answer = run(&mut Running { model: &mut copy, changes: 0 })?;
        *self = copy;
        Ok(answer)
    }

    fn txn(&mut self, request: &pb::TxnRequest) -> Answer<pb::TxnResponse> {
        let before = self.clone();
        // etcd looks at all puts before it looks at any range.
        let ops = before.chosen(request);
        for op in &ops {
            if let Request::RequestPut(put) = op {
                before.check_put(put)?;
            }
        }
        for op in &ops {
            match op {
                Request::RequestRange(range) if range.revision > before.revision => return Err(ApiError::FutureRev),
                Request::RequestRange(range) if range.revision != 0 && range.revision < before.compacted => {
                    return Err(ApiError::Compacted);
                }
                _ => {}
            }
        }
        let mut response = self.change(|running| running.txn(&before, request))?;
        response.header = header(self.revision);
        Ok(response)
    }

    fn check_put(&self, put: &pb::PutRequest) -> Answer<()> {
        if (put.ignore_value || put.ignore_lease) && self.pairs(&put.key, b"").is_empty() {
            return Err(ApiError::KeyNotFound);
        }
        let found = put.lease == 0 || self.leases.contains_key(&put.lease);
        if found { Ok(()) } else { Err(ApiError::LeaseNotFound) }
    }

    fn holds(&self, request: &pb::TxnRequest) -> bool {
        request.compare.iter().all(|compare| self.compare(compare))
    }

    fn branch<'a>(&self, request: &'a pb::TxnRequest) -> &'a [pb::RequestOp] {
        if self.holds(request) { &request.success } else { &request.failure }
    }

    /// The operations that will run, also those of nested transactions.
    fn chosen(&self, request: &pb::TxnRequest) -> Vec<Request> {
        let ops = self.branch(request).iter().filter_map(|op| op.request.clone());
        ops.flat_map(|op| if let Request::RequestTxn(nested) = &op { self.chosen(nested) } else { vec![op] }).collect()
    }

    fn compare(&self, compare: &pb::Compare) -> bool {
        let mut pairs = self.pairs(&compare.key, &compare.range_end);
        if pairs.is_empty() {
            if compare.target() == CompareTarget::Value {
                return false;
            }
            pairs.push(KeyValue::default());
        }
        pairs.iter().all(|kv| {
            let order = match (compare.target_union.clone(), compare.target()) {
                (Some(TargetUnion::Value(value)), _) => kv.value.cmp(&value),
                (Some(TargetUnion::Version(version)), _) => kv.version.cmp(&version),
                (Some(TargetUnion::CreateRevision(revision)), _) => kv.create_revision.cmp(&revision),
                (Some(TargetUnion::ModRevision(revision)), _) => kv.mod_revision.cmp(&revision),
                (Some(TargetUnion::Lease(lease)), _) => kv.lease.cmp(&lease),
                (None, target) => panic!("no value to compare {target:?} with"),
            };
            match compare.result() {
                CompareResult::Equal => order.is_eq(),
                CompareResult::Greater => order.is_gt(),
                CompareResult::Less => order.is_lt(),
                CompareResult::NotEqual => order.is_ne(),
            }
        })
    }

    pub(crate) fn range(&self, request: &pb::RangeRequest) -> Answer<pb::RangeResponse> {
        let at = if request.revision <= 0 { self.revision } else { request.revision };
        if at > self.revision {
            return Err(ApiError::FutureRev);
        }
        if at < self.compacted {
            return Err(ApiError::Compacted);
        }
        let found = self.visible(&request.key, &request.range_end, at);
        let count = i64::try_from(found.len()).expect("few keys");
        let mut kvs: Vec<_> = found.into_iter().map(|version| version.kv.clone()).collect();
        if request.count_only {
            return Ok(pb::RangeResponse { header: header(self.revision), kvs: Vec::new(), more: false, count });
        }
        let limit = if request.limit > 0 { usize::try_from(request.limit).expect("positive") } else { usize::MAX };
        let bounds = [
            (request.min_mod_revision, request.max_mod_revision),
            (request.min_create_revision, request.max_create_revision),
        ];
        if request.sort_order == 0 && bounds == [(0, 0); 2] {
            kvs.truncate(limit.saturating_add(1));
        }
        kvs.retain(|kv| {
            let inside = |value: i64, (min, max): (i64, i64)| (min == 0 || value >= min) && (max == 0 || value <= max);
            inside(kv.mod_revision, bounds[0]) && inside(kv.create_revision, bounds[1])
        });
        sort(request.sort_target, request.sort_order, &mut kvs);
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        Ok(pb::RangeResponse { header: header(self.revision), kvs, more, count })
    }

    /// etcd's HashKV over what its compaction leaves.
    pub(crate) fn hash_kv(&self, at: i64) -> u32 {
        let live = |at: i64| -> Vec<(i64, u32)> {
            self.visible(b"", b"\0", at).iter().map(|version| (version.main, version.sub)).collect()
        };
        let (left, keep) = (live(self.compacted), live(at));
        let mut hash = crc32c::crc32c(b"key");
        for (version, _) in self.changes(0) {
            let name = (version.main, version.sub);
            let compacted = version.main <= self.compacted && !left.contains(&name);
            let skipped = version.main <= self.compacted && !keep.is_empty() && !keep.contains(&name);
            if version.main > at || compacted || skipped {
                continue;
            }
            let mut stored = version.main.to_be_bytes().to_vec();
            stored.push(b'_');
            stored.extend(u64::from(version.sub).to_be_bytes());
            stored.extend(version.deleted.then_some(b't'));
            let kv = if version.deleted { KeyValue { mod_revision: 0, ..version.kv } } else { version.kv };
            stored.extend(kv.encode_to_vec());
            hash = crc32c::crc32c_append(hash, &stored);
        }
        hash
    }
}

fn sort(target: i32, order: i32, kvs: &mut [KeyValue]) {
    // What compares equal stays in the order of keys, also in a descending sort.
    if order == 2 {
        kvs.reverse();
    }
    match target {
        0 => kvs.sort_by(|a, b| a.key.cmp(&b.key)),
        1 => kvs.sort_by_key(|kv| kv.version),
        2 => kvs.sort_by_key(|kv| kv.create_revision),
        3 => kvs.sort_by_key(|kv| kv.mod_revision),
        _ => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
    }
    if order == 2 {
        kvs.reverse();
    }
}

impl Running<'_> {
    fn record(&mut self, deleted: bool, mut kv: KeyValue) {
        if self.changes == 0 {
            self.model.revision += 1;
        }
        let main = self.model.revision;
        kv.mod_revision = main;
        if kv.version == 1 {
            kv.create_revision = main;
        }
        let versions = self.model.keys.entry(kv.key.to_vec()).or_default();
        versions.push(Version { main, sub: self.changes, deleted, kv });
        self.changes += 1;
    }

    fn put(&mut self, request: &pb::PutRequest) -> Answer<pb::PutResponse> {
        if request.lease != 0 && !self.model.leases.contains_key(&request.lease) {
            return Err(ApiError::LeaseNotFound);
        }
        let previous = self.model.pairs(&request.key, b"").pop();
        let mut kv = KeyValue {
            key: request.key.clone(),
            value: request.value.clone(),
            lease: request.lease,
            create_revision: previous.as_ref().map_or(0, |kv| kv.create_revision),
            version: previous.as_ref().map_or(1, |kv| kv.version + 1),
            mod_revision: 0,
        };
        if request.ignore_value {
            kv.value = previous.as_ref().ok_or(ApiError::KeyNotFound)?.value.clone();
        }
        if request.ignore_lease {
            kv.lease = previous.as_ref().ok_or(ApiError::KeyNotFound)?.lease;
        }
        self.record(false, kv);
        Ok(pb::PutResponse { header: header(self.model.revision), prev_kv: previous.filter(|_| request.prev_kv) })
    }

    fn delete_key(&mut self, key: &[u8]) {
        self.record(true, KeyValue { key: key.to_vec().into(), ..Default::default() });
    }

    fn delete(&mut self, request: &pb::DeleteRangeRequest) -> Answer<pb::DeleteRangeResponse> {
        let mut gone = self.model.pairs(&request.key, &request.range_end);
        gone.iter().for_each(|kv| self.delete_key(&kv.key));
        let deleted = i64::try_from(gone.len()).expect("few keys");
        if !request.prev_kv {
            gone.clear();
        }
        Ok(pb::DeleteRangeResponse { header: header(self.model.revision), deleted, prev_kvs: gone })
    }

    fn txn(&mut self, before: &Model, request: &pb::TxnRequest) -> Answer<pb::TxnResponse> {
        let mut responses = Vec::new();
        for op in before.branch(request) {
            let response = match op.request.as_ref().expect("the random requests are valid") {
                Request::RequestRange(range) => response_op::Response::ResponseRange(self.model.range(range)?),
                Request::RequestPut(put) => response_op::Response::ResponsePut(self.put(put)?),
                Request::RequestDeleteRange(delete) => response_op::Response::ResponseDeleteRange(self.delete(delete)?),
                Request::RequestTxn(nested) => response_op::Response::ResponseTxn(self.txn(before, nested)?),
            };
            responses.push(pb::ResponseOp { response: Some(response) });
        }
        Ok(pb::TxnResponse { header: Some(pb::ResponseHeader::default()), succeeded: before.holds(request), responses })
    }
}
