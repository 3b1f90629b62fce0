//! The interval of keys that a request names.

use bytes::Bytes;

/// An interval of user keys by etcd's rules for `key` and `range_end`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyRange {
    /// Exactly this key (`range_end` empty).
    Single(Bytes),
    /// All keys in `start..end`; empty where `end <= start`.
    Span {
        /// The first key.
        start: Bytes,
        /// The first key that is no longer part of it.
        end: Bytes,
    },
    /// All keys from this one on (`range_end` is a single zero byte).
    From(Bytes),
}

impl KeyRange {
    /// Reads the two fields of a request. An empty `range_end` means the single key, `"\0"` means "no upper end".
    #[must_use]
    pub fn from_request(key: Bytes, range_end: Bytes) -> Self {
        match range_end.as_ref() {
            [] => Self::Single(key),
            [0] => Self::From(key),
            _ => Self::Span { start: key, end: range_end },
        }
    }

    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self::From(Bytes::new())
    }

    /// Whether `key` lies within.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::Single(single) => single == key,
            Self::Span { start, end } => start <= key && key < end.as_ref(),
            Self::From(start) => start <= key,
        }
    }

    /// Whether no key can lie within.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Span { start, end } if end <= start)
    }

    /// The first key that may lie within.
    #[must_use]
    pub fn start(&self) -> &Bytes {
        match self {
            Self::Single(key) | Self::From(key) => key,
            Self::Span { start, .. } => start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static str, end: &'static str) -> KeyRange {
        KeyRange::from_request(Bytes::from_static(key.as_bytes()), Bytes::from_static(end.as_bytes()))
    }

    #[test]
    fn an_empty_range_end_names_one_key() {
        let single = range("b", "");
        assert!(single.contains(b"b"));
        assert!(!single.contains(b"b\0"));
        assert!(!single.is_empty());
    }

    #[test]
    fn a_zero_byte_as_range_end_has_no_upper_end() {
        let open = range("b", "\0");
        assert!(open.contains(b"\xff\xff"));
        assert!(!open.contains(b"a"));
    }

    #[test]
    fn a_range_end_that_is_not_above_the_key_holds_nothing() {
        assert!(range("b", "a").is_empty());
        assert!(range("b", "b").is_empty());
        assert!(!range("b", "c").is_empty());
        assert!(!range("b", "c").contains(b"c"));
    }
}
