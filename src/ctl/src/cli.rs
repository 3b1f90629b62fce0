//! The command line: identity, global flags, and clap's errors in the words of etcdctl.
//!
//! Flags follow Go's rules: a Boolean flag takes its value only after `=`, a flag that is repeated counts with its last
//! value, and integers may be written in other bases.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use cairn_api::ETCD_VERSION;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::failure::{Exit, Failure, complain, say};
use crate::{commands, env, go};

/// The name under which the tool was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    name: &'static str,
    is_etcdctl: bool,
}

impl Identity {
    pub(crate) fn cairn() -> Self {
        Self { name: "cairnctl", is_etcdctl: false }
    }

    pub(crate) fn etcd() -> Self {
        Self { name: "etcdctl", is_etcdctl: true }
    }

    /// From the program's path, as `argv[0]` has it.
    pub(crate) fn from_name(program: Option<&OsString>) -> Self {
        match program.and_then(|program| Path::new(program).file_stem()) {
            Some(name) if name == "etcdctl" => Self::etcd(),
            _ => Self::cairn(),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn env_prefix(&self) -> &'static str {
        if self.is_etcdctl { "ETCDCTL" } else { "CAIRNCTL" }
    }

    /// What `version` prints: under etcdctl's name in etcdctl's form.
    pub(crate) fn version(&self) -> String {
        let (api, _) = ETCD_VERSION.rsplit_once('.').unwrap_or((ETCD_VERSION, ""));
        let etcd = format!("etcdctl version: {ETCD_VERSION}\nAPI version: {api}\n");
        if self.is_etcdctl { etcd } else { format!("cairnctl version: {}\n{etcd}", env!("CARGO_PKG_VERSION")) }
    }
}

/// All global flags, each with an environment variable.
pub(crate) const GLOBAL_FLAGS: [&str; 20] = [
    "endpoints",
    "write-out",
    "hex",
    "debug",
    "dial-timeout",
    "command-timeout",
    "keepalive-time",
    "keepalive-timeout",
    "max-request-bytes",
    "insecure-transport",
    "insecure-discovery",
    "insecure-skip-tls-verify",
    "cacert",
    "cert",
    "key",
    "user",
    "password",
    "auth-jwt-token",
    "discovery-srv",
    "discovery-srv-name",
];

/// Flags of what this version cannot do; with a value other than the default they are refused.
const REFUSED_FLAGS: [(&str, &str); 11] = [
    ("insecure-transport", "connections with TLS"),
    ("insecure-discovery", "finding endpoints by DNS"),
    ("insecure-skip-tls-verify", "connections with TLS"),
    ("cacert", "connections with TLS"),
    ("cert", "connections with TLS"),
    ("key", "connections with TLS"),
    ("user", "authentication"),
    ("password", "authentication"),
    ("auth-jwt-token", "authentication"),
    ("discovery-srv", "finding endpoints by DNS"),
    ("discovery-srv-name", "finding endpoints by DNS"),
];

/// A flag with a Boolean value, as Go's: `--name`, `--name=true`, `--name=false`.
pub(crate) fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .num_args(0..=1)
        .require_equals(true)
        .value_name("BOOL")
        .default_value("false")
        .default_missing_value("true")
        .hide_default_value(true)
        .value_parser(go::parse_bool)
}

/// A flag with an integer value.
pub(crate) fn integer(name: &'static str, help: &'static str) -> Arg {
    let parse = |text: &str| go::parse_int(text, 0);
    Arg::new(name)
        .long(name)
        .help(help)
        .value_name("NUMBER")
        .default_value("0")
        .allow_hyphen_values(true)
        .value_parser(parse)
}

/// A flag with any value.
pub(crate) fn text(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).value_name("VALUE").allow_hyphen_values(true)
}

/// The arguments that are not flags. How many there may be, each command checks itself, with etcdctl's message.
pub(crate) fn positional(usage: &'static str) -> Arg {
    Arg::new("args").value_name(usage).num_args(0..).value_parser(clap::value_parser!(OsString))
}

/// The positional arguments as bytes; on this platform they need not be UTF-8.
pub(crate) fn args(matches: &ArgMatches) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let values = matches.get_many::<OsString>("args").into_iter().flatten();
    values.map(|value| value.as_bytes().to_vec()).collect()
}

/// A Boolean flag's value.
pub(crate) fn is_set(matches: &ArgMatches, name: &str) -> bool {
    matches.get_one::<bool>(name).copied().unwrap_or(false)
}

/// An integer flag's value.
pub(crate) fn int(matches: &ArgMatches, name: &str) -> i64 {
    matches.get_one::<i64>(name).copied().unwrap_or(0)
}

/// The whole command line.
pub(crate) fn command(identity: &Identity) -> Command {
    let root = Command::new(identity.name())
        .about("A command line client of Cairn and of any etcd v3 cluster")
        .disable_version_flag(true)
        .disable_help_subcommand(false)
        .arg(switch("version", "Print the version"))
        .args(global_flags(identity))
        .subcommands(commands::all());
    last_value_counts(root)
}

/// As Go's flags: giving one again replaces its value.
fn last_value_counts(command: Command) -> Command {
    command.args_override_self(true).mut_subcommands(last_value_counts)
}

fn global_flags(identity: &Identity) -> Vec<Arg> {
    let duration = |name, default: &'static str, help| {
        text(name, help).value_name("DURATION").default_value(default).value_parser(go::parse_duration)
    };
    let off = |name| text(name, "Not supported yet; refused").hide(true);
    let flags = vec![
        text("endpoints", "Endpoints, comma-separated: host:port or http://host:port")
            .default_value("127.0.0.1:2379")
            .value_delimiter(',')
            .action(ArgAction::Append),
        text("write-out", "Output format: fields, json, protobuf, simple or table").short('w').default_value("simple"),
        switch("hex", "Print byte strings in hexadecimal"),
        switch("debug", "Print the flags in effect on stderr"),
        duration("dial-timeout", "2s", "Longest time to make a connection"),
        duration("command-timeout", "5s", "Longest time of a short command, without dialing"),
        duration("keepalive-time", "2s", "Silence of a connection after which it is probed"),
        duration("keepalive-timeout", "6s", "Wait for the answer to such a probe"),
        integer("max-request-bytes", "Largest request that is sent, in bytes; 0: 2 MiB"),
        switch("insecure-transport", "Connect without TLS; the only way so far").default_value("true").hide(true),
        switch("insecure-discovery", "").default_value("true").hide(true),
        switch("insecure-skip-tls-verify", "").hide(true),
        off("cacert"),
        off("cert"),
        off("key"),
        off("user"),
        off("password"),
        off("auth-jwt-token"),
        off("discovery-srv").short('d'),
        off("discovery-srv-name"),
    ];
    debug_assert!(flags.iter().map(|flag| flag.get_id().as_str()).eq(GLOBAL_FLAGS));
    flags.into_iter().map(|flag| with_variable(identity, flag)).collect()
}

/// Lets the environment give the flag a value, unless its variable is there and empty, which means nothing to etcdctl.
fn with_variable(identity: &Identity, flag: Arg) -> Arg {
    let flag = flag.global(true).hide_env_values(true).help_heading("Global options");
    let variable = env::variable(identity, flag.get_id().as_str());
    if std::env::var_os(&variable).is_some_and(|value| value.is_empty()) { flag } else { flag.env(variable) }
}

/// Reads the command line. `None`: help or version was asked for and printed.
///
/// # Errors
/// With etcdctl's texts for what it has a text for.
pub(crate) fn parse(identity: &Identity, args: Vec<OsString>) -> Result<Option<ArgMatches>, Failure> {
    let matches = match command(identity).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            say(&error)?;
            return Ok(None);
        }
        Err(error) => {
            let text = describe(identity, &error);
            complain(&format!("Error: {text}"));
            complain(&format!("Run '{} --help' for usage.", identity.name()));
            return Err(Failure::silent(Exit::Error));
        }
    };
    if is_set(&matches, "version") {
        say(identity.version())?;
        return Ok(None);
    }
    if print_group_help(identity, &matches)? {
        return Ok(None);
    }
    let innermost = innermost(&matches);
    env::check_conflicts(identity, innermost)?;
    refuse(innermost)?;
    Ok(Some(matches))
}

/// The matches of the subcommand that runs; clap copies global flags into them.
pub(crate) fn innermost(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((_, below)) => innermost(below),
        None => matches,
    }
}

/// A command that only groups others prints its help when it is given alone, as etcdctl does.
fn print_group_help(identity: &Identity, matches: &ArgMatches) -> Result<bool, Failure> {
    let mut command = command(identity);
    command.build();
    let mut command = &mut command;
    let mut matches = matches;
    while let Some((name, below)) = matches.subcommand() {
        let Some(next) = command.find_subcommand_mut(name) else { return Ok(false) };
        (command, matches) = (next, below);
    }
    if !command.has_subcommands() {
        return Ok(false);
    }
    say(command.render_long_help())?;
    Ok(true)
}

fn refuse(matches: &ArgMatches) -> Result<(), Failure> {
    for (flag, what) in REFUSED_FLAGS {
        let harmless = match flag {
            "insecure-transport" | "insecure-discovery" => is_set(matches, flag),
            "insecure-skip-tls-verify" => !is_set(matches, flag),
            _ => matches.get_one::<String>(flag).is_none_or(String::is_empty),
        };
        if !harmless {
            let text = format!("--{flag} is about {what}, which this version does not support yet: leave it out");
            return Err(Failure::new(Exit::BadFeature, text));
        }
    }
    Ok(())
}

/// clap's error as etcdctl words it, where it has the same one.
pub(crate) fn describe(identity: &Identity, error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let flag = context(ContextKind::InvalidArg).map(|arg| arg.split([' ', '=', '[']).next().unwrap_or(arg));
    let value = context(ContextKind::InvalidValue).unwrap_or_default();
    match (error.kind(), flag) {
        (ErrorKind::UnknownArgument, Some(flag)) if flag.starts_with("--") => format!("unknown flag: {flag}"),
        (ErrorKind::UnknownArgument, Some(flag)) if flag.starts_with('-') => {
            let letter = flag.chars().nth(1).unwrap_or('-');
            format!("unknown shorthand flag: '{letter}' in {flag}")
        }
        (ErrorKind::InvalidValue | ErrorKind::TooFewValues, Some(flag)) if value.is_empty() => {
            format!("flag needs an argument: {flag}")
        }
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(flag)) => {
            let reason = std::error::Error::source(error).map_or_else(String::new, |source| format!(": {source}"));
            format!("invalid argument {} for \"{flag}\" flag{reason}", go::quote(value.as_bytes()))
        }
        (ErrorKind::InvalidSubcommand, _) => {
            let name = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("unknown command {} for {}", go::quote(name.as_bytes()), go::quote(identity.name().as_bytes()))
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    }
}

/// Whether the separator before a command to run ends the command line.
pub(crate) fn ends_with_separator(args: &[OsString]) -> bool {
    args.last().is_some_and(|last| last == OsStr::new("--"))
}
