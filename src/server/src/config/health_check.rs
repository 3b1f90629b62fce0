//! The subcommand `healthcheck`: which server is asked, and how long.
//!
//! It is for whoever watches the process (the health check of a container, an exec probe of Kubernetes, systemd). Such a
//! watcher has the server's environment and not its command line, hence the default of the endpoint. Under the name etcd
//! there is no such word: etcd takes flags only.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};

use super::flags;
use super::value::{self, Url};

/// The word on the command line.
pub(crate) const SUBCOMMAND: &str = "healthcheck";

/// The variable that the server takes its addresses from.
const LISTEN_VARIABLE: &str = "CAIRN_LISTEN_CLIENT_URLS";

/// Within this time a server that is well answers; below the usual limits of those who run the check.
const DEADLINE: &str = "3s";

/// What the subcommand was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthCheck {
    /// The address that is asked.
    pub(crate) endpoint: Url,
    /// For connection and answer together.
    pub(crate) deadline: Duration,
}

/// The subcommand's command line.
pub(super) fn subcommand() -> Command {
    let endpoint = Arg::new("endpoint").long("endpoint").value_name("URL").value_parser(endpoint).help(format!(
        "Client address of the server [default: the first of {LISTEN_VARIABLE} or, without it, {}]",
        listen_default()
    ));
    let deadline = Arg::new("deadline").long("deadline").value_name("DURATION").default_value(DEADLINE);
    Command::new(SUBCOMMAND)
        .about("Ask a running server whether it serves (--endpoint, --deadline): exit code 0 if it does, 1 if not")
        .after_help("A listening address that stands for all (0.0.0.0, [::]) is asked on this machine.")
        .arg(endpoint)
        .arg(deadline.value_parser(deadline_of).help("Longest time until the answer"))
}

fn listen_default() -> &'static str {
    flags::find("listen-client-urls").expect("the table has it").default
}

/// Reads what was asked for; `env` is the environment of the process.
pub(super) fn read(
    matches: &ArgMatches,
    mut env: impl Iterator<Item = (OsString, OsString)>,
) -> Result<HealthCheck, String> {
    let endpoint = match matches.get_one::<Url>("endpoint") {
        Some(endpoint) => endpoint.clone(),
        None => {
            let set = env.find(|(name, value)| name == LISTEN_VARIABLE && !value.is_empty());
            let urls = set.map_or_else(|| listen_default().into(), |(_, urls)| urls);
            endpoint(&urls.to_string_lossy()).map_err(|reason| format!("{LISTEN_VARIABLE}: {reason}"))?
        }
    };
    let deadline = *matches.get_one("deadline").expect("it has a default");
    Ok(HealthCheck { endpoint, deadline })
}

/// The first of the URLs, as one who is on the same machine reaches it.
fn endpoint(urls: &str) -> Result<Url, String> {
    let mut url = value::urls(urls)?.swap_remove(0);
    if url.scheme != "http" {
        return Err(format!("{} cannot be asked: TLS and unix sockets are not supported yet", url.text));
    }
    url.host = match url.host.parse() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.to_string(),
        _ => url.host,
    };
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    url.text = format!("http://{host}:{}", url.port);
    Ok(url)
}

fn deadline_of(text: &str) -> Result<Duration, String> {
    value::duration(text)
        .filter(|deadline| !deadline.is_zero())
        .ok_or_else(|| "not a duration such as 300ms, 5s or 1m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, ConfigError, Persona, Request};

    fn asked(persona: Persona, args: &[&str], listen: Option<&str>) -> Result<HealthCheck, ConfigError> {
        let args = ["cairnd"].iter().chain(args).map(OsString::from).collect();
        let env = listen.map(|urls| (OsString::from(LISTEN_VARIABLE), OsString::from(urls)));
        match config::read(persona, args, env.into_iter())? {
            Request::HealthCheck(check) => Ok(check),
            other => panic!("{other:?}"),
        }
    }

    fn default_endpoint(listen: Option<&str>) -> String {
        asked(Persona::Cairnd, &[SUBCOMMAND], listen).unwrap().endpoint.text
    }

    #[test]
    fn without_a_flag_the_server_s_own_variable_says_whom_to_ask() {
        assert_eq!(default_endpoint(None), "http://localhost:2379");
        assert_eq!(default_endpoint(Some("")), "http://localhost:2379");
        assert_eq!(default_endpoint(Some("http://10.1.2.3:7,http://127.0.0.1:8")), "http://10.1.2.3:7");
    }

    #[test]
    fn an_address_that_stands_for_all_is_asked_on_this_machine() {
        assert_eq!(default_endpoint(Some("http://0.0.0.0:2379")), "http://127.0.0.1:2379");
        assert_eq!(default_endpoint(Some("http://[::]:1")), "http://[::1]:1");
    }

    #[test]
    fn the_flags_win_and_are_checked() {
        let args = [SUBCOMMAND, "--endpoint", "http://127.0.0.1:5", "--deadline=150ms"];
        let check = asked(Persona::Cairnd, &args, Some("http://127.0.0.1:9")).unwrap();
        assert_eq!((check.endpoint.port, check.deadline), (5, Duration::from_millis(150)));
        for wrong in [["--endpoint", "127.0.0.1:5"], ["--endpoint", "https://a:1"], ["--deadline", "0"]] {
            let error = asked(Persona::Cairnd, &[SUBCOMMAND, wrong[0], wrong[1]], None).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }

    #[test]
    fn a_variable_that_cannot_be_asked_is_named() {
        let error = asked(Persona::Cairnd, &[SUBCOMMAND], Some("https://a:1")).unwrap_err();
        assert!(error.to_string().starts_with("CAIRN_LISTEN_CLIENT_URLS: https://a:1 cannot be asked"), "{error}");
    }

    #[test]
    fn under_the_name_etcd_it_is_a_word_as_any_other() {
        let error = asked(Persona::Etcd, &[SUBCOMMAND], None).unwrap_err();
        assert!(matches!(error, ConfigError::Word(_)), "{error}");
    }

    #[test]
    fn the_help_has_it_except_under_the_name_etcd() {
        let help = |persona| {
            let args = ["cairnd", "--help"].map(OsString::from).to_vec();
            config::read(persona, args, std::iter::empty()).unwrap_err().to_string()
        };
        assert!(help(Persona::Cairnd).contains(SUBCOMMAND));
        assert!(!help(Persona::Etcd).contains(SUBCOMMAND));
    }
}
