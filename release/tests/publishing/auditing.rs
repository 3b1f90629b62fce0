//! An audit downloads what is published and names the first thing that is not as it should be.

use std::fs;
use std::path::Path;
use std::process::Command;

use cairn_release::audit::{Audit, Audited, Layout, MIN_VALID_DAYS, audit, use_archives};
use cairn_release::files::EXECUTABLE_MODE;
use cairn_release::key_list::KEYS_NAME;
use cairn_release::manifest::{MANIFEST_NAME, Manifest};
use cairn_release::publish::{Bucket, Credentials, Error, Folder, State, Store};
use cairn_release::repository::apt::VALID_DAYS;
use cairn_release::tarball::{self, Entries, Entry};
use cairn_release::verify::Refusal;

use crate::fixture::{EPOCH, Made, Maker, VERSION, cairn_release, client, contents, said, write};
use crate::server::{Reply, Server};

/// A site in a folder with one release.
fn site(made: &Made) -> tempfile::TempDir {
    let site = tempfile::tempdir().unwrap();
    made.publish(&Folder::new(site.path())).unwrap();
    site
}

fn request<'a>(store: &'a dyn Store, public_key: &'a Path) -> Audit<'a> {
    Audit { store, layout: Layout::Site, version: None, public_key, min_sequence: 0, local: None, time: EPOCH }
}

fn audit_folder(site: &Path, maker: &Maker, local: Option<&Path>) -> Result<Audited, Error> {
    audit(&Audit { local, ..request(&Folder::new(site), &maker.public_key) })
}

/// Serves a folder over HTTP.
fn serve(dir: &Path) -> Server {
    let dir = dir.to_owned();
    Server::start(move |got| match fs::read(dir.join(got.path.trim_start_matches('/'))) {
        Ok(bytes) => Reply::new(200, bytes),
        Err(_) => Reply::new(404, ""),
    })
}

#[test]
fn what_was_published_passes_from_a_folder_and_over_http() {
    let maker = Maker::new();
    let made = maker.usual();
    let site = site(&made);
    let audited = audit_folder(site.path(), &maker, Some(&made.dir)).unwrap();
    assert_eq!((audited.manifest.version.as_str(), audited.state), (VERSION, Some(State::Good)));
    assert_eq!(audited.files, made.files().len());
    assert_eq!(audited.bytes, made.files().values().map(|bytes| bytes.len() as u64).sum::<u64>());
    let server = serve(site.path());
    let bucket = Bucket::new(&server.url, client(), Credentials::None).unwrap();
    let over_http = audit(&Audit { local: Some(&made.dir), ..request(&bucket, &maker.public_key) }).unwrap();
    assert_eq!(over_http, audited);
}

#[test]
fn a_workflow_audits_the_repository_that_it_runs_for_unless_a_place_is_named() {
    let maker = Maker::new();
    let made = maker.usual();
    let dir = made.dir.clone();
    let server = Server::start(move |got| {
        let name = got.path.strip_prefix("/cairn/cairn/releases/download/v1.2.3/").expect("a file of the release");
        Reply::new(200, fs::read(dir.join(name)).unwrap())
    });
    let command = || {
        let mut command = cairn_release("audit");
        command.env("GITHUB_REPOSITORY", "cairn/cairn").env("GITHUB_SERVER_URL", &server.url);
        command.arg("--public-key").arg(&maker.public_key).args(["--version", VERSION]);
        command
    };
    assert!(said(&mut command()).starts_with("1.2.3: 10 files, "));
    let asked = server.log().len();
    said(command().arg("--folder").arg(site(&made).path()));
    assert_eq!(server.log().len(), asked, "it looked at the repository, too");
}

#[test]
fn a_list_of_keys_is_trusted_as_a_key_is() {
    let (maker, other) = (Maker::new(), Maker::new());
    let (made, others) = (maker.usual(), other.usual());
    let site = site(&made);
    let store = Folder::new(site.path());
    let audit_with = |list: &Path| audit(&request(&store, list));
    assert_eq!(audit_with(&made.dir.join(KEYS_NAME)).unwrap().manifest.version, VERSION);
    let refusal = audit_with(&others.dir.join(KEYS_NAME)).unwrap_err();
    assert!(matches!(refusal, Error::NotVerified(Refusal::BadKeys { .. })), "{refusal:?}");
}

/// Serves a release as GitHub does, under its version and as the newest.
fn github(dir: &Path) -> Server {
    let dir = dir.to_owned();
    Server::start(move |got| {
        let name = got.path.strip_prefix("/cairn/cairn/releases/download/v1.2.3/");
        match name.or_else(|| got.path.strip_prefix("/cairn/cairn/releases/latest/download/")) {
            Some(name) if dir.join(name).exists() => Reply::new(200, fs::read(dir.join(name)).unwrap()),
            _ => Reply::new(404, ""),
        }
    })
}

/// The audit of that.
fn audit_github(server: &Server, maker: &Maker) -> Command {
    let mut command = cairn_release("audit");
    command.args(["--github", "cairn/cairn"]).env("GITHUB_SERVER_URL", &server.url);
    command.arg("--public-key").arg(&maker.public_key);
    command
}

#[test]
fn the_newest_release_is_audited_where_no_version_is_named() {
    let maker = Maker::new();
    let made = maker.usual();
    let server = github(&made.dir);
    assert!(said(&mut audit_github(&server, &maker)).starts_with("1.2.3: 10 files, "));
    let asked = |line: &&String| line.contains("/latest/");
    assert_eq!(server.log().iter().filter(asked).count(), 1, "what changes meanwhile must not be mixed");
}

#[test]
fn a_repository_without_release_fails() {
    let (maker, empty) = (Maker::new(), tempfile::tempdir().unwrap());
    let output = audit_github(&github(empty.path()), &maker).output().unwrap();
    assert_eq!(output.status.code(), Some(39));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("nothing is published there"), "{said}");
}

/// A release whose archives hold scripts in the place of the programs; `get` is what the client's does.
fn with_programs(maker: &Maker, get: &str) -> Made {
    let client = format!("#!/bin/sh\nshift 2\ncase $1 in\nput) echo \"$3\" >\"$0.value\" ;;\nget) {get} ;;\nesac\n");
    let server = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 0.02; done\n";
    let program = |text: &str| Entry::Bytes(EXECUTABLE_MODE, text.as_bytes().to_vec());
    let entries =
        Entries::from([("bin/cairnd".to_owned(), program(server)), ("bin/cairnctl".to_owned(), program(&client))]);
    maker.release_of(VERSION, 7, "programs", |target| {
        let mut bytes = Vec::new();
        tarball::write_tar_gz(&mut bytes, &format!("cairn-{VERSION}-{target}"), &entries, EPOCH).unwrap();
        bytes
    })
}

#[test]
fn the_published_programs_for_this_machine_are_used() {
    let maker = Maker::new();
    let made = with_programs(&maker, "cat \"$0.value\"");
    said(audit_github(&github(&made.dir), &maker).arg("--use"));
    let other = Maker::new();
    let broken = with_programs(&other, "echo another");
    let name =
        format!("cairn-{VERSION}-linux-{}.tar.gz", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    let manifest = Manifest::parse(&fs::read(broken.dir.join(MANIFEST_NAME)).unwrap()).unwrap();
    let error = use_archives(&broken.dir, &manifest).unwrap_err();
    assert!(matches!(&error, Error::Differs { file, .. } if *file == name), "{error:?}");
    assert!(error.to_string().contains("does not work on this machine"), "{error}");
    let foreign = Manifest { files: Vec::new(), ..manifest };
    assert!(use_archives(&broken.dir, &foreign).unwrap_err().to_string().contains("no archive for this machine"));
}

#[test]
fn the_files_of_one_version_alone_pass_too() {
    let maker = Maker::new();
    let made = maker.usual();
    let server = serve(&made.dir);
    let bucket = Bucket::new(&server.url, client(), Credentials::None).unwrap();
    let flat = Audit { layout: Layout::Flat, version: Some(VERSION), ..request(&bucket, &maker.public_key) };
    assert_eq!(audit(&flat).unwrap().state, None);
    let newer = audit(&Audit { min_sequence: 8, ..flat }).unwrap_err();
    assert_eq!(newer.exit_code(), 32);
}

#[test]
fn a_changed_missing_or_longer_file_is_found() {
    let maker = Maker::new();
    let made = maker.usual();
    for name in made.files().keys() {
        let site = site(&made);
        let path = site.path().join("releases/1.2.3").join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes.push(b'\n');
        fs::write(&path, bytes).unwrap();
        let error = audit_folder(site.path(), &maker, Some(&made.dir)).unwrap_err();
        assert!(matches!(error.exit_code(), 32 | 39), "{name}: {error:?}");
        fs::remove_file(&path).unwrap();
        let error = audit_folder(site.path(), &maker, None).unwrap_err();
        assert!(matches!(&error, Error::Differs { file, .. } if file.ends_with(name.as_str())), "{name}: {error:?}");
        assert_eq!(error.exit_code(), 39);
    }
}

#[test]
fn a_key_other_than_the_trusted_one_is_found() {
    let (maker, other) = (Maker::new(), Maker::new());
    let site = site(&maker.usual());
    let error = audit_folder(site.path(), &other, None).unwrap_err();
    assert_eq!(error.exit_code(), 32);
    assert!(format!("{:#}", anyhow::Error::new(error)).contains("signed with another key"));
}

#[test]
fn a_signed_release_that_is_not_the_local_one_is_found_by_the_first_file_that_differs() {
    let maker = Maker::new();
    let site = site(&maker.usual());
    let local = maker.release(VERSION, 7, "another build");
    let error = audit_folder(site.path(), &maker, Some(&local.dir)).unwrap_err();
    assert!(matches!(&error, Error::Differs { file, why } if file == "SHA256SUMS" && why.contains("local sha256")));
    write(&local.dir.join("0-notes"), b"x");
    let error = audit_folder(site.path(), &maker, Some(&local.dir)).unwrap_err();
    assert!(error.to_string().contains("0-notes: is in the local release and not published"), "{error}");
}

#[test]
fn an_index_or_channel_that_contradicts_the_signed_manifest_is_found() {
    let maker = Maker::new();
    let made = maker.usual();
    for (path, from, to, word) in [
        ("releases/index.json", "\"sequence\": 7", "\"sequence\": 8", "contradicts"),
        ("releases/index.json", "1700000000", "1700000001", "contradicts"),
        ("releases/index.json", VERSION, "1.2.4", "does not list"),
        ("releases/index.json", "\"schema\": 1", "\"schema\": 2", "other"),
        ("releases/index.json", "good", "yanked", "is yanked"),
        ("channels/stable.json", "\"sequence\": 7", "\"sequence\": 8", "contradicts"),
        ("channels/stable.json", VERSION, "1.2.4", "is not published"),
        ("channels/stable.json", VERSION, "../..", "unexpected character"),
    ] {
        let site = site(&made);
        let text = fs::read_to_string(site.path().join(path)).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(site.path().join(path), text.replace(from, to)).unwrap();
        let error = format!("{:#}", anyhow::Error::new(audit_folder(site.path(), &maker, None).unwrap_err()));
        assert!(error.contains(word), "{path} {to}: {error}");
    }
}

#[test]
fn a_version_that_is_still_being_sent_does_not_pass() {
    let maker = Maker::new();
    let made = maker.usual();
    let site = tempfile::tempdir().unwrap();
    for (name, bytes) in contents(&made.dir) {
        write(&site.path().join(".staging/1.2.3").join(name), &bytes);
    }
    let folder = Folder::new(site.path());
    let error = audit(&Audit { version: Some(VERSION), ..request(&folder, &maker.public_key) }).unwrap_err();
    assert!(error.to_string().contains("does not list"), "{error}");
    assert!(audit(&request(&folder, &maker.public_key)).unwrap_err().to_string().contains("no version was given"));
}

#[test]
fn an_apt_index_that_expires_within_a_month_is_found_where_the_site_has_one() {
    let maker = Maker::new();
    let mut made = maker.usual();
    made.add_apt(&[("pool/main/c/cairn/cairn_1.2.3_amd64.deb", "deb")], EPOCH);
    let site = site(&made);
    let folder = Folder::new(site.path());
    let last = EPOCH + (VALID_DAYS - MIN_VALID_DAYS) * 24 * 60 * 60;
    audit(&Audit { time: last, ..request(&folder, &maker.public_key) }).unwrap();
    let error = audit(&Audit { time: last + 1, ..request(&folder, &maker.public_key) }).unwrap_err();
    assert_eq!(error.exit_code(), 41);
    let text = error.to_string();
    assert!(
        text.contains("valid until Sun, 12 May 2024 22:13:20 UTC") && text.contains("cairn-release renew"),
        "{text}"
    );
}
