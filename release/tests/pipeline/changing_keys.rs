//! Keys follow one another: a release is taken from whom the user's key leads to, and from no key that was revoked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_release::checksum;
use cairn_release::digest::digest_file;
use cairn_release::key_list::{
    KEYS_NAME, KeyList, MAX_KEYS, MAX_REASON_BYTES, MAX_SIGNED_RELEASES, Revocation, SignedRelease,
};
use cairn_release::keys::SigningKey;
use cairn_release::sign;
use serde_json::json;
use tempfile::TempDir;

use crate::fixture::{Release, VERSION, minisign, new_key, sign_raw, small_plan_of};

/// Keys by the order in which they sign.
struct Keys {
    folder: TempDir,
}

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        (1..=5).for_each(|n| drop(new_key(folder.path(), &n.to_string())));
        Self { folder }
    }

    fn public(&self, n: usize) -> PathBuf {
        self.folder.path().join(format!("{n}.pub"))
    }

    fn secret(&self, n: usize) -> SigningKey {
        SigningKey::read(&self.folder.path().join(format!("{n}.key")), None).unwrap()
    }

    fn text(&self, n: usize) -> String {
        self.secret(n).public_key()
    }

    /// The list in which this key signs releases.
    fn list(&self, signing: usize) -> KeyList {
        let first = KeyList::begin(&self.secret(1), &self.text(2)).unwrap();
        (2..=signing).fold(first, |list, n| list.rotate(&self.secret(n), &self.text(n + 1)).unwrap())
    }

    /// A release with this list, signed by that key.
    fn release(&self, sequence: u64, list: &KeyList, signer: usize) -> Release {
        let release = Release::unsigned(small_plan_of(VERSION, sequence));
        fs::write(release.file(KEYS_NAME), list.to_json()).unwrap();
        checksum::checksum(&release.plan, &release.dir).unwrap();
        sign::sign(&release.plan, &release.dir, &self.secret(signer)).unwrap();
        release
    }

    /// The usual release of the time at which this key signs.
    fn usual(&self, signing: usize) -> Release {
        self.release(signing as u64, &self.list(signing), signing)
    }
}

fn revoked(releases: &[&Release]) -> Revocation {
    let signed = |release: &&Release| SignedRelease {
        version: VERSION.to_owned(),
        sha256: digest_file(&release.file("release.json")).unwrap().sha256,
    };
    let (day, reason) = ("2030-01-31".to_owned(), "stolen".to_owned());
    Revocation { day, reason, releases: releases.iter().map(signed).collect() }
}

/// Verifies with a key or a list; returns exit code and standard error.
fn verify(release: &Release, trusted: &Path) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
    command.arg("verify").arg("--dir").arg(&release.dir).arg("--public-key").arg(trusted);
    let output = command.args(["--version", VERSION]).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[track_caller]
fn accept(release: &Release, trusted: &Path) {
    let (code, said) = verify(release, trusted);
    assert_eq!(code, 0, "{said}");
}

#[track_caller]
fn refuse(release: &Release, trusted: &Path, code: i32, word: &str) {
    let (got, said) = verify(release, trusted);
    assert_eq!(got, code, "{said}");
    assert!(said.contains(word), "{said}");
}

/// The list of keys of a release that was verified before.
fn seen(release: &Release) -> PathBuf {
    release.file(KEYS_NAME)
}

#[test]
fn whoever_trusts_a_key_takes_the_releases_of_all_keys_that_follow_it() {
    let keys = Keys::new();
    for signing in 1..=3 {
        let release = keys.usual(signing);
        (1..=signing).for_each(|trusted| accept(&release, &keys.public(trusted)));
    }
}

#[test]
fn a_key_that_comes_later_or_from_elsewhere_leads_to_no_release_of_an_earlier_one() {
    let keys = Keys::new();
    let release = keys.usual(2);
    for trusted in [3, 5] {
        refuse(&release, &keys.public(trusted), 12, "another key");
    }
}

#[test]
fn whoever_trusts_a_list_takes_the_releases_of_its_keys_and_of_all_that_follow() {
    let keys = Keys::new();
    let releases = [1, 2, 3, 4].map(|signing| keys.usual(signing));
    for list in &releases {
        releases.iter().for_each(|release| accept(release, &seen(list)));
    }
}

#[test]
fn what_a_revoked_key_signs_is_refused_but_for_what_it_signed_rightly() {
    let keys = Keys::new();
    let good = keys.usual(1);
    let forged = keys.release(9, &keys.list(1), 1);
    // Nobody who has not heard of it can tell them apart.
    [&good, &forged].iter().for_each(|release| accept(release, &keys.public(1)));
    let list = keys.list(2).revoke(&keys.text(1), revoked(&[&good])).unwrap();
    let news = keys.release(2, &list, 2);
    accept(&good, &seen(&news));
    refuse(&forged, &seen(&news), 23, "none of the releases that it signed rightly");
}

#[test]
fn what_a_revoked_key_leads_to_is_not_trusted() {
    let keys = Keys::new();
    let list = keys.list(2).revoke(&keys.text(1), revoked(&[])).unwrap();
    let news = keys.release(2, &list, 2);
    refuse(&news, &keys.public(1), 23, "revoked on 2030-01-31 (stolen)");
    accept(&news, &keys.public(2));
    // The next key was announced before the one that announced it was stolen.
    let before = keys.usual(1);
    accept(&news, &seen(&before));
    let later = list.rotate(&keys.secret(3), &keys.text(4)).unwrap();
    accept(&keys.release(3, &later, 3), &seen(&before));
    // Here the stolen key is between the list and the key that signs.
    let list = keys.list(3).revoke(&keys.text(2), revoked(&[])).unwrap();
    let news = keys.release(3, &list, 3);
    for trusted in [keys.public(1), keys.public(2), seen(&before)] {
        refuse(&news, &trusted, 23, &format!("{} was revoked", keys.text(2)));
    }
    accept(&news, &seen(&keys.usual(2)));
}

#[test]
fn a_thief_who_names_another_next_key_is_found_by_whoever_has_the_right_list() {
    let keys = Keys::new();
    let before = keys.usual(1);
    let forged = KeyList::begin(&keys.secret(1), &keys.text(4)).unwrap();
    let forged = forged.rotate(&keys.secret(4), &keys.text(5)).unwrap();
    refuse(&keys.release(9, &forged, 4), &seen(&before), 24, "somebody else made it");
}

/// A list that goes on with keys that this one has named, whatever the right order is.
fn going_on(list: &KeyList, keys: &Keys, by: usize, names: [usize; 2]) -> KeyList {
    let mut value: serde_json::Value = serde_json::from_str(&list.to_json()).unwrap();
    let mut by = by;
    for next in names {
        let named = KeyList::begin(&keys.secret(by), &keys.text(next)).unwrap().to_json();
        let mut named: serde_json::Value = serde_json::from_str(&named).unwrap();
        value["keys"].as_array_mut().unwrap().push(named["keys"][1].take());
        by = next;
    }
    KeyList::parse(value.to_string().as_bytes()).unwrap()
}

#[test]
fn a_key_that_was_stolen_cannot_put_others_behind_those_of_a_list() {
    let keys = Keys::new();
    let right = keys.list(2);
    let revoking = right.revoke(&keys.text(1), revoked(&[])).unwrap();
    let news = keys.release(2, &revoking, 2);
    // The thief's list does as if nothing had been revoked.
    let silent = keys.release(9, &going_on(&right, &keys, 1, [4, 5]), 4);
    refuse(&silent, &seen(&news), 24, "somebody else made it");
    // It says what was revoked, and goes on from there.
    let open = keys.release(9, &going_on(&revoking, &keys, 1, [4, 5]), 4);
    refuse(&open, &seen(&news), 12, "another key");
    // The key signs no more and is not known to be stolen: it may not go on either.
    refuse(&silent, &seen(&keys.usual(2)), 12, "another key");
}

#[test]
fn a_next_key_that_is_lost_is_replaced_by_the_one_that_signs() {
    let keys = Keys::new();
    let (day, reason) = ("2030-01-31".to_owned(), "lost".to_owned());
    let replaced = keys.list(1).replace_next(&keys.secret(1), &keys.text(3), day, reason).unwrap();
    assert_eq!((replaced.signing(), replaced.next()), (keys.text(1).as_str(), keys.text(3).as_str()));
    let (before, after) = (keys.usual(1), keys.release(2, &replaced, 1));
    accept(&after, &keys.public(1));
    accept(&after, &seen(&before));
    let list = replaced.rotate(&keys.secret(3), &keys.text(4)).unwrap();
    let release = keys.release(3, &list, 3);
    for trusted in [keys.public(1), seen(&before), seen(&after)] {
        accept(&release, &trusted);
    }
    refuse(&release, &keys.public(2), 12, "another key");
    // Whoever found the lost one goes nowhere with it.
    refuse(&keys.release(9, &keys.list(2), 2), &seen(&after), 23, "none of the releases that it signed rightly");
}

#[test]
fn nobody_who_has_no_key_can_call_one_revoked() {
    let keys = Keys::new();
    let release = keys.usual(2);
    let list = keys.list(2).revoke(&keys.text(1), revoked(&[])).unwrap().to_json();
    release.replace_signed_by(&keys.folder.path().join("4.key"), KEYS_NAME, &list);
    refuse(&release, &keys.public(1), 12, KEYS_NAME);
    fs::copy(keys.usual(2).file("keys.json.minisig"), release.file("keys.json.minisig")).unwrap();
    refuse(&release, &keys.public(1), 10, KEYS_NAME);
}

#[test]
fn a_trusted_file_that_is_neither_key_nor_list_is_refused_with_21() {
    let keys = Keys::new();
    let file = keys.folder.path().join("trusted");
    fs::write(&file, "{}").unwrap();
    refuse(&keys.usual(1), &file, 21, "list of keys");
}

#[test]
fn a_list_that_contradicts_itself_is_refused_with_24() {
    let keys = Keys::new();
    let release = keys.usual(2);
    let good = keys.list(2).to_json();
    let strange = KeyList::begin(&keys.secret(4), &keys.text(5)).unwrap().to_json();
    let line = keys.folder.path().join("line");
    fs::write(&line, keys.text(3)).unwrap();
    sign_raw(&keys.folder.path().join("2.key"), &line, &format!("product=menhir next-key={}", keys.text(3)));
    let with_another_comment = fs::read_to_string(line.with_extension("minisig")).unwrap();
    let endorsement =
        |list: &str, nth: usize| list.split("\"endorsement\": ").nth(nth).unwrap().lines().next().unwrap().to_owned();
    for (bad, why) in [
        ("not JSON".to_owned(), "expected"),
        (good.replace("\"schema\": 1", "\"schema\": 2"), "schema"),
        (good.replace("\"product\": \"cairn\"", "\"product\": \"menhir\""), "menhir"),
        (good.replace(&keys.text(2), &keys.text(1)), "twice"),
        (good.replace(&keys.text(3), "RWQ"), "no minisign key"),
        (good.replace(&keys.text(3), &keys.text(4)), "no earlier key"),
        (good.replace(&endorsement(&good, 2), &endorsement(&strange, 1)), "no earlier key"),
        (good.replace(&endorsement(&good, 2), &endorsement(&good, 1)), "no earlier key"),
        (
            good.replace(&endorsement(&good, 2), &serde_json::to_string(&with_another_comment).unwrap()),
            "no earlier key",
        ),
        (good.replacen("\"public_key\"", "\"state\": 1, \"public_key\"", 1), "unknown field"),
        (good.replacen("\"public_key\"", "\"\\u001b\\u202e[2J\": 1, \"public_key\"", 1), "unknown field `[2J`"),
    ] {
        assert_ne!(bad, good);
        release.replace_signed_by(&keys.folder.path().join("2.key"), KEYS_NAME, &bad);
        refuse(&release, &keys.public(2), 24, why);
    }
}

#[test]
fn a_list_is_of_few_keys_that_count_and_says_little_of_those_that_do_not() {
    let keys = Keys::new();
    let good: serde_json::Value = serde_json::from_str(&keys.list(3).to_json()).unwrap();
    let with = |revocations: &[(usize, serde_json::Value)]| {
        let mut list = good.clone();
        for (at, revocation) in revocations {
            list["keys"][at]["revoked"] = revocation.clone();
        }
        KeyList::parse(list.to_string().as_bytes())
    };
    let release = |sha256: &str| json!({"version": "1.2.3", "sha256": sha256});
    let revoked = |reason: &str, releases: Vec<serde_json::Value>| json!({"day": "2030-01-31", "reason": reason, "releases": releases});
    let right = revoked("stolen", vec![release(&"0".repeat(64))]);
    assert!(with(&[(0, right.clone()), (1, right.clone())]).is_ok());
    assert!(with(&[(0, right.clone()), (1, right.clone()), (2, right)]).unwrap_err().contains("lacks a key"));
    for (bad, why) in [
        (revoked("", vec![]), "reason"),
        (revoked(&"x".repeat(MAX_REASON_BYTES + 1), vec![]), "reason"),
        (revoked("stolen", vec![release("0")]), "hexadecimal"),
        (revoked("stolen", vec![json!({"version": "one", "sha256": "0".repeat(64)})]), "no version"),
        (revoked("stolen", vec![release(&"0".repeat(64)); MAX_SIGNED_RELEASES + 1]), "the most"),
        (json!({"day": "then", "reason": "stolen", "releases": []}), "no day"),
    ] {
        let said = with(&[(0, bad)]).unwrap_err();
        assert!(said.contains(why) && said.len() <= MAX_REASON_BYTES, "{said}");
    }
    let many = vec![good["keys"][0].clone(); MAX_KEYS + 1];
    let list = json!({"schema": 1, "product": "cairn", "keys": many});
    assert!(KeyList::parse(list.to_string().as_bytes()).unwrap_err().contains("the most"));
}

#[test]
fn a_list_that_the_manifest_does_not_have_is_refused() {
    let keys = Keys::new();
    let release = keys.usual(2);
    let list = fs::read_to_string(release.file(KEYS_NAME)).unwrap().replacen('\n', " ", 1);
    release.replace_signed_by(&keys.folder.path().join("2.key"), KEYS_NAME, &list);
    refuse(&release, &keys.public(2), 17, KEYS_NAME);
}

#[test]
fn a_release_is_signed_by_the_key_that_its_list_names_alone() {
    let keys = Keys::new();
    let release = keys.usual(2);
    for signer in [1, 3] {
        let error = sign::sign(&release.plan, &release.dir, &keys.secret(signer)).unwrap_err();
        assert!(error.to_string().contains(&format!("{} signs releases", keys.text(2))), "{error:#}");
    }
}

#[test]
fn a_list_is_changed_by_the_right_key_alone() {
    let keys = Keys::new();
    let list = keys.list(2);
    let day = || "2030-01-31".to_owned();
    for n in [1, 2, 4] {
        assert!(list.rotate(&keys.secret(n), &keys.text(5)).is_err(), "{n}");
    }
    for n in [1, 3, 4] {
        assert!(list.replace_next(&keys.secret(n), &keys.text(5), day(), day()).is_err(), "{n}");
    }
    for n in [2, 3, 4] {
        assert!(list.revoke(&keys.text(n), revoked(&[])).is_err(), "{n}");
    }
    assert!(list.rotate(&keys.secret(3), &keys.text(1)).is_err());
    assert!(KeyList::begin(&keys.secret(1), &keys.text(1)).is_err());
}

#[test]
fn the_stock_minisign_accepts_an_endorsement() {
    let keys = Keys::new();
    let list: serde_json::Value = serde_json::from_str(&keys.list(1).to_json()).unwrap();
    let at = |name: &str| keys.folder.path().join(name);
    fs::write(at("key"), list["keys"][1]["public_key"].as_str().unwrap()).unwrap();
    fs::write(at("key.minisig"), list["keys"][1]["endorsement"].as_str().unwrap()).unwrap();
    let output = minisign().arg("-V").arg("-p").arg(keys.public(1)).arg("-m").arg(at("key")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let comment = format!("product=cairn next-key={}", keys.text(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&comment), "{output:?}");
}

#[test]
fn the_commands_keep_the_list_and_the_key_that_signs() {
    let keys = Keys::new();
    let dir = keys.folder.path().join("public");
    let run = |words: &[&str], code: i32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
        command.current_dir(keys.folder.path()).arg("keys").args(words);
        if words[0] != "show" {
            // What a dry run says is what happens then.
            let dry = command.arg("--dir").arg(&dir).arg("--dry-run").output().unwrap();
            command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
            command.current_dir(keys.folder.path()).arg("keys").args(words);
            let output = command.arg("--dir").arg(&dir).output().unwrap();
            assert_eq!((dry.status, &dry.stdout), (output.status, &output.stdout));
            assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
            return String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        }
        String::from_utf8(command.arg("--dir").arg(&dir).output().unwrap().stdout).unwrap()
    };
    let states = |said: &str| said.lines().map(|line| line.split_once("  ").unwrap().1.to_owned()).collect::<Vec<_>>();
    let signs = |n: usize| assert_eq!(fs::read(dir.join("cairn.pub")).unwrap(), fs::read(keys.public(n)).unwrap());

    fs::create_dir(&dir).unwrap();
    fs::copy(keys.public(3), dir.join("cairn.pub")).unwrap();
    assert!(run(&["begin", "--minisign-key", "1.key", "--next", "2.pub"], 1).contains("never overwritten"));
    fs::copy(keys.public(1), dir.join("cairn.pub")).unwrap();
    let said = run(&["begin", "--minisign-key", "1.key", "--next", "2.pub"], 0);
    assert_eq!(states(&said), ["signs releases", "comes next"]);
    signs(1);
    assert!(run(&["begin", "--minisign-key", "1.key", "--next", "2.pub"], 1).contains("never overwritten"));

    let why = ["--day", "2030-01-31", "--reason", "its safe was opened"];
    let revoke = [&["revoke", "--public-key", "1.pub"][..], &why].concat();
    assert!(run(&revoke, 1).contains("first `keys rotate`"));
    run(&["rotate", "--minisign-key", "2.key", "--next", "3.pub"], 0);
    signs(2);
    let good = keys.usual(1);
    let said = run(&[&revoke[..], &["--release", &good.dir.display().to_string()]].concat(), 0);
    let first = "revoked on 2030-01-31 (its safe was opened); 1 releases stay good";
    assert_eq!(states(&said), [first, "signs releases", "comes next"]);
    let replace = [&["replace-next", "--minisign-key", "2.key", "--next", "4.pub"][..], &why].concat();
    let said = run(&replace, 0);
    let third = "revoked on 2030-01-31 (its safe was opened); 0 releases stay good";
    assert_eq!(states(&said), [first, "signs releases", third, "comes next"]);
    assert_eq!(run(&["show"], 0), said);
    signs(2);

    let list = KeyList::parse(&fs::read(dir.join(KEYS_NAME)).unwrap()).unwrap();
    accept(&good, &seen(&keys.release(2, &list, 2)));
    // What another key signed was not signed by this one.
    let second = keys.usual(2);
    let other = second.dir.display().to_string();
    assert!(run(&[&revoke[..], &["--release", &other]].concat(), 12).contains("signed with another key"));
    let day = ["--day", "yesterday", "--reason", "lost"];
    assert!(run(&[&["revoke", "--public-key", "1.pub"][..], &day].concat(), 1).contains("no day"));
    let reason = ["--day", "2030-01-31", "--reason", "\u{1b}[2J"];
    assert!(run(&[&["revoke", "--public-key", "1.pub"][..], &reason].concat(), 1).contains("\\u{1b}[2J"));
}
