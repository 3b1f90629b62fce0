//! The archive holds what it should, in one form.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cairn_release::archive;
use cairn_release::plan::Plan;
use cairn_release::tarball::{self, Entries, Entry};
use flate2::read::GzDecoder;

use crate::fixture::{EPOCH, Release, VERSION, make_archive, make_program, make_programs, plan, with_parts};

/// Packages programs from `bin_dir` and returns the error's whole chain.
fn refusal(plan: &Plan, bin_dir: &Path, dir: &Path) -> String {
    let error = make_archive(plan, bin_dir, dir).unwrap_err();
    assert!(!dir.join(&plan.artifacts[0].name).exists(), "a refused archive must not be left behind");
    format!("{error:#}")
}

#[test]
fn two_runs_give_the_same_bytes() {
    let plan = plan();
    let bytes = [0, 1].map(|_| {
        let scratch = tempfile::tempdir().unwrap();
        let (bin, dir) = (scratch.path().join("bin"), scratch.path().join("out"));
        make_programs(&bin, VERSION);
        make_archive(&plan, &bin, &dir).unwrap();
        fs::read(dir.join(&plan.artifacts[0].name)).unwrap()
    });
    assert!(bytes[0] == bytes[1], "the archives differ");
}

#[test]
fn the_archive_holds_programs_docs_licence_and_sample_under_one_folder() {
    let release = Release::unsigned(plan());
    let names: Vec<_> = entries(&release).into_keys().collect();
    let expected = include_str!("archive.txt").lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names, expected);
}

#[test]
fn entries_are_sorted_and_carry_no_trace_of_the_machine() {
    let release = Release::unsigned(plan());
    let mut previous = String::new();
    let mut folders_are_over = false;
    for (name, header) in in_order(&release) {
        let is_folder = header.entry_type().is_dir();
        assert!(!(is_folder && folders_are_over), "{name}: folders come first");
        if !is_folder && !folders_are_over {
            folders_are_over = true;
            previous.clear();
        }
        assert!(previous < name, "{name} comes after {previous}");
        previous = name.clone();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0), "{name}");
        assert_eq!(header.mtime().unwrap(), EPOCH, "{name}");
        assert_eq!(header.username().unwrap().unwrap_or_default(), "", "{name}");
        let mode = if is_folder || name.contains("/bin/") { 0o755 } else { 0o644 };
        assert_eq!(header.mode().unwrap(), mode, "{name}");
    }
}

#[test]
fn gzip_s_header_carries_neither_time_nor_name() {
    let release = Release::unsigned(plan());
    let bytes = fs::read(release.file(&release.archive())).unwrap();
    assert_eq!(bytes[3], 0, "flags: no name, no comment");
    assert_eq!(bytes[4..8], [0; 4], "time");
}

#[test]
fn a_program_of_another_version_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    make_programs(scratch.path(), VERSION);
    for other in ["1.2.4", "11.2.3", "1.2.3-dev", "1.2.30"] {
        make_program(scratch.path(), "cairnutl", other, "");
        let error = refusal(&plan(), scratch.path(), &scratch.path().join("out"));
        assert!(error.contains("cairnutl --version says") && error.contains(other), "{error}");
    }
}

#[test]
fn a_missing_program_is_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    make_programs(scratch.path(), VERSION);
    fs::remove_file(scratch.path().join("cairnctl")).unwrap();
    let error = refusal(&plan(), scratch.path(), &scratch.path().join("out"));
    assert!(error.contains("cairnctl"), "{error}");
}

#[test]
fn a_program_without_man_page_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    make_programs(scratch.path(), VERSION);
    let path = scratch.path().join("cairnd");
    let script = fs::read_to_string(&path).unwrap().replace("/man/cairnd.1", "/man/other.1");
    fs::write(&path, script).unwrap();
    let error = refusal(&plan(), scratch.path(), &scratch.path().join("out"));
    assert!(error.contains("no man page cairnd.1"), "{error}");
}

#[test]
fn a_program_without_completions_for_a_shell_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    make_programs(scratch.path(), VERSION);
    let path = scratch.path().join("cairnctl");
    let script = fs::read_to_string(&path).unwrap().replace("completions/zsh/_cairnctl", "completions/zsh/_other");
    fs::write(&path, script).unwrap();
    let error = refusal(&plan(), scratch.path(), &scratch.path().join("out"));
    assert!(error.contains("no completion of its name for zsh"), "{error}");
}

#[test]
fn a_program_that_fails_shows_what_it_said() {
    let scratch = tempfile::tempdir().unwrap();
    make_programs(scratch.path(), VERSION);
    let path = scratch.path().join("cairn-bench");
    fs::write(&path, "#!/bin/sh\necho no such luck >&2\nexit 3\n").unwrap();
    let error = refusal(&plan(), scratch.path(), &scratch.path().join("out"));
    assert!(error.contains("no such luck") && error.contains("exit status: 3"), "{error}");
}

/// What the gate says of the archive of a release.
fn violations(release: &Release) -> Vec<String> {
    let artifact = &release.plan.artifacts[0];
    let programs = release.scratch.path().join("bin");
    with_parts(&programs, |parts| archive::violations(&release.plan, artifact, parts, &release.dir)).unwrap()
}

/// The archive of a release, written again with other entries or at another time.
fn rewritten(change: impl FnOnce(&mut Entries), time: u64) -> (Release, String) {
    let release = Release::unsigned(plan());
    let name = release.archive();
    let mut entries = with_parts(&release.scratch.path().join("bin"), |parts| {
        archive::entries(&release.plan.artifacts[0], parts).unwrap()
    });
    change(&mut entries);
    let top = name.strip_suffix(".tar.gz").unwrap();
    let file = fs::File::create(release.file(&name)).unwrap();
    tarball::write_tar_gz(file, top, &entries, time).unwrap();
    (release, name)
}

#[test]
fn a_finished_archive_of_the_plan_passes() {
    assert_eq!(violations(&Release::unsigned(plan())), [""; 0]);
    assert_eq!(violations(&rewritten(|_| {}, EPOCH).0), [""; 0]);
}

#[test]
fn a_finished_archive_that_lacks_a_file_is_red() {
    for path in
        ["bin/cairnutl", "man/man1/cairnd.1", "completions/zsh/_cairnctl", "THIRD-PARTY-LICENSES.txt", "LICENSE"]
    {
        let (release, name) = rewritten(|entries| drop(entries.remove(path).unwrap()), EPOCH);
        let top = name.strip_suffix(".tar.gz").unwrap();
        assert!(violations(&release).contains(&format!("{name} lacks {top}/{path}")), "{path}");
    }
}

#[test]
fn a_finished_archive_with_a_file_too_many_is_red() {
    let extra = |entries: &mut Entries| drop(entries.insert("bin/etcd".to_owned(), Entry::Link("cairnd".to_owned())));
    let (release, name) = rewritten(extra, EPOCH);
    let top = name.strip_suffix(".tar.gz").unwrap();
    assert_eq!(violations(&release), [format!("{name} has {top}/bin/etcd, once more than planned")]);
}

#[test]
fn a_finished_archive_with_another_mode_content_or_time_is_red() {
    let change = |entries: &mut Entries| {
        let Some(Entry::Bytes(_, program)) = entries.remove("bin/cairnd") else { panic!("the server is a file") };
        entries.insert("bin/cairnd".to_owned(), Entry::Bytes(0o4755, program));
        entries.insert("etc/cairn.env".to_owned(), Entry::Bytes(0o644, b"CAIRN_NAME=other\n".to_vec()));
        entries.insert("man".to_owned(), Entry::OwnedFolder(0o755, 1000));
    };
    let (release, name) = rewritten(change, EPOCH);
    let violations_found = violations(&release);
    assert_eq!(violations_found.len(), 3, "{violations_found:#?}");
    let has = |text: &str| violations_found.iter().any(|violation| violation.contains(text));
    assert!(has(&format!("bin/cairnd in {name} has the mode 4755, planned is 0755")), "{violations_found:#?}");
    assert!(has("etc/cairn.env in") && has("has the content Regular of 17 bytes"), "{violations_found:#?}");
    assert!(has("man/ in") && has("has the owner 1000:1000, planned is 0:0"), "{violations_found:#?}");
    let (late, _) = rewritten(|_| {}, EPOCH + 1);
    assert!(violations(&late).iter().all(|violation| violation.contains("has the time 1700000001, planned is")));
    assert!(!violations(&late).is_empty());
}

#[test]
fn a_finished_archive_with_something_behind_its_end_is_red_and_half_a_one_is_refused() {
    let release = Release::unsigned(plan());
    let (name, path) = (release.archive(), release.file(&release.archive()));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, [&bytes[..], b"more"].concat()).unwrap();
    assert_eq!(violations(&release), [format!("{name} has bytes behind its end")]);
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let artifact = &release.plan.artifacts[0];
    let judged = with_parts(&release.scratch.path().join("bin"), |parts| {
        archive::violations(&release.plan, artifact, parts, &release.dir)
    });
    assert!(format!("{:#}", judged.unwrap_err()).contains("cannot read the archive"));
}

/// Paths (folders with a slash at the end) and headers, in the archive's order.
fn in_order(release: &Release) -> Vec<(String, tar::Header)> {
    let file = fs::File::open(release.file(&release.archive())).unwrap();
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        (String::from_utf8(entry.path_bytes().into_owned()).unwrap(), entry.header().clone())
    });
    entries.collect()
}

fn entries(release: &Release) -> BTreeMap<String, tar::Header> {
    in_order(release).into_iter().collect()
}
