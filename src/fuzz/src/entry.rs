//! The data of a Raft entry, from the log or from a peer.
//!
//! Promise (`cairn_state::decode_entry`): commands or a typed error. What was decoded is, encoded again, the same.

use bytes::Bytes;
use cairn_api::etcdserverpb as pb;
use cairn_state::{Command, EntryBuilder, ExpireLeases, MemberAttributes, Origin, decode_entry};

fn encode(origin: Origin, commands: &[Command]) -> Bytes {
    let mut builder = EntryBuilder::new(origin);
    commands.iter().for_each(|command| builder.push(command));
    builder.finish()
}

pub(crate) fn run(bytes: &[u8]) {
    let Ok(Some(decoded)) = decode_entry(Bytes::copy_from_slice(bytes)) else { return };
    let (origin, commands) = &decoded;
    let again = decode_entry(encode(*origin, commands)).expect("what was encoded here decodes");
    assert_eq!(again, Some(decoded));
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let key = || Bytes::from_static(b"key");
    let put = pb::PutRequest { key: key(), value: key(), lease: 7, ..Default::default() };
    let commands = [
        Command::Put(put.clone()),
        Command::DeleteRange(pb::DeleteRangeRequest { key: key(), ..Default::default() }),
        Command::Txn(pb::TxnRequest {
            success: vec![pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }],
            ..Default::default()
        }),
        Command::Compact(pb::CompactionRequest { revision: 2, physical: true }),
        Command::LeaseGrant(pb::LeaseGrantRequest { ttl: 60, id: 7 }),
        Command::LeaseRevoke(pb::LeaseRevokeRequest { id: 7 }),
        Command::LeaseCheckpoint(pb::LeaseCheckpointRequest {
            checkpoints: vec![pb::LeaseCheckpoint { id: 7, remaining_ttl: 3 }],
        }),
        Command::ExpireLeases(ExpireLeases { ids: vec![7, 8] }),
        Command::Alarm(pb::AlarmRequest { action: 1, member_id: 1, alarm: 1 }),
        Command::MemberAttributes(MemberAttributes {
            member: 1,
            name: "name".to_owned(),
            client_urls: vec!["http://client".to_owned()],
        }),
    ];
    let origin = Origin { member: 1, sequence: 2 };
    let mut seeds: Vec<_> =
        commands.iter().map(|command| encode(origin, std::slice::from_ref(command)).to_vec()).collect();
    seeds.push(encode(origin, &commands).to_vec());
    seeds
}
