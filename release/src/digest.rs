//! Sizes and SHA-256 sums of files, computed in bounded memory.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Bytes that are read from a file at once.
const READ_BYTES: usize = 64 << 10;

/// Size and hash of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Number of bytes.
    pub size: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Whether the text has the form of a SHA-256 sum: 64 lower-case hexadecimal digits.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Reads to the end and hands every piece to `also`, too, so that a caller reads large files once.
///
/// # Errors
///
/// The reader's.
pub fn digest_with(mut reader: impl Read, mut also: impl FnMut(&[u8])) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let n = reader.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        size += n as u64;
        hasher.update(&buffer[..n]);
        also(&buffer[..n]);
    }
    let mut sha256 = String::with_capacity(64);
    for byte in hasher.finalize() {
        write!(sha256, "{byte:02x}").expect("writing to a string does not fail");
    }
    Ok(Digest { size, sha256 })
}

/// Size and hash of bytes in memory.
#[must_use]
pub fn digest_bytes(bytes: &[u8]) -> Digest {
    digest_with(bytes, |_| {}).expect("reading from memory does not fail")
}

/// Size and hash of a file.
///
/// # Errors
///
/// The file cannot be read.
pub fn digest_file(path: &Path) -> io::Result<Digest> {
    digest_with(File::open(path)?, |_| {})
}
