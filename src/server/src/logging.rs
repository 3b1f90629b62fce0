//! Log lines with the keys that etcd's have: `level`, `ts`, `caller`, `msg`, and then the fields.
//!
//! Left out: rotation (the system's tools do it) and the journal (it reads stderr).

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{LogConfig, LogOutput};

/// Begins to log. To be called once.
///
/// # Errors
/// Where a log file cannot be opened.
pub(crate) fn start(config: &LogConfig) -> io::Result<()> {
    let sinks = config.outputs.iter().map(Sink::open).collect::<io::Result<Vec<_>>>()?;
    let level = match config.level.as_str() {
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" => LevelFilter::WARN,
        _ => LevelFilter::ERROR,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .event_format(Lines { json: config.json })
        .with_writer(Sinks(Arc::new(Mutex::new(sinks))))
        .finish();
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)
}

enum Sink {
    Stderr,
    Stdout,
    File(File),
}

impl Sink {
    fn open(output: &LogOutput) -> io::Result<Self> {
        Ok(match output {
            LogOutput::Stderr => Self::Stderr,
            LogOutput::Stdout => Self::Stdout,
            LogOutput::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                Self::File(file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?)
            }
        })
    }
}

#[derive(Clone)]
struct Sinks(Arc<Mutex<Vec<Sink>>>);

impl<'a> MakeWriter<'a> for Sinks {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Sinks {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut sinks = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for sink in sinks.iter_mut() {
            match sink {
                Sink::Stderr => io::stderr().write_all(line)?,
                Sink::Stdout => io::stdout().write_all(line)?,
                Sink::File(file) => file.write_all(line)?,
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Lines {
    json: bool,
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Map<String, Value>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        } else {
            self.rest.insert(field.name().replace('_', "-"), value);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::from(value));
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let file = metadata.file().unwrap_or_default();
        let file = file.rsplit_once("src/").map_or(file, |(_, within)| within);
        let caller = format!(
            "{}/{file}:{}",
            metadata.target().split("::").next().unwrap_or_default(),
            metadata.line().unwrap_or(0)
        );
        let level = level_name(*metadata.level());
        if self.json {
            write_json(&mut writer, level, &time, &caller, &fields)
        } else {
            let rest = if fields.rest.is_empty() { String::new() } else { Value::Object(fields.rest).to_string() };
            writeln!(writer, "{time}\t{level}\t{caller}\t{}\t{rest}", fields.message)
        }
    }
}

/// Written by hand up to the message, because readers expect the keys in this order.
fn write_json(writer: &mut Writer<'_>, level: &str, time: &str, caller: &str, fields: &Fields) -> fmt::Result {
    let message = Value::from(fields.message.as_str());
    write!(writer, r#"{{"level":"{level}","ts":"{time}","caller":{},"msg":{message}"#, Value::from(caller))?;
    for (name, value) in &fields.rest {
        write!(writer, ",{}:{value}", Value::from(name.as_str()))?;
    }
    writer.write_str("}\n")
}

/// An error and all that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _infallible = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
