//! What a published repository lists, read from wherever its site is stored.
//!
//! With a key the signature of the entrance must be the key's, and everything else is named by hash from there: nothing
//! is believed that we did not sign. Without one, the listing is what anybody could have put there, which is enough to
//! see that a publication would lose a package, and for nothing more.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::openpgp::SigningKey;
use super::{apt, yum};
use crate::digest::{Digest, digest_bytes, is_sha256};
use crate::publish::{Error, Store};

/// Most packages of a repository: those of some eight hundred releases.
pub const MAX_PACKAGES: usize = 20_000;

/// Most bytes that the packages of a repository have together.
pub const MAX_PACKAGE_BYTES: u64 = 256 << 30;

/// Most bytes of an index, unpacked: some kilobytes for each package.
pub(super) const MAX_INDEX_BYTES: u64 = 64 << 20;

/// Most bytes of a file that is signed.
const MAX_SIGNED_BYTES: u64 = 1 << 20;

/// The state of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Seconds since 1970 at which the index was signed.
    pub time: u64,
    /// Every package, by its path below the root of the repository.
    pub packages: BTreeMap<String, Digest>,
    /// Sum of their sizes.
    bytes: u64,
}

/// Reads what the repository at a place of a site lists, be it apt's or yum's; none if there is no repository.
///
/// # Errors
///
/// The site does not answer, or an index is missing or damaged, or lists more than a repository may have.
pub fn read(store: &dyn Store, at: &str, key: Option<&SigningKey>) -> Result<Option<Listing>, Error> {
    let place = Place { store, at };
    let listing = apt::listing(&place, key)?;
    if listing.is_some() { Ok(listing) } else { yum::listing(&place, key) }
}

impl Listing {
    pub(super) fn new(time: u64) -> Self {
        Self { time, packages: BTreeMap::new(), bytes: 0 }
    }

    /// Adds a package that an index names; `folder` is where packages are.
    pub(super) fn add(&mut self, path: &str, folder: &str, digest: Digest) -> Result<(), String> {
        let is_plain = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || ".+~_-".contains(c))
        };
        // The path becomes one of this machine.
        if !path.split('/').all(is_plain) || path.split('/').next() != Some(folder) || !is_sha256(&digest.sha256) {
            return Err(format!("lists {path:?}, which is no package's place with a sum"));
        }
        match self.packages.get(path) {
            // A package for all architectures is in each index.
            Some(listed) if *listed == digest => return Ok(()),
            Some(listed) => {
                return Err(format!("lists {path} with two sums, {} and {}", listed.sha256, digest.sha256));
            }
            None => {}
        }
        self.bytes = self.bytes.saturating_add(digest.size);
        if self.packages.len() >= MAX_PACKAGES || self.bytes > MAX_PACKAGE_BYTES {
            return Err(format!("lists more than {MAX_PACKAGES} packages or {MAX_PACKAGE_BYTES} bytes of them"));
        }
        self.packages.insert(path.to_owned(), digest);
        Ok(())
    }
}

/// The root of a repository on a site.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) store: &'a dyn Store,
    /// Path of the root; empty if it is the site's.
    pub(crate) at: &'a str,
}

impl Place<'_> {
    /// Path of a file on the site.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}/{name}", self.at.trim_matches('/')) }
    }

    pub(crate) fn damaged(&self, name: &str, why: impl Into<String>) -> Error {
        Error::Damaged { target: self.store.name(), file: self.path(name), why: why.into() }
    }

    /// A file that is signed or a signature, if it is there.
    pub(super) fn signed(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.bytes(name, MAX_SIGNED_BYTES)
    }

    /// An index that a signed file names by its digest.
    pub(super) fn index(&self, name: &str, digest: &Digest) -> Result<Vec<u8>, Error> {
        if digest.size > MAX_INDEX_BYTES {
            return Err(
                self.damaged(name, format!("has {} bytes; an index has at most {MAX_INDEX_BYTES}", digest.size))
            );
        }
        let bytes = self.bytes(name, digest.size)?;
        let bytes = bytes.ok_or_else(|| self.damaged(name, "is listed and not there"))?;
        if digest_bytes(&bytes) != *digest {
            return Err(self.damaged(name, format!("has not the listed sha256 {}", digest.sha256)));
        }
        Ok(bytes)
    }

    fn bytes(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = Vec::new();
        let found = self.store.read_with(&self.path(name), &mut |_, reader| {
            bytes.clear();
            reader.take(most + 1).read_to_end(&mut bytes).map(drop)
        })?;
        if bytes.len() as u64 > most {
            return Err(self.damaged(name, format!("has more than {most} bytes")));
        }
        Ok(found.then_some(bytes))
    }
}

/// The text that these bytes unpack to, if it is not longer than an index may be.
pub(super) fn unpacked(reader: impl Read) -> io::Result<String> {
    let mut text = String::new();
    reader.take(MAX_INDEX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_INDEX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_INDEX_BYTES} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(size: u64, digit: &str) -> Digest {
        Digest { size, sha256: digit.repeat(64) }
    }

    #[test]
    fn only_plain_paths_with_one_sum_are_listed() {
        let mut listing = Listing::new(0);
        listing.add("pool/main/c/cairn/cairn_1.0~rc1-1_amd64.deb", "pool", digest(1, "a")).unwrap();
        listing.add("pool/main/c/cairn/cairn_1.0~rc1-1_amd64.deb", "pool", digest(1, "a")).unwrap();
        for path in ["pool/../x.deb", "/pool/x.deb", "pool//x.deb", "dists/x.deb", "pool/.x", "pool/%2e/x", ""] {
            assert!(listing.add(path, "pool", digest(1, "a")).unwrap_err().contains("no package's place"), "{path}");
        }
        assert!(listing.add("pool/x.deb", "pool", digest(1, "x")).unwrap_err().contains("no package's place"));
        let twice = listing.add("pool/main/c/cairn/cairn_1.0~rc1-1_amd64.deb", "pool", digest(1, "b"));
        assert!(twice.unwrap_err().contains("two sums"));
    }

    #[test]
    fn a_repository_has_so_many_packages_and_bytes_at_most() {
        let mut listing = Listing::new(0);
        listing.add("pool/a.deb", "pool", digest(MAX_PACKAGE_BYTES, "a")).unwrap();
        assert!(listing.add("pool/b.deb", "pool", digest(1, "a")).unwrap_err().contains("more than"));
        assert!(listing.add("pool/c.deb", "pool", digest(u64::MAX, "a")).unwrap_err().contains("more than"));
        let mut listing = Listing::new(0);
        for n in 0..MAX_PACKAGES {
            listing.packages.insert(format!("pool/{n}.deb"), digest(0, "a"));
        }
        assert!(listing.add("pool/one-more.deb", "pool", digest(0, "a")).unwrap_err().contains("more than 20000"));
    }
}
