//! Alarms, and what a member without space still does.

use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::alarm_request::AlarmAction;
use cairn_api::etcdserverpb::compare::{CompareResult, TargetUnion};
use cairn_api::etcdserverpb::{AlarmRequest, AlarmType};
use cairn_testkit::Options;
use cairn_tests::ops::*;
use cairn_tests::{Session, compare, compare_with};

fn alarm(action: AlarmAction, member_id: u64, alarm: AlarmType) -> AlarmRequest {
    AlarmRequest { action: action.into(), member_id, alarm: alarm.into() }
}

async fn member_id(s: &mut Session) -> u64 {
    let list = s.member_list(pb::MemberListRequest { linearizable: true }).await;
    list.and_then(|list| list.members.first().map(|member| member.id)).unwrap_or_default()
}

#[tokio::test]
async fn alarms_are_raised_listed_and_cleared_exactly() {
    compare("alarm", async |s| {
        let id = member_id(s).await;
        s.alarm(alarm(AlarmAction::Get, 0, AlarmType::None)).await;
        s.alarm(alarm(AlarmAction::Activate, id, AlarmType::Nospace)).await;
        s.alarm(alarm(AlarmAction::Activate, id, AlarmType::Nospace)).await;
        s.alarm(alarm(AlarmAction::Get, 0, AlarmType::None)).await;
        s.alarm(alarm(AlarmAction::Get, 0, AlarmType::Nospace)).await;
        s.alarm(alarm(AlarmAction::Get, 0, AlarmType::Corrupt)).await;
        s.status(pb::StatusRequest {}).await;
        s.alarm(alarm(AlarmAction::Deactivate, 0, AlarmType::Nospace)).await;
        s.alarm(alarm(AlarmAction::Deactivate, id, AlarmType::None)).await;
        s.alarm(alarm(AlarmAction::Get, 0, AlarmType::None)).await;
        s.alarm(alarm(AlarmAction::Deactivate, id, AlarmType::Nospace)).await;
        s.alarm(alarm(AlarmAction::Get, 0, AlarmType::None)).await;
        s.alarm(alarm(AlarmAction::Deactivate, id, AlarmType::Nospace)).await;
        s.status(pb::StatusRequest {}).await;
        Ok(())
    })
    .await;
}

/// One request of each kind.
async fn everything(s: &mut Session) {
    s.put(put("a", "x")).await;
    s.put(put("", "x")).await;
    s.put(put_leased("a", "1", 99)).await;
    s.grant(70, 600).await;
    s.range(all()).await;
    s.range(pb::RangeRequest { serializable: true, ..all() }).await;
    s.txn(then(vec![get("a").op()])).await;
    s.txn(then(vec![del("missing").op()])).await;
    s.txn(then(vec![put("a", "x").op()])).await;
    let branches = |result| pb::TxnRequest {
        compare: vec![cmp("a", result, TargetUnion::Version(0))],
        success: vec![put("a", "x").op()],
        failure: vec![get("a").op()],
    };
    s.txn(branches(CompareResult::Equal)).await;
    s.txn(branches(CompareResult::NotEqual)).await;
    s.txn(then(vec![pb::RequestOp { request: None }])).await;
    s.keep_alive(&[60]).await;
    s.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 60, keys: true }).await;
    s.delete(del("b")).await;
    s.compact(4).await;
    s.hash_kv(0).await;
    s.lease_revoke(pb::LeaseRevokeRequest { id: 60 }).await;
    s.defragment(pb::DefragmentRequest {}).await;
    s.range(all()).await;
}

async fn prepare(s: &mut Session) {
    s.grant(60, 600).await;
    s.put(put("a", "1")).await;
    s.put(put("b", "1")).await;
    s.put(put_leased("c", "1", 60)).await;
}

#[tokio::test]
async fn without_space_only_what_needs_none_works() {
    compare("alarm_nospace", async |s| {
        let id = member_id(s).await;
        prepare(s).await;
        s.alarm(alarm(AlarmAction::Activate, id, AlarmType::Nospace)).await;
        everything(s).await;
        s.alarm(alarm(AlarmAction::Deactivate, id, AlarmType::Nospace)).await;
        s.put(put("a", "works again")).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_put_inside_a_nested_transaction_needs_space_too() {
    compare("alarm_nospace_nested", async |s| {
        let id = member_id(s).await;
        s.alarm(alarm(AlarmAction::Activate, id, AlarmType::Nospace)).await;
        s.step("nested put").txn(then(vec![then(vec![put("n", "x").op()]).op()])).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_corrupt_member_serves_no_more() {
    compare("alarm_corrupt", async |s| {
        let id = member_id(s).await;
        prepare(s).await;
        s.alarm(alarm(AlarmAction::Activate, id, AlarmType::Corrupt)).await;
        everything(s).await;
        s.alarm(alarm(AlarmAction::Get, 0, AlarmType::None)).await;
        s.alarm(alarm(AlarmAction::Deactivate, id, AlarmType::Corrupt)).await;
        s.put(put("a", "works again")).await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_alarm_survives_a_restart() {
    compare("alarm_restart", async |s| {
        let id = member_id(s).await;
        s.alarm(alarm(AlarmAction::Activate, id, AlarmType::Nospace)).await;
        s.restart().await?;
        s.put(put("a", "1")).await;
        s.alarm(alarm(AlarmAction::Get, 0, AlarmType::None)).await;
        Ok(())
    })
    .await;
}

/// The sizes of the two stores differ, so the quota is one that a single request breaks.
#[tokio::test]
async fn a_write_over_the_quota_is_refused_and_raises_the_alarm() {
    compare_with("quota", Options::flags(&["--quota-backend-bytes=1000000"]), async |s| {
        s.put(put("small", "1")).await;
        s.put(put("large", vec![b'v'; 1_200_000])).await;
        let settled = pb::AlarmRequest { action: AlarmAction::Get.into(), ..pb::AlarmRequest::default() };
        let mut client = pb::maintenance_client::MaintenanceClient::new(s.channel());
        cairn_testkit::wait_until("the alarm is raised", async || {
            Ok((!client.alarm(settled).await?.into_inner().alarms.is_empty()).then_some(()))
        })
        .await?;
        s.alarm(settled).await;
        s.put(put("small", "2")).await;
        s.grant(1, 600).await;
        s.txn(then(vec![put("small", "2").op()])).await;
        s.delete(del("small")).await;
        s.range(all()).await;
        Ok(())
    })
    .await;
}
