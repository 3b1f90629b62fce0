//! Keys are the stock program's, secret ones are private, and none is ever overwritten.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use cairn_release::keys::{self, SigningKey};

use crate::fixture::new_key;

#[test]
fn a_secret_key_is_readable_by_its_owner_only() {
    let scratch = tempfile::tempdir().unwrap();
    new_key(scratch.path(), "k");
    let mode = fs::metadata(scratch.path().join("k.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_key_is_never_overwritten() {
    let scratch = tempfile::tempdir().unwrap();
    let (public, _) = new_key(scratch.path(), "k");
    let before = fs::read(&public).unwrap();
    let error = keys::generate(&scratch.path().join("new.key"), &public, None).unwrap_err();
    assert!(error.to_string().contains("never overwritten"), "{error:#}");
    assert_eq!(fs::read(&public).unwrap(), before);
    assert!(!scratch.path().join("new.key").exists());
}

#[test]
fn no_key_is_made_where_one_could_not_be_written_or_by_a_dry_run() {
    let scratch = tempfile::tempdir().unwrap();
    let keygen = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
        command.current_dir(scratch.path()).args(["keygen", "--secret-key", "k.key", "--public-key", "k.pub"]);
        command.args([
            "--openpgp-secret-key",
            "k.asc.key",
            "--openpgp-public-key",
            "k.asc",
            "--user-id",
            "K <k@example>",
        ]);
        command.args(arguments).output().unwrap()
    };
    let said = String::from_utf8(keygen(&["--dry-run"]).stdout).unwrap();
    assert_eq!(said.lines().collect::<Vec<_>>(), ["k.key", "k.pub", "k.asc.key", "k.asc"]);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    fs::write(scratch.path().join("k.asc"), "somebody's").unwrap();
    for arguments in [&[][..], &["--dry-run"]] {
        let refusal = String::from_utf8(keygen(arguments).stderr).unwrap();
        assert!(refusal.contains("k.asc exists; a key is never overwritten"), "{refusal}");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }
}

#[test]
fn an_encrypted_key_opens_with_its_password_only() {
    let scratch = tempfile::tempdir().unwrap();
    let secret = scratch.path().join("k.key");
    keys::generate(&secret, &scratch.path().join("k.pub"), Some("right".to_owned())).unwrap();
    assert!(SigningKey::read(&secret, Some("right".to_owned())).is_ok());
    assert!(SigningKey::read(&secret, Some("wrong".to_owned())).is_err());
    let Err(error) = SigningKey::read(&secret, None) else { panic!("an encrypted key opened without a password") };
    assert!(error.to_string().contains("CAIRN_RELEASE_KEY_PASSWORD"), "{error:#}");
}
