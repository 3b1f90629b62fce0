//! The memory engine's checkpoint: one file in a folder of its own.
//!
//! Form: an 8-byte magic, then per entry the column's place in [`Column::ALL`] (1 byte), the lengths of key and value
//! (4 bytes each, little-endian), key, value; at the end the byte 255 and the number of entries (8 bytes), so that a file
//! that was cut is told from a whole one. It is for tests: no version of the program need read another's.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};

use crate::memory::Columns;
use crate::{Batch, Column, EngineError};

const FILE_NAME: &str = "entries";
const MAGIC: &[u8; 8] = b"cairnmem";
const END: u8 = u8::MAX;

/// Writes `columns` into the new folder `target`, durably.
pub(crate) fn write(columns: &Columns, target: &Path) -> Result<(), EngineError> {
    fs::create_dir(target).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => EngineError::TargetExists { path: target.to_owned() },
        _ => EngineError::Io { operation: "create", path: target.to_owned(), source },
    })?;
    let path = target.join(FILE_NAME);
    let mut file = File::create_new(&path).map_err(|source| failed("create", &path, source))?;
    file.write_all(&encode(columns)?).map_err(|source| failed("write", &path, source))?;
    file.sync_all().map_err(|source| failed("sync", &path, source))?;
    sync_folder(target)?;
    target.parent().map_or(Ok(()), sync_folder)
}

/// Reads what [`write`] wrote.
pub(crate) fn read(folder: &Path) -> Result<Columns, EngineError> {
    let path = folder.join(FILE_NAME);
    let data = fs::read(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => EngineError::Missing { path: folder.to_owned() },
        _ => failed("read", &path, source),
    })?;
    decode(Bytes::from(data)).ok_or_else(|| EngineError::Corrupt {
        what: path.display().to_string(),
        reason: "it ends too early".to_owned(),
    })
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> EngineError {
    EngineError::Io { operation, path: path.to_owned(), source }
}

/// A new name survives a crash only once its folder is synced.
fn sync_folder(path: &Path) -> Result<(), EngineError> {
    let path: PathBuf = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
    File::open(&path).and_then(|folder| folder.sync_all()).map_err(|source| failed("sync", &path, source))
}

fn encode(columns: &Columns) -> Result<Vec<u8>, EngineError> {
    let mut out = MAGIC.to_vec();
    let mut entries = 0_u64;
    for (index, column) in (0_u8..).zip(Column::ALL) {
        for (key, value) in columns.column(column).iter() {
            out.put_u8(index);
            out.put_u32_le(length(key)?);
            out.put_u32_le(length(value)?);
            out.put_slice(key);
            out.put_slice(value);
            entries += 1;
        }
    }
    out.put_u8(END);
    out.put_u64_le(entries);
    Ok(out)
}

fn length(bytes: &Bytes) -> Result<u32, EngineError> {
    u32::try_from(bytes.len()).map_err(|_| EngineError::Backend {
        operation: "write a checkpoint",
        message: format!("an entry of {} bytes is too large", bytes.len()),
    })
}

/// `None` where the data is not a whole checkpoint.
fn decode(mut data: Bytes) -> Option<Columns> {
    if data.len() < MAGIC.len() || data.split_to(MAGIC.len()) != MAGIC[..] {
        return None;
    }
    let mut batch = Batch::new();
    loop {
        let index = data.try_get_u8().ok()?;
        if index == END {
            break;
        }
        let column = *Column::ALL.get(usize::from(index))?;
        let key_len = usize::try_from(data.try_get_u32_le().ok()?).ok()?;
        let value_len = usize::try_from(data.try_get_u32_le().ok()?).ok()?;
        if data.len() < key_len.checked_add(value_len)? {
            return None;
        }
        let key = data.split_to(key_len);
        batch.put(column, key, data.split_to(value_len));
    }
    let entries = usize::try_from(data.try_get_u64_le().ok()?).ok()?;
    if entries != batch.len() || !data.is_empty() {
        return None;
    }
    let mut columns = Columns::default();
    columns.apply(&batch);
    Some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_that_was_cut_or_lengthened_anywhere_is_refused() {
        let mut batch = Batch::new();
        batch.put(Column::Cur, "a", "1");
        batch.put(Column::Meta, "", "");
        let mut columns = Columns::default();
        columns.apply(&batch);
        let whole = encode(&columns).expect("the entries are small");

        assert_eq!(decode(Bytes::from(whole.clone())).as_ref(), Some(&columns));
        for len in 0..whole.len() {
            assert_eq!(decode(Bytes::copy_from_slice(&whole[..len])), None, "cut to {len} bytes");
        }
        let mut longer = whole;
        longer.push(0);
        assert_eq!(decode(Bytes::from(longer)), None);
    }

    #[test]
    fn opening_a_folder_without_a_checkpoint_says_that_there_is_none() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        assert!(matches!(read(dir.path()), Err(EngineError::Missing { .. })));
    }
}
