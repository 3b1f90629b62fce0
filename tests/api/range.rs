//! Range.

use cairn_api::etcdserverpb::RangeRequest;
use cairn_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use cairn_testkit::Peer;
use cairn_tests::ops::*;
use cairn_tests::{Session, compare};

/// Keys whose five sort targets all order them differently, with ties in version and value, over 14 revisions.
async fn fill(s: &mut Session) {
    for (key, value) in [("b", "3"), ("d", "1"), ("a", "2"), ("c", "5"), ("ab", "4"), ("e", "1")] {
        s.put(put(key, value)).await;
    }
    for (key, value) in [("c", "9"), ("a", "2"), ("a", "7"), ("e", "1"), ("b", "0")] {
        s.put(put(key, value)).await;
    }
    s.delete(del("d")).await;
    s.put(put("d", "6")).await;
}

#[tokio::test]
async fn a_range_takes_every_form_of_interval() {
    compare("range_intervals", async |s| {
        fill(s).await;
        for (key, end) in [
            ("a", ""),
            ("x", ""),
            ("a", "b"),
            ("a", "c"),
            ("ab", "ab"),
            ("c", "a"),
            ("b", "\0"),
            ("\0", "\0"),
            ("\0", ""),
            ("x", "\0"),
            ("", ""),
            ("", "c"),
            ("", "\0"),
            ("a\0", "d\0"),
        ] {
            s.range(range(key, end)).await;
            s.range(RangeRequest { count_only: true, ..range(key, end) }).await;
            s.range(RangeRequest { keys_only: true, serializable: true, ..range(key, end) }).await;
        }
        s.range(range([0xff], [0xff, 0xff])).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_range_reads_the_past_but_neither_the_future_nor_what_was_compacted() {
    compare("range_revisions", async |s| {
        fill(s).await;
        for revision in -2..=16 {
            s.range(RangeRequest { revision, ..all() }).await;
            s.range(RangeRequest { revision, ..get("a") }).await;
            s.range(RangeRequest { revision, count_only: true, ..range("a", "c") }).await;
        }
        s.compact(8).await;
        for revision in [-1, 1, 7, 8, 9, 14, 15] {
            s.range(RangeRequest { revision, ..all() }).await;
            s.range(RangeRequest { revision, serializable: true, keys_only: true, ..range("a", "c") }).await;
            s.range(RangeRequest { revision, count_only: true, ..get("d") }).await;
        }
        s.range(RangeRequest { revision: i64::MAX, ..all() }).await;
        s.range(RangeRequest { revision: i64::MIN, ..all() }).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_limit_cuts_the_pairs_and_not_the_count() {
    compare("range_limits", async |s| {
        fill(s).await;
        for limit in [-1, 0, 1, 2, 5, 6, 7, i64::MAX] {
            s.range(RangeRequest { limit, ..all() }).await;
            s.range(RangeRequest { limit, revision: 7, ..range("b", ALL) }).await;
            s.range(RangeRequest { limit, keys_only: true, ..range("a", "c") }).await;
            s.range(RangeRequest { limit, count_only: true, ..all() }).await;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn every_sort_order_works_on_every_target() {
    compare("range_sort", async |s| {
        fill(s).await;
        // Ties are not in a promised order; distinct values and versions leave none among these keys.
        let interval = || range("a", "d");
        for order in [SortOrder::None, SortOrder::Ascend, SortOrder::Descend] {
            for target in [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value]
            {
                for limit in [0, 2, 3] {
                    // Only one of the keys of a limit can tie at the edge; versions of `ab` are unique within a..b.
                    let sorted =
                        RangeRequest { sort_order: order.into(), sort_target: target.into(), limit, ..interval() };
                    if target != SortTarget::Version {
                        s.range(sorted.clone()).await;
                        s.range(RangeRequest { keys_only: true, ..sorted.clone() }).await;
                        s.range(RangeRequest { revision: 8, ..sorted.clone() }).await;
                    }
                    s.range(RangeRequest { range_end: "b".into(), count_only: limit == 3, ..sorted }).await;
                }
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn filters_on_revisions_narrow_the_pairs_and_not_the_count() {
    compare("range_filters", async |s| {
        fill(s).await;
        for bound in [-1, 1, 4, 9, 11, 14, 99] {
            for limit in [0, 2] {
                let base = || RangeRequest { limit, ..all() };
                s.range(RangeRequest { min_mod_revision: bound, ..base() }).await;
                s.range(RangeRequest { max_mod_revision: bound, ..base() }).await;
                s.range(RangeRequest { min_create_revision: bound, ..base() }).await;
                s.range(RangeRequest { max_create_revision: bound, ..base() }).await;
            }
        }
        s.range(RangeRequest { min_mod_revision: 9, max_mod_revision: 12, min_create_revision: 3, ..all() }).await;
        s.range(RangeRequest { max_create_revision: 5, count_only: true, ..all() }).await;
        s.range(RangeRequest { min_mod_revision: 9, keys_only: true, revision: 11, ..all() }).await;
        s.range(RangeRequest {
            min_mod_revision: 5,
            sort_order: SortOrder::Descend.into(),
            sort_target: SortTarget::Mod.into(),
            limit: 2,
            ..all()
        })
        .await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn leases_show_in_pairs_also_where_values_do_not() {
    compare("range_lease", async |s| {
        s.grant(11, 600).await;
        s.put(put_leased("a", "1", 11)).await;
        s.range(get("a")).await;
        s.range(RangeRequest { keys_only: true, ..get("a") }).await;
        Ok(())
    })
    .await;
}

/// etcd 3.5 ends its process on a sort target that it does not know; since 3.6 such requests are refused. So there is
/// nothing to compare the targets with.
#[tokio::test]
async fn unknown_sort_options_are_refused() {
    compare("range_sort_unknown", async |s| {
        fill(s).await;
        s.step("unknown order").range(RangeRequest { sort_order: 9, ..all() }).await;
        s.step("empty key comes first").range(RangeRequest { sort_order: 9, ..get("") }).await;
        s.step("unknown target");
        if s.member.peer() == Peer::Cairn {
            s.range(RangeRequest { sort_target: 9, ..all() }).await;
        } else {
            s.write_down("range", String::new(), "(not asked: 3.5 ends its process)".to_owned());
        }
        Ok(())
    })
    .await;
}
