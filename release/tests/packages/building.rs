//! Finished packages are the planned ones, byte for byte the same wherever they are made.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cairn_release::linux_packages::nfpm;
use cairn_release::linux_packages::{CONFIGURATION_FILE, Content, Format, Kind, Package, readback};
use cairn_release::machine::Machine;
use cairn_release::process::{clean_command, output};
use cairn_release::trials;
use cairn_release::versions;
use flate2::read::GzDecoder;

use crate::fixture::{Inputs, LICENCES, host, nfpm_program, tree};

fn violations(package: &Package, path: &Path) -> Vec<String> {
    readback::violations(package, &readback::read(path, package.id.format).unwrap())
}

#[test]
fn every_package_holds_what_was_planned() {
    for version in ["0.1.0", "1.2.0-rc.1"] {
        let inputs = Inputs::new(version);
        for kind in Kind::ALL {
            for format in Format::ALL {
                let (package, path) = inputs.build(kind, format);
                assert_eq!(violations(&package, &path), [""; 0]);
            }
        }
    }
}

/// An nfpm that runs with another umask and finds the files that it packages with other modes.
fn strict_nfpm(folder: &Path) -> PathBuf {
    let path = folder.join("strict-nfpm");
    let script = "#!/bin/sh\numask 077\nfor a; do case $a in *.json) chmod -R go= \"${a%/*}\" ;; esac; done\nexec ";
    fs::write(&path, format!("{script}'{}' \"$@\"\n", nfpm_program().display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn another_folder_and_another_umask_give_the_same_bytes() {
    let (one, other) = (Inputs::new("0.1.0"), Inputs::new("0.1.0"));
    let strict = strict_nfpm(other.path());
    for kind in Kind::ALL {
        for format in Format::ALL {
            let (package, path) = one.build(kind, format);
            let again = nfpm::build(&other.plan(kind, format), &strict, &other.path().join("out"));
            let again = fs::read(again.unwrap()).unwrap();
            assert!(fs::read(&path).unwrap() == again, "{} differs", package.file_name());
        }
    }
}

#[test]
fn a_package_that_lacks_a_planned_file_or_holds_another_is_red() {
    let inputs = Inputs::new("0.1.0");
    for format in Format::ALL {
        let (mut package, path) = inputs.build(Kind::Client, format);
        let page = package.contents.remove("/usr/share/man/man1/cairnctl.1.gz").unwrap();
        package.contents.insert("/usr/share/man/man1/other.1.gz".to_owned(), page);
        let file = package.file_name();
        let sentences = [
            format!("{file} lacks /usr/share/man/man1/other.1.gz"),
            format!("{file} holds /usr/share/man/man1/cairnctl.1.gz, which is not planned"),
        ];
        assert_eq!(violations(&package, &path), sentences);
    }
}

#[test]
fn every_package_with_programs_has_the_licences_of_what_is_linked_into_them() {
    let inputs = Inputs::new("0.1.0");
    for kind in [Kind::Server, Kind::Client] {
        for format in Format::ALL {
            let name = kind.package_name();
            let place = match format {
                Format::Deb => format!("/usr/share/doc/{name}/third-party-licenses.gz"),
                _ => format!("/usr/share/licenses/{name}/THIRD-PARTY-LICENSES"),
            };
            let (mut package, path) = inputs.build(kind, format);
            let Some(Content::File { bytes, .. }) = package.contents.get(&place) else { panic!("{place} is planned") };
            let mut text = bytes.clone();
            if format == Format::Deb {
                text.clear();
                GzDecoder::new(bytes.as_slice()).read_to_end(&mut text).unwrap();
            }
            assert_eq!(String::from_utf8(text).unwrap(), LICENCES);
            assert_eq!(violations(&package, &path), [""; 0]);
            // The finished file has that text: with another one planned it is refused.
            package.contents.insert(place.clone(), Content::Link("elsewhere".to_owned()));
            let sentence = format!("{}: {place} is of another type than planned", package.file_name());
            assert_eq!(violations(&package, &path), [sentence]);
        }
    }
}

#[test]
fn another_version_content_mode_time_or_link_than_planned_is_red() {
    let inputs = Inputs::new("0.1.0");
    let other = Inputs::new("0.2.0");
    for format in Format::ALL {
        let (package, path) = inputs.build(Kind::Server, format);
        let mut planned = other.plan(Kind::Server, format);
        planned.source_date_epoch += 1;
        for (name, content) in &mut planned.contents {
            match content {
                Content::File { bytes, .. } if name == CONFIGURATION_FILE => bytes.push(b'\n'),
                Content::File { mode, .. } if name == "/usr/bin/cairnd" => *mode = 0o4755,
                _ => {}
            }
        }
        let found = violations(&planned, &path).join("\n");
        let file = planned.file_name();
        for sentence in [
            format!(
                "{file} has the version {:?}, planned is {:?}",
                package.version.full(format),
                planned.version.full(format)
            ),
            format!("{file}: /etc/cairn/cairn.env has another content than planned"),
            format!("{file}: /usr/bin/cairnd has mode 0755, planned is 4755"),
            format!("{file}: /usr/bin/cairnd has the time 1700000000, not the release's"),
        ] {
            assert!(found.contains(&sentence), "{sentence:?} is not in:\n{found}");
        }
        let (mut names, path) = inputs.build(Kind::EtcdNames, format);
        names.contents.insert("/usr/bin/etcdctl".to_owned(), Content::Link("cairnd".to_owned()));
        let sentence = format!("{}: /usr/bin/etcdctl leads to cairnctl, planned is cairnd", names.file_name());
        assert_eq!(violations(&names, &path), [sentence]);
    }
}

#[test]
fn a_package_of_another_version_or_of_none_is_red_among_all_that_name_it() {
    let inputs = Inputs::new("1.2.0-rc.1");
    for format in Format::ALL {
        let (package, path) = inputs.build(Kind::Client, format);
        let found = [versions::of_package(&path, format)];
        assert_eq!(versions::violations("1.2.0-rc.1", &found), [""; 0]);
        let (file, named) = (package.file_name(), package.version.full(format));
        let sentences = versions::violations("1.2.0", &found);
        assert!(sentences[0].starts_with(&format!("{file} names version {named}, not 1.2.0")), "{sentences:?}");
        fs::write(&path, "no package").unwrap();
        let sentences = versions::violations("1.2.0", &[versions::of_package(&path, format)]);
        assert!(sentences[0].starts_with(&format!("{file} (cannot read the package ")), "{sentences:?}");
    }
}

#[test]
fn a_configuration_that_an_upgrade_would_overwrite_is_red() {
    let inputs = Inputs::new("0.1.0");
    for format in [Format::Deb, Format::Rpm, Format::Arch] {
        let (package, path) = inputs.build(Kind::Server, format);
        let mut finished = readback::read(&path, format).unwrap();
        finished.configuration.clear();
        let sentence =
            format!("{} has the configuration files \"\", planned is \"/etc/cairn/cairn.env\"", package.file_name());
        assert_eq!(readback::violations(&package, &finished), [sentence]);
    }
}

#[test]
fn a_package_that_stands_for_an_older_version_differs_in_its_configuration_alone() {
    let inputs = Inputs::new("0.1.0");
    for format in [Format::Deb, Format::Rpm] {
        let package = inputs.plan(Kind::Server, format);
        let mut older = package.clone();
        trials::make_older(&mut older);
        let path = nfpm::build(&older, &nfpm_program(), inputs.path()).unwrap();
        let sentence = format!("{}: {CONFIGURATION_FILE} has another content than planned", package.file_name());
        assert_eq!(violations(&package, &path), [sentence]);
    }
}

#[test]
fn a_package_of_dynamic_programs_without_dependencies_is_red() {
    let inputs = Inputs::new("0.1.0");
    for format in Format::ALL {
        let (package, path) = inputs.build(Kind::Client, format);
        let mut finished = readback::read(&path, format).unwrap();
        // Alpine's packages have the static programs.
        assert_eq!(finished.depends.is_empty(), format == Format::Apk);
        if format == Format::Apk {
            continue;
        }
        finished.depends.clear();
        let violations = readback::violations(&package, &finished);
        let sentence = "depends on nothing, but its programs need the libraries of the host";
        assert!(violations[0].ends_with(sentence), "{violations:?}");
    }
}

#[test]
fn a_program_for_another_machine_is_not_packaged_and_in_a_package_it_is_red() {
    let inputs = Inputs::new("0.1.0");
    let (mut package, path) = inputs.build(Kind::Server, Format::Deb);
    let other = if host() == Machine::Amd64 { Machine::Arm64 } else { Machine::Amd64 };
    package.id.machine = Some(other);
    let found = violations(&package, &path);
    let sentence = format!("/usr/bin/cairnd is for {:?}, not for {other:?}", host());
    assert!(found.iter().any(|violation| violation.ends_with(&sentence)), "{found:?}");
    let refused = Package::plan(package.id, &inputs.source(&tree())).unwrap_err().to_string();
    assert!(refused.ends_with(&format!("cairnd is not for {other:?}")), "{refused}");
}

/// rpm has a generator of its own, which reads programs where rpmbuild makes the package.
#[test]
fn an_rpm_requires_what_rpm_s_own_generator_finds() {
    let inputs = Inputs::new("0.1.0");
    let generator = Path::new("/usr/lib/rpm/elfdeps");
    assert!(generator.exists(), "rpm's generators must be installed: Debian package `rpm`");
    let program = inputs.path().join("bin/cairnd");
    let said = output(clean_command(generator).arg("--requires").arg(&program)).unwrap();
    let mut wanted: Vec<_> = said.lines().filter(|line| !line.starts_with("rtld(")).collect();
    wanted.sort_unstable();
    let package = inputs.plan(Kind::Server, Format::Rpm);
    assert_eq!(package.needs.depends(Format::Rpm).unwrap(), wanted);
}
