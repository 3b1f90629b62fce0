//! What can prevent a release from being published or audited, with an exit code for each kind.

use std::io;
use std::path::PathBuf;

use crate::verify::Refusal;

/// Why a release was not published, or why what is published is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Other bytes stand under this name already.
    #[error("{target} has {file} already with other bytes ({found}, ours {ours}); publish under a new version")]
    Conflict {
        /// The target.
        target: String,
        /// The file, as the target names it.
        file: String,
        /// Hash or size of what is there.
        found: String,
        /// Hash or size of what should be published.
        ours: String,
    },
    /// No answer was had, though it was tried again where that is harmless.
    #[error("no answer to {request}: {why}; run the command again, it goes on where it stopped")]
    Unreachable {
        /// Method and address, without secrets.
        request: String,
        /// What went wrong last.
        why: String,
    },
    /// The release folder is not a whole, signed release.
    #[error("nothing was published or accepted: the release does not verify")]
    NotVerified(#[source] Refusal),
    /// A published version is not whole, or what was sent reads back otherwise.
    #[error("{target}: {file} {why}; do not announce the version, find out who changed it")]
    Damaged {
        /// The target.
        target: String,
        /// The file, as the target names it.
        file: String,
        /// What is wrong, as a phrase.
        why: String,
    },
    /// The target does not accept our credentials.
    #[error("{request} was refused with status {status}; set {hint}")]
    Denied {
        /// Method and address, without secrets.
        request: String,
        /// The HTTP status.
        status: u16,
        /// Environment variables that give credentials to this kind of target.
        hint: &'static str,
    },
    /// An answer that the protocol does not have.
    #[error("{request} was answered in a way that this program does not know: {why}")]
    Answer {
        /// Method and address, without secrets.
        request: String,
        /// Status or defect of the answer.
        why: String,
    },
    /// A file on this machine cannot be read or written.
    #[error("{path}: cannot be read or written")]
    Local {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What should be published contradicts itself.
    #[error("{what}: {why}")]
    Input {
        /// The file or value.
        what: String,
        /// What is wrong, as a phrase.
        why: String,
    },
    /// The order of releases would not be kept.
    #[error("{file}: {why}; release numbers and versions only grow together")]
    Order {
        /// The index.
        file: String,
        /// What is wrong, as a phrase.
        why: String,
    },
    /// The published repository would lose packages, or its index go back in time.
    #[error("{tree}: {why}; seal the release again, or renew, with what is published now")]
    Indexes {
        /// The folder that was to be published.
        tree: String,
        /// What it lacks, as a phrase.
        why: String,
    },
    /// Clients will soon refuse a published package index.
    #[error("{file} is valid until {until} only; renew it: see `cairn-release renew`")]
    Expires {
        /// The index.
        file: String,
        /// Its last moment.
        until: String,
    },
    /// What is published differs from the local release or from the index.
    #[error("{file}: {why}")]
    Differs {
        /// The first file that differs.
        file: String,
        /// What differs, as a phrase.
        why: String,
    },
}

impl Error {
    /// Exit code of the program; see [`EXIT_CODES_HELP`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Conflict { .. } => 30,
            Self::Unreachable { .. } => 31,
            Self::NotVerified(_) => 32,
            Self::Damaged { .. } => 33,
            Self::Denied { .. } => 34,
            Self::Answer { .. } => 35,
            Self::Local { .. } => 36,
            Self::Input { .. } => 37,
            Self::Order { .. } => 38,
            Self::Differs { .. } => 39,
            Self::Indexes { .. } => 40,
            Self::Expires { .. } => 41,
        }
    }
}

/// The table of exit codes, for `--help`.
pub const EXIT_CODES_HELP: &str = "\
Exit codes of publish, renew and audit:
   0  done, or done already
   1  other failure                    2  wrong usage
  30  published with other bytes       31  target does not answer
  32  the release does not verify      33  published version damaged
  34  credentials refused              35  answer not understood
  36  local file cannot be read        37  input contradicts itself
  38  order of releases broken         39  published files differ
  40  package index would lose some    41  package index expires soon";
