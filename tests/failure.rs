//! What a member does when it is killed, stopped, started wrongly, or started on what is not its own.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use anyhow::{Context, ensure};
use cairn_api::etcdserverpb::kv_client::KvClient;
use cairn_api::etcdserverpb::lease_client::LeaseClient;
use cairn_api::etcdserverpb::{LeaseGrantRequest, LeaseTimeToLiveRequest};
use cairn_testkit::{Finished, Member, Options, Peer, run, subject, wait_until};
use cairn_tests::ops::*;

/// The program that must keep to Cairn's own promises; a real etcd does not make them.
const CAIRN: Peer = Peer::Cairn;

const SIGTERM: i32 = 15;

async fn values(member: &Member) -> anyhow::Result<Vec<String>> {
    let answer = KvClient::new(member.connect().await?).range(all()).await?.into_inner();
    Ok(answer.kvs.into_iter().map(|kv| String::from_utf8_lossy(&kv.value).into_owned()).collect())
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() -> anyhow::Result<()> {
    let mut member = Member::start(subject(), Options::default()).await?;
    let mut expected = vec![];
    for round in 0..3 {
        let mut kv = KvClient::new(member.connect().await?);
        for i in 0..50 {
            let value = format!("{round:02}-{i:02}");
            kv.put(put(&value, &value)).await?;
            expected.push(value);
        }
        member.kill();
        member.restart().await?;
        ensure!(values(&member).await? == expected, "round {round}");
    }
    Ok(())
}

#[tokio::test]
async fn sigterm_ends_a_member_cleanly() -> anyhow::Result<()> {
    let mut member = Member::start(subject(), Options::default()).await?;
    KvClient::new(member.connect().await?).put(put("a", "1")).await?;
    let status = member.terminate().await?;
    // etcd cleans up and then lets the signal end it, so that its parent can see what happened.
    ensure!(status.success() || status.signal() == Some(SIGTERM), "it ended with {status}:\n{}", member.log_tail());
    member.restart().await?;
    ensure!(values(&member).await? == ["1"]);
    Ok(())
}

#[tokio::test]
async fn a_member_says_when_it_serves() -> anyhow::Result<()> {
    let member = Member::start(CAIRN, Options::default()).await?;
    let log = member.log()?;
    let line = log.lines().find(|line| line.contains("ready to serve client requests")).context("no such line")?;
    let line: serde_json::Value = serde_json::from_str(line).context("the log is not JSON")?;
    ensure!(line.is_object(), "{line}");
    Ok(())
}

#[tokio::test]
async fn a_second_start_on_the_same_data_is_refused_and_does_no_harm() -> anyhow::Result<()> {
    let first = Member::start(CAIRN, Options::default()).await?;
    let mut kv = KvClient::new(first.connect().await?);
    kv.put(put("a", "1")).await?;
    let root = Some(first.scratch().to_owned());
    let mut second = Member::prepare(CAIRN, Options { root, ..Options::default() })?;
    second.spawn()?;
    let status = second.wait_for_exit().await?;
    ensure!(!status.success(), "it ended with {status}");
    let (log, directory) = (first.log()?, first.data_dir());
    ensure!(log.contains("in use by another process"), "{log}");
    ensure!(log.contains(directory.to_str().context("a path in UTF-8")?), "{log}");
    kv.put(put("b", "2")).await?;
    ensure!(values(&first).await? == ["1", "2"]);
    Ok(())
}

#[tokio::test]
async fn the_data_of_a_real_etcd_is_recognised_and_left_alone() -> anyhow::Result<()> {
    let mut etcd = Member::start(Peer::Etcd351, Options::default()).await?;
    KvClient::new(etcd.connect().await?).put(put("a", "1")).await?;
    etcd.terminate().await?;
    let root = Some(etcd.scratch().to_owned());
    let mut cairn = Member::prepare(CAIRN, Options { root, ..Options::default() })?;
    cairn.spawn()?;
    let status = cairn.wait_for_exit().await?;
    ensure!(!status.success(), "it ended with {status}");
    let log = cairn.log()?;
    ensure!(log.contains("holds the data of an etcd server"), "{log}");
    ensure!(log.to_lowercase().contains("import"), "{log}");
    etcd.restart().await?;
    ensure!(values(&etcd).await? == ["1"]);
    Ok(())
}

async fn refused(flags: &[&str]) -> anyhow::Result<Finished> {
    let directory = tempfile::tempdir()?;
    let mut command = tokio::process::Command::new(CAIRN.server()?);
    command.arg("--data-dir").arg(directory.path().join("data")).args(flags);
    let finished = run(command, "").await?;
    ensure!(!directory.path().join("data").exists(), "{flags:?}: refused, but it made a data directory");
    Ok(finished)
}

#[tokio::test]
async fn flags_without_an_effect_are_refused_by_name() -> anyhow::Result<()> {
    for flags in [
        &["--cert-file=cert.pem"][..],
        &["--client-cert-auth"],
        &["--auth-token=jwt,pub-key=a,sign-method=RS256"],
        &["--discovery=http://127.0.0.1:1"],
        &["--initial-cluster-state=existing"],
        &["--no-such-flag=1"],
    ] {
        let finished = refused(flags).await?;
        let name = flags[0].split('=').next().context("a flag")?;
        ensure!(finished.code == Some(2), "{flags:?}: {finished:?}");
        ensure!(finished.stderr.contains(name), "{flags:?}: {finished:?}");
        ensure!(finished.stdout.is_empty(), "{flags:?}: {finished:?}");
    }
    Ok(())
}

#[tokio::test]
async fn values_that_make_no_sense_are_refused() -> anyhow::Result<()> {
    for (flags, word) in [
        (&["--listen-client-urls=http://127.0.0.1:1"][..], "--advertise-client-urls"),
        (&["--heartbeat-interval=300", "--election-timeout=1000"], "election-timeout"),
        (&["--max-txn-ops=many"], "max-txn-ops"),
        (&["--initial-cluster=a=http://127.0.0.1:1,b=http://127.0.0.1:2", "--name=a"], "one member"),
    ] {
        let finished = refused(flags).await?;
        ensure!(finished.code == Some(2), "{flags:?}: {finished:?}");
        ensure!(finished.stderr.contains(word), "{flags:?}: {finished:?}");
    }
    Ok(())
}

async fn seconds_left(member: &Member, id: i64) -> anyhow::Result<i64> {
    let request = LeaseTimeToLiveRequest { id, keys: false };
    Ok(LeaseClient::new(member.connect().await?).lease_time_to_live(request).await?.into_inner().ttl)
}

async fn grant_and_wait(member: &Member, id: i64, ttl: i64, until: i64) -> anyhow::Result<i64> {
    LeaseClient::new(member.connect().await?).lease_grant(LeaseGrantRequest { id, ttl }).await?;
    wait_until("some of the lease is gone", async || {
        Ok(Some(seconds_left(member, id).await?).filter(|left| *left <= until))
    })
    .await
}

#[tokio::test]
async fn what_a_lease_has_left_survives_a_restart() -> anyhow::Result<()> {
    let mut member = Member::start(CAIRN, Options::default()).await?;
    let left = grant_and_wait(&member, 5, 600, 597).await?;
    member.terminate().await?;
    member.restart().await?;
    let after = seconds_left(&member, 5).await?;
    // The member was down for some of it, which does not count.
    ensure!((1..=left + 1).contains(&after), "{left} s were left before the restart, {after} s after it");
    Ok(())
}

#[tokio::test]
async fn after_kill_9_a_lease_does_not_get_its_whole_ttl_again() -> anyhow::Result<()> {
    let mut member = Member::start(CAIRN, Options::default()).await?;
    // Checkpoints are due when half is gone, and come within a second or two.
    grant_and_wait(&member, 5, 12, 3).await?;
    member.kill();
    member.restart().await?;
    let after = seconds_left(&member, 5).await?;
    ensure!(after <= 7, "{after} s of 12 are left after the restart, and 3 were before it");
    Ok(())
}

/// The gate with old data put in place of the new: if it does not fail, it proves nothing.
#[tokio::test]
async fn the_crash_gate_notices_a_store_that_went_back() -> anyhow::Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crash-gate"));
    command.args(["--rounds=3", "--seed=1", "--clients=3", "--sabotage"]);
    let finished = run(command.into(), "").await?;
    ensure!(finished.code == Some(1), "{finished:?}");
    ensure!(finished.stdout.contains("1 passed, 1 failed"), "{finished:?}");
    ensure!(finished.stderr.contains("the store is back at revision"), "{finished:?}");
    Ok(())
}
