//! The commands that use a limit: `check`, `peek` and `reset`.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Client, CommandError, DENIED, name, print};

/// A counter, and the limit that it is compared with.
#[derive(Debug, Args)]
pub(super) struct Counter {
    /// A limit of the server's configuration, or namespace:NAMESPACE
    #[arg(value_parser = name())]
    name: String,
    /// The key of the counter
    key: String,
    /// The count of the limit, if the configuration does not have it
    #[arg(long, value_name = "COUNT")]
    limit: Option<u32>,
    /// The period of the limit, if the configuration does not have it: 60, 10s, 1h
    #[arg(long, value_name = "TIME")]
    period: Option<String>,
    /// In place of the period: day, week, month or year of the calendar
    #[arg(long, conflicts_with = "period")]
    unit: Option<String>,
    /// The time zone of the unit, such as Europe/Berlin
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// The algorithm, if the configuration does not have the limit: sliding, fixed or gcra
    #[arg(long)]
    algorithm: Option<String>,
}

/// The decision of the server.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    success: bool,
    limit: u32,
    remaining: u32,
    reset: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    shadowed: bool,
}

impl Counter {
    /// The fields of a check.
    fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        match self.name.strip_prefix("namespace:") {
            Some(namespace) => fields.insert("namespace".into(), json!(namespace)),
            None => fields.insert("name".into(), json!(self.name)),
        };
        fields.insert("key".into(), json!(self.key));
        let written = [
            ("limit", self.limit.map(Value::from)),
            ("period", self.period.clone().map(Value::from)),
        ];
        let texts =
            [("unit", &self.unit), ("timezone", &self.timezone), ("algorithm", &self.algorithm)];
        let texts = texts.map(|(field, text)| (field, text.clone().map(Value::from)));
        for (field, value) in written.into_iter().chain(texts) {
            fields.extend(value.map(|value| (field.to_owned(), value)));
        }
        fields
    }

    /// Sends a check with another field or two.
    fn send(&self, client: &Client, more: &[(&str, Value)]) -> Result<Answer, CommandError> {
        let mut fields = self.fields();
        fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        Ok(client.call(&Method::POST, "/ratelimit", Some(&fields))?)
    }
}

impl Answer {
    /// The decision for people.
    fn line(&self) -> String {
        let of = match self.limit {
            u32::MAX => return "allowed: this key has no limit".into(),
            limit => format!("{} of {limit} left", self.remaining),
        };
        let shadow = if self.shadowed { " (denied, but the limit is in shadow mode)" } else { "" };
        match (self.success, self.retry_after) {
            (true, _) => format!("allowed{shadow}: {of}, resets in {} s", self.reset),
            (false, Some(seconds)) => format!("denied: {of}, retry in {seconds} s"),
            (false, None) => format!("denied: {of}, and no retry will be allowed"),
        }
    }

    /// Prints the decision.
    fn print(&self, json: bool) -> Result<ExitCode, CommandError> {
        print(json, self, &[self.line()])?;
        Ok(if self.success { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
    }
}

/// `waypost limit check`.
pub(super) fn check(
    client: &Client,
    json: bool,
    counter: &Counter,
    cost: i64,
) -> Result<ExitCode, CommandError> {
    counter.send(client, &[("cost", cost.into())])?.print(json)
}

/// `waypost limit peek`.
pub(super) fn peek(
    client: &Client,
    json: bool,
    counter: &Counter,
    cost: u32,
) -> Result<ExitCode, CommandError> {
    counter.send(client, &[("cost", cost.into()), ("peek", true.into())])?.print(json)
}

/// `waypost limit reset`.
pub(super) fn reset(
    client: &Client,
    json: bool,
    counter: &Counter,
) -> Result<ExitCode, CommandError> {
    let answer = counter.send(client, &[("reset", true.into())])?;
    let line = format!("reset: {} of {} left", answer.remaining, answer.limit);
    print(json, &answer, &[line])?;
    Ok(ExitCode::SUCCESS)
}
