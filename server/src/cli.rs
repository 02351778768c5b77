//! The command line: one tool, `waypost`.

mod client;
mod cluster;
mod confirm;
mod namespace;

use std::{ffi::OsString, fmt::Display, io::IsTerminal as _, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{
    config::{Config, Settings},
    demo, serve, threads,
};

/// A key-value store that anyone can run.
#[derive(Debug, Parser)]
#[command(name = "waypost", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Without a command, `waypost` does `waypost serve`.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server.
    ///
    /// It listens on this machine alone and keeps its data in one directory. Stop it with SIGTERM or
    /// SIGINT (Ctrl-C): what runs is finished first; a second signal ends at once. Every setting can
    /// also be given in the environment, or in a TOML file under the same name without the dashes:
    ///
    ///   listen = "127.0.0.1:8420"
    ///   data = "/var/lib/waypost"
    ///   namespaces = ["sessions"]
    ///   idle-timeout = "75s"
    ///
    /// The command line wins, then the environment, then the file.
    #[command(verbatim_doc_comment)]
    Serve(Box<Serve>),
    /// Show three locations that replicate, in this process.
    ///
    /// Puts in one are read in the others, one is cut off and comes back, and all converge. It takes a
    /// few seconds, talks to nobody but itself, and leaves no files.
    Demo,
    /// Make, list, rename and drop namespaces on a running server.
    Namespace(namespace::Namespace),
    /// Make a cluster, and invite locations into it.
    Cluster(cluster::Cluster),
}

/// The settings of a server, and a file with more.
#[derive(Debug, Args)]
struct Serve {
    /// A TOML file with settings
    #[arg(long, env = "WAYPOST_CONFIG", value_name = "FILE", hide_env_values = true)]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse_from(with_command(std::env::args_os()));
    match cli.command {
        Command::Serve(serve) => ended(serve_with(*serve)),
        Command::Demo => ended(demo::run()),
        Command::Namespace(command) => ended(namespace::run(command)),
        Command::Cluster(command) => ended(cluster::run(command)),
    }
}

/// One line on stderr says what went wrong.
fn ended<E: Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waypost: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serving is what is done without a command: `waypost`, or `waypost --data DIR`.
fn with_command(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let is_serve = args.get(1).is_none_or(|first| {
        let first = first.as_encoded_bytes();
        first.starts_with(b"--") && !matches!(first, b"--help" | b"--version")
    });
    if is_serve {
        args.insert(args.len().min(1), "serve".into());
    }
    args
}

fn serve_with(serve: Serve) -> Result<(), String> {
    let config =
        Config::load(serve.settings, serve.config.as_deref()).map_err(|e| e.to_string())?;
    // The HTTP/2 library logs paths that are malformed, and those may be keys.
    let filter = EnvFilter::try_new(format!("{},h2=warn", config.log.as_str()))
        .map_err(|error| error.to_string())?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let runtime = threads::runtime(config.threads).map_err(|error| error.to_string())?;
    let result = runtime.block_on(serve::run(config)).map_err(|error| error.to_string());
    // Not to wait for what was cut.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_is_what_is_done_without_a_command() {
        for (args, expected) in [
            ("waypost", "waypost serve"),
            ("waypost --data x", "waypost serve --data x"),
            ("waypost --help", "waypost --help"),
            ("waypost -V", "waypost -V"),
            ("waypost namespace list", "waypost namespace list"),
        ] {
            let args = with_command(args.split(' ').map(OsString::from));
            assert_eq!(args, expected.split(' ').collect::<Vec<_>>());
        }
    }
}
