//! Checks what is published as a stranger would: downloads a version and verifies it with nothing but the public key.
//!
//! On a site the index and the channel must agree with the signed manifest; with a local release folder every byte must
//! be equal to it. The first difference is named. Trees (package repositories) are checked by their own clients; only that
//! the apt index stays valid for a while is looked at, because somebody must renew it in time. A place that has no release
//! folder, such as a registry, is only asked for what a local release has.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use crate::digest::{Digest, digest_with};
use crate::files;
use crate::machine::Machine;
use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::plan::{ArtifactKind, SIGNATURE_SUFFIX};
use crate::publish::{
    self, CHANNEL_PATH, Channel, Error, INDEX_PATH, Index, Mode, Outcome, Release, Report, State, Store, Target,
    read_channel, read_index,
};
use crate::repository::APT;
use crate::repository::apt::{self, DAY_SECONDS};
use crate::smoke;
use crate::verify::{self, MAX_SMALL_FILE_BYTES, Request};

/// Largest file of a release.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// Largest release.
const MAX_RELEASE_BYTES: u64 = 32 << 30;

/// Days for which the apt index must still be valid: time to renew it.
pub const MIN_VALID_DAYS: u64 = 30;

/// Where a version's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In `releases/VERSION/`, with index and channel.
    Site,
    /// Directly at the address, such as the download address of a GitHub release.
    Flat,
}

/// What is audited.
#[derive(Clone, Copy)]
pub struct Audit<'a> {
    /// The place.
    pub store: &'a dyn Store,
    /// Where its files are.
    pub layout: Layout,
    /// The version; without one, that of the channel `stable`, which only a site has.
    pub version: Option<&'a str>,
    /// File with the minisign public key, as [`Request::public_key`].
    pub public_key: &'a Path,
    /// Lowest release number that is acceptable.
    pub min_sequence: u64,
    /// Release folder that the files must be equal to.
    pub local: Option<&'a Path>,
    /// The time of the audit, in seconds since 1970.
    pub time: u64,
}

/// What was found to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// The signed manifest.
    pub manifest: Manifest,
    /// The version's state; a flat place has none.
    pub state: Option<State>,
    /// Number of downloaded files.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Downloads and verifies a published version.
///
/// # Errors
///
/// The place does not answer, the version does not verify, the first difference from index, channel or local folder, or
/// the apt index is valid for less than [`MIN_VALID_DAYS`].
pub fn audit(request: &Audit<'_>) -> Result<Audited, Error> {
    audit_and(request, |_, _| Ok(()))
}

/// As [`audit`], and then looks at the folder with the verified files, which does not stay.
///
/// # Errors
///
/// As [`audit`], or what `look` finds.
pub fn audit_and(
    request: &Audit<'_>,
    look: impl FnOnce(&Path, &Manifest) -> Result<(), Error>,
) -> Result<Audited, Error> {
    let store = request.store;
    let index = match request.layout {
        Layout::Site => Some(read_index(store)?),
        Layout::Flat => None,
    };
    let channel = match request.layout {
        Layout::Site => read_channel(store)?,
        Layout::Flat => None,
    };
    let version = match (request.version, &channel) {
        (Some(version), _) => version.to_owned(),
        (None, Some(channel)) => channel.version.clone(),
        (None, None) => return Err(differs(CHANNEL_PATH, "is missing, and no version was given".to_owned())),
    };
    semver::Version::parse(&version)
        .map_err(|e| Error::Input { what: format!("version {version}"), why: e.to_string() })?;
    let scratch = tempfile::tempdir().map_err(|source| Error::Local { path: std::env::temp_dir(), source })?;
    let (files, bytes) = Download { request, version: &version, dir: scratch.path() }.all()?;
    let Audit { public_key, min_sequence, .. } = *request;
    let manifest = verify::verify(&Request { dir: scratch.path(), public_key, version: &version, min_sequence });
    let manifest = manifest.map_err(Error::NotVerified)?;
    let sha256 = digest(&scratch.path().join(MANIFEST_NAME))?.sha256;
    let state = index.map(|index| check_index(&index, &manifest, &sha256)).transpose()?;
    check_channel(channel.as_ref(), &manifest, &sha256, state, request.version.is_none())?;
    if let Some(local) = request.local {
        compare_folders(local, scratch.path())?;
    }
    if request.layout == Layout::Site {
        check_validity(store, request.time)?;
    }
    look(scratch.path(), &manifest)?;
    Ok(Audited { manifest, state, files, bytes })
}

/// Unpacks every archive for this machine in a folder of verified files, and puts and gets with its programs.
///
/// # Errors
///
/// There is no such archive, or one cannot be unpacked or does not work.
pub fn use_archives(dir: &Path, manifest: &Manifest) -> Result<(), Error> {
    let machine = Machine::here().map(Machine::debian);
    // `linux-amd64` and `linux-amd64-musl`, whose programs are static.
    let ours = |target: &str| machine.is_some() && target.split('-').nth(1) == machine;
    let archives = manifest.files.iter().filter(|entry| entry.kind == ArtifactKind::Archive);
    let mut archives = archives.filter(|entry| entry.target.as_deref().is_some_and(ours)).peekable();
    if archives.peek().is_none() {
        return Err(differs(MANIFEST_NAME, format!("lists no archive for this machine, {}", std::env::consts::ARCH)));
    }
    for entry in archives {
        let works = || {
            let scratch = tempfile::tempdir()?;
            let top_folder = entry.name.strip_suffix(".tar.gz").unwrap_or(&entry.name);
            smoke::smoke(&smoke::unpack_top(&dir.join(&entry.name), top_folder, scratch.path())?, &[])
        };
        works().map_err(|e| differs(&entry.name, format!("does not work on this machine: {e:#}")))?;
    }
    Ok(())
}

/// The version that a flat place such as the newest GitHub release has; its manifest says so, which is not verified yet.
///
/// # Errors
///
/// The place does not answer or has none.
pub fn version_at(store: &dyn Store) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let found = store.read_with(MANIFEST_NAME, &mut |_, reader| {
        bytes.clear();
        reader.take(MAX_SMALL_FILE_BYTES).read_to_end(&mut bytes).map(drop)
    })?;
    if !found {
        return Err(differs(&store.name(), format!("has no {MANIFEST_NAME}: nothing is published there")));
    }
    Ok(Manifest::parse(&bytes).map_err(|why| differs(MANIFEST_NAME, why))?.version)
}

/// Asks a place whether all of a local release is there, without changing anything.
///
/// # Errors
///
/// The release does not verify, the place does not answer, or the first thing that it lacks or has otherwise.
pub fn audit_target(target: &dyn Target, release: &Release<'_>) -> Result<Report, Error> {
    let report = publish::publish(target, release, Mode::DryRun)?;
    match report.steps.iter().find(|(_, outcome)| *outcome == Outcome::Uploaded) {
        Some((name, _)) => Err(differs(name, format!("is not at {}", report.target))),
        None => Ok(report),
    }
}

struct Download<'a> {
    request: &'a Audit<'a>,
    version: &'a str,
    dir: &'a Path,
}

impl Download<'_> {
    /// Brings every file of the version; returns their number and size.
    ///
    /// The manifest is not verified at this moment: it only says what to ask for, and how much at most.
    fn all(&self) -> Result<(usize, u64), Error> {
        let mut total = self.file(MANIFEST_NAME, MAX_SMALL_FILE_BYTES)? + self.signature(MANIFEST_NAME)?;
        let path = self.dir.join(MANIFEST_NAME);
        let bytes = fs::read(&path).map_err(|source| Error::Local { path, source })?;
        let manifest = Manifest::parse(&bytes).map_err(|why| differs(&self.place(MANIFEST_NAME), why))?;
        for entry in &manifest.files {
            total += self.file(&entry.name, entry.size.min(MAX_FILE_BYTES))? + self.signature(&entry.name)?;
            if total > MAX_RELEASE_BYTES {
                let why = format!("the files before it have more than {MAX_RELEASE_BYTES} bytes");
                return Err(differs(&self.place(&entry.name), why));
            }
        }
        Ok((2 * (manifest.files.len() + 1), total))
    }

    fn signature(&self, name: &str) -> Result<u64, Error> {
        self.file(&format!("{name}{SIGNATURE_SUFFIX}"), MAX_SMALL_FILE_BYTES)
    }

    fn file(&self, name: &str, most: u64) -> Result<u64, Error> {
        let (place, to) = (self.place(name), self.dir.join(name));
        let mut size = 0;
        let found = self.request.store.read_with(&place, &mut |_, reader| {
            // One byte more than allowed, so that a longer file is seen by the verifier and not cut to fit.
            size = io::copy(&mut reader.take(most + 1), &mut fs::File::create(&to)?)?;
            Ok(())
        })?;
        if found { Ok(size) } else { Err(differs(&place, "is not published".to_owned())) }
    }

    fn place(&self, name: &str) -> String {
        match self.request.layout {
            Layout::Site => format!("releases/{}/{name}", self.version),
            Layout::Flat => name.to_owned(),
        }
    }
}

fn check_index(index: &Index, manifest: &Manifest, sha256: &str) -> Result<State, Error> {
    let entry = index.versions.iter().find(|entry| entry.version == manifest.version);
    let entry = entry.ok_or_else(|| differs(INDEX_PATH, format!("does not list version {}", manifest.version)))?;
    let said = (entry.sequence, entry.date, entry.sha256.as_str());
    if said != (manifest.sequence, manifest.source_date_epoch, sha256) {
        return Err(differs(INDEX_PATH, format!("contradicts the signed manifest of {}", manifest.version)));
    }
    Ok(entry.state)
}

fn check_channel(
    channel: Option<&Channel>,
    manifest: &Manifest,
    sha256: &str,
    state: Option<State>,
    followed: bool,
) -> Result<(), Error> {
    let Some(channel) = channel.filter(|channel| channel.version == manifest.version) else { return Ok(()) };
    if (channel.sequence, channel.sha256.as_str()) != (manifest.sequence, sha256) {
        return Err(differs(CHANNEL_PATH, format!("contradicts the signed manifest of {}", manifest.version)));
    }
    if followed && state == Some(State::Yanked) {
        return Err(differs(CHANNEL_PATH, format!("points to {}, which is yanked", manifest.version)));
    }
    Ok(())
}

fn check_validity(store: &dyn Store, time: u64) -> Result<(), Error> {
    let Some(until) = apt::valid_until(store, APT)? else { return Ok(()) };
    if until < time.saturating_add(MIN_VALID_DAYS * DAY_SECONDS) {
        return Err(Error::Expires { file: format!("{APT}/{}", apt::ENTRANCE), until: apt::date(until) });
    }
    Ok(())
}

/// Both folders have verified or will be read as they are: their files must be equal.
fn compare_folders(local: &Path, published: &Path) -> Result<(), Error> {
    let names = |dir: &Path| files::names_in(dir).map_err(|source| Error::Local { path: dir.to_owned(), source });
    let (ours, theirs) = (names(local)?, names(published)?);
    for name in ours.union(&theirs) {
        let why = match (ours.contains(name), theirs.contains(name)) {
            (true, false) => "is in the local release and not published".to_owned(),
            (false, true) => "is published and not in the local release".to_owned(),
            _ => {
                let (ours, theirs) = (digest(&local.join(name))?, digest(&published.join(name))?);
                if ours == theirs {
                    continue;
                }
                format!("published sha256 {}, local sha256 {}", theirs.sha256, ours.sha256)
            }
        };
        return Err(differs(name, why));
    }
    Ok(())
}

fn digest(path: &Path) -> Result<Digest, Error> {
    let local = |source| Error::Local { path: path.to_owned(), source };
    digest_with(fs::File::open(path).map_err(local)?, |_| {}).map_err(local)
}

fn differs(file: &str, why: String) -> Error {
    Error::Differs { file: file.to_owned(), why }
}
