//! Format `fields`: one `"Name" : value` per line.

use std::fmt::{Display, Write};

use cairn_api::etcdserverpb::response_op::Response;
use cairn_api::etcdserverpb::*;
use cairn_api::mvccpb::{Event, KeyValue};

use super::{Answer, Health, alarm_name, header_or_default, simple};
use crate::go;

pub(super) fn render(answer: &Answer) -> String {
    let mut fields = Fields(String::new());
    match answer {
        Answer::Get { response, .. } => fields.get(response),
        Answer::Put(response) => fields.put(response),
        Answer::Delete(response) => fields.delete(response),
        Answer::Txn(response) => fields.txn(response),
        Answer::Watch(response) => {
            fields.header(&response.header);
            response.events.iter().for_each(|event| fields.event(event));
        }
        Answer::Grant(response) => fields.lease(&response.header, response.id, response.ttl),
        Answer::KeepAlive(response) => fields.lease(&response.header, response.id, response.ttl),
        Answer::Revoke { response, .. } => fields.header(&response.header),
        Answer::TimeToLive { response, .. } => {
            fields.lease(&response.header, response.id, response.ttl);
            fields.line("GrantedTTL", response.granted_ttl);
            response.keys.iter().for_each(|key| fields.quoted("Key", key));
        }
        Answer::Leases(response) => {
            fields.header(&response.header);
            response.leases.iter().for_each(|lease| fields.line("ID", lease.id));
        }
        Answer::Members(response) => {
            fields.header(&response.header);
            response.members.iter().for_each(|member| fields.member(member));
        }
        Answer::Alarms(response) => fields.alarms(response),
        Answer::Status(list) => list.iter().for_each(|(endpoint, status)| fields.status(endpoint, status)),
        Answer::HashKv(list) => list.iter().for_each(|(endpoint, hash)| fields.hash(endpoint, hash)),
        Answer::Health(list) => list.iter().for_each(|health| fields.health(health)),
    }
    fields.0
}

struct Fields(String);

impl Fields {
    fn line(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "\"{name}\" : {value}");
    }

    fn quoted(&mut self, name: &str, value: &[u8]) {
        self.line(name, go::quote(value));
    }

    fn blank(&mut self) {
        self.0.push('\n');
    }

    fn header(&mut self, header: &Option<ResponseHeader>) {
        let header = header_or_default(header);
        self.line("ClusterID", header.cluster_id);
        self.line("MemberID", header.member_id);
        self.line("Revision", header.revision);
        self.line("RaftTerm", header.raft_term);
    }

    fn kv(&mut self, prefix: &str, kv: &KeyValue) {
        self.quoted(&format!("{prefix}Key"), &kv.key);
        self.line(&format!("{prefix}CreateRevision"), kv.create_revision);
        self.line(&format!("{prefix}ModRevision"), kv.mod_revision);
        self.line(&format!("{prefix}Version"), kv.version);
        self.quoted(&format!("{prefix}Value"), &kv.value);
        self.line(&format!("{prefix}Lease"), kv.lease);
    }

    fn get(&mut self, response: &RangeResponse) {
        self.header(&response.header);
        response.kvs.iter().for_each(|kv| self.kv("", kv));
        self.line("More", response.more);
        self.line("Count", response.count);
    }

    fn put(&mut self, response: &PutResponse) {
        self.header(&response.header);
        response.prev_kv.iter().for_each(|kv| self.kv("Prev", kv));
    }

    fn delete(&mut self, response: &DeleteRangeResponse) {
        self.header(&response.header);
        self.line("Deleted", response.deleted);
        response.prev_kvs.iter().for_each(|kv| self.kv("Prev", kv));
    }

    fn txn(&mut self, response: &TxnResponse) {
        self.header(&response.header);
        self.line("Succeeded", response.succeeded);
        for op in &response.responses {
            match &op.response {
                Some(Response::ResponseRange(range)) => self.get(range),
                Some(Response::ResponsePut(put)) => self.put(put),
                Some(Response::ResponseDeleteRange(delete)) => self.delete(delete),
                Some(Response::ResponseTxn(txn)) => self.txn(txn),
                None => {}
            }
        }
    }

    fn event(&mut self, event: &Event) {
        self.line("Type", simple::event_name(event));
        event.prev_kv.iter().for_each(|kv| self.kv("Prev", kv));
        event.kv.iter().for_each(|kv| self.kv("", kv));
    }

    fn lease(&mut self, header: &Option<ResponseHeader>, id: i64, ttl: i64) {
        self.header(header);
        self.line("ID", id);
        self.line("TTL", ttl);
    }

    fn member(&mut self, member: &Member) {
        self.line("ID", member.id);
        self.quoted("Name", member.name.as_bytes());
        member.peer_ur_ls.iter().for_each(|url| self.quoted("PeerURL", url.as_bytes()));
        member.client_ur_ls.iter().for_each(|url| self.quoted("ClientURL", url.as_bytes()));
        self.line("IsLearner", member.is_learner);
        self.blank();
    }

    fn alarms(&mut self, response: &AlarmResponse) {
        // The answer to disarming is put together from several and has no header.
        if response.header.is_some() {
            self.header(&response.header);
        }
        for alarm in &response.alarms {
            self.line("MemberID", alarm.member_id);
            self.line("AlarmType", alarm_name(alarm));
            self.blank();
        }
    }

    fn status(&mut self, endpoint: &str, status: &StatusResponse) {
        let downgrade = status.downgrade_info.clone().unwrap_or_default();
        self.header(&status.header);
        self.quoted("Version", status.version.as_bytes());
        self.quoted("StorageVersion", status.storage_version.as_bytes());
        self.line("DBSize", status.db_size);
        self.line("DBSizeInUse", status.db_size_in_use);
        self.line("DBSizeQuota", status.db_size_quota);
        self.line("Leader", status.leader);
        self.line("IsLearner", status.is_learner);
        self.line("RaftIndex", status.raft_index);
        self.line("RaftTerm", status.raft_term);
        self.line("RaftAppliedIndex", status.raft_applied_index);
        self.line("Errors", format_args!("[{}]", status.errors.join(" ")));
        self.quoted("Endpoint", endpoint.as_bytes());
        self.quoted("DowngradeTargetVersion", downgrade.target_version.as_bytes());
        self.line("DowngradeEnabled", downgrade.enabled);
        self.blank();
    }

    fn hash(&mut self, endpoint: &str, hash: &HashKvResponse) {
        self.header(&hash.header);
        self.quoted("Endpoint", endpoint.as_bytes());
        self.line("Hash", hash.hash);
        self.line("HashRevision", hash.hash_revision);
        self.blank();
    }

    fn health(&mut self, health: &Health) {
        self.quoted("Endpoint", health.endpoint.as_bytes());
        self.line("Health", health.error.is_none());
        self.line("Took", go::duration(health.took));
        self.line("Error", health.error.as_deref().unwrap_or_default());
        self.blank();
    }
}
