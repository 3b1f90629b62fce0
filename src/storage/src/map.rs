//! An ordered map whose copies share what they have in common: entries in sorted leaves, leaves in one sorted list.
//!
//! A copy is one reference count. A change copies one leaf and, if the list itself is shared, a pointer per leaf, so that
//! a view taken after each batch costs a test nothing that it would notice. Left out: rebalancing of leaves that became
//! small; an empty one goes, the others stay.

use std::sync::Arc;

use bytes::Bytes;

/// Entries in a leaf before it is split in two.
const MAX_LEAF_ENTRIES: usize = 64;

type Leaf = Vec<(Bytes, Bytes)>;

/// The map. Invariant: no leaf is empty, and keys ascend within and across leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Map {
    leaves: Arc<Vec<Arc<Leaf>>>,
}

/// Where an entry is, or where the end is: a leaf and a place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    leaf: usize,
    slot: usize,
}

impl Map {
    /// The value of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Bytes> {
        let leaf = self.leaves.get(self.leaf_of(key))?;
        let slot = leaf.binary_search_by(|(k, _)| k.as_ref().cmp(key)).ok()?;
        Some(&leaf[slot].1)
    }

    /// Sets `key` to `value`.
    pub(crate) fn insert(&mut self, key: Bytes, value: Bytes) {
        let at = self.leaf_of(&key);
        let leaves = Arc::make_mut(&mut self.leaves);
        let Some(leaf) = leaves.get_mut(at) else {
            leaves.push(Arc::new(vec![(key, value)]));
            return;
        };
        let leaf = Arc::make_mut(leaf);
        match leaf.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(slot) => leaf[slot].1 = value,
            Err(slot) => leaf.insert(slot, (key, value)),
        }
        if leaf.len() > MAX_LEAF_ENTRIES {
            let upper = leaf.split_off(MAX_LEAF_ENTRIES / 2);
            leaves.insert(at + 1, Arc::new(upper));
        }
    }

    /// Removes `key`, which may be absent.
    pub(crate) fn remove(&mut self, key: &[u8]) {
        let at = self.leaf_of(key);
        let Some(leaf) = self.leaves.get(at) else { return };
        let Ok(slot) = leaf.binary_search_by(|(k, _)| k.as_ref().cmp(key)) else { return };
        let leaves = Arc::make_mut(&mut self.leaves);
        let leaf = Arc::make_mut(&mut leaves[at]);
        leaf.remove(slot);
        if leaf.is_empty() {
            leaves.remove(at);
        }
    }

    /// The position of the first entry at or after `key`.
    pub(crate) fn at_or_after(&self, key: &[u8]) -> Position {
        let leaf = self.leaf_of(key);
        let slot = self.leaves.get(leaf).map_or(0, |l| l.partition_point(|(k, _)| k.as_ref() < key));
        self.normalise(Position { leaf, slot })
    }

    /// The position after `position`, which holds an entry.
    pub(crate) fn after(&self, position: Position) -> Position {
        self.normalise(Position { slot: position.slot + 1, ..position })
    }

    /// The entry at `position`; `None` at the end.
    pub(crate) fn entry(&self, position: Position) -> Option<(&Bytes, &Bytes)> {
        let (key, value) = self.leaves.get(position.leaf)?.get(position.slot)?;
        Some((key, value))
    }

    /// All entries in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.leaves.iter().flat_map(|leaf| leaf.iter().map(|(key, value)| (key, value)))
    }

    /// The leaf that holds `key` if any does: the last that does not begin after it.
    fn leaf_of(&self, key: &[u8]) -> usize {
        self.leaves.partition_point(|leaf| leaf[0].0.as_ref() <= key).saturating_sub(1)
    }

    /// The place after the last of a leaf is the first of the next.
    fn normalise(&self, position: Position) -> Position {
        match self.leaves.get(position.leaf) {
            Some(leaf) if position.slot >= leaf.len() => Position { leaf: position.leaf + 1, slot: 0 },
            _ => position,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn key(n: u16) -> Bytes {
        Bytes::copy_from_slice(&n.to_be_bytes())
    }

    proptest! {
        #[test]
        fn a_map_holds_what_the_standard_one_holds_and_its_copies_do_not_change(
            changes in prop::collection::vec((0_u16..400, any::<Option<u8>>()), 0..1500),
            copied_at in 0_usize..1500,
        ) {
            let mut model = BTreeMap::new();
            let mut map = Map::default();
            let mut copy = (map.clone(), model.clone());
            for (step, (k, v)) in changes.into_iter().enumerate() {
                if step == copied_at {
                    copy = (map.clone(), model.clone());
                }
                if let Some(v) = v {
                    map.insert(key(k), Bytes::from(vec![v]));
                    model.insert(key(k), Bytes::from(vec![v]));
                } else {
                    map.remove(&key(k));
                    model.remove(&key(k));
                }
            }
            for (map, model) in [(map, model), copy] {
                prop_assert!(map.iter().eq(model.iter()));
                for n in 0..400 {
                    prop_assert_eq!(map.get(&key(n)), model.get(&key(n)));
                    let first = map.entry(map.at_or_after(&key(n)));
                    prop_assert_eq!(first, model.range(key(n)..).next());
                }
            }
        }
    }
}
