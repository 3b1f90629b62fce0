//! The gate on licences and the file with their texts.

use cairn_release::licences::{self, Allowed};

use crate::fixture::{TARGET, Tree};

fn violations(tree: &Tree) -> Vec<String> {
    licences::violations(&tree.server(), &Allowed::read(&tree.root()).unwrap())
}

fn rendered(tree: &Tree) -> String {
    licences::render(&tree.server(), "cairn", "0.1.0", TARGET)
}

#[test]
fn a_tree_whose_licences_are_allowed_and_have_texts_passes() {
    assert_eq!(violations(&Tree::new()), Vec::<String>::new());
}

#[test]
fn a_licence_that_is_not_allowed_is_found() {
    let tree = Tree::new();
    tree.replace("others/careful/Cargo.toml", "license = \"MIT\"", "license = \"GPL-3.0-only\"");
    assert_eq!(violations(&tree), ["careful 1.0.0 is under GPL-3.0-only, which deny.toml does not allow"]);
}

#[test]
fn native_code_under_a_licence_that_is_not_allowed_is_found() {
    let tree = Tree::new();
    tree.replace("tree/release/native.toml", "licence = \"BSD-2-Clause\"", "licence = \"AGPL-3.0-only\"");
    assert_eq!(violations(&tree), ["pressed 1.10.0 is under AGPL-3.0-only, which deny.toml does not allow"]);
}

#[test]
fn of_licences_to_choose_from_one_allowed_is_enough_and_of_joined_ones_all_are_wanted() {
    let tree = Tree::new();
    tree.replace("others/careful/Cargo.toml", "license = \"MIT\"", "license = \"MIT OR GPL-3.0-only\"");
    assert_eq!(violations(&tree), Vec::<String>::new());
    tree.replace("others/careful/Cargo.toml", "MIT OR GPL-3.0-only", "MIT AND GPL-3.0-only");
    assert_eq!(violations(&tree), ["careful 1.0.0 is under MIT AND GPL-3.0-only, which deny.toml does not allow"]);
}

#[test]
fn a_missing_licence_and_one_that_nobody_can_read_are_found() {
    let tree = Tree::new();
    tree.replace("others/careful/Cargo.toml", "license = \"MIT\"", "license = \"My own\"");
    assert_eq!(violations(&tree), ["careful 1.0.0 has no licence expression"]);
    tree.replace("others/careful/Cargo.toml", "license = \"My own\"", "");
    assert_eq!(violations(&tree), ["careful 1.0.0 has no licence expression"]);
}

#[test]
fn native_code_without_a_text_is_found() {
    let tree = Tree::new();
    tree.remove("zig/lib/LICENSE.TXT");
    assert_eq!(violations(&tree), ["libcxx 22.1.8 has no licence text"]);
}

#[test]
fn the_file_names_every_foreign_part_with_licence_and_texts() {
    let text = rendered(&Tree::new());
    assert!(text.starts_with("Software of others in cairn 0.1.0 (x86_64-unknown-linux-gnu)\n"), "{text}");
    assert!(
        text.contains(
            "helper 1.2.3\n    licence: MIT OR Apache-2.0\n    source: https://example.org/helper\n    texts 1, 2\n"
        ),
        "{text}"
    );
    assert!(text.contains("pressed 1.10.0\n    part of the crate pressed-sys"), "{text}");
    assert!(!text.contains("server 0.1.0") && !text.contains("builder"), "{text}");
}

#[test]
fn equal_texts_are_printed_once_with_all_whose_they_are() {
    let text = rendered(&Tree::new());
    assert_eq!(text.matches("the MIT text\nof helper").count(), 1, "{text}");
    assert!(text.contains(", of careful 1.0.0, helper 1.2.3\n"), "{text}");
}

#[test]
fn a_crate_without_a_text_gets_that_of_its_repository_or_else_the_standard_one() {
    let tree = Tree::new();
    tree.remove("others/careful/license.md");
    assert!(rendered(&tree).contains("text 1 (as SPDX has it; its source has none)"), "{}", rendered(&tree));
    let same = "license = \"MIT/Apache-2.0\"\nrepository = \"https://example.org/helper\"";
    tree.replace("others/careful/Cargo.toml", "license = \"MIT\"", same);
    assert!(rendered(&tree).contains("texts 1, 2 (of another crate of the same source; its own has none)"));
}

#[test]
fn equal_trees_in_different_places_give_equal_files() {
    assert_eq!(rendered(&Tree::new()), rendered(&Tree::new()));
}
