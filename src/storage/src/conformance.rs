//! The contract of [`Engine`] as a test that every engine must pass.
//!
//! [`run`] panics with the rule that was broken. It needs no test framework and no randomness of its own making: the
//! random operations come from a fixed seed, so that a failure comes back on the next run.
//! Left out: what only a killed process can show (the engines' own crash tests) and failing disks.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Batch, Column, Engine, View};

/// How one kind of engine is opened. All functions panic where that fails.
pub trait Subject {
    /// The engine under test.
    type Engine: Engine;

    /// A new, empty engine in `dir`, which exists and is empty.
    fn create(&self, dir: &Path) -> Self::Engine;

    /// Closes `engine`, whose folder is `dir`, in the rudest way that can be had within one process, and opens it again.
    fn reopen(&self, engine: Self::Engine, dir: &Path) -> Self::Engine;

    /// Opens what [`Engine::checkpoint`] wrote into `dir`.
    fn open_checkpoint(&self, dir: &Path) -> Self::Engine;
}

/// Checks the whole contract; `scratch` is an existing folder, which is left with garbage in it.
///
/// # Panics
/// Where the engine breaks the contract, or fails.
pub fn run<S: Subject>(subject: &S, scratch: &Path) {
    let checks: [(&str, Check<S>); 13] = [
        ("a-batch-shows-in-all-columns-at-once", a_batch_shows_in_all_columns_at_once),
        ("the-later-of-two-changes-of-a-key-wins", the_later_of_two_changes_of_a_key_wins),
        ("a-view-does-not-change", a_view_does_not_change),
        ("a-scan-keeps-within-its-bounds", a_scan_keeps_within_its_bounds),
        ("a-cursor-moves-forward-only", a_cursor_moves_forward_only),
        ("empty-and-extreme-keys-are-keys", empty_and_extreme_keys_are_keys),
        ("large-values-come-back-whole", large_values_come_back_whole),
        ("only-a-flush-makes-durable", only_a_flush_makes_durable),
        ("what-was-flushed-survives", what_was_flushed_survives),
        ("a-checkpoint-is-a-whole-engine", a_checkpoint_is_a_whole_engine),
        ("size-counts-what-was-written", size_counts_what_was_written),
        ("reclaim-takes-nothing-that-lives", reclaim_takes_nothing_that_lives),
        ("random-operations-agree-with-a-model", random_operations_agree_with_a_model),
    ];
    for (name, check) in checks {
        let dir = scratch.join(name);
        fs::create_dir(&dir).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
        check(subject, &dir);
    }
}

type Check<S> = fn(&S, &Path);
type Entry = (Bytes, Bytes);

fn a_batch_shows_in_all_columns_at_once<S: Subject>(subject: &S, dir: &Path) {
    let engine = subject.create(dir);
    write(&engine, |batch| batch.put(Column::Cur, "old", "1"));
    let before = view(&engine);
    write(&engine, |batch| {
        batch.delete(Column::Cur, "old");
        for column in Column::ALL {
            batch.put(column, "k", column.name());
        }
    });
    let after = view(&engine);
    for column in Column::ALL {
        assert_eq!(get(&*before, column, b"k"), None, "{column:?} before the batch");
        assert_eq!(get(&*after, column, b"k"), Some(column.name().into()), "{column:?} after the batch");
    }
    assert_eq!(get(&*after, Column::Cur, b"old"), None);
    write(&engine, |_| {});
    assert_eq!(all(&*view(&engine)), all(&*after), "an empty batch changes nothing");
}

fn the_later_of_two_changes_of_a_key_wins<S: Subject>(subject: &S, dir: &Path) {
    let engine = subject.create(dir);
    write(&engine, |batch| {
        batch.put(Column::Rev, "put-put", "1");
        batch.put(Column::Rev, "put-put", "2");
        batch.put(Column::Rev, "put-delete", "1");
        batch.delete(Column::Rev, "put-delete");
        batch.delete(Column::Rev, "delete-put");
        batch.put(Column::Rev, "delete-put", "2");
        batch.delete(Column::Rev, "absent");
    });
    let expected = entries(&[("delete-put", "2"), ("put-put", "2")]);
    assert_eq!(scan(&*view(&engine), Column::Rev, b"", None), expected);
}

fn a_view_does_not_change<S: Subject>(subject: &S, dir: &Path) {
    let engine = subject.create(dir);
    write(&engine, |batch| {
        batch.put(Column::Cur, "a", "1");
        batch.put(Column::Cur, "b", "1");
    });
    let old = view(&engine);
    let mut open = old.scan(Column::Cur, b"", None).expect("a scan can begin");
    assert!(open.advance().expect("a cursor can move"));
    write(&engine, |batch| {
        batch.put(Column::Cur, "a", "2");
        batch.delete(Column::Cur, "b");
        batch.put(Column::Cur, "c", "2");
    });
    flush(&engine);
    engine.reclaim(Column::Cur, b"", b"z").expect("space can be reclaimed");
    assert_eq!((open.key(), open.value()), (&b"a"[..], &b"1"[..]));
    assert!(open.advance().expect("a cursor can move"));
    assert_eq!((open.key(), open.value()), (&b"b"[..], &b"1"[..]));
    assert!(!open.advance().expect("a cursor can move"));
    drop(open);
    assert_eq!(scan(&*old, Column::Cur, b"", None), entries(&[("a", "1"), ("b", "1")]));
    assert_eq!(get(&*old, Column::Cur, b"b"), Some("1".into()));
    let new = view(&engine);
    drop(old);
    assert_eq!(scan(&*new, Column::Cur, b"", None), entries(&[("a", "2"), ("c", "2")]));
    drop(engine);
    assert_eq!(get(&*new, Column::Cur, b"c"), Some("2".into()), "a view outlives the engine's handle");
}

fn a_scan_keeps_within_its_bounds<S: Subject>(subject: &S, dir: &Path) {
    let engine = subject.create(dir);
    let letters = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")];
    write(&engine, |batch| {
        batch.put(Column::Rev, "b", "of another column");
        for (key, value) in letters {
            batch.put(Column::Cur, key, value);
        }
    });
    for flushed in [false, true] {
        let view = view(&engine);
        let keys = |start: &str, end: Option<&str>| -> Vec<Entry> {
            scan(&*view, Column::Cur, start.as_bytes(), end.map(str::as_bytes))
        };
        assert_eq!(keys("", None), entries(&letters), "everything (flushed: {flushed})");
        assert_eq!(keys("b", None), entries(&letters[1..]), "the start is included");
        assert_eq!(keys("b", Some("d")), entries(&letters[1..3]), "the end is not");
        assert_eq!(keys("aa", Some("cc")), entries(&letters[1..3]), "bounds need not be keys");
        assert_eq!(keys("b", Some("b")), [], "an empty range");
        assert_eq!(keys("c", Some("b")), [], "a range turned around");
        assert_eq!(keys("", Some("")), [], "nothing lies before the empty key");
        assert_eq!(keys("e", None), [], "past the last key");
        flush(&engine);
    }
}

fn a_cursor_moves_forward_only<S: Subject>(subject: &S, dir: &Path) {
    let engine = subject.create(dir);
    write(&engine, |batch| {
        for key in ["a", "c", "e", "g", "i"] {
            batch.put(Column::Hist, key, format!("={key}"));
        }
    });
    let view = view(&engine);
    let mut cursor = view.scan(Column::Hist, b"b", Some(b"h")).expect("a scan can begin");
    assert_eq!((cursor.key(), cursor.value()), (&b""[..], &b""[..]), "before the first entry");
    assert!(cursor.seek(b"d").expect("a cursor can seek"));
    assert_eq!((cursor.key(), cursor.value()), (&b"e"[..], &b"=e"[..]));
    assert!(cursor.seek(b"e").expect("a cursor can seek"), "to where it is");
    assert_eq!(cursor.key(), b"e");
    assert!(cursor.advance().expect("a cursor can move"), "on from where it sought");
    assert_eq!(cursor.key(), b"g");
    assert!(!cursor.seek(b"gg").expect("a cursor can seek"), "nothing is left before the end");
    assert_eq!((cursor.key(), cursor.value()), (&b""[..], &b""[..]));
    assert!(!cursor.advance().expect("a cursor can move"), "the end is for good");
    assert!(!cursor.seek(b"gg").expect("a cursor can seek"), "the end is for good");

    let mut cursor = view.scan(Column::Hist, b"b", Some(b"d")).expect("a scan can begin");
    assert!(cursor.advance().expect("a cursor can move"));
    assert_eq!(cursor.key(), b"c");
    assert!(!cursor.advance().expect("a cursor can move"));
    assert!(!cursor.advance().expect("a cursor can move"));
    assert!(!cursor.seek(b"c").expect("a cursor can seek"), "the end is for good");
    assert_eq!(cursor.key(), b"");

    let mut cursor = view.scan(Column::Hist, b"b", None).expect("a scan can begin");
    assert!(cursor.seek(b"b").expect("a cursor can seek"), "to the start");
    assert_eq!(cursor.key(), b"c");
}

fn empty_and_extreme_keys_are_keys<S: Subject>(subject: &S, dir: &Path) {
    let engine = subject.create(dir);
    let keys: [&[u8]; 7] = [b"", b"\x00", b"\x00\x00", b"\x7f", b"\x80", b"\xff", b"\xff\xff\xff"];
    write(&engine, |batch| {
        for key in keys {
            batch.put(Column::Cur, key, "");
        }
    });
    for flushed in [false, true] {
        let view = view(&engine);
        let found: Vec<Bytes> = scan(&*view, Column::Cur, b"", None).into_iter().map(|(key, _)| key).collect();
        assert_eq!(found, keys, "keys ascend as unsigned bytes (flushed: {flushed})");
        for key in keys {
            assert_eq!(get(&*view, Column::Cur, key), Some(Bytes::new()), "an empty value is not an absent one");
        }
        assert_eq!(get(&*view, Column::Cur, b"\xff\xff"), None);
        assert_eq!(scan(&*view, Column::Cur, b"\xff", None).len(), 2);
        assert_eq!(scan(&*view, Column::Cur, b"", Some(b"\x00")).len(), 1);
        flush(&engine);
    }
    write(&engine, |batch| batch.delete(Column::Cur, ""));
    assert_eq!(get(&*view(&engine), Column::Cur, b""), None);
}

fn large_values_come_back_whole<S: Subject>(subject: &S, dir: &Path) {
    let engine = subject.create(dir);
    let mut random = Random(7);
    let value: Bytes = (0..4 << 20).map(|_| random.byte()).collect();
    let key: Bytes = (0..64 << 10).map(|_| random.byte()).collect();
    write(&engine, |batch| {
        batch.put(Column::Rev, key.clone(), value.clone());
        batch.put(Column::Rev, "\0", value.clone());
    });
    for _flushed in [false, true] {
        let view = view(&engine);
        assert!(get(&*view, Column::Rev, &key).as_ref() == Some(&value), "4 MiB under a key of 64 KiB");
        let found = scan(&*view, Column::Rev, b"", None);
        assert!(found == [(Bytes::from_static(b"\0"), value.clone()), (key.clone(), value.clone())]);
        flush(&engine);
    }
}

fn only_a_flush_makes_durable<S: Subject>(subject: &S, dir: &Path) {
    let engine = subject.create(dir);
    let persisted = |key: &[u8]| -> Vec<Option<Bytes>> {
        let value = |column| engine.persisted(column, key).expect("what is persisted can be read");
        Column::ALL.into_iter().map(value).collect()
    };
    let put = |value: &'static str| {
        write(&engine, |batch| Column::ALL.into_iter().for_each(|column| batch.put(column, "k", value)));
    };
    assert_eq!(persisted(b"k"), vec![None; 4], "of an empty engine");
    put("1");
    assert_eq!(persisted(b"k"), vec![None; 4], "before the flush");
    flush(&engine);
    assert_eq!(persisted(b"k"), vec![Some("1".into()); 4], "after the flush");
    put("2");
    assert_eq!(persisted(b"k"), vec![Some("1".into()); 4], "the old value before the next flush");
    assert_eq!(get(&*view(&engine), Column::Meta, b"k"), Some("2".into()), "while views show the new one");
    write(&engine, |batch| Column::ALL.into_iter().for_each(|column| batch.delete(column, "k")));
    assert_eq!(persisted(b"k"), vec![Some("1".into()); 4], "a deletion is durable no sooner");
    flush(&engine);
    assert_eq!(persisted(b"k"), vec![None; 4]);
    flush(&engine);
}

fn what_was_flushed_survives<S: Subject>(subject: &S, dir: &Path) {
    let engine = subject.create(dir);
    write(&engine, |batch| {
        for column in Column::ALL {
            batch.put(column, "a", column.name());
            batch.put(column, "b", "1");
        }
    });
    write(&engine, |batch| batch.delete(Column::Rev, "b"));
    flush(&engine);
    let before = all(&*view(&engine));
    let engine = subject.reopen(engine, dir);
    assert_eq!(all(&*view(&engine)), before);
    assert_eq!(engine.persisted(Column::Rev, b"b").expect("what is persisted can be read"), None);
    write(&engine, |batch| batch.put(Column::Meta, "c", "2"));
    flush(&engine);
    let engine = subject.reopen(engine, dir);
    assert_eq!(get(&*view(&engine), Column::Meta, b"c"), Some("2".into()), "after a second life");
    assert_eq!(get(&*view(&engine), Column::Hist, b"a"), Some("hist".into()));
}

fn a_checkpoint_is_a_whole_engine<S: Subject>(subject: &S, dir: &Path) {
    let home = dir.join("engine");
    fs::create_dir(&home).expect("the scratch folder can be written");
    let engine = subject.create(&home);
    write(&engine, |batch| Column::ALL.into_iter().for_each(|column| batch.put(column, "flushed", "1")));
    flush(&engine);
    write(&engine, |batch| Column::ALL.into_iter().for_each(|column| batch.put(column, "unflushed", "2")));
    let taken = all(&*view(&engine));
    let target = dir.join("checkpoint");
    engine.checkpoint(&target).expect("a checkpoint can be written");
    write(&engine, |batch| batch.put(Column::Cur, "later", "3"));
    assert!(
        matches!(engine.checkpoint(&target), Err(crate::EngineError::TargetExists { .. })),
        "a checkpoint writes over nothing"
    );

    let copy = subject.open_checkpoint(&target);
    assert_eq!(all(&*view(&copy)), taken, "the copy holds what was written, flushed or not");
    let persisted = copy.persisted(Column::Meta, b"unflushed").expect("what is persisted can be read");
    assert_eq!(persisted, Some("2".into()), "and holds it durably");
    write(&copy, |batch| batch.put(Column::Cur, "in the copy", "4"));
    flush(&copy);
    assert_eq!(get(&*view(&engine), Column::Cur, b"in the copy"), None, "the two share nothing that changes");
    assert_eq!(get(&*view(&engine), Column::Cur, b"later"), Some("3".into()));
}

fn size_counts_what_was_written<S: Subject>(subject: &S, dir: &Path) {
    let engine = subject.create(dir);
    let size = || {
        let size = engine.size().expect("the size can be read");
        assert!(size.in_use <= size.total, "{size:?}");
        size
    };
    size();
    write(&engine, |batch| batch.put(Column::Meta, "k", "v"));
    assert!(size().total > 0, "after one small write");
    assert!(size().in_use > 0, "after one small write");
    flush(&engine);
    assert!(size().total > 0, "after its flush");
    let small = size();
    let mut random = Random(11);
    write(&engine, |batch| batch.put(Column::Rev, "large", (0..1 << 20).map(|_| random.byte()).collect::<Bytes>()));
    assert!(size().total >= small.total + (1 << 20), "1 MiB more than {small:?}: {:?}", size());
    flush(&engine);
    assert!(size().total >= 1 << 20, "random bytes take their space on disk too: {:?}", size());
}

fn reclaim_takes_nothing_that_lives<S: Subject>(subject: &S, dir: &Path) {
    let engine = subject.create(dir);
    let key = |n: u32| Bytes::copy_from_slice(&n.to_be_bytes());
    for n in 0..200 {
        write(&engine, |batch| batch.put(Column::Rev, key(n), vec![b'x'; 100]));
    }
    flush(&engine);
    write(&engine, |batch| (0..100).for_each(|n| batch.delete(Column::Rev, key(n))));
    engine.reclaim(Column::Rev, &key(0), &key(100)).expect("space can be reclaimed");
    engine.reclaim(Column::Rev, &key(100), &key(100)).expect("an empty range can be reclaimed");
    let found = scan(&*view(&engine), Column::Rev, b"", None);
    assert_eq!(found.len(), 100);
    assert_eq!(found[0].0, key(100));
    flush(&engine);
    let engine = subject.reopen(engine, dir);
    assert_eq!(scan(&*view(&engine), Column::Rev, b"", None), found, "after opening it again");
}

type Model = BTreeMap<(Column, Bytes), Bytes>;

fn random_operations_agree_with_a_model<S: Subject>(subject: &S, dir: &Path) {
    let mut engine = subject.create(dir);
    let mut random = Random(42);
    let mut model = Model::new();
    let mut flushed = Model::new();
    let mut old: Option<(Arc<dyn View>, Model)> = None;
    for step in 0..1_500 {
        match random.below(20) {
            0 => {
                flush(&engine);
                flushed.clone_from(&model);
            }
            1 if step % 10 == 0 => {
                flush(&engine);
                old = None;
                engine = subject.reopen(engine, dir);
                flushed.clone_from(&model);
            }
            1 | 2 => old = Some((view(&engine), model.clone())),
            3 if flushed == model => {
                let (column, key) = (random.column(), random.key());
                let persisted = engine.persisted(column, &key).expect("what is persisted can be read");
                assert_eq!(persisted.as_ref(), flushed.get(&(column, key)), "persisted at step {step}");
            }
            4..=9 => {
                check_view(&mut random, &*view(&engine), &model, step);
                if let Some((view, model)) = &old {
                    check_view(&mut random, &**view, model, step);
                }
            }
            _ => write_randomly(&mut random, &engine, &mut model),
        }
    }
    assert_eq!(all(&*view(&engine)), model.into_iter().collect::<Vec<_>>());
}

fn write_randomly(random: &mut Random, engine: &dyn Engine, model: &mut Model) {
    let mut batch = Batch::new();
    for _ in 0..random.below(8) {
        let (column, key) = (random.column(), random.key());
        if random.below(3) == 0 {
            batch.delete(column, key.clone());
            model.remove(&(column, key));
        } else {
            let value: Bytes = (0..random.below(40)).map(|_| random.byte()).collect();
            batch.put(column, key.clone(), value.clone());
            model.insert((column, key), value);
        }
    }
    engine.write(&batch).expect("a batch can be written");
}

fn check_view(random: &mut Random, view: &dyn View, model: &Model, step: u32) {
    let (column, start, end) = (random.column(), random.key(), random.key());
    assert_eq!(get(view, column, &start).as_ref(), model.get(&(column, start.clone())), "get at step {step}");
    let upper =
        if start <= end { Bound::Excluded((column, end.clone())) } else { Bound::Included((column, start.clone())) };
    let end = if start <= end { Some(end) } else { Some(successor(&start)) };
    let expected = model.range((Bound::Included((column, start.clone())), upper));
    let expected: Vec<Entry> = expected.map(|((_, key), value)| (key.clone(), value.clone())).collect();
    assert_eq!(scan(view, column, &start, end.as_deref()), expected, "scan at step {step}");

    let mut cursor = view.scan(column, &start, end.as_deref()).expect("a scan can begin");
    let target = random.key().max(start);
    let first = expected.iter().find(|(key, _)| *key >= target);
    assert_eq!(cursor.seek(&target).expect("a cursor can seek"), first.is_some(), "seek at step {step}");
    let found = (Bytes::copy_from_slice(cursor.key()), Bytes::copy_from_slice(cursor.value()));
    assert_eq!(found, first.cloned().unwrap_or_default(), "seek at step {step}");
}

/// The next key in the order of all keys.
fn successor(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

/// Numbers that look random and are the same on every run (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn column(&mut self) -> Column {
        Column::ALL[usize::from(self.byte() % 4)]
    }

    /// One of a few hundred keys of 0 to 3 bytes, so that operations meet.
    fn key(&mut self) -> Bytes {
        (0..self.below(4)).map(|_| [0, b'a', b'b', b'c', b'd', 0xff][usize::from(self.byte() % 6)]).collect()
    }
}

fn entries(pairs: &[(&'static str, &'static str)]) -> Vec<Entry> {
    pairs
        .iter()
        .map(|(key, value)| (Bytes::from_static(key.as_bytes()), Bytes::from_static(value.as_bytes())))
        .collect()
}

fn write(engine: &dyn Engine, fill: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    fill(&mut batch);
    engine.write(&batch).expect("a batch can be written");
}

fn flush(engine: &dyn Engine) {
    engine.flush().expect("the engine can be flushed");
}

fn view(engine: &dyn Engine) -> Arc<dyn View> {
    engine.view().expect("a view can be taken")
}

fn get(view: &dyn View, column: Column, key: &[u8]) -> Option<Bytes> {
    view.get(column, key).expect("a key can be read")
}

fn scan(view: &dyn View, column: Column, start: &[u8], end: Option<&[u8]>) -> Vec<Entry> {
    let mut cursor = view.scan(column, start, end).expect("a scan can begin");
    let mut found = Vec::new();
    while cursor.advance().expect("a cursor can move") {
        found.push((Bytes::copy_from_slice(cursor.key()), Bytes::copy_from_slice(cursor.value())));
    }
    assert_eq!((cursor.key(), cursor.value()), (&b""[..], &b""[..]), "nothing is to be read past the end");
    found
}

fn all(view: &dyn View) -> Vec<((Column, Bytes), Bytes)> {
    let column = |column| scan(view, column, b"", None).into_iter().map(move |(key, value)| ((column, key), value));
    Column::ALL.into_iter().flat_map(column).collect()
}
