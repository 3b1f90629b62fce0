//! Signatures are those that gpgv and rpm want, the same each time, and secret keys are private.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cairn_release::repository::openpgp::{self, SigningKey};

use crate::fixture::{EPOCH, accepted, assert_refused, change, pair, program, rpm, said};

#[test]
fn a_secret_key_is_private_and_never_overwritten() {
    let scratch = tempfile::tempdir().unwrap();
    let key = pair(scratch.path(), "one");
    assert_eq!(fs::metadata(&key.secret).unwrap().permissions().mode() & 0o777, 0o600);
    let other = scratch.path().join("other.asc");
    let error = openpgp::generate("x", EPOCH, &other, &key.public, None).unwrap_err();
    assert!(error.to_string().contains("never overwritten"), "{error:#}");
    assert!(!other.exists());
}

#[test]
fn a_public_key_cannot_sign() {
    let scratch = tempfile::tempdir().unwrap();
    let Err(error) = SigningKey::read(&pair(scratch.path(), "one").public, None) else { panic!("it was taken") };
    assert!(error.to_string().contains("no armored OpenPGP secret key"), "{error:#}");
}

#[test]
fn a_protected_key_signs_with_its_passphrase_only() {
    let scratch = tempfile::tempdir().unwrap();
    let (secret, public) = (scratch.path().join("secret.asc"), scratch.path().join("public.asc"));
    openpgp::generate("one <one@cairn.example>", EPOCH, &secret, &public, Some("right")).unwrap();
    SigningKey::read(&secret, Some("right")).unwrap().sign_detached(b"text", EPOCH).unwrap();
    let wrong = SigningKey::read(&secret, Some("wrong")).and_then(|key| key.sign_detached(b"text", EPOCH));
    assert!(wrong.is_err(), "a wrong passphrase signed");
}

#[test]
fn equal_bytes_and_times_have_equal_signatures() {
    let scratch = tempfile::tempdir().unwrap();
    let first = pair(scratch.path(), "one");
    let again = SigningKey::read(&first.secret, None).unwrap();
    assert_eq!(first.key.sign_detached(b"text\n", EPOCH).unwrap(), again.sign_detached(b"text\n", EPOCH).unwrap());
    assert_eq!(first.key.sign_cleartext(b"text\n", EPOCH).unwrap(), again.sign_cleartext(b"text\n", EPOCH).unwrap());
    assert_ne!(first.key.sign_detached(b"text\n", EPOCH).unwrap(), again.sign_detached(b"text\n", EPOCH + 1).unwrap());
}

#[test]
fn gpgv_accepts_both_kinds_of_signatures_and_no_changed_text() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let one = pair(scratch.path(), "one");
    fs::write(path("text"), b"text\n").unwrap();
    fs::write(path("text.asc"), one.key.sign_detached(b"text\n", EPOCH).unwrap()).unwrap();
    fs::write(path("in"), one.key.sign_cleartext(b"text\n", EPOCH).unwrap()).unwrap();
    let gpgv = |keyring: &Path, files: &[&str]| {
        let mut command = program("gpgv", "gpgv");
        let binary = keyring.with_extension("gpg");
        if !binary.exists() {
            let mut gpg = program("gpg", "gpg");
            accepted(
                gpg.arg("--homedir").arg(scratch.path()).arg("--output").arg(&binary).arg("--dearmor").arg(keyring),
            );
        }
        command.arg("--keyring").arg(binary).args(files.iter().map(|name| path(name)));
        command
    };
    accepted(&mut gpgv(&one.public, &["text.asc", "text"]));
    accepted(&mut gpgv(&one.public, &["in"]));
    let two = pair(scratch.path(), "two");
    assert_refused(said(&mut gpgv(&two.public, &["in"])), "No public key");
    fs::write(path("text"), b"tex!\n").unwrap();
    assert_refused(said(&mut gpgv(&one.public, &["text.asc", "text"])), "BAD signature");
}

#[test]
fn what_a_key_signed_verifies_with_it_and_nothing_else_does() {
    let scratch = tempfile::tempdir().unwrap();
    let (one, two) = (pair(scratch.path(), "one"), pair(scratch.path(), "two"));
    let (message, signature) = (one.key.sign_cleartext(b"text\n", EPOCH), one.key.sign_detached(b"text\n", EPOCH));
    let (message, signature) = (message.unwrap(), signature.unwrap());
    assert_eq!(one.key.verified_text(&message).unwrap(), b"text\n");
    one.key.verify_detached(b"text\n", &signature).unwrap();
    let refused = |result: anyhow::Result<()>| {
        let error = format!("{:#}", result.unwrap_err());
        assert!(error.starts_with(&format!("not signed with the key {}", one.key.fingerprint())), "{error}");
    };
    let text = |message: &[u8]| one.key.verified_text(message).map(drop);
    refused(one.key.verify_detached(b"tex!\n", &signature));
    refused(one.key.verify_detached(b"text\n", &two.key.sign_detached(b"text\n", EPOCH).unwrap()));
    refused(text(&two.key.sign_cleartext(b"text\n", EPOCH).unwrap()));
    refused(text(&String::from_utf8(message).unwrap().replace("text", "tex!").into_bytes()));
    refused(text(b"text\n"));
    // A message of OpenPGP's that nobody signed.
    let (plain, stored) = (scratch.path().join("plain"), scratch.path().join("stored"));
    fs::write(&plain, b"text\n").unwrap();
    let mut gpg = program("gpg", "gpg");
    accepted(gpg.arg("--homedir").arg(scratch.path()).arg("--output").arg(&stored).arg("--store").arg(&plain));
    refused(text(&fs::read(&stored).unwrap()));
}

#[test]
fn rpm_accepts_a_signed_package_and_refuses_unsigned_foreign_and_changed_ones() {
    let scratch = tempfile::tempdir().unwrap();
    let (one, two) = (pair(scratch.path(), "one"), pair(scratch.path(), "two"));
    let package = rpm(scratch.path(), "cairn-test", "1", None);
    let checksig = |package: &Path, key: &Path| {
        let database = tempfile::tempdir().unwrap();
        let mut import = program("rpmkeys", "rpm");
        accepted(import.env("HOME", database.path()).arg("--dbpath").arg(database.path()).arg("--import").arg(key));
        let mut command = program("rpmkeys", "rpm");
        command.env("HOME", database.path()).arg("--dbpath").arg(database.path());
        // Without the level an unsigned package passes by its sums.
        command.args(["--define", "_pkgverify_level all", "--checksig", "--verbose"]).arg(package);
        said(&mut command)
    };
    assert!(!checksig(&package, &one.public).0, "an unsigned package was accepted");
    one.key.sign_rpm(&package, EPOCH).unwrap();
    let (success, text) = checksig(&package, &one.public);
    assert!(success && text.contains("RSA/SHA256"), "{text}");
    assert!(!checksig(&package, &two.public).0, "a foreign key was accepted");
    let bytes = fs::read(&package).unwrap();
    one.key.sign_rpm(&package, EPOCH).unwrap();
    assert_eq!(fs::read(&package).unwrap(), bytes, "signing again changed the package");
    change(&package);
    assert!(!checksig(&package, &one.public).0, "a changed package was accepted");
}
