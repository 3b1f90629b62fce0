//! From lines of a script to requests.

use bytes::Bytes;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::alarm_request::AlarmAction;
use cairn_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use cairn_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use cairn_api::etcdserverpb::request_op::Request;
use cairn_state::{Command, ExpireLeases, MemberAttributes};

use crate::words::{at, bytes, flag, number, option};

type Lines<'a> = std::iter::Peekable<std::slice::Iter<'a, String>>;

pub(crate) fn split(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The command on this line, if it goes through the log; a transaction takes its body from `rest`.
pub(crate) fn command(line: &str, rest: &mut Lines<'_>) -> Option<Command> {
    let words = split(line);
    Some(match (words[0], words.get(1).copied().unwrap_or_default()) {
        ("put", _) => Command::Put(put(&words)),
        ("del", _) => Command::DeleteRange(delete_range(&words)),
        ("txn", _) => Command::Txn(txn(rest)),
        ("compact", _) => Command::Compact(pb::CompactionRequest { revision: at(&words, 1), physical: false }),
        ("lease", "grant") => Command::LeaseGrant(pb::LeaseGrantRequest { id: at(&words, 2), ttl: at(&words, 3) }),
        ("lease", "revoke") => Command::LeaseRevoke(pb::LeaseRevokeRequest { id: at(&words, 2) }),
        ("lease", "expire") => {
            Command::ExpireLeases(ExpireLeases { ids: (2..words.len()).map(|position| at(&words, position)).collect() })
        }
        ("lease", "checkpoint") => {
            let checkpoint = pb::LeaseCheckpoint { id: at(&words, 2), remaining_ttl: at(&words, 3) };
            Command::LeaseCheckpoint(pb::LeaseCheckpointRequest { checkpoints: vec![checkpoint] })
        }
        ("alarm", action) => Command::Alarm(alarm(action, &words)),
        ("attributes", _) => Command::MemberAttributes(MemberAttributes {
            member: at(&words, 1),
            name: words[2].to_owned(),
            client_urls: words[3..].iter().map(ToString::to_string).collect(),
        }),
        _ => return None,
    })
}

/// The words that are no options: a key and perhaps an end.
fn interval(words: &[&str]) -> (Bytes, Bytes) {
    let positional: Vec<_> = words[1..].iter().filter(|word| !word.contains('=') && !is_flag(word)).collect();
    let key = bytes(positional[0]);
    let mut end = positional.get(1).map(|word| bytes(word)).unwrap_or_default();
    if flag(words, "prefix") {
        end.clone_from(&key);
        *end.last_mut().expect("a prefix is not empty") += 1;
    }
    (key.into(), end.into())
}

fn is_flag(word: &str) -> bool {
    ["prefix", "prev", "keys", "count", "serializable", "ignore_value", "ignore_lease"].contains(&word)
}

fn put(words: &[&str]) -> pb::PutRequest {
    let (key, value) = interval(words);
    pb::PutRequest {
        key,
        value,
        lease: number(words, "lease"),
        prev_kv: flag(words, "prev"),
        ignore_value: flag(words, "ignore_value"),
        ignore_lease: flag(words, "ignore_lease"),
    }
}

fn delete_range(words: &[&str]) -> pb::DeleteRangeRequest {
    let (key, range_end) = interval(words);
    pb::DeleteRangeRequest { key, range_end, prev_kv: flag(words, "prev") }
}

pub(crate) fn range(words: &[&str]) -> pb::RangeRequest {
    let (key, range_end) = interval(words);
    let order = option(words, "order").map_or(0, |name| {
        let known = SortOrder::from_str_name(&name.to_uppercase()).map(|order| order as i32);
        known.unwrap_or_else(|| name.parse().expect("an order or its number"))
    });
    let target = option(words, "target").map_or(0, |name| {
        let known = SortTarget::from_str_name(&name.to_uppercase()).map(|target| target as i32);
        known.unwrap_or_else(|| name.parse().expect("a target or its number"))
    });
    pb::RangeRequest {
        key,
        range_end,
        limit: number(words, "limit"),
        revision: number(words, "rev"),
        sort_order: order,
        sort_target: target,
        serializable: flag(words, "serializable"),
        keys_only: flag(words, "keys"),
        count_only: flag(words, "count"),
        min_mod_revision: number(words, "min_mod"),
        max_mod_revision: number(words, "max_mod"),
        min_create_revision: number(words, "min_create"),
        max_create_revision: number(words, "max_create"),
    }
}

/// `alarm activate|deactivate|get nospace|corrupt|none [member]`.
fn alarm(action: &str, words: &[&str]) -> pb::AlarmRequest {
    let action = AlarmAction::from_str_name(&action.to_uppercase()).expect("an action");
    let alarm = pb::AlarmType::from_str_name(&words[2].to_uppercase()).expect("a type of alarm");
    let member_id = if words.len() > 3 { at(words, 3) } else { 0 };
    pb::AlarmRequest { action: action as i32, member_id, alarm: alarm as i32 }
}

/// The body of a transaction up to its `end`: lines `if`, then `then` and operations, `else` and operations.
pub(crate) fn txn(lines: &mut Lines<'_>) -> pb::TxnRequest {
    let mut request = pb::TxnRequest::default();
    let mut succeeded = true;
    while let Some(line) = lines.next() {
        let words = split(line);
        match words[0] {
            "end" => break,
            "if" => request.compare.push(compare(&words)),
            "then" => succeeded = true,
            "else" => succeeded = false,
            _ => {
                let branch = if succeeded { &mut request.success } else { &mut request.failure };
                branch.push(pb::RequestOp { request: operation(&words, lines) });
            }
        }
    }
    request
}

fn operation(words: &[&str], lines: &mut Lines<'_>) -> Option<Request> {
    Some(match words[0] {
        "put" => Request::RequestPut(put(words)),
        "del" => Request::RequestDeleteRange(delete_range(words)),
        "get" => Request::RequestRange(range(words)),
        "txn" => Request::RequestTxn(txn(lines)),
        "nothing" => return None,
        other => panic!("no operation is called {other}"),
    })
}

/// `if TARGET KEY[..END] =|!=|>|< [VALUE]`.
fn compare(words: &[&str]) -> pb::Compare {
    let target = CompareTarget::from_str_name(&words[1].to_uppercase()).expect("a target");
    let (key, end) = words[2].split_once("..").unwrap_or((words[2], "\"\""));
    let result = match words[3] {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        other => panic!("no comparison is called {other}"),
    };
    let target_union = (words.len() > 4).then(|| match target {
        CompareTarget::Value => TargetUnion::Value(bytes(words[4]).into()),
        CompareTarget::Version => TargetUnion::Version(at(words, 4)),
        CompareTarget::Create => TargetUnion::CreateRevision(at(words, 4)),
        CompareTarget::Mod => TargetUnion::ModRevision(at(words, 4)),
        CompareTarget::Lease => TargetUnion::Lease(at(words, 4)),
    });
    pb::Compare {
        result: result as i32,
        target: target as i32,
        key: bytes(key).into(),
        range_end: bytes(end).into(),
        target_union,
    }
}
