//! One location of a cluster: its data, its proxy, and its process while it runs.

use std::{
    net::{SocketAddr, UdpSocket},
    process::Output,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use waypost_link_tests::{Counts, Proxy};

use super::{Setup, text};
use crate::{
    Address, Home, Server,
    clock::{Clock, Faketime},
    server::Starting,
};

/// A location, which may be up or down.
#[derive(Debug)]
pub struct Location {
    server: Option<Server>,
    proxy: Option<Proxy>,
    /// Where it listens for other locations, and the address from which it dials them.
    listen: SocketAddr,
    /// Flags of each `waypost serve`.
    flags: Vec<String>,
    /// The wall clock that its processes see, if it is not the machine's.
    clock: Option<Clock>,
    /// Whether it is a member of the cluster, as far as the test's commands have made it one.
    is_member: bool,
    home: Home,
}

/// Returns a UDP port that stays this location's while its process is down. It lies below the ports that systems
/// give to sockets that ask for any port, such as the proxies' own.
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
    tries.find(|address| UdpSocket::bind(address).is_ok()).expect("a UDP port is free")
}

impl Location {
    pub(super) fn new(setup: &Setup, seed: u64) -> Location {
        let listen = unused_port();
        let proxy = setup
            .conditions
            .map(|conditions| Proxy::start(listen, conditions, seed).expect("the proxy starts"));
        let home = match &setup.directory {
            Some(directory) => Home::new_in(directory, &setup.binary),
            None => Home::new(&setup.binary),
        };
        let flags = setup.flags.clone();
        Location { server: None, proxy, listen, flags, clock: None, is_member: false, home }
    }

    /// Its server.
    ///
    /// # Panics
    /// If the location is down.
    #[must_use]
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the location is up")
    }

    /// Whether its process runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.server.is_some()
    }

    /// Whether it is a member of the cluster.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.is_member
    }

    pub(super) fn set_member(&mut self, is_member: bool) {
        self.is_member = is_member;
    }

    /// Its directory, with its data directory.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Gives its later processes a wall clock of their own.
    pub(super) fn give_clock(&mut self, faketime: &Faketime) {
        let clock = Clock::new(faketime, self.home.directory());
        self.home.set_environment(clock.environment());
        self.clock = Some(clock);
    }

    /// Its wall clock, if it is not the machine's.
    pub(super) fn clock(&self) -> Option<&Clock> {
        self.clock.as_ref()
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> std::path::PathBuf {
        self.home.data()
    }

    /// The proxy through which other locations reach it.
    ///
    /// # Panics
    /// If the cluster was set up without proxies.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("the cluster was set up with proxies")
    }

    /// The counts of its proxy; all zero without a proxy.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.proxy.as_ref().map(Proxy::counts).unwrap_or_default()
    }

    /// Where it listens for other locations.
    pub(super) fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The flags for the address at which it listens and the one that other locations dial.
    pub(super) fn address_flags(&self) -> Vec<String> {
        let advertise = self.proxy.as_ref().map_or(self.listen, Proxy::address);
        let (listen, advertise) = (self.listen.to_string(), advertise.to_string());
        vec!["--cluster-listen".into(), listen, "--advertise".into(), advertise]
    }

    /// Runs `waypost cluster …` on this location's data directory and returns its output.
    pub(super) fn cluster_offline(&self, arguments: &[&str], flags: &[String]) -> String {
        let mut command = self.home.command(&["cluster"]);
        command.args(arguments).args(flags).arg("--data").arg(self.home.data());
        let output = command.output().expect("the program runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text(&output.stdout).trim_end().to_owned()
    }

    /// Runs `waypost cluster … --json` against its server.
    pub(super) fn cluster_online(&self, command: &str) -> Output {
        let Address::Tcp(address) = self.server().address() else {
            panic!("locations listen on TCP");
        };
        let url = format!("http://{address}");
        let mut command = self.home.command(&["cluster", command, "--json", "--server", &url]);
        command.output().expect("the program runs")
    }

    /// Starts its process and does not wait for it.
    pub(super) fn start(&self, flags: &[String]) -> Starting {
        let flags: Vec<&str> = self.flags.iter().chain(flags).map(String::as_str).collect();
        self.home.start("127.0.0.1:0", &flags)
    }

    /// Starts its server and returns the server's address once it listens.
    pub(super) fn serve(&mut self, flags: &[String]) -> Address {
        let server = self.start(flags).listening();
        let address = server.address().clone();
        self.server = Some(server);
        address
    }

    /// Starts its server, waits until it is ready, and returns its address. If this returns an error, the location is
    /// down.
    pub(super) fn try_serve(
        &mut self,
        flags: &[String],
        limit: Duration,
    ) -> Result<Address, String> {
        let server = self.start(flags).ready_within(limit)?;
        let address = server.address().clone();
        self.server = Some(server);
        Ok(address)
    }

    /// Waits until it is ready.
    pub(super) fn wait_until_ready(&mut self, patience: Duration) {
        self.server.as_mut().expect("the location is up").wait_until_ready(patience);
    }

    /// Kills its process.
    pub(super) fn kill(&mut self) {
        self.server.take().expect("the location is up").kill();
    }

    /// Takes its server. The process keeps running.
    pub(super) fn take_server(&mut self) -> Server {
        self.server.take().expect("the location is up")
    }
}
