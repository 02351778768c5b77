//! `waypost cluster ca`: the cluster's certificate authority, on a data directory, whether a server runs on it or not.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use kv_core::env::{Environment as _, SystemEnvironment};

use crate::{
    cluster::{
        ca::{self, CaError, Holder, Shown},
        state::dates::day,
    },
    config::{Config, ConfigError, DataOnly, Flags},
    terminal,
};

/// Show, rotate and move the cluster's certificate authority (CA).
#[derive(Debug, Args)]
pub(super) struct CaCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show which location has the CA's key, and when certificates expire.
    Show {
        #[command(flatten)]
        settings: Flags<DataOnly>,
    },
    /// Replace the CA. Run this at the location that has its key.
    ///
    /// Locations get certificates of the new CA by themselves, within an hour after they reach this
    /// location. Until the last certificate of the former CA has expired, they trust both.
    Rotate {
        #[command(flatten)]
        settings: Flags<DataOnly>,
    },
    /// Stop trusting former CAs at this location at once, for example because a key was stolen.
    ///
    /// Locations that have no certificate of the new CA by then lose their links with this one.
    Retire {
        #[command(flatten)]
        settings: Flags<DataOnly>,
    },
    /// Move the CA's key from this location to a file. Import it at another location.
    Move {
        /// The file to write; it must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        settings: Flags<DataOnly>,
    },
    /// Copy the CA's key to a file, and keep it at this location too.
    ///
    /// Import the copy at another location only if this one is lost: one location admits others and renews certificates.
    /// After each `rotate`, make another copy.
    Copy {
        /// The file to write; it must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        settings: Flags<DataOnly>,
    },
    /// Give this location the CA's key, from a file of `move` or `copy`, or a copy of cluster/ca.key.
    ///
    /// If the location that had the key is lost, use your copy.
    Import {
        /// The file with the key
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        settings: Flags<DataOnly>,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaCommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error("can't write to stdout: {0}")]
    Output(#[from] io::Error),
}

impl CaCommandError {
    /// Whether the command itself was wrong.
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, CaCommandError::Config(error) if error.is_usage())
    }
}

/// Runs one command.
pub(super) fn run(command: CaCommand) -> Result<(), CaCommandError> {
    let now = SystemEnvironment::new().now_ms() / 1000;
    let mut out = terminal::stdout();
    match command.action {
        Action::Show { settings } => print(&ca::show(&data(settings)?, now)?, &mut out)?,
        Action::Rotate { settings } => {
            let fingerprint = ca::rotate(&data(settings)?, now)?;
            writeln!(out, "created the CA {fingerprint}")?;
            writeln!(
                out,
                "Keep a copy of cluster/ca.key in a safe place, and let all locations run:"
            )?;
            writeln!(
                out,
                "each gets a certificate of the new CA within an hour after it reaches this one."
            )?;
            writeln!(
                out,
                "Tokens that were printed before no longer work; the server here admits locations with\nnew ones within ten seconds."
            )?;
        }
        Action::Retire { settings } => {
            let count = ca::retire(&data(settings)?, now)?;
            writeln!(
                out,
                "this location no longer trusts {count} former CA{}; its server makes all",
                s(count)
            )?;
            writeln!(out, "links again within ten seconds")?;
        }
        Action::Move { file, settings } => {
            ca::move_to(&data(settings)?, &file)?;
            let file = file.display();
            writeln!(out, "the CA's key is in {file} only, and no longer at this location. Now:")?;
            writeln!(out, "  1. copy {file} to the other location, over an encrypted connection")?;
            writeln!(
                out,
                "  2. there: waypost cluster ca import FILE --data DIR, and restart its server"
            )?;
            writeln!(out, "  3. keep one copy in a safe place, and delete the others")?;
            writeln!(out, "Tokens that were printed before no longer work.")?;
        }
        Action::Copy { file, settings } => {
            ca::copy_to(&data(settings)?, &file)?;
            let file = file.display();
            writeln!(
                out,
                "copied the CA's key to {file}. Keep it in a safe place: if this location is lost,"
            )?;
            writeln!(
                out,
                "run at another one: waypost cluster ca import FILE --data DIR, and restart its server"
            )?;
        }
        Action::Import { file, settings } => {
            ca::import(&data(settings)?, &file)?;
            writeln!(out, "this location has the CA's key. Restart its server, so that it renews")?;
            writeln!(out, "certificates and admits locations; delete {}", file.display())?;
        }
    }
    Ok(())
}

/// The data directory of the settings.
fn data(settings: Flags<DataOnly>) -> Result<PathBuf, ConfigError> {
    Ok(Config::load(&settings.or_environment(), None)?.settings.data)
}

/// The end of a plural.
fn s(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Prints the CAs that a location knows.
fn print(shown: &Shown, out: &mut impl io::Write) -> io::Result<()> {
    let Shown { descriptor, holder, cas, issuer, not_after } = shown;
    writeln!(out, "cluster:   {}  {}", descriptor.cluster, descriptor.cluster_name)?;
    match holder {
        Holder::Here => writeln!(out, "CA's key:  at this location, {}", descriptor.location)?,
        Holder::At(holder) => {
            writeln!(out, "CA's key:  at {} ({})", holder.location, holder.member)?;
        }
        Holder::Unknown => {
            writeln!(
                out,
                "CA's key:  unknown: this location has not reached the one that has it yet"
            )?;
        }
    }
    for ca in cas {
        let use_ = match ca.trusted_until {
            None => "issues certificates".to_owned(),
            Some(until) => format!("former; trusted until {}", day(until)),
        };
        writeln!(out, "CA:        {}  expires {}; {use_}", ca.fingerprint, day(ca.not_after))?;
    }
    writeln!(out, "this location's certificate: issued by {issuer}, expires {}", day(*not_after))
}
