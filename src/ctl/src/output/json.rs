//! Format `json`: the bytes that Go's `encoding/json` makes of etcd's structs.
//!
//! Fields stand in the order of the message and are left out when they are zero, numbers are numbers, byte strings are
//! base64. The responses of watches and leases are structs of etcd's Go client, with names of their own.

use std::fmt::{Display, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cairn_api::etcdserverpb::response_op::Response;
use cairn_api::etcdserverpb::*;
use cairn_api::mvccpb::{Event, KeyValue};

use super::{Answer, Health, header_or_default};
use crate::go;

pub(super) fn render(answer: &Answer, hex: bool) -> String {
    let mut text = match answer {
        Answer::Get { response, .. } => range(response),
        Answer::Put(response) => put(response),
        Answer::Delete(response) => delete(response),
        Answer::Txn(response) => txn(response),
        Answer::Watch(response) => watch(response),
        Answer::Members(response) => members(response, hex),
        Answer::Alarms(response) => alarms(response),
        Answer::Status(list) => {
            array(list.iter().map(|(endpoint, answer)| per_endpoint(endpoint, "Status", status(answer))))
        }
        Answer::HashKv(list) => {
            array(list.iter().map(|(endpoint, answer)| per_endpoint(endpoint, "HashKV", hash(answer))))
        }
        Answer::Health(list) => array(list.iter().map(health)),
        Answer::Revoke { response, .. } => Object::new().header(&response.header).end(),
        Answer::Grant(response) => {
            let object = Object::new().header_fields(&response.header);
            object.raw("ID", response.id).raw("TTL", response.ttl).string("Error", &response.error).end()
        }
        Answer::KeepAlive(response) => {
            Object::new().header_fields(&response.header).raw("ID", response.id).raw("TTL", response.ttl).end()
        }
        Answer::TimeToLive { response, .. } => time_to_live(response),
        Answer::Leases(response) => {
            let leases = response.leases.iter().map(|lease| Object::new().raw("id", lease.id).end());
            Object::new().header_fields(&response.header).raw("leases", array(leases)).end()
        }
    };
    text.push('\n');
    text
}

fn range(response: &RangeResponse) -> String {
    let object = Object::new().header(&response.header).list("kvs", response.kvs.iter().map(kv));
    object.flag("more", response.more).number("count", response.count).end()
}

fn put(response: &PutResponse) -> String {
    Object::new().header(&response.header).message("prev_kv", response.prev_kv.as_ref().map(kv)).end()
}

fn delete(response: &DeleteRangeResponse) -> String {
    let object = Object::new().header(&response.header).number("deleted", response.deleted);
    object.list("prev_kvs", response.prev_kvs.iter().map(kv)).end()
}

fn txn(response: &TxnResponse) -> String {
    let object = Object::new().header(&response.header).flag("succeeded", response.succeeded);
    object.list("responses", response.responses.iter().map(response_op)).end()
}

fn response_op(op: &ResponseOp) -> String {
    let (name, body) = match &op.response {
        Some(Response::ResponseRange(response)) => ("response_range", range(response)),
        Some(Response::ResponsePut(response)) => ("response_put", put(response)),
        Some(Response::ResponseDeleteRange(response)) => ("response_delete_range", delete(response)),
        Some(Response::ResponseTxn(response)) => ("response_txn", txn(response)),
        None => return "{\"Response\":null}".to_owned(),
    };
    Object::new().raw("Response", Object::new().raw(name, body).end()).end()
}

fn kv(kv: &KeyValue) -> String {
    Object::new()
        .bytes("key", &kv.key)
        .number("create_revision", kv.create_revision)
        .number("mod_revision", kv.mod_revision)
        .number("version", kv.version)
        .bytes("value", &kv.value)
        .number("lease", kv.lease)
        .end()
}

fn event(event: &Event) -> String {
    let object = Object::new().number("type", i64::from(event.r#type));
    object.message("kv", event.kv.as_ref().map(kv)).message("prev_kv", event.prev_kv.as_ref().map(kv)).end()
}

fn watch(response: &WatchResponse) -> String {
    let was_refused = response.canceled && header_or_default(&response.header) == ResponseHeader::default();
    let events = if was_refused { "null".to_owned() } else { array(response.events.iter().map(event)) };
    Object::new()
        .raw("Header", Object::new().header_fields(&Some(header_or_default(&response.header))).end())
        .raw("Events", events)
        .raw("CompactRevision", response.compact_revision)
        .raw("Canceled", response.canceled)
        .raw("Created", response.created)
        .end()
}

fn members(response: &MemberListResponse, hex: bool) -> String {
    let members = response.members.iter().map(|member| self::member(member, hex));
    let header = header_or_default(&response.header);
    let object = if hex {
        let inner = Object::new().string("cluster_id", &format!("{:x}", header.cluster_id));
        let inner = inner.string("member_id", &format!("{:x}", header.member_id)).number("revision", header.revision);
        Object::new().raw("header", inner.unsigned("raft_term", header.raft_term).end())
    } else {
        Object::new().header(&response.header)
    };
    object.list("members", members).end()
}

fn member(member: &Member, hex: bool) -> String {
    let urls = |urls: &[String]| urls.iter().map(|url| quoted(url)).collect::<Vec<_>>().into_iter();
    let object = if hex {
        Object::new().string("ID", &format!("{:x}", member.id))
    } else {
        Object::new().unsigned("ID", member.id)
    };
    let object = if member.name.is_empty() { object } else { object.string("name", &member.name) };
    // With --hex etcdctl spells this one name differently.
    let client_urls = if hex { "clientURLS" } else { "clientURLs" };
    let object = object.list("peerURLs", urls(&member.peer_ur_ls)).list(client_urls, urls(&member.client_ur_ls));
    object.flag("isLearner", member.is_learner).end()
}

fn alarms(response: &AlarmResponse) -> String {
    let alarms = response
        .alarms
        .iter()
        .map(|alarm| Object::new().unsigned("memberID", alarm.member_id).number("alarm", i64::from(alarm.alarm)).end());
    Object::new().header(&response.header).list("alarms", alarms).end()
}

fn time_to_live(response: &LeaseTimeToLiveResponse) -> String {
    let keys = response.keys.iter().map(|key| format!("\"{}\"", STANDARD.encode(key)));
    let keys = if response.keys.is_empty() { "null".to_owned() } else { array(keys) };
    let object = Object::new().header_fields(&response.header).raw("id", response.id).raw("ttl", response.ttl);
    object.raw("granted-ttl", response.granted_ttl).raw("keys", keys).end()
}

fn per_endpoint(endpoint: &str, name: &str, body: String) -> String {
    Object::new().string("Endpoint", endpoint).raw(name, body).end()
}

fn status(status: &StatusResponse) -> String {
    let non_empty = |object: Object, name, text: &str| if text.is_empty() { object } else { object.string(name, text) };
    let object = non_empty(Object::new().header(&status.header), "version", &status.version)
        .number("dbSize", status.db_size)
        .unsigned("leader", status.leader)
        .unsigned("raftIndex", status.raft_index)
        .unsigned("raftTerm", status.raft_term)
        .unsigned("raftAppliedIndex", status.raft_applied_index)
        .list("errors", status.errors.iter().map(|error| quoted(error)))
        .number("dbSizeInUse", status.db_size_in_use)
        .flag("isLearner", status.is_learner);
    let downgrade = status.downgrade_info.as_ref().map(|info| {
        non_empty(Object::new().flag("enabled", info.enabled), "targetVersion", &info.target_version).end()
    });
    non_empty(object, "storageVersion", &status.storage_version)
        .number("dbSizeQuota", status.db_size_quota)
        .message("downgradeInfo", downgrade)
        .end()
}

fn hash(hash: &HashKvResponse) -> String {
    Object::new()
        .header(&hash.header)
        .unsigned("hash", u64::from(hash.hash))
        .number("compact_revision", hash.compact_revision)
        .number("hash_revision", hash.hash_revision)
        .end()
}

fn health(health: &Health) -> String {
    let object = Object::new().string("endpoint", &health.endpoint).raw("health", health.error.is_none());
    let object = object.string("took", &go::duration(health.took));
    match &health.error {
        Some(error) => object.string("error", error).end(),
        None => object.end(),
    }
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// A string as Go's encoder escapes it, which is safe inside of HTML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// An object under construction.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self(String::from("{"))
    }

    /// A field that is there whatever its value is.
    fn raw(mut self, name: &str, value: impl Display) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{name}\":{value}");
        self
    }

    fn string(self, name: &str, value: &str) -> Self {
        self.raw(name, quoted(value))
    }

    fn number(self, name: &str, value: i64) -> Self {
        if value == 0 { self } else { self.raw(name, value) }
    }

    fn unsigned(self, name: &str, value: u64) -> Self {
        if value == 0 { self } else { self.raw(name, value) }
    }

    fn flag(self, name: &str, value: bool) -> Self {
        if value { self.raw(name, value) } else { self }
    }

    fn bytes(self, name: &str, value: &[u8]) -> Self {
        if value.is_empty() { self } else { self.raw(name, format_args!("\"{}\"", STANDARD.encode(value))) }
    }

    fn message(self, name: &str, value: Option<String>) -> Self {
        match value {
            Some(value) => self.raw(name, value),
            None => self,
        }
    }

    fn list(self, name: &str, items: impl Iterator<Item = String>) -> Self {
        let mut items = items.peekable();
        if items.peek().is_none() { self } else { self.raw(name, array(items)) }
    }

    fn header(self, header: &Option<ResponseHeader>) -> Self {
        let body = header.is_some().then(|| Self::new().header_fields(header).end());
        self.message("header", body)
    }

    /// The header's fields in this object itself.
    fn header_fields(self, header: &Option<ResponseHeader>) -> Self {
        let header = header_or_default(header);
        self.unsigned("cluster_id", header.cluster_id)
            .unsigned("member_id", header.member_id)
            .number("revision", header.revision)
            .unsigned("raft_term", header.raft_term)
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
