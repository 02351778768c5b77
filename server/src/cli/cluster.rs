//! `waypost cluster`: create a cluster, invite locations into it, see its status, verify it, and remove
//! locations. The first two, and those in `ca`, work on a data directory, whether a server runs on it or not; the others
//! use a running server.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use kv_core::env::SystemEnvironment;

use super::{
    ca::{self, CaCommand, CaCommandError},
    client::ServerArgs,
    members::{self, MembersError},
};
use crate::{
    cluster::{
        self, Address, NewCluster,
        init::InitError,
        invite::InviteError,
        state::names::{Name, machine_name},
    },
    config::{Config, ConfigError, DataAndAddresses, DataOnly, Flags, Selection, Settings, Span},
    terminal,
};

/// Create a cluster, invite locations into it, see its status.
#[derive(Debug, Args)]
pub(super) struct Cluster {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a cluster whose first location has this data directory.
    ///
    /// Also creates the cluster's certificate authority: keep cluster/ca.key safe. Only the location that
    /// has this key can invite others.
    Init {
        /// Name of the cluster
        #[arg(long, value_name = "NAME")]
        name: Name,
        /// Name of this location [default: the name of this machine]
        #[arg(long, value_name = "NAME")]
        location: Option<Name>,
        #[command(flatten)]
        settings: Flags<DataAndAddresses>,
    },
    /// Print a token with which one location can join, once.
    ///
    /// Stdout has the token and nothing else. Anyone who has the token can join: treat it as a
    /// password. The server on this data directory must run when the token is used.
    Invite {
        /// Name of the new location [default: the name that it sets itself]
        #[arg(long, value_name = "LOCATION")]
        name: Option<Name>,
        /// How long the token is valid
        #[arg(long, value_name = "TIME", default_value = "1h")]
        expires: Span<1000>,
        #[command(flatten)]
        settings: Flags<DataOnly>,
    },
    /// Show the locations, their links, and how far behind they are.
    ///
    /// Exits with 1 if there are alarms.
    Status {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Compare, byte for byte, what this location and others hold.
    ///
    /// Exits with 1 unless all are equal. It may take minutes; the locations keep serving.
    Verify {
        /// The location to compare with, by name or id [default: each, one after the other]
        location: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a location that will not come back. Data that only it holds is lost.
    Remove {
        /// Its name or id
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        location: String,
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show, rotate and move the cluster's certificate authority (CA).
    Ca(CaCommand),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Init(#[from] InitError),
    #[error(transparent)]
    Invite(#[from] InviteError),
    #[error("the name of this machine can't be the name of a location: set --location NAME")]
    NoName,
    #[error(transparent)]
    Members(#[from] MembersError),
    #[error(transparent)]
    Ca(#[from] CaCommandError),
    #[error("can't write to stdout: {0}")]
    Output(#[from] io::Error),
}

impl CommandError {
    /// Whether the command itself was wrong.
    pub(super) fn is_usage(&self) -> bool {
        match self {
            CommandError::Config(error) => error.is_usage(),
            CommandError::Ca(error) => error.is_usage(),
            CommandError::Members(MembersError::Client(error)) => error.is_usage(),
            _ => false,
        }
    }
}

/// Runs one command.
pub(super) fn run(command: Cluster) -> Result<(), CommandError> {
    match command.action {
        Action::Init { name, location, settings } => init(name, location, &resolve(settings)?),
        Action::Invite { name, expires, settings } => {
            invite(name, expires.get(), &resolve(settings)?)
        }
        Action::Status { server } => Ok(members::status(server)?),
        Action::Verify { location, server } => Ok(members::verify(location, server)?),
        Action::Remove { location, yes, server } => Ok(members::remove(&location, yes, server)?),
        Action::Ca(command) => Ok(ca::run(command)?),
    }
}

/// Resolves settings from flags, variables and defaults; these commands read no file.
fn resolve<S: Selection>(flags: Flags<S>) -> Result<Settings, ConfigError> {
    Ok(Config::load(&flags.or_environment(), None)?.settings)
}

/// Creates a cluster, and prints what to do next.
fn init(cluster: Name, location: Option<Name>, settings: &Settings) -> Result<(), CommandError> {
    let location = location.map_or_else(|| machine_name().parse(), Ok);
    let location = location.map_err(|_no_name| CommandError::NoName)?;
    let new = NewCluster {
        data: settings.data.clone(),
        cluster,
        location,
        advertise: settings.advertised(),
        listen: settings.cluster_listen(),
    };
    let descriptor = cluster::init(&new, &SystemEnvironment::new())?;
    let data = new.data.display();
    let addresses: Vec<&str> = descriptor.advertise.iter().map(Address::as_str).collect();
    let mut out = terminal::stdout();
    writeln!(out, "created the cluster {}  {}", descriptor.cluster, descriptor.cluster_name)?;
    writeln!(out, "its first location: {}  {}", descriptor.member, descriptor.location)?;
    writeln!(
        out,
        "other locations reach it at {} (UDP); to change that, edit `advertise` in {data}/cluster/cluster.toml",
        addresses.join(", ")
    )?;
    writeln!(out)?;
    writeln!(out, "Keep a copy of {data}/cluster/ca.key in a safe place. Then:")?;
    writeln!(
        out,
        "  1. here:                 waypost serve --data {data} (restart it if it runs)"
    )?;
    writeln!(
        out,
        "  2. here:                 waypost cluster invite --name LOCATION --data {data} > token"
    )?;
    writeln!(
        out,
        "  3. there, within 1 hour: waypost serve --join-file token --advertise HOST:8421"
    )?;
    Ok(())
}

/// Prints a token on stdout, and everything else on stderr.
fn invite(name: Option<Name>, expires: Duration, settings: &Settings) -> Result<(), CommandError> {
    let of_name = name.as_ref().map_or_else(String::new, |name| format!(" as {name}"));
    let token = cluster::invite(&settings.data, name, expires, &SystemEnvironment::new())?;
    writeln!(io::stdout().lock(), "{token}")?;
    eprintln!(
        "One location can join with it{of_name}, within {}. There, in an empty directory, with the token in a file: \
         waypost serve --join-file FILE --advertise HOST:PORT",
        humantime::format_duration(expires)
    );
    Ok(())
}
