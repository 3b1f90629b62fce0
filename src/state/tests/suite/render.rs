//! Answers as lines of a transcript.

use std::fmt::Write;

use bytes::Bytes;
use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::response_op;
use cairn_api::mvccpb::KeyValue;
use cairn_state::{ChangeEvent, EventKind, Outcome, Response};
use prost::Message;

/// Longer byte strings are shown by their beginning, length and checksum.
const MAX_SHOWN_BYTES: usize = 120;

pub(crate) fn show(bytes: &[u8]) -> String {
    if bytes.len() <= MAX_SHOWN_BYTES {
        return bytes.escape_ascii().to_string();
    }
    let crc = crc32c::crc32c(bytes);
    format!("{}… ({} bytes, crc {crc:08x})", bytes[..16].escape_ascii(), bytes.len())
}

pub(crate) fn pair(kv: &KeyValue) -> String {
    let KeyValue { create_revision, mod_revision, version, lease, .. } = kv;
    let mut line = format!(
        "{} = \"{}\" create={create_revision} mod={mod_revision} version={version}",
        show(&kv.key),
        show(&kv.value)
    );
    if *lease != 0 {
        let _ = write!(line, " lease={lease}");
    }
    line
}

/// An encoded KeyValue.
pub(crate) fn encoded_pair(encoded: &Bytes) -> String {
    pair(&KeyValue::decode(encoded.clone()).expect("a KeyValue"))
}

fn revision(header: Option<&pb::ResponseHeader>) -> i64 {
    header.map_or(-1, |header| {
        let others = (header.cluster_id, header.member_id, header.raft_term);
        assert_eq!(others, (0, 0, 0), "the header has the revision only");
        header.revision
    })
}

pub(crate) fn range(response: &pb::RangeResponse) -> String {
    let mut text = String::new();
    for kv in &response.kvs {
        let _ = writeln!(text, "{}", pair(kv));
    }
    let more = if response.more { " more" } else { "" };
    let _ = writeln!(text, "count={}{more} rev={}", response.count, revision(response.header.as_ref()));
    text
}

fn put(response: &pb::PutResponse) -> String {
    let mut text = format!("put rev={}\n", revision(response.header.as_ref()));
    if let Some(kv) = &response.prev_kv {
        let _ = writeln!(text, "prev {}", pair(kv));
    }
    text
}

fn delete_range(response: &pb::DeleteRangeResponse) -> String {
    let mut text = format!("deleted {} rev={}\n", response.deleted, revision(response.header.as_ref()));
    for kv in &response.prev_kvs {
        let _ = writeln!(text, "prev {}", pair(kv));
    }
    text
}

pub(crate) fn txn(response: &pb::TxnResponse) -> String {
    let branch = if response.succeeded { "then" } else { "else" };
    let mut text = format!("{branch} rev={}\n", revision(response.header.as_ref()));
    for op in &response.responses {
        let inner = match &op.response {
            Some(response_op::Response::ResponseRange(response)) => range(response),
            Some(response_op::Response::ResponsePut(response)) => put(response),
            Some(response_op::Response::ResponseDeleteRange(response)) => delete_range(response),
            Some(response_op::Response::ResponseTxn(response)) => txn(response),
            None => "nothing\n".to_owned(),
        };
        for line in inner.lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

pub(crate) fn error(error: ApiError) -> String {
    format!("error: {error}\n")
}

pub(crate) fn alarms(alarms: &[pb::AlarmMember]) -> String {
    let name = |alarm: i32| pb::AlarmType::try_from(alarm).expect("a type of alarm").as_str_name();
    alarms.iter().map(|member| format!("{} member={}\n", name(member.alarm), member.member_id)).collect()
}

pub(crate) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Err(api) => error(*api),
        Ok(Response::Put(response)) => put(response),
        Ok(Response::DeleteRange(response)) => delete_range(response),
        Ok(Response::Txn(response)) => txn(response),
        Ok(Response::Compact(response)) => format!("compacted rev={}\n", revision(response.header.as_ref())),
        Ok(Response::LeaseGrant(response)) => {
            let rev = revision(response.header.as_ref());
            format!("granted {} ttl={} rev={rev}{}\n", response.id, response.ttl, response.error)
        }
        Ok(Response::LeaseRevoke(response)) => format!("revoked rev={}\n", revision(response.header.as_ref())),
        Ok(Response::Alarm(response)) => {
            format!(
                "{}alarms={} rev={}\n",
                alarms(&response.alarms),
                response.alarms.len(),
                revision(response.header.as_ref())
            )
        }
        Ok(Response::LeaseCheckpoint) => "checkpointed\n".to_owned(),
        Ok(Response::ExpireLeases) => "expired\n".to_owned(),
        Ok(Response::MemberAttributes) => "set\n".to_owned(),
    }
}

pub(crate) fn event(event: &ChangeEvent) -> String {
    let kind = match event.kind {
        EventKind::Put if event.created => "create",
        EventKind::Put => "modify",
        EventKind::Delete => "delete",
    };
    let prev = event.prev.map_or(String::new(), |prev| format!(" prev={prev}"));
    format!("{kind} {}{prev}\n", encoded_pair(&event.kv))
}
