//! Which watchers a key concerns, without asking each of them.
//!
//! Contract: equal ranges share one entry, so that ten thousand watchers of one prefix cost one comparison. Entries stand
//! in two search trees, one for single keys and one for ranges; the second knows the greatest end below each node (an
//! interval tree), so that a look-up costs O((1 + matching ranges) · log(ranges)) and then one step for each watcher.
//! The trees are treaps whose priorities come from a counter: balanced whatever the keys, and the same on every run.
//!
//! Left out: what a watcher is; here it is a number.

use std::cmp::Ordering;

use cairn_types::KeyRange;

/// A watcher's place among the shard's watchers.
pub(super) type WatcherIx = u32;

const NONE: u32 = u32::MAX;

/// The end of a range of keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Only the start itself.
    Single,
    /// Before this key.
    Before(Box<[u8]>),
    /// None: all keys from the start on.
    Open,
}

/// The keys that a watcher wants, in memory of its own: a request's bytes would keep its whole receive buffer alive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatchRange {
    start: Box<[u8]>,
    end: End,
}

impl From<&KeyRange> for WatchRange {
    fn from(range: &KeyRange) -> Self {
        let end = match range {
            KeyRange::Single(_) => End::Single,
            KeyRange::Span { end, .. } => End::Before(end.as_ref().into()),
            KeyRange::From(_) => End::Open,
        };
        Self { start: range.start().as_ref().into(), end }
    }
}

impl WatchRange {
    fn ends_after(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => self.start.as_ref() >= key,
            End::Before(end) => end.as_ref() > key,
            End::Open => true,
        }
    }
}

/// The watchers of one range; mostly there is only one.
#[derive(Debug)]
enum Members {
    One(WatcherIx),
    Many(Vec<WatcherIx>),
}

impl Members {
    fn as_slice(&self) -> &[WatcherIx] {
        match self {
            Self::One(watcher) => std::slice::from_ref(watcher),
            Self::Many(watchers) => watchers,
        }
    }

    fn push(&mut self, watcher: WatcherIx) -> u32 {
        if let Self::One(first) = self {
            *self = Self::Many(vec![*first]);
        }
        let Self::Many(watchers) = self else { unreachable!("a single member was just turned into a list") };
        watchers.push(watcher);
        u32::try_from(watchers.len() - 1).expect("watchers are numbered with 32 bits")
    }
}

#[derive(Debug)]
struct Entry {
    range: WatchRange,
    members: Members,
    left: u32,
    right: u32,
    /// The entry with the greatest end among this one and all below it; meaningless among single keys.
    furthest: u32,
    priority: u32,
}

/// Where the index keeps a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    entry: u32,
    slot: u32,
}

/// What [`Index::remove`] gives back.
pub(super) struct Removed {
    /// What the watcher wanted.
    pub(super) range: WatchRange,
    /// A watcher that now stands at the place that became free.
    pub(super) moved: Option<WatcherIx>,
}

/// The ranges of many watchers.
#[derive(Debug)]
pub(super) struct Index {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    singles: u32,
    ranges: u32,
    inserted: u64,
}

impl Default for Index {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), singles: NONE, ranges: NONE, inserted: 0 }
    }
}

impl Index {
    /// Adds a watcher of a range that is not empty.
    pub(super) fn insert(&mut self, range: WatchRange, watcher: WatcherIx) -> Place {
        let single = range.end == End::Single;
        let root = if single { self.singles } else { self.ranges };
        if let Some(entry) = self.find(root, &range) {
            let slot = self.entry_mut(entry).members.push(watcher);
            return Place { entry, slot };
        }
        let entry = self.allocate(range, watcher);
        let root = self.insert_below(root, entry);
        *(if single { &mut self.singles } else { &mut self.ranges }) = root;
        Place { entry, slot: 0 }
    }

    /// Takes a watcher out.
    pub(super) fn remove(&mut self, place: Place) -> Removed {
        let entry = self.entry_mut(place.entry);
        if let Members::Many(watchers) = &mut entry.members {
            watchers.swap_remove(place.slot as usize);
            if !watchers.is_empty() {
                let moved = watchers.get(place.slot as usize).copied();
                return Removed { range: entry.range.clone(), moved };
            }
        }
        let single = entry.range.end == End::Single;
        let root = self.remove_below(if single { self.singles } else { self.ranges }, place.entry);
        *(if single { &mut self.singles } else { &mut self.ranges }) = root;
        let entry = self.entries[place.entry as usize].take().expect("a place names an entry that is in use");
        self.free.push(place.entry);
        Removed { range: entry.range, moved: None }
    }

    /// Calls `found` for each watcher whose range holds `key`.
    pub(super) fn matching(&self, key: &[u8], mut found: impl FnMut(WatcherIx)) {
        let mut node = self.singles;
        while node != NONE {
            let entry = self.entry(node);
            match key.cmp(&entry.range.start) {
                Ordering::Less => node = entry.left,
                Ordering::Greater => node = entry.right,
                Ordering::Equal => {
                    entry.members.as_slice().iter().copied().for_each(&mut found);
                    break;
                }
            }
        }
        self.stab(self.ranges, key, &mut found);
    }

    /// Whether there is no watcher.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.singles == NONE && self.ranges == NONE
    }

    fn stab(&self, node: u32, key: &[u8], found: &mut impl FnMut(WatcherIx)) {
        if node == NONE {
            return;
        }
        let entry = self.entry(node);
        if !self.entry(entry.furthest).range.ends_after(key) {
            return;
        }
        self.stab(entry.left, key, found);
        if entry.range.start.as_ref() <= key {
            if entry.range.ends_after(key) {
                entry.members.as_slice().iter().copied().for_each(&mut *found);
            }
            self.stab(entry.right, key, found);
        }
    }

    fn entry(&self, ix: u32) -> &Entry {
        self.entries[ix as usize].as_ref().expect("the trees name only entries that are in use")
    }

    fn entry_mut(&mut self, ix: u32) -> &mut Entry {
        self.entries[ix as usize].as_mut().expect("the trees name only entries that are in use")
    }

    fn find(&self, mut node: u32, range: &WatchRange) -> Option<u32> {
        while node != NONE {
            let entry = self.entry(node);
            match range.cmp(&entry.range) {
                Ordering::Less => node = entry.left,
                Ordering::Greater => node = entry.right,
                Ordering::Equal => return Some(node),
            }
        }
        None
    }

    fn allocate(&mut self, range: WatchRange, watcher: WatcherIx) -> u32 {
        let ix = match self.free.pop() {
            Some(ix) => ix,
            None => {
                self.entries.push(None);
                u32::try_from(self.entries.len() - 1).expect("watchers are numbered with 32 bits")
            }
        };
        self.inserted += 1;
        let priority = scatter(self.inserted);
        let members = Members::One(watcher);
        self.entries[ix as usize] = Some(Entry { range, members, left: NONE, right: NONE, furthest: ix, priority });
        ix
    }

    fn insert_below(&mut self, root: u32, new: u32) -> u32 {
        if root == NONE {
            return new;
        }
        if self.entry(new).priority > self.entry(root).priority {
            let (left, right) = self.split(root, new);
            self.set_children(new, left, right);
            return new;
        }
        let Entry { left, right, .. } = *self.entry(root);
        if self.entry(new).range < self.entry(root).range {
            let left = self.insert_below(left, new);
            self.set_children(root, left, right);
        } else {
            let right = self.insert_below(right, new);
            self.set_children(root, left, right);
        }
        root
    }

    /// Parts the tree at `root` into what lies before and after the entry `at`.
    fn split(&mut self, root: u32, at: u32) -> (u32, u32) {
        if root == NONE {
            return (NONE, NONE);
        }
        let Entry { left, right, .. } = *self.entry(root);
        if self.entry(at).range < self.entry(root).range {
            let (before, after) = self.split(left, at);
            self.set_children(root, after, right);
            (before, root)
        } else {
            let (before, after) = self.split(right, at);
            self.set_children(root, left, before);
            (root, after)
        }
    }

    fn remove_below(&mut self, root: u32, gone: u32) -> u32 {
        let Entry { left, right, .. } = *self.entry(root);
        if root == gone {
            return self.merge(left, right);
        }
        if self.entry(gone).range < self.entry(root).range {
            let left = self.remove_below(left, gone);
            self.set_children(root, left, right);
        } else {
            let right = self.remove_below(right, gone);
            self.set_children(root, left, right);
        }
        root
    }

    /// Joins two trees of which the first lies before the second.
    fn merge(&mut self, before: u32, after: u32) -> u32 {
        if before == NONE || after == NONE {
            return if before == NONE { after } else { before };
        }
        if self.entry(before).priority > self.entry(after).priority {
            let Entry { left, right, .. } = *self.entry(before);
            let right = self.merge(right, after);
            self.set_children(before, left, right);
            before
        } else {
            let Entry { left, right, .. } = *self.entry(after);
            let left = self.merge(before, left);
            self.set_children(after, left, right);
            after
        }
    }

    fn set_children(&mut self, node: u32, left: u32, right: u32) {
        let mut furthest = node;
        for child in [left, right] {
            if child != NONE {
                let candidate = self.entry(child).furthest;
                // `Before` sorts by its key and `Open` after all of them, which is the order of the ends themselves.
                if self.entry(candidate).range.end > self.entry(furthest).range.end {
                    furthest = candidate;
                }
            }
        }
        let entry = self.entry_mut(node);
        (entry.left, entry.right, entry.furthest) = (left, right, furthest);
    }
}

/// Spreads consecutive numbers over all values (the finaliser of splitmix64).
fn scatter(number: u64) -> u32 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u32::try_from(mixed >> 32).expect("the upper half of 64 bits")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn hits(index: &Index, key: &[u8]) -> Vec<WatcherIx> {
        let mut hits = Vec::new();
        index.matching(key, |watcher| hits.push(watcher));
        hits.sort_unstable();
        hits
    }

    fn key() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(prop_oneof![Just(0u8), Just(b'a'), Just(b'b'), Just(0xff)], 0..4).prop_map(Bytes::from)
    }

    fn range() -> impl Strategy<Value = KeyRange> {
        (key(), key())
            .prop_map(|(key, end)| KeyRange::from_request(key, end))
            .prop_filter("not empty", |r| !r.is_empty())
    }

    proptest! {
        #[test]
        fn the_index_finds_what_asking_every_watcher_would_find(
            steps in prop::collection::vec((range(), any::<Option<u16>>()), 1..80),
            keys in prop::collection::vec(key(), 1..20),
        ) {
            let mut index = Index::default();
            let mut model: BTreeMap<WatcherIx, (KeyRange, Place)> = BTreeMap::new();
            for (number, (range, remove)) in (0u32..).zip(&steps) {
                let place = index.insert(WatchRange::from(range), number);
                model.insert(number, (range.clone(), place));
                if let Some(choice) = remove {
                    let victim = *model.keys().nth(usize::from(*choice) % model.len()).expect("not empty");
                    let (range, place) = model.remove(&victim).expect("just found");
                    let removed = index.remove(place);
                    prop_assert_eq!(removed.range, WatchRange::from(&range));
                    if let Some(moved) = removed.moved {
                        model.get_mut(&moved).expect("a member that is still in").1 = place;
                    }
                }
                for key in &keys {
                    let expected: Vec<_> =
                        model.iter().filter(|(_, (range, _))| range.contains(key)).map(|(&watcher, _)| watcher).collect();
                    prop_assert_eq!(hits(&index, key), expected);
                }
            }
            let places: Vec<_> = model.keys().copied().collect();
            for watcher in places {
                let (_, place) = model.remove(&watcher).expect("still in");
                if let Some(moved) = index.remove(place).moved {
                    model.get_mut(&moved).expect("still in").1 = place;
                }
            }
            prop_assert!(index.is_empty());
            prop_assert_eq!(index.free.len(), index.entries.len());
        }
    }

    #[test]
    fn a_hundred_thousand_sorted_ranges_stay_shallow() {
        fn depth(index: &Index, node: u32) -> usize {
            if node == NONE {
                return 0;
            }
            let entry = index.entry(node);
            1 + depth(index, entry.left).max(depth(index, entry.right))
        }
        let mut index = Index::default();
        for number in 0..100_000u32 {
            let key = Bytes::copy_from_slice(&number.to_be_bytes());
            let end = Bytes::copy_from_slice(&(number + 1).to_be_bytes());
            index.insert(WatchRange::from(&KeyRange::Span { start: key, end }), number);
        }
        assert!(depth(&index, index.ranges) < 60);
        assert_eq!(hits(&index, &7u32.to_be_bytes()), [7]);
    }
}
