//! Gate over any artifact: nothing in it tells where, by whom and on which machine it was built.
//!
//! The search goes into every layer that [`super::layers`] can open, and through member names; a sentence names the
//! place as a path of layers, such as `a.tar.gz > a/bin/server > .rodata`.
//!
//! What is searched must be distinctive, or honest text would be refused: names of users and hosts with fewer than
//! [`MIN_NEEDLE_BYTES`] bytes, and names that half of all machines have (`root`, `builder`, `localhost`, …), are not
//! searched at all, and the others only as whole words. The home folder of such a user is searched as a path all the
//! same. [`Needle`]'s constructors return none for what is not searched, so that a caller can say so.

use std::collections::BTreeMap;

use memchr::memmem;

use super::layers::{self, Kind, Layer, Limits};
use crate::plan::PRODUCT;

/// Fewest bytes of a text that is searched.
pub const MIN_NEEDLE_BYTES: usize = 5;

/// Names of users and hosts that say nothing about a machine, or that occur in our own text; all in lower case.
const COMMON_NAMES: [&str; 16] = [
    PRODUCT,
    "admin",
    "build",
    "builder",
    "buildd",
    "circleci",
    "debian",
    "docker",
    "fedora",
    "github",
    "gitlab",
    "jenkins",
    "localhost",
    "nobody",
    "runner",
    "ubuntu",
];

/// Bytes around a finding that a sentence cites: before and from its beginning.
const CITED_BYTES: (usize, usize) = (16, 64);

/// A text that must not be in an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle {
    /// What it is, for the sentence, such as "the home folder".
    what: String,
    /// The text.
    text: String,
    /// Whether a longer word that contains it is something else.
    whole_word: bool,
}

impl Needle {
    /// A local path, such as the checkout's or the home folder's; none if it is too short to mean anything.
    ///
    /// A path of one component, such as `/root`, is searched with a slash at its end: alone it occurs in foreign text.
    #[must_use]
    pub fn path(what: &str, path: &str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        if path.len() < MIN_NEEDLE_BYTES {
            return None;
        }
        let text = if path.matches('/').count() == 1 { format!("{path}/") } else { path.to_owned() };
        Some(Self { what: what.to_owned(), text, whole_word: false })
    }

    /// The name of a user or host; none if it is too short or too common to mean anything.
    #[must_use]
    pub fn name(what: &str, name: &str) -> Option<Self> {
        let common = COMMON_NAMES.contains(&name.to_ascii_lowercase().as_str());
        (name.len() >= MIN_NEEDLE_BYTES && !common).then(|| Self {
            what: what.to_owned(),
            text: name.to_owned(),
            whole_word: true,
        })
    }
}

/// Nothing of `forbidden` is in the artifact, at whatever depth.
#[must_use]
pub fn leaks(name: &str, bytes: &[u8], forbidden: &[Needle]) -> Vec<String> {
    leaks_within(name, bytes, forbidden, Limits::default())
}

/// [`leaks`] with limits of the caller's; a layer beyond them is a violation.
#[must_use]
pub fn leaks_within(name: &str, bytes: &[u8], forbidden: &[Needle], limits: Limits) -> Vec<String> {
    let finders = forbidden.iter().map(|needle| (needle, memmem::Finder::new(&needle.text))).collect();
    let mut search = Search { finders, budget: limits.unpacked_bytes, max_depth: limits.depth, violations: Vec::new() };
    search.artifact(name, bytes, 0);
    search.violations
}

struct Search<'a> {
    finders: Vec<(&'a Needle, memmem::Finder<'a>)>,
    budget: u64,
    max_depth: usize,
    violations: Vec<String>,
}

/// Where one needle was found at one place: how often, and what stands around the first.
type Findings = BTreeMap<usize, (usize, String)>;

impl Search<'_> {
    fn artifact(&mut self, place: &str, bytes: &[u8], depth: usize) {
        let layer = match layers::open(bytes, &mut self.budget) {
            Ok(Some(layer)) => layer,
            Ok(None) => return self.text(place, &[bytes], &[]),
            Err(why) => {
                self.violations.push(format!("{place}: {why}"));
                return self.text(place, &[bytes], &[]);
            }
        };
        if depth == self.max_depth {
            self.violations
                .push(format!("{place}: has more than {depth} layers within each other; nobody looked further"));
            return;
        }
        let found = self.violations.len();
        if layer.kind != Kind::Stream {
            self.frame(place, bytes, &layer);
        }
        for member in &layer.members {
            let place = if member.name.is_empty() { place.to_owned() } else { format!("{place} > {}", member.name) };
            if member.may_nest {
                self.artifact(&place, &member.bytes, depth + 1);
            } else {
                self.text(&place, &[&member.bytes], &[]);
            }
        }
        // The header of a stream may name a file. Its data often shows what is in the member, which counts once.
        if layer.kind == Kind::Stream && self.violations.len() == found {
            self.frame(place, bytes, &layer);
        }
    }

    /// Searches what is around the members, and their names.
    fn frame(&mut self, place: &str, bytes: &[u8], layer: &Layer<'_>) {
        let frame: Vec<_> = layers::frame(bytes, layer).into_iter().map(|(_, bytes)| bytes).collect();
        // Archives hold paths without the slash at their beginning, and long ones in two parts.
        let names: Vec<_> = layer.members.iter().map(|member| format!("/{}", member.name)).collect();
        self.text(place, &frame, &names);
    }

    fn text(&mut self, place: &str, parts: &[&[u8]], names: &[String]) {
        let mut findings = Findings::new();
        for part in parts {
            self.find(part, &mut findings);
        }
        let mut in_names = Findings::new();
        for name in names {
            self.find(name.as_bytes(), &mut in_names);
        }
        for (index, finding) in in_names {
            findings.entry(index).or_insert(finding);
        }
        for (index, (count, cited)) in findings {
            let Needle { what, text, .. } = self.finders[index].0;
            let often = if count == 1 { String::new() } else { format!(" {count} times") };
            self.violations.push(format!("{place}: has {what}, {text:?},{often} in {cited:?}"));
        }
    }

    fn find(&self, bytes: &[u8], findings: &mut Findings) {
        for (index, (needle, finder)) in self.finders.iter().enumerate() {
            for at in finder.find_iter(bytes) {
                if !needle.whole_word || is_word(bytes, at, needle.text.len()) {
                    findings.entry(index).or_insert_with(|| (0, cited(bytes, at))).0 += 1;
                }
            }
        }
    }
}

fn is_word(bytes: &[u8], at: usize, length: usize) -> bool {
    let of_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte));
    !of_word(at.checked_sub(1).and_then(|before| bytes.get(before))) && !of_word(bytes.get(at + length))
}

/// The line or string around a finding.
fn cited(bytes: &[u8], at: usize) -> String {
    let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    let before = &bytes[at.saturating_sub(CITED_BYTES.0)..at];
    let from = at - before.iter().rev().take_while(|byte| printable(byte)).count();
    let after = &bytes[at..bytes.len().min(at + CITED_BYTES.1)];
    let to = at + after.iter().take_while(|byte| printable(byte)).count();
    String::from_utf8_lossy(&bytes[from..to]).into_owned()
}
