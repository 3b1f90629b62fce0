//! `watch`: prints events as they come, and may run a command for each.
//!
//! Interactively, lines of the standard input start watches and ask for their progress.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use cairn_api::etcdserverpb::*;
use cairn_api::mvccpb::Event;
use cairn_client::{Client, Progress, Watcher};
use clap::{Arg, ArgMatches, Command};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::kv;
use crate::cli::{self, args, int, integer, is_set, positional, switch};
use crate::client::Globals;
use crate::failure::{Exit, Failure, complain, say};
use crate::go;
use crate::output::{Answer, Format};
use crate::{cli::Identity, env};

pub(super) fn command() -> Command {
    Command::new("watch")
        .about("Watch a key or a range of keys [key, range_end)")
        .after_help("Key and range end may also come from the environment variables …_WATCH_KEY and …_WATCH_RANGE_END.")
        .arg(positional("KEY [RANGE_END]"))
        .arg(
            Arg::new("exec")
                .value_name("COMMAND")
                .num_args(1..)
                .last(true)
                .help("Command to run for each event; it finds the event in ETCD_WATCH_…")
                .value_parser(clap::value_parser!(OsString)),
        )
        .args([
            switch("interactive", "Read watches from the standard input").short('i'),
            switch("prefix", "Watch the keys that begin with the given one"),
            integer("rev", "Revision to start at; 0: from now on"),
            switch("prev-kv", "Print the previous key and value too"),
            switch("progress-notify", "Print from time to time how far the watch has come"),
        ])
}

/// What to do with what a watch reports.
struct Sink<'a> {
    globals: &'a Globals,
    format: Format,
    exec: Vec<OsString>,
}

pub(super) async fn run(globals: &Globals, matches: &ArgMatches, raw: &[OsString]) -> Result<(), Failure> {
    let interactive = is_set(matches, "interactive");
    if interactive {
        let format = globals.format(Format::MESSAGE)?;
        return self::interactive(globals, format).await;
    }
    if cli::ends_with_separator(raw) && !matches.contains_id("exec") {
        return Err(Failure::bad_args("bad number of arguments (found separator --, but no commands)"));
    }
    let request = request(&globals.identity, matches).map_err(Failure::bad_args)?;
    let format = globals.format(Format::MESSAGE)?;
    let sink = Sink { globals, format, exec: exec(matches) };
    sink.follow(globals.client()?.watch(request, true)).await?;
    Err(Failure::new(Exit::Interrupted, "watch is canceled by the server"))
}

fn exec(matches: &ArgMatches) -> Vec<OsString> {
    matches.get_many::<OsString>("exec").into_iter().flatten().cloned().collect()
}

/// The watch that the arguments, or in their place the environment, ask for.
fn request(identity: &Identity, matches: &ArgMatches) -> Result<WatchCreateRequest, String> {
    let given = args(matches);
    let from_env = |name| env::value(identity, name).map(OsString::into_vec);
    let args = match from_env("WATCH_KEY") {
        Some(_) if !given.is_empty() => {
            return Err("bad number of arguments (found conflicting environment key)".to_owned());
        }
        Some(key) => [Some(key), from_env("WATCH_RANGE_END")].into_iter().flatten().collect(),
        None => given,
    };
    let Some(key) = args.first() else { return Err("bad number of arguments".to_owned()) };
    let prefix = is_set(matches, "prefix");
    let range_end = match args.get(1) {
        Some(_) if prefix => return Err("`range_end` and `--prefix` are mutually exclusive".to_owned()),
        Some(end) if args.len() == 2 => end.clone(),
        _ if prefix => kv::prefix_end(key),
        _ => Vec::new(),
    };
    let key = if prefix && key.is_empty() { vec![0] } else { key.clone() };
    Ok(WatchCreateRequest {
        key: key.into(),
        range_end: range_end.into(),
        start_revision: int(matches, "rev"),
        progress_notify: is_set(matches, "progress-notify"),
        prev_kv: is_set(matches, "prev-kv"),
        ..Default::default()
    })
}

/// Reads watches until the input ends, which is an error as it is for etcdctl; they all run meanwhile.
async fn interactive(globals: &Globals, format: Format) -> Result<(), Failure> {
    let client = globals.client()?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut running = FuturesUnordered::new();
    let mut progress: Vec<Progress> = Vec::new();
    loop {
        tokio::select! {
            Some(ended) = running.next(), if !running.is_empty() => { let ended: Result<(), Failure> = ended; ended? }
            line = lines.next_line() => {
                let Ok(Some(line)) = line else {
                    return Err(Failure::new(Exit::InvalidInput, "error reading watch request line: EOF"));
                };
                if let Some((watcher, exec)) = start(globals, &client, &line, &progress)? {
                    progress.push(watcher.progress());
                    running.push(async move { Sink { globals, format, exec }.follow(watcher).await });
                }
            }
        }
    }
}

/// Does what a line says: returns a watch, or asks those that run for their progress, or complains.
fn start(
    globals: &Globals,
    client: &Client,
    line: &str,
    running: &[Progress],
) -> Result<Option<(Watcher, Vec<OsString>)>, Failure> {
    let words = go::words(line).map_err(|error| Failure::new(Exit::InvalidInput, error))?;
    let complain_of = |reason: &str| {
        complain(&format!("Invalid command {line} ({reason})"));
        Ok(None)
    };
    let has_env_key = env::value(&globals.identity, "WATCH_KEY").is_some();
    match &words[..] {
        [] => {
            complain(&format!("Invalid command: {line} (watch and progress supported)"));
            Ok(None)
        }
        [name] if name == b"progress" => {
            running.iter().for_each(Progress::request);
            Ok(None)
        }
        [name] if name == b"watch" && !has_env_key => complain_of("command type or key is not provided"),
        [name, arguments @ ..] if name == b"watch" => {
            let arguments = arguments.iter().map(|word| OsString::from_vec(word.clone()));
            let command = command().no_binary_name(true).args_override_self(true);
            let matches = command
                .try_get_matches_from(arguments)
                .map_err(|error| Failure::bad_args(cli::describe(&globals.identity, &error)))?;
            match request(&globals.identity, &matches) {
                Ok(request) => Ok(Some((client.watch(request, true), exec(&matches)))),
                Err(reason) => complain_of(&reason),
            }
        }
        _ => complain_of("only support watch"),
    }
}

impl Sink<'_> {
    /// Prints everything that a watch reports until the server ends it.
    async fn follow(&self, mut watcher: Watcher) -> Result<(), Failure> {
        while let Some(response) = watcher.next().await? {
            self.take(&response).await?;
        }
        Ok(())
    }

    async fn take(&self, response: &WatchResponse) -> Result<(), Failure> {
        // Of a watch that could not be created etcd's client passes on only that it is over.
        let refused = WatchResponse {
            header: Some(ResponseHeader::default()),
            canceled: true,
            cancel_reason: response.cancel_reason.clone(),
            ..Default::default()
        };
        let response = if response.created { &refused } else { response };
        if response.canceled {
            complain(&format!("watch was canceled ({})", reason(response)));
        } else if response.events.is_empty() {
            say(format_args!("progress notify: {}\n", response.header.unwrap_or_default().revision))?;
        }
        self.globals.print(self.format, &Answer::Watch(response.clone()))?;
        if !self.exec.is_empty() {
            for event in &response.events {
                self.execute(event, response.header.unwrap_or_default().revision).await?;
            }
        }
        Ok(())
    }

    async fn execute(&self, event: &Event, revision: i64) -> Result<(), Failure> {
        let [program, arguments @ ..] = &self.exec[..] else { return Ok(()) };
        std::io::stdout().flush()?;
        let kv = event.kv.clone().unwrap_or_default();
        let status = tokio::process::Command::new(program)
            .args(arguments)
            .env("ETCD_WATCH_REVISION", revision.to_string())
            .env("ETCD_WATCH_EVENT_TYPE", go::quote(event.r#type().as_str_name().as_bytes()))
            .env("ETCD_WATCH_KEY", go::quote(&kv.key))
            .env("ETCD_WATCH_VALUE", go::quote(&kv.value))
            .status()
            .await;
        let failed = |reason: String| {
            let command: Vec<_> = self.exec.iter().map(|word| go::quote(word.as_bytes())).collect();
            complain(&format!("command [{}] error ({reason})", command.join(" ")));
            Failure::silent(Exit::Error)
        };
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed(status.to_string().replace(": ", " "))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !has_slash(program) => {
                Err(failed(format!("exec: {}: executable file not found in $PATH", go::quote(program.as_bytes()))))
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

fn has_slash(program: &OsStr) -> bool {
    program.as_bytes().contains(&b'/')
}

/// Why the server ended a watch, as etcd's client words it.
fn reason(response: &WatchResponse) -> &str {
    if response.compact_revision != 0 {
        return cairn_api::ApiError::Compacted.text();
    }
    match response.cancel_reason.as_str() {
        "" => cairn_api::ApiError::FutureRev.text(),
        reason => reason,
    }
}
