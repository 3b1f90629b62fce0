//! Put and DeleteRange.

use cairn_api::etcdserverpb::{DeleteRangeRequest, PutRequest};
use cairn_tests::compare;
use cairn_tests::ops::*;

#[tokio::test]
async fn a_put_makes_one_revision_and_returns_the_previous_pair_if_asked() {
    compare("put", async |s| {
        s.range(get("a")).await;
        s.put(put("a", "1")).await;
        s.put(PutRequest { prev_kv: true, ..put("a", "2") }).await;
        s.put(PutRequest { prev_kv: true, ..put("b", "") }).await;
        s.put(put("a", "2")).await;
        s.put(put("\0", "zero")).await;
        s.put(put([0xff, 0xfe, 0x80], [0, 0xff])).await;
        s.range(all()).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_put_may_keep_the_value_or_the_lease_of_a_key_that_exists() {
    compare("put_ignore", async |s| {
        let ignore_value = |key: &str, value: &str| PutRequest { ignore_value: true, ..put(key, value) };
        let ignore_lease = |key: &str, value: &str| PutRequest { ignore_lease: true, ..put(key, value) };
        s.put(ignore_value("a", "")).await;
        s.put(ignore_lease("a", "1")).await;
        s.grant(7, 600).await;
        s.grant(8, 600).await;
        s.put(put_leased("a", "1", 7)).await;
        s.put(ignore_value("a", "")).await;
        s.range(get("a")).await;
        s.put(ignore_value("a", "x")).await;
        s.put(PutRequest { lease: 8, ..ignore_value("a", "") }).await;
        s.range(get("a")).await;
        s.put(ignore_lease("a", "2")).await;
        s.range(get("a")).await;
        s.put(PutRequest { lease: 7, ..ignore_lease("a", "3") }).await;
        s.put(PutRequest { ignore_value: true, prev_kv: true, ..ignore_lease("a", "") }).await;
        s.range(get("a")).await;
        s.put(PutRequest { ignore_value: true, lease: 8, ..ignore_lease("a", "x") }).await;
        s.delete(del("a")).await;
        s.put(ignore_value("a", "")).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_put_that_is_refused_makes_no_revision() {
    compare("put_errors", async |s| {
        s.put(put("", "1")).await;
        s.put(PutRequest { ignore_value: true, ..put("", "1") }).await;
        s.put(put_leased("a", "1", 99)).await;
        s.put(put_leased("a", "1", -1)).await;
        s.put(PutRequest { ignore_value: true, ..put_leased("a", "", 99) }).await;
        s.put(put("a", "1")).await;
        s.put(put_leased("a", "1", 99)).await;
        s.range(get("a")).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_deletion_takes_every_form_of_interval() {
    compare("delete", async |s| {
        for key in ["a", "b", "ba", "bb", "c", "d", "e"] {
            s.put(put(key, key)).await;
        }
        s.delete(del("x")).await;
        s.delete(del("")).await;
        s.delete(DeleteRangeRequest { range_end: "b".into(), ..del("") }).await;
        s.delete(del("b")).await;
        s.delete(DeleteRangeRequest { prev_kv: true, ..del("ba") }).await;
        s.delete(del_range("c", "b")).await;
        s.delete(del_range("c", "c")).await;
        s.delete(DeleteRangeRequest { prev_kv: true, ..del_range("bb", "d") }).await;
        s.delete(DeleteRangeRequest { prev_kv: true, ..del_range("d", ALL) }).await;
        s.range(all()).await;
        s.put(put("d", "again")).await;
        s.range(get("d")).await;
        s.delete(del_range(ALL, ALL)).await;
        s.delete(del_range(ALL, ALL)).await;
        s.range(all()).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_key_that_comes_back_starts_a_new_generation() {
    compare("generations", async |s| {
        for round in 0..3 {
            s.put(put("k", format!("{round}-first"))).await;
            s.put(put("k", format!("{round}-second"))).await;
            s.range(get("k")).await;
            s.delete(del("k")).await;
            s.range(get("k")).await;
        }
        for revision in 1..=10 {
            s.range(cairn_api::etcdserverpb::RangeRequest { revision, ..get("k") }).await;
        }
        Ok(())
    })
    .await;
}
