//! GitHub workflows: nothing unpinned, no rights by default, a limit on everything, and steps that only call the tool.
//!
//! The rule for `run` is short enough to know by heart: each line is one command without shell syntax; it calls
//! `./dev`, `.ci/run` or `cairn-release`, or is one of at most three lines of `git` or `apt-get` that make the tool
//! runnable. Values come in through `env`, never through `${{ }}` in the text of a command.

use yaml_rust2::{Yaml, YamlLoader};

use super::{commands, is_commit, names_digest, says_latest};

/// Events that run with the repository's rights on what a stranger sent.
const DANGEROUS_EVENTS: [&str; 3] = ["issue_comment", "pull_request_target", "workflow_run"];

/// The secret that every job has anyway; its rights are the job's `permissions`.
const OWN_TOKEN: &str = "secrets.GITHUB_TOKEN";

/// Lints a workflow's text; `file` is its path for the messages. A file named `release…` must use no caches.
#[must_use]
pub fn lint(file: &str, text: &str) -> Vec<String> {
    let documents = match YamlLoader::load_from_str(text) {
        Ok(documents) => documents,
        Err(e) => return vec![format!("{file}: not YAML: {e}")],
    };
    let [document @ Yaml::Hash(_)] = documents.as_slice() else {
        return vec![format!("{file}: not one YAML mapping")];
    };
    let stem = file.rsplit('/').next().unwrap_or(file);
    let mut check = Check { file, text, releases: stem.starts_with("release"), found: Vec::new() };
    check.top(document);
    for (name, job) in pairs(&document["jobs"]) {
        check.job(name, job);
    }
    check.found
}

/// The commands that a workflow's steps run, in order; empty if it is no workflow.
#[must_use]
pub fn calls(text: &str) -> Vec<String> {
    let documents = YamlLoader::load_from_str(text).unwrap_or_default();
    let jobs = documents.iter().flat_map(|document| pairs(&document["jobs"]));
    let steps = jobs.flat_map(|(_, job)| items(&job["steps"]));
    steps.filter_map(|step| step["run"].as_str()).flat_map(commands::lines).collect()
}

struct Check<'a> {
    file: &'a str,
    text: &'a str,
    /// Whether the workflow makes what users download.
    releases: bool,
    found: Vec<String>,
}

impl Check<'_> {
    fn report(&mut self, place: &str, what: impl AsRef<str>) {
        let place = if place.is_empty() { String::new() } else { format!(" {place}:") };
        self.found.push(format!("{}:{place} {}", self.file, what.as_ref()));
    }

    fn top(&mut self, document: &Yaml) {
        if pairs(&document["permissions"]).next().is_some() || document["permissions"].as_hash().is_none() {
            self.report("", "top-level permissions are not {}; give each job its own");
        }
        if document["concurrency"].is_badvalue() {
            self.report("", "no concurrency group");
        }
        for event in events(&document["on"]).filter(|event| DANGEROUS_EVENTS.contains(event)) {
            self.report("", format!("it runs on {event}, with the repository's rights on what a stranger sent"));
        }
        for (key, value) in pairs(&document["env"]) {
            if value.as_str().is_some_and(|value| value.contains("secrets.")) {
                self.report("", format!("env {key} gives a secret to every step"));
            }
        }
    }

    fn job(&mut self, name: &str, job: &Yaml) {
        let place = format!("job {name}");
        if job["permissions"].as_hash().is_none() {
            self.report(&place, "no permissions of its own");
        }
        if let Some(workflow) = job["uses"].as_str() {
            self.action(&place, workflow);
        } else if job["timeout-minutes"].as_i64().is_none() {
            self.report(&place, "no timeout-minutes");
        }
        if is_mighty(job) && job["environment"].is_badvalue() {
            self.report(&place, "it can write or reads a secret and has no environment, so nobody else approves it");
        }
        let services = pairs(&job["services"]).map(|(_, service)| service);
        for image in services.chain([&job["container"]]).filter_map(image_of) {
            if !names_digest(image) {
                self.report(&place, format!("image {image} is not named by its sha256 digest"));
            }
        }
        for text in
            [&job["runs-on"], &job["strategy"], &job["container"], &job["services"]].into_iter().flat_map(scalars)
        {
            if says_latest(text) {
                self.report(&place, format!("{text} is another thing tomorrow; name a version"));
            }
        }
        for (at, step) in items(&job["steps"]).enumerate() {
            self.step(&format!("{place}, step {}", at + 1), step);
        }
    }

    fn step(&mut self, place: &str, step: &Yaml) {
        if let Some(script) = step["run"].as_str() {
            self.run(place, script);
        }
        let Some(action) = step["uses"].as_str() else { return };
        self.action(place, action);
        let with = &step["with"];
        if action.starts_with("actions/checkout@") && with["persist-credentials"].as_bool() != Some(false) {
            self.report(place, "actions/checkout without persist-credentials: false leaves the token in the checkout");
        }
        let caches = action.to_ascii_lowercase().contains("cache")
            || pairs(with).any(|(key, value)| key.contains("cache") && value.as_bool() != Some(false));
        if self.releases && caches {
            self.report(place, "a release uses no cache: whoever fills it decides what is released");
        }
        for text in scalars(with).into_iter().filter(|text| says_latest(text)) {
            self.report(place, format!("{text} is another thing tomorrow; name a version"));
        }
    }

    fn run(&mut self, place: &str, script: &str) {
        if script.contains("${{") {
            self.report(place, "${{ }} in a command becomes part of the program; pass the value through env");
        }
        let found = commands::unpinned(script).into_iter().chain(commands::foreign(script));
        for what in found {
            self.report(place, what);
        }
        if says_latest(script) {
            self.report(place, "it asks for the latest of something; name a version");
        }
    }

    /// An action or a workflow that is called.
    fn action(&mut self, place: &str, action: &str) {
        if let Some(image) = action.strip_prefix("docker://") {
            if !names_digest(image) {
                self.report(place, format!("image {image} is not named by its sha256 digest"));
            }
            return;
        }
        if action.starts_with("./") {
            return;
        }
        if !action.rsplit_once('@').is_some_and(|(name, hash)| name.contains('/') && is_commit(hash)) {
            self.report(place, format!("{action} is not pinned by the full hash of a commit"));
        } else if !self.text.lines().any(|line| line.split_once(action).is_some_and(|(_, rest)| names_version(rest))) {
            self.report(place, format!("{action} has no comment that names its version, as in \"# v1.2.3\""));
        }
    }
}

/// Whether the rest of a line is a comment that begins with a version.
fn names_version(rest: &str) -> bool {
    let comment = rest.trim_start().strip_prefix('#').map(str::trim_start).and_then(|text| text.strip_prefix('v'));
    comment.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether a job may write somewhere, or is given a secret.
fn is_mighty(job: &Yaml) -> bool {
    let writes = pairs(&job["permissions"]).any(|(_, right)| right.as_str() == Some("write"));
    let secrets = scalars(job).into_iter().any(|text| text.replace(OWN_TOKEN, "").contains("secrets."));
    writes || secrets || job["secrets"].as_str() == Some("inherit")
}

fn events(on: &Yaml) -> impl Iterator<Item = &str> {
    pairs(on).map(|(event, _)| event).chain(items(on).filter_map(Yaml::as_str)).chain(on.as_str())
}

fn image_of(container: &Yaml) -> Option<&str> {
    container.as_str().or_else(|| container["image"].as_str())
}

fn pairs(yaml: &Yaml) -> impl Iterator<Item = (&str, &Yaml)> {
    yaml.as_hash().into_iter().flatten().filter_map(|(key, value)| Some((key.as_str()?, value)))
}

fn items(yaml: &Yaml) -> impl Iterator<Item = &Yaml> {
    yaml.as_vec().into_iter().flatten()
}

/// Every string in a value, at any depth.
fn scalars(yaml: &Yaml) -> Vec<&str> {
    match yaml {
        Yaml::String(text) => vec![text],
        Yaml::Array(list) => list.iter().flat_map(scalars).collect(),
        Yaml::Hash(map) => map.values().flat_map(scalars).collect(),
        _ => Vec::new(),
    }
}
