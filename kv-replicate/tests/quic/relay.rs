//! A path between two locations that can be cut silently.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{net::UdpSocket, task::JoinSet};

use crate::{
    authority::Authority,
    location::{Location, anywhere, member, wait_until},
};

/// Carries packets between its senders and a location.
struct Relay {
    address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Starts a relay to the address in `target`.
    async fn new(target: tokio::sync::watch::Receiver<SocketAddr>) -> Relay {
        let front = Arc::new(UdpSocket::bind(anywhere()).await.unwrap());
        let address = front.local_addr().unwrap();
        let is_cut = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        tasks.spawn(carry(front, target, Arc::clone(&is_cut)));
        Relay { address, is_cut, _tasks: tasks }
    }

    fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::SeqCst);
    }
}

async fn carry(
    front: Arc<UdpSocket>,
    target: tokio::sync::watch::Receiver<SocketAddr>,
    is_cut: Arc<AtomicBool>,
) {
    let mut backs: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let (mut packet, mut tasks) = (vec![0; 65_536], JoinSet::new());
    while let Ok((len, from)) = front.recv_from(&mut packet).await {
        let back = match backs.get(&from) {
            Some(back) => Arc::clone(back),
            None => Arc::new(UdpSocket::bind(anywhere()).await.unwrap()),
        };
        if backs.insert(from, Arc::clone(&back)).is_none() {
            tasks.spawn(carry_back(Arc::clone(&back), Arc::clone(&front), from, is_cut.clone()));
        }
        if !is_cut.load(Ordering::SeqCst) {
            let to = *target.borrow();
            let _lost = back.send_to(&packet[..len], to).await;
        }
    }
}

async fn carry_back(
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    to: SocketAddr,
    is_cut: Arc<AtomicBool>,
) {
    let mut packet = vec![0; 65_536];
    while let Ok((len, _)) = back.recv_from(&mut packet).await {
        if !is_cut.load(Ordering::SeqCst) {
            let _lost = front.send_to(&packet[..len], to).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silently_cut_path_is_detected_and_its_writes_arrive_later() {
    let authority = Authority::new();
    let (first_at, to_first) = tokio::sync::watch::channel(anywhere());
    let (second_at, to_second) = tokio::sync::watch::channel(anywhere());
    let paths = [Relay::new(to_first).await, Relay::new(to_second).await];
    let impatient = |config: &mut kv_replicate::quic::Config| {
        config.tuning.keep_alive = Duration::from_millis(200);
        config.tuning.idle = Duration::from_secs(1);
        config.tuning.handshake = Duration::from_millis(500);
    };
    let first = Location::with(&authority, 1, None, impatient).await;
    first_at.send_replace(first.address);
    first.found();
    let by_path = paths[0].address.to_string();
    let second = Location::with(&authority, 2, None, |config| {
        impatient(config);
        config.bootstrap = vec![(member(1), vec![by_path])];
    })
    .await;
    second_at.send_replace(second.address);
    first.add_at(&second, paths[1].address);
    first.add_at(&first, paths[0].address);
    second.wait_until_joined().await;
    let are_linked = async || {
        let status = [first.status().await, second.status().await];
        status[0].peers[&member(2)].is_connected && status[1].peers[&member(1)].is_connected
    };
    for round in 0..2 {
        wait_until("they are linked", are_linked).await;
        paths.iter().for_each(|path| path.cut(true));
        first.put("first", format!("{round}"));
        second.put("second", format!("{round}"));
        wait_until("both have detected it", async || {
            let status = [first.status().await, second.status().await];
            let peers = [&status[0].peers[&member(2)], &status[1].peers[&member(1)]];
            peers.iter().all(|peer| !peer.is_connected && peer.last_error.is_some())
        })
        .await;
        paths.iter().for_each(|path| path.cut(false));
        first.wait_for("second", format!("{round}").as_bytes()).await;
        second.wait_for("first", format!("{round}").as_bytes()).await;
    }
}
