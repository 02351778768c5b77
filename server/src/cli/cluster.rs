//! `waypost cluster`: make a cluster, invite locations into it, see how it is, verify it, and remove
//! locations. The first two work on a data directory, whether a server runs on it or not; the others ask
//! a running server.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use kv_core::env::SystemEnvironment;

use crate::{
    cluster::{
        self, Address, Founding,
        init::InitError,
        invite::InviteError,
        names::{LISTEN, Name, advertised, listen_on, machine_name},
    },
    config::Span,
};

mod ask;

use self::ask::Server;
use super::client::ClientError;

/// Make a cluster, invite locations into it, see how it is.
#[derive(Debug, Args)]
pub(super) struct Cluster {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a cluster whose first location has this data directory.
    ///
    /// Its certificate authority is made there too: keep cluster/ca.key safe. Only here can others be
    /// invited.
    Init {
        /// What to call the cluster
        #[arg(long, value_name = "NAME")]
        name: Name,
        /// What to call this location [default: as its machine]
        #[arg(long, value_name = "NAME")]
        location: Option<Name>,
        /// Where other locations reach this one; may be said several times [default: where it
        /// listens, or the name of its machine]
        #[arg(
            long,
            env = "WAYPOST_ADVERTISE",
            value_name = "HOST:PORT",
            value_delimiter = ',',
            hide_env_values = true
        )]
        advertise: Vec<Address>,
        /// Where this location listens for others, on UDP
        #[arg(
            long,
            env = "WAYPOST_CLUSTER_LISTEN",
            value_name = "IP:PORT",
            default_value_t = LISTEN,
            value_parser = listen_on,
            hide_env_values = true
        )]
        cluster_listen: SocketAddr,
        #[command(flatten)]
        data: Data,
    },
    /// Print a token that lets one location in, once.
    ///
    /// Only the token is on stdout. Whoever has it can join: hand it over as a password. The server
    /// on this data directory must run when it is used.
    Invite {
        /// What the new location will be called [default: what it says itself]
        #[arg(long, value_name = "LOCATION")]
        name: Option<Name>,
        /// For how long it can be used
        #[arg(long, value_name = "TIME", default_value = "1h")]
        expires: Span<1000>,
        #[command(flatten)]
        data: Data,
    },
    /// Show the locations, their links, and how far behind they are.
    ///
    /// Exits with 1 if somebody must see to something.
    Status {
        #[command(flatten)]
        server: Server,
    },
    /// Compare, byte for byte, what this location and others hold.
    ///
    /// Exits with 1 unless all is the same. It may take minutes; all goes on meanwhile.
    Verify {
        /// The location to compare with, by name or id [default: each, one after the other]
        location: Option<String>,
        #[command(flatten)]
        server: Server,
    },
    /// Remove a location that never comes back. What only it holds is lost.
    Remove {
        /// Its name or id
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        location: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Debug, Args)]
struct Data {
    /// The data directory
    #[arg(
        long,
        env = "WAYPOST_DATA",
        value_name = "DIR",
        default_value = "waypost-data",
        hide_env_values = true
    )]
    data: PathBuf,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Init(#[from] InitError),
    #[error(transparent)]
    Invite(#[from] InviteError),
    #[error("the name of this machine is no name of a location: say --location NAME")]
    NoName,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0} alarms: see above")]
    Alarms(usize),
    #[error("{0} of the locations hold something else, or could not be compared: see above")]
    Different(usize),
    #[error("nothing was compared: there is no other location")]
    NobodyElse,
    #[error("nothing was removed: add --yes, for nobody is here to be asked")]
    NobodyToAsk,
    #[error("nothing was removed")]
    NotConfirmed,
    #[error("{0}")]
    Terminal(#[from] io::Error),
}

/// Runs one command.
pub(super) fn run(command: Cluster) -> Result<(), CommandError> {
    match command.action {
        Action::Init { name, location, mut advertise, cluster_listen: listen, data } => {
            let called = location.map_or_else(|| machine_name().parse(), Ok);
            let location = called.map_err(|_no_name| CommandError::NoName)?;
            if advertise.is_empty() {
                advertise.extend(advertised(listen));
            }
            init(&Founding { data: data.data, cluster: name, location, advertise, listen })
        }
        Action::Invite { name, expires, data } => invite(name, expires.get(), data),
        Action::Status { server } => ask::status(server),
        Action::Verify { location, server } => ask::verify(location, server),
        Action::Remove { location, yes, server } => ask::remove(&location, yes, server),
    }
}

fn init(founding: &Founding) -> Result<(), CommandError> {
    let about = cluster::init(founding, &SystemEnvironment::new())?;
    let data = founding.data.display();
    let addresses: Vec<&str> = about.advertise.iter().map(Address::as_str).collect();
    let mut out = io::stdout().lock();
    writeln!(out, "made the cluster {}  {}", about.cluster, about.cluster_name)?;
    writeln!(out, "its first location: {}  {}", about.member, about.location)?;
    writeln!(out, "others reach it at {} (UDP); --advertise says otherwise", addresses.join(", "))?;
    writeln!(out)?;
    writeln!(out, "Keep a copy of {data}/cluster/ca.key in a safe place. Then:")?;
    writeln!(
        out,
        "  1. here:             waypost serve --data {data} (if it runs, start it again)"
    )?;
    writeln!(out, "  2. here:             waypost cluster invite --name LOCATION --data {data}")?;
    writeln!(out, "  3. there, in an hour: waypost serve --join TOKEN --advertise HOST:8421")?;
    Ok(())
}

fn invite(name: Option<Name>, expires: Duration, data: Data) -> Result<(), CommandError> {
    let called = name.as_ref().map_or_else(String::new, |name| format!(" as {name}"));
    let token = cluster::invite(&data.data, name, expires, &SystemEnvironment::new())?;
    writeln!(io::stdout().lock(), "{token}")?;
    eprintln!(
        "It lets one location join{called}, within {}. There, in an empty directory: waypost serve \
         --join TOKEN --advertise HOST:PORT",
        shown(expires)
    );
    Ok(())
}

/// A time of whole seconds, in the largest unit that tells it.
fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}
