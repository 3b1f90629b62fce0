//! Expected texts were printed by etcdctl 3.5.1 for the same answers; those of `endpoint status` and `endpoint hashkv`
//! have the columns that 3.6 added.

use cairn_api::etcdserverpb::response_op::Response;
use cairn_api::mvccpb::{Event, KeyValue};

use super::*;

const CLUSTER: u64 = 324_952_591_200_643_719;
const MEMBER: u64 = 3_319_814_642_761_637_952;
const HEADER_JSON: &str =
    r#""cluster_id":324952591200643719,"member_id":3319814642761637952,"revision":7,"raft_term":2"#;
const HEADER_FIELDS: &str =
    "\"ClusterID\" : 324952591200643719\n\"MemberID\" : 3319814642761637952\n\"Revision\" : 7\n\"RaftTerm\" : 2\n";

fn header() -> Option<ResponseHeader> {
    Some(ResponseHeader { cluster_id: CLUSTER, member_id: MEMBER, revision: 7, raft_term: 2 })
}

fn kv() -> KeyValue {
    let key = "a".into();
    KeyValue { key, create_revision: 2, mod_revision: 6, version: 3, value: "b".into(), lease: 0 }
}

/// Renders and replaces the header, which is the same everywhere, by `HEADER`.
fn render(answer: &Answer, format: Format) -> String {
    let text = String::from_utf8(answer.render(format, false).out).expect("the sample is text");
    text.replace(HEADER_JSON, "HEADER").replace(HEADER_FIELDS, "HEADER\n")
}

fn check(answer: &Answer, simple: &str, json: &str, fields: &str) {
    assert_eq!(render(answer, Format::Simple), simple);
    assert_eq!(render(answer, Format::Json), format!("{json}\n"));
    assert_eq!(render(answer, Format::Fields), fields);
}

const KV_JSON: &str = r#"{"key":"YQ==","create_revision":2,"mod_revision":6,"version":3,"value":"Yg=="}"#;
const PREV_FIELDS: &str = "\"PrevKey\" : \"a\"\n\"PrevCreateRevision\" : 2\n\"PrevModRevision\" : 6\n\"PrevVersion\" : 3\n\
                           \"PrevValue\" : \"b\"\n\"PrevLease\" : 0\n";
const KV_FIELDS: &str = "\"Key\" : \"a\"\n\"CreateRevision\" : 2\n\"ModRevision\" : 6\n\"Version\" : 3\n\"Value\" : \"b\"\n\
                         \"Lease\" : 0\n";

#[test]
fn a_put_prints_ok_and_the_pair_before_it() {
    let answer = Answer::Put(PutResponse { header: header(), prev_kv: Some(kv()) });
    let json = format!(r#"{{"header":{{HEADER}},"prev_kv":{KV_JSON}}}"#);
    check(&answer, "OK\na\nb\n", &json, &format!("HEADER\n{PREV_FIELDS}"));
    let protobuf = answer.render(Format::Protobuf, false).out;
    let expected = "0a180887d5edba8fd59dc10410c0c0caafc1ba96892e18072002120c0a01611002180620032a0162";
    assert_eq!(protobuf.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), expected);
}

#[test]
fn a_get_prints_keys_and_values_or_values_alone() {
    let response = RangeResponse { header: header(), kvs: vec![kv()], more: true, count: 3 };
    let answer = Answer::Get { response, value_only: false };
    let json = format!(r#"{{"header":{{HEADER}},"kvs":[{KV_JSON}],"more":true,"count":3}}"#);
    check(&answer, "a\nb\n", &json, &format!("HEADER\n{KV_FIELDS}\"More\" : true\n\"Count\" : 3\n"));
    assert_eq!(answer.render(Format::Simple, true).out, b"\\x61\n\\x62\n");
    let response = RangeResponse { header: header(), kvs: vec![kv()], ..Default::default() };
    assert_eq!(render(&Answer::Get { response, value_only: true }, Format::Simple), "b\n");
    let nothing = Answer::Get { response: RangeResponse { header: header(), ..Default::default() }, value_only: false };
    check(&nothing, "", r#"{"header":{HEADER}}"#, "HEADER\n\"More\" : false\n\"Count\" : 0\n");
}

#[test]
fn a_delete_prints_how_many_and_which() {
    let answer = Answer::Delete(DeleteRangeResponse { header: header(), deleted: 1, prev_kvs: vec![kv()] });
    let json = format!(r#"{{"header":{{HEADER}},"deleted":1,"prev_kvs":[{KV_JSON}]}}"#);
    check(&answer, "1\na\nb\n", &json, &format!("HEADER\n\"Deleted\" : 1\n{PREV_FIELDS}"));
}

#[test]
fn a_transaction_prints_its_outcome_and_every_operations_answer() {
    let inner = Some(ResponseHeader { revision: 63, ..Default::default() });
    let op = |response| ResponseOp { response: Some(response) };
    let answer = Answer::Txn(TxnResponse {
        header: header(),
        succeeded: true,
        responses: vec![
            op(Response::ResponsePut(PutResponse { header: inner, prev_kv: None })),
            op(Response::ResponseRange(RangeResponse { header: inner, kvs: vec![kv()], more: false, count: 1 })),
            op(Response::ResponseDeleteRange(DeleteRangeResponse { header: inner, ..Default::default() })),
        ],
    });
    let json = format!(
        concat!(
            r#"{{"header":{{HEADER}},"succeeded":true,"responses":[{{"Response":{{"response_put":{{"header":{{"#,
            r#""revision":63}}}}}}}},{{"Response":{{"response_range":{{"header":{{"revision":63}},"kvs":[{kv}],"count":1}}}}}},"#,
            r#"{{"Response":{{"response_delete_range":{{"header":{{"revision":63}}}}}}}}]}}"#
        ),
        kv = KV_JSON
    );
    let inner = "\"ClusterID\" : 0\n\"MemberID\" : 0\n\"Revision\" : 63\n\"RaftTerm\" : 0\n";
    let fields = format!(
        "HEADER\n\"Succeeded\" : true\n{inner}{inner}{KV_FIELDS}\"More\" : false\n\"Count\" : 1\n{inner}\"Deleted\" : 0\n"
    );
    check(&answer, "SUCCESS\n\nOK\n\na\nb\n\n0\n", &json, &fields);
}

#[test]
fn a_watch_prints_type_previous_pair_and_pair_of_each_event() {
    let deleted = KeyValue { key: "a".into(), mod_revision: 7, ..Default::default() };
    let events = vec![Event { r#type: 1, kv: Some(deleted), prev_kv: Some(kv()) }];
    let answer = Answer::Watch(WatchResponse { header: header(), events, ..Default::default() });
    let json = format!(
        "{{\"Header\":{{HEADER}},\"Events\":[{{\"type\":1,\"kv\":{{\"key\":\"YQ==\",\"mod_revision\":7}},\
         \"prev_kv\":{KV_JSON}}}],\"CompactRevision\":0,\"Canceled\":false,\"Created\":false}}"
    );
    let fields = format!(
        "HEADER\n\"Type\" : DELETE\n{PREV_FIELDS}\"Key\" : \"a\"\n\"CreateRevision\" : 0\n\"ModRevision\" : 7\n\
         \"Version\" : 0\n\"Value\" : \"\"\n\"Lease\" : 0\n"
    );
    check(&answer, "DELETE\na\nb\na\n\n", &json, &fields);
}

#[test]
fn a_watch_that_was_refused_has_neither_header_nor_events() {
    let response = WatchResponse { header: Some(ResponseHeader::default()), canceled: true, ..Default::default() };
    let expected = "{\"Header\":{},\"Events\":null,\"CompactRevision\":0,\"Canceled\":true,\"Created\":false}\n";
    assert_eq!(render(&Answer::Watch(response), Format::Json), expected);
}

#[test]
fn leases_print_in_the_form_of_etcds_client() {
    let grant = LeaseGrantResponse { header: header(), id: 0x1234, ttl: 100, error: String::new() };
    check(
        &Answer::Grant(grant),
        "lease 0000000000001234 granted with TTL(100s)\n",
        r#"{HEADER,"ID":4660,"TTL":100,"Error":""}"#,
        "HEADER\n\"ID\" : 4660\n\"TTL\" : 100\n",
    );
    let response = LeaseRevokeResponse { header: header() };
    let revoked = "lease 0000000000001234 revoked\n";
    check(&Answer::Revoke { lease: 0x1234, response }, revoked, r#"{"header":{HEADER}}"#, "HEADER\n");
    check(
        &Answer::KeepAlive(LeaseKeepAliveResponse { header: header(), id: 0x1234, ttl: 777 }),
        "lease 0000000000001234 keepalived with TTL(777)\n",
        r#"{HEADER,"ID":4660,"TTL":777}"#,
        "HEADER\n\"ID\" : 4660\n\"TTL\" : 777\n",
    );
    let leases = vec![LeaseStatus { id: 0x1234 }];
    check(
        &Answer::Leases(LeaseLeasesResponse { header: header(), leases }),
        "found 1 leases\n0000000000001234\n",
        r#"{HEADER,"leases":[{"id":4660}]}"#,
        "HEADER\n\"ID\" : 4660\n",
    );
}

#[test]
fn time_to_live_tells_an_expired_lease_from_one_that_lives() {
    let keys = vec!["lk1".into(), "lk2".into()];
    let alive = LeaseTimeToLiveResponse { header: header(), id: 0x1234, ttl: 776, granted_ttl: 777, keys };
    check(
        &Answer::TimeToLive { response: alive, keys: true },
        "lease 0000000000001234 granted with TTL(777s), remaining(776s), attached keys([lk1 lk2])\n",
        r#"{HEADER,"id":4660,"ttl":776,"granted-ttl":777,"keys":["bGsx","bGsy"]}"#,
        "HEADER\n\"ID\" : 4660\n\"TTL\" : 776\n\"GrantedTTL\" : 777\n\"Key\" : \"lk1\"\n\"Key\" : \"lk2\"\n",
    );
    let expired = LeaseTimeToLiveResponse { header: header(), id: 0x1234, ttl: -1, granted_ttl: 0, keys: Vec::new() };
    check(
        &Answer::TimeToLive { response: expired, keys: true },
        "lease 0000000000001234 already expired\n",
        r#"{HEADER,"id":4660,"ttl":-1,"granted-ttl":0,"keys":null}"#,
        "HEADER\n\"ID\" : 4660\n\"TTL\" : -1\n\"GrantedTTL\" : 0\n",
    );
}

fn members() -> Answer {
    let member = Member {
        id: MEMBER,
        name: "default".to_owned(),
        peer_ur_ls: vec!["http://127.0.0.1:23800".to_owned()],
        client_ur_ls: vec!["http://127.0.0.1:23790".to_owned()],
        is_learner: false,
    };
    let header = header().map(|header| ResponseHeader { revision: 0, ..header });
    Answer::Members(MemberListResponse { header, members: vec![member] })
}

#[test]
fn members_print_as_lists_objects_and_boxes() {
    let line = "2e1259d415f2a040, started, default, http://127.0.0.1:23800, http://127.0.0.1:23790, false\n";
    assert_eq!(render(&members(), Format::Simple), line);
    let json = r#"{"header":{"cluster_id":324952591200643719,"member_id":3319814642761637952,"raft_term":2},"members":[{"ID":3319814642761637952,"name":"default","peerURLs":["http://127.0.0.1:23800"],"clientURLs":["http://127.0.0.1:23790"]}]}"#;
    assert_eq!(render(&members(), Format::Json), format!("{json}\n"));
    let hex = r#"{"header":{"cluster_id":"48276a8f75b6a87","member_id":"2e1259d415f2a040","raft_term":2},"members":[{"ID":"2e1259d415f2a040","name":"default","peerURLs":["http://127.0.0.1:23800"],"clientURLS":["http://127.0.0.1:23790"]}]}"#;
    assert_eq!(members().render(Format::Json, true).out, format!("{hex}\n").into_bytes());
    let table = "\
+------------------+---------+---------+------------------------+------------------------+------------+
|        ID        | STATUS  |  NAME   |       PEER ADDRS       |      CLIENT ADDRS      | IS LEARNER |
+------------------+---------+---------+------------------------+------------------------+------------+
| 2e1259d415f2a040 | started | default | http://127.0.0.1:23800 | http://127.0.0.1:23790 |      false |
+------------------+---------+---------+------------------------+------------------------+------------+
";
    assert_eq!(render(&members(), Format::Table), table);
}

#[test]
fn alarms_print_their_member_and_name() {
    let alarms = vec![AlarmMember { member_id: MEMBER, alarm: AlarmType::Nospace.into() }];
    check(
        &Answer::Alarms(AlarmResponse { header: header(), alarms: alarms.clone() }),
        "memberID:3319814642761637952 alarm:NOSPACE \n",
        r#"{"header":{HEADER},"alarms":[{"memberID":3319814642761637952,"alarm":1}]}"#,
        "HEADER\n\"MemberID\" : 3319814642761637952\n\"AlarmType\" : NOSPACE\n\n",
    );
    assert_eq!(render(&Answer::Alarms(AlarmResponse::default()), Format::Json), "{}\n");
}

#[test]
fn health_prints_what_is_well_on_stdout_and_what_is_not_on_stderr() {
    let took = Duration::from_nanos(2_218_568);
    let well = Health { endpoint: "127.0.0.1:1".to_owned(), took, error: None };
    let ill = Health {
        endpoint: "127.0.0.1:2".to_owned(),
        error: Some("context deadline exceeded".to_owned()),
        ..well.clone()
    };
    let answer = Answer::Health(vec![well, ill]);
    let simple = answer.render(Format::Simple, false);
    let healthy = "127.0.0.1:1 is healthy: successfully committed proposal: took = 2.218568ms\n";
    assert_eq!(simple.out, healthy.as_bytes());
    assert_eq!(simple.err, "127.0.0.1:2 is unhealthy: failed to commit proposal: context deadline exceeded\n");
    let json = r#"[{"endpoint":"127.0.0.1:1","health":true,"took":"2.218568ms"},{"endpoint":"127.0.0.1:2","health":false,"took":"2.218568ms","error":"context deadline exceeded"}]"#;
    assert_eq!(render(&answer, Format::Json), format!("{json}\n"));
    let fields = "\"Endpoint\" : \"127.0.0.1:1\"\n\"Health\" : true\n\"Took\" : 2.218568ms\n\"Error\" : \n\n\
                  \"Endpoint\" : \"127.0.0.1:2\"\n\"Health\" : false\n\"Took\" : 2.218568ms\n\
                  \"Error\" : context deadline exceeded\n\n";
    assert_eq!(render(&answer, Format::Fields), fields);
    let table = "\
+-------------+--------+------------+---------------------------+
|  ENDPOINT   | HEALTH |    TOOK    |           ERROR           |
+-------------+--------+------------+---------------------------+
| 127.0.0.1:1 |   true | 2.218568ms |                           |
| 127.0.0.1:2 |  false | 2.218568ms | context deadline exceeded |
+-------------+--------+------------+---------------------------+
";
    assert_eq!(render(&answer, Format::Table), table);
}

fn status() -> StatusResponse {
    StatusResponse {
        header: header(),
        version: "3.6.0".to_owned(),
        db_size: 24_576,
        leader: MEMBER,
        raft_index: 41,
        raft_term: 2,
        raft_applied_index: 41,
        errors: vec!["memberID:3319814642761637952 alarm:NOSPACE ".to_owned()],
        db_size_in_use: 16_384,
        storage_version: "3.6.0".to_owned(),
        db_size_quota: 2_147_483_648,
        downgrade_info: Some(DowngradeInfo::default()),
        ..Default::default()
    }
}

#[test]
fn status_has_the_columns_of_3_6() {
    let answer = Answer::Status(vec![("127.0.0.1:2379".to_owned(), status())]);
    let simple = "127.0.0.1:2379, 2e1259d415f2a040, 3.6.0, 3.6.0, 25 kB, 16 kB, 34%, 2.1 GB, true, false, 2, 41, 41, \
                  memberID:3319814642761637952 alarm:NOSPACE , , false\n";
    let json = r#"[{"Endpoint":"127.0.0.1:2379","Status":{"header":{HEADER},"version":"3.6.0","dbSize":24576,"leader":3319814642761637952,"raftIndex":41,"raftTerm":2,"raftAppliedIndex":41,"errors":["memberID:3319814642761637952 alarm:NOSPACE "],"dbSizeInUse":16384,"storageVersion":"3.6.0","dbSizeQuota":2147483648,"downgradeInfo":{}}}]"#;
    let fields = "HEADER\n\"Version\" : \"3.6.0\"\n\"StorageVersion\" : \"3.6.0\"\n\"DBSize\" : 24576\n\
                  \"DBSizeInUse\" : 16384\n\"DBSizeQuota\" : 2147483648\n\"Leader\" : 3319814642761637952\n\
                  \"IsLearner\" : false\n\"RaftIndex\" : 41\n\"RaftTerm\" : 2\n\"RaftAppliedIndex\" : 41\n\
                  \"Errors\" : [memberID:3319814642761637952 alarm:NOSPACE ]\n\"Endpoint\" : \"127.0.0.1:2379\"\n\
                  \"DowngradeTargetVersion\" : \"\"\n\"DowngradeEnabled\" : false\n\n";
    check(&answer, simple, json, fields);
}

#[test]
fn a_store_without_a_size_does_not_stop_the_printer() {
    let empty = StatusResponse { db_size: 0, db_size_in_use: 0, ..status() };
    let text = render(&Answer::Status(vec![("e".to_owned(), empty)]), Format::Simple);
    assert!(text.contains(", 0 B, 0 B, 0%, "), "{text}");
}

#[test]
fn a_cell_that_is_too_wide_is_broken_at_its_spaces() {
    let errors = vec!["memberID:13668033151171901709 alarm:NOSPACE ".to_owned()];
    let text = render(&Answer::Status(vec![("e".to_owned(), StatusResponse { errors, ..status() })]), Format::Table);
    let lines: Vec<_> = text.lines().filter_map(|line| line.split('|').nth(14)).collect();
    let expected =
        ["             ERRORS             ", "  memberID:13668033151171901709 ", "                 alarm:NOSPACE  "];
    assert_eq!(lines, expected);
}

#[test]
fn hashes_print_with_the_revision_they_belong_to() {
    let hash = HashKvResponse { header: header(), hash: 465_944_913, compact_revision: 2, hash_revision: 7 };
    check(
        &Answer::HashKv(vec![("e".to_owned(), hash)]),
        "e, 465944913, 7\n",
        r#"[{"Endpoint":"e","HashKV":{"header":{HEADER},"hash":465944913,"compact_revision":2,"hash_revision":7}}]"#,
        "HEADER\n\"Endpoint\" : \"e\"\n\"Hash\" : 465944913\n\"HashRevision\" : 7\n\n",
    );
}

#[test]
fn strings_in_json_are_escaped_as_go_escapes_them() {
    let Answer::Members(mut response) = members() else { panic!("these are members") };
    response.members[0].name = "<a&\"\\\u{2028}\u{1}".to_owned();
    let text = render(&Answer::Members(response), Format::Json);
    assert!(text.contains(r#""name":"\u003ca\u0026\"\\\u2028\u0001""#), "{text}");
}
