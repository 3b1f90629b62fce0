//! The command lines: stock etcdctl 3.4 and 3.5.1 must not see whether etcd or Cairn answers, and cairnctl must print
//! what etcdctl prints.

mod masks;
mod script;

use cairn_testkit::{Options, Peer, subject};
use cairn_tests::compare::{differences, stale};
use cairn_tests::known::known_in;
use script::{Line, Run, Tool};

/// Plays the same lines in two settings and compares all output and exit codes.
async fn agree(scenario: &str, script: &[Line], expected: (Tool, Peer), actual: (Tool, Peer)) {
    let (theirs, ours) = tokio::join!(Run::play(script, expected.0, expected.1), Run::play(script, actual.0, actual.1));
    let (theirs, ours) = (theirs.expect("the expected side runs"), ours.expect("the tested side runs"));
    let known = known_in(scenario);
    let known = if actual == expected { vec![] } else { known };
    let mut report = differences(&theirs, &ours, &known);
    if subject() == Peer::Cairn {
        report.push_str(&stale(&theirs, &ours, &known));
    }
    assert!(report.is_empty(), "{scenario}: {expected:?} (-) and {actual:?} (+) differ\n{report}");
}

/// One tool on a real etcd and on the subject.
async fn servers_agree(scenario: &str, tool: Peer, format: &'static str, script: &[Line]) {
    let tool = Tool { peer: tool, format };
    agree(scenario, script, (tool, Peer::Etcd351), (tool, subject())).await;
}

/// etcdctl and cairnctl on the same server.
async fn tools_agree(scenario: &str, format: &'static str, script: &[Line]) {
    let tool = |peer| Tool { peer, format };
    agree(scenario, script, (tool(Peer::Etcd351), subject()), (tool(Peer::Cairn), subject())).await;
}

macro_rules! suites {
    ($($name:ident: $run:ident($scenario:literal, $($argument:expr),+);)*) => {
        $(#[tokio::test]
        async fn $name() {
            $run($scenario, $($argument),+).await;
        })*
    };
}

suites! {
    etcdctl_3_5_prints_the_same_in_simple_form: servers_agree("etcdctl 3.5 simple", Peer::Etcd351, "simple", script::KV);
    etcdctl_3_5_prints_the_same_in_json: servers_agree("etcdctl 3.5 json", Peer::Etcd351, "json", script::KV);
    etcdctl_3_5_prints_the_same_in_fields: servers_agree("etcdctl 3.5 fields", Peer::Etcd351, "fields", script::KV);
    etcdctl_3_5_prints_the_same_in_tables: servers_agree("etcdctl 3.5 admin table", Peer::Etcd351, "table", script::CLUSTER);
    etcdctl_3_5_administers_the_same_in_simple_form: servers_agree("etcdctl 3.5 admin simple", Peer::Etcd351, "simple", script::CLUSTER);
    etcdctl_3_5_administers_the_same_in_json: servers_agree("etcdctl 3.5 admin json", Peer::Etcd351, "json", script::CLUSTER);
    etcdctl_3_5_administers_the_same_in_fields: servers_agree("etcdctl 3.5 admin fields", Peer::Etcd351, "fields", script::CLUSTER);
    etcdctl_3_4_prints_the_same_in_simple_form: servers_agree("etcdctl 3.4 simple", Peer::Etcd34, "simple", script::KV);
    etcdctl_3_4_prints_the_same_in_json: servers_agree("etcdctl 3.4 json", Peer::Etcd34, "json", script::KV);
    etcdctl_3_4_administers_the_same_in_tables: servers_agree("etcdctl 3.4 admin table", Peer::Etcd34, "table", script::CLUSTER);
    etcdctl_3_4_takes_urls_in_simple_form: servers_agree("etcdctl 3.4 urls simple", Peer::Etcd34, "simple", script::URLS);
    etcdctl_3_4_takes_urls_in_json: servers_agree("etcdctl 3.4 urls json", Peer::Etcd34, "json", script::URLS);
    etcdctl_3_4_takes_urls_in_fields: servers_agree("etcdctl 3.4 urls fields", Peer::Etcd34, "fields", script::URLS);
    etcdctl_3_5_takes_urls: servers_agree("etcdctl 3.5 urls simple", Peer::Etcd351, "simple", script::URLS);
    etcdctl_3_5_takes_locks: servers_agree("etcdctl 3.5 locks", Peer::Etcd351, "simple", script::RECIPES);
    cairnctl_prints_what_etcdctl_prints_in_simple_form: tools_agree("cairnctl simple", "simple", script::KV);
    cairnctl_prints_what_etcdctl_prints_in_json: tools_agree("cairnctl json", "json", script::KV);
    cairnctl_prints_what_etcdctl_prints_in_fields: tools_agree("cairnctl fields", "fields", script::KV);
    cairnctl_administers_as_etcdctl_in_simple_form: tools_agree("cairnctl admin simple", "simple", script::CLUSTER);
    cairnctl_administers_as_etcdctl_in_json: tools_agree("cairnctl admin json", "json", script::CLUSTER);
    cairnctl_administers_as_etcdctl_in_fields: tools_agree("cairnctl admin fields", "fields", script::CLUSTER);
    cairnctl_administers_as_etcdctl_in_tables: tools_agree("cairnctl admin table", "table", script::CLUSTER);
}

/// The tool's own words about its own version are the one thing that must differ.
#[tokio::test]
async fn cairnctl_says_which_version_it_is() {
    let tool = Tool { peer: Peer::Cairn, format: "simple" };
    let mut run = Run::start(tool, subject(), Options::default()).await.expect("a member");
    let finished = run.execute(&["version"], "").await.expect("cairnctl runs");
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("API version: 3.6"), "{finished:?}");
}
