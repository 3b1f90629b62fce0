//! The vendored archive is the git tree with the crates of Cargo.lock, and builds without network.

use std::fs;
use std::path::Path;

use cairn_release::digest::digest_with;
use cairn_release::source::tree::GitTree;
use cairn_release::source::vendor::{self, CONFIG, CONFIG_PATH};
use cairn_release::tarball::{Entries, Entry};

use crate::fixture::{Repository, TOP, cargo, write_archive};

/// The checksum of the one crate that the pretended lock names.
const CHECKSUM: &str = "9330f8b2ff13f34540b44e946ef35111825727b38d33286ef986142615121801";

/// Cargo.lock of the pretended tree.
fn pretended_lock() -> String {
    format!(
        "version = 4\n\n[[package]]\nname = \"tool\"\nversion = \"1.2.3\"\ndependencies = [\"part\"]\n\n[[package]]\nname = \
         \"part\"\nversion = \"1.0.4+7\"\nsource = \"registry+https://index.example.org\"\nchecksum = \"{CHECKSUM}\"\n"
    )
}

/// What the gate says of a pretended vendored archive after `change`.
fn violations(change: impl FnOnce(&mut Entries)) -> Vec<String> {
    let repository = Repository::new();
    repository.write("Cargo.lock", &pretended_lock());
    repository.commit();
    let tree = repository.tree();
    let mut entries = cairn_release::source::entries(&tree);
    let mut add = |path: &str, text: &str| entries.insert(path.to_owned(), Entry::Bytes(0o644, text.into()));
    add(CONFIG_PATH, CONFIG);
    add("vendor/part-1.0.4+7/src/lib.rs", "");
    let empty = digest_with(std::io::empty(), |_| {}).unwrap().sha256;
    let sums = format!("{{\"files\":{{\"src/lib.rs\":\"{empty}\"}},\"package\":\"{CHECKSUM}\"}}");
    add("vendor/part-1.0.4+7/.cargo-checksum.json", &sums);
    change(&mut entries);
    let scratch = tempfile::tempdir().unwrap();
    vendor::violations(&write_archive(scratch.path(), &entries), TOP, &tree).unwrap()
}

fn replace(entries: &mut Entries, path: &str, text: &str) {
    entries.insert(path.to_owned(), Entry::Bytes(0o644, text.into()));
}

#[test]
fn tree_and_crates_of_the_lock_pass() {
    assert_eq!(violations(|_| {}), [""; 0]);
}

#[test]
fn a_changed_tree_is_found() {
    let found = violations(|entries| replace(entries, "README.md", "another store\n"));
    assert!(found.len() == 1 && found[0].starts_with("README.md is the git blob "), "{found:?}");
    let found = violations(|entries| replace(entries, ".cargo/config.toml", CONFIG));
    assert_eq!(found, [".cargo/ is not in the commit", ".cargo/config.toml is not in the commit"]);
}

#[test]
fn a_crate_that_is_not_the_lock_s_is_found() {
    let path = "vendor/part-1.0.4+7/.cargo-checksum.json";
    let found = violations(|entries| replace(entries, path, "{\"files\":{},\"package\":\"00\"}"));
    let expected = [
        "vendor/part-1.0.4+7 has not the checksum of Cargo.lock",
        "vendor/part-1.0.4+7/src/lib.rs is not in its .cargo-checksum.json",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_changed_and_a_missing_file_of_a_crate_are_found() {
    let found = violations(|entries| replace(entries, "vendor/part-1.0.4+7/src/lib.rs", "backdoor"));
    assert_eq!(found, ["vendor/part-1.0.4+7/src/lib.rs differs from its .cargo-checksum.json"]);
    let found = violations(|entries| {
        entries.remove("vendor/part-1.0.4+7/src/lib.rs");
    });
    assert_eq!(found, ["vendor/part-1.0.4+7/src/lib.rs is missing"]);
}

#[test]
fn a_crate_too_many_and_a_missing_one_are_found() {
    let found = violations(|entries| {
        entries.retain(|path, _| !path.starts_with("vendor/part-"));
        replace(entries, "vendor/other-2.0.0/src/lib.rs", "");
        replace(entries, "vendor/loose.txt", "");
        entries.remove(CONFIG_PATH);
    });
    let expected = [
        "vendor/config.toml is missing or not the one that makes cargo use the crates",
        "vendor/part-1.0.4+7 is missing or has no .cargo-checksum.json; Cargo.lock names the crate",
        "vendor/other-2.0.0 is no crate of Cargo.lock",
        "vendor/loose.txt belongs to no crate",
    ];
    assert_eq!(found, expected);
}

/// A package that needs one crate which our own build has fetched.
fn package_with_a_dependency() -> (Repository, GitTree, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in the workspace");
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap();
    let entry =
        lock.split("[[package]]\n").find(|entry| entry.starts_with("name = \"cfg-if\"")).unwrap().trim().to_owned();
    let version = entry.split('"').nth(3).unwrap();
    let repository = Repository::new();
    repository.write(
        "Cargo.toml",
        &format!("[package]\nname = \"tool\"\nversion = \"1.2.3\"\nedition = \"2024\"\n[dependencies]\ncfg-if = \"={version}\"\n"),
    );
    repository.write("src/main.rs", "fn main() { cfg_if::cfg_if! { if #[cfg(unix)] {} else {} } }\n");
    let tool = "[[package]]\nname = \"tool\"\nversion = \"1.2.3\"\ndependencies = [\n \"cfg-if\",\n]";
    repository.write("Cargo.lock", &format!("version = 4\n\n[[package]]\n{entry}\n\n{tool}\n"));
    repository.commit();
    let tree = repository.tree();
    (repository, tree, format!("cfg-if-{version}"))
}

#[test]
fn what_cargo_gathers_passes_both_gates_and_builds_with_an_empty_home_and_no_network() {
    let (_repository, tree, _) = package_with_a_dependency();
    let scratch = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| {
        let work = scratch.path().join(name);
        fs::create_dir_all(work.join("tree")).unwrap();
        let entries = vendor::entries(&tree, &cargo(), &work.join("tree")).unwrap();
        write_archive(&work, &entries)
    });
    assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap(), "equal trees give equal bytes");
    assert_eq!(vendor::violations(&first, TOP, &tree).unwrap(), [""; 0]);
    let (lock, packed) = (tree.text("Cargo.lock").unwrap(), vendor::packed_crates().unwrap());
    assert_eq!(vendor::crate_violations(&first, TOP, lock, &packed).unwrap(), [""; 0]);
    let work = scratch.path().join("trial");
    fs::create_dir(&work).unwrap();
    vendor::try_offline(&first, TOP, &cargo(), "tool", &work).unwrap();
}

#[test]
fn a_vendored_file_that_was_never_published_is_found_even_if_its_list_names_it() {
    let (_repository, tree, crate_name) = package_with_a_dependency();
    let scratch = tempfile::tempdir().unwrap();
    let mut entries = cairn_release::source::entries(&tree);
    replace(&mut entries, &format!("vendor/{crate_name}/src/lib.rs"), "backdoor");
    let archive = write_archive(scratch.path(), &entries);
    let (lock, packed) = (tree.text("Cargo.lock").unwrap(), vendor::packed_crates().unwrap());
    let found = vendor::crate_violations(&archive, TOP, lock, &packed).unwrap();
    assert_eq!(found, [format!("vendor/{crate_name}/src/lib.rs is not as in the crate that was published")]);
    fs::write(scratch.path().join(format!("{crate_name}.crate")), "not the crate").unwrap();
    let elsewhere = [scratch.path().to_owned()];
    let found = vendor::crate_violations(&archive, TOP, lock, &elsewhere).unwrap();
    assert_eq!(found, [format!("{crate_name}.crate has not the checksum of Cargo.lock")]);
    let refusal = vendor::crate_violations(&archive, TOP, lock, &[]).unwrap_err().to_string();
    assert!(refusal.starts_with(&format!("cargo has no {crate_name}.crate; run `cargo fetch")), "{refusal}");
}

/// Seen with a crate that asks for the component rust-src: rustup, if it is there, would look for it on the network.
#[test]
fn a_crate_that_asks_for_a_toolchain_of_its_own_is_compiled_with_the_one_that_is_tried() {
    let (_repository, tree, crate_name) = package_with_a_dependency();
    let scratch = tempfile::tempdir().unwrap();
    let [gathered, trial] = ["gathered", "trial"].map(|name| scratch.path().join(name));
    [&gathered, &trial].iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let mut entries = vendor::entries(&tree, &cargo(), &gathered).unwrap();
    let asks = "[toolchain]\nchannel = \"0.0.0\"\n";
    replace(&mut entries, &format!("vendor/{crate_name}/rust-toolchain.toml"), asks);
    let archive = write_archive(scratch.path(), &entries);
    vendor::try_offline(&archive, TOP, &cargo(), "tool", &trial).unwrap();
}

#[test]
fn an_archive_without_its_crates_does_not_pass_the_trial() {
    let (_repository, tree, _) = package_with_a_dependency();
    let scratch = tempfile::tempdir().unwrap();
    let mut entries = cairn_release::source::entries(&tree);
    replace(&mut entries, CONFIG_PATH, CONFIG);
    let archive = write_archive(scratch.path(), &entries);
    let work = scratch.path().join("trial");
    fs::create_dir(&work).unwrap();
    let refusal = format!("{:#}", vendor::try_offline(&archive, TOP, &cargo(), "tool", &work).unwrap_err());
    assert!(refusal.contains("does not build by itself") && refusal.contains("cfg-if"), "{refusal}");
}
