//! The library's own log lines, handed to whoever the caller names.

use std::fmt::{self, Write};
use std::sync::Arc;

use slog::{Drain, KV, Level, Logger, Never, OwnedKVList, Record, Serializer};

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// An election, a change of role or of members.
    Info,
    /// Something that should not happen, and was handled.
    Warn,
    /// Something that must not happen.
    Error,
}

/// Takes the library's log lines. Called on the thread that drives consensus, so it must not block.
pub trait LogSink: Send + Sync {
    /// One line: the text, then `key=value` pairs.
    fn log(&self, level: LogLevel, line: &str);
}

/// A logger that forwards to `sink`, or discards.
pub(crate) fn logger(sink: Option<Arc<dyn LogSink>>) -> Logger {
    match sink {
        Some(sink) => Logger::root(Forward(sink), slog::o!()),
        None => Logger::root(slog::Discard, slog::o!()),
    }
}

struct Forward(Arc<dyn LogSink>);

// The logger wants drains that survive a panic of another user; a sink is shared, and keeps its own state consistent.
impl std::panic::UnwindSafe for Forward {}
impl std::panic::RefUnwindSafe for Forward {}

impl Drain for Forward {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let level = match record.level() {
            Level::Critical | Level::Error => LogLevel::Error,
            Level::Warning => LogLevel::Warn,
            Level::Info => LogLevel::Info,
            Level::Debug | Level::Trace => return Ok(()),
        };
        let mut line = Line(record.msg().to_string());
        // A line without its pairs is better than none; writing to a string does not fail.
        let _ = record.kv().serialize(record, &mut line).and_then(|()| values.serialize(record, &mut line));
        self.0.log(level, &line.0);
        Ok(())
    }
}

struct Line(String);

impl Serializer for Line {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}").map_err(slog::Error::from)
    }
}
