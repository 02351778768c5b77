//! A cluster from its first location to its second, with real certificates, and over loopback where
//! the network matters.

mod authority;
mod location;
mod quic;
mod rotation;

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use kv_core::{
    MemberId,
    env::{Environment, SystemEnvironment},
};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::{
    Authority, Descriptor, NewCluster, Token,
    enrol::{Request, message::Der, program::Program},
    init, invite,
    state::{ca, names::Name},
};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// A clock that a test sets, in Unix seconds.
struct At(AtomicU64);

impl At {
    fn new(now: u64) -> At {
        At(AtomicU64::new(now))
    }
}

impl Environment for At {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed) * 1000
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn random_id(&self) -> Result<[u8; 16], kv_core::RandomError> {
        SystemEnvironment::new().random_id()
    }
}

/// The real time, which the TLS library uses.
fn now() -> u64 {
    SystemEnvironment::new().now_ms() / 1000
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn new_cluster(data: &Path, address: &str) -> NewCluster {
    NewCluster {
        data: data.to_owned(),
        cluster: name("prod"),
        location: name("fra"),
        advertise: vec![address.parse().unwrap()],
        listen: "127.0.0.1:0".parse().unwrap(),
    }
}

/// Creates a cluster of one location at a time.
fn created(now: u64) -> (TempDir, Descriptor) {
    let data = TempDir::new().unwrap();
    let descriptor = init(&new_cluster(data.path(), "127.0.0.1:8421"), &At::new(now)).unwrap();
    (data, descriptor)
}

fn invited(data: &Path, location: Option<&str>, now: u64) -> Token {
    let hour = Duration::from_secs(HOUR);
    invite(data, location.map(name), hour, &At::new(now)).unwrap()
}

fn authority(data: &Path) -> Authority {
    Authority::open(data).unwrap().expect("the key of the CA is here")
}

/// Creates a joining member's key and its request.
fn new_request(token: &Token, member: u8) -> (KeyPair, Request) {
    let key = ca::new_key().unwrap();
    let csr = CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap();
    let request = Request {
        token: token.id,
        secret: token.secret.clone(),
        member: MemberId([member; 16]),
        location: Some(name("ams")),
        addresses: vec!["ams.example:8421".parse().unwrap()],
        csr: Der(csr.der().to_vec()),
        renews: None,
        software: Some(Program::of_this_version()),
    };
    (key, request)
}
