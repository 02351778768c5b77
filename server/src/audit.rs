//! The audit log: a JSON line for each administrative act, with who did it, from where, and what came of it.
//!
//! | module | contents |
//! |---|---|
//! | `file` | the file, and the thread that writes it |
//! | `refused` | refusals, which are counted, because anyone can cause many |
//!
//! No line contains a secret: tokens are named by their ids, and bodies of requests are not recorded. Texts of clients are
//! bounded, and their control characters are escaped.

mod file;
mod refused;

use std::{
    io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use hyper::{Response, StatusCode};
use kv_core::{
    AccessToken,
    env::{Environment as _, SystemEnvironment},
};
use serde::Serialize;
use serde_json::{Value, json};

use self::{
    file::LogFile,
    refused::{Refusals, Refused},
};
use crate::{
    access::{Client, Origin},
    terminal,
};

/// The longest text of a client in a line, in characters.
const MAX_CHARS: usize = 256;

/// The audit log of a server. Without a file, nothing is recorded.
#[derive(Debug, Default)]
pub struct AuditLog {
    /// The file.
    file: Option<LogFile>,
    /// The refusals that have no line yet.
    refusals: Mutex<Refusals>,
}

/// Whose act it is: a client, and the token that it sent.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    /// The client.
    pub client: &'a Client,
    /// Its token; none where it needs none.
    pub token: Option<&'a AccessToken>,
}

/// An administrative request.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// What it does, such as `token.create`.
    pub action: &'static str,
    /// The path of the request, decoded.
    pub target: &'a str,
    /// The status of its response.
    pub status: StatusCode,
    /// What the response says for the log.
    pub detail: Option<&'a Detail>,
}

/// What the handler of a request has for the log: an extension of its response.
#[derive(Clone, Debug)]
pub struct Detail(Value);

/// A line of the log.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    /// RFC 3339, in UTC.
    time: String,
    /// What was done.
    action: &'a str,
    /// `done`, `refused` or `failed`.
    result: &'a str,
    /// The status of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// How many refusals the line stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    /// The id of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// The description of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    /// The address of the client, or `unix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// The listener that it came over.
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<&'a str>,
    /// The path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    /// More about the act.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a Value>,
}

impl AuditLog {
    /// Opens the file of the setting `audit-log`, and starts the thread that writes it.
    ///
    /// # Errors
    /// If the file can't be opened.
    pub fn open(path: Option<&Path>) -> io::Result<AuditLog> {
        let file = path.map(LogFile::open).transpose()?;
        Ok(AuditLog { file, refusals: Mutex::default() })
    }

    /// Records a request of a client.
    pub fn act(&self, actor: Actor<'_>, act: &Act<'_>) {
        let result = match act.status.as_u16() {
            ..400 => "done",
            400..500 => "refused",
            _ => "failed",
        };
        self.write(Line {
            action: act.action,
            result,
            status: Some(act.status.as_u16()),
            token: actor.token.map(|token| token.id.to_string()),
            description: actor.token.map(|token| &token.description[..]),
            address: Some(address(actor.client.origin())),
            listener: actor.client.listener(),
            target: Some(start(act.target)),
            detail: act.detail.map(|Detail(detail)| detail),
            ..Line::default()
        });
    }

    /// Records the start of the server.
    pub fn begin(&self) {
        self.own("server.start", "done", &json!({"version": env!("CARGO_PKG_VERSION")}));
    }

    /// Records the end of the server, and closes the file.
    pub fn end(&self) {
        self.own("server.stop", "done", &json!({}));
        self.close();
    }

    /// Records what the server itself did, such as a reload.
    pub fn own(&self, action: &str, result: &str, detail: &Value) {
        self.write(Line { action, result, detail: Some(detail), ..Line::default() });
    }

    /// Counts a request that was refused because of its token, or of a lack of one. Its line is written soon.
    pub fn refused(&self, actor: Actor<'_>, reason: &'static str) {
        if self.file.is_some() {
            self.refusals().count(Refused {
                address: Some(address(actor.client.origin())),
                token: actor.token.map(|token| token.id),
                reason,
            });
        }
    }

    /// Writes a line for the refusals of each client since the last call.
    pub fn write_refusals(&self) {
        let refusals = std::mem::take(&mut *self.refusals());
        for (refused, count) in refusals.into_counts() {
            self.write(Line {
                action: "access",
                result: "refused",
                reason: Some(refused.reason),
                count: Some(count),
                token: refused.token.map(|id| id.to_string()),
                address: refused.address,
                ..Line::default()
            });
        }
    }

    /// Reopens the file, after it was renamed.
    pub fn reopen(&self) {
        if let Some(file) = &self.file {
            file.reopen();
        }
    }

    /// Writes what is left, and closes the file. What comes later is not recorded.
    fn close(&self) {
        self.write_refusals();
        if let Some(file) = &self.file {
            file.close();
        }
    }

    /// Hands a line to the thread that writes.
    fn write(&self, line: Line<'_>) {
        let Some(file) = &self.file else { return };
        let now = UNIX_EPOCH + Duration::from_millis(SystemEnvironment::new().now_ms());
        let line = Line { time: humantime::format_rfc3339_millis(now).to_string(), ..line };
        let mut bytes = Vec::new();
        match terminal::write_json(&mut bytes, &line) {
            Ok(()) => file.write(bytes),
            Err(error) => tracing::error!(%error, "can't write a line of the audit log"),
        }
    }

    /// The refusals that have no line yet.
    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds something for the audit log to a response. It must not contain a secret.
#[must_use]
pub fn noted<B>(mut response: Response<B>, detail: Value) -> Response<B> {
    response.extensions_mut().insert(Detail(detail));
    response
}

/// Where a client comes from.
fn address(origin: Origin) -> String {
    match origin {
        Origin::Unix => "unix".to_owned(),
        Origin::Local(ip) | Origin::Remote(ip) => ip.to_string(),
    }
}

/// The start of a text of a client.
fn start(text: &str) -> &str {
    text.char_indices().nth(MAX_CHARS).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use kv_core::AccessTokenId;

    use super::*;
    use crate::access::Apis;

    fn client(ip: [u8; 4]) -> Client {
        Client::new(Apis::ALL, Origin::Remote(ip.into())).of_listener("https://[::]:8443".into())
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).expect("a file");
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    #[test]
    fn an_act_is_a_line_with_who_what_from_where_and_its_result() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        let log = AuditLog::open(Some(&path)).expect("a file");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let token = AccessToken {
            id: AccessTokenId([7; 8]),
            hash: [1; 32],
            scopes: "admin".into(),
            description: "of\u{202e} Ada".into(),
            expires_at: None,
            is_revoked: false,
            created_ms: 0,
        };
        let client = client([192, 0, 2, 1]);
        let actor = Actor { client: &client, token: Some(&token) };
        let detail = Detail(json!({"title": "s\n"}));
        for (status, result) in [(201, "done"), (409, "refused"), (503, "failed")] {
            let target = format!("/v1/namespaces/\u{1b}[31m{}", "x".repeat(1000));
            let status = StatusCode::from_u16(status).expect("a status");
            let act =
                Act { action: "namespace.create", target: &target, status, detail: Some(&detail) };
            log.act(actor, &act);
            // Each line is there once the log is reopened or closed.
            let renamed = directory.path().join(result);
            log.reopen();
            drop(fs::rename(&path, &renamed));
        }
        log.own("server.stop", "done", &json!({}));
        log.close();
        let text: String = fs::read_dir(directory.path())
            .expect("a directory")
            .map(|file| fs::read_to_string(file.expect("a file").path()).expect("a text"))
            .collect();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(!text.chars().any(|letter| letter != '\n' && letter.is_control()), "{text}");
        assert!(!text.contains('\u{202e}'), "{text}");
        let line = text.lines().find(|line| line.contains("201")).expect("a line");
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["token"], "0707070707070707");
        assert_eq!(line["description"], "of\u{202e} Ada");
        assert_eq!((&line["address"], &line["result"]), (&json!("192.0.2.1"), &json!("done")));
        assert_eq!(line["listener"], "https://[::]:8443");
        assert_eq!(line["detail"]["title"], "s\n");
        assert_eq!(line["target"].as_str().map(str::len), Some(MAX_CHARS));
    }

    #[test]
    fn refusals_are_counted_and_a_flood_of_addresses_has_few_lines() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        let log = AuditLog::open(Some(&path)).expect("a file");
        for _ in 0..3 {
            log.refused(Actor { client: &client([192, 0, 2, 1]), token: None }, "unknown");
        }
        log.write_refusals();
        for n in 0..=255 {
            for m in 0..=255 {
                log.refused(Actor { client: &client([10, 0, n, m]), token: None }, "unknown");
            }
        }
        log.close();
        let lines = lines(&path);
        assert_eq!((&lines[0]["count"], &lines[0]["address"]), (&json!(3), &json!("192.0.2.1")));
        assert!(lines.len() < 100, "{}", lines.len());
        let count: u64 = lines[1..].iter().filter_map(|line| line["count"].as_u64()).sum();
        assert_eq!(count, 65_536);
    }

    #[test]
    fn without_a_file_nothing_happens_and_a_directory_is_an_error() {
        let log = AuditLog::open(None).expect("no file");
        log.refused(Actor { client: &client([192, 0, 2, 1]), token: None }, "unknown");
        log.reopen();
        log.close();
        let directory = tempfile::tempdir().expect("a directory");
        assert!(AuditLog::open(Some(directory.path())).is_err());
    }
}
