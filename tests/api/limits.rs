//! Requests that are too large.

use cairn_testkit::Options;
use cairn_tests::ops::*;
use cairn_tests::{compare, compare_with};

#[tokio::test]
async fn a_request_above_the_limit_is_refused_by_the_server_and_far_above_it_by_the_transport() {
    compare("oversize", async |s| {
        let value = |bytes: usize| vec![b'v'; bytes];
        s.put(put("a", value(1_500_000))).await;
        s.put(put("b", value(1_572_864))).await;
        s.put(put("b", value(2_000_000))).await;
        s.step("beyond what gRPC receives").put(put("b", value(3_000_000))).await;
        s.txn(then(vec![put("x", value(800_000)).op(), put("y", value(700_000)).op()])).await;
        s.txn(then(vec![put("x", value(800_000)).op(), put("y", value(900_000)).op()])).await;
        // Reads do not go through the log and are bounded by the transport only.
        s.range(get(value(1_600_000))).await;
        s.range(pb_count()).await;
        Ok(())
    })
    .await;
}

fn pb_count() -> cairn_api::etcdserverpb::RangeRequest {
    cairn_api::etcdserverpb::RangeRequest { count_only: true, ..all() }
}

#[tokio::test]
async fn the_limits_are_flags() {
    compare_with("limits_flags", Options::flags(&["--max-request-bytes=2000", "--max-txn-ops=3"]), async |s| {
        s.put(put("a", vec![b'v'; 1_800])).await;
        s.put(put("a", vec![b'v'; 2_000])).await;
        s.step("beyond what gRPC receives").put(put("a", vec![b'v'; 600_000])).await;
        s.txn(then((0..3).map(|i| get(format!("{i}")).op()).collect())).await;
        s.txn(then((0..4).map(|i| get(format!("{i}")).op()).collect())).await;
        s.range(pb_count()).await;
        Ok(())
    })
    .await;
}
