//! Provenance as a user checks it: offline, with the public key and the files.

use std::collections::BTreeMap;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cairn_release::dsse::{self, EnvelopeError, VerifyingKey};
use cairn_release::keys::{self, SigningKey};
use cairn_release::provenance::{Build, Check, Material, PAYLOAD_TYPE, Refusal, Statement, verify};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Hash of a file of these tests.
const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

struct Keys {
    _scratch: TempDir,
    key: SigningKey,
    public: String,
}

impl Keys {
    fn new(password: Option<&str>) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let password = password.map(str::to_owned);
        keys::generate(&at("key"), &at("pub"), password.clone()).unwrap();
        let key = SigningKey::read(&at("key"), password).unwrap();
        let public = fs::read_to_string(at("pub")).unwrap();
        Self { _scratch: scratch, key, public }
    }

    /// Signs any statement: what only the holder of the key can do.
    fn seal(&self, statement: &Value) -> Vec<u8> {
        dsse::seal(&serde_json::to_vec(statement).unwrap(), PAYLOAD_TYPE, &self.key).unwrap()
    }
}

fn build() -> Build {
    let digest = |algorithm: &str| [(algorithm.to_owned(), SHA256.to_owned())].into();
    let material =
        |name: &str, uri: &str| Material { name: name.to_owned(), uri: uri.to_owned(), digest: digest("sha256") };
    Build {
        version: "0.1.0".to_owned(),
        commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
        targets: vec!["linux-arm64".to_owned(), "linux-amd64".to_owned()],
        internal: [("profile".to_owned(), "dist".to_owned())].into(),
        materials: vec![material("zig", "pkg:pypi/ziglang@0.17.1"), material("Cargo.lock", "file:Cargo.lock")],
        subjects: files(),
    }
}

fn files() -> BTreeMap<String, String> {
    [("cairn.deb".to_owned(), SHA256.to_owned()), ("cairn.tar.gz".to_owned(), SHA256.replace('5', "6"))].into()
}

fn checked(keys: &Keys, envelope: &[u8], files: &BTreeMap<String, String>) -> Result<Statement, Refusal> {
    verify(&Check { envelope, public_key: &keys.public, version: "0.1.0", files })
}

fn payload(envelope: &[u8]) -> Value {
    let envelope: Value = serde_json::from_slice(envelope).unwrap();
    serde_json::from_slice(&BASE64.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
}

/// A rightly signed statement with one value changed.
fn refusal_of(pointer: &str, value: Value) -> Refusal {
    let keys = Keys::new(None);
    let mut statement = payload(&Statement::new(&build()).seal(&keys.key).unwrap());
    *statement.pointer_mut(pointer).unwrap() = value;
    checked(&keys, &keys.seal(&statement), &files()).unwrap_err()
}

#[test]
fn a_provenance_is_accepted_with_all_files_or_some() {
    let keys = Keys::new(None);
    let envelope = Statement::new(&build()).seal(&keys.key).unwrap();
    let statement = checked(&keys, &envelope, &files()).unwrap();
    assert_eq!((statement.level(), statement.materials().len()), (1, 3));
    let mut one = files();
    one.pop_first();
    checked(&keys, &envelope, &one).unwrap();
}

#[test]
fn an_encrypted_key_signs_as_well() {
    let keys = Keys::new(Some("correct horse"));
    let envelope = Statement::new(&build()).seal(&keys.key).unwrap();
    checked(&keys, &envelope, &files()).unwrap();
}

#[test]
fn equal_builds_give_equal_bytes_of_one_line() {
    let keys = Keys::new(None);
    let [one, two] = [build(), build()].map(|build| Statement::new(&build).seal(&keys.key).unwrap());
    assert_eq!(one, two);
    assert_eq!(one.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert_eq!(one.last(), Some(&b'\n'));
}

#[test]
fn the_statement_is_of_in_toto_and_slsa_and_says_its_level_and_no_time() {
    let keys = Keys::new(None);
    let statement = payload(&Statement::new(&build()).seal(&keys.key).unwrap());
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(statement["subject"][0], json!({"name": "cairn.deb", "digest": {"sha256": SHA256}}));
    let definition = &statement["predicate"]["buildDefinition"];
    assert_eq!(definition["buildType"], "https://cairn.example/build/v1");
    assert_eq!(definition["externalParameters"]["targets"], json!(["linux-amd64", "linux-arm64"]));
    let names: Vec<_> = definition["resolvedDependencies"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["Cargo.lock", "source", "zig"]);
    let details = &statement["predicate"]["runDetails"];
    assert_eq!(details["cairn_slsaBuildLevel"], 1);
    assert!(details["metadata"].get("startedOn").is_none());
    assert!(details["metadata"]["invocationId"].as_str().unwrap().starts_with("https://cairn.example/builder/"));
}

#[test]
fn the_key_id_is_the_one_that_minisign_prints() {
    let keys = Keys::new(None);
    let id = VerifyingKey::parse(&keys.public).unwrap().id().to_owned();
    assert!(keys.public.lines().next().unwrap().ends_with(&id), "{id} is not in {}", keys.public);
}

#[test]
fn a_changed_byte_of_the_statement_is_refused() {
    let keys = Keys::new(None);
    let envelope = Statement::new(&build()).seal(&keys.key).unwrap();
    let mut value: Value = serde_json::from_slice(&envelope).unwrap();
    let mut statement = payload(&envelope);
    statement["subject"][0]["name"] = json!("cairn.exe");
    value["payload"] = json!(BASE64.encode(serde_json::to_vec(&statement).unwrap()));
    let changed = serde_json::to_vec(&value).unwrap();
    assert_eq!(checked(&keys, &changed, &files()).unwrap_err(), Refusal::Envelope(EnvelopeError::BadSignature));
}

#[test]
fn a_changed_type_of_the_payload_is_refused() {
    let keys = Keys::new(None);
    let mut value: Value = serde_json::from_slice(&Statement::new(&build()).seal(&keys.key).unwrap()).unwrap();
    value["payloadType"] = json!("text/plain");
    let changed = serde_json::to_vec(&value).unwrap();
    assert_eq!(checked(&keys, &changed, &files()).unwrap_err(), Refusal::Envelope(EnvelopeError::BadSignature));
    let other = dsse::seal(b"hello", "text/plain", &keys.key).unwrap();
    assert_eq!(checked(&keys, &other, &files()).unwrap_err(), Refusal::Envelope(EnvelopeError::OtherType));
}

#[test]
fn another_key_is_refused() {
    let envelope = Statement::new(&build()).seal(&Keys::new(None).key).unwrap();
    let refusal = checked(&Keys::new(None), &envelope, &files()).unwrap_err();
    assert_eq!(refusal, Refusal::Envelope(EnvelopeError::OtherKey));
}

#[test]
fn another_key_under_the_id_of_ours_is_refused() {
    let (ours, theirs) = (Keys::new(None), Keys::new(None));
    let mut value: Value = serde_json::from_slice(&Statement::new(&build()).seal(&theirs.key).unwrap()).unwrap();
    value["signatures"][0]["keyid"] = json!(VerifyingKey::parse(&ours.public).unwrap().id());
    let refusal = checked(&ours, &serde_json::to_vec(&value).unwrap(), &files()).unwrap_err();
    assert_eq!(refusal, Refusal::Envelope(EnvelopeError::BadSignature));
}

#[test]
fn what_is_no_envelope_or_no_key_is_refused() {
    let keys = Keys::new(None);
    assert_eq!(checked(&keys, b"{}", &files()).unwrap_err(), Refusal::Envelope(EnvelopeError::Malformed));
    let empty = json!({"payload": "", "payloadType": PAYLOAD_TYPE, "signatures": []}).to_string();
    assert_eq!(checked(&keys, empty.as_bytes(), &files()).unwrap_err(), Refusal::Envelope(EnvelopeError::OtherKey));
    let check = Check { envelope: b"{}", public_key: "no key", version: "0.1.0", files: &files() };
    assert!(matches!(verify(&check).unwrap_err(), Refusal::BadPublicKey(_)));
}

#[test]
fn a_file_of_other_content_and_a_file_that_was_not_built_are_refused() {
    let keys = Keys::new(None);
    let envelope = Statement::new(&build()).seal(&keys.key).unwrap();
    let mut changed = files();
    changed.insert("cairn.deb".to_owned(), SHA256.replace('5', "7"));
    assert_eq!(checked(&keys, &envelope, &changed).unwrap_err(), Refusal::ChangedFile("cairn.deb".to_owned()));
    let mut foreign = files();
    foreign.insert("etcd.deb".to_owned(), SHA256.to_owned());
    assert_eq!(checked(&keys, &envelope, &foreign).unwrap_err(), Refusal::UnknownFile("etcd.deb".to_owned()));
}

#[test]
fn types_that_are_not_known_are_refused_by_name() {
    for (pointer, name) in [
        ("/_type", "statement type"),
        ("/predicateType", "predicate type"),
        ("/predicate/buildDefinition/buildType", "build type"),
        ("/predicate/runDetails/builder/id", "builder"),
    ] {
        match refusal_of(pointer, json!("https://example.org/other")) {
            Refusal::UnknownType { what, found, .. } => {
                assert_eq!((what, found.as_str()), (name, "https://example.org/other"))
            }
            other => panic!("{pointer}: {other}"),
        }
    }
}

#[test]
fn another_version_and_another_level_are_refused() {
    let wrong = refusal_of("/predicate/buildDefinition/externalParameters/version", json!("0.0.9"));
    assert_eq!(wrong, Refusal::WrongVersion { found: "0.0.9".to_owned(), wanted: "0.1.0".to_owned() });
    assert_eq!(refusal_of("/predicate/runDetails/cairn_slsaBuildLevel", json!(3)), Refusal::WrongLevel(3));
}

#[test]
fn a_statement_without_a_predicate_of_ours_is_refused() {
    assert!(matches!(refusal_of("/predicate", json!({})), Refusal::Malformed(_)));
}
