//! HashKV: the same history gives the same number, on etcd, on Cairn, and in an independent model.

use anyhow::ensure;
use cairn_api::etcdserverpb::CompactionRequest;
use cairn_tests::model::History;
use cairn_tests::ops::*;
use cairn_tests::{Session, compare};

/// 24 revisions over a few keys, with transactions, deletions and a lease.
async fn write(s: &mut Session) {
    s.grant(9, 600).await;
    for round in 0..6 {
        s.put(put("a", format!("a{round}"))).await;
        s.put(put_leased(format!("leased{round}"), vec![0xff; 300], 9)).await;
        s.txn(then(vec![put("t1", format!("{round}")).op(), put("t2", "").op(), del("a").op()])).await;
        s.delete(del_range("t", if round % 2 == 0 { "t2" } else { "u" })).await;
    }
}

/// Compares every hash that can be asked for with the model's.
async fn check(s: &mut Session, model: &History, newest: i64) -> anyhow::Result<()> {
    for revision in 0..=newest + 1 {
        if revision == model.compacted() {
            s.step("hash at the compaction");
        }
        let Some(answer) = s.hash_kv(revision).await else { continue };
        let at = if revision == 0 { newest } else { revision };
        let expected = model.hash_kv(at);
        ensure!(answer.hash == expected, "HashKV at {at}: {:#x}, model {expected:#x}", answer.hash);
        ensure!(answer.compact_revision == model.compacted(), "compact revision {}", answer.compact_revision);
    }
    Ok(())
}

async fn learn(s: &mut Session, model: &mut History, count: usize) -> anyhow::Result<()> {
    let mut watch = s.watch();
    watch.create(watch_range(ALL, ALL, model.revision() + 1)).await?;
    watch.next_control().await?;
    model.add(watch.next_events(0, count).await?)
}

#[tokio::test]
async fn the_hash_is_equal_at_every_revision_and_after_compactions() {
    compare("hash_kv", async |s| {
        let mut model = History::new();
        check(s, &model, 1).await?;
        write(s).await;
        learn(s, &mut model, 39).await?;
        let newest = model.revision();
        check(s, &model, newest).await?;
        s.hash_kv(-5).await;
        for revision in [3, 9, 10, 11, 12, 20] {
            s.compact_request(CompactionRequest { revision, physical: true }).await;
            model.compact(revision);
            check(s, &model, newest).await?;
        }
        s.put(put("a", "later")).await;
        learn(s, &mut model, 1).await?;
        check(s, &model, newest + 1).await?;
        s.restart().await?;
        check(s, &model, newest + 1).await
    })
    .await;
}

#[tokio::test]
async fn a_store_in_which_nothing_is_left_hashes_all_that_it_still_has() {
    compare("hash_kv_empty", async |s| {
        let mut model = History::new();
        for key in ["a", "b"] {
            s.put(put(key, "1")).await;
            s.put(put(key, "2")).await;
        }
        s.compact_request(CompactionRequest { revision: 3, physical: true }).await;
        s.delete(del_range("a", "c")).await;
        let mut watch = s.watch();
        watch.create(watch_range(ALL, ALL, 3)).await?;
        watch.next_control().await?;
        model.add(watch.next_events(0, 5).await?)?;
        model.compact(3);
        check(s, &model, 6).await?;
        s.compact_request(CompactionRequest { revision: 6, physical: true }).await;
        model.compact(6);
        check(s, &model, 6).await
    })
    .await;
}
