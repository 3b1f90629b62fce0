//! Keys are the stock program's, secret ones are private, and none is ever overwritten.

use std::fs;
use std::os::unix::fs::PermissionsExt;

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
fn an_encrypted_key_opens_with_its_password_only() {
    let scratch = tempfile::tempdir().unwrap();
    let secret = scratch.path().join("k.key");
    keys::generate(&secret, &scratch.path().join("k.pub"), Some("right".to_owned())).unwrap();
    assert!(SigningKey::read(&secret, Some("right".to_owned())).is_ok());
    assert!(SigningKey::read(&secret, Some("wrong".to_owned())).is_err());
    let Err(error) = SigningKey::read(&secret, None) else { panic!("an encrypted key opened without a password") };
    assert!(error.to_string().contains("CAIRN_RELEASE_KEY_PASSWORD"), "{error:#}");
}
