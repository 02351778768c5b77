//! The UDP port, and the transport settings of its connections.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, Weak},
    time::Duration,
};

use quinn::{
    AckFrequencyConfig, AsyncUdpSocket, Endpoint, EndpointConfig, IdleTimeout, Runtime,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};

use socket2::{Domain, Socket, Type};

use super::{
    config::{GUEST_WINDOW_BYTES, Tuning},
    congestion::Tolerant,
    tls::Tls,
};

/// How long closing waits at most for the port to be free.
const FREE_AFTER: Duration = Duration::from_secs(3);

/// How long peers have to receive the end of their connections.
const GOODBYE: Duration = Duration::from_millis(500);

/// Binds a UDP port. The unspecified address of IPv6 stands for all addresses of both families, whatever the system's
/// default is; on a machine without IPv6, for those of IPv4.
fn bind(listen: SocketAddr) -> io::Result<UdpSocket> {
    if listen.ip() != Ipv6Addr::UNSPECIFIED {
        return UdpSocket::bind(listen);
    }
    let both = || {
        // std can't set this option before it binds.
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
        socket.set_only_v6(false)?;
        socket.bind(&listen.into())?;
        Ok(socket.into())
    };
    both().or_else(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _ => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, listen.port())).map_err(|_same| error),
    })
}

/// Checks that a location can listen on a UDP address now, and returns the address that it would be bound to: of a
/// machine without IPv6, `[::]` becomes `0.0.0.0`.
///
/// # Errors
/// If the port is in use, or the address is not one of this machine.
pub fn check_listen(listen: SocketAddr) -> io::Result<SocketAddr> {
    bind(listen)?.local_addr()
}

/// An address without the form that IPv4 has on a port of both families.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The endpoint of all links.
#[derive(Debug)]
pub(super) struct Port {
    /// The endpoint, which all connections share.
    endpoint: Endpoint,
    /// Gone when nothing holds the port any more.
    socket: Weak<dyn AsyncUdpSocket>,
    /// The address that the port is bound to.
    local: SocketAddr,
}

impl Port {
    /// Binds the port for both directions of dialling.
    pub(super) fn bind(listen: SocketAddr, tuning: &Tuning, tls: &Tls) -> io::Result<Port> {
        let socket = bind(listen)?;
        let runtime = Arc::new(TokioRuntime);
        let socket = runtime.wrap_udp_socket(socket)?;
        let weak = Arc::downgrade(&socket);
        let (config, server) = (EndpointConfig::default(), Some(server_config(tuning, tls)));
        let endpoint = Endpoint::new_with_abstract_socket(config, server, socket, runtime)?;
        let local = endpoint.local_addr()?;
        Ok(Port { endpoint, socket: weak, local })
    }

    /// The address that it is bound to.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// The endpoint, to dial and to accept with.
    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Presents another certificate to peers that dial from now on.
    pub(super) fn set_tls(&self, tuning: &Tuning, tls: &Tls) {
        self.endpoint.set_server_config(Some(server_config(tuning, tls)));
    }

    /// Closes all connections and waits until the port is free, for a bounded time.
    pub(super) async fn close(self) {
        let Port { endpoint, socket, local } = self;
        endpoint.close(VarInt::from_u32(0), b"this location is shutting down");
        let is_quiet = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await.is_ok();
        // QUIC keeps a closed connection for a while, to answer packets that are still under way to it: for
        // seconds, if the peer is slow or gone. That does not need the known port.
        if !is_quiet && let Err(error) = release(&endpoint, local) {
            tracing::debug!(%error, "the port is released later");
        }
        drop(endpoint);
        let pause = Duration::from_millis(1);
        for _ in 0..FREE_AFTER.as_millis() {
            if socket.strong_count() == 0 {
                return;
            }
            tokio::time::sleep(pause).await;
        }
        tracing::warn!("the UDP port for other locations is not free yet");
    }
}

/// The settings of connections that peers make.
fn server_config(tuning: &Tuning, tls: &Tls) -> ServerConfig {
    let mut server = ServerConfig::with_crypto(tls.server());
    // Until the peer has proven its identity: see `accept`.
    let window = VarInt::from_u32(GUEST_WINDOW_BYTES.min(tuning.window_bytes));
    server.transport_config(Arc::new(transport(tuning, window)));
    // Bounds what waits for the task that accepts; more is dropped.
    server.max_incoming(tuning.max_handshakes.max(1));
    server.incoming_buffer_size(64 << 10).incoming_buffer_size_total(4 << 20);
    server
}

/// Moves an endpoint to another port. Twice, because it still reads from the one before the last.
fn release(endpoint: &Endpoint, local: SocketAddr) -> io::Result<()> {
    for _ in 0..2 {
        endpoint.rebind(bind((local.ip(), 0).into())?)?;
    }
    Ok(())
}

/// How many packets may arrive before QUIC acknowledges them at once; fewer wait for 25 ms, its default.
/// quinn's default is one: then the acknowledgement of a write often leaves before the write is handled.
/// (draft-ietf-quic-ack-frequency. With more, a window that losses made small would grow slowly.)
const PACKETS_UNACKNOWLEDGED: u32 = 4;

/// The transport settings of a connection with this receive window.
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
        .congestion_controller_factory(Arc::new(Tolerant::default()))
        .enable_segmentation_offload(tuning.segmentation_offload);
    if !tuning.mtu_discovery {
        transport.mtu_discovery_config(None);
    }
    transport
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unspecified_address_of_ipv6_receives_from_both_families() {
        let port = bind((Ipv6Addr::UNSPECIFIED, 0).into()).expect("a free port");
        let local = port.local_addr().expect("its address");
        if local.is_ipv4() {
            return;
        }
        port.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        for (from, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
            let sender = UdpSocket::bind(from).expect("a free port");
            let to: std::net::IpAddr = to.parse().expect("an address");
            sender.send_to(b"x", (to, local.port())).expect("it is sent");
            let (_length, sent) = port.recv_from(&mut [0; 8]).expect("it arrives");
            assert_eq!(canonical(sent), sender.local_addr().expect("its address"));
        }
    }

    #[test]
    fn a_port_in_use_is_found_before_it_is_needed() {
        let taken = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let local = taken.local_addr().expect("its address");
        assert_eq!(check_listen(local).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let all = (Ipv6Addr::UNSPECIFIED, local.port()).into();
        assert_eq!(check_listen(all).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(check_listen((Ipv6Addr::UNSPECIFIED, 0).into()).is_ok());
        assert!(check_listen("192.0.2.1:0".parse().expect("an address")).is_err());
    }
}
