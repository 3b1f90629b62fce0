//! The container in which a snapshot travels: the files of a checkpoint, one after the other.
//!
//! Contract: the size is known before the first byte; reading holds one open file and no copy of it; unpacking writes
//! only plain files into one new folder, whatever the container says. Layout (docs/format/snapshot.md): magic and
//! version, then for each file a 1, the length of its name (u16), the name, its size (u64), its bytes; then a 0, and zeros
//! up to a multiple of 512 bytes: stock `etcdctl snapshot save` takes a size that is 32 more than such a multiple for the
//! sign that a hash stands at the end. Numbers are big-endian.
//!
//! Left out: the SHA-256 that the Snapshot call and `cairnctl snapshot save` put behind it, and what the files mean.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

const MAGIC: &[u8; 8] = b"CAIRNSNP";
const VERSION: u8 = 1;
const FILE: u8 = 1;
const END: u8 = 0;
/// A snapshot's size is a multiple of this, in bytes.
const ALIGNMENT: u64 = 512;

/// Longest name of a file in a snapshot, in bytes; longer names are refused.
const MAX_NAME_BYTES: usize = 255;

/// Why a snapshot cannot be read or written.
#[derive(Debug, Error)]
pub enum SnapshotFileError {
    /// The operating system refused something.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The bytes end too early, or the source of them failed.
    #[error("the snapshot cannot be read to its end; save it again")]
    Cut(#[source] io::Error),
    /// The bytes are not a snapshot of ours.
    #[error("this is not a snapshot that cairnd made: {0}")]
    Foreign(String),
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotFileError {
    move |source| SnapshotFileError::Io { operation, path: path.to_owned(), source }
}

/// The bytes of a snapshot, made from a checkpoint's folder while they are read.
#[derive(Debug)]
pub struct SnapshotReader {
    total_bytes: u64,
    /// What is still to come, the next part last.
    parts: Vec<Part>,
    head: io::Cursor<Vec<u8>>,
    file: Option<io::Take<File>>,
}

#[derive(Debug)]
struct Part {
    head: Vec<u8>,
    file: Option<(PathBuf, u64)>,
}

impl SnapshotReader {
    /// A snapshot of the plain files in `checkpoint`, which must not change while it is read.
    ///
    /// # Errors
    /// Where the folder cannot be read or holds anything else than plain files with short names.
    pub fn open(checkpoint: &Path) -> Result<Self, SnapshotFileError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(checkpoint).map_err(io_error("list", checkpoint))? {
            let entry = entry.map_err(io_error("list", checkpoint))?;
            let metadata = entry.metadata().map_err(io_error("examine", &entry.path()))?;
            files.push((entry.file_name(), entry.path(), metadata));
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        let mut parts = vec![Part { head: [MAGIC.as_slice(), &[VERSION]].concat(), file: None }];
        for (name, path, metadata) in files {
            let name = name.as_encoded_bytes();
            let length = u16::try_from(name.len()).ok().filter(|_| metadata.is_file() && is_plain(name));
            let Some(length) = length else {
                return Err(SnapshotFileError::Foreign(format!("{} does not belong in a checkpoint", path.display())));
            };
            let size = metadata.len();
            let head = [[FILE].as_slice(), &length.to_be_bytes(), name, &size.to_be_bytes()].concat();
            parts.push(Part { head, file: Some((path, size)) });
        }
        let content: u64 =
            parts.iter().map(|part| part.head.len() as u64 + part.file.as_ref().map_or(0, |(_, size)| *size)).sum();
        let total_bytes = (content + 1).next_multiple_of(ALIGNMENT);
        // The end and the zeros behind it are the same byte.
        parts.push(Part {
            head: std::iter::repeat_n(END, usize::try_from(total_bytes - content).unwrap_or(1)).collect(),
            file: None,
        });
        parts.reverse();
        Ok(Self { total_bytes, parts, head: io::Cursor::default(), file: None })
    }

    /// How many bytes there are in all.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let read = self.head.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            if let Some(file) = &mut self.file {
                let read = file.read(buffer)?;
                if read > 0 {
                    return Ok(read);
                }
                if file.limit() > 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "a file of the checkpoint became shorter",
                    ));
                }
                self.file = None;
            }
            let Some(part) = self.parts.pop() else { return Ok(0) };
            self.head = io::Cursor::new(part.head);
            if let Some((path, size)) = part.file {
                self.file = Some(File::open(path)?.take(size));
            }
        }
    }
}

fn is_plain(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && name != b"."
        && name != b".."
        && !name.contains(&b'/')
        && !name.contains(&0)
}

/// Writes the files of a snapshot into the folder `target`, which must not exist yet. Durable on return.
///
/// # Errors
/// Where the bytes are not a whole snapshot, or cannot be written; then `target` is left for the caller to remove.
pub fn unpack(mut snapshot: impl Read, target: &Path) -> Result<(), SnapshotFileError> {
    let mut magic = [0; MAGIC.len() + 1];
    snapshot.read_exact(&mut magic).map_err(SnapshotFileError::Cut)?;
    let [name @ .., version] = magic;
    if &name != MAGIC {
        return Err(SnapshotFileError::Foreign("it does not begin with CAIRNSNP".to_owned()));
    }
    if version != VERSION {
        return Err(SnapshotFileError::Foreign(format!("its format version is {version}, not {VERSION}")));
    }
    fs::create_dir(target).map_err(io_error("create", target))?;
    while let Some((name, size)) = next_file(&mut snapshot)? {
        let path = target.join(name);
        let mut file = File::create_new(&path).map_err(io_error("create", &path))?;
        let copied = io::copy(&mut (&mut snapshot).take(size), &mut file).map_err(io_error("write", &path))?;
        if copied < size {
            return Err(SnapshotFileError::Cut(io::ErrorKind::UnexpectedEof.into()));
        }
        file.flush().and_then(|()| file.sync_all()).map_err(io_error("sync", &path))?;
    }
    File::open(target).and_then(|folder| folder.sync_all()).map_err(io_error("sync", target))
}

fn next_file(snapshot: &mut impl Read) -> Result<Option<(String, u64)>, SnapshotFileError> {
    let mut kind = [0];
    snapshot.read_exact(&mut kind).map_err(SnapshotFileError::Cut)?;
    match kind[0] {
        END => return Ok(None),
        FILE => {}
        other => return Err(SnapshotFileError::Foreign(format!("it has a part of unknown kind {other}"))),
    }
    let mut length = [0; 2];
    snapshot.read_exact(&mut length).map_err(SnapshotFileError::Cut)?;
    let mut name = vec![0; usize::from(u16::from_be_bytes(length))];
    snapshot.read_exact(&mut name).map_err(SnapshotFileError::Cut)?;
    let mut size = [0; 8];
    snapshot.read_exact(&mut size).map_err(SnapshotFileError::Cut)?;
    let name = String::from_utf8(name).ok().filter(|name| is_plain(name.as_bytes()));
    let name = name.ok_or_else(|| SnapshotFileError::Foreign("it names a file outside of its folder".to_owned()))?;
    Ok(Some((name, u64::from_be_bytes(size))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("CURRENT"), "MANIFEST-1").unwrap();
        fs::write(folder.path().join("empty"), "").unwrap();
        fs::write(folder.path().join("000007.sst"), vec![7; 100_000]).unwrap();
        folder
    }

    fn pack(folder: &Path) -> Vec<u8> {
        let mut reader = SnapshotReader::open(folder).unwrap();
        let mut bytes = Vec::new();
        let total = reader.total_bytes();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(total, bytes.len() as u64);
        bytes
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let folder = checkpoint();
        let target =
            folder.path().join("..").join(format!("{}-out", folder.path().file_name().unwrap().to_str().unwrap()));
        unpack(pack(folder.path()).as_slice(), &target).unwrap();
        for name in ["CURRENT", "empty", "000007.sst"] {
            assert_eq!(fs::read(target.join(name)).unwrap(), fs::read(folder.path().join(name)).unwrap());
        }
        fs::remove_dir_all(target).unwrap();
    }

    #[test]
    fn a_snapshot_has_exactly_these_bytes() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ab"), "xyz").unwrap();
        let mut expected = b"CAIRNSNP\x01\x01\0\x02ab\0\0\0\0\0\0\0\x03xyz\0".to_vec();
        expected.resize(512, 0);
        assert_eq!(pack(folder.path()), expected);
    }

    #[test]
    fn a_cut_snapshot_is_refused_wherever_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ab"), "xyz").unwrap();
        let whole = pack(folder.path());
        let content = b"CAIRNSNP\x01\x01\0\x02ab\0\0\0\0\0\0\0\x03xyz".len();
        for length in 0..=content {
            let target = folder.path().join(format!("out-{length}"));
            assert!(matches!(unpack(&whole[..length], &target), Err(SnapshotFileError::Cut(_))), "cut to {length}");
        }
    }

    #[test]
    fn a_snapshot_cannot_write_outside_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["../evil", "/evil", "..", "", "a/b"] {
            let length = u16::try_from(name.len()).unwrap().to_be_bytes();
            let bytes = [b"CAIRNSNP\x01\x01".as_slice(), &length, name.as_bytes(), &[0; 8], &[0]].concat();
            let outcome = unpack(bytes.as_slice(), &folder.path().join("out"));
            assert!(matches!(outcome, Err(SnapshotFileError::Foreign(_))), "{name:?}");
            fs::remove_dir_all(folder.path().join("out")).unwrap();
        }
        assert!(matches!(unpack(b"SQLite format".as_slice(), folder.path()), Err(SnapshotFileError::Foreign(_))));
    }
}
