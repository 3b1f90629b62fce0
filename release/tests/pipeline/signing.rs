//! Checksums, manifest and signatures: made only of a folder that fits the plan, and kept when they fit.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use cairn_release::digest::digest_file;
use cairn_release::manifest::Manifest;
use cairn_release::{checksum, sign};

use crate::fixture::{Release, minisign, plan, plan_with_images};

#[test]
fn sha256sum_accepts_the_sums() {
    let release = Release::signed();
    let output =
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&release.dir).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_stock_minisign_accepts_every_signature_and_shows_the_comment() {
    let release = Release::signed();
    for name in release.plan.signed_files() {
        let output = minisign().arg("-V").arg("-p").arg(&release.public_key).arg("-m").arg(release.file(name)).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        let sha256 = digest_file(&release.file(name)).unwrap().sha256;
        let comment = format!("product=cairn version=1.2.3 file={name} sha256={sha256} sequence=7\n");
        assert!(String::from_utf8_lossy(&output.stdout).contains(&comment), "{output:?}");
    }
}

#[test]
fn the_stock_minisign_refuses_a_changed_file() {
    let release = Release::signed();
    fs::write(release.file("SHA256SUMS"), "changed").unwrap();
    let output =
        minisign().arg("-V").arg("-p").arg(&release.public_key).arg("-m").arg(release.file("SHA256SUMS")).output();
    assert!(!output.unwrap().status.success());
}

#[test]
fn signatures_are_of_the_prehashed_kind() {
    let release = Release::signed();
    for name in release.plan.signed_files() {
        let text = fs::read_to_string(release.file(&format!("{name}.minisig"))).unwrap();
        // "RUR" and "RUQ" begin the base64 of "ED"; the older kind "Ed" begins with "RWR" or "RWQ".
        assert!(text.lines().nth(1).unwrap().starts_with("RU"), "{text}");
    }
}

#[test]
fn the_manifest_lists_every_file_but_itself_and_signatures() {
    let release = Release::signed();
    let manifest = Manifest::parse(&fs::read(release.file("release.json")).unwrap()).unwrap();
    let listed: Vec<_> = manifest.files.iter().map(|entry| entry.name.clone()).collect();
    assert_eq!(listed, ["SHA256SUMS".to_owned(), release.archive(), "keys.json".to_owned()]);
    for entry in manifest.files {
        let digest = digest_file(&release.file(&entry.name)).unwrap();
        assert_eq!((entry.size, entry.sha256), (digest.size, digest.sha256), "{}", entry.name);
    }
    assert_eq!((manifest.version.as_str(), manifest.sequence), ("1.2.3", 7));
}

#[test]
fn the_manifest_says_what_the_programs_ask_of_a_machine_and_which_images_there_are() {
    let release = Release::unsigned(plan_with_images());
    sign::sign(&release.plan, &release.dir, &release.key).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(release.file("release.json")).unwrap()).unwrap();
    assert_eq!(manifest["tree"], "89abcdef0123456789abcdef0123456789abcdef");
    let amd64 = serde_json::json!({
        "name": "linux-amd64", "triple": "x86_64-unknown-linux-gnu", "glibc": "2.28", "cpu": "x86-64-v2", "page_bytes": 4096,
    });
    assert_eq!(manifest["targets"], serde_json::json!([amd64]));
    let [index, image] = ["1", "2"].map(|digit| format!("sha256:{}", digit.repeat(64)));
    let images = serde_json::json!([{"tag": "1.2.3", "digest": index}, {"tag": "1.2.3-amd64", "digest": image}]);
    assert_eq!(manifest["images"], images);
    crate::verifying::accept(&release);
}

#[test]
fn signing_again_changes_no_byte() {
    let release = Release::signed();
    let before = contents(&release);
    sign::sign(&release.plan, &release.dir, &release.key).unwrap();
    assert!(contents(&release) == before, "a second run changed the folder");
}

#[test]
fn signing_again_replaces_what_a_killed_run_left_half_done() {
    let release = Release::signed();
    fs::remove_file(release.file("release.json.minisig")).unwrap();
    fs::write(release.file("SHA256SUMS.minisig"), "half").unwrap();
    fs::write(release.file(".SHA256SUMS.partial"), "half").unwrap();
    sign::sign(&release.plan, &release.dir, &release.key).unwrap();
    crate::verifying::accept(&release);
}

#[test]
fn a_folder_with_a_foreign_file_is_not_signed() {
    let release = Release::unsigned(plan());
    fs::write(release.file("notes.txt"), "by hand").unwrap();
    let error = sign::sign(&release.plan, &release.dir, &release.key).unwrap_err();
    assert!(error.to_string().contains("notes.txt"), "{error:#}");
    assert!(!release.file("release.json").exists());
}

#[test]
fn a_folder_without_its_archive_is_not_signed() {
    let release = Release::unsigned(plan());
    fs::remove_file(release.file(&release.archive())).unwrap();
    let error = sign::sign(&release.plan, &release.dir, &release.key).unwrap_err();
    assert!(error.to_string().contains(&release.archive()), "{error:#}");
}

#[test]
fn an_archive_that_changed_since_its_sum_was_taken_is_not_signed() {
    let release = Release::unsigned(plan());
    fs::write(release.file(&release.archive()), "another build").unwrap();
    let error = sign::sign(&release.plan, &release.dir, &release.key).unwrap_err();
    assert!(error.to_string().contains("SHA256SUMS does not fit"), "{error:#}");
}

#[test]
fn sums_are_read_in_one_form_only() {
    let sum = "0".repeat(64);
    assert!(checksum::parse(&format!("{sum}  a\n{sum}  b\n")).is_ok());
    for text in [
        format!("{sum}  b\n{sum}  a\n"),
        format!("{sum}  a"),
        format!("{sum} *a\n"),
        format!("{sum}  a\r\n"),
        format!("{}  a\n", "A".repeat(64)),
    ] {
        assert!(checksum::parse(&text).is_err(), "{text:?}");
    }
}

fn contents(release: &Release) -> BTreeMap<String, Vec<u8>> {
    release.plan.files.iter().map(|name| (name.clone(), fs::read(release.file(name)).unwrap())).collect()
}
