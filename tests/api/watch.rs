//! Watch: what watchers see.

use cairn_api::etcdserverpb::{LeaseRevokeRequest, WatchCreateRequest};
use cairn_tests::ops::*;
use cairn_tests::{Session, compare};

/// Eight revisions (2 to 9) and eleven events with a transaction, an interval deletion and a lease among them.
async fn history(s: &mut Session) {
    s.grant(3, 600).await;
    s.put(put("a", "1")).await;
    s.put(put("b", "1")).await;
    s.put(put("a", "2")).await;
    s.txn(then(vec![put("c", "1").op(), put("b", "2").op(), put("bb", "1").op()])).await;
    s.delete(del_range("a", "bb")).await;
    s.put(put_leased("a", "3", 3)).await;
    s.lease_revoke(LeaseRevokeRequest { id: 3 }).await;
    s.put(put("a", "4")).await;
}

#[tokio::test]
async fn a_watcher_from_now_on_sees_what_comes_and_nothing_else() {
    compare("watch_now", async |s| {
        s.put(put("a", "before")).await;
        let mut watch = s.watch();
        s.watch_create(&mut watch, watch_one("a")).await?;
        s.put(put("a", "1")).await;
        s.put(put("b", "1")).await;
        s.put(put("a", "2")).await;
        s.delete(del("a")).await;
        s.delete(del("a")).await;
        s.watch_events(&mut watch, 0, 3).await?;
        s.watch_progress(&mut watch).await
    })
    .await;
}

fn watch_one(key: &str) -> WatchCreateRequest {
    cairn_tests::ops::watch(key)
}

#[tokio::test]
async fn a_watcher_from_a_past_revision_sees_every_event_since() {
    compare("watch_past", async |s| {
        history(s).await;
        let mut watch = s.watch();
        for (id, (start, count)) in [(1, 11), (2, 11), (4, 9), (6, 5), (9, 1), (10, 0)].into_iter().enumerate() {
            s.watch_create(&mut watch, watch_range(ALL, ALL, start)).await?;
            s.watch_events(&mut watch, i64::try_from(id)?, count).await?;
        }
        s.put(put("d", "live")).await;
        for id in 0..6 {
            s.watch_events(&mut watch, id, 1).await?;
        }
        s.watch_progress(&mut watch).await
    })
    .await;
}

#[tokio::test]
async fn a_watcher_from_a_future_revision_stays_silent_until_then() {
    compare("watch_future", async |s| {
        s.put(put("a", "1")).await;
        let mut watch = s.watch();
        s.watch_create(&mut watch, watch_range(ALL, ALL, 5)).await?;
        for value in 0..5 {
            s.put(put("a", value.to_string())).await;
        }
        s.watch_events(&mut watch, 0, 3).await?;
        s.watch_progress(&mut watch).await
    })
    .await;
}

#[tokio::test]
async fn watchers_take_every_form_of_interval() {
    compare("watch_intervals", async |s| {
        history(s).await;
        let mut watch = s.watch();
        for (id, (key, end, count)) in [
            ("a", "", 6),
            ("a", "b", 6),
            ("b", ALL_TEXT, 5),
            ("bb", "d", 2),
            ("", "", 0),
            ("", ALL_TEXT, 11),
            ("x", "z", 0),
            ("\0", "b", 6),
        ]
        .into_iter()
        .enumerate()
        {
            s.watch_create(&mut watch, watch_range(key, end, 1)).await?;
            s.watch_events(&mut watch, i64::try_from(id)?, count).await?;
        }
        s.watch_progress(&mut watch).await
    })
    .await;
}

const ALL_TEXT: &str = "\0";

#[tokio::test]
async fn previous_pairs_come_with_changes_but_not_with_creations() {
    compare("watch_prev_kv", async |s| {
        history(s).await;
        let mut watch = s.watch();
        let with_prev = |start| WatchCreateRequest { prev_kv: true, ..watch_range(ALL, ALL, start) };
        s.watch_create(&mut watch, with_prev(1)).await?;
        s.watch_events(&mut watch, 0, 11).await?;
        s.watch_create(&mut watch, with_prev(0)).await?;
        s.put(put("a", "5")).await;
        s.put(put("new", "1")).await;
        s.delete(del("a")).await;
        s.txn(then(vec![put("a", "6").op(), del("c").op()])).await;
        s.watch_events(&mut watch, 0, 5).await?;
        s.watch_events(&mut watch, 1, 5).await?;
        s.compact(6).await;
        s.watch_create(&mut watch, with_prev(7)).await?;
        s.watch_events(&mut watch, 2, 8).await?;
        s.watch_progress(&mut watch).await
    })
    .await;
}

#[tokio::test]
async fn filters_leave_out_puts_or_deletions() {
    compare("watch_filters", async |s| {
        history(s).await;
        let mut watch = s.watch();
        let filtered =
            |filters: &[i32], start| WatchCreateRequest { filters: filters.to_vec(), ..watch_range(ALL, ALL, start) };
        s.watch_create(&mut watch, filtered(&[0], 1)).await?;
        s.watch_events(&mut watch, 0, 3).await?;
        s.watch_create(&mut watch, filtered(&[1], 1)).await?;
        s.watch_events(&mut watch, 1, 8).await?;
        s.watch_create(&mut watch, filtered(&[0, 1], 1)).await?;
        s.watch_create(&mut watch, filtered(&[0], 0)).await?;
        s.put(put("a", "5")).await;
        s.delete(del("a")).await;
        s.watch_events(&mut watch, 0, 1).await?;
        s.watch_events(&mut watch, 1, 1).await?;
        s.watch_events(&mut watch, 3, 1).await?;
        s.watch_progress(&mut watch).await
    })
    .await;
}

#[tokio::test]
async fn watchers_of_one_stream_have_ids_of_their_own() {
    compare("watch_ids", async |s| {
        let mut watch = s.watch();
        let with_id = |key: &str, watch_id| WatchCreateRequest { watch_id, ..watch_one(key) };
        s.watch_create(&mut watch, with_id("a", 0)).await?;
        s.watch_create(&mut watch, with_id("a", 5)).await?;
        s.watch_create(&mut watch, with_id("b", 5)).await?;
        s.watch_create(&mut watch, with_id("b", 1)).await?;
        s.watch_create(&mut watch, with_id("b", 0)).await?;
        s.watch_create(&mut watch, with_id("a", 0)).await?;
        s.put(put("a", "1")).await;
        s.put(put("b", "1")).await;
        for id in [0, 5, 1, 2, 3] {
            s.watch_events(&mut watch, id, 1).await?;
        }
        s.watch_cancel(&mut watch, 5).await?;
        s.put(put("a", "2")).await;
        s.watch_events(&mut watch, 0, 1).await?;
        s.watch_create(&mut watch, with_id("b", 5)).await?;
        s.put(put("b", "2")).await;
        s.watch_events(&mut watch, 5, 1).await?;
        let mut second = s.watch();
        s.watch_create(&mut second, with_id("b", 0)).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_watcher_is_silent_and_an_unknown_one_is_ignored() {
    compare("watch_cancel", async |s| {
        let mut watch = s.watch();
        s.watch_create(&mut watch, watch_one("a")).await?;
        s.watch_create(&mut watch, watch_one("a")).await?;
        watch.cancel(77).await?;
        s.watch_cancel(&mut watch, 0).await?;
        s.put(put("a", "1")).await;
        s.watch_events(&mut watch, 1, 1).await?;
        watch.cancel(0).await?;
        s.watch_progress(&mut watch).await?;
        s.watch_cancel(&mut watch, 1).await?;
        s.put(put("a", "2")).await;
        s.watch_create(&mut watch, watch_range("a", "", 2)).await?;
        s.watch_events(&mut watch, 2, 2).await?;
        s.watch_progress(&mut watch).await
    })
    .await;
}

#[tokio::test]
async fn progress_names_the_present_revision_without_events() {
    compare("watch_progress", async |s| {
        let mut watch = s.watch();
        s.watch_create(&mut watch, WatchCreateRequest { progress_notify: true, ..watch_one("a") }).await?;
        s.watch_progress(&mut watch).await?;
        s.put(put("other", "1")).await;
        s.put(put("other", "2")).await;
        // Progress may trail the last write by a moment; it is asked for until it has caught up.
        while watch.progress().await? < 3 {}
        s.watch_progress(&mut watch).await?;
        s.put(put("a", "1")).await;
        s.watch_events(&mut watch, 0, 1).await?;
        s.watch_progress(&mut watch).await
    })
    .await;
}

#[tokio::test]
async fn events_of_one_revision_come_in_the_order_of_their_writing() {
    compare("watch_order", async |s| {
        let mut watch = s.watch();
        s.watch_create(&mut watch, watch_range(ALL, ALL, 0)).await?;
        s.txn(then(["z", "m", "a", "q"].into_iter().map(|key| put(key, "1").op()).collect())).await;
        s.txn(then(vec![put("b", "1").op(), del_range("m", "zz").op(), put("c", "1").op(), del("a").op()])).await;
        s.delete(del_range(ALL, ALL)).await;
        s.watch_events(&mut watch, 0, 12).await?;
        s.watch_create(&mut watch, watch_range(ALL, ALL, 2)).await?;
        s.watch_events(&mut watch, 1, 12).await?;
        s.watch_progress(&mut watch).await
    })
    .await;
}
