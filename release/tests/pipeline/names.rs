//! Manifests and trusted comments have one meaning and one spelling.

use cairn_release::comment::{MalformedComment, TrustedComment};
use cairn_release::manifest::Manifest;
use serde_json::{Value, json};

fn comment() -> String {
    let sha256 = "a".repeat(64);
    format!("product=cairn version=1.2.3 file=SHA256SUMS sha256={sha256} sequence=7")
}

#[test]
fn a_comment_reads_back_as_it_was_written() {
    let parsed: TrustedComment = comment().parse().unwrap();
    assert_eq!(parsed.to_string(), comment());
    assert_eq!((parsed.file.as_str(), parsed.sequence), ("SHA256SUMS", 7));
}

#[test]
fn a_comment_in_any_other_spelling_is_refused() {
    let good = comment();
    for bad in [
        String::new(),
        good.replace("product=cairn ", ""),
        good.replace("sequence=7", "sequence=07"),
        good.replace("sequence=7", "sequence=+7"),
        good.replace("sequence=7", "sequence=7 sequence=8"),
        good.replace("version=1.2.3 file=SHA256SUMS", "file=SHA256SUMS version=1.2.3"),
        good.replace(' ', "\t"),
        good.replace("SHA256SUMS", "SHA256\u{a0}SUMS"),
        good.replace(&"a".repeat(64), &"A".repeat(64)),
        good.replace("file=SHA256SUMS", "file="),
        format!("{good} "),
    ] {
        assert_eq!(bad.parse::<TrustedComment>(), Err(MalformedComment), "{bad:?}");
    }
}

fn manifest() -> Value {
    let entry = |name: &str, kind: &str| json!({"name": name, "kind": kind, "target": null, "size": 1, "sha256": "a".repeat(64)});
    json!({
        "schema": 1, "product": "cairn", "version": "1.2.3", "sequence": 7, "commit": null, "tree": null,
        "source_date_epoch": 0,
        "targets": [{"name": "linux-amd64", "triple": "x", "glibc": null, "cpu": "x86-64-v2", "page_bytes": 4096}],
        "images": [{"tag": "1.2.3", "digest": "sha256:0"}],
        "files": [entry("SHA256SUMS", "checksums"), entry("cairn-1.2.3-linux-amd64.tar.gz", "archive")],
    })
}

fn complaint(change: impl FnOnce(&mut Value)) -> String {
    let mut value = manifest();
    change(&mut value);
    Manifest::parse(value.to_string().as_bytes()).unwrap_err()
}

#[test]
fn a_manifest_reads_back_as_it_was_written() {
    let parsed = Manifest::parse(manifest().to_string().as_bytes()).unwrap();
    assert_eq!(Manifest::parse(parsed.to_json().as_bytes()).unwrap(), parsed);
}

#[test]
fn a_manifest_whose_names_could_leave_the_folder_is_refused() {
    for name in ["../evil", "a/b", "/etc/passwd", "", ".hidden", "..", "release.json", "a.minisig", "a b", "ä"] {
        let said = complaint(|value| value["files"][1]["name"] = json!(name));
        assert!(said.contains("it lists"), "{name:?}: {said}");
    }
    assert!(complaint(|value| value["files"][1]["name"] = json!("a".repeat(201))).contains("it lists"));
}

#[test]
fn a_manifest_with_unknown_missing_repeated_or_foreign_content_is_refused() {
    assert!(complaint(|value| value["surprise"] = json!(1)).contains("surprise"));
    assert!(complaint(|value| value["schema"] = json!(2)).contains("schema"));
    assert!(complaint(|value| value["product"] = json!("etcd")).contains("product"));
    assert!(complaint(|value| value["files"] = json!([])).contains("SHA256SUMS"));
    assert!(complaint(|value| value["files"][1] = value["files"][0].clone()).contains("twice"));
    assert!(complaint(|value| value["files"][0]["sha256"] = json!("short")).contains("hexadecimal"));
}
