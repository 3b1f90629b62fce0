//! Which crates end up in a program, and which needs which: asked of `cargo tree`.
//!
//! The graph of `cargo metadata` joins the features that any member of the workspace wants, tests included, so it names
//! crates that no program has (it puts zlib and bzip2 into a server without either). `cargo tree` resolves as a build
//! of the same packages does. What only the compiler runs (build scripts, procedural macros) is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Name and version of a crate.
pub(super) type Key = (String, String);

/// The crates of one program.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Every crate with the features that it is compiled with, the program's own included.
    pub(super) features: BTreeMap<Key, BTreeSet<String>>,
    /// What each crate needs.
    pub(super) needs: BTreeMap<Key, BTreeSet<Key>>,
}

/// The cargo that runs us, so that a pinned toolchain stays pinned.
pub(super) fn cargo() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Resolves packages that one cargo command builds together; the result is by package.
///
/// The environment is passed on: it decides what the build sees, too.
pub(super) fn resolve(root: &Path, target: &str, packages: &[&str]) -> Result<BTreeMap<String, Graph>> {
    let mut tree = Command::new(cargo());
    tree.current_dir(root).args(["tree", "--locked", "--offline", "--color=never", "--no-dedupe", "--target", target]);
    tree.args(["--edges=normal,no-proc-macro", "--prefix=depth", "--format= {p}|{f}"]);
    packages.iter().for_each(|package| {
        tree.args(["--package", package]);
    });
    let output = tree.stdin(Stdio::null()).output().context("cannot start cargo tree")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cargo tree failed ({}): {}; `cargo fetch` brings crates that are missing", output.status, said.trim());
    }
    let graphs = parse(&String::from_utf8(output.stdout).context("the output of cargo tree is no text")?)?;
    let lacking: Vec<_> = packages.iter().filter(|package| !graphs.contains_key(**package)).collect();
    if !lacking.is_empty() {
        bail!("cargo tree says nothing about {lacking:?}");
    }
    Ok(graphs)
}

/// Reads lines such as `2 bytes v1.12.2|default,std`, where the number is the depth below the package.
fn parse(text: &str) -> Result<BTreeMap<String, Graph>> {
    let mut graphs = BTreeMap::new();
    let mut above: Vec<Key> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (depth, key, features) = parse_line(line).with_context(|| format!("cargo tree printed {line:?}"))?;
        if depth > above.len() {
            bail!("cargo tree printed {line:?} below nothing");
        }
        above.truncate(depth);
        let program = above.first().map_or(&key, |top| top).0.clone();
        let graph: &mut Graph = graphs.entry(program).or_default();
        if let Some(parent) = above.last() {
            graph.needs.entry(parent.clone()).or_default().insert(key.clone());
        }
        graph.features.entry(key.clone()).or_default().extend(features);
        above.push(key);
    }
    Ok(graphs)
}

fn parse_line(line: &str) -> Option<(usize, Key, Vec<String>)> {
    let (depth, rest) = line.split_once(' ')?;
    let (package, features) = rest.rsplit_once('|')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    let features = features.split(',').filter(|feature| !feature.is_empty()).map(str::to_owned).collect();
    Some((depth.parse().ok()?, (name.to_owned(), version.to_owned()), features))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (name.to_owned(), "1.0.0".to_owned())
    }

    #[test]
    fn each_program_has_the_crates_below_it_and_the_features_of_all_mentions() {
        let text =
            "0 one v1.0.0 (/somewhere)|\n1 a v1.0.0|std\n2 b v1.0.0|\n1 b v1.0.0|alloc\n\n0 two v1.0.0|\n1 b v1.0.0|";
        let graphs = parse(text).unwrap();
        assert_eq!(graphs["one"].features.keys().cloned().collect::<Vec<_>>(), [key("a"), key("b"), key("one")]);
        assert_eq!(graphs["one"].needs[&key("one")], [key("a"), key("b")].into());
        assert_eq!(graphs["one"].needs[&key("a")], [key("b")].into());
        assert_eq!(graphs["one"].features[&key("b")], ["alloc".to_owned()].into());
        assert_eq!(graphs["two"].features.keys().cloned().collect::<Vec<_>>(), [key("b"), key("two")]);
    }

    #[test]
    fn other_output_is_refused() {
        for text in ["warning: something", "0 one 1.0.0|", "0 one v1.0.0|\n2 a v1.0.0|"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
