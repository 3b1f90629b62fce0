//! What a command may cost in space, by etcd's rule, so that a quota stops both at the same point.

use cairn_api::etcdserverpb::request_op::Request;
use cairn_api::etcdserverpb::{PutRequest, RequestOp, TxnRequest};

use crate::command::Command;

/// What a key costs beside its bytes (etcd's estimate for revisions and metadata).
const PUT_OVERHEAD_BYTES: u64 = 256;
/// What a lease costs.
const LEASE_BYTES: u64 = 64;

/// Upper estimate of the bytes that the command adds to the store.
#[must_use]
pub fn cost(command: &Command) -> u64 {
    match command {
        Command::Put(request) => put_cost(request),
        Command::Txn(request) => txn_cost(request),
        Command::LeaseGrant(_) => LEASE_BYTES,
        _ => 0,
    }
}

/// Whether the command is refused while there is a NOSPACE alarm.
#[must_use]
pub fn needs_space(command: &Command) -> bool {
    cost(command) > 0
}

fn put_cost(request: &PutRequest) -> u64 {
    PUT_OVERHEAD_BYTES + (request.key.len() + request.value.len()) as u64
}

fn txn_cost(request: &TxnRequest) -> u64 {
    let branch = |ops: &[RequestOp]| {
        ops.iter()
            .map(|op| match &op.request {
                Some(Request::RequestPut(put)) => put_cost(put),
                Some(Request::RequestTxn(nested)) => txn_cost(nested),
                _ => 0,
            })
            .sum::<u64>()
    };
    branch(&request.success).max(branch(&request.failure))
}
