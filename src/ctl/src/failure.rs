//! How a command fails: a text after `Error: ` and one of etcdctl's exit codes.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use cairn_client::Error;

/// etcdctl's exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Error = 1,
    BadConnection = 2,
    InvalidInput = 3,
    BadFeature = 4,
    Interrupted = 5,
    Io = 6,
    BadArgs = 128,
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What follows `Error: `; `None` where all was said already.
    pub(crate) text: Option<String>,
    /// For people: what the last attempt ran into.
    cause: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: Some(text.into()), cause: None }
    }

    pub(crate) fn bad_args(text: impl Into<String>) -> Self {
        Self::new(Exit::BadArgs, text)
    }

    /// All was said on stderr already.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self { exit, text: None, cause: None }
    }

    /// A failed call, its text put where `{}` would stand in etcdctl's, under that exit code.
    pub(crate) fn rpc(exit: Exit, error: &Error, text: impl FnOnce(&str) -> String) -> Self {
        let cause = match error {
            Error::DeadlineExceeded { last } => last.clone(),
            _ => None,
        };
        Self { exit, text: Some(text(&error.to_string())), cause }
    }

    /// Prints what there is to say and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if let Some(cause) = self.cause {
            warn("the last attempt of the call failed", "error", &cause);
        }
        if let Some(text) = self.text {
            complain(&format!("Error: {text}"));
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error {
            Error::Endpoint { .. } => Exit::BadArgs,
            _ => Exit::Error,
        };
        Self::rpc(exit, &error, str::to_owned)
    }
}

/// Failing to write the answer: nobody reads any more, or the disk is full.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::silent(Exit::Io),
            _ => Self::new(Exit::Io, error.to_string()),
        }
    }
}

/// Text on stdout, all of it or a failure.
pub(crate) fn say(text: impl std::fmt::Display) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

/// A line on stderr. If nobody can read it there is nothing left to do about it.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A warning on stderr in the form of etcdctl's log lines, which scripts know to skip.
pub(crate) fn warn(message: &str, field: &str, value: &str) {
    // The level comes first: it is what such a line is recognised by.
    complain(&format!(r#"{{"level":"warn","msg":"{message}","{field}":{}}}"#, serde_json::Value::from(value)));
}
