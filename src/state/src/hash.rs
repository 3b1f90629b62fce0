//! Hashes over the history, to compare members and to prove that nothing was lost.

use std::ops::ControlFlow;

use bytes::{BufMut, Bytes, BytesMut};
use cairn_api::ApiError;
use cairn_api::mvccpb::KeyValue;
use cairn_storage::{Column, View};
use cairn_types::{KeyRange, Revision};
use prost::Message;

use crate::error::{ReadError, StateError};
use crate::event::EventKind;
use crate::read::Reader;
use crate::record::{Change, decode_kv};
use crate::schema::{META_APPLIED, META_COMPACTION_DONE, parse_rev_key, rev_key};

/// The name of etcd's bucket, with which its hash begins.
const BUCKET: &[u8] = b"key";

/// The answer of HashKV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C over the changes.
    pub hash: u32,
    /// The last compaction, or -1.
    pub compact_revision: i64,
    /// Up to which revision the changes were taken.
    pub hash_revision: i64,
}

/// etcd's HashKV: CRC-32C over the name of its bucket and then key and value of each change as etcd would store it.
/// Changes at or below the last compaction count only where a compaction at the hashed revision would keep them, so
/// that it makes no difference how far the deletion has come; tombstones there never count.
pub(crate) fn hash_kv(reader: &Reader<'_>, requested: i64) -> Result<HashKv, ReadError> {
    if requested > 0 && requested < reader.compacted {
        return Err(ApiError::Compacted.into());
    }
    if requested < 0 {
        // Only 0 stands for the present here; before the first revision there is nothing but the bucket's name.
        return Ok(HashKv {
            hash: crc32c::crc32c(BUCKET),
            compact_revision: reader.compacted,
            hash_revision: requested,
        });
    }
    let at = reader.resolve(requested)?;
    // etcd skips nothing where nothing is live; what then counts is what its finished compaction has left.
    let keep_at = if anything_live(reader, at)? { at } else { reader.compacted };
    let end = rev_key(Revision::new(at + 1, 0));
    let mut cursor = reader.view.scan(Column::Rev, &[], Some(&end))?;
    let mut hash = crc32c::crc32c(BUCKET);
    let mut buffer = BytesMut::new();
    while cursor.advance()? {
        let revision = parse_rev_key(cursor.key())?;
        let change = Change::decode(Bytes::copy_from_slice(cursor.value()))?;
        if revision.main <= reader.compacted && !is_newest(reader, revision, &change, keep_at)? {
            continue;
        }
        buffer.clear();
        put_as_etcd(&mut buffer, revision, &change)?;
        hash = crc32c::crc32c_append(hash, &buffer);
    }
    Ok(HashKv { hash, compact_revision: reader.compacted, hash_revision: at })
}

fn anything_live(reader: &Reader<'_>, at: i64) -> Result<bool, StateError> {
    let mut any = false;
    reader.visit(&KeyRange::all(), at, &mut |_| {
        any = true;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(any)
}

/// Whether the change made the version of its key that is live at `at`.
fn is_newest(reader: &Reader<'_>, revision: Revision, change: &Change, at: i64) -> Result<bool, StateError> {
    if change.kind == EventKind::Delete {
        return Ok(false);
    }
    let key = decode_kv(change.kv.clone())?.key;
    if let Some((kv, live)) = reader.live(&key)?
        && kv.mod_revision <= at
    {
        return Ok(Revision::new(kv.mod_revision, live.sub) == revision);
    }
    Ok(reader.newest_in_hist(&key, at)?.is_some_and(|(newest, _)| newest == revision))
}

/// Key and value of a change as they stand in etcd's file: main, `_`, sub, and `t` behind a tombstone, whose value has
/// the key only.
fn put_as_etcd(buffer: &mut BytesMut, revision: Revision, change: &Change) -> Result<(), StateError> {
    buffer.put_i64(revision.main);
    buffer.put_u8(b'_');
    buffer.put_u64(u64::from(revision.sub));
    match change.kind {
        EventKind::Put => buffer.put_slice(&change.kv),
        EventKind::Delete => {
            buffer.put_u8(b't');
            let key = decode_kv(change.kv.clone())?.key;
            KeyValue { key, ..Default::default() }.encode(buffer).expect("a BytesMut grows as needed");
        }
    }
    Ok(())
}

/// CRC-32C over all columns, without what differs between members that are equally far.
pub(crate) fn hash_all(view: &dyn View) -> Result<u32, StateError> {
    let mut hash = 0;
    for column in Column::ALL {
        let mut cursor = view.scan(column, &[], None)?;
        while cursor.advance()? {
            if column == Column::Meta && [META_APPLIED, META_COMPACTION_DONE].contains(&cursor.key()) {
                continue;
            }
            hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, cursor.key()), cursor.value());
        }
    }
    Ok(hash)
}
