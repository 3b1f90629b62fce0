//! Environment variables: `CAIRNCTL_…`, or `ETCDCTL_…` under that name; one for each global flag.

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::cli::{GLOBAL_FLAGS, Identity};
use crate::failure::{Exit, Failure, warn};

/// Variables that are read without a flag of that name.
const OTHERS: [&str; 3] = ["API", "WATCH_KEY", "WATCH_RANGE_END"];

/// Name of the variable that stands for a flag.
pub(crate) fn variable(identity: &Identity, flag: &str) -> String {
    format!("{}_{}", identity.env_prefix(), flag.to_ascii_uppercase().replace('-', "_"))
}

/// The value of a variable, unless it is unset or empty.
pub(crate) fn value(identity: &Identity, name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(variable(identity, name)).filter(|value| !value.is_empty())
}

/// A value that is given twice, in different ways, is refused as etcdctl refuses it.
pub(crate) fn check_conflicts(identity: &Identity, matches: &ArgMatches) -> Result<(), Failure> {
    for flag in GLOBAL_FLAGS {
        let from_flag = matches.value_source(flag) == Some(ValueSource::CommandLine);
        if from_flag && value(identity, flag).is_some() {
            let name = variable(identity, flag);
            return Err(Failure::new(
                Exit::Error,
                format!("{name} is set and --{flag} is given too: unset the variable or leave the flag out"),
            ));
        }
    }
    Ok(())
}

/// Warns of variables with our prefix that mean nothing: most likely a name was mistyped.
pub(crate) fn warn_of_unknown(identity: &Identity) {
    let prefix = format!("{}_", identity.env_prefix());
    let known = |name: &str| {
        OTHERS.iter().chain(&GLOBAL_FLAGS).any(|&flag| variable(identity, flag) == format!("{prefix}{name}"))
    };
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        if name.strip_prefix(&prefix).is_some_and(|rest| !known(rest)) {
            warn("unrecognized environment variable", "environment-variable", name);
        }
    }
}
