//! `member list`, `alarm`, `defrag`, `version` and `completion`.

use std::time::Instant;

use cairn_api::etcdserverpb::alarm_request::AlarmAction;
use cairn_api::etcdserverpb::*;
use clap::{Arg, ArgMatches, Command};
use clap_complete::Shell;

use super::{endpoint, kv};
use crate::cli::{self, Identity, args, positional, text};
use crate::client::Globals;
use crate::failure::{Exit, Failure, complain, say};
use crate::go;
use crate::output::{Answer, Format};

pub(super) fn member_command() -> Command {
    let list = Command::new("list")
        .about("List all members of the cluster")
        .arg(text("consistency", "Linearizable (l) or serializable (s)").default_value("l"))
        .arg(positional("").hide(true));
    Command::new("member").about("Members of the cluster").subcommand(list)
}

pub(super) fn alarm_command() -> Command {
    let named =
        |name: &'static str, about: &'static str| Command::new(name).about(about).arg(positional("").hide(true));
    Command::new("alarm")
        .about("Alarms")
        .subcommands([named("list", "List all alarms"), named("disarm", "Disarm all alarms")])
}

pub(super) fn defrag_command() -> Command {
    Command::new("defrag")
        .about("Ask each endpoint to give back space of its store")
        .arg(endpoint::cluster_flag())
        .arg(positional("").hide(true))
}

pub(super) fn version_command() -> Command {
    Command::new("version").about("Print the version").arg(positional("").hide(true))
}

pub(super) fn completion_command() -> Command {
    let shell = Arg::new("shell")
        .required(true)
        .value_name("SHELL")
        .value_parser(["bash", "zsh", "fish", "powershell"])
        .help("Shell to complete in");
    Command::new("completion").about("Print a script that completes command lines").arg(shell)
}

pub(super) fn version(identity: &Identity) -> Result<(), Failure> {
    say(identity.version())
}

pub(super) fn completion(identity: &Identity, matches: &ArgMatches) -> Result<(), Failure> {
    let shell = match matches.get_one::<String>("shell").map(String::as_str) {
        Some("zsh") => Shell::Zsh,
        Some("fish") => Shell::Fish,
        Some("powershell") => Shell::PowerShell,
        _ => Shell::Bash,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(identity), identity.name(), &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(())
}

pub(super) async fn member_list(globals: &Globals, matches: &ArgMatches) -> Result<(), Failure> {
    let consistency = matches.get_one::<String>("consistency").map_or("l", String::as_str);
    let linearizable = !kv::is_serializable(consistency)?;
    let format = globals.format(Format::ALL)?;
    let response = globals.client()?.member_list(MemberListRequest { linearizable }).await?;
    globals.print(format, &Answer::Members(response))
}

pub(super) async fn alarm(globals: &Globals, name: &str, matches: &ArgMatches) -> Result<(), Failure> {
    if !args(matches).is_empty() {
        return Err(Failure::bad_args(format!("alarm {name} command accepts no arguments")));
    }
    let format = globals.format(Format::MESSAGE)?;
    let client = globals.client()?;
    let list = client.alarm(AlarmRequest::default()).await?;
    if name == "list" {
        return globals.print(format, &Answer::Alarms(list));
    }
    let mut disarmed = AlarmResponse::default();
    for alarm in list.alarms {
        let request =
            AlarmRequest { action: AlarmAction::Deactivate.into(), member_id: alarm.member_id, alarm: alarm.alarm };
        disarmed.alarms.extend(client.alarm(request).await?.alarms);
    }
    globals.print(format, &Answer::Alarms(disarmed))
}

pub(super) async fn defrag(globals: &Globals, matches: &ArgMatches) -> Result<(), Failure> {
    let mut failed = false;
    for endpoint in endpoint::endpoints(globals, matches).await? {
        let start = Instant::now();
        let result = globals.client_of(&endpoint)?.defragment(DefragmentRequest {}).await;
        let took = go::duration(start.elapsed());
        match result {
            Ok(_) => say(format_args!("Finished defragmenting etcd member[{endpoint}]. took {took}\n"))?,
            Err(error) => {
                complain(&format!("Failed to defragment etcd member[{endpoint}]. took {took}. ({error})"));
                failed = true;
            }
        }
    }
    if failed { Err(Failure::silent(Exit::Error)) } else { Ok(()) }
}
