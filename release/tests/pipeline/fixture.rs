//! A small source tree, programs that pretend, and a signed release made of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_release::archive::{self, Parts};
use cairn_release::digest::digest_file;
use cairn_release::key_list::{KEYS_NAME, KeyList};
use cairn_release::keys::{self, SigningKey};
use cairn_release::plan::{ArtifactKind, Inputs, Plan, Scope, file_names};
use cairn_release::tarball::{self, Entries, Entry};
use cairn_release::{checksum, sign};
use serde_json::json;
use tempfile::TempDir;

/// Time of all artifacts in these tests.
pub(crate) const EPOCH: u64 = 1_700_000_000;

/// Version that plan and pretending programs have.
pub(crate) const VERSION: &str = "1.2.3";

/// The server serves by the existence of a file beside it; it stops on SIGTERM.
const SERVER: &str = r#"trap 'rm -f "$here/serving"; exit 0' TERM
touch "$here/serving"
while :; do sleep 0.02; done"#;

/// The client keeps keys in files beside it.
const CLIENT: &str = r#"[ "$1" = --endpoints ] && shift 2
[ -e "$here/serving" ] || { echo "connection refused" >&2; exit 1; }
case $1 in
    endpoint) echo healthy ;;
    put) printf '%s\n' "$3" > "$here/value"; echo OK ;;
    get) cat "$here/value" ;;
esac"#;

/// The plan of these tests, with the version and release number given.
pub(crate) fn plan_of(version: &str, sequence: u64) -> Plan {
    plan_within(Scope::Fast("linux-amd64".to_owned()), version, sequence)
}

/// The plan of a release with the targets of a scope.
pub(crate) fn plan_within(scope: Scope, version: &str, sequence: u64) -> Plan {
    Plan::new(&Inputs {
        cargo_toml: format!("[workspace]\n[workspace.package]\nversion = \"{version}\"\n"),
        release_toml: format!("sequence = {sequence}\n"),
        commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
        tree: Some("89abcdef0123456789abcdef0123456789abcdef".to_owned()),
        source_date_epoch: EPOCH,
        scope,
    })
    .expect("the inputs are valid")
}

/// The same with the server's archive and the list of keys alone, so that signing and verifying are about few files.
pub(crate) fn small_plan_of(version: &str, sequence: u64) -> Plan {
    let mut plan = plan_of(version, sequence);
    plan.artifacts.retain(|artifact| [ArtifactKind::Archive, ArtifactKind::KeyList].contains(&artifact.kind));
    plan.files = file_names(&plan.artifacts);
    plan
}

/// The usual plan with the archive of images.
pub(crate) fn plan_with_images() -> Plan {
    let mut plan = plan_of(VERSION, 7);
    let kinds = [ArtifactKind::Archive, ArtifactKind::OciArchive, ArtifactKind::KeyList];
    plan.artifacts.retain(|artifact| kinds.contains(&artifact.kind));
    // The programs' archive is the one that the fixture makes.
    plan.artifacts.sort_by_key(|artifact| artifact.kind);
    plan.files = file_names(&plan.artifacts);
    plan
}

/// Writes documents and archive of the pretending programs.
pub(crate) fn make_archive(plan: &Plan, bin_dir: &Path, dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    archive::write_docs(bin_dir, &plan.targets[0].binaries, &plan.version, &bin_dir.with_extension("docs"))?;
    fs::write(bin_dir.with_extension("licences"), "many licences\n")?;
    with_parts(bin_dir, |parts| archive::write(plan, &plan.artifacts[0], parts, dir))
}

/// Does something with the parts that [`make_archive`] takes.
pub(crate) fn with_parts<T>(bin_dir: &Path, act: impl FnOnce(&Parts<'_>) -> T) -> T {
    let (root, docs) = (source_tree(), bin_dir.with_extension("docs"));
    let licences = bin_dir.with_extension("licences");
    act(&Parts { root: &root, programs: bin_dir.to_owned(), docs: &docs, licences })
}

/// Writes an archive of images that has nothing but the list of them.
fn make_images(path: &Path) {
    let image = |tag: &str, digit: &str| {
        let digest = format!("sha256:{}", digit.repeat(64));
        let annotations = json!({ "org.opencontainers.image.ref.name": tag });
        json!({ "mediaType": "application/json", "digest": digest, "size": 1, "annotations": annotations })
    };
    let list = image(&format!("sha256-{}", "2".repeat(64)), "3");
    let images = [image(VERSION, "1"), image(&format!("{VERSION}-amd64"), "2"), list];
    let index = json!({ "schemaVersion": 2, "mediaType": "application/json", "manifests": images }).to_string();
    let entries = Entries::from([("index.json".to_owned(), Entry::Bytes(0o644, index.into_bytes()))]);
    tarball::write_tar(fs::File::create(path).unwrap(), "", &entries, EPOCH).unwrap();
}

/// The usual plan of few files.
pub(crate) fn plan() -> Plan {
    small_plan_of(VERSION, 7)
}

/// Root of the real source tree: the archive takes README, licence and sample configuration from there.
pub(crate) fn source_tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in the workspace").to_owned()
}

/// Makes the programs of the plan as scripts that report `version`.
pub(crate) fn make_programs(bin_dir: &Path, version: &str) {
    fs::create_dir_all(bin_dir).unwrap();
    for (name, body) in [("cairnd", SERVER), ("cairnctl", CLIENT), ("cairnutl", ""), ("cairn-bench", "")] {
        make_program(bin_dir, name, version, body);
    }
}

/// Makes one program; `body` is what it does besides `--version` and `generate-docs`.
pub(crate) fn make_program(bin_dir: &Path, name: &str, version: &str, body: &str) {
    let script = format!(
        r#"#!/bin/sh
here=$(dirname "$0")
case $1 in
--version) echo "{name} version {version}, API 3.6.5"; exit 0 ;;
generate-docs)
    mkdir -p "$3/man" "$3/completions/bash" "$3/completions/fish" "$3/completions/zsh"
    echo ".TH {name}" > "$3/man/{name}.1"
    echo "bash" > "$3/completions/bash/{name}.bash"
    echo "fish" > "$3/completions/fish/{name}.fish"
    echo "zsh" > "$3/completions/zsh/_{name}"
    exit 0 ;;
esac
{body}
"#
    );
    let path = bin_dir.join(name);
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A signed release in a temporary folder.
pub(crate) struct Release {
    pub(crate) scratch: TempDir,
    pub(crate) plan: Plan,
    pub(crate) dir: PathBuf,
    pub(crate) public_key: PathBuf,
    pub(crate) key: SigningKey,
}

impl Release {
    /// Plan, package, checksum, sign.
    pub(crate) fn signed() -> Self {
        let release = Self::unsigned(plan());
        sign::sign(&release.plan, &release.dir, &release.key).unwrap();
        release
    }

    /// Plan, package, checksum.
    pub(crate) fn unsigned(plan: Plan) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join(plan.folder_name());
        let bin_dir = scratch.path().join("bin");
        make_programs(&bin_dir, &plan.version);
        make_archive(&plan, &bin_dir, &dir).unwrap();
        plan.artifacts_of(ArtifactKind::OciArchive).for_each(|artifact| make_images(&dir.join(&artifact.name)));
        let (public_key, key) = new_key(scratch.path(), "first");
        let (_, next) = new_key(scratch.path(), "next");
        fs::write(dir.join(KEYS_NAME), KeyList::begin(&key, &next.public_key()).unwrap().to_json()).unwrap();
        checksum::checksum(&plan, &dir).unwrap();
        Self { scratch, plan, dir, public_key, key }
    }

    /// Path of a file of the release folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Name of the archive.
    pub(crate) fn archive(&self) -> String {
        self.plan.artifacts[0].name.clone()
    }

    /// The trusted comment that fits a file as it is now.
    pub(crate) fn comment_of(&self, name: &str) -> String {
        let sha256 = digest_file(&self.file(name)).unwrap().sha256;
        let Plan { version, sequence, .. } = &self.plan;
        format!("product=cairn version={version} file={name} sha256={sha256} sequence={sequence}")
    }

    /// Replaces a file by other content with a signature that fits it: what only the holder of the key can do.
    pub(crate) fn replace_signed(&self, name: &str, content: &str) {
        self.replace_signed_by(&self.scratch.path().join("first.key"), name, content);
    }

    /// The same with the secret key in this file.
    pub(crate) fn replace_signed_by(&self, secret: &Path, name: &str, content: &str) {
        fs::write(self.file(name), content).unwrap();
        sign_raw(secret, &self.file(name), &self.comment_of(name));
    }
}

/// Makes a key pair and returns the public key's file and the key.
pub(crate) fn new_key(folder: &Path, name: &str) -> (PathBuf, SigningKey) {
    let (secret, public) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pub")));
    keys::generate(&secret, &public, None).unwrap();
    let key = SigningKey::read(&secret, None).unwrap();
    (public, key)
}

/// Signs with the stock program, which writes any comment that we want.
pub(crate) fn sign_raw(secret: &Path, file: &Path, comment: &str) {
    let output = minisign().arg("-S").arg("-s").arg(secret).arg("-m").arg(file).args(["-t", comment]).output();
    let output = output.expect("minisign must be installed: Debian package `minisign`");
    assert!(output.status.success(), "minisign: {}", String::from_utf8_lossy(&output.stderr));
}

/// The stock minisign program.
pub(crate) fn minisign() -> Command {
    let program = cairn_release::process::find_program("minisign");
    Command::new(program.expect("minisign must be installed: Debian package `minisign`"))
}
