//! Format `simple`: fixed strings for people and shell scripts.

use std::fmt::Write;

use cairn_api::etcdserverpb::response_op::Response;
use cairn_api::etcdserverpb::*;
use cairn_api::mvccpb::{Event, KeyValue, event::EventType};

use super::{Answer, Rendered, alarm_name, table};
use crate::go;

pub(super) fn render(answer: &Answer, hex: bool) -> Rendered {
    let mut printer = Simple { out: Vec::new(), hex };
    let mut err = String::new();
    match answer {
        Answer::Get { response, value_only } => printer.get(response, *value_only),
        Answer::Put(response) => printer.put(response),
        Answer::Delete(response) => printer.delete(response),
        Answer::Txn(response) => printer.txn(response),
        Answer::Watch(response) => response.events.iter().for_each(|event| printer.event(event)),
        Answer::Alarms(response) => response.alarms.iter().for_each(|alarm| {
            printer.line(&format!("memberID:{} alarm:{} ", alarm.member_id, alarm_name(alarm)));
        }),
        Answer::Health(list) => list.iter().for_each(|health| match &health.error {
            None => {
                let took = go::duration(health.took);
                let endpoint = &health.endpoint;
                printer.line(&format!("{endpoint} is healthy: successfully committed proposal: took = {took}"));
            }
            Some(error) => {
                let _ = writeln!(err, "{} is unhealthy: failed to commit proposal: {error}", health.endpoint);
            }
        }),
        Answer::Members(_) | Answer::Status(_) | Answer::HashKv(_) => {
            table::rows(answer).1.iter().for_each(|row| printer.line(&row.join(", ")));
        }
        Answer::Grant(_)
        | Answer::Revoke { .. }
        | Answer::KeepAlive(_)
        | Answer::TimeToLive { .. }
        | Answer::Leases(_) => printer.lease(answer),
    }
    Rendered { out: printer.out, err }
}

struct Simple {
    out: Vec<u8>,
    hex: bool,
}

impl Simple {
    fn line(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'\n');
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.hex {
            let text: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            return self.line(&text);
        }
        self.out.extend_from_slice(bytes);
        self.out.push(b'\n');
    }

    fn kv(&mut self, kv: &KeyValue, value_only: bool) {
        if !value_only {
            self.bytes(&kv.key);
        }
        self.bytes(&kv.value);
    }

    fn get(&mut self, response: &RangeResponse, value_only: bool) {
        response.kvs.iter().for_each(|kv| self.kv(kv, value_only));
    }

    fn put(&mut self, response: &PutResponse) {
        self.line("OK");
        response.prev_kv.iter().for_each(|kv| self.kv(kv, false));
    }

    fn delete(&mut self, response: &DeleteRangeResponse) {
        self.line(&response.deleted.to_string());
        response.prev_kvs.iter().for_each(|kv| self.kv(kv, false));
    }

    fn txn(&mut self, response: &TxnResponse) {
        self.line(if response.succeeded { "SUCCESS" } else { "FAILURE" });
        for op in &response.responses {
            self.line("");
            match &op.response {
                Some(Response::ResponseRange(range)) => self.get(range, false),
                Some(Response::ResponsePut(put)) => self.put(put),
                Some(Response::ResponseDeleteRange(delete)) => self.delete(delete),
                Some(Response::ResponseTxn(txn)) => self.txn(txn),
                None => {}
            }
        }
    }

    fn event(&mut self, event: &Event) {
        self.line(event_name(event));
        event.prev_kv.iter().for_each(|kv| self.kv(kv, false));
        event.kv.iter().for_each(|kv| self.kv(kv, false));
    }

    fn lease(&mut self, answer: &Answer) {
        match answer {
            Answer::Grant(response) => {
                self.line(&format!("lease {:016x} granted with TTL({}s)", response.id, response.ttl));
            }
            Answer::Revoke { lease, .. } => self.line(&format!("lease {lease:016x} revoked")),
            Answer::KeepAlive(response) => {
                self.line(&format!("lease {:016x} keepalived with TTL({})", response.id, response.ttl));
            }
            Answer::TimeToLive { response, keys } => self.time_to_live(response, *keys),
            Answer::Leases(response) => {
                self.line(&format!("found {} leases", response.leases.len()));
                response.leases.iter().for_each(|lease| self.line(&format!("{:016x}", lease.id)));
            }
            _ => {}
        }
    }

    fn time_to_live(&mut self, response: &LeaseTimeToLiveResponse, keys: bool) {
        let LeaseTimeToLiveResponse { id, ttl, granted_ttl, .. } = response;
        if *granted_ttl == 0 && *ttl == -1 {
            return self.line(&format!("lease {id:016x} already expired"));
        }
        let text = format!("lease {id:016x} granted with TTL({granted_ttl}s), remaining({ttl}s)");
        self.out.extend_from_slice(text.as_bytes());
        if keys {
            self.out.extend_from_slice(b", attached keys([");
            self.out.extend_from_slice(&response.keys.join(&b' '));
            self.out.extend_from_slice(b"])");
        }
        self.line("");
    }
}

/// The event's type as Go prints the enum.
pub(super) fn event_name(event: &Event) -> &'static str {
    EventType::try_from(event.r#type).unwrap_or_default().as_str_name()
}
