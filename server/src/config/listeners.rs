//! Where a server listens: one listener from the settings, or several from the file.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    error::ConfigError,
    given::Given,
    settings::Settings,
    value::{List, from_file},
};
use crate::{
    access::{ApiName, Apis},
    connection::Listen,
    tls::TlsFiles,
};

/// The most listeners.
const MAX_LISTENERS: usize = 64;

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where it listens.
    pub listen: Listen,
    /// Its TLS, if it has any.
    pub tls: Option<TlsFiles>,
    /// The APIs that it serves.
    pub apis: Apis,
    /// What sets its address, for errors: a flag, a variable, or the file and a line.
    pub place: String,
}

impl ListenerSettings {
    /// Whether both listen in the same way, wherever that is written.
    #[must_use]
    pub fn is_same(&self, other: &ListenerSettings) -> bool {
        ListenerSettings { place: other.place.clone(), ..self.clone() } == *other
    }
}

/// A table `[[listener]]` of the file. Its keys are those of the settings for one listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct ListenerTable {
    #[serde(deserialize_with = "from_file")]
    listen: Option<Listen>,
    #[serde(deserialize_with = "from_file")]
    tls_cert: Option<PathBuf>,
    #[serde(deserialize_with = "from_file")]
    tls_key: Option<PathBuf>,
    #[serde(deserialize_with = "from_file")]
    client_ca: Option<PathBuf>,
    #[serde(deserialize_with = "from_file")]
    apis: Option<List<ApiName>>,
    #[serde(deserialize_with = "from_file")]
    insecure: Option<bool>,
}

/// The fields of [`ListenerTable`].
const FIELDS: [&str; 6] = ["listen", "tls_cert", "tls_key", "client_ca", "apis", "insecure"];

/// A mistake in a listener.
struct Mistake {
    /// The field that is wrong, or that another one does not fit.
    field: &'static str,
    /// What is wrong, why, and what to do.
    message: String,
}

/// The file of a configuration, as far as listeners need it.
pub(super) struct File<'a> {
    /// Its path.
    pub(super) path: &'a Path,
    /// Returns the line of a key, if the file has it.
    pub(super) line: &'a dyn Fn(&str) -> Option<usize>,
    /// The tables `[[listener]]`, each with its line.
    pub(super) tables: Vec<(usize, ListenerTable)>,
}

/// Returns the listeners of the tables of a file, or the one of the settings.
pub(super) fn resolve(
    given: &Given,
    settings: &Settings,
    file: Option<File<'_>>,
) -> Result<Vec<ListenerSettings>, ConfigError> {
    let table = ListenerTable {
        listen: settings.listen.clone(),
        tls_cert: settings.tls_cert.clone(),
        tls_key: settings.tls_key.clone(),
        client_ca: settings.client_ca.clone(),
        apis: settings.apis.clone(),
        insecure: settings.insecure,
    };
    match file {
        Some(file) if !file.tables.is_empty() => {
            if let Some(field) = FIELDS.into_iter().find(|field| table.has(field)) {
                return Err(described_twice(given, field, &file));
            }
            of_tables(file)
        }
        file => of_settings(given, table, file.as_ref()).map(|one| vec![one]),
    }
}

/// The listener of the settings.
fn of_settings(
    given: &Given,
    table: ListenerTable,
    file: Option<&File<'_>>,
) -> Result<ListenerSettings, ConfigError> {
    let line = |field: &str| file.and_then(|file| Some((file.path, (file.line)(&key(field))?)));
    let name = |field: &str| given.name(field).unwrap_or_else(|| flag(field));
    let place = match (given.name("listen"), line("listen")) {
        (None, Some((path, line))) => format!("{}:{line}", path.display()),
        (name, _) => name.unwrap_or_else(|| flag("listen")),
    };
    table.resolve(&name, place).map_err(|Mistake { field, message }| {
        match (given.name(field), line(field)) {
            (None, Some((path, line))) => {
                ConfigError::Wrong { path: path.to_owned(), line, message }
            }
            (setting, _) => {
                ConfigError::Listener { setting: setting.unwrap_or_else(|| flag(field)), message }
            }
        }
    })
}

/// The listeners of the tables of a file.
fn of_tables(file: File<'_>) -> Result<Vec<ListenerSettings>, ConfigError> {
    let wrong = |line, message| ConfigError::Wrong { path: file.path.to_owned(), line, message };
    let mut addresses = BTreeSet::new();
    let mut listeners = Vec::new();
    for (line, table) in file.tables {
        if listeners.len() == MAX_LISTENERS {
            let message = format!("there are more than {MAX_LISTENERS} listeners: remove some");
            return Err(wrong(line, message));
        }
        if table.listen.is_none() {
            let message = "[[listener]] has no address: add listen = \"IP:PORT\" or \"unix:PATH\"";
            return Err(wrong(line, message.into()));
        }
        let place = format!("{}:{line}", file.path.display());
        let name = |field: &str| format!("`{}`", key(field));
        let listener =
            table.resolve(&name, place).map_err(|mistake| wrong(line, mistake.message))?;
        let is_any_port = matches!(&listener.listen, Listen::Tcp(address) if address.port() == 0);
        if !is_any_port && !addresses.insert(listener.listen.to_string()) {
            let message = format!("another [[listener]] has {} too: remove one", listener.listen);
            return Err(wrong(line, message));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

/// The error of a setting for one listener beside tables of listeners.
fn described_twice(given: &Given, field: &str, file: &File<'_>) -> ConfigError {
    let name = given.name(field).unwrap_or_else(|| format!("`{}`", key(field)));
    let message = format!(
        "{name} describes one listener, and so does [[listener]] here: use [[listener]] for all of them, or remove it"
    );
    let line = file.tables.first().map_or(1, |(line, _)| *line);
    ConfigError::Wrong { path: file.path.to_owned(), line, message }
}

/// The key of a field in the file.
fn key(field: &str) -> String {
    field.replace('_', "-")
}

/// The flag of a field.
fn flag(field: &str) -> String {
    format!("--{}", key(field))
}

impl ListenerTable {
    /// Whether a field is set.
    fn has(&self, field: &str) -> bool {
        match field {
            "listen" => self.listen.is_some(),
            "tls_cert" => self.tls_cert.is_some(),
            "tls_key" => self.tls_key.is_some(),
            "client_ca" => self.client_ca.is_some(),
            "apis" => self.apis.is_some(),
            _ => self.insecure.is_some(),
        }
    }

    /// Checks the fields against each other. `name` returns how the user writes a field.
    fn resolve(
        self,
        name: &dyn Fn(&str) -> String,
        place: String,
    ) -> Result<ListenerSettings, Mistake> {
        let listen = self.listen.unwrap_or_default();
        let mistake = |field, message| Err(Mistake { field, message });
        let (cert, key, ca) = (name("tls_cert"), name("tls_key"), name("client_ca"));
        let tls = match (self.tls_cert, self.tls_key, self.client_ca) {
            (Some(certificate), Some(key), client_ca) => {
                Some(TlsFiles { certificate, key, client_ca })
            }
            (Some(_), None, _) => {
                let message = format!("a certificate needs its key: set {key} to the file of it");
                return mistake("tls_cert", message);
            }
            (None, Some(_), _) => {
                let message = format!("a key needs its certificate: set {cert} to the file of it");
                return mistake("tls_key", message);
            }
            (None, None, Some(_)) => {
                let message = format!(
                    "only with TLS can clients be asked for certificates: set {cert} and {key}, or remove {ca}"
                );
                return mistake("client_ca", message);
            }
            (None, None, None) => None,
        };
        if tls.is_some() && matches!(listen, Listen::Unix(_)) {
            let message = format!(
                "{listen} is a unix socket, which has no TLS: remove {cert} and {key}, or listen on IP:PORT"
            );
            return mistake("tls_cert", message);
        }
        if tls.is_none() && !listen.is_local() && self.insecure != Some(true) {
            let message = format!(
                "other machines can reach {listen}, and without TLS everyone on the way can read tokens and values: \
                 set {cert} and {key}; or set {} to true if that is wanted, behind a proxy with TLS for example",
                name("insecure")
            );
            return mistake("listen", message);
        }
        let apis = self.apis.map_or(Apis::ALL, |List(names)| names.into_iter().collect());
        if apis.is_empty() {
            let message = format!("the list names no API: write some of {}", Apis::ALL);
            return mistake("apis", message);
        }
        Ok(ListenerSettings { listen, tls, apis, place })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;
    use crate::config::{Config, Every, Flags};

    /// Loads the configuration of these flags, and of a file with this text.
    fn load(flags: &[&str], text: Option<&str>) -> Result<Vec<ListenerSettings>, String> {
        let args = std::iter::once(&"waypost").chain(flags);
        let command = Flags::<Every>::augment_args(Command::new("waypost"));
        let matches = command.get_matches_from(args);
        let given = Flags::<Every>::from_arg_matches(&matches).expect("its flags").given();
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("waypost.toml");
        let file = text.map(|text| {
            fs::write(&path, text).expect("a file");
            &*path
        });
        let config = Config::load(&given, file);
        config.map(|config| config.listeners).map_err(|error| error.to_string())
    }

    #[test]
    fn one_listener_on_loopback_serves_everything_by_default() {
        let listeners = load(&[], None).expect("the default");
        let [one] = &listeners[..] else { panic!("{listeners:?}") };
        assert_eq!((&one.listen, one.apis, &one.tls), (&Listen::default(), Apis::ALL, &None));
    }

    #[test]
    fn flags_describe_one_listener_and_the_file_several() {
        let tls = ["--listen=0.0.0.0:1", "--tls-cert=c", "--tls-key", "k", "--client-ca", "a"];
        let [one] = &load(&tls, None).expect("one")[..] else { panic!("it is not one") };
        let files =
            TlsFiles { certificate: "c".into(), key: "k".into(), client_ca: Some("a".into()) };
        assert_eq!(one.tls, Some(files));
        let [one] =
            &load(&["--listen=[::]:1", "--insecure", "--apis=rls,ops"], None).expect("one")[..]
        else {
            panic!("it is not one")
        };
        assert_eq!(one.apis, Apis::from_iter([ApiName::Rls, ApiName::Ops]));
        let file = "drain = \"1s\"\n\n[[listener]]\nlisten = \"unix:/s\"\napis = [\"admin\"]\n\n\
                    [[listener]]\nlisten = \"127.0.0.1:0\"\n[[listener]]\nlisten = \"127.0.0.1:0\"\n";
        let listeners = load(&[], Some(file)).expect("three");
        assert_eq!(listeners.len(), 3);
        assert_eq!(listeners[0].apis, Apis::from_iter([ApiName::Admin]));
        assert!(listeners[0].place.ends_with("waypost.toml:3"), "{}", listeners[0].place);
    }

    #[test]
    fn an_error_names_the_flag_or_the_line_and_the_remedy() {
        for (flags, says) in [
            (&["--tls-cert=c"][..], "--tls-cert: a certificate needs its key: set --tls-key"),
            (&["--tls-key=k"], "--tls-key: a key needs its certificate: set --tls-cert"),
            (&["--client-ca=k"], "--client-ca: only with TLS"),
            (
                &["--listen=unix:/x", "--tls-cert=c", "--tls-key=k"],
                "--tls-cert: unix:/x is a unix socket",
            ),
            (&["--listen=0.0.0.0:1"], "set --tls-cert and --tls-key; or set --insecure"),
            (&["--listen=0.0.0.0:1", "--insecure=false"], "other machines can reach"),
            (&["--apis", ""], "--apis: the list names no API"),
            (&["--apis=all"], "--apis: \"all\" is not the name of an API"),
        ] {
            let error = load(flags, None).expect_err(says);
            assert!(error.contains(says), "{says:?} is not in {error:?}");
        }
        for (table, line, says) in [
            ("apis = [\"ops\"]", 2, "has no address"),
            ("listen = \"0.0.0.0:1\"", 2, "set `tls-cert` and `tls-key`"),
            ("listen = \"127.0.0.1:1\"\ntls-cert = \"c\"", 2, "set `tls-key`"),
            ("listen = \"127.0.0.1:1\"\napis = []", 2, "names no API"),
            ("listen = \"127.0.0.1:1\"\napis = [\"web\"]", 4, "\"web\" is not the name"),
            ("listen = \"127.0.0.1:1\"\nport = 1", 4, "unknown field `port`"),
            ("listen = \"unix:/a\"\n[[listener]]\nlisten = \"unix:/a\"", 4, "another [[listener]]"),
        ] {
            let error = load(&[], Some(&format!("# A comment.\n[[listener]]\n{table}\n")));
            let error = error.expect_err(says);
            assert!(error.contains(&format!("waypost.toml:{line}: ")), "{line}: {error}");
            assert!(error.contains(says), "{says:?} is not in {error:?}");
        }
        let error = load(&[], Some("drain = \"1s\"\ntls-cert = \"c\"\n")).expect_err("no key");
        assert!(error.contains("waypost.toml:2: a certificate needs"), "{error}");
    }

    #[test]
    fn listeners_are_described_in_one_way() {
        let table = "[[listener]]\nlisten = \"127.0.0.1:1\"\n";
        let error = load(&["--listen=127.0.0.1:2"], Some(table)).expect_err("two descriptions");
        assert!(error.contains("waypost.toml:1: --listen describes one"), "{error}");
        let both = format!("insecure = true\n{table}");
        let error = load(&[], Some(&both)).expect_err("two descriptions");
        assert!(error.contains("waypost.toml:2: `insecure` describes one"), "{error}");
    }
}
