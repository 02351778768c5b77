//! Clients that write at all locations at the same time, to the same keys.

use std::{
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use waypost_tests::{
    Address,
    cluster::{Addresses, Cluster},
    http::Connection,
    random::Random,
};

use super::{
    NAMESPACE,
    ledger::{Begun, Ledger},
};

/// The number of keys: few, so that most writes replace something.
const KEYS: u64 = 96;

/// The number of clients of each location.
const CLIENTS: usize = 2;

/// All clients of a cluster, and the state of their keys.
#[derive(Debug)]
pub(super) struct Writers {
    ledger: Mutex<Ledger>,
    locations: usize,
    addresses: Addresses,
}

impl Writers {
    pub(super) fn new(cluster: &Cluster) -> Writers {
        let locations = cluster.len();
        let addresses = cluster.addresses();
        Writers { ledger: Mutex::new(Ledger::new(locations)), locations, addresses }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets all clients write while `work` runs.
    pub(super) fn during<T>(&self, random: &Random, work: impl FnOnce() -> T) -> T {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            // The clients must stop even if the work panics, because the scope waits for them.
            let _stops = Stops(&stop);
            for client in 0..self.locations * CLIENTS {
                let (stop, random) = (&stop, random.fork(client as u64 + 1));
                scope.spawn(move || self.write(client % self.locations, random, stop));
            }
            work()
        })
    }

    fn write(&self, location: usize, mut random: Random, stop: &AtomicBool) {
        let mut connection: Option<(Address, Connection)> = None;
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(random.between(2, 30)));
            let Some(address) = self.addresses.get(location) else { continue };
            let open = connection.take().filter(|(of, _)| *of == address);
            let open = open.map_or_else(|| Connection::to(&address), |(_, open)| Ok(open));
            let Ok(mut open) = open else { continue };
            let (key, length) = (random.between(0, KEYS), choose(&mut random));
            let begun = self.ledger().begin(key, length);
            match send(&mut open, &begun) {
                Ok(200) => self.ledger().acknowledge(&begun, location),
                // The location is starting.
                Ok(503) => self.ledger().reject(&begun),
                Ok(status) => panic!("{} at location {location}: {status}", begun.name()),
                Err(_location_was_killed) => {
                    self.ledger().lose(&begun);
                    continue;
                }
            }
            connection = Some((address, open));
        }
    }

    /// Waits until all locations are equal, and compares each with the ledger.
    pub(super) fn check(&self, cluster: &Cluster) {
        let before = cluster.counts();
        cluster.converge();
        let ledger = self.ledger();
        println!("{:?} writes acknowledged", ledger.acknowledged);
        println!("packets before convergence: {before:?}; after: {:?}", cluster.counts());
        let mut wrong = Vec::new();
        for (number, location) in cluster.locations().iter().enumerate() {
            let mut connection = location.server().connect();
            for (key, name) in ledger.names() {
                let answer = connection.get(&target(&name)).expect("a location answers");
                let found = match answer.status {
                    200 => Some(&answer.body[..]),
                    404 => None,
                    status => panic!("{name} at location {number}: {status}"),
                };
                wrong.extend(ledger.check(key, found).err().map(|why| format!("{number}: {why}")));
            }
        }
        assert!(wrong.is_empty(), "acknowledged writes are missing:\n{}", wrong.join("\n"));
        assert!(
            ledger.acknowledged.iter().all(|count| *count > 0),
            "a location acknowledged no write"
        );
    }
}

struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The length of a put; none for a delete. Most are small, some exceed the length of inline values,
/// and few are sent as bodies in many messages.
fn choose(random: &mut Random) -> Option<usize> {
    let length = match random.between(0, 100) {
        0..10 => return None,
        10..85 => random.between(0, 300),
        85..98 => random.between(3_000, 5_000),
        _ => random.between(20_000, 90_000),
    };
    Some(usize::try_from(length).expect("a length fits"))
}

fn target(name: &str) -> String {
    format!("/binding/{NAMESPACE}/{name}")
}

fn send(connection: &mut Connection, begun: &Begun) -> io::Result<u16> {
    let target = target(&begun.name());
    let answer = match &begun.value {
        Some(value) => connection.request("PUT", &target, &[], value)?,
        None => connection.request("DELETE", &target, &[], b"")?,
    };
    Ok(answer.status)
}
