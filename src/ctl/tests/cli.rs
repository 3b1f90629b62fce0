//! The command line as a whole, where no server is needed: identity, environment, flags, texts and exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs the tool with a clean environment, under a name of one's choice.
fn run(name: &str, args: &[&str], env: &[(&str, &str)]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_cairnctl"));
    let folder = Folder::new();
    let link = folder.0.join(name);
    std::os::unix::fs::symlink(program, &link).expect("a link can be made in an empty folder");
    let mut command = Command::new(&link);
    command.args(args).env_clear().envs(env.iter().copied()).output().expect("the tool starts")
}

/// A folder that is gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cairn-ctl-cli-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("the name is unique");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn refuses(args: &[&str], exit: i32, text: &str) {
    let output = run("cairnctl", args, &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.lines().any(|line| line == format!("Error: {text}")), "{args:?}: {stderr}");
    assert_eq!(output.status.code(), Some(exit), "{args:?}");
    assert!(output.stdout.is_empty(), "{args:?} printed data");
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    cairn_ctl::command().debug_assert();
}

#[test]
fn the_name_decides_what_version_says() {
    let own = String::from_utf8(run("cairnctl", &["version"], &[]).stdout).unwrap();
    let etcd = String::from_utf8(run("etcdctl", &["version"], &[]).stdout).unwrap();
    assert!(etcd.starts_with("etcdctl version: 3.6.") && etcd.ends_with("\nAPI version: 3.6\n"), "{etcd}");
    assert_eq!(own, format!("cairnctl version: {}\n{etcd}", env!("CARGO_PKG_VERSION")));
    assert_eq!(run("etcdctl", &["--version"], &[]).stdout, etcd.as_bytes());
}

#[test]
fn each_name_reads_its_own_environment() {
    let get = &["get", "a"];
    let unsupported = |name, variable| {
        let output = run(name, get, &[(variable, "bogus"), ("ETCDCTL_API", "3")]);
        String::from_utf8_lossy(&output.stderr).contains("Error: unsupported output format")
    };
    assert!(unsupported("cairnctl", "CAIRNCTL_WRITE_OUT"));
    assert!(unsupported("etcdctl", "ETCDCTL_WRITE_OUT"));
    let other = run("etcdctl", &["version"], &[("CAIRNCTL_WRITE_OUT", "bogus"), ("ETCDCTL_API", "3")]);
    assert!(other.status.success() && other.stderr.is_empty());
}

#[test]
fn a_value_from_flag_and_environment_at_once_is_refused() {
    let output = run("etcdctl", &["get", "a", "-w", "simple"], &[("ETCDCTL_WRITE_OUT", "json")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ETCDCTL_WRITE_OUT is set and --write-out is given too"));
}

#[test]
fn a_variable_that_means_nothing_draws_a_warning() {
    let output = run("cairnctl", &["get"], &[("CAIRNCTL_ENDPOINT", "x")]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with(r#"{"level":"warn","msg":"unrecognized environment variable""#), "{stderr}");
}

#[test]
fn flags_of_what_is_not_supported_are_refused_and_their_defaults_are_not() {
    let tls = "is about connections with TLS, which this version does not support yet: leave it out";
    let users = "is about authentication, which this version does not support yet: leave it out";
    refuses(&["get", "a", "--cacert", "x"], 4, &format!("--cacert {tls}"));
    refuses(&["--insecure-transport=false", "get", "a"], 4, &format!("--insecure-transport {tls}"));
    refuses(&["get", "a", "--insecure-skip-tls-verify"], 4, &format!("--insecure-skip-tls-verify {tls}"));
    refuses(&["get", "a", "--user=root:x"], 4, &format!("--user {users}"));
    let reason = "needs TLS, which this version does not speak yet";
    refuses(&["get", "a", "--endpoints", "https://a:1"], 128, &format!("endpoint \"https://a:1\" {reason}"));
    refuses(&["get", "--insecure-transport=true", "--cacert="], 128, GET_NEEDS_A_KEY);
}

const GET_NEEDS_A_KEY: &str = "get command needs one argument as key and an optional argument as range_end";

#[test]
fn mistakes_on_the_command_line_draw_etcdctls_texts_and_exit_codes() {
    refuses(&["get"], 128, GET_NEEDS_A_KEY);
    refuses(&["get", "a", "--bogus"], 1, "unknown flag: --bogus");
    refuses(&["get", "a", "-x"], 1, "unknown shorthand flag: 'x' in -x");
    refuses(&["get", "a", "--rev"], 1, "flag needs an argument: --rev");
    let limit = r#"invalid argument "x" for "--limit" flag: strconv.ParseInt: parsing "x": invalid syntax"#;
    refuses(&["get", "a", "--limit", "x"], 1, limit);
    let timeout = r#"invalid argument "5" for "--command-timeout" flag: time: missing unit in duration "5""#;
    refuses(&["get", "a", "--command-timeout=5"], 1, timeout);
    let prefix = r#"invalid argument "maybe" for "--prefix" flag: strconv.ParseBool: parsing "maybe": invalid syntax"#;
    refuses(&["get", "a", "--prefix=maybe"], 1, prefix);
    refuses(&["bogus"], 1, r#"unknown command "bogus" for "cairnctl""#);
    refuses(&["put", "a", "b", "-w", "table"], 4, "table not supported as output format");
    refuses(&["endpoint", "status", "-w", "protobuf"], 4, "protobuf not supported as output format");
    refuses(&["watch", "a", "--"], 128, "bad number of arguments (found separator --, but no commands)");
    refuses(&["lease", "grant", "x"], 128, r#"bad TTL (strconv.ParseInt: parsing "x": invalid syntax)"#);
    let bad_lease = r#"bad lease ID arg (strconv.ParseInt: parsing "xyz": invalid syntax), expecting ID in Hex"#;
    refuses(&["lease", "revoke", "xyz"], 128, bad_lease);
    let many = "snapshot must be requested to one selected node, not multiple [a:1 b:2]";
    refuses(&["snapshot", "save", "x", "--endpoints=a:1,b:2"], 5, many);
}

#[test]
fn a_call_that_reaches_nobody_ends_by_its_deadline_and_says_why() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = listener.local_addr().expect("it is bound").to_string();
    drop(listener);
    let output = run("cairnctl", &["get", "a", "--endpoints", &endpoint, "--command-timeout=100ms"], &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.ends_with("\nError: context deadline exceeded\n"), "{stderr}");
    assert!(stderr.starts_with(r#"{"level":"warn""#) && stderr.contains("refused"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_group_of_commands_alone_prints_its_help() {
    for args in [&["lease"][..], &["endpoint"], &[]] {
        let output = run("cairnctl", args, &[]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: cairnctl"), "{args:?}");
    }
}

#[test]
fn completions_are_made_for_every_shell_under_the_name_that_was_used() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = run("etcdctl", &["completion", shell], &[]);
        assert!(script.status.success());
        assert!(String::from_utf8_lossy(&script.stdout).contains("etcdctl"), "{shell}");
    }
}
