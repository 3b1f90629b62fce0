//! Gates over page sizes: a program that is built for small pages cannot be loaded, or aborts, where pages are larger.
//!
//! Kernels of arm64 use 4, 16 or 64 KiB. The allocator's page size is fixed when it is compiled and cannot be read
//! from the file; the program reports it, and [`allocator_page`] judges the number.

use super::elf::{ElfFacts, Segment};
use super::policy::ElfPolicy;

/// The segments can be mapped with pages of the policy's size.
#[must_use]
pub fn segment_pages(name: &str, facts: &ElfFacts, policy: &ElfPolicy) -> Vec<String> {
    let page = policy.page_bytes;
    let mut violations = Vec::new();
    if facts.segments.is_empty() {
        violations.push(format!("{name}: has nothing that is loaded"));
    }
    for (number, segment) in facts.segments.iter().enumerate() {
        let Segment { offset, address, align, .. } = *segment;
        if !align.is_power_of_two() || align < page {
            violations.push(format!(
                "{name}: segment {number} is aligned to {align} bytes, but pages may have {page}; \
                 link with -z max-page-size={page}"
            ));
        } else if offset % align != address % align {
            violations.push(format!(
                "{name}: segment {number} has file offset {offset:#x} and address {address:#x}, which differ within \
                 its alignment of {align} bytes, so that it cannot be mapped"
            ));
        }
    }
    violations.extend(shared_pages(name, &facts.segments, page));
    violations
}

/// Where a page belongs to two segments with different access, one of them gets the other's.
fn shared_pages(name: &str, segments: &[Segment], page: u64) -> Vec<String> {
    let mut violations = Vec::new();
    for (number, pair) in segments.windows(2).enumerate() {
        let same_access = (pair[0].writable, pair[0].executable) == (pair[1].writable, pair[1].executable);
        let end = pair[0].address.saturating_add(pair[0].memory_bytes);
        if !same_access && end.div_ceil(page) > pair[1].address / page {
            violations.push(format!(
                "{name}: segments {number} and {} share a page of {page} bytes, but differ in access",
                number + 1
            ));
        }
    }
    violations
}

/// The page size that the program's allocator reports is the policy's.
#[must_use]
pub fn allocator_page(name: &str, reported_bytes: u64, policy: &ElfPolicy) -> Vec<String> {
    if reported_bytes == policy.page_bytes {
        return Vec::new();
    }
    vec![format!(
        "{name}: the allocator is built for pages of {reported_bytes} bytes, but {} is declared with {}; build jemalloc \
         with JEMALLOC_SYS_WITH_LG_PAGE={}",
        policy.machine,
        policy.page_bytes,
        policy.page_bytes.ilog2()
    )]
}
