//! Tar archives that depend on their content alone: sorted, owner 0:0 without names (folders may say otherwise), one time,
//! folders before files.
//!
//! Contract: equal entries, top folder and time give equal bytes, whoever writes them, when and where. Headers are plain
//! ustar; a path that does not fit into one gets GNU's long-name record. Gzip carries neither name nor time. [`violations`]
//! reads a finished archive and holds it to the same entries.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use tar::{Archive, Builder, EntryType, Header};

use crate::digest::{Digest, digest_file, digest_with};
use crate::files::EXECUTABLE_MODE;

/// Compression level of all that we compress: fixed, because it decides the bytes.
pub const GZIP_LEVEL: u32 = 9;

/// Value of gzip's "operating system" byte that says nothing.
pub(crate) const GZIP_OS_UNKNOWN: u8 = 255;

/// What an archive holds, by path below its top folder; folders need no entry of their own.
pub type Entries = BTreeMap<String, Entry>;

/// One file or link of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file whose content is in memory, with its mode.
    Bytes(u32, Vec<u8>),
    /// A file whose content is read when the archive is written, with its mode.
    File(u32, PathBuf),
    /// A symbolic link to this path.
    Link(String),
    /// A folder with a mode other than the usual one, or an empty one.
    Folder(u32),
    /// A folder with this mode that belongs to the user and group of this number.
    OwnedFolder(u32, u64),
}

/// Writes a tar.gz with one top folder; an empty `top` puts the entries at the root.
///
/// # Errors
///
/// The writer's, or a file that cannot be read.
pub fn write_tar_gz(writer: impl Write, top: &str, entries: &Entries, mtime: u64) -> Result<()> {
    let gzip = GzBuilder::new().mtime(0).operating_system(GZIP_OS_UNKNOWN).write(writer, Compression::new(GZIP_LEVEL));
    write_tar(gzip, top, entries, mtime)?.finish()?;
    Ok(())
}

/// Writes a tar and returns the writer.
///
/// # Errors
///
/// As [`write_tar_gz`].
pub fn write_tar<W: Write>(writer: W, top: &str, entries: &Entries, mtime: u64) -> Result<W> {
    let mut tar = Builder::new(writer);
    let prefix = if top.is_empty() { String::new() } else { format!("{top}/") };
    for folder in folders(entries) {
        // A folder's path ends with a slash, which also sorts it before what is in it.
        let path = format!("{prefix}{folder}");
        let (mode, owner) = folder_mode_and_owner(entries, &folder);
        if !path.is_empty() {
            let mut header = header(EntryType::Directory, mode, mtime, 0);
            header.set_uid(owner);
            header.set_gid(owner);
            append(&mut tar, header, &path, io::empty())?;
        }
    }
    for (name, entry) in entries {
        let path = format!("{prefix}{name}");
        match entry {
            Entry::Bytes(mode, bytes) => {
                let header = header(EntryType::Regular, *mode, mtime, bytes.len() as u64);
                append(&mut tar, header, &path, bytes.as_slice())?;
            }
            Entry::File(mode, from) => {
                let file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
                let size = file.metadata()?.len();
                append(&mut tar, header(EntryType::Regular, *mode, mtime, size), &path, file)?;
            }
            Entry::Link(to) => {
                let mut header = header(EntryType::Symlink, 0o777, mtime, 0);
                tar.append_link(&mut header, &path, to).with_context(|| format!("cannot archive the link {path}"))?;
            }
            Entry::Folder(_) | Entry::OwnedFolder(..) => {}
        }
    }
    Ok(tar.into_inner()?)
}

fn append(tar: &mut Builder<impl Write>, mut header: Header, path: &str, data: impl Read) -> Result<()> {
    let cannot = || format!("cannot archive {path}");
    // `append_data` adds the long-name record where it must; `set_path` alone refuses such a path.
    if header.set_path(path).is_ok() {
        header.set_cksum();
        tar.append(&header, data).with_context(cannot)
    } else {
        tar.append_data(&mut header, path, data).with_context(cannot)
    }
}

fn header(kind: EntryType, mode: u32, mtime: u64, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime);
    header.set_size(size);
    header
}

fn folder_mode_and_owner(entries: &Entries, folder: &str) -> (u32, u64) {
    match entries.get(folder.trim_end_matches('/')) {
        Some(Entry::Folder(mode)) => (*mode, 0),
        Some(Entry::OwnedFolder(mode, owner)) => (*mode, *owner),
        _ => (EXECUTABLE_MODE, 0),
    }
}

/// Every folder that the entries need, the top one as the empty path, parents first.
fn folders(entries: &Entries) -> BTreeSet<String> {
    let parents = entries.keys().flat_map(|path| path.match_indices('/').map(|(at, _)| path[..=at].to_owned()));
    let own = entries
        .iter()
        .filter(|(_, entry)| matches!(entry, Entry::Folder(_) | Entry::OwnedFolder(..)))
        .map(|(path, _)| format!("{path}/"));
    std::iter::once(String::new()).chain(parents).chain(own).collect()
}

/// What a reader of an archive sees of one member: what it is called in sentences, and its value.
type Facts = [(&'static str, String); 4];

/// How a finished tar.gz differs from the one that [`write_tar_gz`] makes of these entries: in names, types, modes, owners,
/// times or contents, or by bytes behind its end. The order of the members is not compared.
///
/// # Errors
///
/// The archive is no tar.gz that can be read to its end, or a file of the entries cannot be read.
pub fn violations(archive: &Path, top: &str, entries: &Entries, mtime: u64) -> Result<Vec<String>> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let cannot = || format!("cannot read the archive {}", archive.display());
    let mut wanted = planned_members(top, entries, mtime)?;
    let mut violations = Vec::new();
    let file = File::open(archive).with_context(cannot)?;
    let mut tar = Archive::new(GzDecoder::new(BufReader::new(file)));
    for entry in tar.entries().with_context(cannot)? {
        let mut entry = entry.with_context(cannot)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let found = found_facts(&mut entry).with_context(cannot)?;
        match wanted.remove(&path) {
            None => violations.push(format!("{name} has {path}, once more than planned")),
            Some(planned) => {
                violations.extend(found.iter().zip(planned).filter(|(is, should)| *is != should).map(
                    |((what, is), (_, should))| format!("{path} in {name} has the {what} {is}, planned is {should}"),
                ))
            }
        }
    }
    violations.extend(wanted.into_keys().map(|path| format!("{name} lacks {path}")));
    // Behind the last member are zeros alone, and behind the compressed stream is nothing.
    let mut rest = tar.into_inner();
    let mut zeros = true;
    digest_with(&mut rest, |piece| zeros &= piece.iter().all(|byte| *byte == 0)).with_context(cannot)?;
    if !zeros || !rest.into_inner().fill_buf().with_context(cannot)?.is_empty() {
        violations.push(format!("{name} has bytes behind its end"));
    }
    Ok(violations)
}

/// The members that [`write_tar_gz`] writes, by path; that of a folder ends with a slash.
fn planned_members(top: &str, entries: &Entries, mtime: u64) -> Result<BTreeMap<String, Facts>> {
    let prefix = if top.is_empty() { String::new() } else { format!("{top}/") };
    let mut members = BTreeMap::new();
    for folder in folders(entries) {
        let (mode, owner) = folder_mode_and_owner(entries, &folder);
        members.insert(format!("{prefix}{folder}"), facts(EntryType::Directory, mode, owner, mtime, String::new()));
    }
    members.remove("");
    for (path, entry) in entries {
        let facts = match entry {
            Entry::Bytes(mode, bytes) => {
                facts(EntryType::Regular, *mode, 0, mtime, content(&digest_with(bytes.as_slice(), |_| {})?))
            }
            Entry::File(mode, from) => {
                let digest = digest_file(from).with_context(|| format!("cannot read {}", from.display()))?;
                facts(EntryType::Regular, *mode, 0, mtime, content(&digest))
            }
            Entry::Link(to) => facts(EntryType::Symlink, 0o777, 0, mtime, to.clone()),
            Entry::Folder(_) | Entry::OwnedFolder(..) => continue,
        };
        members.insert(format!("{prefix}{path}"), facts);
    }
    Ok(members)
}

fn facts(kind: EntryType, mode: u32, owner: u64, mtime: u64, content: String) -> Facts {
    [
        ("mode", format!("{mode:04o}")),
        ("owner", format!("{owner}:{owner}")),
        ("time", mtime.to_string()),
        ("content", format!("{kind:?} {content}")),
    ]
}

fn content(digest: &Digest) -> String {
    format!("of {} bytes, SHA-256 {}", digest.size, digest.sha256)
}

fn found_facts(entry: &mut tar::Entry<'_, impl Read>) -> Result<Facts> {
    let header = entry.header().clone();
    let kind = header.entry_type();
    let content = match kind {
        EntryType::Symlink => String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned(),
        EntryType::Directory => String::new(),
        _ => content(&digest_with(entry, |_| {})?),
    };
    let mut owner = format!("{}:{}", header.uid()?, header.gid()?);
    for name in [header.username_bytes(), header.groupname_bytes()].into_iter().flatten().filter(|it| !it.is_empty()) {
        owner = format!("{owner} {}", String::from_utf8_lossy(name));
    }
    Ok([
        ("mode", format!("{:04o}", header.mode()?)),
        ("owner", owner),
        ("time", header.mtime()?.to_string()),
        ("content", format!("{kind:?} {content}")),
    ])
}
