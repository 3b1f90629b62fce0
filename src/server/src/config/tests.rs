//! What is accepted, and what is refused with which words; and that docs/COMPATIBILITY.md says the same.

use std::collections::BTreeMap;

use super::flags::{ALIASES, IGNORED};
use super::*;

const COMPATIBILITY: &str = include_str!("../../../../docs/COMPATIBILITY.md");

fn config(args: &[&str]) -> Result<Config, ConfigError> {
    let args = std::iter::once("cairnd").chain(args.iter().copied()).map(OsString::from).collect();
    match read(Persona::Cairnd, args, std::iter::empty())? {
        Request::Serve(settings) => Config::new(settings),
        other => panic!("{other:?}"),
    }
}

fn refusal(args: &[&str]) -> String {
    config(args).unwrap_err().to_string()
}

#[test]
fn without_flags_the_defaults_are_etcd_s() {
    let config = config(&[]).unwrap();
    assert_eq!(config.node.data_dir, PathBuf::from("default.cairn"));
    assert_eq!(config.serve.listen[0].text, "http://localhost:2379");
    assert_eq!(config.serve.max_request_bytes, DEFAULT_MAX_REQUEST_BYTES);
    assert_eq!(config.node.quota, QuotaConfig::Disk);
    assert_eq!(config.node.auto_compaction, AutoCompaction::Off);
    assert!(config.node.sync);
}

#[test]
fn flags_without_an_effect_are_refused_with_what_to_do_instead() {
    for args in [
        ["--cert-file=x"],
        ["--client-cert-auth"],
        ["--snapshot-count=5"],
        ["--config-file=x"],
        ["--pre-vote=false"],
        ["--initial-cluster-state=existing"],
        ["--auth-token=jwt,sign-method=RS256"],
        ["--enable-pprof"],
    ] {
        assert!(refusal(&args).contains("is refused: "), "{args:?}: {}", refusal(&args));
    }
}

#[test]
fn flags_that_say_what_is_so_anyway_are_accepted() {
    config(&[
        "--pre-vote=true",
        "--strict-reconfig-check",
        "--snapshot-count=10000",
        "--logger=zap",
        "--auto-tls=false",
    ])
    .unwrap();
}

#[test]
fn a_cluster_of_others_or_of_several_is_refused() {
    assert!(refusal(&["--initial-cluster=b=http://localhost:2380"]).contains("couldn't find local name \"default\""));
    assert!(
        refusal(&["--initial-cluster=default=http://localhost:2380,b=http://localhost:1"])
            .contains("more than one member")
    );
    assert!(
        refusal(&["--initial-cluster=default=http://localhost:1"])
            .contains("missing from --initial-advertise-peer-urls")
    );
    config(&["--initial-cluster=default=http://localhost:2380"]).unwrap();
}

#[test]
fn listening_without_advertising_is_refused_as_in_etcd() {
    let text = "--advertise-client-urls is required when --listen-client-urls is set explicitly";
    assert_eq!(refusal(&["--listen-client-urls=http://127.0.0.1:1"]), text);
}

#[test]
fn raft_times_that_cannot_work_are_refused() {
    assert!(refusal(&["--heartbeat-interval=300"]).contains("5 times"));
    assert!(refusal(&["--election-timeout=60000"]).contains("too long"));
}

#[test]
fn a_bare_number_of_retention_means_hours_or_revisions() {
    let periodic = config(&["--auto-compaction-retention=2"]).unwrap().node.auto_compaction;
    assert_eq!(periodic, AutoCompaction::Periodic(Duration::from_secs(7_200)));
    let revisions = config(&["--auto-compaction-mode=revision", "--auto-compaction-retention=10"]).unwrap();
    assert_eq!(revisions.node.auto_compaction, AutoCompaction::Revisions(10));
    let minutes = config(&["--auto-compaction-retention=30m"]).unwrap().node.auto_compaction;
    assert_eq!(minutes, AutoCompaction::Periodic(Duration::from_secs(1_800)));
}

#[test]
fn sizes_and_quotas_are_read() {
    let config = config(&["--memory-budget=64MiB", "--quota-backend-bytes=-1"]).unwrap();
    assert_eq!(config.node.memory_budget_bytes, 64 << 20);
    assert_eq!(config.node.quota, QuotaConfig::Never);
    assert!(refusal(&["--memory-budget=1MiB"]).contains("at least 32MiB"));
}

/// The words between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The flags of a table of the document, by name, each with the words of the second column.
fn documented(heading: &str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let heading = format!("\n### {heading}\n");
    let (_, section) = COMPATIBILITY.split_once(&heading).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let section = section.split("\n#").next().unwrap_or_default();
    let mut flags = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `--")) {
        let mut cells = row.trim_matches('|').split('|');
        let names = quoted(cells.next().unwrap_or_default());
        let words: Vec<_> = cells.next().map(|cell| quoted(cell).collect()).unwrap_or_default();
        for name in names {
            let name = name.strip_prefix("--").unwrap_or_else(|| panic!("{name} is no flag"));
            assert!(flags.insert(name, words.clone()).is_none(), "--{name} is documented twice");
        }
    }
    flags
}

#[test]
fn the_document_has_each_flag_in_the_state_that_it_has_here() {
    let (mut work, mut only, mut refused) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for flag in FLAGS {
        match flag.support {
            Support::Works => {
                work.insert(flag.name, Some(flag.default).filter(|default| !default.is_empty()).into_iter().collect());
            }
            Support::Only(values, _) => {
                only.insert(flag.name, values.to_vec());
            }
            Support::Refused(_) => refused.push(flag.name),
        }
    }
    refused.sort_unstable();
    assert_eq!(documented("Flags that work"), work);
    assert_eq!(documented("Flags with one accepted value"), only);
    assert_eq!(documented("Flags that are refused").into_keys().collect::<Vec<_>>(), refused);
}

#[test]
fn the_document_has_each_old_name() {
    let old: BTreeMap<_, _> = ALIASES.iter().map(|(old, new)| (*old, format!("--{new}"))).collect();
    let documented_old = documented("Old names").into_iter().map(|(old, new)| (old, new.concat()));
    assert_eq!(documented_old.collect::<BTreeMap<_, _>>(), old);
    let mut ignored = IGNORED.to_vec();
    ignored.sort_unstable();
    let documented_ignored = documented("Accepted without effect, with a warning").into_keys();
    assert_eq!(documented_ignored.collect::<Vec<_>>(), ignored);
}

#[test]
fn build_info_is_a_command_under_our_own_name_only() {
    let request = |persona| read(persona, vec!["program".into(), "build-info".into()], std::iter::empty());
    assert!(matches!(request(Persona::Cairnd), Ok(Request::BuildInfo)));
    assert!(matches!(request(Persona::Etcd), Err(ConfigError::Word(word)) if word == "build-info"));
    assert!(refusal(&["--name=x", "build-info"]).contains("'build-info' is not a valid flag"));
}
