//! `txn`: compares and operations from the standard input.
//!
//! Three lists, each ended by an empty line: compares, operations if all hold, operations otherwise.

use std::io::BufRead;

use cairn_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use cairn_api::etcdserverpb::request_op::Request;
use cairn_api::etcdserverpb::*;
use clap::{ArgMatches, Command};

use super::kv;
use crate::cli::{self, args, is_set, positional, switch};
use crate::client::Globals;
use crate::failure::{Exit, Failure, complain, say};
use crate::go;
use crate::output::{Answer, Format};

pub(super) fn command() -> Command {
    Command::new("txn")
        .about("Run one transaction that is read from the standard input")
        .after_help(
            "Input: compares, an empty line, operations if they hold, an empty line, operations otherwise, an empty line.\n\
             A compare: mod(\"key\") > \"5\"; targets: create, mod, value, version, lease (hexadecimal); operators: = != < >\n\
             An operation: get, put or del with its arguments and flags.",
        )
        .arg(switch("interactive", "Print what is to be entered").short('i'))
        .arg(positional("").hide(true))
}

pub(super) async fn run(globals: &Globals, matches: &ArgMatches) -> Result<(), Failure> {
    if !args(matches).is_empty() {
        return Err(Failure::bad_args("txn command does not accept argument"));
    }
    let format = globals.format(Format::MESSAGE)?;
    let request = read(&mut std::io::stdin().lock(), is_set(matches, "interactive"))?;
    globals.print(format, &Answer::Txn(globals.client()?.txn(request).await?))
}

fn read(input: &mut impl BufRead, interactive: bool) -> Result<TxnRequest, Failure> {
    let prompt = |text: &str| match interactive {
        true => say(format_args!("{text}\n")),
        false => Ok(()),
    };
    prompt("compares:")?;
    let compare = section(input)?.iter().map(|line| compare(line)).collect::<Result<_, _>>()?;
    prompt("success requests (get, put, del):")?;
    let success = section(input)?.iter().map(|line| operation(line)).collect::<Result<_, _>>()?;
    prompt("failure requests (get, put, del):")?;
    let failure = section(input)?.iter().map(|line| operation(line)).collect::<Result<_, _>>()?;
    Ok(TxnRequest { compare, success, failure })
}

/// The lines up to an empty one. Input that ends before is refused: something may be missing.
fn section(input: &mut impl BufRead) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        let read = input.read_line(&mut line).map_err(|error| invalid(error.to_string()))?;
        if read == 0 || !line.ends_with('\n') {
            return Err(invalid("EOF".to_owned()));
        }
        match line.trim() {
            "" => return Ok(lines),
            line => lines.push(line.to_owned()),
        }
    }
}

fn invalid(text: String) -> Failure {
    Failure::new(Exit::InvalidInput, text)
}

/// One line of the form `target("key") operator "value"`.
fn compare(line: &str) -> Result<Compare, Failure> {
    let malformed = |detail: String| invalid(format!("malformed comparison: {line}{detail}"));
    let (target, rest) = line.split_once('(').ok_or_else(|| malformed(String::new()))?;
    let parts = Parts::scan(rest);
    let Parts { key, operator, value: Some(value) } = &parts else {
        return Err(malformed(format!("; got {target}({}) {} \"\"", go::quote(&parts.key), parts.operator)));
    };
    let result = match operator.as_str() {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        "<" => CompareResult::Less,
        ">" => CompareResult::Greater,
        other => return Err(malformed(format!(" (unknown operator {other})"))),
    };
    let text = String::from_utf8_lossy(value);
    let number = |base| go::parse_int(&text, base).map_err(|_| invalid(format!("invalid txn compare request: {line}")));
    let (target, union) = match target {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number(10)?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number(10)?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number(10)?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(value.clone().into())),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number(16)?)),
        other => return Err(malformed(format!(" (unknown target {other})"))),
    };
    Ok(Compare {
        result: result.into(),
        target: target.into(),
        key: key.clone().into(),
        target_union: Some(union),
        range_end: Default::default(),
    })
}

/// What follows the opening parenthesis of a compare, as far as it could be read.
#[derive(Default)]
struct Parts {
    key: Vec<u8>,
    operator: String,
    value: Option<Vec<u8>>,
}

impl Parts {
    fn scan(text: &str) -> Self {
        let mut parts = Self::default();
        let Some((key, rest)) = go::scan_quoted(text.trim_start()) else { return parts };
        parts.key = key;
        let Some(rest) = rest.strip_prefix(')').filter(|rest| rest.starts_with(char::is_whitespace)) else {
            return parts;
        };
        let rest = rest.trim_start();
        let (operator, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        parts.operator = operator.to_owned();
        parts.value = go::scan_quoted(rest.trim_start()).map(|(value, _)| value);
        parts
    }
}

/// One line that is a `get`, `put` or `del` command.
fn operation(line: &str) -> Result<RequestOp, Failure> {
    let words = go::words(line).map_err(invalid)?;
    let [name, arguments @ ..] = &words[..] else {
        return Err(invalid(format!("invalid txn compare request: {line}")));
    };
    if arguments.is_empty() {
        return Err(invalid(format!("invalid txn compare request: {line}")));
    }
    let request = match &name[..] {
        b"get" => Request::RequestRange(kv::range_request(&parse(kv::get_command(), arguments, line)?)?),
        b"put" => Request::RequestPut(kv::put_request(&parse(kv::put_command(), arguments, line)?, || Ok(Vec::new()))?),
        b"del" => Request::RequestDeleteRange(kv::delete_request(&parse(kv::del_command(), arguments, line)?)?),
        _ => return Err(invalid(format!("invalid txn request: {line}"))),
    };
    Ok(RequestOp { request: Some(request) })
}

fn parse(command: Command, arguments: &[Vec<u8>], line: &str) -> Result<ArgMatches, Failure> {
    use std::os::unix::ffi::OsStringExt;
    let arguments = arguments.iter().map(|word| std::ffi::OsString::from_vec(word.clone()));
    command.no_binary_name(true).args_override_self(true).try_get_matches_from(arguments).map_err(|error| {
        complain(&cli::describe(&cli::Identity::cairn(), &error));
        invalid(format!("invalid txn request: {line}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(result: Result<impl std::fmt::Debug, Failure>) -> String {
        result.unwrap_err().text.unwrap_or_default()
    }

    #[test]
    fn compares_are_read_with_short_and_long_names_of_their_targets() {
        for (line, target) in [
            ("m(\"a\") > \"5\"", TargetUnion::ModRevision(5)),
            ("create(\"a\") > \"5\"", TargetUnion::CreateRevision(5)),
            ("version(\"a\") > \"5\"", TargetUnion::Version(5)),
            ("lease(\"a\") > \"1f\"", TargetUnion::Lease(31)),
            ("val(\"a\") > \"x\\ty\"", TargetUnion::Value("x\ty".into())),
        ] {
            let compare = compare(line).unwrap();
            assert_eq!(compare.target_union, Some(target));
            assert_eq!(compare.result(), CompareResult::Greater);
            assert_eq!(compare.key, "a");
        }
    }

    #[test]
    fn a_malformed_compare_is_refused_with_what_was_understood_of_it() {
        for (line, text) in [
            ("foo", "malformed comparison: foo"),
            ("mod(\"a\")", "malformed comparison: mod(\"a\"); got mod(\"a\")  \"\""),
            ("mod(\"a\") = 0", "malformed comparison: mod(\"a\") = 0; got mod(\"a\") = \"\""),
            ("mod(a) = \"0\"", "malformed comparison: mod(a) = \"0\"; got mod(\"\")  \"\""),
            ("mod(\"a\")=\"0\"", "malformed comparison: mod(\"a\")=\"0\"; got mod(\"a\")  \"\""),
            ("xx(\"a\") = \"0\"", "malformed comparison: xx(\"a\") = \"0\" (unknown target xx)"),
            ("mod(\"a\") = \"z\"", "invalid txn compare request: mod(\"a\") = \"z\""),
        ] {
            assert_eq!(error(compare(line)), text);
        }
    }

    #[test]
    fn operations_are_commands_with_their_flags() {
        let Some(Request::RequestPut(put)) = operation("put a \"b c\" --prev-kv").unwrap().request else {
            panic!("a put was written");
        };
        assert_eq!((&put.value[..], put.prev_kv), (&b"b c"[..], true));
        assert_eq!(error(operation("put")), "invalid txn compare request: put");
        assert_eq!(error(operation("bogus a")), "invalid txn request: bogus a");
        assert_eq!(error(operation("put a b --bogus")), "invalid txn request: put a b --bogus");
        assert_eq!(error(operation("del a b c")).split(' ').next(), Some("del"));
    }

    #[test]
    fn input_that_ends_within_a_list_is_refused() {
        let read = |text: &str| read(&mut text.as_bytes(), false);
        let whole = read("ver(\"a\") = \"0\"\n\nput a b\n\nget a\nget b\n\n").unwrap();
        assert_eq!((whole.compare.len(), whole.success.len(), whole.failure.len()), (1, 1, 2));
        for text in ["", "\n", "\n\n", "\n\nget a\n", "\n\nget a"] {
            assert_eq!(error(read(text)), "EOF");
        }
    }
}
