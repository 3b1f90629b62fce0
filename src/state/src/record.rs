//! Values of `cur` and `rev`, which carry the encoded `mvccpb.KeyValue` as it goes over the wire.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cairn_api::mvccpb::KeyValue;
use cairn_types::Revision;
use cairn_types::limits::INLINE_VALUE_MAX_BYTES;
use prost::Message;

use crate::error::StateError;
use crate::event::EventKind;
use crate::schema::{CUR_INLINE, CUR_POINTER, KIND_PUT, KIND_TOMBSTONE};

const CUR_HEAD_BYTES: usize = 5;
const REV_HEAD_BYTES: usize = 13;

/// A value of `cur`: the live version of a key.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    /// The `sub` of its revision; `main` is the mod revision of the KeyValue.
    pub(crate) sub: u32,
    /// Whether the KeyValue is without its value, which `rev` has.
    pub(crate) pointer: bool,
    /// The encoded KeyValue.
    pub(crate) kv: Bytes,
}

impl Live {
    pub(crate) fn decode(mut value: Bytes) -> Result<Self, StateError> {
        let damaged = |reason: String| StateError::damaged("a value of column cur", reason);
        if value.len() < CUR_HEAD_BYTES {
            return Err(damaged(format!("only {} bytes", value.len())));
        }
        let pointer = match value.get_u8() {
            CUR_INLINE => false,
            CUR_POINTER => true,
            other => return Err(damaged(format!("the unknown form {other}"))),
        };
        Ok(Self { sub: value.get_u32(), pointer, kv: value })
    }

    pub(crate) fn key_value(&self) -> Result<KeyValue, StateError> {
        decode_kv(self.kv.clone())
    }
}

/// The value of `cur` for a new live version, given its encoded KeyValue.
pub(crate) fn encode_live(kv: &KeyValue, encoded: &[u8], sub: u32) -> Bytes {
    let mut value = BytesMut::with_capacity(CUR_HEAD_BYTES + encoded.len().min(INLINE_VALUE_MAX_BYTES * 2));
    if kv.value.len() < INLINE_VALUE_MAX_BYTES {
        value.put_u8(CUR_INLINE);
        value.put_u32(sub);
        value.put_slice(encoded);
    } else {
        value.put_u8(CUR_POINTER);
        value.put_u32(sub);
        let head = KeyValue { value: Bytes::new(), ..kv.clone() };
        head.encode(&mut value).expect("a BytesMut grows as needed");
    }
    value.freeze()
}

/// A value of `rev`: one change.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) kind: EventKind,
    /// The version that it superseded.
    pub(crate) prev: Option<Revision>,
    /// The encoded KeyValue; of a tombstone: key and mod revision only.
    pub(crate) kv: Bytes,
}

impl Change {
    pub(crate) fn decode(mut value: Bytes) -> Result<Self, StateError> {
        let damaged = |reason: String| StateError::damaged("a value of column rev", reason);
        if value.len() < REV_HEAD_BYTES {
            return Err(damaged(format!("only {} bytes", value.len())));
        }
        let kind = decode_kind(value.get_u8())?;
        let prev = Revision { main: value.get_i64(), sub: value.get_u32() };
        Ok(Self { kind, prev: (prev.main != 0).then_some(prev), kv: value })
    }

    /// The encoded change; the KeyValue is its tail, see [`kv_of_change`].
    pub(crate) fn encode(kind: EventKind, prev: Option<Revision>, kv: &KeyValue) -> Bytes {
        let mut value = BytesMut::with_capacity(REV_HEAD_BYTES + kv.encoded_len());
        value.put_u8(encode_kind(kind));
        let prev = prev.unwrap_or_default();
        value.put_i64(prev.main);
        value.put_u32(prev.sub);
        kv.encode(&mut value).expect("a BytesMut grows as needed");
        value.freeze()
    }
}

/// The encoded KeyValue within an encoded change, sharing its memory.
pub(crate) fn kv_of_change(change: &Bytes) -> Bytes {
    change.slice(REV_HEAD_BYTES..)
}

pub(crate) fn encode_kind(kind: EventKind) -> u8 {
    match kind {
        EventKind::Put => KIND_PUT,
        EventKind::Delete => KIND_TOMBSTONE,
    }
}

pub(crate) fn decode_kind(kind: u8) -> Result<EventKind, StateError> {
    match kind {
        KIND_PUT => Ok(EventKind::Put),
        KIND_TOMBSTONE => Ok(EventKind::Delete),
        other => Err(StateError::damaged("a change", format!("the unknown kind {other}"))),
    }
}

pub(crate) fn decode_kv(encoded: Bytes) -> Result<KeyValue, StateError> {
    KeyValue::decode(encoded).map_err(|error| StateError::damaged("a KeyValue", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(value: usize) -> KeyValue {
        KeyValue { key: "k".into(), mod_revision: 5, version: 1, value: vec![7; value].into(), ..Default::default() }
    }

    #[test]
    fn a_large_value_is_stored_once_and_pointed_to() {
        for (size, pointer) in [(0, false), (INLINE_VALUE_MAX_BYTES - 1, false), (INLINE_VALUE_MAX_BYTES, true)] {
            let pair = kv(size);
            let live = Live::decode(encode_live(&pair, &pair.encode_to_vec(), 3)).unwrap();
            assert_eq!((live.sub, live.pointer), (3, pointer));
            let expected = if pointer { KeyValue { value: Bytes::new(), ..pair } } else { pair };
            assert_eq!(live.key_value().unwrap(), expected);
        }
    }

    #[test]
    fn a_change_gives_back_what_went_in() {
        let prev = Some(Revision::new(4, 1));
        let encoded = Change::encode(EventKind::Delete, prev, &kv(3));
        let change = Change::decode(encoded.clone()).unwrap();
        assert_eq!((change.kind, change.prev), (EventKind::Delete, prev));
        assert_eq!(decode_kv(change.kv.clone()).unwrap(), kv(3));
        assert_eq!(change.kv, kv_of_change(&encoded));
        assert!(Change::decode(encoded.slice(..12)).is_err());
        assert!(Live::decode(Bytes::from_static(b"\x09\0\0\0\0")).is_err());
    }
}
