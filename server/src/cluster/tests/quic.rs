//! Joining over loopback, with the real clock, which the TLS library uses.

use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use kv_core::{MemberId, Operation, Options, Store, env::SystemEnvironment};
use kv_replicate::quic::{self, Replica};
use quinn::{ClientConfig, Endpoint, TransportConfig, VarInt, crypto::rustls::QuicClientConfig};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

use super::{DAY, authority, created, invited, name, now};
use crate::cluster::{
    Address, Descriptor, JoinOptions, JoinOutcome, Location, Peer, Token, ca,
    enrol::{
        AdmissionError, EnrolError, EnrolServer, JoiningMember, MAX_MESSAGE_BYTES, Registry,
        Request, Response, StoreRegistry, Welcome,
        client::{enrol, enrol_within},
        message::{decode_response, encode},
        tls,
    },
    join,
    join::JoinError,
    load, renew,
    renew::RenewalError,
    state::{
        certificate::to_pem,
        files::{self, ClusterDir},
        location::{load_ca, read_key},
        names::Sha256,
        token::Secret,
    },
};

mod renewal;

/// A CA holder that admits joining members on the port of its replica.
struct CaHolder {
    data: TempDir,
    descriptor: Descriptor,
    store: Store,
    address: SocketAddr,
    replica: Replica,
    admitted: Arc<AtomicUsize>,
    /// Whether the next member row can't be written.
    broken: Arc<AtomicBool>,
    /// While it is set, no member row is written.
    held: Held,
}

/// Delays the writing of rows, but not beyond the test, which would otherwise wait for them if it fails.
struct Held(Arc<AtomicBool>);

impl Held {
    fn set(&self, is_held: bool) {
        self.0.store(is_held, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// The members in the holder's store, observed and delayed by the test.
struct Watched {
    members: StoreRegistry,
    admitted: Arc<AtomicUsize>,
    broken: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
}

impl Registry for Watched {
    fn check(&mut self, joining: &JoiningMember) -> Result<(), AdmissionError> {
        self.members.check(joining)
    }

    fn admit(&mut self, joining: &JoiningMember) -> Result<Vec<Peer>, AdmissionError> {
        while self.held.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.broken.swap(false, Ordering::Relaxed) {
            return Err(AdmissionError::NotDurable);
        }
        self.admitted.fetch_add(1, Ordering::Relaxed);
        self.members.admit(joining)
    }

    fn check_renewal(&mut self, member: MemberId) -> Result<(), AdmissionError> {
        self.members.check_renewal(member)
    }
}

impl CaHolder {
    async fn start() -> CaHolder {
        CaHolder::created_at(now()).await
    }

    /// Starts one whose cluster was created at a time.
    async fn created_at(at: u64) -> CaHolder {
        let (data, descriptor) = created(at);
        let location = load(data.path(), at).unwrap().expect("it was just created");
        let store = Options::new().replicated(true).open(data.path().join("store")).unwrap();
        let (admitted, broken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let held = Held(Arc::new(AtomicBool::new(false)));
        let watched = Watched {
            members: StoreRegistry(store.clone()),
            admitted: Arc::clone(&admitted),
            broken: Arc::clone(&broken),
            held: Arc::clone(&held.0),
        };
        let environment = Arc::new(SystemEnvironment::new());
        let server =
            EnrolServer::new(authority(data.path()), Box::new(watched), environment).unwrap();
        let (cluster, member) = (descriptor.cluster.0, descriptor.member);
        let mut config = quic::Config::new(descriptor.listen, cluster, member, proof(&location));
        config.guests = Some(Arc::new(server).guests());
        let replica = Replica::start(config, store.clone()).await.unwrap();
        let address = replica.local_address();
        CaHolder { data, descriptor, store, address, replica, admitted, broken, held }
    }

    /// A token that names this location's real address.
    fn token(&self) -> Token {
        let addresses = vec![self.address.to_string().parse().unwrap()];
        Token { addresses, ..invited(self.data.path(), None, now()) }
    }

    /// The request of a joining member called `ams-NUMBER`.
    fn asks(&self, number: u8) -> (Token, Request) {
        let token = self.token();
        let (_, mut request) = super::new_request(&token, number);
        request.location = Some(name(&format!("ams-{number}")));
        (token, request)
    }

    async fn until_invitations_say(&self, what: &str) {
        let directory = ClusterDir::of(self.data.path());
        while !directory.read(files::INVITATIONS).unwrap().contains(what) {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts eight joins at once, more than there are slots, while the first is being admitted.
    fn crowd(&self, busy_for: Duration) -> JoinSet<Result<Welcome, EnrolError>> {
        self.held.set(true);
        let mut crowd = JoinSet::new();
        for number in 1..=8 {
            let (token, request) = self.asks(number * 10);
            crowd.spawn(async move { enrol_within(busy_for, &token, &request).await });
        }
        crowd
    }

    async fn stop(self) {
        self.replica.close().await;
    }
}

/// What a location proves its identity with.
fn proof(location: &Location) -> quic::Identity {
    quic::Identity {
        authorities: location.trusted.iter().map(|ca| ca.to_vec()).collect(),
        chain: location.chain.iter().map(|certificate| certificate.to_vec()).collect(),
        key: location.key.secret_der().to_vec(),
    }
}

fn joining(data: &Path, token: &Token) -> JoinOptions {
    JoinOptions {
        token: token.clone(),
        data: data.to_owned(),
        location: Some(name("ams")),
        advertise: vec!["127.0.0.1:9".parse().unwrap()],
        listen: "127.0.0.1:0".parse().unwrap(),
    }
}

async fn joins(data: &Path, token: &Token) -> Result<JoinOutcome, JoinError> {
    join(&joining(data, token), &SystemEnvironment::new()).await
}

#[tokio::test]
async fn an_empty_location_joins_and_is_a_member_on_both_sides() {
    let holder = CaHolder::start().await;
    let (data, token) = (TempDir::new().unwrap(), holder.token());
    let joined = joins(data.path(), &token).await.unwrap();
    let JoinOutcome::New(descriptor) = &joined else { panic!("{joined:?}") };
    assert_eq!(
        (descriptor.cluster, &descriptor.location),
        (holder.descriptor.cluster, &name("ams"))
    );
    assert_eq!(descriptor.dial[0].member, holder.descriptor.member);
    assert_eq!(descriptor.dial[0].addresses, holder.descriptor.advertise);
    let location = load(data.path(), now()).unwrap().expect("it is a member");
    assert_eq!(
        (&location.descriptor, Sha256::of(location.authorities.newest())),
        (descriptor, token.ca)
    );
    assert!(!ClusterDir::of(data.path()).has(files::JOINING));

    let view = holder.store.view();
    let member = view.members().get(descriptor.member).expect("its row is there");
    assert_eq!(member.name, "ams");
    assert_eq!(member.addresses, ["127.0.0.1:9"]);
    let store = Store::open(data.path()).unwrap();
    assert_eq!(store.member(), descriptor.member);
    assert!(store.view().is_rebuilding(), "it waits for what the others have");
    drop(store);

    let again = joins(data.path(), &token).await.unwrap();
    assert_eq!(
        again,
        JoinOutcome::Already(descriptor.clone()),
        "the same command line at the next start"
    );
    assert_eq!(holder.admitted.load(Ordering::Relaxed), 1);
    holder.stop().await;
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_with_another_ca() {
    let (holder, other) = (CaHolder::start().await, CaHolder::start().await);
    let addresses = vec![other.address.to_string().parse().unwrap()];
    let token = Token { addresses, ..holder.token() };
    let data = TempDir::new().unwrap();
    let error = joins(data.path(), &token).await.unwrap_err();
    assert!(matches!(error, JoinError::Enrol(EnrolError::Unreachable(_))), "{error}");
    let error = error.to_string();
    assert!(
        error.contains("is not in the cluster of the token, and nothing was sent to it"),
        "{error}"
    );
    assert!(matches!(
        load(data.path(), now()),
        Err(crate::cluster::state::location::LoadError::Unfinished)
    ));

    // The next address of the token is tried.
    let good = holder.token();
    let addresses = [token.addresses, good.addresses.clone()].concat();
    joins(data.path(), &Token { addresses, ..good }).await.unwrap();
    assert_eq!(other.admitted.load(Ordering::Relaxed), 0);
    other.stop().await;
    holder.stop().await;
}

#[tokio::test]
async fn an_interrupted_join_continues_as_the_same_location() {
    let holder = CaHolder::start().await;
    let (data, token) = (TempDir::new().unwrap(), holder.token());
    holder.broken.store(true, Ordering::Relaxed);
    let error = joins(data.path(), &token).await.unwrap_err();
    assert!(matches!(&error, JoinError::Enrol(EnrolError::Refused(_))), "{error}");
    let directory = ClusterDir::of(data.path());
    let applied = directory.read(files::JOINING).unwrap();
    let joined = joins(data.path(), &token).await.unwrap();
    assert!(applied.contains(&joined.descriptor().member.to_string()), "{applied}");

    // The response was lost: the location has the files from before its request.
    let first = directory.read(files::CERTIFICATE).unwrap();
    directory.write(files::JOINING, &applied).unwrap();
    directory.remove(files::DESCRIPTOR).unwrap();
    directory.remove(files::CERTIFICATE).unwrap();
    assert_eq!(joins(data.path(), &token).await.unwrap(), joined);
    assert_eq!(directory.read(files::CERTIFICATE).unwrap(), first);

    let elsewhere = TempDir::new().unwrap();
    let error = joins(elsewhere.path(), &token).await.unwrap_err().to_string();
    assert!(error.contains("the cluster refused: the token has already been used"), "{error}");
    holder.stop().await;
}

#[tokio::test]
async fn a_store_that_holds_entries_does_not_join() {
    let holder = CaHolder::start().await;
    let data = TempDir::new().unwrap();
    Store::open(data.path()).unwrap().create_namespace("sessions").unwrap();
    let error = joins(data.path(), &holder.token()).await.unwrap_err();
    assert!(matches!(error, JoinError::NotEmpty(_)));
    assert!(
        error.to_string().contains("export them, start with an empty data directory"),
        "{error}"
    );
    assert!(!data.path().join("cluster").exists());
    assert_eq!(holder.admitted.load(Ordering::Relaxed), 0);
    holder.stop().await;
}

#[tokio::test]
async fn a_member_of_another_cluster_does_not_join() {
    let holder = CaHolder::start().await;
    let (data, _) = created(now());
    let error = joins(data.path(), &holder.token()).await.unwrap_err();
    assert!(matches!(error, JoinError::OtherCluster(_)), "{error}");
    holder.stop().await;
}

#[tokio::test]
async fn a_token_stays_valid_if_no_server_listens() {
    let holder = CaHolder::start().await;
    let (data, token) = (TempDir::new().unwrap(), holder.token());
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let refusing = silent.local_addr().unwrap().to_string().parse().unwrap();
    drop(silent);
    let addresses = [vec!["no-such-host.invalid:1".parse().unwrap()], vec![refusing]].concat();
    // Only the first fails at once; the other would time out, so it is left out here.
    let lost = Token { addresses: addresses[..1].to_vec(), ..token.clone() };
    let error = joins(data.path(), &lost).await.unwrap_err();
    assert!(error.to_string().contains("The token is still valid"), "{error}");
    joins(data.path(), &token).await.unwrap();
    holder.stop().await;
}

#[tokio::test]
async fn a_wrong_clock_is_reported_and_the_token_stays_valid() {
    let holder = CaHolder::created_at(now() + 2 * DAY).await;
    let data = TempDir::new().unwrap();
    let error = joins(data.path(), &holder.token()).await.unwrap_err().to_string();
    assert!(error.contains("check the clocks of both machines"), "{error}");
    assert!(error.contains("The token is still valid"), "{error}");
    holder.stop().await;
}

#[tokio::test]
async fn many_joins_at_once_from_one_address_are_all_admitted() {
    let holder = CaHolder::start().await;
    let crowd = holder.crowd(Duration::from_secs(300));
    sleep(Duration::from_millis(500)).await;
    holder.held.set(false);
    for welcome in crowd.join_all().await {
        welcome.expect("it is admitted");
    }
    assert_eq!(holder.store.view().members().current().count(), 8);
    holder.stop().await;
}

#[tokio::test]
async fn a_joining_member_without_a_slot_learns_why() {
    let holder = CaHolder::start().await;
    let mut crowd = holder.crowd(Duration::ZERO);
    let mut first = Vec::new();
    while first.len() < 4 {
        first.push(crowd.join_next().await.expect("eight").expect("no panic"));
    }
    holder.held.set(false);
    for told in first {
        let error = told.expect_err("there are four slots");
        assert!(matches!(error, EnrolError::Busy(..)), "{error}");
        assert!(error.to_string().contains("had no slot for this one"), "{error}");
    }
    assert!(crowd.join_all().await.iter().all(Result::is_ok), "the others had slots");
    holder.stop().await;
}

#[tokio::test]
async fn a_wrong_token_is_rejected_while_another_location_is_being_admitted() {
    let holder = CaHolder::start().await;
    holder.held.set(true);
    let (token, request) = holder.asks(100);
    let slow = tokio::spawn(async move { enrol(&token, &request).await });
    holder.until_invitations_say("used").await;
    for number in 1..=8 {
        let (token, mut request) = holder.asks(number);
        request.secret = Secret([0; 16]);
        let wrong = enrol(&token, &request).await;
        assert!(matches!(wrong, Err(EnrolError::Refused(_))), "{wrong:?}");
    }
    holder.held.set(false);
    slow.await.expect("no panic").expect("it is admitted");
    holder.stop().await;
}

#[tokio::test]
async fn an_admitted_location_keeps_its_slot_until_it_has_the_response() {
    let holder = CaHolder::start().await;
    let (token, request) = holder.asks(100);
    let quic = QuicClientConfig::try_from(tls::client_config(tls::Trust::Hash(token.ca)).unwrap())
        .unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut config = ClientConfig::new(Arc::new(quic));
    // The response can't be sent before it is read.
    let mut narrow = TransportConfig::default();
    narrow.stream_receive_window(VarInt::from_u32(16));
    config.transport_config(Arc::new(narrow));
    let connect = async || {
        let connecting = endpoint.connect_with(config.clone(), holder.address, "waypost");
        connecting.unwrap().await.unwrap()
    };
    let slow = connect().await;
    let mut others = vec![connect().await, connect().await, connect().await];
    let (mut send, mut receive) = slow.open_bi().await.unwrap();
    send.write_all(&encode(&request)).await.unwrap();
    send.finish().unwrap();
    holder.until_invitations_say("BEGIN CERTIFICATE").await;
    others.extend([connect().await, connect().await, connect().await]);
    others[2].closed().await;
    let answer = receive.read_to_end(MAX_MESSAGE_BYTES).await.expect("its slot is kept");
    assert!(matches!(decode_response(&answer), Ok(Response::Welcome(_))));
    holder.stop().await;
}

#[tokio::test]
async fn silent_connections_lose_their_slots_to_one_that_sends_a_request() {
    let holder = CaHolder::start().await;
    let token = holder.token();
    let quic = QuicClientConfig::try_from(tls::client_config(tls::Trust::Hash(token.ca)).unwrap())
        .unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = ClientConfig::new(Arc::new(quic));
    let mut silent = Vec::new();
    for _ in 0..20 {
        let connecting = endpoint.connect_with(config.clone(), holder.address, "waypost");
        silent.push(connecting.unwrap().await.unwrap());
    }
    // They are all from one address, which has a few slots.
    let revoked = silent[0].closed().await.to_string();
    assert!(revoked.contains("too many joining members at a time"), "{revoked}");
    let data = TempDir::new().unwrap();
    joins(data.path(), &token).await.unwrap();
    assert!(silent[19].close_reason().is_none(), "the newest keeps its slot");
    holder.stop().await;
}

#[tokio::test]
async fn garbage_is_rejected_and_locations_can_still_join() {
    let holder = CaHolder::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for len in [0, 1, 20, 1200, 1472] {
        let garbage: Vec<u8> = (0..len).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect();
        socket.send_to(&garbage, holder.address).unwrap();
    }
    let token = holder.token();
    let config = tls::client_config(tls::Trust::Hash(token.ca)).unwrap();
    let quic = QuicClientConfig::try_from(config).unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = ClientConfig::new(Arc::new(quic));
    for garbage in [&b""[..], b"{", b"{\"token\":1}", &[0xff; 1000], &[b' '; MAX_MESSAGE_BYTES + 1]]
    {
        let connecting = endpoint.connect_with(config.clone(), holder.address, "waypost");
        let connection = connecting.unwrap().await.unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        // The other side may close while this is being sent, if it is too long.
        let sent = send.write_all(garbage).await.is_ok() && send.finish().is_ok();
        match receive.read_to_end(MAX_MESSAGE_BYTES).await {
            Ok(bytes) => {
                let answer = decode_response(&bytes).unwrap();
                assert!(matches!(answer, Response::Refused(_)), "{answer:?}");
                assert!(sent);
            }
            Err(_closed) => assert!(garbage.len() > MAX_MESSAGE_BYTES),
        }
    }
    let data = TempDir::new().unwrap();
    joins(data.path(), &token).await.unwrap();
    holder.stop().await;
}
