//! An rpm is signed with the key that it was made with, as rpm sees it.

use std::fs;
use std::path::PathBuf;

use cairn_release::linux_packages::{Format, Kind, signature};
use cairn_release::process;
use cairn_release::toolchain::require;

use crate::fixture::{Inputs, OpenPgpKey};

#[test]
fn rpm_accepts_the_signature_of_the_imported_key() {
    let (inputs, key) = (Inputs::new("0.1.0"), OpenPgpKey::new());
    let path = inputs.build_signed(Kind::EtcdNames, &key);
    assert_eq!(signature::rpm_violations(&path, &key.public).unwrap(), [""; 0]);
}

#[test]
fn the_signature_depends_on_the_package_and_the_key_alone() {
    let (one, other, key) = (Inputs::new("0.1.0"), Inputs::new("0.1.0"), OpenPgpKey::new());
    let bytes = |inputs: &Inputs| fs::read(inputs.build_signed(Kind::EtcdNames, &key)).unwrap();
    assert!(bytes(&one) == bytes(&other));
}

#[test]
fn a_signed_rpm_is_the_unsigned_one_when_its_signature_is_taken_out() {
    let (inputs, key) = (Inputs::new("0.1.0"), OpenPgpKey::new());
    let unsigned = fs::read(inputs.build(Kind::EtcdNames, Format::Rpm).1).unwrap();
    let path = inputs.build_signed(Kind::EtcdNames, &key);
    assert!(fs::read(&path).unwrap() != unsigned);
    let rpmsign = require("rpmsign", "the Debian package rpm").unwrap();
    process::output(process::clean_command(&rpmsign).arg("--delsign").arg(&path)).unwrap();
    assert!(fs::read(&path).unwrap() == unsigned);
}

#[test]
fn an_rpm_without_a_signature_with_another_one_or_changed_afterwards_is_red() {
    let (inputs, key, other) = (Inputs::new("0.1.0"), OpenPgpKey::new(), OpenPgpKey::new());
    let red = |path: PathBuf, key: &OpenPgpKey| {
        let found = signature::rpm_violations(&path, &key.public).unwrap();
        let start = format!("{} is not signed with the key: rpm says", path.display());
        assert!(found.len() == 1 && found[0].starts_with(&start), "{found:?}");
    };
    red(inputs.build(Kind::EtcdNames, Format::Rpm).1, &key);
    let path = inputs.build_signed(Kind::EtcdNames, &key);
    red(path.clone(), &other);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    red(path, &key);
}
