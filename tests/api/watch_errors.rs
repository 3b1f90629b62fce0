//! Watch: what is refused, what compaction does to it, and messages that are too large.

use anyhow::ensure;
use cairn_api::etcdserverpb::{CompactionRequest, WatchCreateRequest};
use cairn_tests::compare;
use cairn_tests::ops::*;

#[tokio::test]
async fn an_empty_interval_is_refused() {
    compare("watch_bad_range", async |s| {
        let mut watch = s.watch();
        s.watch_create(&mut watch, watch_range("b", "a", 0)).await?;
        s.watch_create(&mut watch, watch_range("b", "b", 0)).await?;
        s.watch_create(&mut watch, watch_range("b", "c", 0)).await?;
        s.put(put("b", "1")).await;
        s.watch_events(&mut watch, 0, 1).await?;
        s.watch_progress(&mut watch).await
    })
    .await;
}

#[tokio::test]
async fn a_start_before_the_compaction_is_refused_with_its_revision() {
    compare("watch_compacted", async |s| {
        for value in 0..6 {
            s.put(put("a", value.to_string())).await;
        }
        s.compact_request(CompactionRequest { revision: 5, physical: true }).await;
        let mut watch = s.watch();
        for start in [1, 4] {
            s.watch_create(&mut watch, watch_range("a", "", start)).await?;
            s.watch_control(&mut watch).await?;
        }
        s.watch_create(&mut watch, watch_range("a", "", 5)).await?;
        s.watch_events(&mut watch, 2, 3).await?;
        s.watch_create(&mut watch, WatchCreateRequest { prev_kv: true, ..watch_range("a", "", 6) }).await?;
        s.watch_events(&mut watch, 3, 2).await?;
        s.put(put("a", "live")).await;
        s.watch_events(&mut watch, 2, 1).await?;
        s.watch_events(&mut watch, 3, 1).await?;
        s.watch_progress(&mut watch).await
    })
    .await;
}

#[tokio::test]
async fn a_negative_start_is_refused() {
    compare("watch_negative", async |s| {
        s.put(put("a", "1")).await;
        let mut watch = s.watch();
        s.step("negative start").watch_create(&mut watch, watch_range("a", "", -1)).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_start_at_a_compacted_deletion_still_shows_it() {
    compare("watch_compacted_tombstone", async |s| {
        s.put(put("a", "1")).await;
        s.delete(del("a")).await;
        s.put(put("b", "1")).await;
        s.compact_request(CompactionRequest { revision: 3, physical: true }).await;
        let mut watch = s.watch();
        s.watch_create(&mut watch, watch_range(ALL, ALL, 3)).await?;
        let first = watch.next_events(0, 1).await?;
        s.step("first event at the compaction").write_down("watch_events", String::new(), format!("{first:#?}"));
        Ok(())
    })
    .await;
}

/// One revision of several megabytes, as one message and as fragments.
#[tokio::test]
async fn a_large_revision_is_split_only_for_those_who_ask() {
    compare("watch_fragments", async |s| {
        let value = vec![b'v'; 400_000];
        for batch in 0..3 {
            let puts = (0..3).map(|i| put(format!("k{batch}{i}"), &value).op()).collect();
            s.txn(then(puts)).await;
        }
        s.delete(del_range("k", "l")).await;
        let mut watch = s.watch();
        let create = |fragment| WatchCreateRequest { fragment, prev_kv: true, ..watch_range("k", "l", 5) };
        s.watch_create(&mut watch, create(false)).await?;
        let whole = watch.next_events(0, 9).await?;
        ensure!(watch.fragments == 0, "fragments that nobody asked for");
        s.watch_create(&mut watch, create(true)).await?;
        let parts = watch.next_events(1, 9).await?;
        ensure!(whole == parts, "fragments do not add up");
        // How many there are depends on the limit and is the same on both sides.
        let (fragments, events) = (watch.fragments, parts.len());
        s.write_down("fragments", String::new(), format!("{fragments} of {events} events"));
        Ok(())
    })
    .await;
}
