//! What the global flags say: the output format, and how to reach the cluster.

use std::time::Duration;

use cairn_client::{Client, Options};
use clap::ArgMatches;

use crate::cli::{GLOBAL_FLAGS, Identity, int, is_set};
use crate::env;
use crate::failure::{Exit, Failure, complain};
use crate::output::{Answer, Format, Rendered};

/// The global flags, read.
#[derive(Debug)]
pub(crate) struct Globals {
    pub(crate) identity: Identity,
    pub(crate) endpoints: Vec<String>,
    /// As given; etcdctl looks at it only where something is printed.
    format: Option<Format>,
    pub(crate) hex: bool,
    options: Options,
}

impl Globals {
    pub(crate) fn from(identity: &Identity, matches: &ArgMatches) -> Self {
        let duration = |name| matches.get_one::<Duration>(name).copied().unwrap_or_default();
        let write_out = matches.get_one::<String>("write-out").map_or("simple", String::as_str);
        let options = Options {
            dial_timeout: duration("dial-timeout"),
            timeout: Some(duration("command-timeout")),
            keepalive_time: duration("keepalive-time"),
            keepalive_timeout: duration("keepalive-timeout"),
            max_send_bytes: match usize::try_from(int(matches, "max-request-bytes")) {
                Ok(0) | Err(_) => Options::default().max_send_bytes,
                Ok(limit) => limit,
            },
        };
        let endpoints = matches.get_many::<String>("endpoints").into_iter().flatten().cloned().collect();
        if is_set(matches, "debug") {
            print_flags(identity, matches);
        }
        Self {
            identity: identity.clone(),
            endpoints,
            format: Format::from_name(write_out),
            hex: is_set(matches, "hex"),
            options,
        }
    }

    /// A client of all endpoints.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.endpoints, self.options.clone())?)
    }

    /// A client of one endpoint, for calls that are about the member that answers.
    pub(crate) fn client_of(&self, endpoint: &str) -> Result<Client, Failure> {
        Ok(Client::connect([endpoint], self.options.clone())?)
    }

    /// The output format, if there is such a one and it is among those. Checked before a command does anything.
    pub(crate) fn format(&self, supported: &[Format]) -> Result<Format, Failure> {
        let format = self.format.ok_or_else(|| Failure::new(Exit::BadFeature, "unsupported output format"))?;
        if supported.contains(&format) {
            return Ok(format);
        }
        Err(Failure::new(Exit::BadFeature, format!("{} not supported as output format", format.name())))
    }

    /// Prints an answer.
    pub(crate) fn print(&self, format: Format, answer: &Answer) -> Result<(), Failure> {
        use std::io::Write;
        let Rendered { out, err } = answer.render(format, self.hex);
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&out)?;
        stdout.flush()?;
        std::io::stderr().write_all(err.as_bytes())?;
        Ok(())
    }
}

fn print_flags(identity: &Identity, matches: &ArgMatches) {
    for flag in GLOBAL_FLAGS {
        let values: Vec<_> = matches.get_raw(flag).into_iter().flatten().map(|value| value.to_string_lossy()).collect();
        complain(&format!("{}={}", env::variable(identity, flag), values.join(",")));
    }
}
