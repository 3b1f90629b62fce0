//! Requests of clients, from their protocol buffers to the store.
//!
//! Promises (`cairn-state`): what passes validation is applied without a fatal error; the same entries give the same
//! answers and the same store, whether each is a batch of its own or many are one; reads agree with that; and a store
//! that is opened again is the one that was closed.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cairn_api::etcdserverpb as pb;
use cairn_state::{
    AppliedEntry, Command, Compactor, EntryBuilder, HashKv, Origin, Progress, ReadError, StateMachine, Store, validate,
};
use cairn_storage::MemoryEngine;
use cairn_types::limits::DEFAULT_MAX_TXN_OPS;
use cairn_types::{ClusterId, Entry, EntryKind, LogIndex, Term};
use prost::Message;

use crate::input::{Input, put_act};

/// Most requests that are taken from one input.
const MAX_REQUESTS: usize = 64;

/// Changes that one step of a compaction looks at.
const CHANGES_PER_STEP: usize = 2;

/// Set in an act's byte: what was gathered so far is one batch.
const CUT: u8 = 0x80;

/// Kinds of requests, as an act's byte has them.
const PUT: u8 = 0;
const DELETE: u8 = 1;
const TXN: u8 = 2;
const COMPACT: u8 = 3;
const GRANT: u8 = 4;
const REVOKE: u8 = 5;
const ALARM: u8 = 6;
const RANGE: u8 = 7;
const KINDS: u8 = 8;

/// A request that a server would not refuse.
enum Accepted {
    Write(Command),
    ReadTxn(pb::TxnRequest),
    Range(pb::RangeRequest),
}

/// Reads and checks a request as the server does.
fn accept(kind: u8, message: Bytes) -> Option<Accepted> {
    let write = |command| Some(Accepted::Write(command));
    match kind % KINDS {
        PUT => {
            let request = pb::PutRequest::decode(message).ok()?;
            validate::put(&request).ok()?;
            write(Command::Put(request))
        }
        DELETE => {
            let request = pb::DeleteRangeRequest::decode(message).ok()?;
            validate::delete_range(&request).ok()?;
            write(Command::DeleteRange(request))
        }
        TXN => {
            let request = pb::TxnRequest::decode(message).ok()?;
            validate::txn(&request, DEFAULT_MAX_TXN_OPS as usize).ok()?;
            if validate::is_read_only(&request) {
                return Some(Accepted::ReadTxn(request));
            }
            write(Command::Txn(request))
        }
        COMPACT => write(Command::Compact(pb::CompactionRequest::decode(message).ok()?)),
        GRANT => {
            let mut request = pb::LeaseGrantRequest::decode(message).ok()?;
            // The server chooses an id where none is given.
            request.id = if request.id == 0 { 1 } else { request.id };
            write(Command::LeaseGrant(request))
        }
        REVOKE => write(Command::LeaseRevoke(pb::LeaseRevokeRequest::decode(message).ok()?)),
        ALARM => write(Command::Alarm(pb::AlarmRequest::decode(message).ok()?)),
        _ => {
            let request = pb::RangeRequest::decode(message).ok()?;
            validate::range(&request).ok()?;
            Some(Accepted::Range(request))
        }
    }
}

/// A store without network and log.
struct Member {
    engine: Arc<MemoryEngine>,
    machine: StateMachine,
}

fn open(engine: &Arc<MemoryEngine>) -> StateMachine {
    StateMachine::open(engine.clone()).expect("what we wrote opens")
}

fn api<T>(result: Result<T, ReadError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(ReadError::Api(_)) => None,
        Err(ReadError::State(error)) => panic!("a read found damage: {error}"),
    }
}

impl Member {
    fn new() -> Self {
        let engine = Arc::new(MemoryEngine::new());
        let mut machine = open(&engine);
        let member = pb::Member { id: 1, ..Default::default() };
        machine.bootstrap(ClusterId(1), vec![member], Bytes::new()).expect("the engine does not fail");
        Self { engine, machine }
    }

    fn apply(&mut self, entries: &[Entry]) -> Vec<AppliedEntry> {
        self.machine.apply(entries).expect("what was validated is applied")
    }

    fn compact(&self) {
        let mut compactor = Compactor::new(self.machine.store());
        while compactor.step(CHANGES_PER_STEP).expect("the engine does not fail") == Progress::More {}
    }

    fn reopen(&mut self) {
        self.machine = open(&self.engine);
    }
}

/// What a store answers.
#[derive(Debug, PartialEq)]
struct Answers {
    revision: i64,
    hash: Option<HashKv>,
    ranges: Vec<Option<pb::RangeResponse>>,
    txns: Vec<Option<pb::TxnResponse>>,
}

fn answers(store: &Store, reads: &[Accepted]) -> Answers {
    let view = store.view();
    let mut answers = Answers { revision: view.revision, hash: api(view.hash_kv(0)), ranges: vec![], txns: vec![] };
    for read in reads {
        match read {
            Accepted::Range(request) => answers.ranges.push(api(view.range(request))),
            Accepted::ReadTxn(request) => answers.txns.push(api(view.read_txn(request))),
            Accepted::Write(_) => {}
        }
    }
    answers
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (mut entries, mut reads) = (Vec::new(), Vec::new());
    // Batches of the second member, as parts of `entries`.
    let mut batches: Vec<Range<usize>> = Vec::new();
    let mut begun = 0;
    for _ in 0..MAX_REQUESTS {
        let Some(kind) = input.byte() else { break };
        match accept(kind & !CUT, input.message()) {
            Some(Accepted::Write(command)) => entries.push(entry(entries.len() as u64 + 1, &command)),
            Some(read) => reads.push(read),
            None => {}
        }
        if kind & CUT != 0 {
            batches.push(begun..entries.len());
            begun = entries.len();
        }
    }
    batches.push(begun..entries.len());
    let (mut one_by_one, mut in_batches) = (Member::new(), Member::new());
    let first: Vec<_> = entries.iter().flat_map(|entry| one_by_one.apply(std::slice::from_ref(entry))).collect();
    let second: Vec<_> = batches.into_iter().flat_map(|batch| in_batches.apply(&entries[batch])).collect();
    assert_eq!(first, second, "answers depend on the batches");
    let expected = answers(&one_by_one.machine.store(), &reads);
    assert_eq!(expected, answers(&in_batches.machine.store(), &reads), "the store depends on the batches");
    one_by_one.compact();
    assert_eq!(expected, answers(&one_by_one.machine.store(), &reads), "deleting what was compacted shows");
    one_by_one.reopen();
    assert_eq!(expected, answers(&one_by_one.machine.store(), &reads), "it is another store after opening it again");
}

fn entry(index: u64, command: &Command) -> Entry {
    let mut builder = EntryBuilder::new(Origin { member: 1, sequence: index });
    builder.push(command);
    Entry { index: LogIndex(index), term: Term(1), kind: EntryKind::Normal, data: builder.finish() }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let put = |key, lease| pb::PutRequest { key: bytes(key), value: bytes("value"), lease, ..Default::default() };
    let all = || pb::RangeRequest { key: bytes("\0"), range_end: bytes("\0"), ..Default::default() };
    let delete = pb::DeleteRangeRequest { key: bytes("a"), range_end: bytes("c"), prev_kv: true };
    let op = |request| pb::RequestOp { request: Some(request) };
    let compare = pb::Compare {
        target: pb::compare::CompareTarget::Version.into(),
        key: bytes("b"),
        target_union: Some(pb::compare::TargetUnion::Version(1)),
        ..Default::default()
    };
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: vec![op(pb::request_op::Request::RequestPut(put("b", 0)))],
        failure: vec![op(pb::request_op::Request::RequestDeleteRange(delete.clone()))],
    };
    let read = pb::TxnRequest { success: vec![op(pb::request_op::Request::RequestRange(all()))], ..Default::default() };
    let mut seed = Vec::new();
    put_act(&mut seed, GRANT, &pb::LeaseGrantRequest { ttl: 60, id: 7 }.encode_to_vec());
    put_act(&mut seed, PUT | CUT, &put("a", 7).encode_to_vec());
    put_act(&mut seed, PUT, &put("b", 0).encode_to_vec());
    put_act(&mut seed, TXN, &txn.encode_to_vec());
    put_act(&mut seed, RANGE, &all().encode_to_vec());
    put_act(&mut seed, TXN | CUT, &read.encode_to_vec());
    put_act(&mut seed, DELETE, &delete.encode_to_vec());
    put_act(&mut seed, PUT, &put("c", 7).encode_to_vec());
    put_act(&mut seed, COMPACT, &pb::CompactionRequest { revision: 3, physical: false }.encode_to_vec());
    put_act(&mut seed, REVOKE, &pb::LeaseRevokeRequest { id: 7 }.encode_to_vec());
    put_act(&mut seed, ALARM, &pb::AlarmRequest { action: 1, member_id: 1, alarm: 1 }.encode_to_vec());
    put_act(&mut seed, RANGE, &pb::RangeRequest { revision: 4, ..all() }.encode_to_vec());
    vec![seed]
}
