//! What is wrong with a request by itself, before anything is proposed; order and texts are etcd's.

use cairn_api::ApiError;
use cairn_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use cairn_api::etcdserverpb::request_op::Request;
use cairn_api::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use std::collections::{BTreeMap, BTreeSet};

/// Checks a Range request.
///
/// # Errors
/// `key is not provided`, `invalid sort option`.
pub fn range(request: &RangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::EmptyKey);
    }
    if SortOrder::try_from(request.sort_order).is_err() || SortTarget::try_from(request.sort_target).is_err() {
        return Err(ApiError::InvalidSortOption);
    }
    Ok(())
}

/// Checks a Put request.
///
/// # Errors
/// `key is not provided`, `value is provided`, `lease is provided`.
pub fn put(request: &PutRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(ApiError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(ApiError::LeaseProvided);
    }
    Ok(())
}

/// Checks a DeleteRange request.
///
/// # Errors
/// `key is not provided`.
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() { Err(ApiError::EmptyKey) } else { Ok(()) }
}

/// Checks a transaction: sizes and single operations first, then keys that are written twice.
///
/// # Errors
/// `too many operations in txn request`, those of the operations, `duplicate key given in txn request`.
pub fn txn(request: &TxnRequest, max_ops: usize) -> Result<(), ApiError> {
    check_ops(request, max_ops)?;
    Writes::of(&request.success)?;
    Writes::of(&request.failure)?;
    Ok(())
}

/// Whether a transaction only reads, so that it needs no agreement: every operation at the top is a Range (etcd: a
/// nested transaction counts as a write, whatever is in it).
#[must_use]
pub fn is_read_only(request: &TxnRequest) -> bool {
    ranges(request).all(|range| range.is_some())
}

/// Whether a transaction that only reads may be answered from this member alone: all its ranges say so.
#[must_use]
pub fn is_serializable(request: &TxnRequest) -> bool {
    ranges(request).all(|range| range.is_some_and(|range| range.serializable))
}

fn ranges(request: &TxnRequest) -> impl Iterator<Item = Option<&RangeRequest>> {
    request.success.iter().chain(&request.failure).map(|op| match &op.request {
        Some(Request::RequestRange(range)) => Some(range),
        _ => None,
    })
}

fn check_ops(request: &TxnRequest, max_ops: usize) -> Result<(), ApiError> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let Some(rest) = max_ops.checked_sub(longest) else { return Err(ApiError::TooManyOps) };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(ApiError::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete_range(request)?,
            Some(Request::RequestTxn(nested)) => check_ops(nested, rest)?,
            None => return Err(ApiError::KeyNotFound),
        }
    }
    Ok(())
}

/// What a list of operations writes, itself and in nested transactions.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Intervals<'a>,
}

/// Where an interval ends: just before or just after a key, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End<'a>(&'a [u8], Side);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Before,
    After,
}

/// Intervals of keys by their start, none of which touches another, so that a look-up is one step however many there are:
/// a request may hold thousands.
#[derive(Default)]
struct Intervals<'a>(BTreeMap<&'a [u8], End<'a>>);

impl<'a> Intervals<'a> {
    fn contains(&self, key: &[u8]) -> bool {
        self.0.range(..=key).next_back().is_some_and(|(_, end)| *end > End(key, Side::Before))
    }

    /// Adds an interval as etcd's check sees it: an `end` of one zero byte is taken literally, so that nothing lies within
    /// (a quirk that clients may rely on).
    fn add_request(&mut self, request: &'a DeleteRangeRequest) {
        let end = if request.range_end.is_empty() {
            End(&request.key, Side::After)
        } else {
            End(&request.range_end, Side::Before)
        };
        if end > End(&request.key, Side::Before) {
            self.add(&request.key, end);
        }
    }

    fn add(&mut self, mut start: &'a [u8], mut end: End<'a>) {
        if let Some((before, reach)) = self.0.range(..=start).next_back()
            && *reach >= End(start, Side::Before)
        {
            (start, end) = (before, end.max(*reach));
        }
        while let Some((next, reach)) = self.0.range(start..).next().map(|(next, reach)| (*next, *reach))
            && End(next, Side::Before) <= end
        {
            end = end.max(reach);
            self.0.remove(next);
        }
        self.0.insert(start, end);
    }

    fn append(&mut self, other: Self) {
        other.0.into_iter().for_each(|(start, end)| self.add(start, end));
    }
}

impl<'a> Writes<'a> {
    fn of(ops: &'a [RequestOp]) -> Result<Self, ApiError> {
        let mut writes = Self::default();
        for op in ops {
            if let Some(Request::RequestDeleteRange(delete)) = &op.request {
                writes.deletes.add_request(delete);
            }
        }
        for op in ops {
            if let Some(Request::RequestTxn(nested)) = &op.request {
                writes.add_nested(Self::of(&nested.success)?, Self::of(&nested.failure)?)?;
            }
        }
        for op in ops {
            if let Some(Request::RequestPut(put)) = &op.request {
                writes.add_put(&put.key)?;
            }
        }
        Ok(writes)
    }

    /// Only one of the two branches runs, so the same key may be put in both.
    fn add_nested(&mut self, then: Self, otherwise: Self) -> Result<(), ApiError> {
        for key in &then.puts {
            self.add_put(key)?;
        }
        for key in otherwise.puts {
            if then.puts.contains(key) {
                continue;
            }
            self.add_put(key)?;
        }
        self.deletes.append(then.deletes);
        self.deletes.append(otherwise.deletes);
        Ok(())
    }

    fn add_put(&mut self, key: &'a [u8]) -> Result<(), ApiError> {
        if self.deletes.contains(key) || !self.puts.insert(key) {
            return Err(ApiError::DuplicateKey);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(0u8..3, 1..3)
    }

    proptest! {
        /// Merged intervals hold a key exactly where one of the requests, taken by itself, does.
        #[test]
        fn intervals_answer_as_the_requests_one_by_one(
            requests in proptest::collection::vec((key(), proptest::option::of(key())), 0..8), probe in key(),
        ) {
            let requests: Vec<_> = requests.into_iter().map(|(key, end)| DeleteRangeRequest {
                key: key.into(), range_end: end.unwrap_or_default().into(), prev_kv: false,
            }).collect();
            let mut intervals = Intervals::default();
            requests.iter().for_each(|request| intervals.add_request(request));
            let expected = requests.iter().any(|request| {
                if request.range_end.is_empty() { request.key == probe } else { request.key <= probe && probe < request.range_end }
            });
            prop_assert_eq!(intervals.contains(&probe), expected);
            let ends: Vec<_> = intervals.0.iter().collect();
            prop_assert!(ends.windows(2).all(|pair| *pair[0].1 < End(pair[1].0, Side::Before)), "they do not touch");
        }
    }
}
