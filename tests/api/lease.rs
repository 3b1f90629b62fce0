//! Lease.

use cairn_api::etcdserverpb::{
    LeaseGrantRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, RangeRequest,
};
use cairn_testkit::wait_until;
use cairn_tests::compare;
use cairn_tests::ops::*;

#[tokio::test]
async fn a_grant_takes_an_id_or_chooses_one() {
    compare("lease_grant", async |s| {
        s.grant(10, 600).await;
        s.grant(10, 600).await;
        s.lease_grant(LeaseGrantRequest { id: 0, ttl: 600 }).await;
        s.grant(11, 9_000_000_000).await;
        s.grant(12, 9_000_000_001).await;
        s.grant(12, i64::MAX).await;
        s.grant(13, 1).await;
        s.grant(14, 0).await;
        s.grant(15, -5).await;
        s.grant(-3, 600).await;
        s.lease_time_to_live(LeaseTimeToLiveRequest { id: 13, keys: false }).await;
        s.lease_revoke(LeaseRevokeRequest { id: 10 }).await;
        s.grant(10, 300).await;
        s.lease_time_to_live(LeaseTimeToLiveRequest { id: 10, keys: false }).await;
        s.range(all()).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_revocation_deletes_the_attached_keys_in_one_revision() {
    compare("lease_revoke", async |s| {
        s.lease_revoke(LeaseRevokeRequest { id: 20 }).await;
        s.lease_revoke(LeaseRevokeRequest { id: 0 }).await;
        s.grant(20, 600).await;
        s.grant(21, 600).await;
        let mut watch = s.watch();
        s.watch_create(&mut watch, watch_range(ALL, ALL, 0)).await?;
        for key in ["c", "a", "b"] {
            s.put(put_leased(key, "1", 20)).await;
        }
        s.put(put_leased("d", "1", 21)).await;
        s.put(put_leased("c", "2", 21)).await;
        s.put(put("b", "free")).await;
        s.put(put_leased("e", "1", 20)).await;
        s.lease_time_to_live(LeaseTimeToLiveRequest { id: 20, keys: true }).await;
        s.lease_time_to_live(LeaseTimeToLiveRequest { id: 21, keys: true }).await;
        s.lease_time_to_live(LeaseTimeToLiveRequest { id: 21, keys: false }).await;
        s.lease_revoke(LeaseRevokeRequest { id: 20 }).await;
        s.lease_revoke(LeaseRevokeRequest { id: 20 }).await;
        s.watch_events(&mut watch, 0, 9).await?;
        s.range(all()).await;
        s.delete(del("d")).await;
        s.lease_time_to_live(LeaseTimeToLiveRequest { id: 21, keys: true }).await;
        s.lease_revoke(LeaseRevokeRequest { id: 21 }).await;
        s.watch_events(&mut watch, 0, 2).await?;
        s.grant(22, 600).await;
        s.lease_revoke(LeaseRevokeRequest { id: 22 }).await;
        s.range(all()).await;
        s.watch_progress(&mut watch).await
    })
    .await;
}

#[tokio::test]
async fn a_keep_alive_of_a_missing_lease_says_zero_and_the_stream_goes_on() {
    compare("lease_keep_alive", async |s| {
        s.grant(30, 600).await;
        s.put(put_leased("a", "1", 30)).await;
        s.keep_alive(&[30]).await;
        s.keep_alive(&[31, 30, 0, -1, 30]).await;
        s.lease_revoke(LeaseRevokeRequest { id: 30 }).await;
        s.keep_alive(&[30]).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn time_to_live_and_the_list_know_what_was_granted() {
    compare("lease_queries", async |s| {
        s.lease_leases(LeaseLeasesRequest {}).await;
        s.lease_time_to_live(LeaseTimeToLiveRequest { id: 40, keys: true }).await;
        s.lease_time_to_live(LeaseTimeToLiveRequest { id: 0, keys: false }).await;
        for id in [43, 41, 42] {
            s.grant(id, 1000 - id).await;
        }
        for key in ["z", "y", "x"] {
            s.put(put_leased(key, "", 42)).await;
        }
        s.lease_leases(LeaseLeasesRequest {}).await;
        for (id, keys) in [(41, false), (41, true), (42, false), (42, true)] {
            s.lease_time_to_live(LeaseTimeToLiveRequest { id, keys }).await;
        }
        s.lease_revoke(LeaseRevokeRequest { id: 43 }).await;
        s.lease_leases(LeaseLeasesRequest {}).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_expired_lease_takes_its_keys_with_it_in_one_revision() {
    compare("lease_expiry", async |s| {
        let mut watch = s.watch();
        s.watch_create(&mut watch, watch_range(ALL, ALL, 0)).await?;
        s.grant(50, 1).await;
        s.grant(51, 600).await;
        for key in ["b", "a"] {
            s.put(put_leased(key, "1", 50)).await;
        }
        s.put(put_leased("c", "1", 51)).await;
        s.watch_events(&mut watch, 0, 5).await?;
        // The events come before or after the lease is gone from the list, so the list is asked until it is.
        let mut client = cairn_api::etcdserverpb::lease_client::LeaseClient::new(s.channel());
        wait_until("the lease is gone", async || {
            let answer = client.lease_leases(LeaseLeasesRequest {}).await?.into_inner();
            Ok((answer.leases.len() == 1).then_some(()))
        })
        .await?;
        s.lease_time_to_live(LeaseTimeToLiveRequest { id: 50, keys: true }).await;
        s.keep_alive(&[50]).await;
        s.lease_revoke(LeaseRevokeRequest { id: 50 }).await;
        s.put(put_leased("d", "1", 50)).await;
        s.range(all()).await;
        s.range(RangeRequest { revision: 3, ..all() }).await;
        Ok(())
    })
    .await;
}
