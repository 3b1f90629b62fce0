//! Short constructors for requests, so that scenarios read as sequences of calls. The rest is struct update syntax.

use bytes::Bytes;
use cairn_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use cairn_api::etcdserverpb::request_op::Request;
use cairn_api::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
};

/// Everything: the key from which, and with `range_end` to which, the whole key space goes.
pub const ALL: &[u8] = b"\0";

fn bytes(key: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(key.as_ref())
}

/// Put of a value.
pub fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> PutRequest {
    PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() }
}

/// Put of a value under a lease.
pub fn put_leased(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, lease: i64) -> PutRequest {
    PutRequest { lease, ..put(key, value) }
}

/// Read of one key.
pub fn get(key: impl AsRef<[u8]>) -> RangeRequest {
    RangeRequest { key: bytes(key), ..RangeRequest::default() }
}

/// Read of the interval `[key, end)`.
pub fn range(key: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> RangeRequest {
    RangeRequest { range_end: bytes(end), ..get(key) }
}

/// Read of the whole key space.
#[must_use]
pub fn all() -> RangeRequest {
    range(ALL, ALL)
}

/// Deletion of one key.
pub fn del(key: impl AsRef<[u8]>) -> DeleteRangeRequest {
    DeleteRangeRequest { key: bytes(key), ..DeleteRangeRequest::default() }
}

/// Deletion of the interval `[key, end)`.
pub fn del_range(key: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> DeleteRangeRequest {
    DeleteRangeRequest { range_end: bytes(end), ..del(key) }
}

/// Watch on one key from now on.
pub fn watch(key: impl AsRef<[u8]>) -> WatchCreateRequest {
    WatchCreateRequest { key: bytes(key), ..WatchCreateRequest::default() }
}

/// Watch on the interval `[key, end)` from a revision on; 0 means from now on.
pub fn watch_range(key: impl AsRef<[u8]>, end: impl AsRef<[u8]>, start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest { range_end: bytes(end), start_revision, ..watch(key) }
}

/// One comparison of a transaction.
pub fn cmp(key: impl AsRef<[u8]>, result: CompareResult, target: TargetUnion) -> Compare {
    let kind = match target {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        result: result.into(),
        target: kind.into(),
        key: bytes(key),
        range_end: Bytes::new(),
        target_union: Some(target),
    }
}

/// A transaction without comparisons.
#[must_use]
pub fn then(success: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { compare: vec![], success, failure: vec![] }
}

/// Any request as an operation of a transaction.
pub trait IntoOp {
    /// The operation.
    fn op(self) -> RequestOp;
}

macro_rules! into_op {
    ($($request:ident => $variant:ident),*) => {
        $(impl IntoOp for $request {
            fn op(self) -> RequestOp {
                RequestOp { request: Some(Request::$variant(self)) }
            }
        })*
    };
}

into_op!(RangeRequest => RequestRange, PutRequest => RequestPut, DeleteRangeRequest => RequestDeleteRange, TxnRequest => RequestTxn);
