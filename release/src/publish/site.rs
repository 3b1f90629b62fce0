//! The layout of a site that serves releases, whatever stores its files.
//!
//! ```text
//! releases/VERSION/FILE    every file of the release folder; never changes
//! releases/index.json      all versions, by release number
//! channels/stable.json     the newest version that is no pre-release; only moves forward
//! TREE/…                   package repositories, installer
//! ```
//!
//! A version's files come first and its manifest as the last of them, then indexes of the trees, then the index of
//! versions, then the channel. Whoever finds a version through an index or its manifest finds it whole.

use std::io::{self, Read};

use super::pointers::{CHANNEL, CHANNEL_PATH, Channel, INDEX_PATH, Index, IndexEntry, SCHEMA, State, to_json};
use super::tree::{Role, Tree};
use super::{Error, Found, LocalFile, Part, Step, Verified, compare};
use crate::digest::{Digest, digest_with};
use crate::manifest::MANIFEST_NAME;
use crate::plan::{HOME, PRODUCT};

/// Address of the site, as users know it.
pub const SITE_URL: &str = HOME;

/// Most attempts to move a pointer that somebody else moves at the same time.
const MAX_MOVES: u32 = 5;

/// Stores the files of a site.
pub trait Store {
    /// Kind and address, without secrets.
    fn name(&self) -> String;

    /// Hands content and, if known, length of a file to `read`, which may be called anew when the connection breaks;
    /// false if there is no such file. Files of a version that is still being sent count as there.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    fn read_with(&self, path: &str, read: &mut Reading<'_>) -> Result<bool, Error>;

    /// Puts a file where none may be; false if there is one, which stays as it is.
    ///
    /// # Errors
    ///
    /// The store does not take it.
    fn create(&self, path: &str, file: &LocalFile) -> Result<bool, Error>;

    /// A small file with a mark of its state, for [`Store::replace`].
    ///
    /// # Errors
    ///
    /// The store does not answer.
    fn read_marked(&self, path: &str) -> Result<Option<(Vec<u8>, String)>, Error>;

    /// Replaces a file that had this mark, or was not there; false if it has another one meanwhile.
    ///
    /// # Errors
    ///
    /// The store does not take it.
    fn replace(&self, path: &str, content: &Content<'_>, mark: Option<&str>) -> Result<bool, Error>;

    /// Whether a file that is there must stay as it is. What nobody could see yet may be written anew.
    fn is_final(&self, _path: &str) -> bool {
        true
    }

    /// A step that makes the version final, if that is not what writing the manifest does.
    fn seal<'a>(&'a self, _release: &'a Verified) -> Option<Box<dyn Step + 'a>> {
        None
    }
}

/// Receives length, if known, and content of a file.
pub type Reading<'a> = dyn FnMut(Option<u64>, &mut dyn Read) -> io::Result<()> + 'a;

/// What replaces a file.
#[derive(Debug)]
pub enum Content<'a> {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A file on this machine.
    File(&'a LocalFile),
}

/// Place of a version's file.
pub(crate) fn release_path(version: &str, name: &str) -> String {
    format!("releases/{version}/{name}")
}

/// The steps that bring a release to a site.
pub(crate) fn steps<'a>(store: &'a dyn Store, release: &'a Verified) -> Result<Vec<Box<dyn Step + 'a>>, Error> {
    let (mut steps, moving) = tree_steps(store, &release.trees, Some(release.manifest.sequence))?;
    let seal = store.seal(release);
    for file in &release.files {
        let path = release_path(&release.manifest.version, &file.name);
        let seals = seal.is_none() && file.name == MANIFEST_NAME;
        let part = if seals { Part::Seal } else { Part::File };
        steps.push(Box::new(FileStep { store, path, file: file.clone(), part }));
    }
    steps.extend(seal);
    steps.extend(moving);
    steps.push(Box::new(IndexStep { store, release }));
    if release.version.pre.is_empty() {
        steps.push(Box::new(ChannelStep { store, release }));
    }
    Ok(steps)
}

/// Steps in their order.
pub(crate) type Steps<'a> = Vec<Box<dyn Step + 'a>>;

/// The steps that bring trees to a site: what never changes, and what moves on after it. The number is that of the release
/// that the trees belong to.
pub(crate) fn tree_steps<'a>(
    store: &'a dyn Store,
    trees: &[Tree],
    sequence: Option<u64>,
) -> Result<(Steps<'a>, Steps<'a>), Error> {
    let mut files = Vec::new();
    for tree in trees {
        let of_tree = tree.files()?;
        let order = match tree.is_behind(store)? {
            Some(is_behind) => Order::Indexes { is_behind },
            None => Order::Release(sequence),
        };
        files.extend(of_tree.into_iter().map(|(role, file)| (role, file, order)));
    }
    files.sort_by(|(a_role, a, _), (b_role, b, _)| (a_role, &a.name).cmp(&(b_role, &b.name)));
    let (mut content, mut moving): (Steps<'a>, Steps<'a>) = (Vec::new(), Vec::new());
    for (role, file, order) in files {
        if role == Role::Content {
            content.push(Box::new(FileStep { store, path: file.name.clone(), file, part: Part::Shared }));
        } else {
            moving.push(Box::new(MovingStep { store, file, order }));
        }
    }
    Ok((content, moving))
}

/// What decides whether a file that moves on is ahead of ours.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// What its repository lists was compared.
    Indexes { is_behind: bool },
    /// The release with this number brings it, or none.
    Release(Option<u64>),
}

/// A file that never changes.
struct FileStep<'a> {
    store: &'a dyn Store,
    path: String,
    file: LocalFile,
    part: Part,
}

impl Step for FileStep<'_> {
    fn name(&self) -> String {
        self.path.clone()
    }

    fn part(&self) -> Part {
        self.part
    }

    fn ask(&self) -> Result<Found, Error> {
        let found = digest_at(self.store, &self.path)?;
        if found.as_ref() != Some(&self.file.digest) && !self.store.is_final(&self.path) {
            return Ok(Found::Missing);
        }
        compare(self.store.name(), &self.path, found.as_ref(), &self.file.digest)
    }

    fn put(&self) -> Result<(), Error> {
        // Who was faster must have sent the same bytes.
        if self.store.create(&self.path, &self.file)? || self.ask()? != Found::Missing {
            return Ok(());
        }
        let why = "was there and is not".to_owned();
        Err(Error::Damaged { target: self.store.name(), file: self.path.clone(), why })
    }
}

/// A file of a tree that moves on.
struct MovingStep<'a> {
    store: &'a dyn Store,
    file: LocalFile,
    order: Order,
}

impl Step for MovingStep<'_> {
    fn name(&self) -> String {
        self.file.name.clone()
    }

    fn part(&self) -> Part {
        Part::Shared
    }

    fn ask(&self) -> Result<Found, Error> {
        if digest_at(self.store, &self.file.name)?.as_ref() == Some(&self.file.digest) {
            return Ok(Found::Same);
        }
        let is_behind = match self.order {
            Order::Indexes { is_behind } => is_behind,
            Order::Release(None) => false,
            Order::Release(Some(sequence)) => {
                read_index(self.store)?.versions.last().is_some_and(|newest| newest.sequence > sequence)
            }
        };
        Ok(if is_behind { Found::Newer } else { Found::Missing })
    }

    fn put(&self) -> Result<(), Error> {
        move_pointer(self.store, &self.file.name, |_| Ok(Some(Content::File(&self.file))))
    }
}

/// The version's entry in the index.
struct IndexStep<'a> {
    store: &'a dyn Store,
    release: &'a Verified,
}

impl IndexStep<'_> {
    /// The index with this release in it; none if it is there already.
    fn updated(&self, mut index: Index) -> Result<Option<Index>, Error> {
        let manifest = &self.release.manifest;
        let ours = IndexEntry {
            version: manifest.version.clone(),
            sequence: manifest.sequence,
            date: manifest.source_date_epoch,
            sha256: self.release.manifest_file().digest.sha256.clone(),
            state: State::Good,
        };
        if let Some(found) = index.versions.iter().find(|entry| entry.version == ours.version) {
            // A yanked version stays yanked; all else must be what we would have written.
            if (IndexEntry { state: State::Good, ..found.clone() }) == ours {
                return Ok(None);
            }
            let file = release_path(&ours.version, MANIFEST_NAME);
            let (found, ours) = (format!("sha256 {}", found.sha256), format!("sha256 {}", ours.sha256));
            return Err(Error::Conflict { target: self.store.name(), file, found, ours });
        }
        if let Some(found) = index.versions.iter().find(|entry| entry.sequence == ours.sequence) {
            let why = format!("release number {} is version {} already", found.sequence, found.version);
            return Err(Error::Order { file: INDEX_PATH.to_owned(), why });
        }
        index.versions.push(ours);
        index.versions.sort_by_key(|entry| entry.sequence);
        Ok(Some(index))
    }
}

impl Step for IndexStep<'_> {
    fn name(&self) -> String {
        INDEX_PATH.to_owned()
    }

    fn part(&self) -> Part {
        Part::Shared
    }

    fn ask(&self) -> Result<Found, Error> {
        let index = self.updated(read_index(self.store)?)?;
        Ok(if index.is_some() { Found::Missing } else { Found::Same })
    }

    fn put(&self) -> Result<(), Error> {
        move_pointer(self.store, INDEX_PATH, |bytes| {
            let updated = self.updated(Index::parse(&self.store.name(), bytes)?)?;
            Ok(updated.map(|index| Content::Bytes(to_json(&index).into_bytes())))
        })
    }
}

/// The pointer to the newest stable version.
struct ChannelStep<'a> {
    store: &'a dyn Store,
    release: &'a Verified,
}

impl ChannelStep<'_> {
    fn ours(&self) -> Channel {
        let manifest = &self.release.manifest;
        Channel {
            schema: SCHEMA,
            product: PRODUCT.to_owned(),
            channel: CHANNEL.to_owned(),
            version: manifest.version.clone(),
            sequence: manifest.sequence,
            sha256: self.release.manifest_file().digest.sha256.clone(),
        }
    }

    /// What this release means for a channel that stands there.
    fn judge(&self, found: Option<&Channel>, index: &Index) -> Result<Found, Error> {
        let ours = self.ours();
        let Some(found) = found else {
            let yanked = index.versions.iter().any(|e| e.version == ours.version && e.state == State::Yanked);
            return Ok(if yanked { Found::Newer } else { Found::Missing });
        };
        if *found == ours {
            return Ok(Found::Same);
        }
        let bad = |why: String| Error::Order { file: CHANNEL_PATH.to_owned(), why };
        let version = semver::Version::parse(&found.version).map_err(|e| bad(format!("{}: {e}", found.version)))?;
        // A fix of an older line has a higher number but a lower version: whoever is on stable must not go back.
        if version.cmp_precedence(&self.release.version).is_ge() {
            return Ok(Found::Newer);
        }
        if found.sequence >= ours.sequence {
            let why = format!(
                "it points to {} with release number {}, but {} has number {}",
                found.version, found.sequence, ours.version, ours.sequence
            );
            return Err(bad(why));
        }
        Ok(Found::Missing)
    }
}

impl Step for ChannelStep<'_> {
    fn name(&self) -> String {
        CHANNEL_PATH.to_owned()
    }

    fn part(&self) -> Part {
        Part::Shared
    }

    fn ask(&self) -> Result<Found, Error> {
        self.judge(read_channel(self.store)?.as_ref(), &read_index(self.store)?)
    }

    fn put(&self) -> Result<(), Error> {
        move_pointer(self.store, CHANNEL_PATH, |bytes| {
            let found = bytes.map(|bytes| Channel::parse(&self.store.name(), bytes)).transpose()?;
            let found = self.judge(found.as_ref(), &read_index(self.store)?)?;
            Ok((found == Found::Missing).then(|| Content::Bytes(to_json(&self.ours()).into_bytes())))
        })
    }
}

/// The index; an empty one if there is none yet.
pub(crate) fn read_index(store: &dyn Store) -> Result<Index, Error> {
    let found = store.read_marked(INDEX_PATH)?;
    Index::parse(&store.name(), found.as_ref().map(|(bytes, _)| bytes.as_slice()))
}

/// The channel, if there is one.
pub(crate) fn read_channel(store: &dyn Store) -> Result<Option<Channel>, Error> {
    let found = store.read_marked(CHANNEL_PATH)?;
    found.map(|(bytes, _)| Channel::parse(&store.name(), &bytes)).transpose()
}

/// Replaces a file by what `next` makes of it; leaves it if that is none.
fn move_pointer<'a>(
    store: &dyn Store,
    path: &str,
    next: impl Fn(Option<&[u8]>) -> Result<Option<Content<'a>>, Error>,
) -> Result<(), Error> {
    for _ in 0..MAX_MOVES {
        let (bytes, mark) = store.read_marked(path)?.unzip();
        let Some(content) = next(bytes.as_deref())? else { return Ok(()) };
        if store.replace(path, &content, mark.as_deref())? {
            return Ok(());
        }
    }
    let why = format!("somebody else changed it {MAX_MOVES} times meanwhile");
    Err(Error::Unreachable { request: format!("update of {path}"), why })
}

/// Size and hash of a stored file.
pub(crate) fn digest_at(store: &dyn Store, path: &str) -> Result<Option<Digest>, Error> {
    let mut digest = None;
    store.read_with(path, &mut |_, reader| {
        digest = Some(digest_with(reader, |_| {})?);
        Ok(())
    })?;
    Ok(digest)
}
