//! From an endpoint as people write it to a connection.

use tonic::transport::{Channel, Endpoint};

use crate::{Error, Options};

/// HTTP/2 flow-control window of one stream, in bytes: a list must not wait for window updates.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;

/// HTTP/2 flow-control window of a connection, in bytes.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// Largest HTTP/2 frame that is accepted, in bytes.
const MAX_FRAME_BYTES: u32 = 1 << 20;

/// A connection that is made on first use, and again whenever it was lost.
pub(crate) fn channel(endpoint: &str, options: &Options) -> Result<Channel, Error> {
    let url = format!("http://{}", authority(endpoint)?);
    let unusable = |reason| Error::Endpoint { endpoint: endpoint.to_owned(), reason };
    let built = Endpoint::from_shared(url).map_err(|_| unusable("is not of the form host:port"))?;
    Ok(built
        .user_agent(concat!("cairn-client/", env!("CARGO_PKG_VERSION")))
        .map_err(|_| unusable("cannot be used"))?
        .connect_timeout(options.dial_timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .http2_keep_alive_interval(options.keepalive_time)
        .keep_alive_timeout(options.keepalive_timeout)
        .connect_lazy())
}

/// The `host:port` of an endpoint that is one, or an `http://` URL.
fn authority(endpoint: &str) -> Result<&str, Error> {
    let unusable = |reason| Error::Endpoint { endpoint: endpoint.to_owned(), reason };
    let authority = match endpoint.split_once("://") {
        None => endpoint,
        Some(("http", rest)) => rest.strip_suffix('/').unwrap_or(rest),
        Some(("https", _)) => return Err(unusable("needs TLS, which this version does not speak yet")),
        Some(_) => return Err(unusable("has a scheme that is not supported; use host:port or http://host:port")),
    };
    if authority.is_empty() || authority.contains('/') {
        return Err(unusable("is not of the form host:port"));
    }
    Ok(authority)
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn an_endpoint_is_host_and_port_with_or_without_http() {
        assert_eq!(authority("127.0.0.1:2379").unwrap(), "127.0.0.1:2379");
        assert_eq!(authority("http://[::1]:2379/").unwrap(), "[::1]:2379");
    }

    #[test]
    fn what_is_not_supported_is_refused_with_the_reason() {
        assert!(authority("https://a:1").unwrap_err().to_string().contains("needs TLS"));
        assert!(authority("unix://a").unwrap_err().to_string().contains("not supported"));
        assert!(authority("").unwrap_err().to_string().contains("host:port"));
        assert!(authority("a:1/path").unwrap_err().to_string().contains("host:port"));
    }
}
