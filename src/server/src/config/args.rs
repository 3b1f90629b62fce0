//! From the command line and the environment to one text per flag.
//!
//! Go's rules: `-flag` and `--flag` are the same, a switch takes its value behind `=` only, the last of several wins. An
//! option that is set both ways stops the start, as it does in etcd: one of the two would be ignored in silence.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, ArgAction, Command};

use super::ConfigError;
use super::flags::{self, ALIASES, FLAGS, Flag, IGNORED, Kind, Support};
use super::health_check::{self, HealthCheck};
use crate::build_info;

/// Under which name the program was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persona {
    Cairnd,
    Etcd,
}

impl Persona {
    pub(crate) fn of(program: Option<&OsString>) -> Self {
        let name = program.map(Path::new).and_then(Path::file_stem);
        if name.is_some_and(|name| name == "etcd") { Self::Etcd } else { Self::Cairnd }
    }

    fn env_prefix(self) -> &'static str {
        match self {
            Self::Cairnd => "CAIRN_",
            Self::Etcd => "ETCD_",
        }
    }
}

/// Variables with etcd's prefix that are not options of the server.
const OTHER_VARIABLES: &[&str] = &["UNSUPPORTED_ARCH", "VERIFY", "CLIENT_DEBUG"];

/// The texts of the options that were set, by current name, and remarks for the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) values: BTreeMap<&'static str, String>,
    pub(crate) warnings: Vec<String>,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Request {
    Serve(Settings),
    Version,
    HealthCheck(HealthCheck),
    BuildInfo,
    GenerateDocs { out: std::path::PathBuf },
}

fn clap_arg(flag: &Flag) -> Arg {
    let arg = Arg::new(flag.name).long(flag.name).hide(flag.support != Support::Works).help(flag.help);
    let arg = match flag.kind {
        Kind::Bool => arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL"),
        Kind::Value(name) => arg.num_args(1).value_name(name).allow_hyphen_values(true),
    };
    let arg = if flag.default.is_empty() || flag.support != Support::Works {
        arg
    } else {
        arg.help(format!("{} [default: {}]", flag.help, flag.default))
    };
    arg.action(ArgAction::Set)
}

/// The whole command line: help, man page and completions come from it.
pub fn command() -> Command {
    let old = ALIASES.iter().map(|(old, new)| {
        let kind = flags::find(new).map_or(Kind::Value("VALUE"), |flag| flag.kind);
        clap_arg(&Flag { name: old, kind, default: "", support: Support::Refused(""), help: "" })
    });
    let ignored = IGNORED.iter().map(|name| {
        Arg::new(*name)
            .long(*name)
            .hide(true)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("")
            .action(ArgAction::Set)
    });
    Command::new("cairnd")
        .about("A replicated key-value store that speaks the etcd v3 API")
        .after_help(
            "Every flag can be set in the environment: CAIRN_DATA_DIR for --data-dir (ETCD_DATA_DIR where the program is \
             started under the name etcd). An option that is set both ways is an error. -flag and --flag are the same.",
        )
        .args_override_self(true)
        .disable_version_flag(true)
        .args(FLAGS.iter().map(clap_arg))
        .args(old)
        .args(ignored)
        .arg(Arg::new("version").long("version").action(ArgAction::SetTrue).help("Print the version and exit"))
        .disable_help_subcommand(true)
        .subcommand(health_check::subcommand())
        .subcommand(
            cairn_manual::subcommand(),
        )
}

/// Go's `-flag` as `--flag`; values of flags are left alone, and so is what follows a subcommand.
fn normalise(persona: Persona, args: Vec<OsString>) -> Result<Vec<OsString>, ConfigError> {
    let mut normal = Vec::with_capacity(args.len());
    let mut args = args.into_iter();
    normal.extend(args.next());
    while let Some(arg) = args.next() {
        let Some(text) = arg.to_str() else { return Err(ConfigError::NotText(arg)) };
        let Some(name) = text.strip_prefix("--").or_else(|| text.strip_prefix('-')).filter(|name| !name.is_empty())
        else {
            let ours = persona == Persona::Cairnd && text == health_check::SUBCOMMAND;
            if normal.len() == 1 && (ours || text == cairn_manual::SUBCOMMAND) {
                normal.push(arg);
                normal.extend(args);
                return Ok(normal);
            }
            return Err(ConfigError::Word(text.to_owned()));
        };
        if name == "h" {
            normal.push("--help".into());
            continue;
        }
        let takes_next = !name.contains('=') && flags::find(name).is_some_and(|flag| flag.kind != Kind::Bool);
        normal.push(format!("--{name}").into());
        if takes_next {
            normal.extend(args.next());
        }
    }
    Ok(normal)
}

/// Reads command line and environment.
pub(crate) fn read(
    persona: Persona,
    args: Vec<OsString>,
    env: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Request, ConfigError> {
    // Under etcd's name it is a word too many, as in etcd.
    if persona == Persona::Cairnd && args.len() == 2 && args[1] == build_info::SUBCOMMAND {
        return Ok(Request::BuildInfo);
    }
    let command = command().mut_subcommand(health_check::SUBCOMMAND, |check| check.hide(persona == Persona::Etcd));
    let matches = command.try_get_matches_from(normalise(persona, args)?).map_err(ConfigError::CommandLine)?;
    match matches.subcommand() {
        Some((cairn_manual::SUBCOMMAND, docs)) => {
            let out = docs.get_one::<std::path::PathBuf>("out").expect("clap requires it").clone();
            return Ok(Request::GenerateDocs { out });
        }
        Some((health_check::SUBCOMMAND, check)) => {
            return health_check::read(check, env).map(Request::HealthCheck).map_err(ConfigError::HealthCheck);
        }
        _ => {}
    }
    if matches.get_flag("version") {
        return Ok(Request::Version);
    }
    let mut settings = Settings::default();
    let names = FLAGS.iter().map(|flag| flag.name).chain(ALIASES.iter().map(|(old, _)| *old));
    for name in names {
        if let Some(value) = matches.get_one::<String>(name) {
            let current = flags::find(name).expect("names come from the table").name;
            settings.values.insert(current, value.clone());
        }
    }
    for name in IGNORED.iter().filter(|name| matches.contains_id(name)) {
        settings.warnings.push(format!("flag --{name} of an old release is no longer used and has no effect"));
    }
    add_environment(persona, &mut settings, env)?;
    Ok(Request::Serve(settings))
}

fn add_environment(
    persona: Persona,
    settings: &mut Settings,
    env: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), ConfigError> {
    for (variable, value) in env {
        let Some(variable) = variable.to_str() else { continue };
        let Some(option) = variable.strip_prefix(persona.env_prefix()) else { continue };
        let Some(flag) = flags::find(&option.to_ascii_lowercase().replace('_', "-")) else {
            if !OTHER_VARIABLES.contains(&option) {
                settings.warnings.push(format!("unrecognized environment variable {variable}; it has no effect"));
            }
            continue;
        };
        if settings.values.contains_key(flag.name) {
            return Err(ConfigError::Shadowed { variable: variable.to_owned(), flag: flag.name });
        }
        let value = value.into_string().map_err(ConfigError::NotText)?;
        if !value.is_empty() {
            settings.values.insert(flag.name, value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(persona: Persona, args: &[&str], env: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let args = std::iter::once("cairnd").chain(args.iter().copied()).map(OsString::from).collect();
        let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        match read(persona, args, env)? {
            Request::Serve(settings) => Ok(settings),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_dash_and_two_are_the_same_and_the_last_of_several_wins() {
        let settings = settings(Persona::Cairnd, &["-name", "a", "--name=b", "-unsafe-no-fsync"], &[]).unwrap();
        assert_eq!(settings.values["name"], "b");
        assert_eq!(settings.values["unsafe-no-fsync"], "true");
    }

    #[test]
    fn a_value_that_begins_with_a_dash_is_a_value() {
        let settings = settings(Persona::Cairnd, &["--quota-backend-bytes", "-1", "--name", "-x"], &[]).unwrap();
        assert_eq!(settings.values["quota-backend-bytes"], "-1");
        assert_eq!(settings.values["name"], "-x");
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn a_word_that_is_no_flag_is_refused() {
        assert!(matches!(settings(Persona::Cairnd, &["foo"], &[]), Err(ConfigError::Word(_))));
        assert!(matches!(settings(Persona::Cairnd, &["--unsafe-no-fsync", "false"], &[]), Err(ConfigError::Word(_))));
    }

    #[test]
    fn variables_count_under_the_prefix_of_the_program_s_name_only() {
        let env = [("CAIRN_NAME", "c"), ("ETCD_NAME", "e")];
        assert_eq!(settings(Persona::Cairnd, &[], &env).unwrap().values["name"], "c");
        assert_eq!(settings(Persona::Etcd, &[], &env).unwrap().values["name"], "e");
    }

    #[test]
    fn an_option_that_is_set_both_ways_stops_the_start() {
        let error = settings(Persona::Etcd, &["--name", "a"], &[("ETCD_NAME", "b")]).unwrap_err();
        assert!(error.to_string().contains("is shadowed by corresponding command-line flag"), "{error}");
    }

    #[test]
    fn an_unknown_variable_is_remarked_on() {
        let settings = settings(Persona::Etcd, &[], &[("ETCD_NOSUCH", "1"), ("ETCD_VERIFY", "all")]).unwrap();
        assert_eq!(settings.warnings.len(), 1);
    }

    #[test]
    fn a_flag_under_its_old_name_is_the_same_flag() {
        let args = ["--experimental-compaction-batch-limit=7"];
        assert_eq!(settings(Persona::Etcd, &args, &[]).unwrap().values["compaction-batch-limit"], "7");
    }
}
