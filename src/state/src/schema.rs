//! Every key shape and constant that is on disk, in one place. None is ever renumbered; see docs/format/store.md.
//!
//! `cur`: user key → [`crate::record`]'s live record. `rev`: main ‖ sub → change. `hist`: escaped key ‖ !main ‖ !sub →
//! kind, for superseded versions and tombstones only, newest first within a key. `meta`: the keys below. All numbers
//! in keys are big-endian, so that bytes sort as numbers do.

use bytes::{BufMut, Bytes, BytesMut};
use cairn_types::{LeaseId, Revision};

use crate::error::StateError;

/// The version of everything in this module and in [`crate::record`].
pub const VERSION: u32 = 1;

/// `meta`: schema version, u32.
pub const META_SCHEMA: &[u8] = b"sys/schema";
/// `meta`: applied index and its term, two u64.
pub const META_APPLIED: &[u8] = b"sys/applied";
/// `meta`: Raft's membership, opaque bytes of `cairn-consensus`.
pub const META_CONF_STATE: &[u8] = b"sys/conf_state";
/// `meta`: cluster id, u64.
pub const META_CLUSTER: &[u8] = b"sys/cluster";
/// `meta`: the store revision, i64.
pub const META_REVISION: &[u8] = b"sys/revision";
/// `meta`: the revision of the last accepted compaction, i64; absent before the first.
pub const META_COMPACTED: &[u8] = b"sys/compacted";
/// `meta`: the last compaction whose deletions are done, i64.
pub const META_COMPACTION_DONE: &[u8] = b"sys/compaction_done";
/// `meta`: prefix of members: ‖ member id → `etcdserverpb.Member`.
pub const META_MEMBER: &[u8] = b"member/";
/// `meta`: prefix of alarms: ‖ alarm type (u8) ‖ member id → empty.
pub const META_ALARM: &[u8] = b"alarm/";
/// `meta`: prefix of leases: ‖ lease id → granted TTL ‖ remaining TTL (0: not checkpointed), two i64 seconds.
pub const META_LEASE: &[u8] = b"lease/";
/// `meta`: prefix of attachments: ‖ lease id ‖ user key → empty.
pub const META_LEASE_KEY: &[u8] = b"leasekey/";

/// First byte of a `rev` value and only byte of a `hist` value: the key was created or modified.
pub const KIND_PUT: u8 = 1;
/// First byte of a `rev` value and only byte of a `hist` value: the key was deleted.
pub const KIND_TOMBSTONE: u8 = 2;

/// First byte of a `cur` value: the whole KeyValue follows.
pub const CUR_INLINE: u8 = 1;
/// First byte of a `cur` value: the KeyValue follows without its value, which `rev` has.
pub const CUR_POINTER: u8 = 2;

const REV_KEY_BYTES: usize = 12;

/// The key of a change in `rev`.
#[must_use]
pub fn rev_key(revision: Revision) -> Bytes {
    let mut key = BytesMut::with_capacity(REV_KEY_BYTES);
    put_revision(&mut key, revision);
    key.freeze()
}

fn put_revision(buffer: &mut BytesMut, revision: Revision) {
    buffer.put_i64(revision.main);
    buffer.put_u32(revision.sub);
}

/// Reads [`rev_key`].
///
/// # Errors
/// Where the key has another length.
pub fn parse_rev_key(key: &[u8]) -> Result<Revision, StateError> {
    let (main, sub) = key
        .split_first_chunk::<8>()
        .and_then(|(main, rest)| Some((main, <[u8; 4]>::try_from(rest).ok()?)))
        .ok_or_else(|| {
            StateError::damaged("a key of column rev", format!("{} bytes, not {REV_KEY_BYTES}", key.len()))
        })?;
    Ok(Revision { main: i64::from_be_bytes(*main), sub: u32::from_be_bytes(sub) })
}

/// The user key as `hist` has it: a zero byte becomes `00 FF`, and without the end mark, so that it is a lower bound for
/// all versions of all keys that begin with it.
#[must_use]
pub fn hist_prefix(key: &[u8]) -> BytesMut {
    let mut escaped = BytesMut::with_capacity(key.len() + 16);
    for &byte in key {
        escaped.put_u8(byte);
        if byte == 0 {
            escaped.put_u8(0xff);
        }
    }
    escaped
}

/// The key of a version in `hist`: newer versions of a key come first.
#[must_use]
pub fn hist_key(key: &[u8], revision: Revision) -> Bytes {
    let mut full = hist_prefix(key);
    full.put_slice(&[0, 0]);
    full.put_i64(!revision.main);
    full.put_u32(!revision.sub);
    full.freeze()
}

/// A lower bound for what follows the versions of `key` in `hist`.
#[must_use]
pub fn hist_after(key: &[u8]) -> Bytes {
    let mut full = hist_prefix(key);
    full.put_slice(&[0, 1]);
    full.freeze()
}

/// Reads [`hist_key`]: the user key and the revision.
///
/// # Errors
/// Where the key has no end mark or no revision.
pub fn parse_hist_key(full: &[u8]) -> Result<(Vec<u8>, Revision), StateError> {
    let damaged = |reason: &str| StateError::damaged("a key of column hist", reason);
    let mut key = Vec::with_capacity(full.len());
    let mut rest = full;
    loop {
        rest = match rest {
            [0, 0xff, rest @ ..] => {
                key.push(0);
                rest
            }
            [0, 0, rest @ ..] => {
                let revision = parse_rev_key(rest).map_err(|_| damaged("no revision behind the end mark"))?;
                return Ok((key, Revision { main: !revision.main, sub: !revision.sub }));
            }
            [0, ..] => return Err(damaged("a zero byte that is not escaped")),
            [byte, rest @ ..] => {
                key.push(*byte);
                rest
            }
            [] => return Err(damaged("no end mark")),
        };
    }
}

/// The key of a member in `meta`.
#[must_use]
pub fn member_key(member: u64) -> Bytes {
    concat(META_MEMBER, &member.to_be_bytes())
}

/// The key of an alarm in `meta`.
#[must_use]
pub fn alarm_key(alarm: u8, member: u64) -> Bytes {
    let mut rest = [0; 9];
    rest[0] = alarm;
    rest[1..].copy_from_slice(&member.to_be_bytes());
    concat(META_ALARM, &rest)
}

/// The key of a lease in `meta`.
#[must_use]
pub fn lease_key(lease: LeaseId) -> Bytes {
    concat(META_LEASE, &lease.0.to_be_bytes())
}

/// The prefix of all attachments of a lease in `meta`; with a user key behind it, one of them.
#[must_use]
pub fn lease_attachment(lease: LeaseId, key: &[u8]) -> Bytes {
    let mut full = BytesMut::with_capacity(META_LEASE_KEY.len() + 8 + key.len());
    full.put_slice(META_LEASE_KEY);
    full.put_i64(lease.0);
    full.put_slice(key);
    full.freeze()
}

fn concat(prefix: &[u8], rest: &[u8]) -> Bytes {
    [prefix, rest].concat().into()
}

/// The first key behind all that begin with `prefix`; `None` where there is no such key.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn persisted_keys_have_exactly_these_bytes() {
        assert_eq!(rev_key(Revision::new(0x0102, 3)).as_ref(), b"\0\0\0\0\0\0\x01\x02\0\0\0\x03");
        let hist = hist_key(b"a\0b", Revision::new(2, 1));
        assert_eq!(hist.as_ref(), b"a\0\xffb\0\0\xff\xff\xff\xff\xff\xff\xff\xfd\xff\xff\xff\xfe");
        assert_eq!(alarm_key(1, 2).as_ref(), b"alarm/\x01\0\0\0\0\0\0\0\x02");
        assert_eq!(lease_attachment(LeaseId(1), b"k").as_ref(), b"leasekey/\0\0\0\0\0\0\0\x01k");
        assert_eq!(lease_key(LeaseId(1)).as_ref(), b"lease/\0\0\0\0\0\0\0\x01");
        assert_eq!(member_key(1).as_ref(), b"member/\0\0\0\0\0\0\0\x01");
    }

    proptest! {
        #[test]
        fn hist_sorts_by_key_and_then_newest_first(
            a in proptest::collection::vec(0u8..3, 0..5), b in proptest::collection::vec(0u8..3, 0..5),
            ra in 1i64..4, rb in 1i64..4, sa in 0u32..3, sb in 0u32..3,
        ) {
            let (first, second) = (Revision::new(ra, sa), Revision::new(rb, sb));
            let (left, right) = (hist_key(&a, first), hist_key(&b, second));
            prop_assert_eq!(left.cmp(&right), a.cmp(&b).then(second.cmp(&first)));
            prop_assert_eq!(parse_hist_key(&left).unwrap(), (a.clone(), first));
            prop_assert_eq!(hist_prefix(&a).as_ref() <= right.as_ref(), a <= b || b.starts_with(&a));
            prop_assert_eq!(hist_after(&a).as_ref() <= right.as_ref(), a < b);
        }

        #[test]
        fn a_hist_key_that_was_cut_is_an_error(cut in 0usize..17) {
            let whole = hist_key(b"a\0b", Revision::new(1, 0));
            prop_assert!(parse_hist_key(&whole[..cut]).is_err());
        }
    }
}
