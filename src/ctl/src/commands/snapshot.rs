//! `snapshot save`: a member's whole store into a file.
//!
//! The file appears under its name only when it is complete, its checksum holds and it is on the disk. Until then it is
//! `<name>.part` beside it, which is removed if anything fails.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cairn_api::etcdserverpb::SnapshotResponse;
use clap::{ArgMatches, Command};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use tonic::Streaming;

use crate::cli::{args, positional};
use crate::client::Globals;
use crate::failure::{Exit, Failure, say};

/// Length of the checksum that ends a snapshot, in bytes.
const HASH_BYTES: usize = 32;

pub(super) fn command() -> Command {
    Command::new("snapshot")
        .about("Snapshots of a member's store")
        .subcommand(Command::new("save").about("Save a snapshot of the member at the endpoint").arg(positional("FILE")))
}

pub(super) async fn save(globals: &Globals, matches: &ArgMatches) -> Result<(), Failure> {
    let arguments = args(matches);
    let [name] = &arguments[..] else {
        return Err(Failure::bad_args("snapshot save expects one argument"));
    };
    if globals.endpoints.len() > 1 {
        let list = globals.endpoints.join(" ");
        return Err(failure(format!("snapshot must be requested to one selected node, not multiple [{list}]")));
    }
    let path = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name));
    let part = Part::create(&path)?;
    let stream = globals.client()?.snapshot().await.map_err(|error| failure(error.to_string()))?;
    let version = part.fill(stream).await?;
    say(format_args!("Snapshot saved at {}\n", path.display()))?;
    if !version.is_empty() {
        say(format_args!("Server version {version}\n"))?;
    }
    Ok(())
}

fn failure(text: String) -> Failure {
    Failure::new(Exit::Interrupted, text)
}

/// The file while it is incomplete.
struct Part {
    file: File,
    path: PathBuf,
    target: PathBuf,
    complete: bool,
}

impl Part {
    fn create(target: &Path) -> Result<Self, Failure> {
        let mut path = target.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(|error| {
            let shown = path.display();
            failure(format!("could not open {shown} (open {shown}: {})", go_io_text(&error)))
        })?;
        Ok(Self { file, path, target: target.to_owned(), complete: false })
    }

    /// Takes the whole stream, checks it and gives the file its name. Returns the server's storage version.
    async fn fill(mut self, mut stream: Streaming<SnapshotResponse>) -> Result<String, Failure> {
        let bar = progress_bar();
        let mut checksum = TrailingHash::default();
        let mut version = String::new();
        while let Some(chunk) = stream.message().await.map_err(|status| failure(cairn_client::status_text(&status)))? {
            if bar.position() == 0 {
                bar.set_length(chunk.remaining_bytes.saturating_add(chunk.blob.len() as u64));
            }
            bar.inc(chunk.blob.len() as u64);
            checksum.update(&chunk.blob);
            self.file.write_all(&chunk.blob).map_err(|error| self.io("write", &error))?;
            version = chunk.version;
        }
        bar.finish_and_clear();
        if !checksum.holds() {
            return Err(failure(
                "the snapshot does not match the SHA-256 that ends it: nothing was saved, try again".into(),
            ));
        }
        self.publish()?;
        Ok(version)
    }

    fn publish(&mut self) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| self.io("fsync", &error))?;
        std::fs::rename(&self.path, &self.target).map_err(|error| {
            let (from, to) = (self.path.display(), self.target.display());
            failure(format!("could not rename {from} to {to} (rename {from} {to}: {})", go_io_text(&error)))
        })?;
        self.complete = true;
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| self.io("fsync the folder of", &error))
    }

    fn io(&self, action: &str, error: &std::io::Error) -> Failure {
        failure(format!("could not {action} {}: {}", self.path.display(), go_io_text(error)))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.complete {
            // What failed before is reported; a part that stays behind does no harm.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The operating system's text without Rust's number behind it, in lower case as Go has it.
fn go_io_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_ascii_lowercase()
}

/// Shown only where somebody watches.
fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

/// Hashes all of a stream but its last bytes, which are the hash.
#[derive(Default)]
struct TrailingHash {
    hasher: Sha256,
    /// The last bytes so far, at most [`HASH_BYTES`].
    tail: Vec<u8>,
}

impl TrailingHash {
    fn update(&mut self, bytes: &[u8]) {
        let hashed = (self.tail.len() + bytes.len()).saturating_sub(HASH_BYTES);
        let from_tail = hashed.min(self.tail.len());
        let from_bytes = hashed - from_tail;
        self.hasher.update(&self.tail[..from_tail]);
        self.hasher.update(&bytes[..from_bytes]);
        self.tail.drain(..from_tail);
        self.tail.extend_from_slice(&bytes[from_bytes..]);
    }

    fn holds(self) -> bool {
        self.hasher.finalize().as_slice() == self.tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(bytes: &[u8], chunk: usize) -> bool {
        let mut hash = TrailingHash::default();
        bytes.chunks(chunk).for_each(|chunk| hash.update(chunk));
        hash.holds()
    }

    #[test]
    fn the_trailing_hash_is_checked_however_the_stream_is_cut() {
        let mut bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        bytes.extend_from_slice(&Sha256::digest(&bytes));
        for chunk in [1, 7, 31, 32, 33, 500, 2000] {
            assert!(holds(&bytes, chunk), "in chunks of {chunk}");
        }
        bytes[10] ^= 1;
        assert!(!holds(&bytes, 32));
        assert!(!holds(&bytes[..20], 32));
        assert!(!holds(&[], 32));
    }

    #[test]
    fn a_part_that_was_not_completed_is_removed() {
        let target = std::env::temp_dir().join(format!("cairn-ctl-part-{}", std::process::id()));
        let part = Part::create(&target).unwrap();
        let path = part.path.clone();
        assert!(path.exists());
        drop(part);
        assert!(!path.exists() && !target.exists());
    }
}
