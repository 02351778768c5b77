//! A cluster of real servers on loopback, each behind a UDP proxy that can delay and count, or not.

use std::{
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kv_core::env::{Environment as _, SystemEnvironment};
use waypost_link_tests::{Conditions, Counts, Proxy};
use waypost_tests::{Address, http::Connection};

use crate::{
    Failure,
    server::{Server, beside_this_program},
};

/// How long a location may take to become a member, with all that the others hold.
const PATIENCE: Duration = Duration::from_secs(1800);

/// A location: a server, and the proxy that others reach it by, if there is one.
pub struct Location {
    data: PathBuf,
    listen: SocketAddr,
    proxy: Option<Proxy>,
    server: Option<Server>,
}

impl Location {
    fn new(data: PathBuf, conditions: Option<Conditions>) -> Result<Location, Failure> {
        let listen = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let proxy = conditions.map(|conditions| Proxy::start(listen, conditions, 1)).transpose()?;
        Ok(Location { data, listen, proxy, server: None })
    }

    /// What both `cluster init` and a joining `serve` are told.
    fn addresses(&self) -> [String; 4] {
        let advertise = self.proxy.as_ref().map_or(self.listen, Proxy::address);
        let (listen, advertise) = (self.listen.to_string(), advertise.to_string());
        ["--cluster-listen".into(), listen, "--advertise".into(), advertise]
    }

    /// Its server.
    ///
    /// # Errors
    /// If it was killed.
    pub fn server(&self) -> Result<&Server, Failure> {
        self.server.as_ref().ok_or_else(|| "the server of this location is not running".into())
    }

    /// A connection to its HTTP door.
    ///
    /// # Errors
    /// If it is refused.
    pub fn connect(&self) -> Result<Connection, Failure> {
        Ok(Connection::to(&Address::Tcp(self.server()?.address()))?)
    }

    /// What its proxy has seen; nothing if it has none.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.proxy.as_ref().map(Proxy::counts).unwrap_or_default()
    }

    /// Kills its server, as a power cut would.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// A gauge or counter of `/metrics`: the sum of its series.
    ///
    /// # Errors
    /// If the server does not answer, or has none of that name.
    pub fn metric(&self, name: &str) -> Result<f64, Failure> {
        let text = self.connect()?.get("/metrics")?.body;
        let text = String::from_utf8(text)?;
        let of_name =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let values: Vec<f64> = text
            .lines()
            .filter(of_name)
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        if values.is_empty() {
            return Err(format!("/metrics has no {name}").into());
        }
        Ok(values.iter().sum())
    }

    fn wait_until_ready(&self) -> Result<(), Failure> {
        let clock = SystemEnvironment::new();
        while clock.monotonic() < PATIENCE {
            let status = self.connect().and_then(|mut http| Ok(http.get("/readyz")?.status));
            if status.is_ok_and(|status| status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("a location is not ready".into())
    }
}

/// The founder of a cluster and those that joined it.
pub struct Cluster {
    directory: PathBuf,
    conditions: Option<Conditions>,
    more: Vec<String>,
    /// The locations, the founder first.
    pub locations: Vec<Location>,
}

impl Cluster {
    /// Founds a cluster: its CA and the founder's data directory, which [`Cluster::data`] names; no
    /// server yet. All locations are started with the arguments `more`, and are reached through proxies
    /// under `conditions`, or directly.
    ///
    /// # Errors
    /// If the program is not built, or refuses.
    pub fn found(
        directory: PathBuf,
        conditions: Option<Conditions>,
        more: &[&str],
    ) -> Result<Cluster, Failure> {
        let founder = Location::new(directory.join("0"), conditions)?;
        let more = more.iter().map(|&argument| argument.into()).collect();
        let cluster = Cluster { directory, conditions, more, locations: vec![founder] };
        std::fs::create_dir_all(&cluster.directory)?;
        let founder = &cluster.locations[0];
        let mut init = vec!["init".into(), "--name=bench".into(), "--location=l0".into()];
        init.extend(founder.addresses());
        waypost_cluster(&init, &founder.data)?;
        Ok(cluster)
    }

    /// The founder's data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.locations[0].data
    }

    /// Starts the founder's server, and makes the namespace `bench` if it is not there.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(&mut self) -> Result<(), Failure> {
        self.serve(0, &[])?;
        let body = br#"{"title":"bench"}"#;
        let made = self.locations[0].connect()?.request("POST", "/v1/namespaces", &[], body)?;
        match made.status {
            200 | 201 | 409 => Ok(()),
            status => Err(format!("no namespace: {status}").into()),
        }
    }

    /// One more location joins, and has all that the founder has when this returns.
    ///
    /// # Errors
    /// If it does not.
    pub fn join(&mut self) -> Result<(), Failure> {
        self.begin_to_join()?;
        self.last()?.wait_until_ready()
    }

    /// Starts the server of one more location, which joins by itself.
    ///
    /// # Errors
    /// If it can't be invited or does not come up.
    pub fn begin_to_join(&mut self) -> Result<(), Failure> {
        let number = self.locations.len();
        let name = format!("--name=l{number}");
        let token = waypost_cluster(&["invite".into(), name], self.data())?;
        let location = Location::new(self.directory.join(number.to_string()), self.conditions)?;
        let mut join = vec!["--join".into(), token.trim().into()];
        join.extend(location.addresses());
        self.locations.push(location);
        self.serve(number, &join)
    }

    /// Waits until the one that joined last has all that the founder had.
    ///
    /// # Errors
    /// If it takes longer than half an hour.
    pub fn wait_for_last(&self) -> Result<(), Failure> {
        self.last()?.wait_until_ready()
    }

    fn last(&self) -> Result<&Location, Failure> {
        self.locations.last().ok_or_else(|| "a cluster without locations".into())
    }

    fn serve(&mut self, number: usize, more: &[String]) -> Result<(), Failure> {
        let location = &mut self.locations[number];
        let arguments: Vec<&str> = self.more.iter().chain(more).map(String::as_str).collect();
        location.server = Some(Server::waypost(&location.data, &arguments)?);
        Ok(())
    }
}

/// What `waypost cluster …` prints.
fn waypost_cluster(arguments: &[String], data: &Path) -> Result<String, Failure> {
    let output = Command::new(beside_this_program("waypost")?)
        .arg("cluster")
        .args(arguments)
        .arg("--data")
        .arg(data)
        .output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
}
