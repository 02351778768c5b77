//! Several locations as real processes, each behind a proxy that acts as a bad network, or without
//! one.

use std::{
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;
use waypost_link_tests::{Conditions, Counts, Ways};

use crate::{
    Address,
    random::Random,
    wait::{self, Stopwatch},
};

pub use self::{
    location::Location,
    operate::{Cut, Image, Status, contains_all},
};

mod location;
mod operate;
mod rows;

/// The time after which a test fails because locations do not converge. It is not a goal.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a cluster's locations run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The program.
    pub binary: PathBuf,
    /// Where the locations' directories are made; the system's temporary directory if none is given.
    pub directory: Option<PathBuf>,
    /// The conditions of the proxies; without it the locations reach each other directly.
    pub conditions: Option<Conditions>,
    /// The seed of the proxies' random choices.
    pub seed: u64,
    /// Flags of each `waypost serve`.
    pub flags: Vec<String>,
    /// How long a location may take from its start until it is ready.
    pub patience: Duration,
}

/// The locations of one cluster. The first one has the CA key.
#[derive(Debug)]
pub struct Cluster {
    locations: Vec<Location>,
    addresses: Addresses,
    setup: Setup,
    seeds: Random,
}

/// The addresses at which clients currently find the locations, for threads that write while
/// locations stop and start.
#[derive(Clone, Debug, Default)]
pub struct Addresses(Arc<Mutex<Vec<Option<Address>>>>);

impl Addresses {
    /// The address of a location; none while it is down.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<Address> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(number)?.clone()
    }

    fn set(&self, number: usize, address: Option<Address>) {
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let len = addresses.len().max(number + 1);
        addresses.resize(len, None);
        addresses[number] = address;
    }
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("the program prints UTF-8")
}

impl Cluster {
    /// Makes a cluster with a namespace, and lets locations join over a network of these conditions
    /// until `count` locations are ready. `seed` is the seed of the network's random choices.
    ///
    /// # Panics
    /// If a command fails or a location is not ready in time.
    #[must_use]
    pub fn start(
        binary: &Path,
        count: usize,
        namespace: &str,
        conditions: Conditions,
        seed: u64,
    ) -> Cluster {
        let clock = Stopwatch::start();
        let mut cluster = Cluster::init(Setup {
            binary: binary.to_owned(),
            directory: None,
            conditions: Some(conditions),
            seed,
            flags: Vec::new(),
            patience: Duration::from_secs(60),
        });
        cluster.start_first(namespace);
        for _ in 1..count {
            cluster.join();
        }
        println!("{count} locations are ready after {:?}", clock.elapsed());
        cluster
    }

    /// Makes a cluster of one location and does not start the location's server.
    ///
    /// # Panics
    /// If `cluster init` fails.
    #[must_use]
    pub fn init(setup: Setup) -> Cluster {
        let mut cluster = Cluster::prepare(setup, 1);
        cluster.init_first();
        cluster
    }

    /// Makes places for `count` locations, none of which is a member of a cluster yet.
    ///
    /// # Panics
    /// If the system has no ports for them.
    #[must_use]
    pub fn prepare(setup: Setup, count: usize) -> Cluster {
        let seeds = Random::new(setup.seed);
        let mut cluster =
            Cluster { locations: Vec::new(), addresses: Addresses::default(), setup, seeds };
        (0..count).for_each(|_| cluster.add_place());
        cluster
    }

    fn add_place(&mut self) {
        self.locations.push(Location::new(&self.setup, self.seeds.next()));
    }

    /// Runs `waypost cluster init` at the first location, which may hold data already.
    ///
    /// # Panics
    /// If the command fails.
    pub fn init_first(&mut self) {
        let first = &mut self.locations[0];
        let arguments = ["init", "--name", "test", "--location", "location-0"];
        first.cluster_offline(&arguments, &first.address_flags());
        first.set_member(true);
    }

    /// Starts the first location's server, and creates the namespace unless it exists.
    ///
    /// # Panics
    /// If the server is not ready in time, or rejects the namespace.
    pub fn start_first(&mut self, namespace: &str) {
        self.run(0, &[]);
        let server = self.locations[0].server();
        if !server.has_namespace(namespace) {
            server.create_namespace(namespace, None);
        }
    }

    /// Adds one location, which has everything that the first location has when this returns.
    ///
    /// # Panics
    /// If the location is not ready in time.
    pub fn join(&mut self) {
        self.add_place();
        self.join_at(self.len() - 1);
    }

    /// Lets a location join that is not a member yet, and waits until it is ready.
    ///
    /// # Panics
    /// If the location is not ready in time.
    pub fn join_at(&mut self, number: usize) {
        let flags = self.invite(number);
        self.run(number, &flags);
        self.locations[number].set_member(true);
    }

    /// Starts a location that is down and is a member, with a token that another one prints, and waits until it is
    /// ready.
    ///
    /// # Panics
    /// If the invitation fails, or the location is not ready in time.
    pub fn join_again(&mut self, number: usize, by: usize) {
        let name = format!("location-{number}");
        let token = self.locations[by].cluster_offline(&["invite", "--name", &name], &[]);
        let mut flags = self.locations[number].address_flags();
        flags.extend(["--join".to_owned(), token]);
        self.run(number, &flags);
    }

    /// Lets a location join that is not a member yet. If this returns an error, the location is down.
    ///
    /// # Errors
    /// If its process ends, or if it is not ready within `limit`: the reason.
    ///
    /// # Panics
    /// If the invitation fails.
    pub fn try_join(&mut self, number: usize, limit: Duration) -> Result<(), String> {
        let flags = self.invite(number);
        self.try_run(number, &flags, limit)?;
        self.locations[number].set_member(true);
        Ok(())
    }

    /// Invites a location, and returns the flags with which it joins.
    fn invite(&self, number: usize) -> Vec<String> {
        let name = format!("location-{number}");
        let token = self.locations[0].cluster_offline(&["invite", "--name", &name], &[]);
        let mut flags = self.locations[number].address_flags();
        flags.extend(["--join".to_owned(), token]);
        flags
    }

    fn run(&mut self, number: usize, flags: &[String]) {
        let location = &mut self.locations[number];
        let address = location.serve(flags);
        location.wait_until_ready(self.setup.patience);
        self.addresses.set(number, Some(address));
    }

    fn try_run(&mut self, number: usize, flags: &[String], limit: Duration) -> Result<(), String> {
        let location = &mut self.locations[number];
        let address = location.try_serve(flags, limit)?;
        self.addresses.set(number, Some(address));
        Ok(())
    }

    /// All locations, in the order in which they joined.
    #[must_use]
    pub fn locations(&self) -> &[Location] {
        &self.locations
    }

    /// The number of locations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.locations.len()
    }

    /// Whether there are no locations; never true.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.locations.is_empty()
    }

    /// The addresses at which clients find the locations.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Kills a location's process with `kill -9`.
    ///
    /// # Panics
    /// If it is already down.
    pub fn kill(&mut self, number: usize) {
        self.addresses.set(number, None);
        self.locations[number].kill();
    }

    /// Starts a location that is down, on its old data, and waits until it is ready.
    ///
    /// # Panics
    /// If it is up, or is not ready in time.
    pub fn restart(&mut self, number: usize) {
        assert!(!self.locations[number].is_up(), "location {number} is up");
        self.run(number, &[]);
    }

    /// Starts a location that is down, and kills it after `after`, wherever its start has got to.
    ///
    /// # Panics
    /// If it is up.
    pub fn start_and_kill(&self, number: usize, after: Duration) {
        assert!(!self.locations[number].is_up(), "location {number} is up");
        let starting = self.locations[number].start(&[]);
        thread::sleep(after);
        starting.kill();
    }

    /// Changes what the network does to packets on all links.
    pub fn set(&self, conditions: Conditions) {
        self.locations.iter().for_each(|location| location.proxy().set(conditions));
    }

    /// Cuts the link between two locations: in both directions, or in one direction as `one` sees it.
    pub fn cut(&self, one: usize, other: usize, ways: Ways) {
        // Either location may have dialled the other.
        let (one, other) = (&self.locations[one], &self.locations[other]);
        one.proxy().cut(other.listen(), ways);
        other.proxy().cut(one.listen(), ways.turned());
    }

    /// Cuts a location off from all others: in both directions, or in one direction as it sees it.
    pub fn cut_off(&self, number: usize, ways: Ways) {
        (0..self.len()).filter(|other| *other != number).for_each(|other| {
            self.cut(number, other, ways);
        });
    }

    /// Waits until a location that is cut off and all others report their links as disconnected.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn wait_until_alone(&self, number: usize) {
        let alone = format!("location-{number}");
        for (at, location) in self.locations.iter().enumerate() {
            let is_closed = |peer: &Value| {
                peer["is_connected"] == false || (at != number && peer["name"] != alone.as_str())
            };
            let closed = wait::until(PATIENCE, || {
                let status = location.cluster_online("status").stdout;
                let status: Value = serde_json::from_slice(&status).ok()?;
                status["peers"].as_array()?.iter().all(is_closed).then_some(())
            });
            assert!(closed.is_some(), "location {at} keeps its link with {alone}");
        }
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        self.locations.iter().for_each(|location| location.proxy().heal());
    }

    /// The counts of all proxies.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut all = Counts::default();
        self.locations.iter().for_each(|location| all += location.counts());
        all
    }

    /// Waits until every location that is up reports that it misses nothing, that it has no alarms, and that it
    /// holds the same bytes as every other one. All members must be up and nothing may write.
    ///
    /// # Panics
    /// If a location reports a difference, or if it takes too long.
    pub fn converge(&self) {
        self.converge_within(PATIENCE);
    }

    /// [`Cluster::converge`], with a time limit for each location and step.
    ///
    /// # Panics
    /// As [`Cluster::converge`].
    pub fn converge_within(&self, patience: Duration) {
        let clock = Stopwatch::start();
        let members = self.locations.iter().filter(|location| location.is_up()).count();
        self.poll_each("status", patience, |status| {
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
        self.poll_each("verify", patience, |verified| {
            let verdicts = text(&verified.stdout).lines().map(serde_json::from_str::<Value>);
            let verdicts: Vec<Value> = verdicts.collect::<Result<_, _>>().ok()?;
            // A write that has not arrived yet is not a difference. A damaged row counts as one until its repair is
            // durable, which is later than reads and the status show it.
            let count = |one: &Value, name: &str| one[name].as_u64().unwrap_or_default();
            let differs = |one: &Value| {
                let damaged = count(one, "damaged_here") + count(one, "damaged_there");
                one["differing"].is_null() || count(one, "differing") > damaged
            };
            assert!(!verdicts.iter().any(differs), "locations differ: {verdicts:?}");
            let equal = verdicts.iter().filter(|one| one["is_equal"] == true).count();
            (verified.status.success() && equal + 1 == members).then_some(())
        });
        println!("all locations are equal after {:?}", clock.elapsed());
    }

    /// Runs a command against each location that is up until its output passes the check.
    fn poll_each(&self, command: &str, patience: Duration, check: impl Fn(&Output) -> Option<()>) {
        for (number, location) in self.locations.iter().enumerate() {
            if !location.is_up() {
                continue;
            }
            let mut last = None;
            let passed = wait::until(patience, || {
                let output = location.cluster_online(command);
                let passed = check(&output);
                last = Some(output);
                passed
            });
            assert!(passed.is_some(), "location {number} after {patience:?}: {command}: {last:?}");
        }
    }
}
