//! The client port: listeners, transport settings, and the services on them.
//!
//! Left out: TLS, unix sockets, the JSON gateway.

mod auth;
mod authority;
mod cluster;
mod connections;
mod core;
mod front;
mod health;
mod hot;
mod kv;
mod lease;
mod maintenance;
mod range_stream;
mod snapshot;
#[cfg(test)]
mod tests;
mod watch;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use cairn_api::etcdserverpb::auth_server::AuthServer;
use cairn_api::etcdserverpb::cluster_server::ClusterServer;
use cairn_api::etcdserverpb::kv_server::KvServer;
use cairn_api::etcdserverpb::lease_server::LeaseServer;
use cairn_api::etcdserverpb::maintenance_server::MaintenanceServer;
use cairn_api::health::health_server::HealthServer;
use cairn_types::limits::GRPC_OVERHEAD_BYTES;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch as watch_channel;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

use self::core::Core;
use self::front::Front;
use self::watch::{WatchDeps, WatchService};
use crate::config::{ServeConfig, Url};
use crate::node::Node;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4_096;

/// Binds all addresses; nobody is served yet.
///
/// # Errors
/// Where an address is taken or does not exist.
pub(crate) fn listen(config: &ServeConfig) -> io::Result<Vec<TcpListener>> {
    config.listen.iter().map(|url| bind(url, config.reuse_port)).collect()
}

fn bind(url: &Url, reuse_port: bool) -> io::Result<TcpListener> {
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {}: {error}", url.text));
    let mut addresses: Vec<_> = (url.host.as_str(), url.port).to_socket_addrs().map_err(failed)?.collect();
    // `localhost` is the IPv4 one, as Go has it.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let address = *addresses.first().ok_or_else(|| failed(io::Error::other("the name has no address")))?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    if reuse_port {
        socket.set_reuseport(true).map_err(failed)?;
    }
    socket.bind(address).and_then(|()| socket.listen(BACKLOG)).map_err(failed)
}

fn services(
    core: &Arc<Core>,
    config: &ServeConfig,
    watch: WatchService,
    stopping: &watch_channel::Receiver<bool>,
) -> Routes {
    let limit = message_limit(config);
    macro_rules! service {
        ($server:ident, $service:expr) => {
            $server::new($service)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(usize::MAX)
                .accept_compressed(CompressionEncoding::Gzip)
        };
    }
    let lease = lease::LeaseService { core: core.clone(), stopping: stopping.clone() };
    Routes::new(service!(KvServer, kv::KvService(core.clone())))
        .add_service(watch)
        .add_service(service!(LeaseServer, lease))
        .add_service(service!(ClusterServer, cluster::ClusterService(core.clone())))
        .add_service(service!(MaintenanceServer, maintenance::MaintenanceService::new(core.clone())))
        .add_service(service!(AuthServer, auth::AuthService(core.clone())))
        .add_service(service!(HealthServer, health::HealthService { stopping: stopping.clone() }))
        .prepare()
}

fn message_limit(config: &ServeConfig) -> usize {
    usize::try_from(config.max_request_bytes.saturating_add(GRPC_OVERHEAD_BYTES)).unwrap_or(usize::MAX)
}

fn watch_service(node: &Arc<Node>, core: &Core, config: &ServeConfig) -> io::Result<WatchService> {
    let (header_node, leader_node) = (node.clone(), node.clone());
    WatchService::new(WatchDeps {
        store: node.shared().store.clone(),
        header: Arc::new(move || {
            let shared = header_node.shared();
            (shared.cluster.0, shared.member.0, shared.progress.term().0)
        }),
        has_leader: Arc::new(move || leader_node.shared().progress.leader() != 0),
        election_timeout: node.shared().config.election,
        progress_interval: core.progress_interval,
        max_request_bytes: config.max_request_bytes,
        shards: std::thread::available_parallelism().map_or(1, usize::from),
    })
}

/// Serves until `stopping` turns true and all requests are done; streams are ended.
///
/// # Errors
/// Where the watch service cannot start.
pub(crate) async fn serve(
    node: Arc<Node>,
    config: &ServeConfig,
    listeners: Vec<TcpListener>,
    stopping: watch_channel::Receiver<bool>,
) -> anyhow::Result<()> {
    let core = Arc::new(Core::new(node.clone(), config));
    let watch = watch_service(&node, &core, config)?;
    let front = Arc::new(Front {
        kv: kv::KvService(core.clone()),
        routes: services(&core, config, watch.clone(), &stopping),
        message_limit: message_limit(config),
        core,
    });
    let mut until = stopping.clone();
    let end_streams = async move {
        connections::stop(&mut until).await;
        let _panicked = tokio::task::spawn_blocking(move || watch.shutdown()).await;
    };
    let (served, ()) = tokio::join!(connections::serve(front, config, listeners, stopping), end_streams);
    Ok(served?)
}
