//! Local paths, users and hosts in artifacts, at any depth.

use std::fs;

use cairn_release::gates::layers::Limits;
use cairn_release::gates::leaks::{Needle, leaks, leaks_within};

use crate::archives::{ar, cpio, gz, gz_named, rpm, tar_of, xz, zst};
use crate::building::{NOTHING, Workshop};
use crate::{assert_none, assert_one, assert_some};

const SECRET: &[u8] = b"built in /home/carla/src by hand";

fn home() -> Vec<Needle> {
    vec![Needle::path("the home folder", "/home/carla").unwrap()]
}

fn judged(bytes: &[u8]) -> Vec<String> {
    leaks("it", bytes, &home())
}

#[test]
fn a_clean_artifact_passes() {
    assert_none(&judged(&gz(&tar_of(&[("a/README", b"nothing to see"), ("a/b.gz", &gz(b"nor here"))]))));
}

#[test]
fn a_path_in_a_plain_file_is_cited_with_its_line() {
    let violations = judged(b"first line\nbuilt in /home/carla/src by hand\nlast line");
    assert_one(&violations, &["it: has the home folder, \"/home/carla\", in \"built in /home/carla/src by hand\""]);
}

#[test]
fn several_findings_at_one_place_are_counted() {
    assert_one(&judged(&[SECRET, SECRET, SECRET].concat()), &["\"/home/carla\", 3 times in"]);
}

#[test]
fn a_path_in_a_member_of_a_tarball_is_named_with_the_member() {
    let bytes = gz(&tar_of(&[("a/clean", b"clean"), ("a/doc/man.1.gz", &gz(SECRET))]));
    assert_one(&judged(&bytes), &["it > a/doc/man.1.gz: has the home folder"]);
}

#[test]
fn a_path_in_a_deb_is_found_whatever_its_members_are_packed_with() {
    let data = tar_of(&[("usr/share/doc/readme", SECRET)]);
    for (name, packed) in [("data.tar.gz", gz(&data)), ("data.tar.xz", xz(&data)), ("data.tar.zst", zst(&data))] {
        let deb = ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &gz(&tar_of(&[]))), (name, &packed)]);
        assert_one(&judged(&deb), &[&format!("it > {name} > usr/share/doc/readme: has the home folder")]);
    }
}

#[test]
fn a_path_in_an_rpm_is_found_in_header_and_payload() {
    let clean = gz(&cpio(&[("./usr/bin/it", b"clean"), ("./usr/share/it.1.gz", &gz(b"clean"))]));
    assert_none(&judged(&rpm(b"clean", &clean)));
    assert_one(&judged(&rpm(SECRET, &clean)), &["it: has the home folder"]);
    let payload = zst(&cpio(&[("./usr/bin/it", b"odd"), ("./usr/share/it.1.gz", &gz(SECRET))]));
    assert_one(&judged(&rpm(b"clean", &payload)), &["it > payload > ./usr/share/it.1.gz: has the home folder"]);
}

#[test]
fn streams_in_a_row_are_read_to_the_last() {
    let parts = [tar_of(&[("control", b"clean")]), tar_of(&[("data", SECRET)])];
    assert_one(&judged(&[gz(&parts[0]), gz(&parts[1])].concat()), &["it > data: has the home folder"]);
    assert_one(&judged(&[zst(&parts[0]), zst(&parts[1])].concat()), &["it > data: has the home folder"]);
    let skipped = [b"\x28\xb5\x2f\xfd".as_slice(), &zst(b"x")[4..], b"\x50\x2a\x4d\x18\x02\0\0\0ab", &zst(SECRET)];
    assert_one(&judged(&skipped.concat()), &["it: has the home folder"]);
}

#[test]
fn a_path_in_the_header_of_a_gzip_stream_is_found() {
    assert_one(&judged(&gz_named(b"clean", "/home/carla/x")), &["it: has the home folder"]);
}

#[test]
fn a_path_among_the_names_of_members_is_found_without_its_first_slash() {
    assert_one(&judged(&tar_of(&[("home/carla/x", b"clean")])), &["it: has the home folder", "/home/carla/x"]);
}

#[test]
fn a_path_in_a_program_is_named_with_the_section() {
    let workshop = Workshop::new();
    let source = format!("const char *where = \"/home/carla/src\";\n{NOTHING}");
    let program = fs::read(workshop.gcc(("where.c", &source), &["-O1", "-s"], "where")).unwrap();
    let bytes = gz(&tar_of(&[("bin/where", &program)]));
    assert_one(&judged(&bytes), &["it > bin/where > .rodata: has the home folder"]);
}

#[test]
fn a_path_in_packed_debug_information_is_found() {
    let workshop = Workshop::new();
    // Sections that would not shrink are not packed.
    let map = format!("-fdebug-prefix-map=/=/home/carla/{}/", "long".repeat(100));
    let flags = ["-g", "-gz=zlib", &map];
    let program = fs::read(workshop.gcc(("packed.c", NOTHING), &flags, "packed")).unwrap();
    assert!(!program.windows(11).any(|window| window == b"/home/carla"), "the linker did not pack the sections");
    assert_some(&judged(&program), &["it > .debug_", "has the home folder"]);
}

#[test]
fn a_home_folder_of_one_component_is_searched_with_a_slash() {
    let needles = [Needle::path("the home folder", "/carla/").unwrap()];
    assert_none(&leaks("it", b"home/carlamine and /carla alone", &needles));
    assert_one(&leaks("it", b"/carla/src/main.rs", &needles), &["\"/carla/\""]);
}

#[test]
fn users_and_hosts_are_searched_as_whole_words_and_only_if_distinctive() {
    let needles = [Needle::name("the host name", "forge7").unwrap()];
    assert_none(&leaks("it", b"forge70 myforge7 forge7-x", &needles));
    assert_one(
        &leaks("it", b"built on forge7.", &needles),
        &["has the host name, \"forge7\", in \"built on forge7.\""],
    );
    for common in ["bob", "root", "Builder", "localhost", "cairn", "runner"] {
        assert_eq!(Needle::name("the user", common), None, "{common}");
    }
    assert_eq!(Needle::path("the target folder", "/tmp/"), None);
    assert_eq!(Needle::path("the root", "/"), None);
}

#[test]
fn what_cannot_be_opened_is_a_violation() {
    assert_one(&judged(b"PK\x03\x04 and so on"), &["it: is a zip archive, into which this gate cannot look"]);
    assert_one(&judged(&rpm(b"", b"\x5d\0\0\x80\0")), &["it > payload: is a lzma stream, into which"]);
    assert_one(&judged(&rpm(b"", &gz(b"07070X"))), &["it > payload: is a stripped cpio archive"]);
    let mut broken = gz(SECRET);
    broken.truncate(20);
    assert_one(&judged(&tar_of(&[("a.gz", &broken)])), &["it > a.gz: is a broken gzip stream"]);
    let deb = ar(&[("debian-binary", b"2.0\n")]);
    assert_one(&judged(&deb[..deb.len() - 2]), &["it: is cut off: its member debian-binary is not all there"]);
}

#[test]
fn layers_beyond_the_limits_are_violations() {
    let nested = (0..4).fold(SECRET.to_vec(), |bytes, _| gz(&bytes));
    assert_one(&judged(&nested), &["it: has the home folder"]);
    let shallow = Limits { depth: 3, ..Limits::default() };
    let violations = leaks_within("it", &nested, &home(), shallow);
    assert_one(&violations, &["it: has more than 3 layers within each other; nobody looked further"]);
    let small = Limits { unpacked_bytes: 1000, ..Limits::default() };
    let violations = leaks_within("it", &gz(&[0; 2000]), &home(), small);
    assert_one(&violations, &["it: unpacks to more than this gate reads"]);
}

#[test]
fn no_broken_artifact_stops_the_search() {
    let program = fs::read(Workshop::new().gcc(("nothing.c", NOTHING), &["-g", "-gz=zlib"], "nothing")).unwrap();
    let tar = tar_of(&[("a", SECRET), ("b.xz", &xz(SECRET))]);
    let packed = [gz(&tar), xz(&tar), zst(&tar)];
    let packages = [ar(&[("a.tar", &tar)]), cpio(&[("a", SECRET)]), rpm(b"header", &gz(&cpio(&[("a", SECRET)])))];
    for bytes in packed.into_iter().chain(packages).chain([program, tar]) {
        for at in (0..bytes.len().min(1200)).chain((1200..bytes.len()).step_by(97)) {
            judged(&bytes[..at]);
            for wrong in [0, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = wrong;
                judged(&bytes);
            }
        }
    }
}
