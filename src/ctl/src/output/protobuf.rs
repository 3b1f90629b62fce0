//! Format `protobuf`: the encoded message.
//!
//! etcdctl encodes its own structs. Those of leases embed the header, and only the header comes out; those of watches
//! know nothing of ids and reasons.

use cairn_api::etcdserverpb::*;
use prost::Message;

use super::Answer;

pub(super) fn render(answer: &Answer) -> Vec<u8> {
    let header = |header: &Option<ResponseHeader>| header.unwrap_or_default().encode_to_vec();
    match answer {
        Answer::Get { response, .. } => response.encode_to_vec(),
        Answer::Put(response) => response.encode_to_vec(),
        Answer::Delete(response) => response.encode_to_vec(),
        Answer::Txn(response) => response.encode_to_vec(),
        Answer::Members(response) => response.encode_to_vec(),
        Answer::Alarms(response) => response.encode_to_vec(),
        Answer::Watch(response) => {
            let response = WatchResponse { watch_id: 0, cancel_reason: String::new(), ..response.clone() };
            response.encode_to_vec()
        }
        Answer::Grant(response) => header(&response.header),
        Answer::KeepAlive(response) => header(&response.header),
        Answer::TimeToLive { response, .. } => header(&response.header),
        Answer::Leases(response) => header(&response.header),
        Answer::Revoke { .. } | Answer::Status(_) | Answer::HashKv(_) | Answer::Health(_) => Vec::new(),
    }
}
