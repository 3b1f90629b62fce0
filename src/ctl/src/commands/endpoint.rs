//! `endpoint status`, `health` and `hashkv`: one answer from each endpoint.

use std::time::Instant;

use cairn_api::etcdserverpb::*;
use cairn_client::Client;
use clap::{ArgMatches, Command};
use futures::future::join_all;
use tonic::Code;

use crate::cli::{int, integer, is_set, positional, switch};
use crate::client::Globals;
use crate::failure::{Exit, Failure, complain};
use crate::output::{Answer, Format, Health};

pub(super) fn command() -> Command {
    let named =
        |name: &'static str, about: &'static str| Command::new(name).about(about).arg(positional("").hide(true));
    Command::new("endpoint").about("Endpoints").arg(cluster_flag().global(true)).subcommands([
        named("status", "Print the status of each endpoint"),
        named("health", "Check the health of each endpoint"),
        named("hashkv", "Print the checksum of each endpoint's history")
            .arg(integer("rev", "Last revision that is included; 0: all")),
    ])
}

/// The flag that asks for all endpoints of the cluster.
pub(super) fn cluster_flag() -> clap::Arg {
    switch("cluster", "Use all endpoints of the cluster, from its list of members")
}

pub(super) async fn run(globals: &Globals, name: &str, matches: &ArgMatches) -> Result<(), Failure> {
    let format = globals.format(Format::LIST)?;
    let endpoints = endpoints(globals, matches).await?;
    match name {
        "status" => status(globals, format, &endpoints).await,
        "health" => health(globals, format, &endpoints).await,
        _ => hash_kv(globals, format, &endpoints, int(matches, "rev")).await,
    }
}

/// The endpoints that are meant: those of the flag, or with `--cluster` those that the members advertise.
pub(super) async fn endpoints(globals: &Globals, matches: &ArgMatches) -> Result<Vec<String>, Failure> {
    if !is_set(matches, "cluster") {
        return Ok(globals.endpoints.clone());
    }
    let list = globals.client()?.member_list(MemberListRequest { linearizable: true }).await;
    let list = list.map_err(|error| {
        Failure::rpc(Exit::Error, &error, |text| {
            format!("failed to fetch endpoints from etcd cluster member list: {text}")
        })
    })?;
    let mut endpoints: Vec<String> = Vec::new();
    for url in list.members.into_iter().flat_map(|member| member.client_ur_ls) {
        if !endpoints.contains(&url) {
            endpoints.push(url);
        }
    }
    Ok(endpoints)
}

async fn status(globals: &Globals, format: Format, endpoints: &[String]) -> Result<(), Failure> {
    let mut answers = Vec::new();
    for endpoint in endpoints {
        match globals.client_of(endpoint)?.status(StatusRequest {}).await {
            Ok(answer) => answers.push((endpoint.clone(), answer)),
            Err(error) => complain(&format!("Failed to get the status of endpoint {endpoint} ({error})")),
        }
    }
    let complete = answers.len() == endpoints.len();
    globals.print(format, &Answer::Status(answers))?;
    if complete { Ok(()) } else { Err(Failure::silent(Exit::Error)) }
}

async fn hash_kv(globals: &Globals, format: Format, endpoints: &[String], revision: i64) -> Result<(), Failure> {
    let mut answers = Vec::new();
    let mut failure = None;
    for endpoint in endpoints {
        match globals.client_of(endpoint)?.hash_kv(HashKvRequest { revision }).await {
            Ok(answer) => answers.push((endpoint.clone(), answer)),
            Err(error) => {
                complain(&format!("Failed to get the hash of endpoint {endpoint} ({error})"));
                failure = Some(error);
            }
        }
    }
    // A table or a list of nothing is still printed by etcdctl; a format of lines has no line for it.
    globals.print(format, &Answer::HashKv(answers))?;
    failure.map_or(Ok(()), |error| Err(error.into()))
}

async fn health(globals: &Globals, format: Format, endpoints: &[String]) -> Result<(), Failure> {
    let clients = endpoints.iter().map(|endpoint| globals.client_of(endpoint)).collect::<Result<Vec<_>, _>>()?;
    let checks = endpoints.iter().zip(&clients).map(|(endpoint, client)| async move {
        let start = Instant::now();
        let error = illness(client).await;
        Health { endpoint: endpoint.clone(), took: start.elapsed(), error }
    });
    let answers = join_all(checks).await;
    let healthy = answers.iter().all(|health| health.error.is_none());
    globals.print(format, &Answer::Health(answers))?;
    if healthy { Ok(()) } else { Err(Failure::new(Exit::Error, "unhealthy cluster")) }
}

/// What keeps a member from being healthy: it must serve a linearizable read (to be refused one for lack of permission
/// proves as much), and there must be no alarm.
async fn illness(client: &Client) -> Option<String> {
    let read = client.range(RangeRequest { key: "health".into(), ..Default::default() }).await;
    match read {
        Err(error) if error.code() != Some(Code::PermissionDenied) => return Some(error.to_string()),
        _ => {}
    }
    match client.alarm(AlarmRequest::default()).await {
        Err(error) if error.code() == Some(Code::PermissionDenied) => None,
        Err(_) => Some("Unable to fetch the alarm list".to_owned()),
        Ok(list) if list.alarms.is_empty() => None,
        Ok(list) => {
            let names = list.alarms.iter().map(|alarm| match alarm.alarm() {
                AlarmType::None => "UNKNOWN ".to_owned(),
                kind => format!("{} ", kind.as_str_name()),
            });
            Some(format!("Active Alarm(s): {}", names.collect::<String>()))
        }
    }
}
