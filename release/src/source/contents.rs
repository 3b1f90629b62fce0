//! What a finished source archive really holds, read in bounded memory.
//!
//! Whatever a user could find in the archive that is not a plain file, link or folder below the top folder is a violation,
//! bytes behind its end too: nothing may travel with the source that a review of the commit does not see.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::bufread::GzDecoder;
use tar::{Archive, EntryType};

use super::tree::{BlobHasher, GitTree, Mode};
use crate::digest::digest_with;
use crate::files::{EXECUTABLE_MODE, FILE_MODE};

/// A file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What kind of file it is.
    pub mode: Mode,
    /// Git's id of its content.
    pub blob: String,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Its content, if it was to be kept.
    pub kept: Option<Vec<u8>>,
}

/// Everything that an archive holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// Files by path below the top folder.
    pub files: BTreeMap<String, Member>,
    /// What cannot be in a source archive.
    pub violations: Vec<String>,
    folders: BTreeSet<String>,
}

impl Contents {
    /// Reads an archive to its end; files whose path `keep` accepts are kept in memory.
    ///
    /// # Errors
    ///
    /// It is no tar.gz that can be read to its end.
    pub fn read(archive: &Path, top: &str, keep: impl Fn(&str) -> bool) -> Result<Self> {
        let cannot = || format!("cannot read the archive {}", archive.display());
        let file = File::open(archive).with_context(cannot)?;
        let mut contents = Self::default();
        let mut tar = Archive::new(GzDecoder::new(BufReader::new(file)));
        for entry in tar.entries().with_context(cannot)? {
            contents.add(entry.with_context(cannot)?, top, &keep).with_context(cannot)?;
        }
        contents.check_end(tar.into_inner()).with_context(cannot)?;
        Ok(contents)
    }

    fn add(&mut self, mut entry: tar::Entry<'_, impl Read>, top: &str, keep: impl Fn(&str) -> bool) -> Result<()> {
        let full = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let below = full.strip_prefix(top).and_then(|path| path.strip_prefix('/'));
        let Some(path) = below.map(|path| path.trim_end_matches('/').to_owned()) else {
            self.violations.push(format!("{full} is outside of the folder {top}"));
            return Ok(());
        };
        let bits = entry.header().mode()?;
        let mode = match (entry.header().entry_type(), bits) {
            (EntryType::Directory, EXECUTABLE_MODE) => {
                self.folders.insert(path);
                return Ok(());
            }
            (EntryType::Regular, FILE_MODE) => Mode::File,
            (EntryType::Regular, EXECUTABLE_MODE) => Mode::Executable,
            (EntryType::Symlink, _) => Mode::Link,
            (kind @ (EntryType::Regular | EntryType::Directory), _) => {
                let kind = if kind == EntryType::Regular { "file" } else { "folder" };
                self.violations.push(format!("{path} is a {kind} with the mode {bits:04o}, which git does not have"));
                return Ok(());
            }
            (kind, _) => {
                self.violations.push(format!("{path} is neither file nor link nor folder but of the kind {kind:?}"));
                return Ok(());
            }
        };
        let member = read_member(&mut entry, mode, keep(&path))?;
        if self.files.insert(path.clone(), member).is_some() {
            self.violations.push(format!("{path} is twice in the archive"));
        }
        Ok(())
    }

    /// Behind the last entry there may only be zeros, and behind the compressed stream nothing.
    fn check_end(&mut self, mut decoder: GzDecoder<BufReader<File>>) -> Result<()> {
        let mut zeros = true;
        digest_with(&mut decoder, |piece| zeros &= piece.iter().all(|byte| *byte == 0))?;
        if !zeros || !decoder.into_inner().fill_buf()?.is_empty() {
            self.violations.push("the archive has bytes behind its end".to_owned());
        }
        Ok(())
    }

    /// How the archive differs from the tree, leaving out the paths that `ignore` accepts.
    #[must_use]
    pub fn differences(&self, tree: &GitTree, ignore: impl Fn(&str) -> bool) -> Vec<String> {
        let missing = tree.files.keys().filter(|path| !self.files.contains_key(*path));
        let mut differences: Vec<_> = missing.map(|path| format!("{path} is missing; the commit has it")).collect();
        for (path, member) in self.files.iter().filter(|(path, _)| !ignore(path)) {
            let Some(file) = tree.files.get(path) else {
                differences.push(format!("{path} is not in the commit"));
                continue;
            };
            if member.mode != file.mode {
                differences.push(format!("{path} has the mode {}; the commit has it with {}", member.mode, file.mode));
            }
            if member.blob != file.blob {
                let (ours, theirs) = (&member.blob, &file.blob);
                differences.push(format!("{path} is the git blob {ours}; in the commit it is {theirs}"));
            }
        }
        let empty = self.folders.iter().filter(|folder| !folder.is_empty() && !ignore(&format!("{folder}/")));
        let empty = empty.filter(|folder| !has_below(tree.files.keys(), folder));
        differences.extend(empty.map(|folder| format!("{folder}/ is not in the commit")));
        differences.sort();
        differences
    }
}

fn has_below<'a>(mut paths: impl Iterator<Item = &'a String>, folder: &str) -> bool {
    paths.any(|path| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
}

fn read_member(entry: &mut tar::Entry<'_, impl Read>, mode: Mode, keep: bool) -> Result<Member> {
    if mode == Mode::Link {
        let target = entry.link_name_bytes().context("a link leads nowhere")?.into_owned();
        return member(target.len() as u64, target.as_slice(), mode, keep);
    }
    member(entry.size(), entry, mode, keep)
}

fn member(size: u64, content: impl Read, mode: Mode, keep: bool) -> Result<Member> {
    let mut blob = BlobHasher::new(size);
    let mut kept = keep.then(Vec::new);
    let digest = digest_with(content, |piece| {
        blob.update(piece);
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(piece);
        }
    })?;
    Ok(Member { mode, blob: blob.finish(), sha256: digest.sha256, kept })
}
