//! The UDP port, and how packets are sent on it.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use quinn::{
    AckFrequencyConfig, AsyncUdpSocket, Endpoint, EndpointConfig, IdleTimeout, Runtime,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};

use super::{FAREWELL, GUEST_WINDOW_BYTES, Tuning, tls::Tls};

/// How long peers have to hear that this location goes down.
const GOODBYE: Duration = Duration::from_millis(500);

/// The endpoint of all links.
#[derive(Debug)]
pub(super) struct Port {
    endpoint: Endpoint,
    /// Is gone when nothing holds the port any more.
    socket: Weak<dyn AsyncUdpSocket>,
    local: SocketAddr,
}

impl Port {
    pub(super) fn bind(listen: SocketAddr, tuning: &Tuning, tls: &Tls) -> io::Result<Port> {
        let socket = std::net::UdpSocket::bind(listen)?;
        let runtime = Arc::new(TokioRuntime);
        let socket = runtime.wrap_udp_socket(socket)?;
        let weak = Arc::downgrade(&socket);
        let mut server = ServerConfig::with_crypto(tls.server());
        // Until it is known who dials: see `accept`.
        let window = VarInt::from_u32(GUEST_WINDOW_BYTES.min(tuning.window_bytes));
        server.transport_config(Arc::new(transport(tuning, window)));
        // What waits to be looked at by the task that accepts; more is dropped.
        server.max_incoming(tuning.max_handshakes.max(1));
        server.incoming_buffer_size(64 << 10).incoming_buffer_size_total(4 << 20);
        let config = EndpointConfig::default();
        let endpoint = Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)?;
        let local = endpoint.local_addr()?;
        Ok(Port { endpoint, socket: weak, local })
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Closes all connections and waits until the port is free; not for ever, for peers.
    pub(super) async fn close(self) {
        let Port { endpoint, socket, local } = self;
        endpoint.close(VarInt::from_u32(0), b"this location goes down");
        let is_quiet = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await.is_ok();
        // QUIC keeps a closed connection for a while, to answer what is still under way to it: for seconds,
        // if the peer is slow or gone. That needs no port that anyone knows.
        if !is_quiet && let Err(error) = let_go(&endpoint, local) {
            tracing::debug!(%error, "the port is let go later");
        }
        drop(endpoint);
        let pause = Duration::from_millis(1);
        for _ in 0..FAREWELL.as_millis() {
            if socket.strong_count() == 0 {
                return;
            }
            tokio::time::sleep(pause).await;
        }
        tracing::warn!("the port for other locations is not free yet");
    }
}

/// Gives an endpoint another port. Twice, for it goes on reading from the one before the last.
fn let_go(endpoint: &Endpoint, local: SocketAddr) -> io::Result<()> {
    for _ in 0..2 {
        endpoint.rebind(std::net::UdpSocket::bind((local.ip(), 0))?)?;
    }
    Ok(())
}

/// How many packets may come before QUIC acknowledges them at once; fewer wait for 25 ms, its default. By
/// quinn's own default it is one: then the acknowledgement of a write often goes out before the write is
/// looked at. (draft-ietf-quic-ack-frequency; more would make a window that losses made small slow to grow.)
const PACKETS_UNACKNOWLEDGED: u32 = 4;

/// How packets are sent, and how many bytes may come unread. Congestion control is quinn's default, CUBIC.
pub(super) fn transport(tuning: &Tuning, window: VarInt) -> TransportConfig {
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.ack_eliciting_threshold(VarInt::from_u32(PACKETS_UNACKNOWLEDGED));
    let mut transport = TransportConfig::default();
    let idle_ms = u32::try_from(tuning.idle.as_millis()).unwrap_or(u32::MAX);
    transport
        .keep_alive_interval(Some(tuning.keep_alive))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_ms))))
        .stream_receive_window(VarInt::from_u32(tuning.stream_window_bytes))
        .receive_window(window)
        .send_window(u64::from(tuning.window_bytes))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(3))
        .datagram_receive_buffer_size(None)
        .ack_frequency_config(Some(acknowledgements))
        .enable_segmentation_offload(tuning.segmentation_offload);
    if !tuning.mtu_discovery {
        transport.mtu_discovery_config(None);
    }
    transport
}
