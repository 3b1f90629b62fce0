//! Txn: what it refuses, and that a refused one has no effect.

use cairn_api::etcdserverpb::compare::{CompareResult, TargetUnion};
use cairn_api::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};
use cairn_tests::compare;
use cairn_tests::ops::*;

#[tokio::test]
async fn operations_are_limited_per_list_and_nested_ones_share_the_budget() {
    compare("txn_op_limits", async |s| {
        let gets = |count: usize| (0..count).map(|i| get(format!("k{i}")).op()).collect::<Vec<_>>();
        let cmps = |count: usize| vec![cmp("k", CompareResult::Equal, TargetUnion::Version(0)); count];
        s.txn(then(gets(128))).await;
        s.txn(then(gets(129))).await;
        s.txn(TxnRequest { failure: gets(129), ..TxnRequest::default() }).await;
        s.txn(TxnRequest { compare: cmps(128), ..then(gets(2)) }).await;
        s.txn(TxnRequest { compare: cmps(129), ..TxnRequest::default() }).await;
        s.txn(TxnRequest { success: gets(128), failure: gets(128), compare: cmps(128) }).await;
        s.txn(then(vec![then(gets(127)).op()])).await;
        s.txn(then(vec![then(gets(128)).op()])).await;
        s.txn(then(vec![then(gets(100)).op(), then(gets(126)).op()])).await;
        s.txn(then(vec![then(gets(100)).op(), then(gets(127)).op()])).await;
        s.txn(then(vec![then(vec![then(gets(126)).op()]).op()])).await;
        s.txn(then(vec![then(vec![then(gets(127)).op()]).op()])).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn malformed_operations_are_refused_before_anything_happens() {
    compare("txn_malformed", async |s| {
        s.txn(then(vec![RequestOp { request: None }])).await;
        s.txn(then(vec![put("a", "1").op(), RequestOp { request: None }])).await;
        s.txn(TxnRequest { failure: vec![RequestOp { request: None }], ..TxnRequest::default() }).await;
        s.txn(then(vec![get("").op()])).await;
        s.txn(then(vec![put("", "1").op()])).await;
        s.txn(then(vec![del("").op()])).await;
        s.txn(TxnRequest { failure: vec![put("", "1").op()], ..TxnRequest::default() }).await;
        s.txn(then(vec![then(vec![put("", "1").op()]).op()])).await;
        s.txn(TxnRequest { compare: vec![Compare::default()], ..TxnRequest::default() }).await;
        s.txn(then(vec![TxnRequest { compare: vec![Compare::default()], ..TxnRequest::default() }.op()])).await;
        s.txn(then(vec![PutRequest { ignore_value: true, ..put("a", "x") }.op()])).await;
        s.txn(then(vec![PutRequest { ignore_lease: true, lease: 4, ..put("a", "x") }.op()])).await;
        s.range(all()).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_check_that_fails_at_apply_leaves_nothing_behind() {
    compare("txn_apply_checks", async |s| {
        s.grant(6, 600).await;
        s.put(put("a", "1")).await;
        s.txn(then(vec![put("b", "1").op(), put_leased("c", "1", 99).op()])).await;
        s.txn(then(vec![put("b", "1").op(), then(vec![put_leased("c", "1", 99).op()]).op()])).await;
        s.txn(TxnRequest { failure: vec![put_leased("c", "1", 99).op()], ..then(vec![put("b", "1").op()]) }).await;
        s.txn(then(vec![del("a").op(), PutRequest { ignore_value: true, ..put("missing", "") }.op()])).await;
        s.txn(then(vec![PutRequest { ignore_lease: true, ..put("missing", "1") }.op()])).await;
        s.txn(then(vec![PutRequest { ignore_value: true, lease: 6, ..put("a", "") }.op(), get("a").op()])).await;
        s.txn(then(vec![put("b", "2").op(), PutRequest { ignore_lease: true, ..put("a", "9") }.op()])).await;
        s.range(all()).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_key_that_the_transaction_itself_makes_does_not_count_for_ignoring() {
    compare("txn_ignore_own", async |s| {
        let ignore_value = || PutRequest { ignore_value: true, ..put("a", "") };
        s.txn(then(vec![then(vec![put("b", "1").op()]).op(), ignore_value().op()])).await;
        s.put(put("a", "1")).await;
        s.txn(then(vec![ignore_value().op(), get("a").op()])).await;
        s.range(all()).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn reads_at_a_revision_inside_a_transaction_know_past_and_future() {
    compare("txn_range_revisions", async |s| {
        for value in 0..6 {
            s.put(put(["a", "b"][value % 2], value.to_string())).await;
        }
        s.compact(4).await;
        let at = |revision| RangeRequest { revision, ..get("a") }.op();
        for revision in [-1, 0, 1, 3, 4, 5, 7, 8, 9, 100] {
            s.txn(then(vec![at(revision)])).await;
            s.txn(then(vec![put("w", "1").op(), at(revision)])).await;
            s.txn(then(vec![put("w", "1").op(), then(vec![at(revision)]).op()])).await;
        }
        s.range(all()).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn reads_inside_a_write_transaction_sort_filter_and_limit_as_outside() {
    compare("txn_range_options", async |s| {
        for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("b", "4")] {
            s.put(put(key, value)).await;
        }
        for order in 0..3 {
            for target in 0..5 {
                for limit in [0, 2] {
                    // By version only two of them differ, so that sort has nothing to say about ties there.
                    let end = if target == 1 { "c" } else { "n" };
                    let sorted = RangeRequest { sort_order: order, sort_target: target, limit, ..range("a", end) };
                    s.txn(then(vec![sorted.op(), put("z", "").op()])).await;
                }
            }
        }
        s.txn(then(vec![put("z", "").op(), RangeRequest { min_mod_revision: 4, ..all() }.op()])).await;
        s.txn(then(vec![put("z", "").op(), RangeRequest { count_only: true, limit: 1, ..all() }.op()])).await;
        s.txn(then(vec![put("z", "").op(), RangeRequest { keys_only: true, limit: 1, ..all() }.op()])).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn unknown_numbers_in_comparisons_and_reads() {
    compare("txn_unknown_enums", async |s| {
        s.put(put("a", "1")).await;
        let base = || cmp("a", CompareResult::Equal, TargetUnion::Version(1));
        let ask = |compare| TxnRequest { compare: vec![compare], success: vec![get("a").op()], failure: vec![] };
        s.step("unknown result").txn(ask(Compare { result: 9, ..base() })).await;
        s.step("unknown target").txn(ask(Compare { target: 9, ..base() })).await;
        s.step("unknown sort order").txn(then(vec![RangeRequest { sort_order: 9, ..all() }.op()])).await;
        s.range(all()).await;
        Ok(())
    })
    .await;
}
