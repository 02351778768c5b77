//! The token with which a location joins: from its own setting, or from a file.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    thread,
};

use tokio::sync::oneshot;

use super::error::ServeError;
use crate::{
    cluster::state::{
        files::{self, ClusterDir},
        token::{Token, TokenError},
    },
    config::Settings,
};

/// The name of stdin in place of a file.
const STDIN: &str = "-";
/// The longest file of a token, in bytes.
const MAX_BYTES: u64 = 8192;

/// Returns the token of the settings, if there is one. A member needed its file once: whatever is wrong with it now is a
/// warning, and its stdin is not read.
pub(super) async fn of(settings: &Settings) -> Result<Option<Token>, ServeError> {
    let Some(path) = &settings.join_file else { return Ok(settings.join.clone()) };
    let is_member = ClusterDir::of(&settings.data).has(files::DESCRIPTOR);
    if is_member && path.as_os_str() == STDIN {
        return Ok(settings.join.clone());
    }
    match of_file(settings, path).await {
        Ok(token) => Ok(Some(token)),
        Err(Unusable::Unneeded) if is_member => Ok(None),
        Err(Unusable::Unneeded) => Err(wrong(path, TokenError::NoToken.to_string())),
        Err(Unusable::Gone(_)) if is_member => Ok(None),
        Err(Unusable::Gone(reason) | Unusable::Wrong(reason)) => {
            let error = wrong(path, reason);
            if !is_member {
                return Err(error);
            }
            tracing::warn!(
                "{error}. This location is a member already and starts without the file"
            );
            Ok(settings.join.clone())
        }
    }
}

/// Why a file gives no token.
enum Unusable {
    /// It is empty.
    Unneeded,
    /// It does not exist.
    Gone(String),
    /// Something else is wrong.
    Wrong(String),
}

/// The error for a file.
fn wrong(path: &Path, reason: String) -> ServeError {
    ServeError::JoinFile { path: path.to_owned(), reason }
}

/// Reads the token of a file.
async fn of_file(settings: &Settings, path: &Path) -> Result<Token, Unusable> {
    if settings.join.is_some() {
        return Err(Unusable::Wrong("--join is set too: use one of them".into()));
    }
    let text = read_aside(path.to_owned()).await.map_err(|error| {
        let reason = format!(
            "{error}; write the token that `waypost cluster invite` printed into this file"
        );
        match error.kind() {
            io::ErrorKind::NotFound => Unusable::Gone(reason),
            _ => Unusable::Wrong(reason),
        }
    })?;
    if text.trim().is_empty() {
        return Err(Unusable::Unneeded);
    }
    text.parse().map_err(|error: TokenError| Unusable::Wrong(error.to_string()))
}

/// Reads a file or stdin in a thread of its own, which may wait for ever, and nothing waits for it: a signal stops the
/// server meanwhile.
async fn read_aside(path: PathBuf) -> io::Result<String> {
    let (send, receive) = oneshot::channel();
    let reading = move || {
        let text = match path.as_os_str() == STDIN {
            true => read(io::stdin().lock()),
            false => File::open(&path).and_then(read),
        };
        // Nobody receives it once a signal has come.
        let _received_or_not = send.send(text);
    };
    thread::Builder::new().name("join-file".into()).spawn(reading)?;
    receive.await.map_err(io::Error::other)?
}

/// Reads a short text.
fn read(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::{
        cluster::{self, NewCluster},
        config::{Config, Given},
    };
    use kv_core::env::SystemEnvironment;

    /// The settings with this file, for a data directory.
    fn settings(data: &TempDir, file: &str) -> Settings {
        let mut settings = Config::load(&Given::default(), None).expect("the defaults").settings;
        settings.data = data.path().join("data");
        settings.join_file = Some(data.path().join(file));
        settings
    }

    #[tokio::test]
    async fn the_token_is_read_from_a_file_that_a_member_need_not_have() {
        let holder = TempDir::new().expect("a directory");
        let new = NewCluster {
            data: holder.path().join("data"),
            cluster: "prod".parse().expect("a name"),
            location: "fra".parse().expect("a name"),
            advertise: vec!["127.0.0.1:8421".parse().expect("an address")],
            listen: ([127, 0, 0, 1], 0).into(),
        };
        let environment = SystemEnvironment::new();
        cluster::init(&new, &environment).expect("a cluster");
        let hour = std::time::Duration::from_secs(3600);
        let token = cluster::invite(&new.data, None, hour, &environment).expect("a token");

        let place = TempDir::new().expect("a directory");
        fs::write(place.path().join("token"), format!("{token}\n")).expect("a file");
        fs::write(place.path().join("empty"), "\n").expect("a file");
        let read = of(&settings(&place, "token")).await;
        assert_eq!(read.expect("a token"), Some(token.clone()));
        for (file, says) in [("gone", "waypost cluster invite"), ("empty", "begins with wp1-")] {
            let error = of(&settings(&place, file)).await.expect_err(file).to_string();
            assert!(error.starts_with("--join-file: ") && error.contains(says), "{error}");
        }
        let both = Settings { join: Some(token.clone()), ..settings(&place, "token") };
        assert!(of(&both).await.expect_err("both").to_string().contains("use one of them"));
        fs::write(holder.path().join("empty"), "").expect("a file");
        fs::write(holder.path().join("wrong"), "wp1-wrong").expect("a file");
        fs::write(holder.path().join("bytes"), [0xff; 9]).expect("a file");
        for file in ["gone", "empty", "wrong", "bytes", "data", "data/cluster/cluster.toml/no"] {
            let none = of(&settings(&holder, file)).await;
            assert!(none.is_ok_and(|token| token.is_none()), "{file}");
        }
        let stdin = Settings { join_file: Some(STDIN.into()), ..settings(&holder, "") };
        assert!(of(&stdin).await.is_ok_and(|token| token.is_none()));
        let both = Settings { join: Some(token.clone()), ..settings(&holder, "gone") };
        assert_eq!(of(&both).await.ok().flatten(), Some(token));
    }
}
