//! The command line: one tool, `waypost`.

mod bench;
mod ca;
mod client;
mod cluster;
mod confirm;
mod doctor;
mod documents;
mod health;
mod kv;
mod limit;
mod members;
mod namespace;
mod server_url;
mod status;
mod token;
mod trust;
mod variable;

use std::{ffi::OsString, fmt::Display, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use kv_core::visible::escaped;

use self::variable::environment;
use crate::{
    config::{ConfigError, Every, Flags, Sources},
    core_dumps, demo, logging,
    serve::{self, ServeError},
    threads::{self, RuntimeError},
};

/// Run and use Waypost: a key-value store and rate limiter that replicates between locations.
#[derive(Debug, Parser)]
#[command(name = "waypost", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Without a command, `waypost` runs `waypost serve`.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server.
    ///
    /// It listens on this machine only and keeps its data in one directory. Stop it with SIGTERM or
    /// SIGINT (Ctrl-C): running requests finish first; a second signal stops it at once. You can also
    /// set everything in the environment, or in a TOML file under the name of the flag without its
    /// dashes:
    ///
    ///   listen = "127.0.0.1:8420"
    ///   data = "/var/lib/waypost"
    ///   namespaces = ["sessions"]
    ///   idle-timeout = "75s"
    ///
    /// A flag wins over a variable, and a variable over the file.
    #[command(verbatim_doc_comment)]
    Serve(Box<Serve>),
    /// Show three locations that replicate, in this process.
    ///
    /// Values that are put in one location are read in the others; one location is disconnected and
    /// comes back, and all converge. It takes a few seconds, uses the loopback network only, and leaves
    /// no files.
    Demo,
    /// Create, list, rename and drop namespaces on a running server.
    Namespace(namespace::Namespace),
    Kv(kv::Kv),
    /// Create a cluster, invite locations into it, see its status.
    Cluster(cluster::Cluster),
    Doctor(doctor::Doctor),
    Bench(Box<bench::Bench>),
    Completions(documents::Completions),
    Man(documents::Man),
    Token(token::Token),
    Health(health::Health),
    Limit(limit::Limit),
}

/// The settings of a server, and a file with more of them.
#[derive(Debug, Args)]
struct Serve {
    /// A TOML file with settings [env: WAYPOST_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Flags<Every>,
}

/// Why `waypost serve` failed.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{CONFIG}: {0}")]
    ConfigVariable(ConfigError),
    #[error("--log: {0}")]
    Log(#[from] logging::FilterError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// The exit code of a command that was used in a wrong way, as clap has it.
const USAGE: u8 = 2;

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    core_dumps::disable();
    let cli = Cli::parse_from(with_command(std::env::args_os()));
    match cli.command {
        Command::Serve(serve) => exit(
            serve_with(*serve),
            |error| matches!(error, RunError::Config(error) if error.is_usage()),
        ),
        Command::Demo => exit(demo::run(), |_error| false),
        Command::Namespace(command) => {
            exit(namespace::run(command), namespace::CommandError::is_usage)
        }
        Command::Kv(command) => {
            let result = kv::run(command);
            let is_no_key = result.as_ref().is_err_and(kv::KvError::is_no_key);
            let code = exit(result, kv::KvError::is_usage);
            if is_no_key { ExitCode::from(kv::NO_KEY) } else { code }
        }
        Command::Health(command) => exit(health::run(&command), |_error| false),
        Command::Limit(command) => match limit::run(command) {
            Ok(code) => code,
            Err(error) => exit(Err(error), limit::CommandError::is_usage),
        },
        Command::Token(command) => exit(token::run(command), |_error| false),
        Command::Bench(command) => exit(bench::run(*command), bench::CommandError::is_usage),
        Command::Completions(command) => exit(command.run(Cli::command()), |_error| false),
        Command::Man(command) => exit(command.run(Cli::command()), |_error| false),
        Command::Doctor(command) => exit(doctor::run(command), doctor::CommandError::is_usage),
        Command::Cluster(command) => exit(cluster::run(command), cluster::CommandError::is_usage),
    }
}

/// The variable that names the file of settings.
const CONFIG: &str = "WAYPOST_CONFIG";

/// Reports an error, and returns the exit code.
fn exit<E: Display>(result: Result<(), E>, is_usage: impl Fn(&E) -> bool) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            if is_usage(&error) { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Reports an error in one line on stderr. A server, or a location of the cluster, may have written parts of it.
fn report(error: &impl Display) {
    eprintln!("waypost: {}", escaped(&error.to_string()));
}

/// Adds the default command: `waypost` and `waypost --data DIR` run `waypost serve`.
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

/// Runs a server until a signal stops it.
fn serve_with(serve: Serve) -> Result<(), RunError> {
    let variable = || environment(CONFIG).map(PathBuf::from);
    let (file, is_flag) = match serve.config {
        Some(file) => (Some(file), true),
        None => (variable(), false),
    };
    let sources = Sources::new(serve.settings.or_environment(), file);
    let config = sources.load().map_err(|error| match error {
        ConfigError::Unreadable { .. } if !is_flag => RunError::ConfigVariable(error),
        error => RunError::Config(error),
    })?;
    logging::start(logging::filter(config.settings.log.as_str())?);
    let runtime = threads::runtime(config.settings.serving_threads())?;
    let result = runtime.block_on(serve::run(config, sources));
    // Does not wait for connections that were cut.
    runtime.shutdown_background();
    Ok(result?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_command() {
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
