//! The journal of a run: which steps of a plan are done, from what and with what outputs, so that a killed run goes on
//! where it was.
//!
//! One JSON line per event, appended and synced: a step started, or a step is done with the digests of its inputs and
//! outputs. A step counts as done only if its line belongs to the same plan, no step before it was begun again since, and
//! every output still has the recorded bytes; whatever was cut off, changed or removed is made again. A line that a crash
//! cut short is dropped with everything behind it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read as _, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::digest::digest_file;
use crate::files;

/// File name of the journal in the output folder.
pub const JOURNAL_NAME: &str = "journal.jsonl";

/// Most files that one step's outputs may have; more means that a step names a wrong folder.
const MAX_OUTPUT_FILES: usize = 100_000;

/// Most bytes that a journal's first line may have.
const MAX_FIRST_LINE_BYTES: u64 = 1 << 10;

/// SHA-256 of things, by name.
pub type Digests = BTreeMap<String, String>;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event", deny_unknown_fields)]
pub enum Event {
    /// A run of this plan begins.
    Plan {
        /// SHA-256 of the plan as JSON.
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
        /// What it read besides the plan, the tree and the outputs of earlier steps.
        inputs: Digests,
        /// Its output files, by path below the output folder.
        outputs: Digests,
    },
}

/// What the journal of an output folder says for a plan. Reading it changes nothing.
#[derive(Debug)]
pub struct Progress {
    out: PathBuf,
    /// The steps that are done, in the order in which they were.
    done: Vec<Done>,
}

#[derive(Debug)]
struct Done {
    step: String,
    inputs: Digests,
    outputs: Digests,
}

impl Progress {
    /// Nothing is done.
    #[must_use]
    pub fn none(out: &Path) -> Self {
        Self { out: out.to_owned(), done: Vec::new() }
    }

    /// Reads what is done in an output folder for a plan; what another plan did there counts for nothing.
    ///
    /// # Errors
    ///
    /// There is a journal and it cannot be read.
    pub fn read(out: &Path, plan_digest: &str) -> Result<Self> {
        Ok(read(out, plan_digest)?.0)
    }

    /// Whether a step is done and its outputs are still what it made.
    #[must_use]
    pub fn is_done(&self, step: &str) -> bool {
        self.find(step).is_some_and(|done| self.is_unchanged(done))
    }

    /// Whether a step is done from these inputs and its outputs are still what it made.
    #[must_use]
    pub fn is_done_from(&self, step: &str, inputs: &Digests) -> bool {
        self.find(step).is_some_and(|done| done.inputs == *inputs && self.is_unchanged(done))
    }

    fn find(&self, step: &str) -> Option<&Done> {
        self.done.iter().find(|done| done.step == step)
    }

    fn is_unchanged(&self, done: &Done) -> bool {
        let mut outputs = done.outputs.iter();
        outputs.all(|(path, sha256)| digest_file(&self.out.join(path)).is_ok_and(|digest| digest.sha256 == *sha256))
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Done { step, inputs, outputs } => self.done.push(Done { step, inputs, outputs }),
            // A step that was begun again is not done any more, and neither is what came after it and may have read it.
            Event::Started { step } => {
                let from = self.done.iter().position(|done| done.step == step);
                self.done.truncate(from.unwrap_or(self.done.len()));
            }
            Event::Plan { .. } => {}
        }
    }
}

/// The journal of one output folder.
#[derive(Debug)]
pub struct Journal {
    file: File,
    progress: Progress,
}

impl Journal {
    /// Opens the journal of an output folder for a plan, to go on with it; what another plan did there is forgotten.
    ///
    /// # Errors
    ///
    /// The file can be neither read nor written.
    pub fn open(out: &Path, plan_digest: &str) -> Result<Self> {
        files::create_folder(out)?;
        let (progress, whole) = read(out, plan_digest)?;
        let path = out.join(JOURNAL_NAME);
        let cannot = || format!("cannot open the journal {}", path.display());
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).with_context(cannot)?;
        file.set_len(whole as u64).with_context(cannot)?;
        file.seek(SeekFrom::End(0)).with_context(cannot)?;
        let mut journal = Self { file, progress };
        if whole == 0 {
            journal.append(Event::Plan { digest: plan_digest.to_owned() })?;
        }
        Ok(journal)
    }

    /// What is done.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Notes that a step starts.
    ///
    /// # Errors
    ///
    /// The line cannot be written.
    pub fn started(&mut self, step: &str) -> Result<()> {
        self.append(Event::Started { step: step.to_owned() })
    }

    /// Notes that a step is done from these inputs, with the digests of all files at or below these paths.
    ///
    /// # Errors
    ///
    /// An output cannot be read, or the line not be written.
    pub fn done(&mut self, step: &str, inputs: Digests, outputs: &[PathBuf]) -> Result<()> {
        let mut digests = Digests::new();
        for path in outputs {
            for file in files::files_below(path, MAX_OUTPUT_FILES)? {
                let digest = digest_file(&file).with_context(|| format!("cannot read {}", file.display()))?;
                let name = file.strip_prefix(&self.progress.out).unwrap_or(&file).to_string_lossy().into_owned();
                digests.insert(name, digest.sha256);
            }
        }
        self.append(Event::Done { step: step.to_owned(), inputs, outputs: digests })
    }

    fn append(&mut self, event: Event) -> Result<()> {
        let mut line = serde_json::to_string(&event)?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).context("cannot write the journal")?;
        self.file.sync_data().context("cannot sync the journal")?;
        self.progress.note(event);
        Ok(())
    }
}

/// Whether runs keep their journal in this folder, of whatever plan.
///
/// # Errors
///
/// There is a file with the journal's name and it cannot be read.
pub fn is_in(out: &Path) -> Result<bool> {
    let path = out.join(JOURNAL_NAME);
    let cannot = || format!("cannot read the journal {}", path.display());
    let file = match File::open(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        file => file.with_context(cannot)?,
    };
    let mut line = Vec::new();
    BufReader::new(file.take(MAX_FIRST_LINE_BYTES)).read_until(b'\n', &mut line).with_context(cannot)?;
    Ok(matches!(serde_json::from_slice(&line), Ok(Event::Plan { .. })))
}

/// What the journal says for a plan, and the bytes that its whole lines take; none if it is another plan's or not there.
fn read(out: &Path, plan_digest: &str) -> Result<(Progress, usize)> {
    let mut progress = Progress::none(out);
    let path = out.join(JOURNAL_NAME);
    let text = match fs::read(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok((progress, 0)),
        text => text.with_context(|| format!("cannot read the journal {}", path.display()))?,
    };
    let (events, whole) = read_events(&text);
    if events.first() != Some(&Event::Plan { digest: plan_digest.to_owned() }) {
        return Ok((progress, 0));
    }
    events.into_iter().for_each(|event| progress.note(event));
    Ok((progress, whole))
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
