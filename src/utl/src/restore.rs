//! `snapshot restore`: a data directory with the snapshot's data, and a new cluster of one member around it.

use std::fs::{self, DirBuilder, File};
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
        .and_then(|()| fs::rename(&partial, &data_dir).context("cannot give the finished data directory its name"))
        .and_then(|()| sync_parent(&data_dir).context("cannot write the name of the data directory to the disk"));
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

/// The bump as the state takes it; half of all revisions must remain for later.
fn check_bump(revision: i64, bump: u64) -> anyhow::Result<i64> {
    let fits =
        i64::try_from(bump).ok().filter(|bump| revision.checked_add(*bump).is_some_and(|sum| sum <= i64::MAX / 2));
    fits.with_context(|| format!("--bump-revision {bump} is too large: the snapshot is at revision {revision}"))
}

/// A name survives a crash only once its folder is synced.
fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn build(options: &Restore, founding: &Founding, data_dir: &Path) -> anyhow::Result<()> {
    DirBuilder::new().mode(0o700).create(data_dir).with_context(|| format!("cannot create {}", data_dir.display()))?;
    DirBuilder::new().mode(0o700).create(layout::member_dir(data_dir))?;
    snapshot::unpack(&options.file, &layout::store_dir(data_dir), options.skip_hash_check)?;
    let (mut state, _engine) = snapshot::open(&layout::store_dir(data_dir))?;
    let id = MemberId(founding.member.id);
    let conf_state = ConfState::bootstrap([id]).encode();
    let bump = check_bump(state.store().view().revision, options.bump_revision)?;
    state.restore(founding.cluster, vec![founding.member.clone()], conf_state, bump, options.mark_compacted)?;
    let (index, term) = state.applied();
    let wal_dir = options.wal_dir.clone().unwrap_or_else(|| layout::wal_dir(data_dir));
    let identity = Identity { cluster: founding.cluster, member: id };
    let wal_options = WalOptions { segment_bytes: LOG_SEGMENT_BYTES, identity, sync: true };
    let (mut wal, _) = Wal::open(&wal_dir, wal_options)?;
    wal.reset_to(index, term, HardState { term, vote: 0, commit: index })?;
    // Its files are synced; the names of the folders are not yet.
    for folder in [layout::member_dir(data_dir), data_dir.to_owned()] {
        File::open(&folder)
            .and_then(|opened| opened.sync_all())
            .with_context(|| format!("cannot sync {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bump_that_would_leave_no_revisions_is_refused() {
        assert_eq!(check_bump(5, 0).unwrap(), 0);
        assert_eq!(check_bump(5, 1_000_000_000).unwrap(), 1_000_000_000);
        for bump in [i64::MAX as u64, u64::MAX, i64::MAX as u64 / 2] {
            let error = check_bump(5, bump).unwrap_err().to_string();
            assert!(error.contains("--bump-revision"), "{error}");
        }
    }
}
