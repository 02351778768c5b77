//! Several locations as real processes, each behind a proxy that is a bad network.

use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::Output,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use waypost_link_tests::{Conditions, Counts, Proxy, Ways};

mod operate;

pub use self::operate::{Cut, Image, Status, contains_all};

use crate::{
    Address, Home, Server,
    clock::Clock,
    random::Random,
    wait::{self, Stopwatch},
};

/// How long locations may take to become the same before a test fails; not how long they should.
const PATIENCE: Duration = Duration::from_secs(120);

/// One location: its data, its proxy, and its process while it runs.
#[derive(Debug)]
pub struct Location {
    home: Home,
    /// Where it listens for others, and from where it dials them.
    listen: SocketAddr,
    proxy: Proxy,
    /// The wall clock that its processes see, if it is not the machine's.
    clock: Option<Clock>,
    server: Option<Server>,
    /// Whether it founded or joined the cluster.
    is_member: bool,
}

/// Locations of one cluster; the first founded it.
#[derive(Debug)]
pub struct Cluster {
    locations: Vec<Location>,
    addresses: Addresses,
}

/// Where clients find the locations now: for threads that write while locations come and go.
#[derive(Clone, Debug)]
pub struct Addresses(Arc<[Mutex<Option<Address>>]>);

impl Addresses {
    /// Of a location; none while it is down.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<Address> {
        self.0[number].lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, number: usize, address: Option<Address>) {
        *self.0[number].lock().unwrap_or_else(PoisonError::into_inner) = address;
    }
}

/// A UDP port that stays this location's while its process is down. It lies below the ports that systems give to
/// sockets that ask for any, such as the proxies' own.
fn unused_port() -> SocketAddr {
    const FIRST: u32 = 21_000;
    const PORTS: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Other test processes of this machine start elsewhere.
    let start = std::process::id().wrapping_mul(97);
    let mut tries = (0..PORTS).map(|_| {
        let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS + FIRST;
        SocketAddr::from(([127, 0, 0, 1], u16::try_from(number).expect("a port is a u16")))
    });
    tries.find(|address| UdpSocket::bind(address).is_ok()).expect("a port is free")
}

impl Location {
    fn new(binary: &Path, conditions: Conditions, seed: u64) -> Location {
        let listen = unused_port();
        let proxy = Proxy::start(listen, conditions, seed).expect("the proxy starts");
        let home = Home::new(binary);
        Location { home, listen, proxy, clock: None, server: None, is_member: false }
    }

    /// Its server.
    ///
    /// # Panics
    /// If it is down.
    #[must_use]
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the location is up")
    }

    /// Whether its process runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.server.is_some()
    }

    /// The proxy that others reach it by.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// The flags that say where it listens, and where others are to reach it.
    fn at(&self) -> Vec<String> {
        let (listen, address) = (self.listen.to_string(), self.proxy.address().to_string());
        vec!["--cluster-listen".into(), listen, "--advertise".into(), address]
    }

    /// `waypost cluster …` of this location's data.
    fn cluster(&self, arguments: &[&str], flags: &[String]) -> String {
        let mut command = self.home.command(&["cluster"]);
        command.args(arguments).args(flags).arg("--data").arg(self.home.data());
        let output = command.output();
        let output = output.expect("the program runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text(&output.stdout).trim_end().to_owned()
    }

    /// `waypost cluster …` of its server, in JSON.
    fn ask(&self, command: &str) -> Output {
        let Address::Tcp(address) = self.server().address() else {
            panic!("locations listen on TCP");
        };
        let url = format!("http://{address}");
        let mut command = self.home.command(&["cluster", command, "--json", "--server", &url]);
        command.output().expect("the program runs")
    }
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("the program speaks UTF-8")
}

impl Cluster {
    /// Founds a cluster with a namespace, and lets locations join over a network of these conditions,
    /// until there are `count` and all are ready. The seed is that of the network's chance.
    ///
    /// # Panics
    /// If that does not work.
    #[must_use]
    pub fn start(
        binary: &Path,
        count: usize,
        namespace: &str,
        conditions: Conditions,
        seed: u64,
    ) -> Cluster {
        let clock = Stopwatch::start();
        let mut cluster = Cluster::prepare(binary, count, conditions, seed);
        cluster.found(namespace);
        for number in 1..count {
            cluster.join(number);
        }
        println!("{count} locations are ready after {:?}", clock.elapsed());
        cluster
    }

    /// Makes places for `count` locations, none of which is in a cluster yet.
    ///
    /// # Panics
    /// If the system has no ports for them.
    #[must_use]
    pub fn prepare(binary: &Path, count: usize, conditions: Conditions, seed: u64) -> Cluster {
        let mut seeds = Random::new(seed);
        let mut locations = Vec::new();
        locations.resize_with(count, || Location::new(binary, conditions, seeds.next()));
        let addresses = Addresses((0..count).map(|_| Mutex::default()).collect());
        Cluster { locations, addresses }
    }

    /// Founds the cluster at the first location, with a namespace.
    ///
    /// # Panics
    /// If that does not work.
    pub fn found(&mut self, namespace: &str) {
        self.init();
        self.run(0, &[]);
        self.locations[0].server().create_namespace(namespace, None);
    }

    /// `waypost cluster init` at the first location, which may hold data already.
    ///
    /// # Panics
    /// If that does not work.
    pub fn init(&mut self) {
        let founder = &mut self.locations[0];
        founder.is_member = true;
        founder.cluster(&["init", "--name", "test", "--location", "location-0"], &founder.at());
    }

    /// Lets a location join that is not a member yet, and waits until it is ready.
    ///
    /// # Panics
    /// If that does not work.
    pub fn join(&mut self, number: usize) {
        self.try_join(number, PATIENCE).unwrap_or_else(|why| panic!("location {number}: {why}"));
    }

    /// Lets a location join that is not a member yet. Returns an error with the reason if it is not ready within `limit`;
    /// then it is down.
    ///
    /// # Errors
    /// If it ends, or takes too long.
    ///
    /// # Panics
    /// If the invitation fails.
    pub fn try_join(&mut self, number: usize, limit: Duration) -> Result<(), String> {
        let name = format!("location-{number}");
        let token = self.locations[0].cluster(&["invite", "--name", &name], &[]);
        let mut flags = self.locations[number].at();
        flags.extend(["--join".to_owned(), token]);
        self.try_run(number, &flags, limit)?;
        self.locations[number].is_member = true;
        Ok(())
    }

    fn run(&mut self, number: usize, flags: &[String]) {
        self.try_run(number, flags, PATIENCE)
            .unwrap_or_else(|why| panic!("location {number}: {why}"));
    }

    fn try_run(&mut self, number: usize, flags: &[String], limit: Duration) -> Result<(), String> {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let starting = self.locations[number].home.start("127.0.0.1:0", &flags);
        self.started(number, starting.ready_within(limit)?);
        Ok(())
    }

    fn started(&mut self, number: usize, server: Server) {
        self.addresses.set(number, Some(server.address().clone()));
        self.locations[number].server = Some(server);
    }

    /// All locations.
    #[must_use]
    pub fn locations(&self) -> &[Location] {
        &self.locations
    }

    /// How many locations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.locations.len()
    }

    /// Whether there are none: there always are some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.locations.is_empty()
    }

    /// Where clients find the locations.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// If it is down already.
    pub fn kill(&mut self, number: usize) {
        self.addresses.set(number, None);
        let location = &mut self.locations[number];
        location.server.take().expect("the location is up").kill();
    }

    /// Starts a location that is down, on the data that it had, and waits until it is ready.
    ///
    /// # Panics
    /// If it is not down, or does not get ready.
    pub fn restart(&mut self, number: usize) {
        assert!(!self.locations[number].is_up(), "location {number} is up");
        self.run(number, &[]);
    }

    /// Starts a location that is down, and kills it after that time, however far it is.
    ///
    /// # Panics
    /// If it is not down.
    pub fn start_and_kill(&self, number: usize, after: Duration) {
        assert!(!self.locations[number].is_up(), "location {number} is up");
        let starting = self.locations[number].home.start("127.0.0.1:0", &[]);
        thread::sleep(after);
        starting.kill();
    }

    /// Changes what the network does to all packets.
    pub fn set(&self, conditions: Conditions) {
        self.locations.iter().for_each(|location| location.proxy.set(conditions));
    }

    /// Cuts what passes between two locations: both ways, or as the first of them sees it.
    pub fn cut(&self, one: usize, other: usize, ways: Ways) {
        // Either may have dialled the other.
        let (one, other) = (&self.locations[one], &self.locations[other]);
        one.proxy.cut(other.listen, ways);
        other.proxy.cut(one.listen, ways.turned());
    }

    /// Cuts a location off from all others: both ways, or as it sees it.
    pub fn cut_off(&self, number: usize, ways: Ways) {
        (0..self.len()).filter(|other| *other != number).for_each(|other| {
            self.cut(number, other, ways);
        });
    }

    /// Waits until a location that is cut off and all others have given up their links, as both sides say.
    ///
    /// # Panics
    /// If they do not.
    pub fn wait_until_alone(&self, number: usize) {
        let alone = format!("location-{number}");
        for (at, location) in self.locations.iter().enumerate() {
            let is_given_up = |peer: &Value| {
                peer["is_connected"] == false || (at != number && peer["name"] != alone.as_str())
            };
            let given_up = wait::until(PATIENCE, || {
                let status: Value = serde_json::from_slice(&location.ask("status").stdout).ok()?;
                status["peers"].as_array()?.iter().all(is_given_up).then_some(())
            });
            assert!(given_up.is_some(), "location {at} keeps its link with {alone}");
        }
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        self.locations.iter().for_each(|location| location.proxy.heal());
    }

    /// What has passed through all proxies.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut all = Counts::default();
        self.locations.iter().for_each(|location| all += location.proxy.counts());
        all
    }

    /// Waits until every location says that it misses nothing that the others have, that nothing is to be
    /// seen to, and of every other that both hold the same, byte for byte. All must be up, and nobody write.
    ///
    /// # Panics
    /// If one says that they differ, or it takes too long.
    pub fn converge(&self) {
        self.converge_within(PATIENCE);
    }

    /// [`Cluster::converge`] of the locations that are up, which must be all members, with another patience.
    ///
    /// # Panics
    /// As [`Cluster::converge`].
    pub fn converge_within(&self, patience: Duration) {
        let clock = Stopwatch::start();
        let members = self.locations.iter().filter(|location| location.is_up()).count();
        self.each_says("status", patience, |status| {
            let status: Value = serde_json::from_slice(&status.stdout).ok()?;
            let peers = status["peers"].as_array()?;
            let has_all = |peer: &Value| {
                peer["is_connected"] == true
                    && peer["missing_here"] == 0
                    && peer["missing_there"] == 0
            };
            let is_well = status["alarms"].as_array()?.is_empty() && peers.len() + 1 == members;
            (is_well && peers.iter().all(has_all)).then_some(())
        });
        println!("nothing is missing after {:?}: {:?}", clock.elapsed(), self.counts());
        self.each_says("verify", patience, |verified| {
            let verdicts = text(&verified.stdout).lines().map(serde_json::from_str::<Value>);
            let verdicts: Vec<Value> = verdicts.collect::<Result<_, _>>().ok()?;
            // What has not come yet is no difference.
            assert!(verdicts.iter().all(|one| one["differing"] == 0), "they differ: {verdicts:?}");
            let equal = verdicts.iter().filter(|one| one["is_equal"] == true).count();
            (verified.status.success() && equal + 1 == members).then_some(())
        });
        println!("all are the same after {:?}", clock.elapsed());
    }

    /// Asks each location that is up until it says what is wanted.
    fn each_says(
        &self,
        command: &str,
        patience: Duration,
        is_wanted: impl Fn(&Output) -> Option<()>,
    ) {
        for (number, location) in self.locations.iter().enumerate() {
            if !location.is_up() {
                continue;
            }
            let mut said = None;
            let wanted = wait::until(patience, || {
                let output = location.ask(command);
                let is_wanted = is_wanted(&output);
                said = Some(output);
                is_wanted
            });
            assert!(wanted.is_some(), "location {number} after {patience:?}: {command}: {said:?}");
        }
    }
}
