//! The commands that execute the plan: what a dry run leaves as it was, what is made and sealed, which folders are refused.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_release::files::files_below;
use cairn_release::inputs;
use cairn_release::journal::{Digests, JOURNAL_NAME, Journal};
use cairn_release::manifest::SUMS_NAME;
use cairn_release::plan::{ArtifactKind, Scope};
use cairn_release::repository::published::NOTHING;
use cairn_release::run::Step;
use cairn_release::site::{SecretKeys, Site};
use cairn_release::steps::{self, MAKE, SEAL};
use tempfile::TempDir;

use crate::fixture::{EPOCH, Release, VERSION, plan, plan_within, source_tree};

/// A plan of which no test is.
const ANOTHER_PLAN: &str = "the digest of another plan";

/// The files of public keys that a release is made with.
const PUBLIC_KEYS: [&str; 3] = ["cairn.pub", "cairn.asc", "keys.json"];

/// A source tree that is no checkout, and an output folder that is not there yet.
struct Place {
    scratch: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { scratch: tempfile::tempdir().unwrap() };
        let root = place.root();
        fs::create_dir_all(root.join("release")).unwrap();
        fs::write(root.join("Cargo.toml"), format!("[workspace]\n[workspace.package]\nversion = \"{VERSION}\"\n"))
            .unwrap();
        fs::write(root.join("Cargo.lock"), "").unwrap();
        fs::write(root.join("release/release.toml"), "sequence = 7\n").unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("tree")
    }

    fn out(&self) -> PathBuf {
        self.scratch.path().join("out")
    }

    /// The site that the commands make of it.
    fn site(&self) -> Site {
        let mut plan = plan_within(Scope::of_this_machine(), VERSION, 7);
        (plan.commit, plan.tree) = (None, None);
        Site {
            plan,
            root: self.root(),
            out: self.out(),
            work: self.scratch.path().join("work"),
            given_programs: None,
            given_public_keys: self.root().join("packaging/keys"),
            keys: SecretKeys::in_folder(&self.out()),
            published_repositories: NOTHING.to_owned(),
            inventories: RefCell::default(),
        }
    }

    fn command(&self, command: &str) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
        program.arg(command).arg("--fast").arg("--root").arg(self.root()).arg("--out").arg(self.out());
        program.arg("--work").arg(self.site().work).env("SOURCE_DATE_EPOCH", EPOCH.to_string());
        if command == "seal" {
            program.args(["--minisign-key", "minisign.key", "--openpgp-key", "openpgp.asc", "--repositories", NOTHING]);
        }
        program
    }

    /// Runs a command that ends well; what it printed.
    fn said(&self, command: &str, more: &[&str]) -> String {
        let output = self.command(command).args(more).output().unwrap();
        assert!(output.status.success(), "{command} {more:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that is refused; the reason.
    fn refused(&self, command: &str, more: &[&str]) -> String {
        let output = self.command(command).args(more).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command} {more:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Writes a file of the output folder.
    fn write(&self, name: &str) {
        write(&self.out().join(name));
    }

    fn write_public_keys(&self) {
        for name in PUBLIC_KEYS {
            write(&self.site().given_public_keys.join(name));
        }
    }

    /// Every file, with its content.
    fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = files_below(self.scratch.path(), 1000).unwrap();
        files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// Makes a journal in which these steps are done from their inputs here, without outputs.
    fn done(&self, steps: &[Step]) {
        let mut journal = steps::open_journal(&self.site()).unwrap();
        for step in steps {
            journal.started(step.name).unwrap();
            journal.done(step.name, (step.inputs)(&self.site()).unwrap_or_default(), &[]).unwrap();
        }
    }
}

/// Writes a file with its name in it.
fn write(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
}

/// The lines of a dry run: for each step, whether it is kept.
fn kept(said: &str) -> Vec<bool> {
    let states = said.lines().map(|line| match (line.ends_with("  kept"), line.ends_with("  would run")) {
        (true, false) => true,
        (false, true) => false,
        _ => panic!("neither kept nor to run: {line}"),
    });
    states.collect()
}

#[test]
fn a_dry_run_lists_every_step_and_changes_nothing() {
    for command in [&["make"][..], &["rehearse"], &["rehearse", "--anew"]] {
        let place = Place::new();
        let dry_run = || {
            let before = place.snapshot();
            let said = place.said(command[0], &[&command[1..], &["--dry-run"]].concat());
            assert_eq!(place.snapshot(), before, "{command:?}");
            assert!(MAKE.iter().zip(said.lines()).all(|(step, line)| line.starts_with(step.name)), "{said}");
            said
        };
        assert!(!kept(&dry_run()).contains(&true));
        assert!(!place.out().exists());
        // What is done for another plan stays as it is.
        drop(Journal::open(&place.out(), ANOTHER_PLAN).unwrap());
        place.write("made");
        assert!(!kept(&dry_run()).contains(&true));
    }
}

#[test]
fn a_dry_run_knows_what_is_done_unless_the_run_would_forget_it() {
    let place = Place::new();
    place.write_public_keys();
    place.done(&MAKE[..2]);
    for name in PUBLIC_KEYS {
        write(&place.out().join("throwaway-keys/public").join(name));
    }
    for command in ["make", "rehearse"] {
        let states = kept(&place.said(command, &["--dry-run"]));
        assert_eq!((&states[..2], states[2..].contains(&true)), (&[true, true][..], false), "{command}");
    }
    assert!(!kept(&place.said("rehearse", &["--dry-run", "--anew"])).contains(&true));
}

#[test]
fn a_dry_run_of_sealing_lists_every_step_and_changes_nothing() {
    let place = Place::new();
    place.done(MAKE);
    let before = place.snapshot();
    let said = place.said("seal", &["--dry-run"]);
    assert_eq!(place.snapshot(), before);
    assert!(SEAL.iter().zip(said.lines()).all(|(step, line)| line.starts_with(step.name)), "{said}");
    assert_eq!(kept(&said), vec![false; SEAL.len()]);
}

#[test]
fn nothing_is_sealed_before_every_step_of_make_is_done() {
    for (done, step) in MAKE.iter().enumerate() {
        let place = Place::new();
        place.done(&MAKE[..done]);
        // The next one was begun, and its gate is red.
        steps::open_journal(&place.site()).unwrap().started(step.name).unwrap();
        let before = place.snapshot();
        for more in [&[][..], &["--dry-run"]] {
            let said = place.refused("seal", more);
            assert!(said.contains(&format!("the step {:?} of `make` is not done", step.name)), "{said}");
        }
        assert_eq!(place.snapshot(), before);
    }
}

#[test]
fn nothing_is_sealed_that_was_made_for_another_plan_or_changed_since() {
    let place = Place::new();
    drop(Journal::open(&place.out(), ANOTHER_PLAN).unwrap());
    let before = place.snapshot();
    assert!(place.refused("seal", &[]).contains("the step \"keys\" of `make` is not done"));
    assert_eq!(place.snapshot(), before);

    let place = Place::new();
    place.done(MAKE);
    place.write("made");
    let last = MAKE.last().unwrap().name;
    let mut journal = steps::open_journal(&place.site()).unwrap();
    journal.started(last).unwrap();
    journal.done(last, Digests::new(), &[place.out().join("made")]).unwrap();
    place.said("seal", &["--dry-run"]);
    fs::write(place.out().join("made"), "changed").unwrap();
    assert!(place.refused("seal", &["--dry-run"]).contains(last));
}

#[test]
fn an_output_folder_with_files_of_others_is_refused_and_left_alone() {
    let place = Place::new();
    place.write("diary");
    let before = place.snapshot();
    for command in
        [&["make"][..], &["seal"], &["rehearse"], &["rehearse", "--anew"], &["rehearse", "--anew", "--dry-run"]]
    {
        let said = place.refused(command[0], &command[1..]);
        assert!(said.contains("files of others, such as diary"), "{said}");
        assert_eq!(place.snapshot(), before, "{command:?}");
    }
    // A file that only has the journal's name makes no difference.
    place.write(JOURNAL_NAME);
    assert!(place.refused("rehearse", &["--anew"]).contains("such as diary"));
}

#[test]
fn an_output_folder_is_ours_by_its_journal_or_while_it_has_only_what_was_fetched() {
    let place = Place::new();
    let ours = |work: &Path| steps::ensure_ours(&Site { work: work.to_owned(), ..place.site() }).is_ok();
    let (inside, elsewhere) = (place.out().join("work"), place.scratch.path().join("work"));
    assert!(ours(&elsewhere));
    fs::create_dir_all(&inside).unwrap();
    assert!(ours(&inside) && !ours(&elsewhere));
    // A run that was killed while it began its journal.
    fs::write(place.out().join(JOURNAL_NAME), "{\"event\":\"pl").unwrap();
    assert!(ours(&inside) && !ours(&elsewhere));
    fs::remove_file(place.out().join(JOURNAL_NAME)).unwrap();
    place.write("made");
    assert!(!ours(&inside));
    drop(Journal::open(&place.out(), ANOTHER_PLAN).unwrap());
    assert!(ours(&elsewhere));
}

#[test]
fn what_another_toolchain_made_is_not_kept() {
    let place = Place::new();
    let site = place.site();
    place.write_public_keys();
    for target in site.plan.image_targets() {
        for name in ["version", "sha256"] {
            write(&inputs::libc_runtime(&site, target).join(name));
        }
    }
    let materials = MAKE.iter().find(|step| step.name == "materials").unwrap();
    let inputs = (materials.inputs)(&site).unwrap();
    for file in ["bin/rustc", "librustc_driver", "bin/cargo", "libstd-"] {
        assert!(inputs.keys().any(|name| name.contains(file)), "{file} may change unseen: {:?}", inputs.keys());
    }
    place.done(MAKE);
    assert!(!kept(&place.said("make", &["--dry-run"])).contains(&false));

    let zig = place.scratch.path().join("bin/zig");
    fs::create_dir_all(zig.parent().unwrap()).unwrap();
    fs::write(&zig, "#!/bin/sh\necho another\n").unwrap();
    fs::set_permissions(&zig, fs::Permissions::from_mode(0o755)).unwrap();
    let inherited = env::var_os("PATH").unwrap_or_default();
    let folders = [zig.parent().unwrap().to_owned()].into_iter().chain(env::split_paths(&inherited));
    let output =
        place.command("make").arg("--dry-run").env("PATH", env::join_paths(folders).unwrap()).output().unwrap();
    let states = kept(&String::from_utf8(output.stdout).unwrap());
    for (step, kept) in MAKE.iter().zip(states) {
        assert_eq!(kept, ["keys", "check the tree"].contains(&step.name), "{}", step.name);
    }
}

#[test]
fn make_leaves_every_artifact_but_those_that_need_a_secret_key() {
    let site = Site { plan: plan_within(Scope::Full, VERSION, 7), ..Place::new().site() };
    let made: BTreeSet<_> = MAKE.iter().flat_map(|step| (step.outputs)(&site)).collect();
    for artifact in &site.plan.artifacts {
        let needs_key = matches!(artifact.kind, ArtifactKind::Rpm | ArtifactKind::Provenance);
        assert_eq!(made.contains(&site.path_of(artifact)), !needs_key, "{}", artifact.name);
    }
    assert!(made.contains(&site.unsigned()));
}

#[test]
fn what_was_made_again_is_compared_by_the_published_sums_as_documented() {
    let command = "sha256sum --check --ignore-missing SHA256SUMS";
    let docs = fs::read_to_string(source_tree().join("docs/RELEASING.md")).unwrap();
    assert!(docs.contains(&format!("cd dist/cairn-VERSION && {command}\n")));
    let made = Release::unsigned(plan());
    // Published is also what only sealing makes.
    let sums = fs::read_to_string(made.file(SUMS_NAME)).unwrap();
    fs::write(made.file(SUMS_NAME), format!("{sums}{}  some.rpm\n", "0".repeat(64))).unwrap();
    let fits = || Command::new("sh").args(["-c", command]).current_dir(&made.dir).output().unwrap().status.success();
    assert!(fits());
    fs::write(made.file(&made.archive()), "other bytes").unwrap();
    assert!(!fits());
}
