//! Publishes a signed release: first ask, then send what is missing, and make the version visible last.
//!
//! A [`Target`] turns a release into [`Step`]s in the order in which they must happen. [`publish`] asks every step what
//! stands there already before the first byte is sent, so that a conflict changes nothing. Published bytes are never
//! replaced: other bytes under a name that is there are an [`Error::Conflict`]. Before the step that makes the version
//! visible, all that was sent is read back. A killed run leaves only what nobody sees; the next run goes on from there.
//!
//! The pointers that a target moves (index, channel, package indexes) are not signed here and nobody must trust them:
//! a user's verifier decides by the signed manifest.
//!
//! Left out: deleting, yanking, two runs at once against one folder.

mod client;
mod error;
mod folder;
mod github;
mod http;
mod layout;
mod pointers;
mod registry;
mod sigv4;
mod site;
mod token;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};

pub use client::{Client, Secret};
pub use error::{EXIT_CODES_HELP, Error};
pub use folder::Folder;
pub use github::GitHub;
pub use http::{Bucket, Credentials};
pub use pointers::{CHANNEL_PATH, Channel, INDEX_PATH, Index, IndexEntry, State};
pub use registry::{Login, Registry};
pub use sigv4::{AwsKey, Canonical, signature};
pub use site::{Content, Reading, SITE_URL, Store};
pub(crate) use site::{digest_at, read_channel, read_index};
pub use tree::Tree;

use crate::digest::{Digest, digest_file};
use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::plan::SIGNATURE_SUFFIX;
use crate::verify::{self, Request};

/// A place where releases are published.
pub trait Target {
    /// Kind and address, without secrets.
    fn name(&self) -> String;

    /// What must stand there, in the order in which it must come to stand there. May ask, must not change anything.
    ///
    /// # Errors
    ///
    /// The target does not answer, or the release cannot be published there.
    fn steps<'a>(&'a self, release: &'a Verified) -> Result<Vec<Box<dyn Step + 'a>>, Error>;
}

/// One thing that must stand at a target.
pub trait Step {
    /// The file or pointer, as the target names it.
    fn name(&self) -> String;

    /// Its part in the release.
    fn part(&self) -> Part;

    /// Asks what stands there.
    ///
    /// # Errors
    ///
    /// Other bytes stand there that must not be replaced, or the target does not answer.
    fn ask(&self) -> Result<Found, Error>;

    /// Puts it there; is only called when [`Step::ask`] found it missing. Must be harmless to do again.
    ///
    /// # Errors
    ///
    /// The target refuses it, or does not answer.
    fn put(&self) -> Result<(), Error>;
}

/// The part that a step has in a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Bytes that belong to the version and never change.
    File,
    /// Makes the version's files final; from then on a missing file is damage.
    Seal,
    /// Everything else: what other versions share, and pointers that move on.
    Shared,
}

/// What a step finds at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The bytes that it would put.
    Same,
    /// Nothing, or a pointer that must move on.
    Missing,
    /// A pointer that is ahead of this release and stays.
    Newer,
}

/// What is to be published.
#[derive(Debug, Clone, Copy)]
pub struct Release<'a> {
    /// The signed release folder.
    pub dir: &'a Path,
    /// File with the minisign public key that must have signed it.
    pub public_key: &'a Path,
    /// Version that it must have.
    pub version: &'a str,
    /// Further folders that a site serves, such as package repositories.
    pub trees: &'a [Tree],
    /// OCI image layout; only a registry needs it.
    pub layout: Option<&'a Path>,
}

/// A release that was verified a moment ago, with the size and hash of all that is sent.
#[derive(Debug)]
pub struct Verified {
    /// Its manifest.
    pub manifest: Manifest,
    /// The manifest's version, parsed.
    pub version: semver::Version,
    /// All files of the release folder, sorted by name but for the manifest, which comes last, after its signature.
    pub files: Vec<LocalFile>,
    /// The trees.
    pub trees: Vec<Tree>,
    /// The OCI image layout.
    pub layout: Option<PathBuf>,
}

/// A file on this machine whose content is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Its name, relative to what it belongs to.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it must hold when it is sent.
    pub digest: Digest,
}

/// Whether anything may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Ask and send.
    Publish,
    /// Only ask and say what would be sent.
    DryRun,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The bytes were there before.
    AlreadyThere,
    /// It was sent, or would be.
    Uploaded,
    /// A pointer of a later release, which stays.
    LeftNewer,
}

/// What a run did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Name of the target.
    pub target: String,
    /// Version that was published, or the places of trees that were without one.
    pub version: String,
    /// Whether the run only asked.
    pub mode: Mode,
    /// Every step's name and what became of it, in order.
    pub steps: Vec<(String, Outcome)>,
}

impl Report {
    /// Whether all of it was there before.
    #[must_use]
    pub fn nothing_to_do(&self) -> bool {
        self.steps.iter().all(|(_, outcome)| *outcome != Outcome::Uploaded)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in &self.steps {
            let word = match (outcome, self.mode) {
                (Outcome::AlreadyThere, _) => "already there",
                (Outcome::Uploaded, Mode::Publish) => "uploaded",
                (Outcome::Uploaded, Mode::DryRun) => "would upload",
                (Outcome::LeftNewer, _) => "newer, left",
            };
            writeln!(f, "{word:<14} {name}")?;
        }
        let Self { target, version, .. } = self;
        match (self.nothing_to_do(), self.mode) {
            (true, _) => writeln!(f, "{target} has {version} already, nothing changed"),
            (false, Mode::Publish) => writeln!(f, "{target} has {version}"),
            (false, Mode::DryRun) => writeln!(f, "{target} would get {version}, nothing changed"),
        }
    }
}

/// Verifies the release and brings it to a target.
///
/// # Errors
///
/// The release does not verify, other bytes are published already, or the target fails; then the version is either not
/// visible or whole, and the call can be repeated.
pub fn publish(target: &dyn Target, release: &Release<'_>, mode: Mode) -> Result<Report, Error> {
    let verified = Verified::new(release)?;
    take(target.name(), release.version.to_owned(), &target.steps(&verified)?, mode)
}

/// Brings trees to a site without a release: package indexes that were signed again.
///
/// # Errors
///
/// The site has files of these trees with other bytes, or lists what they do not, or fails; the call can be repeated.
pub fn publish_trees(store: &dyn Store, trees: &[Tree], mode: Mode) -> Result<Report, Error> {
    let (mut steps, moving) = site::tree_steps(store, trees, None)?;
    steps.extend(moving);
    let places: Vec<_> = trees.iter().map(|tree| tree.at.as_str()).collect();
    take(store.name(), places.join(" and "), &steps, mode)
}

/// Takes the steps, after all of them were asked.
fn take(target: String, version: String, steps: &[Box<dyn Step + '_>], mode: Mode) -> Result<Report, Error> {
    let found: Vec<_> = steps.iter().map(|step| step.ask()).collect::<Result<_, _>>()?;
    check_whole(&target, steps, &found)?;
    if mode == Mode::Publish {
        put(&target, steps, &found)?;
    }
    let outcome = |found| match found {
        Found::Same => Outcome::AlreadyThere,
        Found::Missing => Outcome::Uploaded,
        Found::Newer => Outcome::LeftNewer,
    };
    let steps = steps.iter().zip(found).map(|(step, found)| (step.name(), outcome(found))).collect();
    Ok(Report { target, version, mode, steps })
}

/// A sealed version must not be completed silently: somebody took a file away.
fn check_whole(target: &str, steps: &[Box<dyn Step + '_>], found: &[Found]) -> Result<(), Error> {
    let all = || steps.iter().zip(found);
    if !all().any(|(step, found)| step.part() == Part::Seal && *found == Found::Same) {
        return Ok(());
    }
    match all().find(|(step, found)| step.part() == Part::File && **found == Found::Missing) {
        Some((step, _)) => Err(damaged(target, step.name(), "is missing though its version is published")),
        None => Ok(()),
    }
}

fn put(target: &str, steps: &[Box<dyn Step + '_>], found: &[Found]) -> Result<(), Error> {
    let mut sent: Vec<&dyn Step> = Vec::new();
    for (step, _) in steps.iter().zip(found).filter(|(_, found)| **found == Found::Missing) {
        if step.part() == Part::Seal {
            read_back(target, &sent)?;
        }
        step.put()?;
        sent.push(&**step);
    }
    Ok(())
}

/// What stays for ever is looked at once more while nobody relies on it.
fn read_back(target: &str, sent: &[&dyn Step]) -> Result<(), Error> {
    for step in sent {
        if step.ask()? != Found::Same {
            return Err(damaged(target, step.name(), "was sent but is not there"));
        }
    }
    Ok(())
}

fn damaged(target: &str, file: String, why: &str) -> Error {
    Error::Damaged { target: target.to_owned(), file, why: why.to_owned() }
}

impl Verified {
    /// Verifies a release folder and takes the sizes and hashes of its files.
    ///
    /// # Errors
    ///
    /// It does not verify, its version is not a semantic one, or a file cannot be read.
    pub fn new(release: &Release<'_>) -> Result<Self, Error> {
        let Release { dir, public_key, version, trees, layout } = *release;
        let manifest = verify::verify(&Request { dir, public_key, version, min_sequence: 0 });
        let manifest = manifest.map_err(Error::NotVerified)?;
        let version = semver::Version::parse(version)
            .map_err(|e| Error::Input { what: format!("version {version}"), why: e.to_string() })?;
        let mut files = Vec::new();
        let listed = manifest.files.iter().map(|entry| (entry.name.as_str(), Some(entry)));
        for (name, entry) in listed.chain([(MANIFEST_NAME, None)]) {
            let signature = format!("{name}{SIGNATURE_SUFFIX}");
            let digest = digest_of(&dir.join(&signature))?;
            files.push(LocalFile { path: dir.join(&signature), name: signature, digest });
            let path = dir.join(name);
            let digest = match entry {
                Some(entry) => Digest { size: entry.size, sha256: entry.sha256.clone() },
                None => digest_of(&path)?,
            };
            files.push(LocalFile { name: name.to_owned(), path, digest });
        }
        // The manifest and its signature were added last and stay last.
        let listed = files.len() - 2;
        files[..listed].sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { manifest, version, files, trees: trees.to_vec(), layout: layout.map(Path::to_owned) })
    }

    /// `release.json` itself.
    #[must_use]
    pub fn manifest_file(&self) -> &LocalFile {
        self.files.last().expect("every release has a manifest")
    }
}

/// [`digest_file`] with the path in the error.
fn digest_of(path: &Path) -> Result<Digest, Error> {
    digest_file(path).map_err(|source| Error::Local { path: path.to_owned(), source })
}

/// Compares what stands at a target with what should.
fn compare(target: String, file: &str, found: Option<&Digest>, ours: &Digest) -> Result<Found, Error> {
    match found {
        None => Ok(Found::Missing),
        Some(found) if found == ours => Ok(Found::Same),
        Some(found) => {
            let said = |digest: &Digest| format!("{} bytes, sha256 {}", digest.size, digest.sha256);
            Err(Error::Conflict { target, file: file.to_owned(), found: said(found), ours: said(ours) })
        }
    }
}
