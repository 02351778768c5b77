//! A location of a test: a store and its replica.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use bytes::Bytes;
use kv_core::{Account, Attributes, Key, MemberId, NamespaceId, Operation, Options, Store, Title};
use kv_replicate::quic::{Config, Replica, Status, Tuning};

use crate::authority::{Authority, CLUSTER};

/// How long a condition may take to become true on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The namespace that tests write to.
pub(crate) const NAMESPACE: NamespaceId = NamespaceId([0x4e; 16]);

pub(crate) struct Location {
    pub(crate) member: MemberId,
    store: Option<Store>,
    pub(crate) replica: Option<Replica>,
    pub(crate) address: SocketAddr,
    directory: tempfile::TempDir,
}

pub(crate) fn member(number: u8) -> MemberId {
    MemberId([number; 16])
}

/// Settings for tests: short waits.
pub(crate) fn quick() -> Tuning {
    Tuning {
        dial_patience: Duration::from_millis(300),
        retry_first: Duration::from_millis(20),
        retry_most: Duration::from_millis(500),
        ..Tuning::default()
    }
}

pub(crate) fn config(authority: &Authority, number: u8, listen: SocketAddr) -> Config {
    let identity = authority.identity(member(number));
    let mut config = Config::new(listen, CLUSTER, member(number), identity);
    config.tuning = quick();
    config
}

fn open(directory: &tempfile::TempDir, number: u8, is_joining: bool) -> Store {
    let options = Options::new().replicated(true).cache_bytes(8 << 20).member(member(number));
    let options = if is_joining { options.joining() } else { options };
    options.open(directory.path()).unwrap()
}

pub(crate) fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// An address that no other location of any test has, if the system has more than one loopback address:
/// another test must not take a port that is free only while its location is stopped.
fn nowhere_else() -> SocketAddr {
    static LAST: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, high | 0x80, low, LAST.fetch_add(1, Ordering::Relaxed));
    let is_there = std::net::UdpSocket::bind((own, 0)).is_ok();
    if is_there { (own, 0).into() } else { anywhere() }
}

impl Location {
    /// Starts a location with an empty store, which knows the sponsor if there is one.
    pub(crate) async fn new(authority: &Authority, number: u8, sponsor: Option<&Location>) -> Self {
        Location::with(authority, number, sponsor, |_| {}).await
    }

    pub(crate) async fn with(
        authority: &Authority,
        number: u8,
        sponsor: Option<&Location>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory, number, sponsor.is_some());
        let mut config = config(authority, number, nowhere_else());
        let of = |sponsor: &Location| (sponsor.member, vec![sponsor.address.to_string()]);
        config.bootstrap = sponsor.map(of).into_iter().collect();
        change(&mut config);
        let replica = Replica::start(config, store.clone()).await.unwrap();
        let address = replica.local_address();
        Location {
            member: member(number),
            store: Some(store),
            replica: Some(replica),
            address,
            directory,
        }
    }

    /// Starts the first location of a cluster.
    pub(crate) async fn first(authority: &Authority, number: u8) -> Self {
        let location = Location::new(authority, number, None).await;
        location.found();
        location
    }

    /// Makes a cluster of which this location is the first member.
    pub(crate) fn found(&self) {
        self.add(self);
        let (account, title) = (Account::default(), Title::new("tests").unwrap());
        self.run(Operation::CreateNamespace { account, title, id: Some(NAMESPACE) });
    }

    pub(crate) fn replica(&self) -> &Replica {
        self.replica.as_ref().unwrap()
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub(crate) fn run(&self, operation: Operation) {
        self.store().submit(operation).unwrap().wait().unwrap();
    }

    /// Makes another location a member.
    pub(crate) fn add(&self, other: &Location) {
        self.add_at(other, other.address);
    }

    /// Makes another location a member with this address.
    pub(crate) fn add_at(&self, other: &Location, address: SocketAddr) {
        self.run(Operation::PutMember {
            id: other.member,
            name: other.member.to_string(),
            addresses: vec![address.to_string()],
        });
    }

    pub(crate) fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.store().put(NAMESPACE, key, value).unwrap();
    }

    /// Puts the numbers below `count`, each under its own key, a few hundred in a commit.
    pub(crate) fn put_many(&self, prefix: &str, count: u32) {
        for some in (0..count).collect::<Vec<_>>().chunks(256) {
            let put = |number: &u32| {
                let mut upload = self.store().upload();
                assert!(upload.push(number.to_string().as_bytes()).unwrap().is_empty());
                let (_inline, body) = upload.finish();
                let (key, attributes) =
                    (Key::new(format!("{prefix} {number}")).unwrap(), Attributes::default());
                let put = Operation::Put { namespace: NAMESPACE, key, body, attributes };
                self.store().submit(put).unwrap()
            };
            let tickets: Vec<_> = some.iter().map(put).collect();
            tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
        }
    }

    pub(crate) fn get(&self, key: impl AsRef<[u8]>) -> Option<Bytes> {
        let entry = self.store().get(NAMESPACE, key).unwrap();
        entry.map(|entry| entry.body.read().unwrap())
    }

    pub(crate) async fn status(&self) -> Status {
        self.replica().status().await.unwrap()
    }

    /// Stops the replica and the store cleanly.
    pub(crate) async fn stop(&mut self) {
        self.replica.take().unwrap().close().await;
        self.store.take().unwrap().close().unwrap();
    }

    /// Restarts a stopped location at its address. It knows only the members in its store.
    pub(crate) async fn start(&mut self, authority: &Authority, number: u8) {
        self.start_with(authority, number, |_| {}).await;
    }

    pub(crate) async fn start_with(
        &mut self,
        authority: &Authority,
        number: u8,
        change: impl FnOnce(&mut Config),
    ) {
        // Its directory is free once the last handle is dropped.
        drop(self.store.take());
        let store = open(&self.directory, number, false);
        let mut config = config(authority, number, self.address);
        change(&mut config);
        self.replica = Some(Replica::start(config, store.clone()).await.unwrap());
        self.store = Some(store);
    }

    pub(crate) async fn wait_for(&self, key: &str, value: &[u8]) {
        wait_until(&format!("{key} is at {}", self.member), async || {
            self.get(key).is_some_and(|found| found == value)
        })
        .await;
    }

    pub(crate) async fn wait_until_joined(&self) {
        wait_until("it has joined", async || self.status().await.is_joined).await;
    }
}

/// Starts a cluster of `size` locations, all joined through the first.
pub(crate) async fn cluster(authority: &Authority, size: u8) -> Vec<Location> {
    let mut all = vec![Location::first(authority, 1).await];
    for number in 2..=size {
        let new = Location::new(authority, number, Some(&all[0])).await;
        all[0].add(&new);
        new.wait_until_joined().await;
        all.push(new);
    }
    all
}

pub(crate) async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "timed out waiting until {what}");
}
