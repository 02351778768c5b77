//! A Redis server: its strings, with their expiries.
//!
//! The keys come from SCAN, which returns every key that exists during the whole import, some of them twice. A page of keys costs
//! three round trips: SCAN, then lengths and times to live, then the values. A key that changes between them is read as it is then, and
//! one that is deleted is left out. Values that are not strings are counted, and left out.
//!
//! A cursor of SCAN is valid in one process only: a resumed import begins with the first key if the server was restarted, which
//! `run_id` of INFO shows.

use std::{io, str::FromStr};

use http::Uri;
use kv_core::limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use percent_encoding::percent_decode_str;
use waypost_client::{Attributes, Expiry, Pair};

use super::{
    super::error::KvError,
    batch::{Feed, Left, Position, Stop},
    resp::{Connection, Reply},
};
use crate::cli::variable::environment;

/// How many keys are looked at with one command.
const COUNT: &str = "500";
/// How many bytes of values are requested at a time, but for the last one.
const GROUP_BYTES: u64 = 4 << 20;
/// The variable with the password, as redis-cli has it.
const PASSWORD: &str = "REDISCLI_AUTH";

/// The address of a database: `redis://USER:PASSWORD@HOST:PORT/DATABASE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RedisUrl {
    /// The host, without the brackets of an IPv6 address.
    host: String,
    /// The port; 6379 by default.
    port: u16,
    /// The user of Redis' access lists; none for its default user.
    user: Option<String>,
    /// The password. It is in no error and no file.
    password: Option<String>,
    /// The number of the database, for `SELECT`.
    database: u32,
}

impl FromStr for RedisUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<RedisUrl, &'static str> {
        const FORM: &str =
            "write redis://HOST:PORT/DATABASE; the password may be in the variable REDISCLI_AUTH";
        let uri: Uri = text.parse().map_err(|_not_one| FORM)?;
        if uri.scheme_str() != Some("redis") {
            return Err(FORM);
        }
        let authority = uri.authority().filter(|_| uri.query().is_none()).ok_or(FORM)?;
        let user_info = authority.as_str().rsplit_once('@').map_or("", |(user, _)| user);
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8_lossy().into_owned();
            (!text.is_empty()).then_some(text)
        };
        let database = match uri.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_not_a_number| FORM)?,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let (user, password) = (decoded(user), decoded(password));
        Ok(RedisUrl { host, port: authority.port_u16().unwrap_or(6379), user, password, database })
    }
}

impl RedisUrl {
    /// What errors and the file of --resume call it: without the password.
    pub(super) fn name(&self) -> String {
        format!("redis://{}:{}/{}", self.host, self.port, self.database)
    }
}

/// A string to read.
struct Wanted {
    /// Its key.
    key: String,
    /// When it expires.
    expiry: Option<Expiry>,
    /// Its length, as it was a moment ago.
    length: u64,
}

/// A database that is read.
struct Database<'a> {
    /// What errors call it.
    name: String,
    /// The connection.
    connection: Connection,
    /// Takes the entries.
    feed: &'a mut Feed,
}

/// Reads all strings, from a position on.
pub(super) fn read(
    url: &RedisUrl,
    prefix: &str,
    from: Option<(u64, String)>,
    feed: &mut Feed,
) -> Result<(), Stop> {
    let name = url.name();
    let failed = |error: io::Error| KvError::Source(format!("{name}: {error}"));
    let connection = Connection::open(&url.host, url.port).map_err(|error| {
        KvError::Source(format!("can't reach {name}: {error}; check the URL of --from"))
    })?;
    let mut database = Database { name: name.clone(), connection, feed };
    let run = database.begin(url).map_err(failed)?;
    // The cursors of another process are others.
    let mut cursor = from.filter(|(_, of)| *of == run).map_or(0, |(cursor, _)| cursor);
    let pattern = pattern(prefix);
    loop {
        let (next, keys) = database.scan(cursor, &pattern).map_err(failed)?;
        database.keys(keys)?;
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
        database.feed.pass(Some(Position::Scan { cursor, run: run.clone() }));
    }
}

/// The pattern of keys with a prefix.
fn pattern(prefix: &str) -> String {
    let mut pattern = String::new();
    for letter in prefix.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern + "*"
}

impl Database<'_> {
    /// Authenticates and selects the database. Returns the id of the process.
    ///
    /// The id is empty if the server does not reveal it.
    fn begin(&mut self, url: &RedisUrl) -> io::Result<String> {
        let variable = || environment(PASSWORD).map(|text| text.to_string_lossy().into_owned());
        if let Some(password) = url.password.clone().or_else(variable) {
            let command = match &url.user {
                Some(user) => vec![b"AUTH".as_slice(), user.as_bytes(), password.as_bytes()],
                None => vec![b"AUTH".as_slice(), password.as_bytes()],
            };
            self.connection.call(&command)?;
        }
        self.connection.call(&[b"SELECT", url.database.to_string().as_bytes()])?;
        // A server that forbids INFO has no id: its import begins from the start.
        let info = self.connection.pipeline(&[vec![b"INFO".as_slice(), b"server"]])?.pop();
        let text = match info {
            Some(Reply::Bytes(Some(text))) => String::from_utf8_lossy(&text).into_owned(),
            _ => String::new(),
        };
        let run = text.lines().find_map(|line| line.strip_prefix("run_id:"));
        Ok(run.unwrap_or_default().trim().to_owned())
    }

    /// Looks at some keys.
    fn scan(&mut self, cursor: u64, pattern: &str) -> io::Result<(u64, Vec<Vec<u8>>)> {
        let cursor = cursor.to_string();
        let command: [&[u8]; 6] =
            [b"SCAN", cursor.as_bytes(), b"MATCH", pattern.as_bytes(), b"COUNT", COUNT.as_bytes()];
        let unexpected = || io::Error::other("the reply to SCAN has another form");
        let Reply::Array(parts) = self.connection.call(&command)? else { return Err(unexpected()) };
        let Ok([Reply::Bytes(Some(next)), Reply::Array(keys)]) = <[Reply; 2]>::try_from(parts)
        else {
            return Err(unexpected());
        };
        let next = str::from_utf8(&next).ok().and_then(|next| next.parse().ok());
        let keys = keys.into_iter().filter_map(|key| match key {
            Reply::Bytes(key) => key,
            _ => None,
        });
        Ok((next.ok_or_else(unexpected)?, keys.collect()))
    }

    /// Reads the strings among some keys.
    fn keys(&mut self, keys: Vec<Vec<u8>>) -> Result<(), Stop> {
        let looks: Vec<Vec<&[u8]>> = keys
            .iter()
            .flat_map(|key| [vec![b"STRLEN".as_slice(), key], vec![b"PTTL".as_slice(), key]])
            .collect();
        let looked = self.pipeline(&looks)?;
        let mut group = Vec::new();
        for (key, look) in keys.into_iter().zip(looked.chunks(2)) {
            group.extend(wanted(key, look, self.feed.left()));
            if group.iter().map(|wanted| wanted.length).sum::<u64>() >= GROUP_BYTES {
                self.values(std::mem::take(&mut group))?;
            }
        }
        self.values(group)
    }

    /// Reads some strings.
    fn values(&mut self, group: Vec<Wanted>) -> Result<(), Stop> {
        let gets: Vec<Vec<&[u8]>> =
            group.iter().map(|wanted| vec![b"GET".as_slice(), wanted.key.as_bytes()]).collect();
        let values = self.pipeline(&gets)?;
        for (Wanted { key, expiry, .. }, value) in group.into_iter().zip(values) {
            match value {
                Reply::Bytes(Some(value)) => {
                    let attributes = Attributes { metadata: None, expiry };
                    self.feed.push(Pair { key, value: value.into(), attributes }, None)?;
                }
                // It was deleted meanwhile, or is no string any more.
                Reply::Bytes(None) | Reply::Error(_) => {}
                other => return Err(self.failed(format!("GET got {other:?}")).into()),
            }
        }
        Ok(())
    }

    /// Sends several commands.
    fn pipeline(&mut self, commands: &[Vec<&[u8]>]) -> Result<Vec<Reply>, KvError> {
        self.connection.pipeline(commands).map_err(|error| self.failed(error))
    }

    /// Why the database can't be read.
    fn failed(&self, error: impl std::fmt::Display) -> KvError {
        KvError::Source(format!("{}: {error}", self.name))
    }
}

/// The string of a key, if it is one that can be stored. `look` is its length and the time that it still lives.
fn wanted(key: Vec<u8>, look: &[Reply], left: &mut Left) -> Option<Wanted> {
    let [length, ttl] = look else { return None };
    let length = match length {
        Reply::Number(length) => u64::try_from(*length).ok()?,
        Reply::Error(error) if error.starts_with("WRONGTYPE") => {
            left.not_strings += 1;
            return None;
        }
        other => {
            left.refuse(|| format!("key {:?}: {other:?}", String::from_utf8_lossy(&key)));
            return None;
        }
    };
    let expiry = match ttl {
        // It has expired meanwhile.
        Reply::Number(-2) => return None,
        Reply::Number(ms @ 0..) => Some(Expiry::After(ms.unsigned_abs().div_ceil(1000))),
        _ => None,
    };
    let key = match String::from_utf8(key) {
        Ok(key) => key,
        Err(error) => {
            left.refuse(|| {
                format!("key {:?}: it is not UTF-8", String::from_utf8_lossy(error.as_bytes()))
            });
            return None;
        }
    };
    if key.len() > MAX_KEY_BYTES || length > MAX_VALUE_BYTES {
        left.refuse(|| {
            format!(
                "key {key:?}: keys have at most {MAX_KEY_BYTES} bytes, values {MAX_VALUE_BYTES}"
            )
        });
        return None;
    }
    Some(Wanted { key, expiry, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_database() {
        let url: RedisUrl = "redis://me:p%40ss@[::1]:1/7".parse().expect("a URL");
        assert_eq!((url.host.as_str(), url.port, url.database), ("::1", 1, 7));
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!(url.name(), "redis://::1:1/7");
        let url: RedisUrl = "redis://localhost".parse().expect("a URL");
        assert_eq!((url.port, url.database, url.user, url.password), (6379, 0, None, None));
        for text in ["redis://", "localhost", "redis://a/x"] {
            assert!(text.parse::<RedisUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(pattern(r"a*b[c]?\"), r"a\*b\[c\]\?\\*");
    }
}
