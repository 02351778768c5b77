//! Peers that are rejected, while the members keep replicating.

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

/// Two locations, of which the first is attacked.
struct Attacked {
    authority: Authority,
    all: Vec<Location>,
}

impl Attacked {
    async fn new() -> Attacked {
        let authority = Authority::new();
        let all = cluster(&authority, 2).await;
        Attacked { authority, all }
    }

    fn address(&self) -> SocketAddr {
        self.all[0].address
    }

    async fn keeps_replicating(&self) {
        self.all[1].put("still", "here");
        self.all[0].wait_for("still", b"here").await;
        assert_eq!(self.all[0].status().await.halted, None);
    }

    /// Checks that a peer with this certificate is rejected.
    async fn rejects(&self, identity: Option<&Identity>) {
        let before = self.all[0].status().await;
        let raw = Raw::new(identity, ALPN);
        let error = raw.is_refused(self.address()).await;
        assert!(!matches!(error, ConnectionError::TimedOut), "the peer learns of it: {error}");
        wait_until("the failure is counted", async || {
            self.all[0].status().await.handshakes.failed > before.handshakes.failed
        })
        .await;
        assert_eq!(self.all[0].status().await.peers.len(), before.peers.len());
        self.keeps_replicating().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_rejected() {
    let attacked = Attacked::new().await;
    attacked.rejects(Some(&Authority::new().identity(member(3)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_cluster_is_rejected() {
    let attacked = Attacked::new().await;
    let other = member_uri([7; 16], member(3));
    attacked.rejects(Some(&attacked.authority.issue(&[&other], |_| {}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_is_rejected() {
    let attacked = Attacked::new().await;
    attacked.rejects(Some(&attacked.authority.expired(member(2)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_names_two_members_or_none_is_rejected() {
    let attacked = Attacked::new().await;
    let (two, three) = (member_uri(CLUSTER, member(2)), member_uri(CLUSTER, member(3)));
    for uris in [&[&two[..], &three[..]][..], &[], &["waypost:"], &["https://example.com/"]] {
        attacked.rejects(Some(&attacked.authority.issue(uris, |_| {}))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_a_certificate_is_rejected() {
    Attacked::new().await.rejects(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_rejected() {
    let attacked = Attacked::new().await;
    let identity = attacked.authority.identity(member(3));
    let error = Raw::new(Some(&identity), b"h3").is_refused(attacked.address()).await;
    assert!(matches!(error, ConnectionError::ConnectionClosed(_)), "{error}");
    attacked.keeps_replicating().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialled_member_is_not_mistaken_for_another() {
    let attacked = Attacked::new().await;
    // Its configuration has the address of member 1 for member 5.
    let new = Location::with(&attacked.authority, 9, None, |config| {
        config.bootstrap = vec![(member(5), vec![attacked.address().to_string()])];
    })
    .await;
    wait_until("dialling has failed", async || {
        let status = new.status().await;
        status.peers[&member(5)].failures > 1
    })
    .await;
    let status = new.status().await;
    let peer = &status.peers[&member(5)];
    assert!(!peer.is_connected && peer.last_error.is_some(), "{peer:?}");
    attacked.keeps_replicating().await;
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

/// A hello as in FORMAT.md.
fn hello(member: MemberId) -> Vec<u8> {
    let mut hello = vec![0, 2, 1];
    hello.extend(77_u64.to_be_bytes());
    hello.extend(0_u64.to_be_bytes());
    hello.extend([0, 2, 0, 2]);
    hello.extend(0_u64.to_be_bytes());
    hello.extend(CLUSTER);
    hello.extend(member.0);
    hello
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_does_not_match_the_certificate_closes_the_link() {
    let attacked = Attacked::new().await;
    for (named, reason) in [(member(2), "names another member"), (member(3), "")] {
        let hello = hello(named);
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(hello.len()).unwrap().to_be_bytes());
        bytes.extend(hello);
        let closed = send(&attacked, &bytes);
        if reason.is_empty() {
            // A link with the right member stays until the peer ends it.
            let is_kept = tokio::time::timeout(Duration::from_millis(300), closed).await.is_err();
            assert!(is_kept);
            continue;
        }
        let error = closed.await;
        assert!(error.to_string().contains(reason), "{error}");
    }
    attacked.keeps_replicating().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_is_ignored() {
    let attacked = Attacked::new().await;
    let socket = UdpSocket::bind(anywhere()).unwrap();
    for round in 0..=255_u8 {
        let garbage = vec![round.wrapping_mul(31); 1 + usize::from(round) * 5];
        let _full = socket.send_to(&garbage, attacked.address());
        // And packets that look like the first one of a connection.
        let mut long = vec![0xc0 | (round & 0x3f), 0, 0, 0, 1, 8];
        long.extend((0..=round).cycle().take(1250));
        let _full = socket.send_to(&long, attacked.address());
    }
    attacked.keeps_replicating().await;
}

/// The first packets of a client that then falls silent.
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
async fn an_unfinished_handshake_times_out() {
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
    wait_until("it has timed out", async || {
        let handshakes = first.status().await.handshakes;
        handshakes.failed >= 1 && handshakes.under_way == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_unfinished_handshakes_block_no_peer() {
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
    // They have not validated their addresses; a peer that does is accepted.
    let new = Location::with(&authority, 3, Some(&all[0]), |config| {
        config.listen = anywhere();
    })
    .await;
    all[0].add(&new);
    new.wait_until_joined().await;
}

/// Opens the control stream of an accepted member and sends these bytes. Returns how the connection ends.
async fn send(attacked: &Attacked, bytes: &[u8]) -> ConnectionError {
    let identity = attacked.authority.identity(member(3));
    let raw = Raw::new(Some(&identity), ALPN);
    let connection = raw.connect(attacked.address()).await.unwrap();
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    connection.closed().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_over_the_bound_closes_the_link() {
    let attacked = Attacked::new().await;
    for frame in [
        // A message that is too long, and an empty one.
        &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3][..],
        &[0, 0, 0x40, 0, 1, 9],
        &[0, 0, 0, 0, 0],
        // A stream that is not for control.
        &[7],
        // Bytes that are not a message.
        &[0, 0, 0, 0, 3, 1, 2, 3],
    ] {
        let error = send(&attacked, frame).await;
        let ConnectionError::ApplicationClosed(close) = error else { panic!("{error}") };
        assert!(close.error_code != VarInt::from_u32(0), "{close}");
    }
    attacked.keeps_replicating().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_stream_closes_the_link() {
    let attacked = Attacked::new().await;
    let identity = attacked.authority.identity(member(3));
    for number in [0, 4, 0xff] {
        let raw = Raw::new(Some(&identity), ALPN);
        let connection = raw.connect(attacked.address()).await.unwrap();
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&[0]).await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&[number]).await.unwrap();
        let error = connection.closed().await;
        assert!(matches!(error, ConnectionError::ApplicationClosed(_)), "{error}");
    }
    attacked.keeps_replicating().await;
}
