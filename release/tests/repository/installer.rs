//! The installer is sound shell, takes no value that could end its quotes, and passes its trial; a broken one does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cairn_release::digest::digest_file;
use cairn_release::installer::{self, Archive, Facts, TEMPLATE};
use cairn_release::keys;
use cairn_release::tarball::{self, Entries, Entry};
use cairn_release::trials::installer::{self as trial, Trial};
use cairn_release::trials::{Check, Outcome, violations};
use tempfile::TempDir;

use crate::fixture::{EPOCH, accepted, program};

const VERSION: &str = "1.2.3";
const ALL: &str = "cairn-1.2.3-linux-amd64.tar.gz";
const CLIENT: &str = "cairn-client-1.2.3-linux-amd64.tar.gz";
const STATIC: &str = "cairn-1.2.3-linux-amd64-musl.tar.gz";
const KEY: &str = "untrusted comment: minisign public key\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";

/// The server serves by the existence of a file beside it; it stops on SIGTERM.
const SERVER: &str = r#"trap 'rm -f "$here/serving"; exit 0' TERM
touch "$here/serving"
while :; do sleep 0.02; done"#;

/// The client keeps its value in a file beside it.
const CLIENT_PROGRAM: &str = r#"[ "$1" = --version ] && exit 0
[ "$1" = --endpoints ] && shift 2
[ -e "$here/serving" ] || exit 1
case $1 in
    endpoint) echo healthy ;;
    put) printf '%s\n' "$3" > "$here/value" ;;
    get) cat "$here/value" ;;
esac"#;

fn template_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(TEMPLATE)
}

fn template() -> String {
    fs::read_to_string(template_path()).unwrap()
}

/// Of these a release has the first two or all.
const ARCHIVES: [Archive<'static>; 3] = [
    Archive { target: "linux-amd64", client_only: false, name: ALL },
    Archive { target: "linux-amd64", client_only: true, name: CLIENT },
    Archive { target: "linux-amd64-musl", client_only: false, name: STATIC },
];

fn facts() -> Facts<'static> {
    Facts {
        version: VERSION,
        base_url: "https://cairn.example/releases/1.2.3/",
        glibc_floor: "2.28",
        minisign_key: KEY,
        archives: &ARCHIVES[..2],
    }
}

fn sums() -> Vec<String> {
    vec!["a".repeat(64), "b".repeat(64)]
}

/// A signed release with pretending programs.
struct Release {
    scratch: TempDir,
    has_static: bool,
}

impl Release {
    fn new() -> Self {
        Self::of(&ARCHIVES[..2])
    }

    fn with_static() -> Self {
        Self::of(&ARCHIVES)
    }

    fn of(archives: &[Archive<'static>]) -> Self {
        let release = Self { scratch: tempfile::tempdir().unwrap(), has_static: archives.len() > 2 };
        let dir = release.dir();
        fs::create_dir(&dir).unwrap();
        for archive in archives {
            let programs: &[_] = &[("cairnctl", CLIENT_PROGRAM), ("cairnd", SERVER)];
            release.archive(archive.name, if archive.client_only { &programs[..1] } else { programs });
        }
        let (secret, public) = (release.scratch.path().join("k.key"), release.scratch.path().join("k.pub"));
        keys::generate(&secret, &public, None).unwrap();
        let key = fs::read_to_string(public).unwrap();
        installer::write(&template_path(), &Facts { minisign_key: &key, archives, ..facts() }, &dir).unwrap();
        let names: Vec<_> = archives.iter().map(|archive| archive.name).collect();
        let digest = |name: &&'static str| (*name, digest_file(&dir.join(name)).unwrap().sha256);
        let digests: Vec<_> = names.iter().map(digest).collect();
        let sums: String = digests.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
        let manifest: String = digests.iter().map(|(_, sum)| format!("{{ \"sha256\": \"{sum}\" }}\n")).collect();
        fs::write(dir.join("SHA256SUMS"), sums).unwrap();
        fs::write(dir.join("release.json"), manifest).unwrap();
        for name in names.into_iter().chain(["SHA256SUMS", "release.json"]) {
            release.sign(&secret, name);
        }
        release
    }

    fn dir(&self) -> PathBuf {
        self.scratch.path().join("release")
    }

    fn archive(&self, name: &str, programs: &[(&str, &str)]) {
        let mut entries = Entries::new();
        for (name, body) in programs {
            let script = format!("#!/bin/sh\nhere=$(dirname \"$0\")\n{body}\n");
            entries.insert(format!("bin/{name}"), Entry::Bytes(0o755, script.into_bytes()));
            entries.insert(format!("man/man1/{name}.1"), Entry::Bytes(0o644, b".TH".to_vec()));
            entries.insert(format!("completions/bash/{name}.bash"), Entry::Bytes(0o644, b"x".to_vec()));
        }
        entries.insert("LICENSE".to_owned(), Entry::Bytes(0o644, b"x".to_vec()));
        let file = fs::File::create(self.dir().join(name)).unwrap();
        tarball::write_tar_gz(file, name.strip_suffix(".tar.gz").unwrap(), &entries, EPOCH).unwrap();
    }

    fn sign(&self, secret: &Path, name: &str) {
        let file = self.dir().join(name);
        let sum = digest_file(&file).unwrap().sha256;
        let comment = format!("product=cairn version={VERSION} file={name} sha256={sum} sequence=1");
        let mut minisign = program("minisign", "minisign");
        accepted(minisign.arg("-S").arg("-s").arg(secret).arg("-m").arg(file).args(["-t", &comment]));
    }

    fn trial(&self) -> Vec<Check> {
        let static_archive = self.has_static.then_some(STATIC);
        trial::run(&Trial { release: &self.dir(), archive: ALL, client_archive: CLIENT, static_archive }).unwrap()
    }

    /// The trial of an installer in which a line was replaced: the checks that fail.
    fn broken(&self, from: &str, to: &str) -> Vec<String> {
        let path = self.dir().join("install.sh");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "the installer has no {from:?}");
        fs::write(&path, text.replace(from, to)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        let failed = |check: &Check| check.outcome != Outcome::Passed;
        self.trial().into_iter().filter(failed).map(|check| check.name.to_owned()).collect()
    }
}

#[test]
fn the_installer_is_sound_posix_shell() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("install.sh");
    fs::write(&path, installer::render(&template(), &facts(), &sums()).unwrap()).unwrap();
    accepted(program("dash", "dash").arg("-n").arg(&path));
    accepted(
        program("shellcheck", "shellcheck")
            .args(["--shell=sh", "--enable=all", "--exclude=SC2250,SC2310,SC2312"])
            .arg(&path),
    );
}

#[test]
fn the_facts_of_the_release_are_in_the_installer() {
    let script = installer::render(&template(), &facts(), &sums()).unwrap();
    for line in [
        "VERSION='1.2.3'".to_owned(),
        "BASE_URL='https://cairn.example/releases/1.2.3'".to_owned(),
        "GLIBC_FLOOR='2.28'".to_owned(),
        "MINISIGN_KEY='RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3'".to_owned(),
        format!("ARCHIVES='linux-amd64 all {ALL} {}", "a".repeat(64)),
        format!("linux-amd64 client {CLIENT} {}'", "b".repeat(64)),
    ] {
        assert!(script.lines().any(|found| found == line), "no line {line}");
    }
}

#[test]
fn values_that_could_run_as_shell_are_refused() {
    for bad in ["1.0'; rm -rf /; '", "1.0 2", "1.0\n", "$(id)", ""] {
        let error = installer::render(&template(), &Facts { version: bad, ..facts() }, &sums()).unwrap_err();
        assert!(error.to_string().contains("must not be in a shell script"), "{error:#}");
        let error = installer::render(&template(), &Facts { base_url: bad, ..facts() }, &sums()).unwrap_err();
        assert!(error.to_string().contains("must not be in a shell script"), "{error:#}");
    }
    let error = installer::render(&template(), &facts(), &["x".to_owned(), "y".to_owned()]).unwrap_err();
    assert!(error.to_string().contains("is no SHA-256 sum"), "{error:#}");
}

#[test]
fn a_template_with_a_place_too_many_or_too_few_is_refused() {
    let more = template() + "MORE='@MORE@'\n";
    let error = installer::render(&more, &facts(), &sums()).unwrap_err();
    assert!(error.to_string().contains("a place that nothing fills"), "{error:#}");
    let less = template().replace("@GLIBC_FLOOR@", "2.0");
    let error = installer::render(&less, &facts(), &sums()).unwrap_err();
    assert!(error.to_string().contains("no place for @GLIBC_FLOOR@"), "{error:#}");
}

#[test]
fn the_installer_passes_its_trial() {
    for release in [Release::new(), Release::with_static()] {
        let checks = release.trial();
        assert_eq!(violations(&checks), Vec::<String>::new());
        assert!(checks.len() > 20, "{} checks", checks.len());
    }
}

#[test]
fn the_trial_finds_an_installer_that_does_not_verify() {
    let failed = Release::new().broken("\n    verify\n", "\n    :\n");
    for name in [
        "the installer refuses a changed archive that the server's own lists vouch for",
        "an installer with another sum refuses the released archive",
        "the installer refuses the signature of another file",
    ] {
        assert!(failed.iter().any(|found| found == name), "{failed:#?}");
    }
}

#[test]
fn the_trial_finds_an_installer_that_trusts_the_server() {
    // The sum comes from the server's list instead of from the script.
    let failed = Release::new().broken("[ \"$found\" = \"$sum\" ]", "sum=$found; [ -n \"$sum\" ]");
    assert!(failed.iter().any(|name| name.contains("lists vouch for")), "{failed:#?}");
}

#[test]
fn the_trial_finds_an_installer_that_does_not_ask_for_the_system() {
    for release in [Release::new(), Release::with_static()] {
        let failed = release.broken("\n    choose_libc\n", "\n");
        assert!(failed.iter().any(|name| name.contains("to musl")), "{failed:#?}");
        assert!(failed.iter().any(|name| name.contains("too old")), "{failed:#?}");
    }
}
