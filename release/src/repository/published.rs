//! The repositories that are published already: what a release adds to, and what a renewal signs again.
//!
//! Everything that their indexes name is taken over and listed again, so that a version which could be installed stays
//! installable, whichever release comes next. Contract: nothing is taken over that a signature of our key does not
//! vouch for; packages keep their bytes; a later index has a later time, because clients ignore one that is older than
//! what they know.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::listing::{self, Listing, Place};
use super::openpgp::SigningKey;
use super::{APT, YUM, apt, yum};
use crate::digest::digest_with;
use crate::files;
use crate::publish::{Bucket, Client, Credentials, Error, Folder, Store, digest_at};

/// The place of repositories of which none is published yet.
pub const NOTHING: &str = "none";

/// The site whose repositories are taken over.
pub struct Published {
    place: String,
    /// None if nothing is published.
    store: Option<Box<dyn Store>>,
}

/// What was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenOver {
    /// Number of packages.
    pub packages: usize,
    /// Time of the newer of the indexes, in seconds since 1970.
    pub time: Option<u64>,
}

impl TakenOver {
    /// The time that the next index has if nothing is in the way of `wanted`.
    #[must_use]
    pub fn next_time(self, wanted: u64) -> u64 {
        self.time.map_or(wanted, |time| wanted.max(time + 1))
    }
}

impl Published {
    /// The site in a folder or at an address; [`NOTHING`] before the first release.
    ///
    /// # Errors
    ///
    /// It is a bad address.
    pub fn at(place: &str) -> Result<Self> {
        let store: Option<Box<dyn Store>> = match place {
            NOTHING => None,
            // What is published needs no credentials, and those of the environment may be another service's.
            _ if place.contains("://") => Some(Box::new(Bucket::new(place, Client::new(), Credentials::None)?)),
            _ => Some(Box::new(Folder::new(place))),
        };
        Ok(Self { place: place.to_owned(), store })
    }

    /// SHA-256 of the files that all else follows from, by path on the site; none if nothing is published.
    ///
    /// # Errors
    ///
    /// The site does not answer, or lacks one of the repositories.
    pub fn state(&self) -> Result<BTreeMap<String, String>> {
        let mut state = BTreeMap::new();
        let Some(store) = self.store.as_deref() else { return Ok(state) };
        for (at, entrance) in [(APT, apt::ENTRANCE), (YUM, yum::ENTRANCE)] {
            let path = Place { store, at }.path(entrance);
            let digest = digest_at(store, &path)?.with_context(|| self.lacks(&path))?;
            state.insert(path, digest.sha256);
        }
        Ok(state)
    }

    /// Brings every package that the published indexes name into `to`, where a further release is added.
    ///
    /// # Errors
    ///
    /// The site does not answer or lacks one of the repositories; a signature is not the key's; an index or a package is
    /// missing, changed, or more than a repository may have; a file cannot be written.
    pub fn take_over(&self, key: &SigningKey, to: &Path) -> Result<TakenOver> {
        let mut taken = TakenOver { packages: 0, time: None };
        for (at, listing) in self.listings(key)? {
            taken.packages += listing.packages.len();
            taken.time = taken.time.max(Some(listing.time));
            let Some(store) = self.store.as_deref() else { continue };
            bring(&Place { store, at }, &listing, &to.join(at))?;
        }
        Ok(taken)
    }

    /// What each repository lists, verified; empty if nothing is published.
    fn listings(&self, key: &SigningKey) -> Result<Vec<(&'static str, Listing)>> {
        let Some(store) = self.store.as_deref() else { return Ok(Vec::new()) };
        let listing = |at| Ok((at, listing::read(store, at, Some(key))?.with_context(|| self.lacks(at))?));
        [APT, YUM].into_iter().map(listing).collect()
    }

    fn lacks(&self, path: &str) -> String {
        format!(
            "{} has no {path}; name the root of the site with the folders {APT} and {YUM}, or say {NOTHING} before the \
             first release",
            self.place
        )
    }
}

/// Signs what is published again, with the time `time`, into the folder `out`, which must be new or empty.
///
/// # Errors
///
/// As [`Published::take_over`]; nothing is published, or at or after `time`; the folder has files; the key cannot sign.
pub fn renew(published: &Published, key: &SigningKey, time: u64, out: &Path) -> Result<TakenOver> {
    preview(published, key, time)?;
    files::create_folder(out)?;
    let names = files::names_in(out).with_context(|| format!("cannot read the folder {}", out.display()))?;
    ensure!(names.is_empty(), "{} is not empty; remove it, or name another folder", out.display());
    let taken = published.take_over(key, out)?;
    super::publish(out, &[], &[], time, key)?;
    Ok(taken)
}

/// What [`renew`] would do, a line for each repository.
///
/// # Errors
///
/// As [`renew`], as far as it can be known without the packages.
pub fn preview(published: &Published, key: &SigningKey, time: u64) -> Result<String> {
    let listings = published.listings(key)?;
    if listings.is_empty() {
        bail!("nothing is published, so there is nothing to renew");
    }
    let mut text = String::new();
    for (at, listing) in listings {
        let (old, new) = (apt::date(listing.time), apt::date(time));
        ensure!(listing.time < time, "{at} is of {old}, which is not before {new}; is the clock right?");
        text += &format!("{at}: {} packages, of {old}, would be of {new}\n", listing.packages.len());
    }
    Ok(text)
}

/// Copies what is listed, each file with the digest that the index names.
fn bring(place: &Place<'_>, listing: &Listing, to: &Path) -> Result<(), Error> {
    for (name, digest) in &listing.packages {
        let path = to.join(name);
        let local = |source: io::Error| Error::Local { path: path.clone(), source };
        fs::create_dir_all(path.parent().unwrap_or(to)).map_err(local)?;
        let mut found = None;
        place.store.read_with(&place.path(name), &mut |_, reader| {
            let mut file = fs::File::create(&path)?;
            let mut written = Ok(());
            // One byte more than listed tells a longer file.
            let digest = digest_with(reader.take(digest.size.saturating_add(1)), |piece| {
                if written.is_ok() {
                    written = file.write_all(piece);
                }
            })?;
            found = Some(digest);
            written
        })?;
        if found.as_ref() != Some(digest) {
            let why = if found.is_none() { "is listed and not there" } else { "is not what the signed index lists" };
            return Err(place.damaged(name, why));
        }
    }
    Ok(())
}
