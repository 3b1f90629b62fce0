//! Page sizes of segments and allocator.

use std::fs;

use cairn_release::gates::elf::ElfFacts;
use cairn_release::gates::pages::{allocator_page, segment_pages};
use cairn_release::gates::policy::{ElfPolicy, GlibcVersion, Machine};

use crate::building::{Workshop, facts_with};
use crate::{assert_none, assert_one, assert_some};

/// The policy for the largest pages.
fn policy() -> ElfPolicy {
    ElfPolicy::dynamic(Machine::Arm64, GlibcVersion::new(2, 28))
}

#[test]
fn segments_for_pages_of_64_kib_pass() {
    assert_none(&segment_pages("it", &facts_with(&["-Wl,-z,max-page-size=65536"]), &policy()));
}

#[test]
fn segments_for_pages_of_4_kib_are_refused_where_pages_have_64() {
    let facts = facts_with(&["-Wl,-z,max-page-size=4096"]);
    let violations = segment_pages("it", &facts, &policy());
    assert_some(&violations, &["it: segment 0 is aligned to 4096 bytes, but pages may have 65536"]);
    assert_some(&violations, &["it: segments 0 and 1 share a page of 65536 bytes, but differ in access"]);
    assert_none(&segment_pages("it", &facts, &ElfPolicy::dynamic(Machine::Amd64, GlibcVersion::new(2, 28))));
}

#[test]
fn an_alignment_that_was_only_written_into_the_header_is_refused() {
    let mut bytes = fs::read(Workshop::new().program(&["-Wl,-z,max-page-size=4096"])).unwrap();
    let headers = usize::from(u16::from_le_bytes([bytes[56], bytes[57]]));
    for at in (0..headers).map(|number| 64 + 56 * number) {
        if bytes[at..at + 4] == [1, 0, 0, 0] {
            bytes[at + 48..at + 56].copy_from_slice(&65536_u64.to_le_bytes());
        }
    }
    let violations = segment_pages("it", &ElfFacts::read(&bytes).unwrap(), &policy());
    assert_some(&violations, &["differ within its alignment of 65536 bytes"]);
    assert_some(&violations, &["share a page of 65536 bytes"]);
}

#[test]
fn a_file_without_segments_is_refused() {
    let mut facts = facts_with(&[]);
    facts.segments.clear();
    assert_one(&segment_pages("it", &facts, &policy()), &["has nothing that is loaded"]);
}

#[test]
fn an_allocator_for_small_pages_is_refused_where_pages_are_large() {
    let sentence = "it: the allocator is built for pages of 4096 bytes, but arm64 is declared with 65536";
    assert_one(&allocator_page("it", 4096, &policy()), &[sentence, "JEMALLOC_SYS_WITH_LG_PAGE=16"]);
    assert_none(&allocator_page("it", 65536, &policy()));
}
