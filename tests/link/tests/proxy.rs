//! The proxy between real sockets.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    num::NonZeroU64,
    time::Duration,
};

use kv_core::env::{Environment as _, SystemEnvironment};
use waypost_link_tests::{Conditions, Counts, Proxy, Ways};

/// Longer than any packet may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a test waits for a packet that must not arrive.
const A_MOMENT: Duration = Duration::from_millis(30);

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket accepts a timeout");
    socket
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("a bound socket has an address")
}

fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 2_000];
    let (length, from) = socket.recv_from(&mut buffer).expect("a packet arrives");
    (String::from_utf8_lossy(&buffer[..length]).into_owned(), from)
}

/// Whether no packet arrives for a moment.
fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(A_MOMENT)).expect("a socket accepts a timeout");
    let nothing = socket.recv_from(&mut [0; 2_000]);
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket accepts a timeout");
    nothing.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

/// Waits until the proxy has dropped this many packets.
fn dropped(proxy: &Proxy, packets: impl Fn(&Counts) -> u64, wanted: u64) {
    let clock = SystemEnvironment::new();
    while packets(&proxy.counts()) < wanted {
        assert!(clock.monotonic() < PATIENCE, "{:?}", proxy.counts());
        std::thread::yield_now();
    }
}

#[test]
fn each_peer_has_its_own_leg_and_gets_its_own_responses() {
    let (location, a, b) = (socket(), socket(), socket());
    let proxy = Proxy::start(address(&location), Conditions::default(), 1).unwrap();
    a.send_to(b"from a", proxy.address()).unwrap();
    let (of_a, leg_a) = receive(&location);
    b.send_to(b"from b", proxy.address()).unwrap();
    let (of_b, leg_b) = receive(&location);
    assert_eq!((&of_a[..], &of_b[..]), ("from a", "from b"));
    assert_ne!(leg_a, leg_b);
    location.send_to(b"to b", leg_b).unwrap();
    location.send_to(b"to a!", leg_a).unwrap();
    assert_eq!(receive(&a), ("to a!".into(), proxy.address()));
    assert_eq!(receive(&b), ("to b".into(), proxy.address()));
    a.send_to(b"again", proxy.address()).unwrap();
    assert_eq!(receive(&location), ("again".into(), leg_a));
    let counts = proxy.counts_of(address(&a));
    assert_eq!((counts.to.packets, counts.to.bytes), (2, 11));
    assert_eq!((counts.from.packets, counts.from.bytes), (1, 5));
    assert_eq!((proxy.counts().to.packets, proxy.counts().from.bytes), (3, 9));
}

#[test]
fn no_packet_arrives_early() {
    let (location, peer) = (socket(), socket());
    let proxy = Proxy::start(address(&location), Conditions::default(), 1).unwrap();
    let clock = SystemEnvironment::new();
    let passes = || {
        let sent_at = clock.monotonic();
        peer.send_to(b"packet", proxy.address()).unwrap();
        let (_, leg) = receive(&location);
        (clock.monotonic() - sent_at, leg)
    };
    passes();
    proxy.set(Conditions::delayed(A_MOMENT));
    let (took, leg) = passes();
    assert!(took >= A_MOMENT, "{took:?}");
    let sent_at = clock.monotonic();
    location.send_to(b"answer", leg).unwrap();
    receive(&peer);
    assert!(clock.monotonic() - sent_at >= A_MOMENT);

    // 34 bytes at 27,200 bits per second: 10 ms each.
    let narrow = Conditions { bits_per_second: NonZeroU64::new(27_200), ..Conditions::default() };
    proxy.set_ways(Ways::To, narrow);
    let sent_at = clock.monotonic();
    for _ in 0..5 {
        peer.send_to(b"packet", proxy.address()).unwrap();
    }
    (0..5).for_each(|_| drop(receive(&location)));
    assert!(clock.monotonic() - sent_at >= Duration::from_millis(50));
}

#[test]
fn a_cut_affects_one_peer_and_direction_until_it_heals() {
    let (location, a, b) = (socket(), socket(), socket());
    let proxy = Proxy::start(address(&location), Conditions::default(), 1).unwrap();
    let reaches = |peer: &UdpSocket| {
        peer.send_to(b"packet", proxy.address()).unwrap();
        receive(&location).1
    };
    let (leg_a, leg_b) = (reaches(&a), reaches(&b));
    proxy.cut(address(&a), Ways::To);
    a.send_to(b"lost", proxy.address()).unwrap();
    dropped(&proxy, |counts| counts.to.dropped_packets, 1);
    assert!(is_silent(&location));
    location.send_to(b"answer", leg_a).unwrap();
    assert_eq!(receive(&a).0, "answer");
    assert_eq!(reaches(&b), leg_b);

    proxy.heal_peer(address(&a));
    assert_eq!(reaches(&a), leg_a);
    proxy.cut_all(Ways::From);
    location.send_to(b"lost", leg_a).unwrap();
    location.send_to(b"lost", leg_b).unwrap();
    dropped(&proxy, |counts| counts.from.dropped_packets, 2);
    assert!(is_silent(&a) && is_silent(&b));
    assert_eq!(reaches(&b), leg_b);
    proxy.heal();
    location.send_to(b"answer", leg_b).unwrap();
    assert_eq!(receive(&b).0, "answer");
}

#[test]
fn a_restarted_location_is_reachable_again() {
    let (location, peer) = (socket(), socket());
    let to = address(&location);
    let proxy = Proxy::start(to, Conditions::default(), 1).unwrap();
    peer.send_to(b"first", proxy.address()).unwrap();
    let (_, leg) = receive(&location);
    drop(location);
    for _ in 0..20 {
        peer.send_to(b"to no one", proxy.address()).unwrap();
    }
    while proxy.counts().to.packets < 21 {
        std::thread::yield_now();
    }
    let location = UdpSocket::bind(to).expect("the port is free");
    location.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.send_to(b"last", proxy.address()).unwrap();
    // The last one of the earlier packets may have been sent just now.
    let last = std::iter::repeat_with(|| receive(&location)).find(|(bytes, _)| bytes == "last");
    assert_eq!(last.map(|(_, from)| from), Some(leg));
}

#[test]
fn delivered_packets_are_intact_and_large_bursts_pass() {
    let (location, peer) = (socket(), socket());
    let proxy = Proxy::start(address(&location), Conditions::default(), 1).unwrap();
    let mut buffer = [0; 2_000];
    for burst in 0..200u32 {
        // As many packets as fit into the smallest socket buffer.
        for number in 0..16u32 {
            let byte = u8::try_from((burst + number) % 251).unwrap();
            peer.send_to(&[byte; 1_452], proxy.address()).unwrap();
        }
        for number in 0..16u32 {
            let byte = u8::try_from((burst + number) % 251).unwrap();
            let length = location.recv(&mut buffer).expect("all packets of a burst arrive");
            assert_eq!(buffer[..length], [byte; 1_452]);
        }
    }
    assert_eq!(proxy.counts().to.packets, 3_200);
}

#[test]
fn the_port_is_free_when_the_proxy_is_dropped() {
    let location = socket();
    let proxy = Proxy::start(address(&location), Conditions::default(), 1).unwrap();
    let port = proxy.address();
    drop(proxy);
    drop(UdpSocket::bind(port).expect("the port is released"));
}
