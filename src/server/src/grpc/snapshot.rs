//! Snapshot: a checkpoint of the engine as one stream in chunks, and behind it the SHA-256 of all of it.
//!
//! The bytes are those of docs/format/snapshot.md. A thread of its own reads the files, since a disk is slow; the client
//! sets the pace. The checkpoint is removed when the stream ends, however it ends.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use cairn_api::ETCD_VERSION;
use cairn_api::etcdserverpb as pb;
use cairn_storage::snapshot_file::SnapshotReader;
use cairn_types::limits::SNAPSHOT_CHUNK_BYTES;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::logging::chain;
use crate::node::Shared;

/// Chunks that wait for the client; at the limit the reading waits.
const MAX_CHUNKS_AHEAD: usize = 8;

type Chunk = Result<pb::SnapshotResponse, Status>;

/// Starts the stream.
pub(crate) fn run(shared: Arc<Shared>, permit: OwnedSemaphorePermit) -> ReceiverStream<Chunk> {
    let (sender, receiver) = mpsc::channel(MAX_CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let outcome = prepare(&shared).and_then(|(_folder, mut snapshot)| send(&mut snapshot, &sender));
        match outcome {
            Ok(true) => tracing::info!("sent database snapshot to client"),
            Ok(false) => tracing::info!("the client went away before it had the whole snapshot"),
            Err(error) => {
                let error = chain(&error);
                tracing::error!(error, "cannot make a snapshot");
                let _client_has_gone =
                    sender.blocking_send(Err(Status::internal(format!("cannot make a snapshot: {error}"))));
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// A checkpoint and its bytes; it lives as long as the folder.
fn prepare(shared: &Shared) -> io::Result<(tempfile::TempDir, SnapshotReader)> {
    let folder = tempfile::tempdir_in(&shared.temporary)?;
    let checkpoint = folder.path().join("checkpoint");
    shared.store.engine().checkpoint(&checkpoint).map_err(io::Error::other)?;
    let snapshot = SnapshotReader::open(&checkpoint).map_err(io::Error::other)?;
    tracing::info!(bytes = snapshot.total_bytes(), "sending database snapshot to client");
    Ok((folder, snapshot))
}

/// Sends everything and then its hash; false where the client went away.
fn send(snapshot: &mut SnapshotReader, sender: &mpsc::Sender<Chunk>) -> io::Result<bool> {
    let mut remaining = snapshot.total_bytes();
    let mut hash = Sha256::new();
    while remaining > 0 {
        let length = usize::try_from(remaining).unwrap_or(usize::MAX).min(SNAPSHOT_CHUNK_BYTES);
        let mut blob = vec![0; length];
        snapshot.read_exact(&mut blob)?;
        hash.update(&blob);
        remaining -= length as u64;
        if sender.blocking_send(Ok(chunk(remaining, blob))).is_err() {
            return Ok(false);
        }
    }
    Ok(sender.blocking_send(Ok(chunk(0, hash.finalize().to_vec()))).is_ok())
}

fn chunk(remaining_bytes: u64, blob: Vec<u8>) -> pb::SnapshotResponse {
    pb::SnapshotResponse { header: None, remaining_bytes, blob: Bytes::from(blob), version: ETCD_VERSION.to_owned() }
}
