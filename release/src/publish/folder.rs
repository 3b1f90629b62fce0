//! A folder that is laid out like the real site, to be served by any web server or copied elsewhere.
//!
//! A version is put together in `.staging/VERSION` and becomes visible by one rename. What is already there is never
//! opened for writing. Two runs at once against one folder are not supported.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::site::{self, Content, Reading, Store};
use super::{Error, Found, LocalFile, Part, Step, Target, Verified};
use crate::digest::digest_with;
use crate::files::{self, FILE_MODE};

/// Folder of versions that are not complete.
const STAGING: &str = ".staging";

/// Folder of versions that are.
const RELEASES: &str = "releases";

/// A site in a folder.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The site in this folder, which is made when something is published.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where a file is: of a version that is not complete, in the staging folder.
    fn place(&self, path: &str) -> PathBuf {
        let mut parts = path.splitn(3, '/');
        if let (Some(RELEASES), Some(version), Some(name)) = (parts.next(), parts.next(), parts.next())
            && !self.root.join(RELEASES).join(version).is_dir()
        {
            return self.root.join(STAGING).join(version).join(name);
        }
        self.root.join(path)
    }

    /// Copies under a temporary name and compares what was copied with what should have been.
    fn copy(&self, to: &Path, file: &LocalFile) -> Result<(), Error> {
        let local = |path: &Path, source| Error::Local { path: path.to_owned(), source };
        let from = File::open(&file.path).map_err(|e| local(&file.path, e))?;
        let copied = files::write_whole(to, FILE_MODE, |writer| {
            let mut failed = Ok(());
            let digest = digest_with(from, |piece| {
                if failed.is_ok() {
                    failed = io::Write::write_all(writer, piece);
                }
            })?;
            failed?;
            anyhow::ensure!(digest == file.digest, "{} changed while it was copied", file.path.display());
            Ok(())
        });
        copied.map_err(|e| local(to, io::Error::other(format!("{e:#}"))))
    }
}

impl Target for Folder {
    fn name(&self) -> String {
        format!("folder {}", self.root.display())
    }

    fn steps<'a>(&'a self, release: &'a Verified) -> Result<Vec<Box<dyn Step + 'a>>, Error> {
        site::steps(self, release)
    }
}

impl Store for Folder {
    fn name(&self) -> String {
        Target::name(self)
    }

    fn read_with(&self, path: &str, read: &mut Reading<'_>) -> Result<bool, Error> {
        let place = self.place(path);
        let local = |source| Error::Local { path: place.clone(), source };
        let mut file = match File::open(&place) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file.map_err(local)?,
        };
        let size = file.metadata().map_err(local)?.len();
        read(Some(size), &mut file).map_err(local)?;
        Ok(true)
    }

    fn create(&self, path: &str, file: &LocalFile) -> Result<bool, Error> {
        let place = self.place(path);
        make_parent(&place)?;
        if !self.is_final(path) {
            return self.copy(&place, file).map(|()| true);
        }
        // The copy gets its final name by a link, which unlike a rename fails when the name is taken.
        let new = self.root.join(STAGING).join(".new");
        make_parent(&new)?;
        self.copy(&new, file)?;
        let linked = fs::hard_link(&new, &place);
        fs::remove_file(&new).map_err(|source| Error::Local { path: new, source })?;
        // Stays when a version is in it, which is fine.
        let _ = fs::remove_dir(self.root.join(STAGING));
        match linked {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            linked => linked.map(|()| true).map_err(|source| Error::Local { path: place, source }),
        }
    }

    fn read_marked(&self, path: &str) -> Result<Option<(Vec<u8>, String)>, Error> {
        let mut bytes = Vec::new();
        let found = self.read_with(path, &mut |_, reader| {
            bytes.clear();
            reader.read_to_end(&mut bytes).map(drop)
        })?;
        Ok(found.then_some((bytes, String::new())))
    }

    fn replace(&self, path: &str, content: &Content<'_>, _mark: Option<&str>) -> Result<bool, Error> {
        let place = self.root.join(path);
        make_parent(&place)?;
        match content {
            Content::File(file) => self.copy(&place, file)?,
            Content::Bytes(bytes) => files::write_bytes(&place, FILE_MODE, bytes)
                .map_err(|e| Error::Local { path: place, source: io::Error::other(format!("{e:#}")) })?,
        }
        Ok(true)
    }

    fn is_final(&self, path: &str) -> bool {
        self.place(path) == self.root.join(path)
    }

    fn seal<'a>(&'a self, release: &'a Verified) -> Option<Box<dyn Step + 'a>> {
        Some(Box::new(Seal { folder: self, release }))
    }
}

/// The rename that makes a version visible.
struct Seal<'a> {
    folder: &'a Folder,
    release: &'a Verified,
}

impl Seal<'_> {
    fn staged(&self) -> PathBuf {
        self.folder.root.join(STAGING).join(&self.release.manifest.version)
    }

    fn published(&self) -> PathBuf {
        self.folder.root.join(RELEASES).join(&self.release.manifest.version)
    }

    /// First name in a folder that is not the release's.
    fn foreign(&self, dir: &Path) -> Result<Vec<String>, Error> {
        let names = files::names_in(dir).map_err(|source| Error::Local { path: dir.to_owned(), source })?;
        Ok(names.into_iter().filter(|name| !self.release.files.iter().any(|file| file.name == *name)).collect())
    }
}

impl Step for Seal<'_> {
    fn name(&self) -> String {
        format!("{RELEASES}/{}/", self.release.manifest.version)
    }

    fn part(&self) -> Part {
        Part::Seal
    }

    fn ask(&self) -> Result<Found, Error> {
        let dir = self.published();
        if !dir.is_dir() {
            return Ok(Found::Missing);
        }
        match self.foreign(&dir)?.first() {
            Some(name) => Err(Error::Damaged {
                target: Target::name(self.folder),
                file: format!("{}{name}", self.name()),
                why: "is not part of the release".to_owned(),
            }),
            None => Ok(Found::Same),
        }
    }

    fn put(&self) -> Result<(), Error> {
        let (staged, published) = (self.staged(), self.published());
        // What a killed run of another build left was never visible.
        for name in self.foreign(&staged)? {
            let path = staged.join(name);
            fs::remove_file(&path).map_err(|source| Error::Local { path, source })?;
        }
        make_parent(&published)?;
        sync_folder(&staged)?;
        fs::rename(&staged, &published).map_err(|source| Error::Local { path: published.clone(), source })?;
        // Stays when another version is in it, which is fine.
        let _ = fs::remove_dir(self.folder.root.join(STAGING));
        sync_folder(published.parent().unwrap_or(&self.folder.root))
    }
}

fn make_parent(path: &Path) -> Result<(), Error> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|source| Error::Local { path: parent.to_owned(), source })
}

fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|source| Error::Local { path: path.to_owned(), source })
}
