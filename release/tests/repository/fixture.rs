//! Small packages, a key for each test binary's run, and folders that are compared byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cairn_release::process::{clean_command, find_program};
use cairn_release::repository::apt::Publication;
use cairn_release::repository::openpgp::{self, SigningKey};

/// Time of everything that clients must find valid: now, because apt and gpgv look at the clock, and a day ago, because
/// clocks differ.
pub(crate) fn time() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    now - 24 * 60 * 60
}

/// A time of which all bytes can be known.
pub(crate) const EPOCH: u64 = 1_700_000_000;

pub(crate) fn publication(time: u64) -> Publication<'static> {
    Publication { url: "https://cairn.example/packages", time }
}

/// A key pair in a folder.
pub(crate) struct Pair {
    pub(crate) secret: PathBuf,
    pub(crate) public: PathBuf,
    pub(crate) key: SigningKey,
}

pub(crate) fn pair(folder: &Path, name: &str) -> Pair {
    let (secret, public) = (folder.join(format!("{name}.secret.asc")), folder.join(format!("{name}.asc")));
    openpgp::generate(&format!("{name} <{name}@cairn.example>"), EPOCH, &secret, &public, None).unwrap();
    let key = SigningKey::read(&secret, None).unwrap();
    Pair { secret, public, key }
}

/// A program that must be there, in a clean environment.
pub(crate) fn program(name: &str, package: &str) -> Command {
    let path = find_program(name).unwrap_or_else(|| panic!("{name} must be installed: Debian package `{package}`"));
    clean_command(&path)
}

/// Runs a command and returns whether it was content and all that it said.
pub(crate) fn said(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.success(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

pub(crate) fn accepted(command: &mut Command) -> String {
    assert_accepted(said(command))
}

/// What was said, which must be content.
pub(crate) fn assert_accepted((success, text): (bool, String)) -> String {
    assert!(success, "{text}");
    text
}

/// What was said must be a refusal for this reason.
pub(crate) fn assert_refused((success, text): (bool, String), reason: &str) {
    assert!(!success, "it was accepted: {text}");
    assert!(text.contains(reason), "it was not refused for {reason:?}: {text}");
}

/// A Debian package with one file.
pub(crate) fn deb(folder: &Path, name: &str, version: &str, architecture: &str) -> PathBuf {
    let tree = folder.join(format!("{name}-{version}-{architecture}"));
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::create_dir_all(tree.join("usr/share/cairn")).unwrap();
    fs::write(tree.join("usr/share/cairn").join(name), version).unwrap();
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: Nobody <nobody@cairn.example>\n\
         Description: Test\n With a second line.\n"
    );
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let path = folder.join(format!("{name}_{version}_{architecture}.deb"));
    let mut dpkg = program("dpkg-deb", "dpkg");
    dpkg.env("SOURCE_DATE_EPOCH", EPOCH.to_string()).args(["-Zgzip", "--root-owner-group", "--build"]);
    accepted(dpkg.arg(&tree).arg(&path));
    path
}

/// An rpm package without files, signed by the key.
pub(crate) fn rpm(folder: &Path, name: &str, version: &str, key: Option<&SigningKey>) -> PathBuf {
    let spec = folder.join(format!("{name}-{version}.spec"));
    let text = format!(
        "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: Test\nLicense: Apache-2.0\nBuildArch: noarch\n\
         %description\nTest\n%files\n"
    );
    fs::write(&spec, text).unwrap();
    let top = folder.join("rpmbuild");
    let mut command = program("rpmbuild", "rpm");
    command.env("HOME", folder).env("SOURCE_DATE_EPOCH", EPOCH.to_string());
    command.args(["-bb", "--define", "use_source_date_epoch_as_buildtime 1", "--define", "_buildhost cairn.example"]);
    accepted(command.arg("--define").arg(format!("_topdir {}", top.display())).arg(&spec));
    let path = folder.join(format!("{name}-{version}-1.noarch.rpm"));
    fs::copy(top.join("RPMS/noarch").join(path.file_name().unwrap()), &path).unwrap();
    if let Some(key) = key {
        key.sign_rpm(&path, EPOCH).unwrap();
    }
    path
}

/// Every file below a folder, by path.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn add(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{prefix}{}", path.file_name().unwrap().to_string_lossy());
            if path.is_dir() {
                add(&path, &format!("{name}/"), found);
            } else {
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    add(folder, "", &mut found);
    found
}

/// The one name that ends so.
pub(crate) fn name_of(tree: &BTreeMap<String, Vec<u8>>, end: &str) -> String {
    let names: Vec<_> = tree.keys().filter(|name| name.ends_with(end)).collect();
    assert_eq!(names.len(), 1, "{end}: {names:?}");
    names[0].clone()
}

/// Changes one byte near the end of a file, or changes it back.
pub(crate) fn change(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    // A small rpm has room for further signatures in its middle, which nothing protects.
    let place = bytes.len() * 9 / 10;
    bytes[place] ^= 1;
    fs::write(path, bytes).unwrap();
}
