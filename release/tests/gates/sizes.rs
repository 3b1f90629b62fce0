//! Budgets of file sizes.

use cairn_release::gates::sizes::{Budgets, sizes};

use crate::{assert_none, assert_one};

const BUDGETS: &str = r#"
[[budget]]
name = "cairn-{version}-linux-*.tar.gz"
max-bytes = 1000
[[budget]]
name = "SHA256SUMS"
max-bytes = 10
"#;

fn judged(files: &[(&str, u64)]) -> Vec<String> {
    let files: Vec<_> = files.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect();
    sizes(&files, "1.2.3", &Budgets::from_toml(BUDGETS).unwrap())
}

#[test]
fn files_within_their_budgets_pass() {
    assert_none(&judged(&[("cairn-1.2.3-linux-amd64.tar.gz", 1000), ("SHA256SUMS", 0)]));
}

#[test]
fn a_file_over_its_budget_is_refused() {
    let sentence = "cairn-1.2.3-linux-arm64.tar.gz: has 1001 bytes, 1 more than its budget of 1000";
    assert_one(&judged(&[("cairn-1.2.3-linux-arm64.tar.gz", 1001)]), &[sentence]);
}

#[test]
fn a_file_without_budget_is_refused() {
    assert_one(&judged(&[("new.txt", 1)]), &["new.txt: has 1 bytes and no budget"]);
    assert_one(&judged(&[("cairn-1.2.4-linux-amd64.tar.gz", 1)]), &["has 1 bytes and no budget"]);
    assert_one(&judged(&[("cairn-1.2.3-linux-amd64.tar.gz.minisig", 1)]), &["no budget"]);
}

#[test]
fn a_word_that_is_no_part_of_a_budget_is_refused() {
    assert!(Budgets::from_toml("[[budget]]\nname = \"a\"\nmax-byte = 1\n").is_err());
}
