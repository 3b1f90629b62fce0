//! `get`, `put`, `del` and `compaction`; the first three also as operations of a transaction.

use std::io::{IsTerminal, Read};
use std::time::Duration;

use bytes::Bytes;
use cairn_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use cairn_api::etcdserverpb::*;
use clap::{ArgMatches, Command};

use crate::cli::{args, int, integer, is_set, positional, switch, text};
use crate::client::Globals;
use crate::failure::{Exit, Failure, complain, say};
use crate::go;
use crate::output::{Answer, Format};

/// Time to think again before a range is deleted that may have been meant as two keys (etcdctl's).
const RANGE_DELETE_PAUSE: Duration = Duration::from_secs(2);

pub(crate) fn get_command() -> Command {
    Command::new("get").about("Get a key or a range of keys [key, range_end)").arg(positional("KEY [RANGE_END]")).args(
        [
            text("consistency", "Linearizable (l) or serializable (s)").default_value("l"),
            text("order", "Order of the results: ASCEND or DESCEND").default_value(""),
            text("sort-by", "What to sort by: CREATE, KEY, MODIFY, VALUE or VERSION").default_value(""),
            integer("limit", "Most results; 0: all"),
            switch("prefix", "Get the keys that begin with the given one"),
            switch("from-key", "Get the keys that are not less than the given one"),
            integer("rev", "Revision to read at; 0: the latest"),
            switch("keys-only", "Get only the keys"),
            switch("count-only", "Get only the number of keys"),
            switch("print-value-only", "Print only values, in the format simple"),
            integer("min-create-rev", "Leave out keys created before this revision"),
            integer("max-create-rev", "Leave out keys created after this revision"),
            integer("min-mod-rev", "Leave out keys modified before this revision"),
            integer("max-mod-rev", "Leave out keys modified after this revision"),
        ],
    )
}

pub(crate) fn put_command() -> Command {
    Command::new("put")
        .about("Put a key")
        .after_help("The value is read from the standard input where it is not given.\nA value that begins with '-' goes after '--'.")
        .arg(positional("KEY [VALUE]"))
        .args([
            text("lease", "Lease to attach the key to, in hexadecimal").default_value("0"),
            switch("prev-kv", "Print the previous key and value"),
            switch("ignore-value", "Keep the value that the key has"),
            switch("ignore-lease", "Keep the lease that the key has"),
        ])
}

pub(crate) fn del_command() -> Command {
    Command::new("del")
        .about("Delete a key or a range of keys [key, range_end)")
        .arg(positional("KEY [RANGE_END]"))
        .args([
            switch("prefix", "Delete the keys that begin with the given one"),
            switch("from-key", "Delete the keys that are not less than the given one"),
            switch("prev-kv", "Print the deleted keys and values"),
            switch("range", "Two arguments are meant as a range: do not ask for a second thought"),
        ])
}

pub(super) fn compaction_command() -> Command {
    Command::new("compaction")
        .visible_alias("compact")
        .about("Forget all revisions before the given one that later ones replaced")
        .arg(positional("REVISION"))
        .arg(switch("physical", "Wait until the old revisions are gone from the disk"))
}

pub(super) async fn get(globals: &Globals, matches: &ArgMatches) -> Result<(), Failure> {
    let request = range_request(matches)?;
    let format = globals.format(Format::ALL)?;
    if request.count_only && format != Format::Fields {
        return Err(Failure::bad_args("--count-only is only for `--write-out=fields`"));
    }
    let value_only = is_set(matches, "print-value-only");
    if value_only && format != Format::Simple {
        return Err(Failure::bad_args("print-value-only is only for `--write-out=simple`"));
    }
    let format = globals.format(Format::MESSAGE)?;
    let response = globals.client()?.range(request).await?;
    globals.print(format, &Answer::Get { response, value_only })
}

pub(super) async fn put(globals: &Globals, matches: &ArgMatches) -> Result<(), Failure> {
    let request = put_request(matches, read_stdin)?;
    let format = globals.format(Format::MESSAGE)?;
    globals.print(format, &Answer::Put(globals.client()?.put(request).await?))
}

pub(super) async fn del(globals: &Globals, matches: &ArgMatches) -> Result<(), Failure> {
    let request = delete_request(matches)?;
    let format = globals.format(Format::MESSAGE)?;
    if args(matches).len() == 2 && !is_set(matches, "range") && std::io::stderr().is_terminal() {
        complain("Warning: all keys from the first up to the second are deleted. --range says that this is meant.");
        tokio::time::sleep(RANGE_DELETE_PAUSE).await;
    }
    globals.print(format, &Answer::Delete(globals.client()?.delete_range(request).await?))
}

pub(super) async fn compaction(globals: &Globals, matches: &ArgMatches) -> Result<(), Failure> {
    let [revision] = &args(matches)[..] else {
        return Err(Failure::bad_args("compaction command needs 1 argument"));
    };
    let text = String::from_utf8_lossy(revision);
    let revision = go::parse_int(&text, 10).map_err(|error| Failure::new(Exit::Error, error))?;
    let request = CompactionRequest { revision, physical: is_set(matches, "physical") };
    globals.client()?.compact(request).await?;
    say(format_args!("compacted revision {revision}\n"))
}

/// What `get` asks for.
pub(crate) fn range_request(matches: &ArgMatches) -> Result<RangeRequest, Failure> {
    let args = args(matches);
    let choice = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
    if args.is_empty() {
        return Err(Failure::bad_args("get command needs one argument as key and an optional argument as range_end"));
    }
    if is_set(matches, "keys-only") && is_set(matches, "count-only") {
        return Err(Failure::bad_args("`--keys-only` and `--count-only` cannot be set at the same time, choose one"));
    }
    let (key, range_end) = key_range(matches, &args)?;
    let (sort_order, sort_target) = sorting(choice("order"), choice("sort-by"))?;
    let serializable = is_serializable(choice("consistency"))?;
    Ok(RangeRequest {
        key,
        range_end,
        limit: int(matches, "limit"),
        revision: int(matches, "rev"),
        sort_order: sort_order.into(),
        sort_target: sort_target.into(),
        serializable,
        keys_only: is_set(matches, "keys-only"),
        count_only: is_set(matches, "count-only"),
        min_mod_revision: int(matches, "min-mod-rev"),
        max_mod_revision: int(matches, "max-mod-rev"),
        min_create_revision: int(matches, "min-create-rev"),
        max_create_revision: int(matches, "max-create-rev"),
    })
}

/// Order and target that the flags mean.
fn sorting(order: &str, target: &str) -> Result<(SortOrder, SortTarget), Failure> {
    let bad = |what: &str, given: &str| Failure::new(Exit::BadFeature, format!("bad sort {what} {given}"));
    let by = match target.to_ascii_uppercase().as_str() {
        "" | "KEY" => SortTarget::Key,
        "CREATE" => SortTarget::Create,
        "MODIFY" => SortTarget::Mod,
        "VALUE" => SortTarget::Value,
        "VERSION" => SortTarget::Version,
        _ => return Err(bad("target", target)),
    };
    let order = match order.to_ascii_uppercase().as_str() {
        "" => SortOrder::None,
        // Keys come in this order anyway; to sort them again would only cost the server memory.
        "ASCEND" if by == SortTarget::Key => SortOrder::None,
        "ASCEND" => SortOrder::Ascend,
        "DESCEND" => SortOrder::Descend,
        _ => return Err(bad("order", order)),
    };
    Ok((order, by))
}

/// What `--consistency` means.
pub(super) fn is_serializable(flag: &str) -> Result<bool, Failure> {
    match flag {
        "l" => Ok(false),
        "s" => Ok(true),
        other => {
            let text = format!("unknown consistency flag {}", go::quote(other.as_bytes()));
            Err(Failure::new(Exit::BadFeature, text))
        }
    }
}

/// What `put` asks for; `input` gives the value where the command line does not.
pub(crate) fn put_request(
    matches: &ArgMatches,
    input: impl FnOnce() -> Result<Vec<u8>, Failure>,
) -> Result<PutRequest, Failure> {
    let too_few = || Failure::bad_args("put command needs 1 argument and input from stdin or 2 arguments");
    let mut args = args(matches).into_iter();
    let key = args.next().ok_or_else(too_few)?;
    let (ignore_value, ignore_lease) = (is_set(matches, "ignore-value"), is_set(matches, "ignore-lease"));
    let value = match args.next() {
        Some(_) if ignore_value => {
            return Err(Failure::bad_args("put command needs only 1 argument when 'ignore-value' is set"));
        }
        Some(value) => value,
        None if ignore_value => Vec::new(),
        None => {
            let value = input()?;
            if value.is_empty() {
                return Err(too_few());
            }
            value
        }
    };
    let lease = matches.get_one::<String>("lease").map_or("0", String::as_str);
    let lease = go::parse_int(lease, 16)
        .map_err(|error| Failure::bad_args(format!("bad lease ID ({error}), expecting ID in Hex")))?;
    let prev_kv = is_set(matches, "prev-kv");
    Ok(PutRequest { key: key.into(), value: value.into(), lease, prev_kv, ignore_value, ignore_lease })
}

/// What `del` asks for.
pub(crate) fn delete_request(matches: &ArgMatches) -> Result<DeleteRangeRequest, Failure> {
    let args = args(matches);
    if args.is_empty() || args.len() > 2 {
        return Err(Failure::bad_args("del command needs one argument as key and an optional argument as range_end"));
    }
    let (key, range_end) = key_range(matches, &args)?;
    Ok(DeleteRangeRequest { key, range_end, prev_kv: is_set(matches, "prev-kv") })
}

/// The range that arguments and the flags `--prefix` and `--from-key` mean.
fn key_range(matches: &ArgMatches, args: &[Vec<u8>]) -> Result<(Bytes, Bytes), Failure> {
    let (prefix, from_key) = (is_set(matches, "prefix"), is_set(matches, "from-key"));
    if prefix && from_key {
        return Err(Failure::bad_args("`--prefix` and `--from-key` cannot be set at the same time, choose one"));
    }
    if (prefix || from_key) && args.len() > 1 {
        let text = "too many arguments, only accept one argument when `--prefix` or `--from-key` is set";
        return Err(Failure::bad_args(text));
    }
    let key = args.first().cloned().unwrap_or_default();
    if prefix || from_key {
        let end = if prefix { prefix_end(&key) } else { vec![0] };
        return Ok((if key.is_empty() { vec![0] } else { key }.into(), end.into()));
    }
    Ok((key.into(), args.get(1).cloned().unwrap_or_default().into()))
}

/// The end of the range of all keys that begin with `prefix`; a zero byte where it is the end of all keys.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let Some(last) = prefix.iter().rposition(|&byte| byte < 0xff) else { return vec![0] };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    Ok(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(args: &[&str]) -> Result<RangeRequest, Failure> {
        let command = get_command().no_binary_name(true);
        range_request(&command.try_get_matches_from(args).expect("the arguments are well-formed"))
    }

    #[test]
    fn a_prefix_ends_where_its_last_byte_that_can_is_one_more() {
        assert_eq!(prefix_end(b"ab"), b"ac");
        assert_eq!(prefix_end(b"a\xff\xff"), b"b");
        assert_eq!(prefix_end(b"\xff"), [0]);
        assert_eq!(prefix_end(b""), [0]);
    }

    #[test]
    fn an_empty_key_with_prefix_or_from_key_means_all_keys() {
        for flag in ["--prefix", "--from-key"] {
            let request = get(&["", flag]).unwrap();
            assert_eq!((&request.key[..], &request.range_end[..]), (&b"\0"[..], &b"\0"[..]));
        }
        assert!(get(&[""]).unwrap().key.is_empty());
    }

    #[test]
    fn numbers_may_be_negative_or_in_another_base() {
        let request = get(&["a", "--rev", "-1", "--limit=0x10"]).unwrap();
        assert_eq!((request.revision, request.limit), (-1, 16));
    }

    #[test]
    fn wrong_choices_are_refused_with_etcdctls_texts() {
        for (args, text) in [
            (&["a", "--order", "X"][..], "bad sort order X"),
            (&["a", "--sort-by", "X"], "bad sort target X"),
            (&["a", "--consistency", "z"], "unknown consistency flag \"z\""),
            (&[], "get command needs one argument as key and an optional argument as range_end"),
        ] {
            assert_eq!(get(args).unwrap_err().text.as_deref(), Some(text));
        }
    }

    #[test]
    fn a_value_comes_from_the_input_only_where_it_is_not_given() {
        let put = |args: &[&str], input: &'static [u8]| {
            let matches = put_command().no_binary_name(true).try_get_matches_from(args).unwrap();
            put_request(&matches, || Ok(input.to_vec()))
        };
        assert_eq!(put(&["a", "b"], b"c").unwrap().value, "b");
        assert_eq!(put(&["a"], b"c").unwrap().value, "c");
        assert_eq!(put(&["a", "--", "-b"], b"").unwrap().value, "-b");
        assert!(put(&["a", "--ignore-value"], b"c").unwrap().value.is_empty());
        assert!(put(&["a"], b"").unwrap_err().text.unwrap().starts_with("put command needs 1 argument"));
    }
}
