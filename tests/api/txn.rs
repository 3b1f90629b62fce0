//! Txn: what it does.

use cairn_api::etcdserverpb::compare::{CompareResult, TargetUnion};
use cairn_api::etcdserverpb::{Compare, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};
use cairn_tests::ops::*;
use cairn_tests::{Session, compare};

const RESULTS: [CompareResult; 4] =
    [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];

/// `a` has version 2, `b` version 1 and lease 5, `c` is gone.
async fn fill(s: &mut Session) {
    s.grant(5, 600).await;
    s.put(put("a", "1")).await;
    s.put(put_leased("b", "5", 5)).await;
    s.put(put("c", "x")).await;
    s.put(put("a", "3")).await;
    s.delete(del("c")).await;
}

fn targets(number: i64, value: &'static str) -> [TargetUnion; 5] {
    [
        TargetUnion::Version(number),
        TargetUnion::CreateRevision(number),
        TargetUnion::ModRevision(number),
        TargetUnion::Lease(number),
        TargetUnion::Value(value.into()),
    ]
}

fn if_then_else(compare: Vec<Compare>) -> TxnRequest {
    TxnRequest { compare, success: vec![get("a").op()], failure: vec![get("b").op(), get("c").op()] }
}

#[tokio::test]
async fn every_target_compares_in_every_way() {
    compare("txn_compare", async |s| {
        fill(s).await;
        for key in ["a", "b", "c", "missing"] {
            for result in RESULTS {
                for (number, value) in [(0, ""), (1, "3"), (2, "4"), (5, "5")] {
                    for target in targets(number, value) {
                        s.txn(if_then_else(vec![cmp(key, result, target)])).await;
                    }
                }
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_comparison_on_a_range_holds_if_it_holds_for_every_key() {
    compare("txn_compare_range", async |s| {
        fill(s).await;
        s.put(put("d", "4")).await;
        for (key, end) in
            [("a", "e"), ("a", "b"), ("b", ALL_TEXT), ("c", "d"), ("x", "z"), ("z", "a"), (ALL_TEXT, ALL_TEXT)]
        {
            for result in RESULTS {
                for (number, value) in [(0, ""), (1, "4"), (3, "5")] {
                    for target in targets(number, value) {
                        let on_range = Compare { range_end: end.into(), ..cmp(key, result, target) };
                        s.txn(if_then_else(vec![on_range])).await;
                    }
                }
            }
        }
        Ok(())
    })
    .await;
}

const ALL_TEXT: &str = "\0";

#[tokio::test]
async fn comparisons_are_joined_by_and_and_none_at_all_hold() {
    compare("txn_compare_list", async |s| {
        fill(s).await;
        let yes = || cmp("a", CompareResult::Equal, TargetUnion::Version(2));
        let no = || cmp("a", CompareResult::Equal, TargetUnion::Version(1));
        for list in [vec![], vec![yes()], vec![yes(), yes()], vec![yes(), no()], vec![no(), yes()], vec![no()]] {
            s.txn(if_then_else(list)).await;
        }
        let without_target = |target| Compare { target, key: "missing".into(), ..Compare::default() };
        for target in 0..5 {
            s.txn(if_then_else(vec![without_target(target)])).await;
            s.txn(if_then_else(vec![Compare { key: "a".into(), ..without_target(target) }])).await;
        }
        // The declared target and the value that came with it need not be of one kind.
        s.txn(if_then_else(vec![Compare { target: 0, ..cmp("a", CompareResult::Equal, TargetUnion::ModRevision(2)) }]))
            .await;
        s.txn(if_then_else(vec![Compare { target: 3, ..cmp("a", CompareResult::Equal, TargetUnion::Version(3)) }]))
            .await;
        s.txn(TxnRequest::default()).await;
        s.txn(TxnRequest { compare: vec![no()], ..TxnRequest::default() }).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn operations_run_in_order_and_see_each_other() {
    compare("txn_order", async |s| {
        fill(s).await;
        s.txn(then(vec![
            get("n").op(),
            put("n", "1").op(),
            get("n").op(),
            del("a").op(),
            range("a", "z").op(),
            PutRequest { prev_kv: true, ..put_leased("b", "6", 5) }.op(),
            all().op(),
        ]))
        .await;
        s.txn(then(vec![
            DeleteRangeRequest { prev_kv: true, ..del_range("a", "c") }.op(),
            RangeRequest { count_only: true, ..all() }.op(),
            put("c", "back").op(),
            RangeRequest { keys_only: true, ..all() }.op(),
        ]))
        .await;
        s.txn(then(vec![del("nothing").op(), del_range("x", "z").op(), get("n").op()])).await;
        s.txn(then(vec![del("nothing").op(), get("n").op(), put("m", "1").op(), get("n").op(), del("nothing").op()]))
            .await;
        s.txn(then(vec![del_range(ALL, ALL).op(), del_range(ALL, ALL).op()])).await;
        s.range(all()).await;
        let mut watch = s.watch();
        s.watch_create(&mut watch, watch_range(ALL, ALL, 2)).await?;
        s.watch_events(&mut watch, 0, 13).await?;
        s.hash_kv(0).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_nested_transaction_decides_on_what_stood_before_and_answers_inside() {
    compare("txn_nested", async |s| {
        fill(s).await;
        let inner = |key: &'static str, version| TxnRequest {
            compare: vec![cmp(key, CompareResult::Equal, TargetUnion::Version(version))],
            success: vec![put("yes", key).op(), get("yes").op()],
            failure: vec![put("no", key).op(), get("no").op()],
        };
        s.txn(then(vec![inner("a", 2).op()])).await;
        s.txn(then(vec![inner("a", 1).op()])).await;
        s.txn(then(vec![put("a", "new").op(), inner("a", 3).op()])).await;
        s.txn(then(vec![then(vec![then(vec![put("deep", "1").op(), get("deep").op()]).op()]).op(), get("deep").op()]))
            .await;
        s.txn(then(vec![then(vec![get("a").op()]).op()])).await;
        s.txn(then(vec![TxnRequest::default().op()])).await;
        s.txn(then(vec![then(vec![del("deep").op()]).op(), get("deep").op(), put("deep2", "").op()])).await;
        s.range(all()).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_same_key_may_be_written_in_both_branches_but_not_twice_in_one() {
    compare("txn_duplicates", async |s| {
        fill(s).await;
        let p = |key: &str| put(key, "x").op();
        s.txn(TxnRequest { success: vec![p("k")], failure: vec![p("k")], ..TxnRequest::default() }).await;
        s.txn(then(vec![p("k"), p("k")])).await;
        s.txn(TxnRequest { failure: vec![p("k"), p("k")], ..TxnRequest::default() }).await;
        s.txn(then(vec![p("k"), del("k").op()])).await;
        s.txn(then(vec![del("k").op(), p("k")])).await;
        s.txn(then(vec![del_range("a", "z").op(), p("k")])).await;
        s.txn(then(vec![p("k"), del_range("a", "k").op()])).await;
        s.txn(then(vec![del_range("a", "c").op(), del_range("b", "d").op(), del("b").op()])).await;
        s.txn(then(vec![p("k"), del_range("a", ALL).op()])).await;
        s.txn(then(vec![del_range(ALL, ALL).op(), p("k")])).await;
        s.txn(then(vec![p("k"), del_range("z", "a").op()])).await;
        s.txn(then(vec![then(vec![p("k")]).op(), p("k")])).await;
        s.txn(then(vec![p("k"), then(vec![p("k")]).op()])).await;
        s.txn(then(vec![then(vec![p("k")]).op(), then(vec![p("k")]).op()])).await;
        s.txn(then(vec![then(vec![p("k")]).op(), then(vec![del("k").op()]).op()])).await;
        s.txn(then(vec![then(vec![del("k").op()]).op(), then(vec![p("k")]).op()])).await;
        s.txn(then(vec![then(vec![p("k")]).op(), del("k").op()])).await;
        s.txn(then(vec![del("k").op(), then(vec![p("k")]).op()])).await;
        s.txn(then(vec![TxnRequest { success: vec![p("k")], failure: vec![p("k")], ..TxnRequest::default() }.op()]))
            .await;
        s.txn(then(vec![p("k"), TxnRequest { failure: vec![del("k").op()], ..TxnRequest::default() }.op()])).await;
        s.range(all()).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_only_reads_makes_no_revision() {
    compare("txn_read_only", async |s| {
        fill(s).await;
        let serializable = |key: &str| RangeRequest { serializable: true, ..get(key) };
        s.txn(then(vec![serializable("a").op(), serializable("b").op()])).await;
        s.txn(then(vec![serializable("a").op(), get("b").op()])).await;
        s.txn(then(vec![RangeRequest { revision: 2, ..get("a") }.op(), RangeRequest { revision: 6, ..all() }.op()]))
            .await;
        s.txn(then(vec![RangeRequest { revision: 7, ..get("a") }.op()])).await;
        s.txn(then(vec![RangeRequest { limit: 1, ..all() }.op(), RangeRequest { keys_only: true, ..all() }.op()]))
            .await;
        s.range(all()).await;
        Ok(())
    })
    .await;
}
