//! The commands of overrides.

use std::{str::FromStr, time::UNIX_EPOCH};

use clap::{Args, Subcommand};
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{ALL, Client, CommandError, name, print};
use crate::{
    api::limits::{LimitInfo, LimitList, NewOverride, OverrideInfo, OverrideList},
    cli::client::NO_BODY,
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Give a key another limit, in place of the override that it has
    Set {
        /// A limit of the configuration, rls:DOMAIN, or namespace:NAMESPACE
        #[arg(value_parser = name())]
        name: String,
        /// The key
        key: String,
        #[command(flatten)]
        rule: Rule,
        /// When it ends, for example in 12h or 30d [default: never]
        #[arg(long, value_name = "TIME", conflicts_with = "until")]
        expires: Option<Seconds>,
        /// When it ends, as a time such as 2027-01-31T00:00:00Z
        #[arg(long, value_name = "DATE")]
        until: Option<Date>,
    },
    /// List the overrides of a limit, or all
    List {
        /// A limit of the configuration, rls:DOMAIN, or namespace:NAMESPACE [default: all]
        #[arg(value_parser = name())]
        name: Option<String>,
    },
    /// Delete an override: the limit applies to the key again
    Delete {
        /// A limit of the configuration, rls:DOMAIN, or namespace:NAMESPACE
        #[arg(value_parser = name())]
        name: String,
        /// The key
        key: String,
    },
}

/// What applies in place of the limit.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Rule {
    /// Another count, of the same period and algorithm
    #[arg(long, value_name = "COUNT")]
    limit: Option<u32>,
    /// Nothing is allowed
    #[arg(long)]
    deny: bool,
    /// Everything is allowed, and nothing is counted
    #[arg(long)]
    unlimited: bool,
}

/// A time from now on, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(u64);

/// A time, in Unix seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Date(u64);

/// A text is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TimeError {
    #[error("{0:?} is not a time from now on: write 90s, 12h or 30d")]
    Seconds(String),
    #[error("{0:?} is not a date: write 2027-01-31T00:00:00Z")]
    Date(String),
}

impl FromStr for Seconds {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Seconds, TimeError> {
        let time = humantime::parse_duration(text).ok();
        let seconds = time.map(|time| time.as_secs()).filter(|seconds| *seconds > 0);
        seconds.map(Seconds).ok_or_else(|| TimeError::Seconds(text.to_owned()))
    }
}

impl FromStr for Date {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Date, TimeError> {
        let time = humantime::parse_rfc3339(text).ok();
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.map(|since| Date(since.as_secs())).ok_or_else(|| TimeError::Date(text.to_owned()))
    }
}

/// The path of the overrides of a limit.
fn path_of(name: &str) -> String {
    format!("{ALL}/{}/overrides", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

/// The path of one override.
fn path_of_key(name: &str, key: &str) -> String {
    format!("{}/{}", path_of(name), utf8_percent_encode(key, NON_ALPHANUMERIC))
}

/// Runs one command.
pub(super) fn run(client: &Client, json: bool, action: Action) -> Result<(), CommandError> {
    match action {
        Action::Set { name, key, rule: Rule { limit, deny, unlimited }, expires, until } => {
            let (expires_in, expires_at) =
                (expires.map(|Seconds(time)| time), until.map(|Date(time)| time));
            let new = NewOverride { limit, deny, unlimited, expires_in, expires_at };
            let set: OverrideInfo =
                client.call(&Method::PUT, &path_of_key(&name, &key), Some(&new))?;
            print(json, &set, &[format!("set {}", line(&set))])
        }
        Action::List { name: Some(name) } => {
            let overrides = list(client, &name)?;
            print_all(json, overrides)
        }
        Action::List { name: None } => {
            let all: LimitList = client.call(&Method::GET, ALL, NO_BODY)?;
            let mut overrides = Vec::new();
            for limit in all.limits.iter().filter(|limit| limit.overrides > 0) {
                overrides.extend(list(client, &limit.name)?);
            }
            print_all(json, overrides)
        }
        Action::Delete { name, key } => {
            let path = path_of_key(&name, &key);
            let deleted: OverrideInfo = client.call(&Method::DELETE, &path, NO_BODY)?;
            print(json, &deleted, &[format!("deleted {}", line(&deleted))])
        }
    }
}

/// All overrides of a limit, page by page.
fn list(client: &Client, name: &str) -> Result<Vec<OverrideInfo>, CommandError> {
    let (mut all, mut path) = (Vec::new(), path_of(name));
    loop {
        let page: OverrideList = client.call(&Method::GET, &path, NO_BODY)?;
        all.extend(page.overrides);
        let Some(next) = page.next else { return Ok(all) };
        path = next;
    }
}

/// Prints overrides.
fn print_all(json: bool, overrides: Vec<OverrideInfo>) -> Result<(), CommandError> {
    let lines: Vec<String> = overrides.iter().map(line).collect();
    print(json, &OverrideList { overrides, next: None }, &lines)
}

/// `waypost limit list`.
pub(super) fn limits(client: &Client, json: bool) -> Result<(), CommandError> {
    let all: LimitList = client.call(&Method::GET, ALL, NO_BODY)?;
    let line = |info: &LimitInfo| {
        let limit = match (info.limit, info.period, &info.unit) {
            (Some(limit), Some(period), _) => {
                let algorithm = info.algorithm.as_deref().unwrap_or_default();
                format!("{limit} in {period} s, {algorithm}")
            }
            (Some(limit), None, Some(unit)) => {
                format!("{limit} a {unit}, {}", info.timezone.as_deref().unwrap_or_default())
            }
            _ => "a namespace".to_owned(),
        };
        format!("{}  {limit}  overrides: {}", info.name, info.overrides)
    };
    let lines: Vec<String> = all.limits.iter().map(line).collect();
    print(json, &all, &lines)
}

/// A line of the list.
fn line(one: &OverrideInfo) -> String {
    let rule = match (one.limit, one.deny) {
        (Some(limit), _) => format!("limit {limit}"),
        (None, true) => "deny".to_owned(),
        (None, false) => "unlimited".to_owned(),
    };
    let ends = match one.expires_at {
        Some(at) => {
            let at = UNIX_EPOCH + std::time::Duration::from_secs(at.min(LAST_DATE));
            format!("until {}", humantime::format_rfc3339_seconds(at))
        }
        None => "does not expire".to_owned(),
    };
    format!("{}  {}  {rule}  {ends}", one.name, one.key)
}

/// The last second that has a date: the end of the year 9999.
const LAST_DATE: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_ends_after_a_time_or_at_a_date() {
        assert_eq!("12h".parse::<Seconds>().map(|time| time.0), Ok(43_200));
        assert_eq!("2027-01-31T00:00:00Z".parse::<Date>().map(|time| time.0), Ok(1_801_353_600));
        for text in ["", "0s", "-1d", "tomorrow", "90"] {
            assert!(text.parse::<Seconds>().is_err() && text.parse::<Date>().is_err(), "{text}");
        }
    }
}
