//! Debian's and rpm's checkers accept the packages, and a bad one they do not.

use std::fs;
use std::path::PathBuf;

use cairn_release::linux_packages::nfpm;
use cairn_release::linux_packages::{Format, Kind, Package, lint};

use crate::fixture::{Inputs, OpenPgpKey, nfpm_program, tree};

fn rpmlint_config() -> PathBuf {
    tree().join("packaging/rpm/rpmlint.toml")
}

/// Makes a package with a file where no distribution allows one.
fn misplaced(inputs: &Inputs, format: Format) -> PathBuf {
    let mut package: Package = inputs.plan(Kind::Client, format);
    let page = package.contents.remove("/usr/share/man/man1/cairnctl.1.gz").unwrap();
    package.contents.insert("/usr/local/share/man/man1/cairnctl.1.gz".to_owned(), page);
    nfpm::build(&package, &nfpm_program(), inputs.path()).unwrap()
}

#[test]
fn lintian_has_nothing_to_say() {
    let inputs = Inputs::new("0.1.0");
    for kind in Kind::ALL {
        assert_eq!(lint::lintian(&inputs.build(kind, Format::Deb).1).unwrap(), [""; 0]);
    }
}

#[test]
fn rpmlint_has_nothing_to_say() {
    let (inputs, key) = (Inputs::new("0.1.0"), OpenPgpKey::new());
    for kind in Kind::ALL {
        let path = inputs.build_signed(kind, &key);
        assert_eq!(lint::rpmlint(&path, &rpmlint_config(), &key.public).unwrap(), [""; 0]);
    }
}

#[test]
fn a_deb_with_a_misplaced_file_is_red() {
    let inputs = Inputs::new("0.1.0");
    let found = lint::lintian(&misplaced(&inputs, Format::Deb)).unwrap().join("\n");
    assert!(found.contains("E: cairn-client: dir-in-usr-local [usr/local/share/"), "{found}");
}

#[test]
fn an_rpm_with_a_misplaced_file_is_red() {
    let inputs = Inputs::new("0.1.0");
    let key = OpenPgpKey::new();
    let path = misplaced(&inputs, Format::Rpm);
    let found = lint::rpmlint(&path, &rpmlint_config(), &key.public).unwrap().join("\n");
    assert!(found.contains("E: dir-or-file-in-usr-local /usr/local/share/"), "{found}");
    assert!(found.contains("E: no-signature"), "{found}");
}

#[test]
fn every_exception_has_its_reason() {
    let mut lists = vec![rpmlint_config()];
    for entry in fs::read_dir(tree().join("packaging/debian")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "lintian-overrides") {
            lists.push(path);
        }
    }
    for path in lists {
        assert_eq!(lint::unexplained(&path.to_string_lossy(), &fs::read_to_string(&path).unwrap()), [""; 0]);
    }
}
