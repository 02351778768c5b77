//! The token with which a location joins: from its own setting, or from a file.

use std::{
    fs::File,
    io::{self, Read},
};

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

/// Returns the token of the settings, if there is one. The file of a member may be gone or empty: it needed the token
/// once.
pub(super) fn of(settings: &Settings) -> Result<Option<Token>, ServeError> {
    let Some(path) = &settings.join_file else { return Ok(settings.join.clone()) };
    let wrong = |reason: String| ServeError::JoinFile { path: path.clone(), reason };
    if settings.join.is_some() {
        return Err(wrong("--join is set too: use one of them".into()));
    }
    let is_member = ClusterDir::of(&settings.data).has(files::DESCRIPTOR);
    let read = match path.as_os_str() == STDIN {
        true => read(io::stdin().lock()),
        false => File::open(path).and_then(read),
    };
    match read {
        Ok(text) if is_member && text.trim().is_empty() => Ok(None),
        Ok(text) => text.parse().map(Some).map_err(|error: TokenError| wrong(error.to_string())),
        Err(error) if is_member && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(format!(
            "{error}; write the token that `waypost cluster invite` printed into this file"
        ))),
    }
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

    #[test]
    fn the_token_is_read_from_a_file_that_a_member_need_not_have() {
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
        assert_eq!(of(&settings(&place, "token")).expect("a token"), Some(token.clone()));
        for (file, says) in [("gone", "waypost cluster invite"), ("empty", "begins with wp1-")] {
            let error = of(&settings(&place, file)).expect_err(file).to_string();
            assert!(error.starts_with("--join-file: ") && error.contains(says), "{error}");
        }
        let both = Settings { join: Some(token), ..settings(&place, "token") };
        assert!(of(&both).expect_err("both").to_string().contains("use one of them"));
        for file in ["gone", "empty"] {
            assert_eq!(of(&settings(&holder, file)).ok().flatten(), None);
        }
        fs::write(holder.path().join("empty"), "").expect("a file");
        assert!(of(&settings(&holder, "empty")).is_ok_and(|token| token.is_none()));
    }
}
