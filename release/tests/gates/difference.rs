//! Two builds that should be equal.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cairn_release::gates::difference::{difference, difference_of_bytes};
use tempfile::TempDir;

use crate::archives::{ar, gz, gz_at, tar_of};
use crate::building::Workshop;
use crate::{assert_none, assert_one, assert_some};

/// A file of a build: name and content.
type Named<'a> = (&'a str, &'a [u8]);

/// Two folders with these files.
fn builds(first: &[Named<'_>], second: &[Named<'_>]) -> (TempDir, PathBuf, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let fill = |name: &str, files: &[Named<'_>]| {
        let folder = scratch.path().join(name);
        fs::create_dir(&folder).unwrap();
        for (name, bytes) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    };
    let (first, second) = (fill("first", first), fill("second", second));
    (scratch, first, second)
}

/// A program with a function whose constant is this number.
fn program(constant: u32, flags: &[&str]) -> Vec<u8> {
    let workshop = Workshop::new();
    let source = format!("int before(void) {{ return 7; }}\nint odd_one(void) {{ return {constant}; }}\n");
    let source = format!("{source}int main(void) {{ return before() + odd_one(); }}\n");
    let flags = [&["-O0", "-Wl,--build-id"], flags].concat();
    fs::read(workshop.gcc(("constant.c", &source), &flags, "constant")).unwrap()
}

#[track_caller]
fn sentence(first: &[u8], second: &[u8], texts: &[&str]) {
    assert_one(&Vec::from_iter(difference_of_bytes("it", first, second)), texts);
}

#[test]
fn equal_builds_pass() {
    let files: [Named<'_>; 2] = [("a", b"1"), ("folder/b", b"2")];
    let (_scratch, first, second) = builds(&files, &files);
    assert_none(&difference(&first, &second).unwrap());
    assert_none(&difference(&first.join("a"), &second.join("a")).unwrap());
}

#[test]
fn the_first_differing_file_is_shown_and_the_others_are_listed() {
    let (_scratch, first, second) =
        builds(&[("a", b"same"), ("b", b"one"), ("c/d", b"1")], &[("a", b"same"), ("b", b"ore"), ("c/d", b"2")]);
    let violations = difference(&first, &second).unwrap();
    let shown = "b: differs first at byte 1, where the first build has \"ne\" and the second \"re\"";
    assert_some(&violations, &[shown]);
    assert_some(&violations, &["2 files differ: b and c/d"]);
    assert_eq!(violations.len(), 2, "{violations:#?}");
}

#[test]
fn a_file_that_only_one_build_has_is_named() {
    let (_scratch, first, second) = builds(&[("a", b""), ("x/b", b"")], &[("a", b""), ("c", b"")]);
    let violations = difference(&first, &second).unwrap();
    assert_eq!(violations, ["x/b: only the first build has it", "c: only the second build has it"]);
}

#[test]
fn links_are_compared_by_their_targets() {
    let (_scratch, first, second) = builds(&[], &[]);
    symlink("one", first.join("link")).unwrap();
    symlink("two", second.join("link")).unwrap();
    let violations = difference(&first, &second).unwrap();
    assert_one(&violations, &["link: is a link to \"one\" in the first build and a link to \"two\" in the second"]);
}

#[test]
fn a_file_and_a_folder_cannot_be_compared() {
    let (_scratch, first, second) = builds(&[("a", b"")], &[]);
    assert!(difference(&first.join("a"), &second).is_err());
    assert!(difference(&first, Path::new("/nowhere")).is_err());
}

#[test]
fn a_shorter_file_differs_at_its_end() {
    sentence(
        b"abc",
        b"abcd",
        &["it: differs first at byte 3", "has the end and the second \"d\"", "sizes are 3 and 4"],
    );
}

#[test]
fn a_difference_is_followed_into_the_member_of_a_package() {
    let deb = |text: &[u8]| {
        let data = gz(&tar_of(&[("usr/a", b"same"), ("usr/b.gz", &gz(text))]));
        ar(&[("debian-binary", b"2.0\n"), ("data.tar.gz", &data)])
    };
    sentence(
        &deb(b"text 1"),
        &deb(b"text 2"),
        &["it > data.tar.gz > usr/b.gz: differs first at byte 5", "\"1\"", "\"2\""],
    );
}

#[test]
fn a_difference_in_a_program_is_named_by_section_and_symbol() {
    let tarball = |constant| gz(&tar_of(&[("bin/constant", &program(constant, &[]))]));
    let texts = ["it > bin/constant > .text: differs first at byte", "the nearest symbol is odd_one+0x"];
    sentence(&tarball(1000), &tarball(1001), &texts);
    // The build id is before the code in the file, but it is a consequence.
    sentence(&tarball(1000), &tarball(1001), &["2 members of it > bin/constant differ: .text and .note.gnu.build-id"]);
}

#[test]
fn a_program_without_symbols_is_named_by_section() {
    sentence(&program(1000, &["-s"]), &program(1001, &["-s"]), &["it > .text: differs first at byte"]);
}

#[test]
fn a_section_that_only_one_program_has_is_named() {
    sentence(&program(1, &[]), &program(1, &["-s"]), &["it: only the first build has .symtab"]);
}

#[test]
fn members_that_are_missing_or_in_another_order_are_named() {
    let (a, b): (Named<'_>, Named<'_>) = (("a", b"1"), ("b", b"2"));
    sentence(&tar_of(&[a, b]), &tar_of(&[a]), &["it: only the first build has b"]);
    sentence(&tar_of(&[b]), &tar_of(&[a, b]), &["it: only the second build has a"]);
    sentence(
        &tar_of(&[a, b]),
        &tar_of(&[b, a]),
        &["it: has the same members in another order: a stands where", "has b"],
    );
}

#[test]
fn a_time_in_a_tar_header_is_named_as_such() {
    let first = gz(&tar_of(&[("a", b"1"), ("b", b"2")]));
    let mut tar = tar_of(&[("a", b"1"), ("b", b"2")]);
    // The header of the second member begins after the first's header and its one block.
    tar[1024 + 140] = b'7';
    // Keep the sum of the header right.
    let (from, to) = (1024, 1536);
    tar[from + 148..from + 156].fill(b' ');
    let sum: u32 = tar[from..to].iter().map(|byte| u32::from(*byte)).sum();
    tar[from + 148..from + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let texts =
        ["it: differs first at byte 1164", "in what stands before b (as a tar header: the time)", "members are equal"];
    sentence(&first, &gz(&tar), &texts);
}

#[test]
fn equal_content_that_was_packed_differently_is_named_as_such() {
    let text = b"the same text, again and again and again and again";
    sentence(&gz_at(text, 1), &gz_at(text, 9), &["it: differs first at byte", "unpacked, both are equal"]);
}
