//! Who is not let in, and that the others go on meanwhile.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use kv_core::MemberId;
use kv_replicate::quic::{Config, Identity, Replica, StartError, member_uri};
use quinn::{ConnectionError, VarInt};

use crate::{
    authority::{Authority, CLUSTER},
    location::{Location, anywhere, cluster, config, member, quick, wait_until},
    raw::Raw,
};

const ALPN: &[u8] = b"waypost/1";

/// Two locations, of which the first is bothered.
struct Bothered {
    authority: Authority,
    all: Vec<Location>,
}

impl Bothered {
    async fn new() -> Bothered {
        let authority = Authority::new();
        let all = cluster(&authority, 2).await;
        Bothered { authority, all }
    }

    fn address(&self) -> SocketAddr {
        self.all[0].address
    }

    async fn goes_on(&self) {
        self.all[1].put("still", "here");
        self.all[0].wait_for("still", b"here").await;
        assert_eq!(self.all[0].status().await.halted, None);
    }

    /// A peer with this certificate fails to be let in.
    async fn refuses(&self, identity: Option<&Identity>) {
        let before = self.all[0].status().await;
        let raw = Raw::new(identity, ALPN);
        let error = raw.is_refused(self.address()).await;
        assert!(!matches!(error, ConnectionError::TimedOut), "it is told: {error}");
        wait_until("the failure is counted", async || {
            self.all[0].status().await.handshakes.failed > before.handshakes.failed
        })
        .await;
        assert_eq!(self.all[0].status().await.peers.len(), before.peers.len());
        self.goes_on().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_refused() {
    let bothered = Bothered::new().await;
    bothered.refuses(Some(&Authority::new().identity(member(3)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_cluster_is_refused() {
    let bothered = Bothered::new().await;
    let other = member_uri([7; 16], member(3));
    bothered.refuses(Some(&bothered.authority.issue(&[&other], |_| {}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_is_refused() {
    let bothered = Bothered::new().await;
    bothered.refuses(Some(&bothered.authority.expired(member(2)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_names_two_members_or_none_is_refused() {
    let bothered = Bothered::new().await;
    let (two, three) = (member_uri(CLUSTER, member(2)), member_uri(CLUSTER, member(3)));
    for uris in [&[&two[..], &three[..]][..], &[], &["waypost:"], &["https://example.com/"]] {
        bothered.refuses(Some(&bothered.authority.issue(uris, |_| {}))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_a_certificate_is_refused() {
    Bothered::new().await.refuses(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_refused() {
    let bothered = Bothered::new().await;
    let identity = bothered.authority.identity(member(3));
    let error = Raw::new(Some(&identity), b"h3").is_refused(bothered.address()).await;
    assert!(matches!(error, ConnectionError::ConnectionClosed(_)), "{error}");
    bothered.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_not_taken_for_the_one_that_was_dialled() {
    let bothered = Bothered::new().await;
    // Says that member 5 is at the address of member 1.
    let new = Location::with(&bothered.authority, 9, None, |config| {
        config.bootstrap = vec![(member(5), vec![bothered.address().to_string()])];
    })
    .await;
    wait_until("it was dialled in vain", async || {
        let status = new.status().await;
        status.peers[&member(5)].failures > 1
    })
    .await;
    let status = new.status().await;
    let peer = &status.peers[&member(5)];
    assert!(!peer.is_connected && peer.last_error.is_some(), "{peer:?}");
    bothered.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_own_certificate_names_another_does_not_start() {
    let authority = Authority::new();
    let mut wrong = config(&authority, 2, anywhere());
    wrong.identity = authority.identity(member(3));
    let directory = tempfile::tempdir().unwrap();
    let store = kv_core::Store::open(directory.path()).unwrap();
    let error = Replica::start(wrong, store).await.unwrap_err();
    assert!(matches!(error, StartError::Identity(_)), "{error}");
}

/// A hello as FORMAT.md has it, from a store that has nothing.
fn hello(member: MemberId) -> Vec<u8> {
    let mut hello = vec![0, 1, 1];
    hello.extend(77_u64.to_be_bytes());
    hello.extend(0_u64.to_be_bytes());
    hello.extend([0, 1, 0, 1]);
    hello.extend(0_u64.to_be_bytes());
    hello.extend(CLUSTER);
    hello.extend(member.0);
    hello.extend([0xaa; 16]);
    hello.extend([0xbb; 16]);
    hello.extend([0, 0]);
    hello
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_does_not_match_the_certificate_closes_the_link() {
    let bothered = Bothered::new().await;
    for (said, reason) in [(member(2), "names another member"), (member(3), "")] {
        let hello = hello(said);
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(hello.len()).unwrap().to_be_bytes());
        bytes.extend(hello);
        let saying = says(&bothered, &bytes);
        if reason.is_empty() {
            // Whoever is who it says is kept, until it goes away.
            let is_kept = tokio::time::timeout(Duration::from_millis(300), saying).await.is_err();
            assert!(is_kept);
            continue;
        }
        let error = saying.await;
        assert!(error.to_string().contains(reason), "{error}");
    }
    bothered.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_is_passed_over() {
    let bothered = Bothered::new().await;
    let socket = UdpSocket::bind(anywhere()).unwrap();
    for round in 0..=255_u8 {
        let garbage = vec![round.wrapping_mul(31); 1 + usize::from(round) * 5];
        let _full = socket.send_to(&garbage, bothered.address());
        // And what looks like the first packet of a connection.
        let mut long = vec![0xc0 | (round & 0x3f), 0, 0, 0, 1, 8];
        long.extend((0..=round).cycle().take(1250));
        let _full = socket.send_to(&long, bothered.address());
    }
    bothered.goes_on().await;
}

/// What a client sends first, and nothing after.
async fn first_packets(raw: &Raw) -> Vec<Vec<u8>> {
    let silent = tokio::net::UdpSocket::bind(anywhere()).await.unwrap();
    let to = silent.local_addr().unwrap();
    let connecting = raw.connect(to);
    tokio::select! {
        _never = connecting => panic!("nobody answers"),
        packet = async {
            let mut buffer = vec![0; 2048];
            let (len, _) = silent.recv_from(&mut buffer).await.unwrap();
            buffer.truncate(len);
            buffer
        } => vec![packet],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_go_on_is_given_up() {
    let authority = Authority::new();
    let impatient = |config: &mut Config| {
        config.tuning.handshake = Duration::from_millis(500);
        config.tuning.max_handshakes_per_address = 4;
    };
    let first = Location::with(&authority, 1, None, impatient).await;
    let identity = authority.identity(member(3));
    let (raw, socket) = (Raw::new(Some(&identity), ALPN), UdpSocket::bind(anywhere()).unwrap());
    for packet in first_packets(&raw).await {
        socket.send_to(&packet, first.address).unwrap();
    }
    wait_until("it was given up", async || {
        let handshakes = first.status().await.handshakes;
        handshakes.failed >= 1 && handshakes.under_way == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_handshakes_that_do_not_go_on_keep_nobody_out() {
    let authority = Authority::new();
    let all = cluster(&authority, 2).await;
    let identity = authority.identity(member(3));
    let socket = UdpSocket::bind(anywhere()).unwrap();
    for _ in 0..40 {
        let raw = Raw::new(Some(&identity), ALPN);
        for packet in first_packets(&raw).await {
            socket.send_to(&packet, all[0].address).unwrap();
        }
    }
    let most = quick().max_handshakes_per_address;
    assert!(all[0].status().await.handshakes.under_way <= most);
    // They have not shown where they are; who does is let in.
    let new = Location::with(&authority, 3, Some(&all[0]), |config| {
        config.listen = anywhere();
    })
    .await;
    all[0].add(&new);
    new.wait_until_joined().await;
}

/// Opens the control stream of a member that may be let in, and says this on it; how that ends.
async fn says(bothered: &Bothered, bytes: &[u8]) -> ConnectionError {
    let identity = bothered.authority.identity(member(3));
    let raw = Raw::new(Some(&identity), ALPN);
    let connection = raw.connect(bothered.address()).await.unwrap();
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    connection.closed().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_over_the_bound_closes_the_link() {
    let bothered = Bothered::new().await;
    for frame in [
        // More than a message may have, and none at all.
        &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3][..],
        &[0, 0, 2, 0, 1, 9],
        &[0, 0, 0, 0, 0],
        // No channel of control.
        &[7],
        // No message.
        &[0, 0, 0, 0, 3, 1, 2, 3],
    ] {
        let error = says(&bothered, frame).await;
        let ConnectionError::ApplicationClosed(close) = error else { panic!("{error}") };
        assert!(close.error_code != VarInt::from_u32(0), "{close}");
    }
    bothered.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_there_is_not_closes_the_link() {
    let bothered = Bothered::new().await;
    let identity = bothered.authority.identity(member(3));
    for number in [0, 4, 0xff] {
        let raw = Raw::new(Some(&identity), ALPN);
        let connection = raw.connect(bothered.address()).await.unwrap();
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&[0]).await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&[number]).await.unwrap();
        let error = connection.closed().await;
        assert!(matches!(error, ConnectionError::ApplicationClosed(_)), "{error}");
    }
    bothered.goes_on().await;
}
