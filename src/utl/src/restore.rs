//! `snapshot restore`: a data directory with the snapshot's data, and a new cluster of one member around it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use cairn_api::etcdserverpb::Member;
use cairn_consensus::ConfState;
use cairn_state::identity;
use cairn_types::limits::LOG_SEGMENT_BYTES;
use cairn_types::{ClusterId, HardState, MemberId, layout};
use cairn_wal::{Identity, Wal, WalOptions};

use crate::cli::Restore;
use crate::snapshot;

/// The member and cluster that a restore founds.
struct Founding {
    cluster: ClusterId,
    member: Member,
}

pub(crate) fn run(options: &Restore) -> anyhow::Result<()> {
    let founding = found(options)?;
    let data_dir = options.data_dir.clone().unwrap_or_else(|| PathBuf::from(format!("{}.cairn", options.name)));
    ensure!(!data_dir.exists(), "data-dir {} exists already; choose one that does not", data_dir.display());
    if let Some(wal_dir) = &options.wal_dir {
        ensure!(!wal_dir.exists(), "wal-dir {} exists already; choose one that does not", wal_dir.display());
    }
    // Complete under another name first, so that a server never finds half a data directory.
    let partial = PathBuf::from(format!("{}.restoring", data_dir.display()));
    let outcome = build(options, &founding, &partial)
        .and_then(|()| fs::rename(&partial, &data_dir).context("cannot give the finished data directory its name"));
    if outcome.is_err() {
        // Best effort: the error that led here is the one to report.
        let _ = fs::remove_dir_all(&partial);
    }
    outcome?;
    eprintln!("restored {} into {}", options.file.display(), data_dir.display());
    Ok(())
}

fn found(options: &Restore) -> anyhow::Result<Founding> {
    let peer_urls: Vec<String> = options.initial_advertise_peer_urls.split(',').map(str::to_owned).collect();
    if let Some(cluster) = &options.initial_cluster {
        let others = cluster.split(',').filter(|member| !member.starts_with(&format!("{}=", options.name)));
        if let Some(other) = others.into_iter().next() {
            bail!("--initial-cluster names {other}, but this version restores clusters of one member");
        }
        let urls: Vec<_> = cluster.split(',').filter_map(|member| member.split_once('=')).map(|(_, url)| url).collect();
        ensure!(urls == peer_urls, "--initial-cluster has other peer URLs than --initial-advertise-peer-urls");
    }
    let id = identity::member_id(&peer_urls, &options.initial_cluster_token);
    let member = Member { id: id.0, name: options.name.clone(), peer_ur_ls: peer_urls, ..Default::default() };
    Ok(Founding { cluster: identity::cluster_id(&[id]), member })
}

fn build(options: &Restore, founding: &Founding, data_dir: &Path) -> anyhow::Result<()> {
    DirBuilder::new().mode(0o700).create(data_dir).with_context(|| format!("cannot create {}", data_dir.display()))?;
    DirBuilder::new().mode(0o700).create(layout::member_dir(data_dir))?;
    snapshot::unpack(&options.file, &layout::store_dir(data_dir), options.skip_hash_check)?;
    let (mut state, _engine) = snapshot::open(&layout::store_dir(data_dir))?;
    let id = MemberId(founding.member.id);
    let conf_state = ConfState::bootstrap([id]).encode();
    let bump = i64::try_from(options.bump_revision).context("--bump-revision is too large")?;
    state.restore(founding.cluster, vec![founding.member.clone()], conf_state, bump, options.mark_compacted)?;
    let (index, term) = state.applied();
    let wal_dir = options.wal_dir.clone().unwrap_or_else(|| layout::wal_dir(data_dir));
    let identity = Identity { cluster: founding.cluster, member: id };
    let wal_options = WalOptions { segment_bytes: LOG_SEGMENT_BYTES, identity, sync: true };
    let (mut wal, _) = Wal::open(&wal_dir, wal_options)?;
    wal.reset_to(index, term, HardState { term, vote: 0, commit: index })?;
    Ok(())
}
