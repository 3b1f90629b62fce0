//! A view with the changes of the batch that is being applied on top of it, so that a command sees what the commands
//! before it in the same batch did.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use cairn_storage::{Batch, Column, Cursor, EngineError, View};

type Pending = BTreeMap<Bytes, Option<Bytes>>;

/// What one batch will change; a pending `None` hides the key below.
pub(crate) struct Overlay {
    base: Arc<dyn View>,
    pending: [Pending; Column::ALL.len()],
    /// Bytes of previous versions that the batch's events hold.
    pub(crate) previous_bytes: usize,
}

impl Overlay {
    pub(crate) fn new(base: Arc<dyn View>) -> Self {
        Self { base, pending: Default::default(), previous_bytes: 0 }
    }

    pub(crate) fn put(&mut self, column: Column, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.pending[column as usize].insert(key.into(), Some(value.into()));
    }

    pub(crate) fn delete(&mut self, column: Column, key: impl Into<Bytes>) {
        self.pending[column as usize].insert(key.into(), None);
    }

    /// The changes in key order, which is the order that an engine inserts fastest.
    pub(crate) fn into_batch(self) -> Batch {
        let mut batch = Batch::new();
        for (column, pending) in Column::ALL.into_iter().zip(self.pending) {
            for (key, value) in pending {
                match value {
                    Some(value) => batch.put(column, key, value),
                    None => batch.delete(column, key),
                }
            }
        }
        batch
    }
}

impl View for Overlay {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        match self.pending[column as usize].get(key) {
            Some(pending) => Ok(pending.clone()),
            None => self.base.get(column, key),
        }
    }

    fn scan<'a>(
        &'a self,
        column: Column,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        let pending = &self.pending[column as usize];
        let base = self.base.scan(column, start, end)?;
        if pending.is_empty() {
            return Ok(base);
        }
        let mut merged = Merged {
            pending,
            end: end.map(Bytes::copy_from_slice),
            upper: None,
            rest: pending.range::<[u8], _>(..),
            base,
            base_valid: false,
            at: At::Before,
        };
        merged.seek_pending(start);
        Ok(Box::new(merged))
    }
}

/// Where the last move left the merged cursor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Before,
    Base,
    Upper,
    End,
}

struct Merged<'a> {
    pending: &'a Pending,
    end: Option<Bytes>,
    /// The next pending entry; those before it are passed.
    upper: Option<(&'a Bytes, &'a Option<Bytes>)>,
    rest: btree_map::Range<'a, Bytes, Option<Bytes>>,
    base: Box<dyn Cursor + 'a>,
    /// Whether `base` stands on an entry that is not passed.
    base_valid: bool,
    at: At,
}

impl Merged<'_> {
    fn seek_pending(&mut self, start: &[u8]) {
        // BTreeMap::range panics on an inverted range, which a scan of an empty interval is.
        let bounds = match self.end.as_deref() {
            Some(end) if end <= start => (Bound::Included(end), Bound::Excluded(end)),
            Some(end) => (Bound::Included(start), Bound::Excluded(end)),
            None => (Bound::Included(start), Bound::Unbounded),
        };
        self.rest = self.pending.range::<[u8], _>(bounds);
        self.upper = self.rest.next();
    }

    /// Settles on the smaller of the two next entries, passing pending deletions and what they hide.
    fn settle(&mut self) -> Result<bool, EngineError> {
        loop {
            let Some((key, value)) = self.upper else {
                self.at = if self.base_valid { At::Base } else { At::End };
                return Ok(self.base_valid);
            };
            if self.base_valid && self.base.key() < key.as_ref() {
                self.at = At::Base;
                return Ok(true);
            }
            if self.base_valid && self.base.key() == key.as_ref() {
                self.base_valid = self.base.advance()?;
            }
            if value.is_some() {
                self.at = At::Upper;
                return Ok(true);
            }
            self.upper = self.rest.next();
        }
    }
}

impl Cursor for Merged<'_> {
    fn advance(&mut self) -> Result<bool, EngineError> {
        match self.at {
            At::Before | At::Base => self.base_valid = self.base.advance()?,
            At::Upper => self.upper = self.rest.next(),
            At::End => return Ok(false),
        }
        self.settle()
    }

    fn seek(&mut self, key: &[u8]) -> Result<bool, EngineError> {
        let passed = self.base_valid && self.base.key() >= key;
        if self.at == At::Before || (self.base_valid && !passed) {
            self.base_valid = self.base.seek(key)?;
        }
        self.seek_pending(key);
        self.settle()
    }

    fn key(&self) -> &[u8] {
        match self.at {
            At::Base => self.base.key(),
            At::Upper => self.upper.map_or(&[], |(key, _)| key),
            At::Before | At::End => &[],
        }
    }

    fn value(&self) -> &[u8] {
        match self.at {
            At::Base => self.base.value(),
            At::Upper => self.upper.and_then(|(_, value)| value.as_deref()).unwrap_or(&[]),
            At::Before | At::End => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_storage::{Engine, MemoryEngine};
    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<Vec<u8>, u8>;

    fn keys() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(0u8..3, 0..3)
    }

    fn collect(cursor: &mut dyn Cursor, mut valid: bool) -> Vec<(Vec<u8>, u8)> {
        let mut found = Vec::new();
        while valid {
            found.push((cursor.key().to_vec(), cursor.value()[0]));
            valid = cursor.advance().unwrap();
        }
        found
    }

    proptest! {
        /// Gets, scans and seeks through the overlay answer as one map with both layers of changes in it.
        #[test]
        fn an_overlay_reads_like_the_merged_map(
            below in proptest::collection::vec((keys(), any::<u8>()), 0..12),
            above in proptest::collection::vec((keys(), any::<Option<u8>>()), 0..12),
            start in keys(), end in proptest::option::of(keys()), target in keys(),
        ) {
            let engine = MemoryEngine::new();
            let mut model = Model::new();
            let mut batch = Batch::new();
            for (key, value) in below {
                batch.put(Column::Cur, key.clone(), vec![value]);
                model.insert(key, value);
            }
            engine.write(&batch).unwrap();
            let mut overlay = Overlay::new(engine.view().unwrap());
            for (key, value) in above {
                if let Some(value) = value {
                    overlay.put(Column::Cur, key.clone(), vec![value]);
                    model.insert(key, value);
                } else {
                    overlay.delete(Column::Cur, key.clone());
                    model.remove(&key);
                }
            }
            let within = |from: &[u8]| -> Vec<(Vec<u8>, u8)> {
                model.iter().filter(|(key, _)| key.as_slice() >= from && end.as_ref().is_none_or(|end| *key < end))
                    .map(|(key, value)| (key.clone(), *value)).collect()
            };
            let mut cursor = overlay.scan(Column::Cur, &start, end.as_deref()).unwrap();
            let valid = cursor.advance().unwrap();
            prop_assert_eq!(collect(cursor.as_mut(), valid), within(&start));
            drop(cursor);
            let target = start.clone().max(target);
            let mut cursor = overlay.scan(Column::Cur, &start, end.as_deref()).unwrap();
            cursor.advance().unwrap();
            if cursor.key() <= target.as_slice() {
                let valid = cursor.seek(&target).unwrap();
                prop_assert_eq!(collect(cursor.as_mut(), valid), within(&target));
            }
            drop(cursor);
            for (key, value) in &model {
                prop_assert_eq!(overlay.get(Column::Cur, key).unwrap(), Some(Bytes::from(vec![*value])));
            }
            engine.write(&overlay.into_batch()).unwrap();
            let view = engine.view().unwrap();
            let mut cursor = view.scan(Column::Cur, &[], None).unwrap();
            let valid = cursor.advance().unwrap();
            prop_assert_eq!(collect(cursor.as_mut(), valid), model.into_iter().collect::<Vec<_>>());
        }
    }
}
