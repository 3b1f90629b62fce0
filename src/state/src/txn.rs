//! Execution of Put, DeleteRange and Txn.
//!
//! A transaction first decides every branch, nested ones too, on the state before it; then checks everything that could
//! fail; and only then changes anything, so that it never has to be undone.

use std::ops::ControlFlow;

use bytes::Bytes;
use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use cairn_api::etcdserverpb::request_op::Request;
use cairn_api::etcdserverpb::response_op::Response;
use cairn_api::mvccpb::KeyValue;
use cairn_types::{KeyRange, LeaseId};

use crate::error::{ReadError, StateError};
use crate::lease::Lessor;
use crate::read::{Found, Reader, header};
use crate::record::decode_kv;
use crate::write::Writer;

/// Which branch each transaction of a tree takes, in the order of execution.
type Path = Vec<bool>;

/// Executes a Put.
pub(crate) fn put(
    writer: &mut Writer<'_>,
    lessor: &Lessor,
    request: &pb::PutRequest,
) -> Result<pb::PutResponse, ReadError> {
    check_lease(lessor, request.lease)?;
    let needs_previous = request.ignore_value || request.ignore_lease || request.prev_kv;
    let previous = if needs_previous { writer.reader().live(&request.key)?.map(|(kv, _)| kv) } else { None };
    let mut value = request.value.clone();
    let mut lease = LeaseId(request.lease);
    if request.ignore_value || request.ignore_lease {
        let Some(previous) = &previous else { return Err(ApiError::KeyNotFound.into()) };
        if request.ignore_value {
            value = previous.value.clone();
        }
        if request.ignore_lease {
            lease = LeaseId(previous.lease);
        }
    }
    writer.put(request.key.clone(), value, lease)?;
    let prev_kv = previous.filter(|_| request.prev_kv);
    Ok(pb::PutResponse { header: Some(header(writer.revision())), prev_kv })
}

/// Executes a DeleteRange.
pub(crate) fn delete_range(
    writer: &mut Writer<'_>,
    request: &pb::DeleteRangeRequest,
) -> Result<pb::DeleteRangeResponse, ReadError> {
    let range = KeyRange::from_request(request.key.clone(), request.range_end.clone());
    let prev_kvs = if request.prev_kv {
        let reader = writer.reader();
        reader.collect(&range, reader.revision, usize::MAX, false)?.0
    } else {
        Vec::new()
    };
    let deleted = writer.delete_range(&range)?;
    Ok(pb::DeleteRangeResponse { header: Some(header(writer.revision())), deleted, prev_kvs })
}

/// Executes a transaction that may write.
pub(crate) fn txn(
    writer: &mut Writer<'_>,
    lessor: &Lessor,
    request: &pb::TxnRequest,
) -> Result<pb::TxnResponse, ReadError> {
    let path = decide(&writer.reader(), request)?;
    check_puts(&writer.reader(), lessor, request, &mut path.iter())?;
    check_ranges(&writer.reader(), request, &mut path.iter())?;
    check_order(request, &mut path.iter())?;
    let mut response = execute(request, &mut path.iter(), &mut |op| {
        Ok(match op {
            Request::RequestRange(range) => Response::ResponseRange(writer.reader().range(range)?),
            Request::RequestPut(request) => Response::ResponsePut(put(writer, lessor, request)?),
            Request::RequestDeleteRange(request) => Response::ResponseDeleteRange(delete_range(writer, request)?),
            Request::RequestTxn(_) => unreachable!("execute descends into nested transactions"),
        })
    })?;
    response.header = Some(header(writer.revision()));
    Ok(response)
}

/// Answers a transaction that only reads.
pub(crate) fn read_txn(reader: &Reader<'_>, request: &pb::TxnRequest) -> Result<pb::TxnResponse, ReadError> {
    let path = decide(reader, request)?;
    check_ranges(reader, request, &mut path.iter())?;
    let mut response = execute(request, &mut path.iter(), &mut |op| match op {
        Request::RequestRange(range) => Ok(Response::ResponseRange(reader.range(range)?)),
        _ => unreachable!("the caller asked validate::is_read_only"),
    })?;
    response.header = Some(header(reader.revision));
    Ok(response)
}

fn branch(request: &pb::TxnRequest, succeeded: bool) -> &[pb::RequestOp] {
    if succeeded { &request.success } else { &request.failure }
}

fn next(path: &mut std::slice::Iter<'_, bool>) -> bool {
    *path.next().expect("decide() walked the same tree")
}

fn decide(reader: &Reader<'_>, request: &pb::TxnRequest) -> Result<Path, StateError> {
    let mut path = Vec::with_capacity(1);
    decide_into(reader, request, &mut path)?;
    Ok(path)
}

fn decide_into(reader: &Reader<'_>, request: &pb::TxnRequest, path: &mut Path) -> Result<(), StateError> {
    let mut succeeded = true;
    for compare in &request.compare {
        if !holds(reader, compare)? {
            succeeded = false;
            break;
        }
    }
    path.push(succeeded);
    for op in branch(request, succeeded) {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            decide_into(reader, nested, path)?;
        }
    }
    Ok(())
}

/// Whether a comparison holds for every key that it names; a missing key compares as all zeros, except by value, where
/// it never holds.
fn holds(reader: &Reader<'_>, compare: &pb::Compare) -> Result<bool, StateError> {
    let range = KeyRange::from_request(compare.key.clone(), compare.range_end.clone());
    if let KeyRange::Single(key) = &range {
        return Ok(match reader.live(key)? {
            Some((kv, _)) => holds_for(compare, &kv),
            None => holds_for_none(compare),
        });
    }
    let mut any = false;
    let mut all = true;
    reader.visit(&range, reader.revision, &mut |found| {
        any = true;
        all = holds_for(compare, &found_kv(reader, &found)?);
        Ok(if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(if any { all } else { holds_for_none(compare) })
}

fn found_kv(reader: &Reader<'_>, found: &Found<'_>) -> Result<KeyValue, StateError> {
    let Found::Live(value) = found else { unreachable!("the latest revision is in cur only") };
    let live = crate::record::Live::decode(Bytes::copy_from_slice(value))?;
    let kv = decode_kv(live.kv.clone())?;
    if !live.pointer {
        return Ok(kv);
    }
    Ok(reader.live(&kv.key)?.map_or(kv, |(whole, _)| whole))
}

fn holds_for_none(compare: &pb::Compare) -> bool {
    compare.target != CompareTarget::Value as i32 && holds_for(compare, &KeyValue::default())
}

fn holds_for(compare: &pb::Compare, kv: &KeyValue) -> bool {
    let union = compare.target_union.as_ref();
    let order = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Value) => {
            let expected: &[u8] = if let Some(TargetUnion::Value(value)) = union { value } else { &[] };
            kv.value.as_ref().cmp(expected)
        }
        Ok(CompareTarget::Version) => kv.version.cmp(&if let Some(TargetUnion::Version(v)) = union { *v } else { 0 }),
        Ok(CompareTarget::Create) => {
            kv.create_revision.cmp(&if let Some(TargetUnion::CreateRevision(v)) = union { *v } else { 0 })
        }
        Ok(CompareTarget::Mod) => {
            kv.mod_revision.cmp(&if let Some(TargetUnion::ModRevision(v)) = union { *v } else { 0 })
        }
        Ok(CompareTarget::Lease) => kv.lease.cmp(&if let Some(TargetUnion::Lease(v)) = union { *v } else { 0 }),
        Err(_) => std::cmp::Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => order.is_eq(),
        Ok(CompareResult::NotEqual) => order.is_ne(),
        Ok(CompareResult::Greater) => order.is_gt(),
        Ok(CompareResult::Less) => order.is_lt(),
        Err(_) => true,
    }
}

/// Calls `check` for each operation of the branches that will run.
fn check_ops(
    request: &pb::TxnRequest,
    path: &mut std::slice::Iter<'_, bool>,
    check: &mut dyn FnMut(&Request) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    for op in branch(request, next(path)) {
        match &op.request {
            Some(Request::RequestTxn(nested)) => check_ops(nested, path, check)?,
            Some(request) => check(request)?,
            None => {}
        }
    }
    Ok(())
}

fn check_puts(
    reader: &Reader<'_>,
    lessor: &Lessor,
    request: &pb::TxnRequest,
    path: &mut std::slice::Iter<'_, bool>,
) -> Result<(), ReadError> {
    check_ops(request, path, &mut |op| {
        let Request::RequestPut(put) = op else { return Ok(()) };
        if (put.ignore_value || put.ignore_lease) && reader.live(&put.key)?.is_none() {
            return Err(ApiError::KeyNotFound.into());
        }
        Ok(check_lease(lessor, put.lease)?)
    })
}

fn check_lease(lessor: &Lessor, lease: i64) -> Result<(), ApiError> {
    if lease == 0 || lessor.contains(LeaseId(lease)) { Ok(()) } else { Err(ApiError::LeaseNotFound) }
}

/// Unlike a plain Range, a range in a transaction that names a revision below 0 is not one at the latest.
fn check_ranges(
    reader: &Reader<'_>,
    request: &pb::TxnRequest,
    path: &mut std::slice::Iter<'_, bool>,
) -> Result<(), ReadError> {
    check_ops(request, path, &mut |op| match op {
        Request::RequestRange(range) if range.revision > reader.revision => Err(ApiError::FutureRev.into()),
        Request::RequestRange(range) if range.revision != 0 && range.revision < reader.compacted => {
            Err(ApiError::Compacted.into())
        }
        _ => Ok(()),
    })
}

/// A put that keeps the value or the lease needs its key when its turn comes, so no deletion before it may cover the key.
/// The check for duplicate keys lets that through in places (see `validate`); etcd 3.5 then crashes on every member.
fn check_order(request: &pb::TxnRequest, path: &mut std::slice::Iter<'_, bool>) -> Result<(), ReadError> {
    let mut deleted = Vec::new();
    check_ops(request, path, &mut |op| match op {
        Request::RequestDeleteRange(delete) => {
            deleted.push(KeyRange::from_request(delete.key.clone(), delete.range_end.clone()));
            Ok(())
        }
        Request::RequestPut(put) if put.ignore_value || put.ignore_lease => {
            let gone = deleted.iter().any(|range| range.contains(&put.key));
            if gone { Err(ApiError::KeyNotFound.into()) } else { Ok(()) }
        }
        _ => Ok(()),
    })
}

fn execute(
    request: &pb::TxnRequest,
    path: &mut std::slice::Iter<'_, bool>,
    run: &mut dyn FnMut(&Request) -> Result<Response, ReadError>,
) -> Result<pb::TxnResponse, ReadError> {
    let succeeded = next(path);
    let mut responses = Vec::with_capacity(branch(request, succeeded).len());
    for op in branch(request, succeeded) {
        let response = match &op.request {
            Some(Request::RequestTxn(nested)) => Some(Response::ResponseTxn(execute(nested, path, run)?)),
            Some(request) => Some(run(request)?),
            None => None,
        };
        responses.push(pb::ResponseOp { response });
    }
    Ok(pb::TxnResponse { header: Some(pb::ResponseHeader::default()), succeeded, responses })
}
