//! Dockerfiles: every image is named by its digest, every download by its checksum, every package by its version.
//!
//! An image may be given from outside where the Dockerfile itself demands a digest: `FROM name@${DIGEST}` with an `ARG`
//! that has no default. System packages are not pinned by version, because the base image's distribution keeps no old
//! ones; what a build took is recorded by the build.

use std::collections::{BTreeMap, BTreeSet};

use super::{commands, names_digest, says_latest};

/// Lints a Dockerfile's text; `file` is its name for the messages.
#[must_use]
pub fn lint(file: &str, text: &str) -> Vec<String> {
    let mut check = Check { file, stages: BTreeSet::new(), defaults: BTreeMap::new(), found: Vec::new() };
    check.parser_directives(text);
    let instructions = instructions(text);
    if !instructions.iter().any(|(_, name, _)| name == "FROM") {
        check.found.push(format!("{file}: no FROM"));
    }
    for (line, name, rest) in &instructions {
        check.instruction(*line, name, rest);
    }
    check.found
}

struct Check<'a> {
    file: &'a str,
    /// Names and numbers of the stages so far.
    stages: BTreeSet<String>,
    /// Arguments before the first stage, with their defaults.
    defaults: BTreeMap<String, Option<String>>,
    found: Vec<String>,
}

impl Check<'_> {
    fn report(&mut self, line: usize, what: impl AsRef<str>) {
        self.found.push(format!("{}:{line}: {}", self.file, what.as_ref()));
    }

    /// `# syntax=IMAGE` fetches the program that reads the rest of the file.
    fn parser_directives(&mut self, text: &str) {
        let comments = text.lines().take_while(|line| line.starts_with('#')).enumerate();
        for (at, line) in comments {
            let directive = line.trim_start_matches('#').split_once('=');
            if let Some((key, image)) = directive
                && key.trim().eq_ignore_ascii_case("syntax")
            {
                self.image(at + 1, "syntax", image.trim());
            }
        }
    }

    fn instruction(&mut self, line: usize, name: &str, rest: &str) {
        match name {
            "ARG" if self.stages.is_empty() => {
                let (argument, default) = rest.split_once('=').map_or((rest, None), |(a, d)| (a, Some(d)));
                self.defaults.insert(argument.trim().to_owned(), default.map(|d| d.trim_matches('"').to_owned()));
            }
            "FROM" => self.from(line, rest),
            "COPY" | "ADD" => {
                if let Some(image) = option(rest, "--from=") {
                    self.image(line, "--from", image);
                }
                if name == "ADD" && rest.contains("://") && option(rest, "--checksum=sha256:").is_none() {
                    self.report(line, "ADD downloads a file without --checksum=sha256:…");
                }
            }
            "RUN" => self.run(line, rest),
            "ONBUILD" => {
                let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                self.instruction(line, &name.to_ascii_uppercase(), rest.trim());
            }
            _ => {}
        }
    }

    fn from(&mut self, line: usize, rest: &str) {
        let mut words = rest.split_whitespace().filter(|word| !word.starts_with("--"));
        if let Some(image) = words.next() {
            self.image(line, "FROM", image);
        }
        let number = self.stages.iter().filter(|stage| stage.bytes().all(|b| b.is_ascii_digit())).count();
        self.stages.insert(number.to_string());
        if let (Some("AS" | "as" | "As"), Some(stage)) = (words.next(), words.next()) {
            self.stages.insert(stage.to_ascii_lowercase());
        }
    }

    fn run(&mut self, line: usize, script: &str) {
        if let Some(mount) = option(script, "--mount=") {
            for image in mount.split(',').filter_map(|part| part.strip_prefix("from=")) {
                self.image(line, "--mount", image);
            }
        }
        for what in commands::unpinned(script) {
            self.report(line, what);
        }
        if commands::downloads_unchecked(script) {
            self.report(line, "it downloads a file and compares no sha256sum");
        }
    }

    fn image(&mut self, line: usize, place: &str, image: &str) {
        let expanded = self.expand(image);
        let given = expanded.split_once('@').is_some_and(|(_, digest)| is_variable(digest));
        let known = expanded == "scratch" || self.stages.contains(&expanded.to_ascii_lowercase());
        if known || names_digest(&expanded) || given {
            return;
        }
        let why =
            if says_latest(&expanded) { "is the latest of some day" } else { "is not named by its sha256 digest" };
        self.report(line, format!("{place}: image {expanded} {why}"));
    }

    /// The reference with the arguments' defaults put in; arguments without one stay.
    fn expand(&self, image: &str) -> String {
        self.defaults.iter().fold(image.to_owned(), |image, (name, default)| match default {
            Some(default) => image.replace(&format!("${{{name}}}"), default).replace(&format!("${name}"), default),
            None => image,
        })
    }
}

/// Whether the text is one variable, perhaps after `sha256:`.
fn is_variable(text: &str) -> bool {
    let text = text.strip_prefix("sha256:").unwrap_or(text);
    let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).or_else(|| text.strip_prefix('$'));
    name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

fn option<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.split_whitespace().find_map(|word| word.strip_prefix(start))
}

/// Number of the first line, upper-case name and rest of each instruction, with continued lines joined.
fn instructions(text: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let (start, mut whole) = open.take().unwrap_or((at + 1, String::new()));
        whole.push_str(line.trim_end().trim_end_matches('\\'));
        if line.trim_end().ends_with('\\') {
            whole.push('\n');
            open = Some((start, whole.replace('\n', " ")));
        } else {
            found.push((start, whole));
        }
    }
    found.extend(open);
    let split = |(line, whole): (usize, String)| {
        let whole = whole.trim();
        let (name, rest) = whole.split_once(char::is_whitespace).unwrap_or((whole, ""));
        (line, name.to_ascii_uppercase(), rest.trim().to_owned())
    };
    found.into_iter().map(split).collect()
}
