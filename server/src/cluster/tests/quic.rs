//! Joining over loopback, with the real clock, which the TLS library goes by.

use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use kv_core::{Options, Store, env::SystemEnvironment};
use kv_replicate::quic::{self, Replica};
use quinn::{ClientConfig, Endpoint, TransportConfig, VarInt, crypto::rustls::QuicClientConfig};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

use super::{DAY, asked, authority, founded, invited, name, now};
use crate::cluster::{
    About, Joined, Joining, Token,
    about::Peer,
    certificate::to_pem,
    enrol::{
        Api, EnrolError, MAX_MESSAGE_BYTES, Newcomer, Registry, Request, Response, StoreRegistry,
        Welcome,
        client::{enrol, enrol_within},
        message::{decode_response, encode},
        tls,
    },
    files::{self, ClusterDir},
    join,
    join::JoinError,
    load,
    location::{load_ca, read_key},
    token::Secret,
};

/// A location that invites, and lets newcomers in on its replica's port.
struct Inviting {
    data: TempDir,
    about: About,
    store: Store,
    address: SocketAddr,
    replica: Replica,
    admitted: Arc<AtomicUsize>,
    /// Whether the next newcomer's row can't be written.
    broken: Arc<AtomicBool>,
    /// As long as it is set, nobody's row is written.
    held: Held,
}

/// Holds up who writes rows; not beyond the test, which would wait for them if it fails.
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

/// The members in the location's store, with an eye on them.
struct Watched {
    members: StoreRegistry,
    admitted: Arc<AtomicUsize>,
    broken: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
}

impl Registry for Watched {
    fn check(&mut self, newcomer: &Newcomer) -> Result<(), String> {
        self.members.check(newcomer)
    }

    fn admit(&mut self, newcomer: &Newcomer) -> Result<Vec<Peer>, String> {
        while self.held.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.broken.swap(false, Ordering::Relaxed) {
            return Err("of a test".to_owned());
        }
        self.admitted.fetch_add(1, Ordering::Relaxed);
        self.members.admit(newcomer)
    }
}

impl Inviting {
    async fn start() -> Inviting {
        Inviting::founded_at(now()).await
    }

    /// One whose clock was like that when it was founded.
    async fn founded_at(at: u64) -> Inviting {
        let (data, about) = founded(at);
        let location = load(data.path(), at).unwrap().expect("it was just founded");
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
        let api = Api::new(authority(data.path()), Box::new(watched), environment).unwrap();
        let identity = quic::Identity {
            authorities: vec![location.ca.to_vec()],
            chain: location.chain.iter().map(|certificate| certificate.to_vec()).collect(),
            key: location.key.secret_der().to_vec(),
        };
        let mut config = quic::Config::new(about.listen, about.cluster.0, about.member, identity);
        config.guests = Some(Arc::new(api).guests());
        let replica = Replica::start(config, store.clone()).await.unwrap();
        let address = replica.local_address();
        Inviting { data, about, store, address, replica, admitted, broken, held }
    }

    /// A token that names this location's real address.
    fn token(&self) -> Token {
        let addresses = vec![self.address.to_string().parse().unwrap()];
        Token { addresses, ..invited(self.data.path(), None, now()) }
    }

    /// What a newcomer asks that is called `ams` and its number.
    fn asks(&self, number: u8) -> (Token, Request) {
        let token = self.token();
        let (_, mut request) = asked(&token, number);
        request.location = Some(name(&format!("ams-{number}")));
        (token, request)
    }

    async fn until_invitations_say(&self, what: &str) {
        let directory = ClusterDir::of(self.data.path());
        while !directory.read(files::INVITATIONS).unwrap().contains(what) {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts eight at once, more than have room, while the first of them is being let in.
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

fn joining(data: &Path, token: &Token) -> Joining {
    Joining {
        token: token.clone(),
        data: data.to_owned(),
        location: Some(name("ams")),
        advertise: vec!["127.0.0.1:9".parse().unwrap()],
        listen: "127.0.0.1:0".parse().unwrap(),
    }
}

async fn joins(data: &Path, token: &Token) -> Result<Joined, JoinError> {
    join(&joining(data, token), &SystemEnvironment::new()).await
}

#[tokio::test]
async fn an_empty_location_joins_and_is_a_member_on_both_sides() {
    let inviting = Inviting::start().await;
    let (data, token) = (TempDir::new().unwrap(), inviting.token());
    let joined = joins(data.path(), &token).await.unwrap();
    let Joined::New(about) = &joined else { panic!("{joined:?}") };
    assert_eq!((about.cluster, &about.location), (inviting.about.cluster, &name("ams")));
    assert_eq!(about.dial[0].member, inviting.about.member);
    assert_eq!(about.dial[0].addresses, inviting.about.advertise);
    let location = load(data.path(), now()).unwrap().expect("it is a member");
    assert_eq!((&location.about, location.ca_hash()), (about, token.ca));
    assert!(!ClusterDir::of(data.path()).has(files::JOINING));

    let view = inviting.store.view();
    let member = view.members().get(about.member).expect("its row is there");
    assert_eq!(member.name, "ams");
    assert_eq!(member.addresses, ["127.0.0.1:9"]);
    assert_eq!(member.origins, Store::open(data.path()).unwrap().origins());

    let again = joins(data.path(), &token).await.unwrap();
    assert_eq!(again, Joined::Already(about.clone()), "the same command line at the next start");
    assert_eq!(inviting.admitted.load(Ordering::Relaxed), 1);
    inviting.stop().await;
}

#[tokio::test]
async fn who_stands_in_the_middle_with_another_ca_is_told_nothing() {
    let (inviting, other) = (Inviting::start().await, Inviting::start().await);
    let addresses = vec![other.address.to_string().parse().unwrap()];
    let token = Token { addresses, ..inviting.token() };
    let data = TempDir::new().unwrap();
    let error = joins(data.path(), &token).await.unwrap_err();
    assert!(matches!(error, JoinError::Enrol(EnrolError::Unreachable(_))), "{error}");
    let says = error.to_string();
    assert!(says.contains("is not of the token's cluster, and was told nothing"), "{says}");
    assert!(matches!(
        load(data.path(), now()),
        Err(crate::cluster::location::LoadError::Unfinished)
    ));

    // The way round a stranger is taken.
    let good = inviting.token();
    let addresses = [token.addresses, good.addresses.clone()].concat();
    joins(data.path(), &Token { addresses, ..good }).await.unwrap();
    assert_eq!(other.admitted.load(Ordering::Relaxed), 0);
    other.stop().await;
    inviting.stop().await;
}

#[tokio::test]
async fn a_joining_that_was_cut_goes_on_as_the_same_location() {
    let inviting = Inviting::start().await;
    let (data, token) = (TempDir::new().unwrap(), inviting.token());
    inviting.broken.store(true, Ordering::Relaxed);
    let error = joins(data.path(), &token).await.unwrap_err();
    assert!(matches!(&error, JoinError::Enrol(EnrolError::Refused(_))), "{error}");
    let directory = ClusterDir::of(data.path());
    let applied = directory.read(files::JOINING).unwrap();
    let joined = joins(data.path(), &token).await.unwrap();
    assert!(applied.contains(&joined.about().member.to_string()), "{applied}");

    // The answer was lost: the location has what it had before it asked.
    let first = directory.read(files::CERTIFICATE).unwrap();
    directory.write(files::JOINING, &applied).unwrap();
    directory.remove(files::ABOUT).unwrap();
    directory.remove(files::CERTIFICATE).unwrap();
    assert_eq!(joins(data.path(), &token).await.unwrap(), joined);
    assert_eq!(directory.read(files::CERTIFICATE).unwrap(), first);

    let elsewhere = TempDir::new().unwrap();
    let says = joins(elsewhere.path(), &token).await.unwrap_err().to_string();
    assert!(says.contains("the cluster refused: the token was used already"), "{says}");
    inviting.stop().await;
}

#[tokio::test]
async fn a_store_that_holds_entries_does_not_join() {
    let inviting = Inviting::start().await;
    let data = TempDir::new().unwrap();
    Store::open(data.path()).unwrap().create_namespace("sessions").unwrap();
    let error = joins(data.path(), &inviting.token()).await.unwrap_err();
    assert!(matches!(error, JoinError::NotEmpty(_)));
    assert!(
        error.to_string().contains("export them, start with an empty data directory"),
        "{error}"
    );
    assert!(!data.path().join("cluster").exists());
    assert_eq!(inviting.admitted.load(Ordering::Relaxed), 0);
    inviting.stop().await;
}

#[tokio::test]
async fn a_member_of_another_cluster_does_not_join() {
    let inviting = Inviting::start().await;
    let (data, _) = founded(now());
    let error = joins(data.path(), &inviting.token()).await.unwrap_err();
    assert!(matches!(error, JoinError::OtherCluster(_)), "{error}");
    inviting.stop().await;
}

#[tokio::test]
async fn where_nobody_listens_the_token_is_kept() {
    let inviting = Inviting::start().await;
    let (data, token) = (TempDir::new().unwrap(), inviting.token());
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let refusing = silent.local_addr().unwrap().to_string().parse().unwrap();
    drop(silent);
    let addresses = [vec!["no-such-host.invalid:1".parse().unwrap()], vec![refusing]].concat();
    // Only the first answers at once: the other is waited for, so it is not asked here.
    let lost = Token { addresses: addresses[..1].to_vec(), ..token.clone() };
    let error = joins(data.path(), &lost).await.unwrap_err();
    assert!(error.to_string().contains("The token is as good as before"), "{error}");
    joins(data.path(), &token).await.unwrap();
    inviting.stop().await;
}

#[tokio::test]
async fn where_a_clock_is_wrong_it_is_named_and_the_token_is_kept() {
    let inviting = Inviting::founded_at(now() + 2 * DAY).await;
    let data = TempDir::new().unwrap();
    let says = joins(data.path(), &inviting.token()).await.unwrap_err().to_string();
    assert!(says.contains("see that the clocks of both machines are right"), "{says}");
    assert!(says.contains("The token is as good as before"), "{says}");
    inviting.stop().await;
}

#[tokio::test]
async fn many_that_start_at_once_from_one_address_are_all_let_in() {
    let inviting = Inviting::start().await;
    let crowd = inviting.crowd(Duration::from_secs(300));
    sleep(Duration::from_millis(500)).await;
    inviting.held.set(false);
    for welcome in crowd.join_all().await {
        welcome.expect("it is let in");
    }
    assert_eq!(inviting.store.view().members().current().count(), 8);
    inviting.stop().await;
}

#[tokio::test]
async fn who_finds_no_room_is_told_so_and_not_that_a_connection_broke() {
    let inviting = Inviting::start().await;
    let mut crowd = inviting.crowd(Duration::ZERO);
    let mut first = Vec::new();
    while first.len() < 4 {
        first.push(crowd.join_next().await.expect("eight").expect("no panic"));
    }
    inviting.held.set(false);
    for told in first {
        let error = told.expect_err("there are four places");
        assert!(matches!(error, EnrolError::Busy(..)), "{error}");
        assert!(error.to_string().contains("had no room for this one"), "{error}");
    }
    assert!(crowd.join_all().await.iter().all(Result::is_ok), "the others had room");
    inviting.stop().await;
}

#[tokio::test]
async fn who_has_no_token_is_told_so_while_another_is_being_let_in() {
    let inviting = Inviting::start().await;
    inviting.held.set(true);
    let (token, request) = inviting.asks(100);
    let slow = tokio::spawn(async move { enrol(&token, &request).await });
    inviting.until_invitations_say("used").await;
    for number in 1..=8 {
        let (token, mut request) = inviting.asks(number);
        request.secret = Secret([0; 16]);
        let wrong = enrol(&token, &request).await;
        assert!(matches!(wrong, Err(EnrolError::Refused(_))), "{wrong:?}");
    }
    inviting.held.set(false);
    slow.await.expect("no panic").expect("it is let in");
    inviting.stop().await;
}

#[tokio::test]
async fn who_was_let_in_keeps_its_place_until_it_has_its_answer() {
    let inviting = Inviting::start().await;
    let (token, request) = inviting.asks(100);
    let quic = QuicClientConfig::try_from(tls::client_config(token.ca).unwrap()).unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut config = ClientConfig::new(Arc::new(quic));
    // The answer can't leave before it is read.
    let mut narrow = TransportConfig::default();
    narrow.stream_receive_window(VarInt::from_u32(16));
    config.transport_config(Arc::new(narrow));
    let connect = async || {
        let connecting = endpoint.connect_with(config.clone(), inviting.address, "waypost");
        connecting.unwrap().await.unwrap()
    };
    let slow = connect().await;
    let mut others = vec![connect().await, connect().await, connect().await];
    let (mut send, mut receive) = slow.open_bi().await.unwrap();
    send.write_all(&encode(&request)).await.unwrap();
    send.finish().unwrap();
    inviting.until_invitations_say("BEGIN CERTIFICATE").await;
    others.extend([connect().await, connect().await, connect().await]);
    others[2].closed().await;
    let answer = receive.read_to_end(MAX_MESSAGE_BYTES).await.expect("its place is kept");
    assert!(matches!(decode_response(&answer), Ok(Response::Welcome(_))));
    inviting.stop().await;
}

#[tokio::test]
async fn silent_newcomers_make_room_for_one_that_asks() {
    let inviting = Inviting::start().await;
    let token = inviting.token();
    let quic = QuicClientConfig::try_from(tls::client_config(token.ca).unwrap()).unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = ClientConfig::new(Arc::new(quic));
    let mut silent = Vec::new();
    for _ in 0..20 {
        let connecting = endpoint.connect_with(config.clone(), inviting.address, "waypost");
        silent.push(connecting.unwrap().await.unwrap());
    }
    // They are all of one address, which has a few places.
    let sent_away = silent[0].closed().await.to_string();
    assert!(sent_away.contains("too many newcomers at a time"), "{sent_away}");
    let data = TempDir::new().unwrap();
    joins(data.path(), &token).await.unwrap();
    assert!(silent[19].close_reason().is_none(), "the last one may still ask");
    inviting.stop().await;
}

#[tokio::test]
async fn garbage_is_refused_and_newcomers_still_come_in() {
    let inviting = Inviting::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for len in [0, 1, 20, 1200, 1472] {
        let garbage: Vec<u8> = (0..len).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect();
        socket.send_to(&garbage, inviting.address).unwrap();
    }
    let token = inviting.token();
    let config = tls::client_config(token.ca).unwrap();
    let quic = QuicClientConfig::try_from(config).unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = ClientConfig::new(Arc::new(quic));
    for garbage in [&b""[..], b"{", b"{\"token\":1}", &[0xff; 1000], &[b' '; MAX_MESSAGE_BYTES + 1]]
    {
        let connecting = endpoint.connect_with(config.clone(), inviting.address, "waypost");
        let connection = connecting.unwrap().await.unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        // The other side may close while this is under way, if it is too long.
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
    inviting.stop().await;
}

#[tokio::test]
async fn a_member_gets_a_new_certificate_with_a_new_token() {
    let inviting = Inviting::start().await;
    let (data, token) = (TempDir::new().unwrap(), inviting.token());
    let about = joins(data.path(), &token).await.unwrap().about().clone();
    let store = Store::open(data.path()).unwrap();
    store.create_namespace("a member may have entries").unwrap();
    store.close().unwrap();
    drop(store);

    let directory = ClusterDir::of(data.path());
    let ca = load_ca(&ClusterDir::of(inviting.data.path())).unwrap();
    let key = read_key(&directory, files::KEY).unwrap();
    let identity = load(data.path(), now()).unwrap().expect("a member").identity();
    for days in [300, 400] {
        let old = ca.issue(identity, &key, now() - days * DAY).unwrap();
        directory.write(files::CERTIFICATE, &to_pem(&old)).unwrap();
        let renewed = joins(data.path(), &inviting.token()).await.unwrap();
        assert_eq!(renewed, Joined::Renewed(about.clone()));
        let ends = load(data.path(), now()).unwrap().expect("a member").ends;
        assert!(ends.location > now() + 360 * DAY);
    }
    inviting.stop().await;
}

#[tokio::test]
async fn a_used_token_renews_nothing_and_says_so() {
    let inviting = Inviting::start().await;
    let (data, token) = (TempDir::new().unwrap(), inviting.token());
    let directory = ClusterDir::of(data.path());
    let about = joins(data.path(), &token).await.unwrap().about().clone();
    let next = inviting.token();
    let ca = load_ca(&ClusterDir::of(inviting.data.path())).unwrap();
    let key = read_key(&directory, files::KEY).unwrap();
    let identity = load(data.path(), now()).unwrap().expect("a member").identity();
    // As if all this had been 300 days ago: the token was used for what the location has.
    let old = to_pem(&ca.issue(identity, &key, now() - 300 * DAY).unwrap());
    directory.write(files::CERTIFICATE, &old).unwrap();
    let invitations = ClusterDir::of(inviting.data.path());
    let used = invitations.read(files::INVITATIONS).unwrap();
    let first =
        used.find("-----BEGIN").unwrap()..used.rfind("-----END CERTIFICATE-----\n").unwrap() + 26;
    invitations
        .write(files::INVITATIONS, &format!("{}{old}{}", &used[..first.start], &used[first.end..]))
        .unwrap();
    let again = joins(data.path(), &token).await.unwrap();
    assert_eq!(again, Joined::Already(about.clone()), "it was not made anew");
    assert_eq!(directory.read(files::CERTIFICATE).unwrap(), old);

    // Of one that has ended, it is an error that says what to do.
    let over = to_pem(&ca.issue(identity, &key, now() - 400 * DAY).unwrap());
    directory.write(files::CERTIFICATE, &over).unwrap();
    let used = invitations.read(files::INVITATIONS).unwrap().replace(&old, &over);
    invitations.write(files::INVITATIONS, &used).unwrap();
    let says = joins(data.path(), &token).await.unwrap_err().to_string();
    assert!(says.contains("expired on") && says.contains("print a new token"), "{says}");
    assert_eq!(joins(data.path(), &next).await.unwrap(), Joined::Renewed(about));
    inviting.stop().await;
}
