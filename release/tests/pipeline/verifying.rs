//! The verifier accepts a whole release and refuses every way to be wrong with an exit code of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use cairn_release::digest::digest_file;
use cairn_release::key_list::KEYS_NAME;
use cairn_release::{checksum, sign};

use crate::fixture::{Release, VERSION, new_key, plan_with_images, sign_raw, small_plan_of};

/// Runs the program; returns exit code and standard error.
fn run(dir: &Path, public_key: &Path, version: &str, more: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
    command.arg("verify").arg("--dir").arg(dir).arg("--public-key").arg(public_key).args(["--version", version]);
    let output = command.args(more).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The release verifies.
pub(crate) fn accept(release: &Release) {
    let (code, said) = run(&release.dir, &release.public_key, VERSION, &[]);
    assert_eq!(code, 0, "{said}");
}

/// The release is refused with this exit code and a message that has this word.
fn refuse(release: &Release, code: i32, word: &str) {
    let (got, said) = run(&release.dir, &release.public_key, VERSION, &[]);
    assert_eq!(got, code, "{said}");
    assert!(said.contains(word), "{said}");
}

#[test]
fn a_whole_release_is_accepted() {
    accept(&Release::signed());
}

#[test]
fn a_changed_byte_in_any_file_is_refused_with_10() {
    let release = Release::signed();
    for name in release.plan.signed_files() {
        let good = fs::read(release.file(name)).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(release.file(name), bad).unwrap();
            refuse(&release, 10, name);
        }
        fs::write(release.file(name), good).unwrap();
    }
    accept(&release);
}

#[test]
fn appended_and_cut_bytes_are_refused_with_10() {
    let release = Release::signed();
    let path = release.file(&release.archive());
    let good = fs::read(&path).unwrap();
    fs::write(&path, [good.as_slice(), b"x"].concat()).unwrap();
    refuse(&release, 10, "not what was signed");
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    refuse(&release, 10, "not what was signed");
}

#[test]
fn a_damaged_signature_is_refused_with_11() {
    let release = Release::signed();
    let path = release.file("SHA256SUMS.minisig");
    let good = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<_> = good.lines().map(str::to_owned).collect();
    let last = lines[3].clone();
    // Another valid base64 text of the same length: the signature over the comment is then a wrong one.
    lines[3] = format!("{}{}", if last.starts_with('A') { 'B' } else { 'A' }, &last[1..]);
    for bad in [lines.join("\n"), "not a signature".to_owned(), String::new()] {
        fs::write(&path, bad).unwrap();
        refuse(&release, 11, "SHA256SUMS");
    }
}

#[test]
fn a_comment_that_was_edited_to_fit_is_refused_with_11() {
    let release = Release::signed();
    let newer = release.comment_of("SHA256SUMS").replace("sequence=7", "sequence=8");
    let path = release.file("SHA256SUMS.minisig");
    let edited = fs::read_to_string(&path).unwrap().replace(&release.comment_of("SHA256SUMS"), &newer);
    fs::write(&path, edited).unwrap();
    refuse(&release, 11, "SHA256SUMS");
}

#[test]
fn an_unknown_key_is_refused_with_12() {
    let release = Release::signed();
    let (other, _) = new_key(release.scratch.path(), "other");
    let (code, said) = run(&release.dir, &other, VERSION, &[]);
    assert_eq!(code, 12, "{said}");
}

#[test]
fn one_file_signed_by_an_unknown_key_is_refused_with_12() {
    let release = Release::signed();
    new_key(release.scratch.path(), "other");
    let name = release.archive();
    sign_raw(&release.scratch.path().join("other.key"), &release.file(&name), &release.comment_of(&name));
    refuse(&release, 12, &name);
}

#[test]
fn a_file_under_another_file_s_name_is_refused_with_13() {
    let release = Release::signed();
    let name = release.archive();
    fs::copy(release.file("SHA256SUMS"), release.file(&name)).unwrap();
    fs::copy(release.file("SHA256SUMS.minisig"), release.file(&format!("{name}.minisig"))).unwrap();
    refuse(&release, 13, &name);
}

#[test]
fn a_signature_of_another_file_is_refused_with_13() {
    let release = Release::signed();
    fs::copy(release.file("release.json.minisig"), release.file("SHA256SUMS.minisig")).unwrap();
    refuse(&release, 13, "for the file release.json");
}

#[test]
fn another_version_than_the_wanted_one_is_refused_with_14() {
    let release = Release::signed();
    let (code, said) = run(&release.dir, &release.public_key, "1.2.4", &[]);
    assert_eq!(code, 14, "{said}");
    assert!(said.contains("version 1.2.3, not 1.2.4"), "{said}");
}

#[test]
fn one_file_of_another_version_is_refused_with_14() {
    let release = Release::signed();
    let comment = release.comment_of("SHA256SUMS").replace(VERSION, "1.2.2");
    sign_raw(&release.scratch.path().join("first.key"), &release.file("SHA256SUMS"), &comment);
    refuse(&release, 14, "version 1.2.2");
}

#[test]
fn each_missing_file_is_refused_with_15() {
    let release = Release::signed();
    for name in &release.plan.files {
        let good = fs::read(release.file(name)).unwrap();
        fs::remove_file(release.file(name)).unwrap();
        refuse(&release, 15, name);
        fs::write(release.file(name), good).unwrap();
    }
}

#[test]
fn an_extra_file_or_folder_is_refused_with_16() {
    let release = Release::signed();
    for name in ["install.sh", ".hidden", "extra.minisig"] {
        fs::write(release.file(name), "x").unwrap();
        refuse(&release, 16, name);
        fs::remove_file(release.file(name)).unwrap();
    }
    fs::create_dir(release.file("more")).unwrap();
    refuse(&release, 16, "more");
}

#[test]
fn a_signed_manifest_that_makes_no_sense_is_refused_with_17() {
    let release = Release::signed();
    let good = fs::read_to_string(release.file("release.json")).unwrap();
    let archive = release.archive();
    for bad in [
        "not JSON".to_owned(),
        good.replace("\"schema\": 1", "\"schema\": 9"),
        good.replace(VERSION, "9.9.9"),
        good.replace(&archive, "../evil"),
    ] {
        release.replace_signed("release.json", &bad);
        refuse(&release, 17, "release.json");
    }
}

#[test]
fn a_signed_manifest_that_lists_another_hash_or_size_is_refused_with_17() {
    let release = Release::signed();
    let good = fs::read_to_string(release.file("release.json")).unwrap();
    let digest = digest_file(&release.file("SHA256SUMS")).unwrap();
    let size = format!("\"size\": {}", digest.size);
    for bad in [good.replace(&digest.sha256, &"0".repeat(64)), good.replace(&size, &format!("{size}0"))] {
        assert_ne!(bad, good);
        release.replace_signed("release.json", &bad);
        refuse(&release, 17, "size or hash of SHA256SUMS");
    }
}

#[test]
fn a_signed_manifest_that_lists_other_images_than_there_are_is_refused_with_17() {
    let release = Release::unsigned(plan_with_images());
    sign::sign(&release.plan, &release.dir, &release.key).unwrap();
    let good = fs::read_to_string(release.file("release.json")).unwrap();
    let digest = format!("sha256:{}", "1".repeat(64));
    assert!(good.contains(&digest), "{good}");
    release.replace_signed("release.json", &good.replace(&digest, &format!("sha256:{}", "4".repeat(64))));
    refuse(&release, 17, "it lists other images than the archive of images has");
}

#[test]
fn signed_sums_that_contradict_the_manifest_are_refused_with_17() {
    let release = Release::signed();
    let old = digest_file(&release.file("SHA256SUMS")).unwrap().sha256;
    let sums = format!("{}  {}\n", "0".repeat(64), release.archive());
    release.replace_signed("SHA256SUMS", &sums);
    let digest = digest_file(&release.file("SHA256SUMS")).unwrap();
    let manifest = fs::read_to_string(release.file("release.json")).unwrap().replace(&old, &digest.sha256);
    release.replace_signed("release.json", &manifest);
    refuse(&release, 17, "SHA256SUMS");
}

#[test]
fn a_file_of_another_product_is_refused_with_18() {
    let release = Release::signed();
    let comment = release.comment_of("release.json").replace("product=cairn", "product=menhir");
    sign_raw(&release.scratch.path().join("first.key"), &release.file("release.json"), &comment);
    refuse(&release, 18, "menhir");
}

#[test]
fn an_older_release_than_the_last_one_seen_is_refused_with_19() {
    let release = Release::signed();
    assert_eq!(run(&release.dir, &release.public_key, VERSION, &["--min-sequence", "7"]).0, 0);
    let (code, said) = run(&release.dir, &release.public_key, VERSION, &["--min-sequence", "8"]);
    assert_eq!(code, 19, "{said}");
}

#[test]
fn a_file_of_a_release_with_another_number_is_refused_with_19() {
    let release = Release::signed();
    let older = Release::unsigned(small_plan_of(VERSION, 6));
    fs::copy(release.file(KEYS_NAME), older.file(KEYS_NAME)).unwrap();
    checksum::checksum(&older.plan, &older.dir).unwrap();
    sign::sign(&older.plan, &older.dir, &release.key).unwrap();
    let name = format!("{}.minisig", release.archive());
    fs::copy(older.file(&name), release.file(&name)).unwrap();
    refuse(&release, 19, &release.archive());
}

#[test]
fn a_comment_that_says_nothing_is_refused_with_20() {
    let release = Release::signed();
    sign_raw(&release.scratch.path().join("first.key"), &release.file("SHA256SUMS"), "timestamp:1700000000");
    refuse(&release, 20, "SHA256SUMS");
}

#[test]
fn a_public_key_that_is_none_is_refused_with_21() {
    let release = Release::signed();
    fs::write(&release.public_key, "untrusted comment: x\nnonsense\n").unwrap();
    refuse(&release, 21, "public key");
}

#[test]
fn a_public_key_that_is_not_there_is_refused_with_22() {
    let release = Release::signed();
    fs::remove_file(&release.public_key).unwrap();
    refuse(&release, 22, "cannot be read");
}

#[test]
fn a_signature_of_endless_length_is_refused_unread() {
    let release = Release::signed();
    fs::write(release.file("SHA256SUMS.minisig"), vec![b'x'; (1 << 20) + 1]).unwrap();
    refuse(&release, 22, "SHA256SUMS.minisig");
}

#[test]
fn help_and_documentation_list_every_exit_code() {
    let output = Command::new(env!("CARGO_BIN_EXE_cairn-release")).args(["verify", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let docs = fs::read_to_string(crate::fixture::source_tree().join("docs/RELEASING.md")).unwrap();
    let words: BTreeSet<_> = help.split_whitespace().collect();
    for code in (0..=2).chain(10..=24) {
        assert!(words.contains(code.to_string().as_str()), "{code} is not in --help");
        let listed = docs.contains(&format!("| {code} |")) || (1..=2).contains(&code) && docs.contains("| 1, 2 |");
        assert!(listed, "{code} is not in docs/RELEASING.md");
    }
}
