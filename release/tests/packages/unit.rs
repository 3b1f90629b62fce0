//! The systemd unit of the tree.

use std::fs;

use cairn_release::linux_packages::unit::{self, Unit};
use cairn_release::linux_packages::{CONFIGURATION_FILE, DATA_DIR, tool};
use cairn_release::process::clean_command;

use crate::fixture::tree;

fn text() -> String {
    fs::read_to_string(tree().join("packaging/systemd/cairn.service")).unwrap()
}

#[test]
fn the_unit_leaves_the_host_little_exposed() {
    assert_eq!(unit::exposure_violations(&text()).unwrap(), [""; 0]);
}

#[test]
fn a_bare_unit_is_red() {
    let found = unit::exposure_violations("[Service]\nExecStart=/usr/bin/cairnd\n").unwrap();
    assert_eq!(found, ["the unit's exposure is 9.6, more than 2.0; harden it"]);
}

#[test]
fn the_unit_starts_the_packaged_program_as_its_own_user_with_the_packaged_configuration() {
    let unit = Unit::parse(&text()).unwrap();
    assert_eq!(unit.exec_start().unwrap(), ["/usr/bin/cairnd"]);
    for (name, value) in [
        ("Type", "notify"),
        ("User", "cairn"),
        ("Group", "cairn"),
        ("EnvironmentFile", CONFIGURATION_FILE),
        ("WorkingDirectory", DATA_DIR),
        ("StateDirectory", "cairn"),
        ("StateDirectoryMode", "0700"),
    ] {
        assert_eq!(unit.value("Service", name).unwrap(), value, "{name}");
    }
}

/// The scripts make the same user where systemd-sysusers is missing; the trials see that.
#[test]
fn sysusers_makes_the_user_of_the_unit_without_a_shell() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let program = tool::find("systemd-sysusers", "systemd").unwrap();
    let mut command = clean_command(&program);
    command.arg(format!("--root={}", root.path().display())).arg(tree().join("packaging/systemd/cairn.sysusers"));
    tool::output(&mut command).unwrap();
    let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let fields: Vec<_> = passwd.trim_end().split(':').collect();
    assert_eq!((fields[0], fields[5]), ("cairn", DATA_DIR));
    assert!(fields[6].ends_with("/nologin"), "{passwd}");
}

#[test]
fn tmpfiles_makes_the_data_folder_of_the_unit_for_its_user_alone_and_never_cleans_it() {
    let text = fs::read_to_string(tree().join("packaging/systemd/cairn.tmpfiles")).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, [format!("d {DATA_DIR} 0700 cairn cairn -")]);
}
