//! `waypost kv import`.
//!
//! A source reads on a thread of its own, because files and Redis block, and fills batches; the writer sends them with bulk
//! puts. One batch at most waits between them, so that memory stays flat whatever the size of the source.
//!
//! An import is a sequence of puts of whole entries: to do a part of it again changes nothing. The file of `--resume` names a
//! position only once the server has acknowledged everything before it, so that an import which continues after a kill leaves no
//! hole; a few entries may be put twice.

use std::{
    fs::File,
    io::{self, BufReader, Write as _},
    path::PathBuf,
};

use clap::{Args, builder::NonEmptyStringValueParser};
use serde::Serialize;
use tokio::sync::mpsc;
use waypost_client::{BulkOutcome, Client, Error, Pair};

use super::{connect::Target, error::KvError, progress::Progress};
use crate::{
    cli::{
        client::{ServerArgs, print_json},
        trust,
    },
    terminal,
};

mod api;
mod batch;
mod directory;
mod file;
mod redis;
mod resp;
mod state;

use api::Api;
use batch::{Batch, Feed, Left, Position, Stop};
use redis::RedisUrl;
use state::{Saved, State};

/// Put many entries: from a file, a directory, another server or Redis.
///
/// A file has a line of JSON for each entry, as `waypost kv export` writes it, or is the JSON of `wrangler kv bulk put`. In a
/// directory, each file is an entry whose key is its path. Importing again is safe: a key that exists is replaced.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The title or id of the namespace
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) namespace: String,
    /// A file, a directory, or - for stdin
    #[arg(required_unless_present = "from")]
    source: Option<PathBuf>,
    /// A server to read from: the URL of an API such as https://api.cloudflare.com/client/v4, or redis://HOST:PORT/DATABASE
    ///
    /// Of Redis, strings are read, with their expiries. Its password may be in the variable REDISCLI_AUTH.
    #[arg(long, value_name = "URL", conflicts_with = "source")]
    from: Option<String>,
    /// The account at the server of --from
    #[arg(long, value_name = "ID", requires = "from", default_value = "local")]
    account: String,
    /// The namespace at the server of --from; if that is a Waypost server, its title will do
    #[arg(long, value_name = "ID", requires = "from")]
    namespace_id: Option<String>,
    /// A file with the token for the server of --from [default: that of --token-file, which is then not sent to the server that
    /// is written to: its token is in the file that WAYPOST_TOKEN_FILE names]
    #[arg(long, value_name = "FILE", requires = "from")]
    from_token_file: Option<PathBuf>,
    /// The CA of the server of --from, a PEM file [default: the CAs of the system]
    #[arg(long, value_name = "FILE", requires = "from")]
    from_ca_file: Option<PathBuf>,
    /// Only keys that start with this
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// A file in which the import notes how far it is. If the file exists, the import continues; it is removed at the end
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
}

/// Where entries come from.
enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
    /// A directory.
    Directory(PathBuf),
    /// A server that speaks Cloudflare's API.
    Api(Api),
    /// A Redis server.
    Redis(RedisUrl),
}

/// What was done, as JSON.
#[derive(Serialize)]
struct Imported<'a> {
    imported: u64,
    #[serde(flatten)]
    left: &'a Left,
}

impl Source {
    /// What errors and the file of --resume call it.
    fn name(&self) -> String {
        let path = |path: &PathBuf| {
            path.canonicalize().unwrap_or_else(|_| path.clone()).display().to_string()
        };
        match self {
            Source::Stdin => "stdin".into(),
            Source::File(file) => path(file),
            Source::Directory(directory) => path(directory),
            Source::Api(api) => api.name.clone(),
            Source::Redis(url) => url.name(),
        }
    }

    /// Reads all entries behind a position.
    fn read(&self, prefix: &str, from: Option<Position>, feed: &mut Feed) -> Result<(), Stop> {
        let items = match &from {
            Some(Position::Items(items)) => *items,
            _ => 0,
        };
        match (self, from) {
            (Source::Stdin, _) => file::read("stdin", io::stdin().lock(), (prefix, items), feed),
            (Source::File(path), _) => {
                let file = File::open(path)
                    .map_err(|error| KvError::Read { path: path.clone(), error })?;
                let name = path.display().to_string();
                file::read(&name, BufReader::with_capacity(1 << 16, file), (prefix, items), feed)
            }
            (Source::Directory(root), Some(Position::Path(after))) => {
                directory::read(root, prefix, Some(&after), feed)
            }
            (Source::Directory(root), _) => directory::read(root, prefix, None, feed),
            (Source::Api(api), Some(Position::Cursor(cursor))) => api.read(Some(cursor), feed),
            (Source::Api(api), _) => api.read(None, feed),
            (Source::Redis(url), Some(Position::Scan { cursor, run })) => {
                redis::read(url, prefix, Some((cursor, run)), feed)
            }
            (Source::Redis(url), _) => redis::read(url, prefix, None, feed),
        }
    }
}

impl Import {
    /// Whether the token of the flag is for the server of --from.
    pub(super) fn takes_token(&self) -> bool {
        self.from.is_some() && self.from_token_file.is_none()
    }

    /// Imports all entries.
    pub(super) async fn run(
        &self,
        server: &ServerArgs,
        target: &Target,
        json: bool,
    ) -> Result<(), KvError> {
        let source = self.source(server)?;
        let state = State {
            source: source.name(),
            target: format!("{} {}", target.server, target.name),
            prefix: self.prefix.clone(),
            position: None,
            imported: 0,
            left: Left::default(),
        };
        let mut saved = Saved::open(self.resume.clone(), state)?;
        let (sender, mut batches) = mpsc::channel(1);
        let (prefix, position) = (self.prefix.clone(), saved.state.position.clone());
        std::thread::spawn(move || {
            let mut feed = Feed::new(sender);
            let read = source.read(&prefix, position, &mut feed);
            feed.finish(read);
        });
        let mut progress = Progress::new("imported", false);
        while let Some(batch) = batches.recv().await {
            let Batch { pairs, left, next, .. } = batch?;
            put(target, &pairs, &mut saved.state).await?;
            saved.state.left.add(left);
            if let Some(next) = next {
                saved.state.position = Some(next);
                saved.save()?;
            }
            progress.show(saved.state.imported);
        }
        drop(progress);
        saved.remove()?;
        finish(saved.state, json)
    }

    /// Where the entries come from.
    fn source(&self, server: &ServerArgs) -> Result<Source, KvError> {
        let Some(url) = &self.from else {
            let path = self.source.clone().unwrap_or_default();
            return Ok(match path {
                path if path.as_os_str() == "-" => Source::Stdin,
                path if path.is_dir() => Source::Directory(path),
                path => Source::File(path),
            });
        };
        let usage = |why: &str| KvError::Usage(why.to_owned());
        if url.starts_with("rediss:") {
            return Err(usage(
                "Redis over TLS is not supported: use redis:// through a tunnel, such as that of ssh -L",
            ));
        }
        if url.starts_with("redis:") {
            return Ok(Source::Redis(url.parse().map_err(usage)?));
        }
        let Some(id) = self.namespace_id.as_deref() else {
            return Err(usage("the namespace is missing: add --namespace-id"));
        };
        let mut builder =
            Client::builder(url).account(&self.account).retry(super::connect::PATIENT);
        if url.starts_with("https:") {
            let tls = trust::config(self.from_ca_file.as_deref());
            builder = builder.tls(tls.map_err(super::super::client::ClientError::from)?);
        }
        if let Some(file) = self.from_token_file.as_deref().or(server.token_file()) {
            let token = trust::token(file).map_err(super::super::client::ClientError::from)?;
            builder = builder.token(token);
        }
        let client = builder.build().map_err(|error| usage(&error.to_string()))?;
        let name = format!("{} {} {id}", client.address(), self.account);
        Ok(Source::Api(Api { keys: client.namespace(id), name, prefix: self.prefix.clone() }))
    }
}

/// The numbers of errors of single entries: of an expiration, then those of other rules.
const EXPIRED: [u32; 2] = [10033, 10034];
const RULES: [u32; 4] = [10024, 10030, 10042, 10047];

/// Puts a batch, and counts what came of it.
async fn put(target: &Target, pairs: &[Pair], state: &mut State) -> Result<(), KvError> {
    if pairs.is_empty() {
        return Ok(());
    }
    let count = pairs.len() as u64;
    let BulkOutcome { successful, unsuccessful, messages } = match target.keys.bulk_put(pairs).await
    {
        Ok(outcome) => outcome,
        // No entry of the batch is valid.
        Err(Error::Refused { code: Some(code), .. }) if EXPIRED.contains(&code) => {
            state.left.expired += count;
            return Ok(());
        }
        Err(Error::Refused { code: Some(code), message, .. }) if RULES.contains(&code) => {
            state.left.refused += count;
            state.left.first.get_or_insert(message);
            return Ok(());
        }
        Err(error) => return Err(target.failed(error)),
    };
    state.imported += successful as u64;
    let expired = messages.iter().filter(|note| EXPIRED.contains(&note.code)).count();
    state.left.expired += expired as u64;
    state.left.refused += unsuccessful.len().saturating_sub(expired) as u64;
    let first = messages.into_iter().find(|note| !EXPIRED.contains(&note.code));
    if let Some(first) = first {
        state.left.first.get_or_insert(first.message);
    }
    Ok(())
}

/// Prints what was done. It is a failure if entries were refused.
fn finish(state: State, json: bool) -> Result<(), KvError> {
    let State { imported, left, .. } = state;
    let printed = if json {
        print_json(&Imported { imported, left: &left })
    } else {
        let mut line = format!("imported {imported} entries");
        if left.expired > 0 {
            line += &format!("; left out {} that have expired or expire too soon", left.expired);
        }
        if left.not_strings > 0 {
            line += &format!("; left out {} keys that are not strings", left.not_strings);
        }
        writeln!(terminal::stdout(), "{line}")
    };
    printed.map_err(KvError::Output)?;
    match left.first {
        Some(why) if left.refused > 0 => Err(KvError::NotImported { count: left.refused, why }),
        _ => Ok(()),
    }
}
