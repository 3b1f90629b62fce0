//! Answers without what may differ between two correct members: ids, terms, indices, sizes, times. Presence is kept (a
//! zero stays a zero), revisions are kept exactly. Fields that etcd has only since 3.6 are removed here, in one place,
//! because the peer is a 3.5; `maintenance.rs` checks them on their own.

use cairn_api::etcdserverpb::response_op::Response;
use cairn_api::etcdserverpb::{
    AlarmResponse, AuthStatusResponse, CompactionResponse, DefragmentResponse, DeleteRangeResponse, HashKvResponse,
    HashResponse, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRevokeResponse,
    LeaseTimeToLiveResponse, Member, MemberAddResponse, MemberListResponse, MemberPromoteResponse,
    MemberRemoveResponse, MemberUpdateResponse, MoveLeaderResponse, PutResponse, RangeResponse, ResponseHeader,
    StatusResponse, TxnResponse, WatchResponse,
};
use cairn_api::health::HealthCheckResponse;

/// Lease ids from here on were chosen by the server; scenarios choose smaller ones.
const CHOSEN_BY_SERVER: i64 = 1_000_000;

/// Replaces what may differ.
pub trait Normal {
    /// Replaces what may differ, in place.
    fn normalise(&mut self);
}

fn mark<T: Default + PartialEq + From<bool>>(value: &mut T) {
    *value = T::from(*value != T::default());
}

fn lease_id(id: &mut i64) {
    if *id >= CHOSEN_BY_SERVER {
        *id = CHOSEN_BY_SERVER;
    }
}

impl Normal for ResponseHeader {
    fn normalise(&mut self) {
        mark(&mut self.cluster_id);
        mark(&mut self.member_id);
        mark(&mut self.raft_term);
    }
}

impl<T: Normal> Normal for Option<T> {
    fn normalise(&mut self) {
        if let Some(value) = self {
            value.normalise();
        }
    }
}

impl<T: Normal> Normal for Vec<T> {
    fn normalise(&mut self) {
        self.iter_mut().for_each(T::normalise);
    }
}

macro_rules! header_only {
    ($($message:ty),*) => {
        $(impl Normal for $message {
            fn normalise(&mut self) {
                self.header.normalise();
            }
        })*
    };
}

header_only!(
    RangeResponse,
    PutResponse,
    DeleteRangeResponse,
    CompactionResponse,
    LeaseRevokeResponse,
    DefragmentResponse,
    MoveLeaderResponse,
    AuthStatusResponse,
    WatchResponse
);

impl Normal for TxnResponse {
    fn normalise(&mut self) {
        self.header.normalise();
        for op in &mut self.responses {
            match &mut op.response {
                Some(Response::ResponseRange(range)) => range.normalise(),
                Some(Response::ResponsePut(put)) => put.normalise(),
                Some(Response::ResponseDeleteRange(delete)) => delete.normalise(),
                Some(Response::ResponseTxn(txn)) => txn.normalise(),
                None => {}
            }
        }
    }
}

impl Normal for LeaseGrantResponse {
    fn normalise(&mut self) {
        self.header.normalise();
        lease_id(&mut self.id);
    }
}

impl Normal for LeaseKeepAliveResponse {
    fn normalise(&mut self) {
        self.header.normalise();
        lease_id(&mut self.id);
    }
}

impl Normal for LeaseTimeToLiveResponse {
    fn normalise(&mut self) {
        self.header.normalise();
        lease_id(&mut self.id);
        // etcd keeps them in a hash map and lists them as they come.
        self.keys.sort();
        // What is left depends on the moment of the call; that it is left, and not more than was granted, does not.
        if self.ttl > 0 && self.ttl <= self.granted_ttl {
            self.ttl = self.granted_ttl;
        }
    }
}

impl Normal for LeaseLeasesResponse {
    fn normalise(&mut self) {
        self.header.normalise();
        self.leases.iter_mut().for_each(|lease| lease_id(&mut lease.id));
    }
}

impl Normal for Member {
    fn normalise(&mut self) {
        mark(&mut self.id);
        for url in self.peer_ur_ls.iter_mut().chain(&mut self.client_ur_ls) {
            if let Some((host, port)) = url.rsplit_once(':')
                && port.parse::<u16>().is_ok()
            {
                *url = format!("{host}:PORT");
            }
        }
    }
}

macro_rules! members {
    ($($message:ty),*) => {
        $(impl Normal for $message {
            fn normalise(&mut self) {
                self.header.normalise();
                self.members.normalise();
            }
        })*
    };
}

members!(MemberListResponse, MemberRemoveResponse, MemberUpdateResponse, MemberPromoteResponse);

impl Normal for MemberAddResponse {
    fn normalise(&mut self) {
        self.header.normalise();
        self.member.normalise();
        self.members.normalise();
    }
}

impl Normal for StatusResponse {
    fn normalise(&mut self) {
        self.header.normalise();
        self.version = if self.version.is_empty() { String::new() } else { "VERSION".to_owned() };
        mark(&mut self.db_size);
        mark(&mut self.db_size_in_use);
        mark(&mut self.leader);
        mark(&mut self.raft_index);
        mark(&mut self.raft_applied_index);
        mark(&mut self.raft_term);
        for error in &mut self.errors {
            // The text form of an alarm: memberID:<decimal> alarm:NOSPACE, with unstable white space.
            let words = error.split_whitespace();
            let words = words.map(|word| if word.starts_with("memberID:") { "memberID:ID" } else { word });
            *error = words.collect::<Vec<_>>().join(" ");
        }
        self.storage_version.clear();
        self.db_size_quota = 0;
        self.downgrade_info = None;
    }
}

impl Normal for AlarmResponse {
    fn normalise(&mut self) {
        self.header.normalise();
        self.alarms.iter_mut().for_each(|alarm| mark(&mut alarm.member_id));
    }
}

impl Normal for HashResponse {
    fn normalise(&mut self) {
        self.header.normalise();
        // The hash of a backend's bytes, which are an implementation's own.
        mark(&mut self.hash);
    }
}

impl Normal for HashKvResponse {
    fn normalise(&mut self) {
        self.header.normalise();
        self.hash_revision = 0;
    }
}

impl Normal for HealthCheckResponse {
    fn normalise(&mut self) {}
}
