//! Folders that a site serves beside its releases: package repositories, the installer.
//!
//! A file of a tree is immutable like a release's, unless it is an index that package managers expect to change, or one
//! that users fetch by a name without a version. Indexes come after what they list, and the signed top of each index comes
//! last, so that a client sees the old repository or the new one.
//!
//! The indexes of a repository move on and never back: ours must list all that the published one lists.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Error, Folder, LocalFile, Store, digest_of};
use crate::installer::INSTALLER_NAME;
use crate::repository::listing::{self, Listing};
use crate::repository::{KEYRING_NAME, apt, yum};

/// Deepest nesting of folders in a tree.
const MAX_DEPTH: usize = 16;

/// Length of the shortest checksum that a yum repository puts before the names of its index files.
const CHECKSUM_PREFIX_CHARS: usize = 32;

/// A folder and its place on the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The folder on this machine.
    pub dir: PathBuf,
    /// Its place on the site, such as `apt`; empty for the root.
    pub at: String,
}

/// How a file of a tree is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Never changes once it is there.
    Content,
    /// Changes, and lists content.
    Index,
    /// Changes, and lists indexes.
    TopIndex,
    /// Changes, and is the one file that clients ask for first.
    Entrance,
}

impl Tree {
    /// The files of the tree with their place on the site, in the order in which they must come.
    pub(crate) fn files(&self) -> Result<Vec<(Role, LocalFile)>, Error> {
        let mut paths = Vec::new();
        walk(&self.dir, "", MAX_DEPTH, &mut paths)?;
        let mut files = Vec::new();
        for path in paths {
            let from = self.dir.join(&path);
            let role = role(&path);
            let name = if self.at.is_empty() { path } else { format!("{}/{path}", self.at.trim_matches('/')) };
            check_place(&name)?;
            files.push((role, LocalFile { name, digest: digest_of(&from)?, path: from }));
        }
        files.sort_by(|(a_role, a), (b_role, b)| (a_role, &a.name).cmp(&(b_role, &b.name)));
        Ok(files)
    }

    /// Whether the published repository is ahead of this one, so that its indexes stay; none if this is no repository.
    pub(crate) fn is_behind(&self, store: &dyn Store) -> Result<Option<bool>, Error> {
        let Some(ours) = listing::read(&Folder::new(&self.dir), "", None)? else { return Ok(None) };
        let Some(theirs) = listing::read(store, &self.at, None)? else { return Ok(Some(false)) };
        let lost = first_not_in(&theirs, &ours);
        let why = match (lost, first_not_in(&ours, &theirs)) {
            (Some(lost), Some(_)) => format!("the published index lists {lost}, this one does not"),
            (None, Some(new)) if ours.time <= theirs.time => {
                format!("the index lists {new}, which is not published, but is not newer than the published one")
            }
            (None, Some(_)) => return Ok(Some(false)),
            (lost, None) => return Ok(Some(lost.is_some() || ours.time < theirs.time)),
        };
        Err(Error::Indexes { tree: self.dir.display().to_string(), why })
    }
}

/// A package of one listing that the other one lacks or has with other bytes.
fn first_not_in<'a>(listing: &'a Listing, other: &Listing) -> Option<&'a str> {
    let mut packages = listing.packages.iter();
    packages.find(|(path, digest)| other.packages.get(*path) != Some(digest)).map(|(path, _)| path.as_str())
}

/// The places that only a release writes are closed to trees.
fn check_place(name: &str) -> Result<(), Error> {
    let first = name.split('/').next().unwrap_or_default();
    if first.starts_with('.') || ["releases", "channels"].contains(&first) || name.split('/').any(|part| part == "..") {
        let why = "a tree must not write to hidden places, releases/ or channels/".to_owned();
        return Err(Error::Input { what: name.to_owned(), why });
    }
    Ok(())
}

fn walk(dir: &Path, prefix: &str, depth: usize, paths: &mut Vec<String>) -> Result<(), Error> {
    let local = |source| Error::Local { path: dir.to_owned(), source };
    if depth == 0 {
        return Err(local(std::io::Error::other(format!("folders are nested deeper than {MAX_DEPTH}"))));
    }
    for entry in fs::read_dir(dir).map_err(local)? {
        let entry = entry.map_err(local)?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| local(std::io::Error::other("a name in it is no text")))?;
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().map_err(local)?;
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), depth - 1, paths)?;
        } else if kind.is_file() {
            paths.push(path);
        } else {
            let why = "is neither file nor folder; a site has no links".to_owned();
            return Err(Error::Input { what: entry.path().display().to_string(), why });
        }
    }
    Ok(())
}

/// The role of a file by its place in an apt or yum repository, or by its name.
fn role(path: &str) -> Role {
    let name = path.rsplit('/').next().unwrap_or(path);
    let within = |folder: &str| path.starts_with(&format!("{folder}/")) || path.contains(&format!("/{folder}/"));
    let checksum = name.split('-').next().unwrap_or_default();
    let named_by_checksum =
        checksum.len() >= CHECKSUM_PREFIX_CHARS && checksum.bytes().all(|b| b.is_ascii_hexdigit()) && checksum != name;
    match name {
        _ if within("by-hash") => Role::Content,
        // Release names its parts by hash; a client takes InRelease first, else Release with its signature.
        "InRelease" if within("dists") => Role::Entrance,
        "Release" | "Release.gpg" if within("dists") => Role::TopIndex,
        _ if within("dists") => Role::Index,
        "repomd.xml" if within("repodata") => Role::Entrance,
        "repomd.xml.asc" | "repomd.xml.key" if within("repodata") => Role::TopIndex,
        _ if within("repodata") && !named_by_checksum => Role::Index,
        // What users fetch once; a later release may correct it.
        KEYRING_NAME | apt::SOURCES_NAME | yum::REPO_NAME | INSTALLER_NAME => Role::Index,
        _ => Role::Content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_package_managers_read_first_is_written_last() {
        for (path, expected) in [
            ("pool/main/c/cairn/cairn-server_1.2.3_amd64.deb", Role::Content),
            ("dists/stable/main/binary-amd64/by-hash/SHA256/00ff", Role::Content),
            ("dists/stable/main/binary-amd64/Packages.gz", Role::Index),
            // A Release of one component is listed by the one at the top, so it only has to precede InRelease.
            ("dists/stable/Release", Role::TopIndex),
            ("dists/stable/Release.gpg", Role::TopIndex),
            ("dists/stable/InRelease", Role::Entrance),
            ("x86_64/cairn-server-1.2.3-1.x86_64.rpm", Role::Content),
            ("x86_64/repodata/0123456789abcdef0123456789abcdef-primary.xml.gz", Role::Content),
            ("x86_64/repodata/primary.xml.gz", Role::Index),
            ("x86_64/repodata/repomd.xml.asc", Role::TopIndex),
            ("x86_64/repodata/repomd.xml", Role::Entrance),
            ("Release", Role::Content),
            ("cairn-archive-keyring.asc", Role::Index),
            ("cairn.sources", Role::Index),
            ("cairn.repo", Role::Index),
            ("install.sh", Role::Index),
        ] {
            assert_eq!(role(path), expected, "{path}");
        }
    }
}
