//! A run keeps what is done and unchanged, makes the rest, and says what it did.

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use cairn_release::engine;
use cairn_release::inputs;
use cairn_release::journal::{Digests, JOURNAL_NAME, Journal};
use cairn_release::key_list::KeyList;
use cairn_release::keys;
use cairn_release::plan::Scope;
use cairn_release::rebuild;
use cairn_release::rehearse;
use cairn_release::repository::openpgp;
use cairn_release::repository::published::NOTHING;
use cairn_release::run::{self, Outcome, Step};
use cairn_release::site::{SecretKeys, Site, target_dir_name};
use cairn_release::steps::{MAKE, SEAL};
use cairn_release::toolchain::Toolchain;

use crate::fixture::{VERSION, new_key, plan, plan_within};

fn site(out: &Path) -> Site {
    Site {
        plan: plan(),
        root: out.to_owned(),
        out: out.to_owned(),
        work: out.join("work"),
        given_programs: None,
        given_public_keys: out.to_owned(),
        keys: SecretKeys::in_folder(out),
        published_repositories: NOTHING.to_owned(),
        inventories: RefCell::default(),
    }
}

/// Appends to the file `made`, so that a test sees how often a step ran, and writes the step's own file.
fn make(site: &Site, name: &str) -> Result<String> {
    let mut made = OpenOptions::new().create(true).append(true).open(site.out.join("made"))?;
    write!(made, "{name} ")?;
    fs::write(site.out.join(name), name)?;
    Ok(String::new())
}

const fn step(name: &'static str, outputs: fn(&Site) -> Vec<PathBuf>, act: fn(&Site) -> Result<String>) -> Step {
    Step { name, gates: &[], inputs: |_| Ok(Digests::new()), outputs, act }
}

const ONE: Step = step("one", |site| vec![site.out.join("one")], |site| make(site, "one"));
const TWO: Step = step("two", |site| vec![site.out.join("two")], |site| make(site, "two"));
const THREE: Step = step("three", |site| vec![site.out.join("three")], |site| make(site, "three"));
const BROKEN: Step = step("two", |_| Vec::new(), |_| bail!("no luck"));

/// Runs steps for a plan and returns what came of each.
fn run_for(plan: &str, site: &Site, steps: &[Step]) -> Vec<Outcome> {
    let mut journal = Journal::open(&site.out, plan).unwrap();
    let report = run::run(steps, site, &mut journal, |_| {});
    report.steps.into_iter().map(|step| step.outcome).collect()
}

fn run(out: &Path, steps: &[Step]) -> Vec<Outcome> {
    run_for("a plan", &site(out), steps)
}

fn made(out: &Path) -> String {
    fs::read_to_string(out.join("made")).unwrap()
}

fn passed() -> Outcome {
    Outcome::Passed(String::new())
}

#[test]
fn repositories_are_made_again_when_something_else_was_published_meanwhile() {
    let real = SEAL.iter().find(|step| step.name == "repositories").unwrap();
    let step = Step { outputs: |_| Vec::new(), act: |site| make(site, "repositories"), ..*real };
    let scratch = tempfile::tempdir().unwrap();
    let published = scratch.path().join("site");
    let publish = |path: &str, content: &str| {
        fs::create_dir_all(published.join(path).parent().unwrap()).unwrap();
        fs::write(published.join(path), content).unwrap();
    };
    let seal = |place: &str| {
        let out = scratch.path().join("out");
        fs::create_dir_all(&out).unwrap();
        run_for("a plan", &Site { published_repositories: place.to_owned(), ..site(&out) }, &[step]).remove(0)
    };
    let passed = Outcome::Passed(String::new());
    assert_eq!(seal(NOTHING), passed);
    assert_eq!(seal(NOTHING), Outcome::Kept);
    publish("apt/dists/stable/InRelease", "one");
    publish("yum/repodata/repomd.xml", "one");
    let place = published.display().to_string();
    assert_eq!(seal(&place), passed);
    assert_eq!(seal(&place), Outcome::Kept);
    publish("yum/repodata/repomd.xml", "two");
    assert_eq!(seal(&place), passed);
}

#[test]
fn steps_run_once_and_are_kept_from_then_on() {
    let out = tempfile::tempdir().unwrap();
    assert_eq!(run(out.path(), &[ONE, TWO]), [passed(), passed()]);
    assert_eq!(run(out.path(), &[ONE, TWO]), [Outcome::Kept, Outcome::Kept]);
    assert_eq!(made(out.path()), "one two ");
}

#[test]
fn a_step_whose_output_changed_is_made_again_with_all_after_it() {
    for change in [|path: &Path| fs::write(path, "other").unwrap(), |path: &Path| fs::remove_file(path).unwrap()] {
        let out = tempfile::tempdir().unwrap();
        run(out.path(), &[ONE, TWO, THREE]);
        change(&out.path().join("two"));
        assert_eq!(run(out.path(), &[ONE, TWO, THREE]), [Outcome::Kept, passed(), passed()]);
        assert_eq!(made(out.path()), "one two three two three ");
    }
}

#[test]
fn the_first_failure_ends_the_run_and_the_next_one_goes_on_there() {
    let out = tempfile::tempdir().unwrap();
    let outcomes = run(out.path(), &[ONE, BROKEN, THREE]);
    assert_eq!(outcomes, [passed(), Outcome::Failed("no luck".to_owned()), Outcome::NotRun]);
    assert_eq!(run(out.path(), &[ONE, TWO, THREE]), [Outcome::Kept, passed(), passed()]);
    assert_eq!(made(out.path()), "one two three ");
}

#[test]
fn a_step_that_was_cut_off_is_not_done_wherever_the_journal_was_cut() {
    let out = tempfile::tempdir().unwrap();
    run(out.path(), &[ONE, TWO]);
    let journal = fs::read(out.path().join(JOURNAL_NAME)).unwrap();
    let last = journal[..journal.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    for cut in last..journal.len() {
        fs::write(out.path().join(JOURNAL_NAME), &journal[..cut]).unwrap();
        assert_eq!(run(out.path(), &[ONE, TWO]), [Outcome::Kept, passed()], "cut at {cut}");
    }
}

#[test]
fn what_was_done_for_another_plan_counts_for_nothing() {
    let out = tempfile::tempdir().unwrap();
    run(out.path(), &[ONE]);
    assert_eq!(run_for("another plan", &site(out.path()), &[ONE]), [passed()]);
    assert_eq!(run(out.path(), &[ONE]), [passed()]);
}

#[test]
fn what_came_after_a_step_that_is_made_again_is_made_again_by_a_later_run_too() {
    let out = tempfile::tempdir().unwrap();
    run(out.path(), &[ONE, TWO]);
    run(out.path(), &[THREE]);
    fs::remove_file(out.path().join("one")).unwrap();
    assert_eq!(run(out.path(), &[ONE, TWO]), [passed(), passed()]);
    assert_eq!(run(out.path(), &[THREE]), [passed()]);
}

#[test]
fn other_keys_and_other_programs_are_not_taken_for_those_of_the_run_before() {
    let out = tempfile::tempdir().unwrap();
    let steps: Vec<_> = ["keys", "build"].map(|name| *MAKE.iter().find(|step| step.name == name).unwrap()).to_vec();
    let run = |site: &Site| run_for("a plan", site, &steps).iter().map(|it| *it == Outcome::Kept).collect::<Vec<_>>();
    let [key, other] = ["key", "other key"].map(|name| public_keys(&out.path().join(name)));
    let first = given(&out.path().join("first"), &key, "program");
    let at = |folder: &Path| Site { out: out.path().join("out"), ..folder_site(folder) };
    assert_eq!(run(&at(&first)), [false, false]);
    // Another place with the same content is the same.
    assert_eq!(run(&at(&given(&out.path().join("same"), &key, "program"))), [true, true]);
    assert_eq!(run(&at(&given(&out.path().join("program"), &key, "other"))), [true, false]);
    assert_eq!(run(&at(&given(&out.path().join("others"), &other, "other"))), [false, false]);
}

#[test]
fn signatures_of_another_key_than_the_one_given_are_not_kept() {
    let out = tempfile::tempdir().unwrap();
    let keys = |name: &str| {
        let folder = out.path().join(name);
        fs::create_dir(&folder).unwrap();
        let keys = SecretKeys::in_folder(&folder);
        keys::generate(&keys.minisign, &folder.join("cairn.pub"), None).unwrap();
        openpgp::generate("Somebody <somebody@cairn.example>", 0, &keys.openpgp, &folder.join("cairn.asc"), None)
            .unwrap();
        Site { keys, ..site(out.path()) }
    };
    let (one, other) = (keys("one"), keys("other"));
    for name in ["sign packages", "provenance"] {
        let inputs = SEAL.iter().find(|step| step.name == name).unwrap().inputs;
        assert_eq!(inputs(&one).unwrap(), inputs(&one).unwrap());
        assert_ne!(inputs(&one).unwrap(), inputs(&other).unwrap());
    }
}

/// A folder with the public keys of a release.
fn public_keys(folder: &Path) -> PathBuf {
    fs::create_dir(folder).unwrap();
    let (public, key) = new_key(folder, "cairn");
    let (_, next) = new_key(folder, "next");
    let list = KeyList::begin(&key, &next.public_key()).unwrap();
    write(&folder.join("keys.json"), &list.to_json());
    write(&folder.join("cairn.asc"), &fs::read_to_string(public).unwrap());
    folder.to_owned()
}

/// A folder with these public keys, and with programs of every target of this content.
fn given(folder: &Path, keys: &Path, program: &str) -> PathBuf {
    for name in ["cairn.pub", "cairn.asc", "keys.json"] {
        write(&folder.join(name), &fs::read_to_string(keys.join(name)).unwrap());
    }
    for target in &plan().targets {
        for binary in target.programs() {
            write(&folder.join(&target.name).join(&binary.name), program);
        }
    }
    folder.to_owned()
}

/// A site that is given the keys and the programs in this folder.
fn folder_site(folder: &Path) -> Site {
    Site { given_programs: Some(folder.to_owned()), ..site(folder) }
}

#[test]
fn a_dry_run_of_fetching_says_what_is_missing_and_fetches_nothing() {
    let out = tempfile::tempdir().unwrap();
    let site = native_site(out.path());
    let states = || {
        let said = inputs::preview(&site).unwrap();
        said.lines().map(|line| line.ends_with("  there")).collect::<Vec<_>>()
    };
    assert_eq!(states(), [false, false, false]);
    assert!(!site.work.exists());
    for target in &site.plan.targets {
        write(&inputs::libc_runtime(&site, target).join("version"), "");
    }
    assert_eq!(states(), [false, true, false]);
    write(&inputs::base_root(&site).join("etc/debian_version"), "");
    assert_eq!(states(), [false, true, true]);
}

#[test]
fn a_dry_run_of_rebuilding_says_what_would_be_compared_and_builds_nothing() {
    let out = tempfile::tempdir().unwrap();
    let site = native_site(out.path());
    let native = site.native();
    let said = || rebuild::preview(&site, &[native]).unwrap();
    assert!(said().starts_with(&native.name) && said().contains("`make` comes first"), "{}", said());
    fs::create_dir_all(site.programs(native)).unwrap();
    assert!(said().contains("to compare with"), "{}", said());
    assert!(!site.work.exists());
}

#[test]
fn a_dry_run_of_the_engine_names_its_archives_and_makes_none() {
    let out = tempfile::tempdir().unwrap();
    let site = native_site(out.path());
    let said = engine::preview(&site, &site.out).unwrap();
    assert!(said.starts_with(&site.native().name), "{said}");
    for name in ["librocksdb.a", "libc++.a"] {
        assert!(said.contains(&site.out.join(name).display().to_string()) && !site.out.join(name).exists(), "{said}");
    }
}

/// In one folder, each would compile RocksDB again after the other.
#[test]
fn builds_with_and_without_the_standard_library_share_no_target_folder() {
    let out = tempfile::tempdir().unwrap();
    let site = native_site(out.path());
    let toolchain = site.toolchain(site.native()).unwrap();
    let other = Toolchain { builds_std: !toolchain.builds_std, ..toolchain.clone() };
    assert_ne!(target_dir_name(&toolchain), target_dir_name(&other));
}

#[test]
fn the_table_of_sizes_has_the_files_of_the_release_and_the_folders_beside_it() {
    let out = tempfile::tempdir().unwrap();
    let site = site(out.path());
    assert_eq!(rehearse::sizes(&site), []);
    let first = site.plan.files[0].clone();
    write(&site.dir().join(&first), "12");
    write(&site.layout().join("blobs/some"), "123");
    write(&site.layout().join("index.json"), "1234");
    write(&site.repositories().join("apt/some"), "12345");
    write(&site.bundle().join("some.tar"), "123456");
    let folder = |name: &str, bytes| (name.to_owned(), bytes);
    let folders = [folder("oci/", 7), folder("repositories/", 5), folder("bundle/", 6)];
    assert_eq!(rehearse::sizes(&site), [vec![(first, 2)], folders.to_vec()].concat());
}

/// A site whose one target has a toolchain here.
fn native_site(out: &Path) -> Site {
    Site { plan: plan_within(Scope::of_this_machine(), VERSION, 7), ..site(out) }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
