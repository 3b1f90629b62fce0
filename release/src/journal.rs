//! The journal of a run: which steps of a plan are done and what they made, so that a killed run goes on where it was.
//!
//! One JSON line per event, appended and synced: a step started, or a step is done with the digests of its outputs. A step
//! counts as done only if its line belongs to the same plan and every output still has the recorded bytes; whatever was
//! cut off, changed or removed is made again. A line that a crash cut short is dropped with everything behind it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::digest::digest_file;
use crate::files;

/// File name of the journal in the output folder.
pub const JOURNAL_NAME: &str = "journal.jsonl";

/// Most files that one step's outputs may have; more means that a step names a wrong folder.
const MAX_OUTPUT_FILES: usize = 100_000;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event", deny_unknown_fields)]
pub enum Event {
    /// A run of this plan begins or goes on.
    Plan {
        /// SHA-256 of the plan as JSON and of what the run adds to it.
        digest: String,
    },
    /// A step started.
    Started {
        /// Its name.
        step: String,
    },
    /// A step is done.
    Done {
        /// Its name.
        step: String,
        /// SHA-256 of each output file, by path below the output folder.
        outputs: BTreeMap<String, String>,
    },
}

/// The journal of one output folder.
#[derive(Debug)]
pub struct Journal {
    file: File,
    out: PathBuf,
    done: BTreeMap<String, BTreeMap<String, String>>,
}

impl Journal {
    /// Opens the journal of an output folder for a plan; what another plan did there counts for nothing.
    ///
    /// # Errors
    ///
    /// The file can be neither read nor written.
    pub fn open(out: &Path, plan_digest: &str) -> Result<Self> {
        files::create_folder(out)?;
        let path = out.join(JOURNAL_NAME);
        let cannot = || format!("cannot open the journal {}", path.display());
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).with_context(cannot)?;
        let text = fs::read(&path).with_context(cannot)?;
        let (events, whole) = read_events(&text);
        let same_plan = events.first() == Some(&Event::Plan { digest: plan_digest.to_owned() });
        let keep = if same_plan { whole } else { 0 };
        file.set_len(keep as u64).with_context(cannot)?;
        file.seek(SeekFrom::End(0)).with_context(cannot)?;
        let mut journal = Self { file, out: out.to_owned(), done: BTreeMap::new() };
        if same_plan {
            for event in events {
                match event {
                    Event::Done { step, outputs } => drop(journal.done.insert(step, outputs)),
                    // A step that was begun again is not done any more.
                    Event::Started { step } => drop(journal.done.remove(&step)),
                    Event::Plan { .. } => {}
                }
            }
        } else {
            journal.append(&Event::Plan { digest: plan_digest.to_owned() })?;
        }
        Ok(journal)
    }

    /// Whether a step is done and its outputs are still what it made.
    #[must_use]
    pub fn is_done(&self, step: &str) -> bool {
        self.done.get(step).is_some_and(|outputs| {
            outputs
                .iter()
                .all(|(path, sha256)| digest_file(&self.out.join(path)).is_ok_and(|digest| digest.sha256 == *sha256))
        })
    }

    /// Notes that a step starts.
    ///
    /// # Errors
    ///
    /// The line cannot be written.
    pub fn started(&mut self, step: &str) -> Result<()> {
        self.done.remove(step);
        self.append(&Event::Started { step: step.to_owned() })
    }

    /// Notes that a step is done, with the digests of all files at or below these paths.
    ///
    /// # Errors
    ///
    /// An output cannot be read, or the line not be written.
    pub fn done(&mut self, step: &str, outputs: &[PathBuf]) -> Result<()> {
        let mut digests = BTreeMap::new();
        for path in outputs {
            for file in files::files_below(path, MAX_OUTPUT_FILES)? {
                let digest = digest_file(&file).with_context(|| format!("cannot read {}", file.display()))?;
                let name = file.strip_prefix(&self.out).unwrap_or(&file).to_string_lossy().into_owned();
                digests.insert(name, digest.sha256);
            }
        }
        self.append(&Event::Done { step: step.to_owned(), outputs: digests.clone() })?;
        self.done.insert(step.to_owned(), digests);
        Ok(())
    }

    fn append(&mut self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_string(event)?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).context("cannot write the journal")?;
        self.file.sync_data().context("cannot sync the journal")
    }
}

/// The events up to the first line that is none, and the bytes that they take.
fn read_events(text: &[u8]) -> (Vec<Event>, usize) {
    let mut events = Vec::new();
    let mut whole = 0;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let Some(event) = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok()) else { break };
        events.push(event);
        whole += line.len();
    }
    (events, whole)
}
