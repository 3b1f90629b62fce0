//! Compact, and what every other call sees after it.

use cairn_api::etcdserverpb::{CompactionRequest, RangeRequest};
use cairn_tests::compare;
use cairn_tests::ops::*;

#[tokio::test]
async fn a_compaction_goes_forward_only_and_never_past_the_present() {
    compare("compact", async |s| {
        for value in 0..8 {
            s.put(put(["a", "b"][value % 2], value.to_string())).await;
        }
        s.compact(-1).await;
        s.compact(10).await;
        s.compact(4).await;
        s.compact(4).await;
        s.compact(3).await;
        s.compact(0).await;
        s.compact(-1).await;
        s.range(RangeRequest { revision: 3, ..all() }).await;
        s.range(RangeRequest { revision: 4, ..all() }).await;
        s.compact_request(CompactionRequest { revision: 7, physical: true }).await;
        s.compact_request(CompactionRequest { revision: 7, physical: true }).await;
        s.compact_request(CompactionRequest { revision: 99, physical: true }).await;
        s.range(RangeRequest { revision: 6, ..get("b") }).await;
        s.compact(9).await;
        s.range(all()).await;
        s.range(RangeRequest { revision: 8, ..get("b") }).await;
        s.put(put("a", "after")).await;
        s.range(RangeRequest { revision: 9, ..all() }).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_store_that_was_never_compacted_accepts_a_compaction_at_zero_once() {
    compare("compact_zero", async |s| {
        s.compact(0).await;
        s.compact(0).await;
        s.compact(2).await;
        s.compact(1).await;
        s.compact(1).await;
        s.put(put("a", "1")).await;
        s.compact(2).await;
        s.range(RangeRequest { revision: 1, ..all() }).await;
        s.range(RangeRequest { revision: 2, ..all() }).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_compaction_at_a_deletion_keeps_nothing_of_the_key() {
    compare("compact_tombstone", async |s| {
        s.put(put("a", "1")).await;
        s.put(put("b", "1")).await;
        s.delete(del("a")).await;
        s.compact_request(CompactionRequest { revision: 4, physical: true }).await;
        s.range(RangeRequest { revision: 4, ..all() }).await;
        s.put(put("a", "2")).await;
        s.range(get("a")).await;
        s.range(RangeRequest { revision: 4, ..get("a") }).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn revisions_and_compaction_survive_a_restart() {
    compare("restart", async |s| {
        for value in 0..6 {
            s.put(put(["a", "b", "c"][value % 3], value.to_string())).await;
        }
        s.delete(del("b")).await;
        s.grant(77, 600).await;
        s.put(put_leased("leased", "1", 77)).await;
        s.compact_request(CompactionRequest { revision: 6, physical: true }).await;
        s.restart().await?;
        s.range(all()).await;
        s.range(RangeRequest { revision: 5, ..all() }).await;
        s.range(RangeRequest { revision: 6, ..all() }).await;
        s.range(RangeRequest { revision: 7, ..all() }).await;
        s.compact(6).await;
        s.put(put("b", "again")).await;
        s.range(get("b")).await;
        s.lease_leases(cairn_api::etcdserverpb::LeaseLeasesRequest {}).await;
        s.lease_revoke(cairn_api::etcdserverpb::LeaseRevokeRequest { id: 77 }).await;
        s.range(all()).await;
        s.hash_kv(0).await;
        Ok(())
    })
    .await;
}
