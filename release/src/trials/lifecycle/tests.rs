//! The checks that need no program of the packages, with a package manager of files: each fault that they are for is red.

use std::cell::Cell;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use tempfile::TempDir;

use super::*;
use crate::trials::{Check, run_steps, violations};

const OFFERED: &str = "/etc/cairn/cairn.env.new";
const DATA: &str = "/var/lib/cairn/default.cairn/store";

/// A package manager of files: it does what the real ones should, and then what `fault` does.
struct Fake {
    is_current: Cell<bool>,
    fault: fn(&Root, &str),
}

fn put(root: &Root, inside: &str, text: &str) {
    fs::create_dir_all(root.path(inside).parent().unwrap()).unwrap();
    fs::write(root.path(inside), text).unwrap();
}

fn packaged(is_current: bool) -> &'static str {
    if is_current { "CAIRN_NAME=new\n" } else { "CAIRN_NAME=old\n" }
}

impl Manager for Fake {
    fn install(&self, root: &Root, packages: &[&Path]) -> Result<String> {
        let is_first = !root.has(UNIT_FILE);
        let was_current = self.is_current.replace(packages[0].starts_with("current"));
        let brought = packaged(self.is_current.get());
        if is_first {
            put(root, UNIT_FILE, "[Service]");
            put(root, DATA, "data");
            fs::set_permissions(root.path(DATA_DIR), fs::Permissions::from_mode(0o700)).unwrap();
            let owner = fs::metadata(root.path(DATA_DIR)).unwrap();
            let (user, group) = (owner.uid(), owner.gid());
            put(root, "/etc/passwd", &format!("cairn:x:{user}:{group}::/var/lib/cairn:/usr/sbin/nologin\n"));
        }
        match root.read(CONFIGURATION_FILE) {
            Ok(found) if !is_first && found != packaged(was_current) => {
                if was_current != self.is_current.get() {
                    put(root, OFFERED, brought);
                }
            }
            _ => put(root, CONFIGURATION_FILE, brought),
        }
        (self.fault)(root, "install");
        Ok(if is_first {
            "neither enabled nor started: systemctl enable --now"
        } else {
            "Restart one member at a time"
        }
        .to_owned())
    }

    fn remove(&self, root: &Root, _: &[&str]) -> Result<String> {
        fs::remove_file(root.path(UNIT_FILE))?;
        (self.fault)(root, "remove");
        Ok("The data of Cairn stays in /var/lib/cairn".to_owned())
    }

    fn version(&self, _: &Root, _: &str) -> Result<String> {
        Ok(self.is_current.get().to_string())
    }

    fn kept_configuration(&self) -> &'static str {
        CONFIGURATION_FILE
    }

    fn offered_configuration(&self) -> &'static str {
        OFFERED
    }
}

/// Makes the checks that need no program of the packages, with a package manager that has a fault.
fn life(fault: fn(&Root, &str)) -> Vec<Check> {
    let (base, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let packages = |version: &'static str| {
        let path = Path::new(version);
        Packages { server: path, client: path, etcd_names: path }
    };
    let manager = Box::new(Fake { is_current: Cell::new(false), fault });
    let root = Root::copy(base.path(), scratch.path()).unwrap();
    let mut stage = Stage::new(root, manager, packages("current"), packages("previous"));
    let steps: [Step<Stage<'_>>; 8] = [
        ("install", install_previous),
        ("account", check_account),
        ("exchange", exchange),
        ("edit", |stage| edit(stage, "CAIRN_NAME=mine\n")),
        ("reinstall", reinstall),
        ("upgrade", install_current),
        ("offer", check_offered),
        ("remove", remove),
    ];
    run_steps(&mut stage, steps)
}

/// The first check that fails with the fault, and why.
fn red(fault: fn(&Root, &str)) -> String {
    violations(&life(fault)).into_iter().next().unwrap_or_default()
}

#[test]
fn a_package_manager_that_does_what_it_should_passes() {
    assert_eq!(violations(&life(|_, _| {})), [""; 0]);
}

#[test]
fn a_missing_user_or_a_data_folder_that_others_may_read_is_red() {
    let found = red(|root, _| fs::write(root.path("/etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap());
    assert_eq!(found, "not so: account: there is no user cairn");
    let found = red(|root, _| {
        fs::set_permissions(root.path(DATA_DIR), fs::Permissions::from_mode(0o755)).unwrap();
    });
    assert!(found.starts_with("not so: account: /var/lib/cairn is 0755 "), "{found}");
    let found = red(|root, _| {
        let line = root.read("/etc/passwd").unwrap().replace("/usr/sbin/nologin", "/bin/sh");
        fs::write(root.path("/etc/passwd"), line).unwrap();
    });
    assert!(found.starts_with("not so: account: the user is \"cairn:x:"), "{found}");
}

#[test]
fn an_upgrade_that_leaves_an_unedited_configuration_or_a_second_one_is_red() {
    let found = red(|root, _| put(root, CONFIGURATION_FILE, packaged(false)));
    assert_eq!(found, "not so: exchange: /etc/cairn/cairn.env is still that of the older version");
    let found = red(|root, _| put(root, "/etc/cairn/cairn.env.dpkg-old", ""));
    assert!(found.starts_with("not so: exchange: /etc/cairn has {"), "{found}");
}

/// Whether the trial has edited the configuration.
fn is_edited(root: &Root) -> bool {
    root.read(CONFIGURATION_FILE).is_ok_and(|text| text.contains(EDIT))
}

#[test]
fn a_reinstallation_or_an_upgrade_that_overwrites_an_edited_configuration_is_red() {
    let found = red(|root, _| {
        if is_edited(root) {
            put(root, CONFIGURATION_FILE, packaged(false));
        }
    });
    assert_eq!(found, "not so: reinstall: /etc/cairn/cairn.env is no longer as it was edited");
    let found = red(|root, _| {
        if root.has(OFFERED) {
            put(root, CONFIGURATION_FILE, packaged(true));
        }
    });
    assert_eq!(found, "not so: offer: /etc/cairn/cairn.env is no longer as it was edited");
}

#[test]
fn an_upgrade_that_does_not_offer_the_new_configuration_is_red() {
    let found = red(|root, _| files::remove_if_there(&root.path(OFFERED)).unwrap());
    assert!(found.starts_with("not so: offer: cannot read /etc/cairn/cairn.env.new"), "{found}");
    let found = red(|root, _| {
        if root.has(OFFERED) {
            put(root, OFFERED, packaged(false));
        }
    });
    assert_eq!(found, "not so: offer: /etc/cairn/cairn.env.new is not the configuration of the new version");
}

#[test]
fn a_removal_that_takes_data_or_leaves_a_program_is_red() {
    let found = red(|root, when| {
        if when == "remove" {
            fs::remove_file(root.path(DATA)).unwrap();
        }
    });
    assert_eq!(found, "not so: remove: the data in /var/lib/cairn is gone");
    let found = red(|root, _| put(root, "/usr/bin/cairnd", ""));
    assert_eq!(found, "not so: remove: /usr/bin/cairnd is still there");
    let found = red(|root, when| {
        if when == "remove" {
            put(root, CONFIGURATION_FILE, packaged(true));
        }
    });
    assert_eq!(found, "not so: remove: /etc/cairn/cairn.env is not as it was edited");
}
