//! `lease grant`, `revoke`, `timetolive`, `list` and `keep-alive`.

use cairn_api::ApiError;
use cairn_api::etcdserverpb::*;
use clap::{ArgMatches, Command};

use crate::cli::{args, is_set, positional, switch};
use crate::client::Globals;
use crate::failure::{Exit, Failure, say};
use crate::go;
use crate::output::{Answer, Format};

pub(super) fn command() -> Command {
    let named = |name: &'static str, about: &'static str| Command::new(name).about(about);
    Command::new("lease").about("Leases").subcommands([
        named("grant", "Create a lease").arg(positional("TTL")),
        named("revoke", "End a lease and delete its keys").arg(positional("ID")),
        named("timetolive", "Print how long a lease has to live")
            .arg(positional("ID"))
            .arg(switch("keys", "Print the keys attached to the lease too")),
        named("list", "List all leases").arg(positional("").hide(true)),
        named("keep-alive", "Keep a lease alive")
            .arg(positional("ID"))
            .arg(switch("once", "Renew the lease once and return")),
    ])
}

pub(super) async fn run(globals: &Globals, name: &str, matches: &ArgMatches) -> Result<(), Failure> {
    match name {
        "grant" => grant(globals, matches).await,
        "revoke" => revoke(globals, matches).await,
        "timetolive" => time_to_live(globals, matches).await,
        "list" => list(globals).await,
        _ => keep_alive(globals, matches).await,
    }
}

async fn grant(globals: &Globals, matches: &ArgMatches) -> Result<(), Failure> {
    let ttl = only_argument(matches, "lease grant command needs TTL argument")?;
    let ttl = go::parse_int(&ttl, 10).map_err(|error| Failure::bad_args(format!("bad TTL ({error})")))?;
    let format = globals.format(Format::MESSAGE)?;
    let response = globals.client()?.lease_grant(LeaseGrantRequest { ttl, id: 0 }).await;
    let response = response
        .map_err(|error| Failure::rpc(Exit::Error, &error, |text| format!("failed to grant lease ({text})")))?;
    globals.print(format, &Answer::Grant(response))
}

async fn revoke(globals: &Globals, matches: &ArgMatches) -> Result<(), Failure> {
    let lease = lease_id(&only_argument(matches, "lease revoke command needs 1 argument")?)?;
    let format = globals.format(&[Format::Simple, Format::Json, Format::Fields])?;
    let response = globals.client()?.lease_revoke(LeaseRevokeRequest { id: lease }).await;
    let response = response
        .map_err(|error| Failure::rpc(Exit::Error, &error, |text| format!("failed to revoke lease ({text})")))?;
    globals.print(format, &Answer::Revoke { lease, response })
}

async fn time_to_live(globals: &Globals, matches: &ArgMatches) -> Result<(), Failure> {
    let id = lease_id(&only_argument(matches, "lease timetolive command needs lease ID as argument")?)?;
    let format = globals.format(Format::MESSAGE)?;
    let keys = is_set(matches, "keys");
    let response = globals.client()?.lease_time_to_live(LeaseTimeToLiveRequest { id, keys }).await;
    let response = response.map_err(|error| Failure::rpc(Exit::BadConnection, &error, str::to_owned))?;
    globals.print(format, &Answer::TimeToLive { response, keys })
}

async fn list(globals: &Globals) -> Result<(), Failure> {
    let format = globals.format(Format::MESSAGE)?;
    let response = globals.client()?.leases(LeaseLeasesRequest {}).await;
    let response = response.map_err(|error| Failure::rpc(Exit::BadConnection, &error, str::to_owned))?;
    globals.print(format, &Answer::Leases(response))
}

async fn keep_alive(globals: &Globals, matches: &ArgMatches) -> Result<(), Failure> {
    let lease = lease_id(&only_argument(matches, "lease keep-alive command needs lease ID as argument")?)?;
    let format = globals.format(Format::MESSAGE)?;
    let client = globals.client()?;
    let bad_connection = |error: cairn_client::Error| Failure::rpc(Exit::BadConnection, &error, str::to_owned);
    if is_set(matches, "once") {
        let response = client.keep_alive_once(lease).await.map_err(bad_connection)?;
        if response.ttl <= 0 {
            return Err(Failure::new(Exit::BadConnection, ApiError::LeaseNotFound.text()));
        }
        return globals.print(format, &Answer::KeepAlive(response));
    }
    let mut renewals = client.keep_alive(lease);
    while let Some(response) = renewals.next().await.map_err(bad_connection)? {
        globals.print(format, &Answer::KeepAlive(response))?;
    }
    if format == Format::Simple {
        say(format_args!("lease {lease:016x} expired or revoked.\n"))?;
    }
    Ok(())
}

fn only_argument(matches: &ArgMatches, complaint: &str) -> Result<String, Failure> {
    match &args(matches)[..] {
        [argument] => Ok(String::from_utf8_lossy(argument).into_owned()),
        _ => Err(Failure::bad_args(complaint)),
    }
}

fn lease_id(text: &str) -> Result<i64, Failure> {
    let bad = |error| Failure::bad_args(format!("bad lease ID arg ({error}), expecting ID in Hex"));
    go::parse_int(text, 16).map_err(bad)
}
