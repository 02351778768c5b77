//! `waypost token`: create, list and revoke access tokens, on a running server or a stopped one.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::{Args, Subcommand};
use hyper::Method;
use kv_core::{
    OpenError, Operation, Options, RandomError, Store, WriteError,
    env::{Environment as _, SystemEnvironment},
    visible::escaped,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::client::{Client, ClientError, NO_BODY, ServerArgs, print_json};
use crate::{
    access::{
        Scope, TokenText,
        issue::{self, IssueError, NewToken, Revocation},
    },
    api::tokens::{CreatedToken, RevokeRequest, TokenInfo, TokenList, TokenRequest},
    cluster::state::{
        descriptor::Descriptor,
        files::{ClusterDir, FilesError},
    },
    terminal,
};

/// Create, list and revoke access tokens.
///
/// Once there is a token, every request over an address needs one; a unix socket needs none. All locations of a cluster
/// share their tokens. With `--data`, the command works on the data directory of a stopped server.
#[derive(Debug, Args)]
pub(super) struct Token {
    #[command(subcommand)]
    action: Action,

    /// The data directory of a stopped server, in place of a running one
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a token, and print it. It can't be printed again.
    Create {
        /// What it is for
        #[arg(default_value = "")]
        description: String,
        /// What it permits: admin, ops, kv:read=NAMESPACE,…, kv:write=NAMESPACE,…, ratelimit=NAMESPACE,…,
        /// ratelimit:override=NAMESPACE,…; * stands for all namespaces, NAMESPACE/PREFIX for the keys of one that begin with
        /// PREFIX. May be repeated
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<Scope>,
        /// How long it is accepted, for example 12h or 90d [default: for ever]
        #[arg(long, value_name = "TIME")]
        expires: Option<Lifetime>,
    },
    /// List all tokens, without their secrets.
    List,
    /// Revoke a token. It is refused from then on at every location that is connected. This can't be undone.
    Revoke {
        /// Its id, as the list shows it
        id: String,
        /// Revoke it also if it is the last one with the scope admin
        #[arg(long)]
        force: bool,
    },
    /// Print a new token for the setting admin-token-file. No server knows it before.
    Generate,
}

/// The time for which a token is accepted.
#[derive(Clone, Copy, Debug)]
struct Lifetime(Duration);

/// The last second that has a date: the end of the year 9999.
const LAST_DATE: u64 = 253_402_300_799;
/// The longest of these times: a hundred years.
const MAX_LIFETIME: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// A text is not the time for which a token is accepted.
#[derive(Debug, thiserror::Error)]
enum LifetimeError {
    #[error("{0:?} is not a time ({1}): write 12h, 90d or 1y")]
    NotATime(String, humantime::DurationError),
    #[error("{0} is out of range: write 1s to 100y")]
    OutOfRange(String),
}

impl FromStr for Lifetime {
    type Err = LifetimeError;

    fn from_str(text: &str) -> Result<Lifetime, LifetimeError> {
        let time = humantime::parse_duration(text)
            .map_err(|error| LifetimeError::NotATime(text.to_owned(), error))?;
        if time < Duration::from_secs(1) || time > MAX_LIFETIME {
            return Err(LifetimeError::OutOfRange(text.to_owned()));
        }
        Ok(Lifetime(time))
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("can't make a token: {0}")]
    Random(#[from] RandomError),
    #[error("{0} holds no store: give the data directory of a server, as its --data names it")]
    NoStore(PathBuf),
    #[error(
        "{0} is the data directory of a cluster's location that has no store yet: start its server once, and then create \
         the token"
    )]
    NotJoined(PathBuf),
    #[error(
        "the store in {0} can't be opened: {1}. If its server runs, leave out --data to use the running server, or stop it"
    )]
    Open(PathBuf, OpenError),
    #[error(transparent)]
    Location(#[from] FilesError),
    #[error("the token was not written: {0}")]
    Write(#[from] WriteError),
    #[error("can't write to stdout: {0}")]
    Output(#[from] io::Error),
}

/// The path of the tokens API.
const ALL: &str = "/v1/tokens";

/// Runs one command.
pub(super) fn run(command: Token) -> Result<(), CommandError> {
    let json = command.server.json;
    let place = match (&command.data, &command.action) {
        (_, Action::Generate) => {
            let token = TokenText::generate(&SystemEnvironment::new())?;
            return Ok(writeln!(io::stdout().lock(), "{}", token.reveal())?);
        }
        (Some(data), action) => {
            Place::Stopped(open(data, matches!(action, Action::Create { .. }))?)
        }
        (None, _) => Place::Running(Client::new(&command.server)?),
    };
    match command.action {
        Action::Create { description, scopes, expires } => {
            let expires_in = expires.map(|Lifetime(time)| time);
            let scopes = scopes.into_iter().collect();
            let created = place.create(NewToken { scopes, description, expires_in })?;
            place.close()?;
            if json {
                return Ok(print_json(&created)?);
            }
            writeln!(terminal::stdout(), "{}", created.token)?;
            eprintln!(
                "Keep it: it can't be shown again. Its id is {}. Commands take it with --token-file FILE",
                escaped(&created.id)
            );
        }
        Action::List => {
            let list = place.list()?;
            place.close()?;
            if json {
                return Ok(print_json(&list)?);
            }
            let now = SystemEnvironment::new().now_ms() / 1000;
            let mut out = terminal::stdout();
            for token in &list.tokens {
                writeln!(out, "{}", line(token, now))?;
            }
        }
        Action::Revoke { id, force } => {
            let revoked = place.revoke(&id, force)?;
            place.close()?;
            if json {
                return Ok(print_json(&revoked)?);
            }
            writeln!(
                terminal::stdout(),
                "revoked {}",
                escaped(&format!("{}  {}", revoked.id, revoked.description))
            )?;
        }
        Action::Generate => {}
    }
    Ok(())
}

/// A line of the list.
fn line(token: &TokenInfo, now: u64) -> String {
    let date = |at: u64| {
        let at = std::time::UNIX_EPOCH + Duration::from_secs(at.min(LAST_DATE));
        humantime::format_rfc3339_seconds(at).to_string()
    };
    let state = match token.expires {
        _ if token.revoked => "revoked".to_owned(),
        Some(at) if at <= now => format!("expired {}", date(at)),
        Some(at) => format!("expires {}", date(at)),
        None => "does not expire".to_owned(),
    };
    let used = match token.last_used {
        Some(at) => format!("used {}", date(at)),
        None => "not used since the start".to_owned(),
    };
    // A line of the list stays one line, whatever a server sends.
    let scopes = token.scopes.join(" ");
    let text = format!("{}  {scopes}  {state}, {used}  {}", token.id, token.description);
    escaped(&text).into()
}

/// Where the tokens are.
enum Place {
    /// In a running server.
    Running(Client),
    /// In the store of a stopped one.
    Stopped(Store),
}

impl Place {
    /// Creates a token.
    fn create(&self, new: NewToken) -> Result<CreatedToken, CommandError> {
        match self {
            Place::Running(client) => {
                let request = TokenRequest {
                    scopes: new.scopes.as_slice().iter().map(Scope::to_string).collect(),
                    description: new.description,
                    expires_in: new.expires_in.map(|time| time.as_secs()),
                };
                Ok(client.call(&Method::POST, ALL, Some(&request))?)
            }
            Place::Stopped(store) => {
                let environment = SystemEnvironment::new();
                let (text, operation) = issue::create(&new, &store.tokens(), &environment)?;
                write(store, operation)?;
                Ok(CreatedToken { id: text.id().to_string(), token: text.reveal() })
            }
        }
    }

    /// Lists the tokens.
    fn list(&self) -> Result<TokenList, CommandError> {
        match self {
            Place::Running(client) => Ok(client.call(&Method::GET, ALL, NO_BODY)?),
            Place::Stopped(store) => {
                let tokens = store.tokens();
                Ok(TokenList::new(tokens.iter().map(|token| TokenInfo::new(token, None))))
            }
        }
    }

    /// Revokes a token.
    fn revoke(&self, id: &str, force: bool) -> Result<TokenInfo, CommandError> {
        match self {
            Place::Running(client) => {
                let path = format!("{ALL}/{}", utf8_percent_encode(id, NON_ALPHANUMERIC));
                Ok(client.call(&Method::DELETE, &path, Some(&RevokeRequest { force }))?)
            }
            Place::Stopped(store) => {
                let tokens = store.tokens();
                let now = SystemEnvironment::new().now_ms() / 1000;
                let how = Revocation { is_forced: force, now };
                let (token, operation) = issue::revoke(id, &tokens, how)?;
                write(store, operation)?;
                Ok(TokenInfo { revoked: true, ..TokenInfo::new(token, None) })
            }
        }
    }

    /// Closes the store.
    fn close(self) -> Result<(), CommandError> {
        match self {
            Place::Running(_) => Ok(()),
            Place::Stopped(store) => Ok(store.close()?),
        }
    }
}

/// Writes to the store of a stopped server. Durable when this returns.
fn write(store: &Store, operation: Operation) -> Result<(), WriteError> {
    store.submit(operation)?.wait().map(drop)
}

/// Opens the store of a stopped server. The first token may be older than the store.
fn open(data: &Path, is_creation: bool) -> Result<Store, CommandError> {
    let failed = |error| CommandError::Open(data.to_owned(), error);
    let location = Descriptor::load(&ClusterDir::of(data))?;
    if data.join(super::doctor::FILE).is_file() {
        // Without this, tombstones would count as known to everyone.
        let options = Options::new().replicated(true);
        let options = match location {
            // A file that is empty becomes the store of this location, as the server would make it.
            Some(location) => options.member(location.member).joining(),
            None => options,
        };
        return options.open(data).map_err(failed);
    }
    if location.is_some() {
        return Err(CommandError::NotJoined(data.to_owned()));
    }
    if !is_creation {
        return Err(CommandError::NoStore(data.to_owned()));
    }
    Options::new().open(data).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster;

    #[test]
    fn an_empty_store_of_a_member_gets_the_identity_of_the_member() {
        let parent = tempfile::tempdir().expect("a directory");
        let new = cluster::NewCluster {
            data: parent.path().join("data"),
            cluster: "prod".parse().expect("a name"),
            location: "fra".parse().expect("a name"),
            advertise: vec!["127.0.0.1:8421".parse().expect("an address")],
            listen: ([127, 0, 0, 1], 0).into(),
        };
        cluster::init(&new, &SystemEnvironment::new()).expect("a cluster");
        let directory = ClusterDir::of(&new.data);
        let location = Descriptor::load(&directory).expect("a file").expect("a location");
        std::fs::write(new.data.join(crate::cli::doctor::FILE), "").expect("a file");
        let store = open(&new.data, true).expect("a store");
        assert_eq!(store.member(), location.member);
    }

    #[test]
    fn a_lifetime_has_a_unit_and_is_within_its_bounds() {
        for (text, seconds) in [("1s", 1), ("12h", 43_200), ("90d", 7_776_000)] {
            assert_eq!(text.parse::<Lifetime>().expect(text).0.as_secs(), seconds);
        }
        for text in ["", "90", "0s", "1ms", "101y", "-1d"] {
            assert!(text.parse::<Lifetime>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_of_the_list_has_no_control_characters() {
        let token = TokenInfo {
            id: "07\n\u{202e}".into(),
            scopes: vec!["kv:read=\u{1b}[31m".into()],
            description: "a\u{7}b".into(),
            created: 1,
            expires: Some(u64::MAX),
            revoked: false,
            last_used: None,
        };
        assert!(!line(&token, 5).chars().any(|letter| letter.is_control() || letter == '\u{202e}'));
        assert!(line(&TokenInfo { expires: Some(5), ..token }, 5).contains("expired 1970-01-01"));
    }
}
