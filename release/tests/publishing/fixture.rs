//! Small signed releases, and a target that fails when a test wants it to.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cairn_release::checksum;
use cairn_release::comment::TrustedComment;
use cairn_release::digest::{Digest, digest_bytes, digest_file};
use cairn_release::key_list::{KEYS_NAME, KeyList};
use cairn_release::keys::{self, SigningKey};
use cairn_release::manifest::{Entry, MANIFEST_NAME, Manifest, SCHEMA, SUMS_NAME};
use cairn_release::plan::{ArtifactKind, PRODUCT};
use cairn_release::publish::{self, Client, Error, Found, Mode, Part, Release, Report, Step, Target, Tree, Verified};
use cairn_release::repository::apt::{VALID_DAYS, date};
use cairn_release::verify;
use minisign::{SecretKey, SecretKeyBox};
use tempfile::TempDir;

/// Time of all releases in these tests.
pub(crate) const EPOCH: u64 = 1_700_000_000;

/// The version that most tests publish.
pub(crate) const VERSION: &str = "1.2.3";

/// The program with one of its commands, without what a runner's environment says.
pub(crate) fn cairn_release(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
    for variable in ["GITHUB_REPOSITORY", "GITHUB_API_URL", "GITHUB_SERVER_URL", "GITHUB_TOKEN"] {
        command.env_remove(variable);
    }
    command.arg(name);
    command
}

/// What a command that ends well prints.
#[track_caller]
pub(crate) fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// One key and the releases that are signed with it.
pub(crate) struct Maker {
    pub(crate) scratch: TempDir,
    pub(crate) public_key: PathBuf,
    secret: SecretKey,
    list: KeyList,
}

/// A release folder and what goes with it.
pub(crate) struct Made {
    pub(crate) dir: PathBuf,
    pub(crate) public_key: PathBuf,
    pub(crate) version: String,
    pub(crate) trees: Vec<Tree>,
    pub(crate) layout: Option<PathBuf>,
}

impl Maker {
    pub(crate) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let [(secret, public_key), (next_secret, next)] =
            ["key", "next"].map(|name| [".key", ".pub"].map(|end| scratch.path().join(format!("{name}{end}"))).into());
        keys::generate(&secret, &public_key, None).unwrap();
        keys::generate(&next_secret, &next, None).unwrap();
        let key = SigningKey::read(&secret, None).unwrap();
        let list = KeyList::begin(&key, &verify::read_key(&next).unwrap()).unwrap();
        let text = fs::read_to_string(&secret).unwrap();
        let secret = SecretKeyBox::from_string(&text).unwrap().into_unencrypted_secret_key().unwrap();
        Self { scratch, public_key, secret, list }
    }

    /// A release of two archives and the list of keys, whose content is made of `content`.
    pub(crate) fn release(&self, version: &str, sequence: u64, content: &str) -> Made {
        let archive = |target: &str| format!("{target} {content}").repeat(1000).into_bytes();
        self.release_of(version, sequence, content, archive)
    }

    /// A release whose archives for the targets hold what `archive` gives; `content` is a name for it.
    pub(crate) fn release_of(
        &self,
        version: &str,
        sequence: u64,
        content: &str,
        archive: impl Fn(&str) -> Vec<u8>,
    ) -> Made {
        let dir = self.scratch.path().join(format!("cairn-{version}-{sequence}-{content}"));
        fs::create_dir(&dir).unwrap();
        let name = |target: &str| format!("cairn-{version}-{target}.tar.gz");
        for target in ["linux-amd64", "linux-arm64"] {
            fs::write(dir.join(name(target)), archive(target)).unwrap();
        }
        fs::write(dir.join(KEYS_NAME), self.list.to_json()).unwrap();
        let sum = |name: &String| (name.clone(), digest_file(&dir.join(name)).unwrap().sha256);
        let sums: Vec<_> = [name("linux-amd64"), name("linux-arm64"), KEYS_NAME.to_owned()].iter().map(sum).collect();
        fs::write(dir.join(SUMS_NAME), checksum::render(&sums)).unwrap();
        let entry = |name: String, kind, target: Option<&str>| {
            let digest = digest_file(&dir.join(&name)).unwrap();
            Entry { name, kind, target: target.map(str::to_owned), size: digest.size, sha256: digest.sha256 }
        };
        let archive_of = |target| entry(name(target), ArtifactKind::Archive, Some(target));
        let manifest = Manifest {
            schema: SCHEMA,
            product: PRODUCT.to_owned(),
            version: version.to_owned(),
            sequence,
            commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
            tree: None,
            source_date_epoch: EPOCH,
            targets: Vec::new(),
            images: Vec::new(),
            files: vec![
                entry(SUMS_NAME.to_owned(), ArtifactKind::Checksums, None),
                archive_of("linux-amd64"),
                archive_of("linux-arm64"),
                entry(KEYS_NAME.to_owned(), ArtifactKind::KeyList, None),
            ],
        };
        fs::write(dir.join(MANIFEST_NAME), manifest.to_json()).unwrap();
        for name in [SUMS_NAME, MANIFEST_NAME, KEYS_NAME, &name("linux-amd64"), &name("linux-arm64")] {
            self.sign(&dir, name, version, sequence);
        }
        let public_key = self.public_key.clone();
        Made { dir, public_key, version: version.to_owned(), trees: Vec::new(), layout: None }
    }

    /// The release that most tests publish.
    pub(crate) fn usual(&self) -> Made {
        self.release(VERSION, 7, "right")
    }

    fn sign(&self, dir: &Path, name: &str, version: &str, sequence: u64) {
        let bytes = fs::read(dir.join(name)).unwrap();
        let comment = TrustedComment {
            product: PRODUCT.to_owned(),
            version: version.to_owned(),
            file: name.to_owned(),
            sha256: digest_file(&dir.join(name)).unwrap().sha256,
            sequence,
        };
        let comment = comment.to_string();
        let signature = minisign::sign(None, &self.secret, Cursor::new(bytes), Some(&comment), None).unwrap();
        fs::write(dir.join(format!("{name}.minisig")), signature.to_string()).unwrap();
    }
}

impl Made {
    pub(crate) fn release(&self) -> Release<'_> {
        Release {
            dir: &self.dir,
            public_key: &self.public_key,
            version: &self.version,
            trees: &self.trees,
            layout: self.layout.as_deref(),
        }
    }

    pub(crate) fn publish(&self, target: &dyn Target) -> Result<Report, Error> {
        publish::publish(target, &self.release(), Mode::Publish)
    }

    pub(crate) fn dry_run(&self, target: &dyn Target) -> Result<Report, Error> {
        publish::publish(target, &self.release(), Mode::DryRun)
    }

    /// Name and content of every file of the release folder.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        contents(&self.dir)
    }

    /// A folder beside the release folder, of this release alone.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        let release = self.dir.file_name().unwrap().to_string_lossy();
        self.dir.with_file_name(format!("{release}-{name}"))
    }

    /// Writes a tree of these files that goes to `at`.
    pub(crate) fn add_tree(&mut self, at: &str, files: &[(&str, &str)]) {
        let dir = self.beside(&format!("tree{}", self.trees.len()));
        for (path, content) in files {
            write(&dir.join(path), content.as_bytes());
        }
        self.trees.push(Tree { dir, at: at.to_owned() });
    }

    /// Adds an apt repository with these packages, by path and content.
    pub(crate) fn add_apt(&mut self, packages: &[(&str, &str)], time: u64) {
        let files = apt_repository(packages, time);
        let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
        self.add_tree("apt", &files);
    }
}

/// The files of an apt repository as one is published, without signatures: publishing looks at none.
pub(crate) fn apt_repository(packages: &[(&str, &str)], time: u64) -> Vec<(String, String)> {
    let mut files: Vec<_> = packages.iter().map(|(path, content)| (path.to_string(), content.to_string())).collect();
    let mut index = String::new();
    for (path, content) in packages {
        let Digest { size, sha256 } = digest_bytes(content.as_bytes());
        index += &format!("Package: cairn\nFilename: {path}\nSize: {size}\nSHA256: {sha256}\n\n");
    }
    let folder = "main/binary-amd64";
    let Digest { size, sha256 } = digest_bytes(index.as_bytes());
    let (date, until) = (date(time), date(time + VALID_DAYS * 24 * 60 * 60));
    let release = format!("Date: {date}\nValid-Until: {until}\nSHA256:\n {sha256} {size} {folder}/Packages\n");
    files.push((format!("dists/stable/{folder}/by-hash/SHA256/{sha256}"), index.clone()));
    files.push((format!("dists/stable/{folder}/Packages"), index));
    files.push(("dists/stable/Release".to_owned(), release.clone()));
    files.push(("dists/stable/InRelease".to_owned(), release));
    files.push(("cairn.sources".to_owned(), format!("of {date}")));
    files
}

/// Writes a file and the folders that it needs.
pub(crate) fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Path and content of every file below a folder.
pub(crate) fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(folder) = left.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
                all.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    all
}

/// A client that does not make tests wait.
pub(crate) fn client() -> Client {
    Client::new().with_first_pause(Duration::from_millis(1))
}

/// The moments at which a run is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// A target whose nth change fails, before or after it was made.
pub(crate) struct Failing<'a> {
    pub(crate) target: &'a dyn Target,
    pub(crate) at: usize,
    pub(crate) when: When,
    changes: Cell<usize>,
}

impl<'a> Failing<'a> {
    pub(crate) fn new(target: &'a dyn Target, at: usize, when: When) -> Self {
        Self { target, at, when, changes: Cell::new(0) }
    }
}

impl Target for Failing<'_> {
    fn name(&self) -> String {
        self.target.name()
    }

    fn steps<'a>(&'a self, release: &'a Verified) -> Result<Vec<Box<dyn Step + 'a>>, Error> {
        let steps = self.target.steps(release)?;
        Ok(steps.into_iter().map(|step| Box::new(FailingStep { step, failing: self }) as Box<dyn Step + 'a>).collect())
    }
}

struct FailingStep<'a> {
    step: Box<dyn Step + 'a>,
    failing: &'a Failing<'a>,
}

impl Step for FailingStep<'_> {
    fn name(&self) -> String {
        self.step.name()
    }

    fn part(&self) -> Part {
        self.step.part()
    }

    fn ask(&self) -> Result<Found, Error> {
        self.step.ask()
    }

    fn put(&self) -> Result<(), Error> {
        let Failing { at, when, changes, .. } = self.failing;
        let fails = changes.get() == *at;
        changes.set(changes.get() + 1);
        if !(fails && *when == When::Before) {
            self.step.put()?;
        }
        match fails {
            true => Err(Error::Unreachable { request: self.name(), why: "killed by the test".to_owned() }),
            false => Ok(()),
        }
    }
}

/// Kills the publication at every change, before and after it, and runs it again; `fresh` makes an empty target,
/// `look` says whether the version is visible, `state` is all that is there. Every way must end in the same state.
pub(crate) fn kill_everywhere<T: Target>(
    made: &Made,
    fresh: impl Fn() -> T,
    look: impl Fn(&T) -> bool,
    state: impl Fn(&T) -> BTreeMap<String, Vec<u8>>,
) {
    let whole = fresh();
    let changes = made.publish(&whole).unwrap().steps.len();
    let wanted = state(&whole);
    assert!(look(&whole) && changes > 3);
    for when in [When::Before, When::After] {
        for at in 0..changes {
            let target = fresh();
            let killed = made.publish(&Failing::new(&target, at, when));
            assert!(matches!(killed, Err(Error::Unreachable { .. })), "{at} {when:?}: {killed:?}");
            let last = look(&target);
            if last {
                // What makes it visible is followed by nothing that it needs.
                assert!(at + 3 >= changes, "visible after {at} of {changes} changes, {when:?}");
            }
            let report = made.publish(&target).unwrap_or_else(|e| panic!("{at} {when:?}: {e:#}"));
            assert!(look(&target), "{report}");
            assert!(state(&target) == wanted, "killed {when:?} change {at}, the end differs:\n{report}");
            assert!(made.publish(&target).unwrap().nothing_to_do());
        }
    }
}
