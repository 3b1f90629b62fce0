//! Checks a release folder as its users do: offline, with a public key and a version that they got elsewhere.
//!
//! Everything in the folder is compared with everything else: the manifest's signature, each file's name, size, hash,
//! signature and trusted comment, `SHA256SUMS`, the digests of images, and the list of names. The first difference is
//! returned as a [`Refusal`]; each kind has an exit code of its own, which never changes its meaning. Which key must have
//! signed, `keys.json` of the folder says, if the user's key stands behind it ([`crate::key_list`]).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use minisign_verify::{Error as MinisignError, PublicKey, Signature};

use crate::checksum;
use crate::comment::TrustedComment;
use crate::digest::{Digest, digest_bytes, digest_with};
use crate::files;
use crate::key_list::{KEYS_NAME, KeyList};
use crate::manifest::{Entry, MANIFEST_NAME, Manifest, SUMS_NAME};
use crate::oci;
use crate::plan::{ArtifactKind, PRODUCT, SIGNATURE_SUFFIX};
use crate::trust::Trust;

/// Most bytes of a key, a signature, `SHA256SUMS`, `keys.json` or `release.json`: larger ones are refused unread.
pub const MAX_SMALL_FILE_BYTES: u64 = 1 << 20;

/// Why a folder is not the release that it should be. `Display` says on which file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Content differs from what was signed.
    #[error("{0}: its content is not what was signed; get the file again from another place")]
    ChangedFile(String),
    /// The hash fits, but the signature over content and comment does not.
    #[error("{0}: its signature is damaged or forged; get file and signature again from another place")]
    BadSignature(String),
    /// The signature was made with a key that the given one does not stand behind.
    #[error(
        "{0}: signed with another key than the given one and those that followed it; do not use it unless you know why (for a \
         release that is older than the given key, give keys.json of a newer one that you have verified)"
    )]
    UnknownKey(String),
    /// The signature belongs to a file of another name.
    #[error("{found}: the signature is for the file {signed}; somebody renamed or exchanged files")]
    WrongFile {
        /// Name of the file in the folder.
        found: String,
        /// Name that was signed.
        signed: String,
    },
    /// A file of another version, though rightly signed.
    #[error("{file}: this is version {found}, not {wanted}")]
    WrongVersion {
        /// The file.
        file: String,
        /// Version that was signed.
        found: String,
        /// Version that the user asked for.
        wanted: String,
    },
    /// A listed file or its signature is not there.
    #[error("{0}: missing; the folder is not a whole release")]
    MissingFile(String),
    /// Something is in the folder that was not released.
    #[error("{0}: not part of the release; do not use it")]
    ExtraFile(String),
    /// Manifest or sums make no sense or contradict each other.
    #[error("{file}: {why}; the release was made wrongly, report it")]
    BadManifest {
        /// The file.
        file: &'static str,
        /// What is wrong, as a phrase.
        why: String,
    },
    /// A rightly signed file of another product.
    #[error("{file}: this is a file of {found}, not of {PRODUCT}")]
    WrongProduct {
        /// The file.
        file: String,
        /// Product that was signed.
        found: String,
    },
    /// An older release than the user accepts, or files of several releases.
    #[error("{file}: release number {found} where {wanted} is wanted; somebody offers an old release or mixes two")]
    WrongSequence {
        /// The file.
        file: String,
        /// Number that was signed.
        found: u64,
        /// The manifest's number, or the lowest that the user accepts.
        wanted: u64,
    },
    /// A trusted comment is not of our form.
    #[error(
        "{0}: its trusted comment does not name product, version, file, hash and sequence; the release was made wrongly"
    )]
    BadComment(String),
    /// The key that signed, or one that the user's trust in it would rest on, was revoked.
    #[error("{file}: the key {key} was revoked on {day} ({reason}): {what_follows}")]
    RevokedKey {
        /// The file.
        file: String,
        /// The key, as the second line of minisign's file has it.
        key: String,
        /// The day of its revocation.
        day: String,
        /// Why it was revoked.
        reason: String,
        /// What that means here, and what to do.
        what_follows: &'static str,
    },
    /// The release's list of keys makes no sense, or contradicts the one that the user trusts.
    #[error("{file}: {why}; do not use the release, and report it")]
    BadKeys {
        /// The file.
        file: &'static str,
        /// What is wrong, as a phrase.
        why: String,
    },
    /// The public key cannot be used.
    #[error("{path}: neither a minisign public key nor a list of keys: {why}")]
    BadPublicKey {
        /// The key's file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The folder or a file cannot be read.
    #[error("{path}: cannot be read")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl Refusal {
    /// Exit code of the program; see [`EXIT_CODES_HELP`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ChangedFile(_) => 10,
            Self::BadSignature(_) => 11,
            Self::UnknownKey(_) => 12,
            Self::WrongFile { .. } => 13,
            Self::WrongVersion { .. } => 14,
            Self::MissingFile(_) => 15,
            Self::ExtraFile(_) => 16,
            Self::BadManifest { .. } => 17,
            Self::WrongProduct { .. } => 18,
            Self::WrongSequence { .. } => 19,
            Self::BadComment(_) => 20,
            Self::BadPublicKey { .. } => 21,
            Self::Unreadable { .. } => 22,
            Self::RevokedKey { .. } => 23,
            Self::BadKeys { .. } => 24,
        }
    }
}

/// The table of exit codes, for `--help`.
pub const EXIT_CODES_HELP: &str = "\
Exit codes of verify:
   0  everything fits
   1  other failure             2  wrong usage
  10  changed byte in a file   11  damaged or forged signature
  12  signed by another key    13  file name exchanged
  14  wrong version            15  file missing
  16  extra file               17  bad release.json or SHA256SUMS
  18  wrong product            19  wrong release number
  20  bad trusted comment      21  bad public key
  22  cannot be read           23  key revoked
  24  bad keys.json";

/// What the user wants to know about a folder.
#[derive(Debug)]
pub struct Request<'a> {
    /// The release folder.
    pub dir: &'a Path,
    /// File with the minisign public key, or a list of keys from a release that was verified before or another source that is
    /// trusted; nobody's signature of it is asked for.
    pub public_key: &'a Path,
    /// Version that the folder should have.
    pub version: &'a str,
    /// Lowest release number that is acceptable; 0 accepts all.
    pub min_sequence: u64,
}

/// The manifest in a folder, if this key has signed it; nothing else of the folder is looked at.
///
/// # Errors
///
/// It cannot be read, or its signature is not of this key or does not fit.
pub fn manifest_signed_by(dir: &Path, key: &str) -> Result<(Manifest, Digest), Refusal> {
    let manifest = Manifest::parse(&read_small_in(dir, MANIFEST_NAME)?);
    let manifest = manifest.map_err(|why| Refusal::BadManifest { file: MANIFEST_NAME, why })?;
    let folder = Folder { dir, key: public_key(key)?, version: &manifest.version };
    folder.manifest().map(|(manifest, _, digest)| (manifest, digest))
}

/// Verifies a whole release folder and returns its manifest.
///
/// # Errors
///
/// The first thing that is not as it should be.
pub fn verify(request: &Request<'_>) -> Result<Manifest, Refusal> {
    let trust = trust(request.public_key)?;
    let (list, list_bytes) = read_list(request.dir)?;
    let path = trust.leads_to(&list)?;
    let folder = Folder { dir: request.dir, key: public_key(list.signing())?, version: request.version };
    folder.check_signed(KEYS_NAME, list_bytes.as_slice())?;
    let (manifest, number, digest) = folder.manifest()?;
    trust.check_revocations(&path, list.signing(), &digest.sha256)?;
    if manifest.sequence != number || number < request.min_sequence {
        let wanted = request.min_sequence.max(manifest.sequence);
        return Err(Refusal::WrongSequence { file: MANIFEST_NAME.to_owned(), found: number, wanted });
    }
    folder.check_names(&manifest)?;
    for entry in &manifest.files {
        folder.check_entry(entry, manifest.sequence)?;
    }
    folder.check_sums(&manifest)?;
    folder.check_images(&manifest)?;
    Ok(manifest)
}

/// What the user trusts: a key, or a whole list of keys.
fn trust(path: &Path) -> Result<Trust, Refusal> {
    let bytes = read_small(path).map_err(|e| unreadable(path, e))?;
    if !bytes.starts_with(b"{") {
        return Ok(Trust::Key(key_line(path, bytes)?));
    }
    KeyList::parse(&bytes).map(Trust::List).map_err(|why| Refusal::BadPublicKey { path: path.to_owned(), why })
}

/// The list of keys in a release folder, and what was read; only its form is checked yet.
fn read_list(dir: &Path) -> Result<(KeyList, Vec<u8>), Refusal> {
    let bytes = read_small_in(dir, KEYS_NAME)?;
    let sha256 = digest_bytes(&bytes).sha256;
    let signed: Result<TrustedComment, _> = signature(dir, KEYS_NAME)?.trusted_comment().parse();
    if signed.is_ok_and(|comment| comment.file == KEYS_NAME && comment.sha256 != sha256) {
        return Err(Refusal::ChangedFile(KEYS_NAME.to_owned()));
    }
    let list = KeyList::parse(&bytes).map_err(|why| Refusal::BadKeys { file: KEYS_NAME, why })?;
    Ok((list, bytes))
}

/// A folder whose files one key has signed.
struct Folder<'a> {
    dir: &'a Path,
    key: PublicKey,
    version: &'a str,
}

impl Folder<'_> {
    /// The manifest, the release number of its signature, and its digest.
    fn manifest(&self) -> Result<(Manifest, u64, Digest), Refusal> {
        let bytes = read_small_in(self.dir, MANIFEST_NAME)?;
        let (digest, comment) = self.check_signed(MANIFEST_NAME, bytes.as_slice())?;
        let bad = |why| Refusal::BadManifest { file: MANIFEST_NAME, why };
        let manifest = Manifest::parse(&bytes).map_err(bad)?;
        if manifest.version != self.version {
            return Err(bad(format!("it says version {}, its signature {}", manifest.version, self.version)));
        }
        Ok((manifest, comment.sequence, digest))
    }

    /// Holds the folder's listing to the manifest.
    fn check_names(&self, manifest: &Manifest) -> Result<(), Refusal> {
        let mut found = files::names_in(self.dir).map_err(|e| unreadable(self.dir, e))?;
        let listed = manifest.files.iter().map(|entry| entry.name.as_str()).chain([MANIFEST_NAME]);
        for name in listed.flat_map(|name| [name.to_owned(), signature_name(name)]) {
            if !found.remove(&name) {
                return Err(Refusal::MissingFile(name));
            }
        }
        found.pop_first().map_or(Ok(()), |name| Err(Refusal::ExtraFile(name)))
    }

    fn check_entry(&self, entry: &Entry, sequence: u64) -> Result<(), Refusal> {
        let path = self.dir.join(&entry.name);
        let file = File::open(&path).map_err(|e| unreadable(&path, e))?;
        // One byte more than listed is enough to see that the size is wrong: a huge file is not read to its end.
        let (digest, comment) = self.check_signed(&entry.name, file.take(entry.size.saturating_add(1)))?;
        if digest.size != entry.size || digest.sha256 != entry.sha256 {
            return Err(Refusal::BadManifest {
                file: MANIFEST_NAME,
                why: format!("size or hash of {} differ from the signed ones", entry.name),
            });
        }
        if comment.sequence != sequence {
            let file = entry.name.clone();
            return Err(Refusal::WrongSequence { file, found: comment.sequence, wanted: sequence });
        }
        Ok(())
    }

    fn check_sums(&self, manifest: &Manifest) -> Result<(), Refusal> {
        let bad = |why| Refusal::BadManifest { file: SUMS_NAME, why };
        let text = String::from_utf8(read_small_in(self.dir, SUMS_NAME)?).map_err(|e| bad(e.to_string()))?;
        let listed = checksum::parse(&text).map_err(bad)?;
        let entries = manifest.files.iter().filter(|entry| entry.kind != ArtifactKind::Checksums);
        let mut wanted: Vec<_> = entries.map(|entry| (entry.name.clone(), entry.sha256.clone())).collect();
        wanted.sort();
        if listed == wanted { Ok(()) } else { Err(bad(format!("it differs from {MANIFEST_NAME}"))) }
    }

    /// Holds the images of the OCI archive to the manifest, whose digests users compare with what they pull.
    fn check_images(&self, manifest: &Manifest) -> Result<(), Refusal> {
        let bad = |why| Refusal::BadManifest { file: MANIFEST_NAME, why };
        let archive = manifest.files.iter().find(|entry| entry.kind == ArtifactKind::OciArchive);
        let found = archive.map(|entry| oci::images_in_archive(&self.dir.join(&entry.name))).transpose();
        let found = found.map_err(|e| bad(format!("its images cannot be read: {e:#}")))?;
        if found.unwrap_or_default() == manifest.images {
            return Ok(());
        }
        Err(bad("it lists other images than the archive of images has".to_owned()))
    }

    /// Checks content against signature and comment, and the comment against name, product and version.
    ///
    /// The comment is looked at before its signature is: a refusal for a false reason is still a refusal, and "this is
    /// the signature of another file" helps more than "the signature does not fit".
    fn check_signed(&self, name: &str, content: impl Read) -> Result<(Digest, TrustedComment), Refusal> {
        let signature = signature(self.dir, name)?;
        let mut stream = self.key.verify_stream(&signature).map_err(|e| match e {
            MinisignError::UnexpectedKeyId => Refusal::UnknownKey(name.to_owned()),
            _ => Refusal::BadSignature(name.to_owned()),
        })?;
        let comment: TrustedComment =
            signature.trusted_comment().parse().map_err(|_| Refusal::BadComment(name.to_owned()))?;
        self.check_comment(name, &comment)?;
        let digest =
            digest_with(content, |piece| stream.update(piece)).map_err(|e| unreadable(&self.dir.join(name), e))?;
        if digest.sha256 != comment.sha256 {
            return Err(Refusal::ChangedFile(name.to_owned()));
        }
        stream.finalize().map_err(|_| Refusal::BadSignature(name.to_owned()))?;
        Ok((digest, comment))
    }

    fn check_comment(&self, name: &str, comment: &TrustedComment) -> Result<(), Refusal> {
        let file = name.to_owned();
        if comment.product != PRODUCT {
            return Err(Refusal::WrongProduct { file, found: comment.product.clone() });
        }
        if comment.version != self.version {
            return Err(Refusal::WrongVersion {
                file,
                found: comment.version.clone(),
                wanted: self.version.to_owned(),
            });
        }
        if comment.file != name {
            return Err(Refusal::WrongFile { found: file, signed: comment.file.clone() });
        }
        Ok(())
    }
}

fn signature(dir: &Path, name: &str) -> Result<Signature, Refusal> {
    let bytes = read_small_in(dir, &signature_name(name))?;
    let text = String::from_utf8(bytes).map_err(|_| Refusal::BadSignature(name.to_owned()))?;
    Signature::decode(&text).map_err(|_| Refusal::BadSignature(name.to_owned()))
}

/// Reads a file of a folder that is small in every release.
fn read_small_in(dir: &Path, name: &str) -> Result<Vec<u8>, Refusal> {
    let path = dir.join(name);
    read_small(&path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Refusal::MissingFile(name.to_owned()),
        _ => unreadable(&path, e),
    })
}

/// The key of minisign's file with a public key: its second line.
///
/// # Errors
///
/// The file cannot be read or is none.
pub fn read_key(path: &Path) -> Result<String, Refusal> {
    key_line(path, read_small(path).map_err(|e| unreadable(path, e))?)
}

fn key_line(path: &Path, bytes: Vec<u8>) -> Result<String, Refusal> {
    let bad = |why: String| Refusal::BadPublicKey { path: path.to_owned(), why };
    let text = String::from_utf8(bytes).map_err(|e| bad(e.to_string()))?;
    PublicKey::decode(&text).map_err(|e| bad(e.to_string()))?;
    Ok(text.lines().nth(1).unwrap_or_default().to_owned())
}

/// A key of a list, which holds only such as can be used.
fn public_key(text: &str) -> Result<PublicKey, Refusal> {
    PublicKey::from_base64(text).map_err(|e| Refusal::BadKeys { file: KEYS_NAME, why: e.to_string() })
}

fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SMALL_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SMALL_FILE_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_SMALL_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

fn signature_name(name: &str) -> String {
    format!("{name}{SIGNATURE_SUFFIX}")
}

fn unreadable(path: &Path, source: io::Error) -> Refusal {
    Refusal::Unreadable { path: path.to_owned(), source }
}
