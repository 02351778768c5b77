//! Limits for Envoy: `[[rls]]` in the file, and the YAML files of `rls-config`, in the format of
//! envoyproxy/ratelimit.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ratelimit::Algorithm;
use serde_saphyr::UserMessageFormatter;

use super::{error::ConfigError, settings::Settings};
use crate::api::rls::{Domains, said::Domain};

/// The most bytes of a YAML file.
const MAX_BYTES: u64 = 16 << 20;

/// Loads the domains of the file's `[[rls]]` tables and of the YAML files.
///
/// # Errors
/// If a file can't be read, or a domain is not valid.
pub(super) fn load(
    settings: &Settings,
    inline: &[Domain],
    file: Option<&Path>,
) -> Result<Domains, ConfigError> {
    let algorithm = settings.rls_algorithm;
    let mut domains = Domains::default();
    if let Some(file) = file {
        add(&mut domains, inline, algorithm, file)?;
    }
    for file in settings.rls_config.as_deref().map(files).transpose()?.unwrap_or_default() {
        add(&mut domains, &read(&file)?, algorithm, &file)?;
    }
    Ok(domains)
}

fn add(
    domains: &mut Domains,
    said: &[Domain],
    algorithm: Algorithm,
    file: &Path,
) -> Result<(), ConfigError> {
    said.iter()
        .try_for_each(|domain| domains.add(domain, algorithm))
        .map_err(|source| ConfigError::Domain { path: file.to_owned(), source })
}

/// Returns the file itself, or the YAML files of a directory, sorted by name. Names that begin with a
/// dot are skipped: Kubernetes keeps older versions of a mounted ConfigMap under such names.
fn files(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let is_yaml =
            Path::new(&name).extension().is_some_and(|kind| kind == "yaml" || kind == "yml");
        if is_yaml && !name.to_string_lossy().starts_with('.') {
            files.push(path.join(name));
        }
    }
    if files.is_empty() {
        let none = io::Error::new(
            io::ErrorKind::NotFound,
            "it has no file whose name ends with .yaml or .yml",
        );
        return Err(unreadable(none));
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<Domain>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_BYTES {
        let long = format!("it has {length} bytes; the limit is {MAX_BYTES}");
        return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, long)));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let (line, message) = match parse(&text) {
        Ok(domains) if !domains.is_empty() => return Ok(domains),
        Ok(_) => (1, "there is no domain in it: write `domain` and `descriptors`".to_owned()),
        Err(wrong) => wrong,
    };
    Err(ConfigError::Wrong { path: path.to_owned(), line, message })
}

/// Parses a YAML text: one domain in each of its documents.
///
/// # Errors
/// Returns the line, from 1, and what is wrong there.
pub fn parse(text: &str) -> Result<Vec<Domain>, (usize, String)> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let message = error.render_with_formatter(&UserMessageFormatter);
        let mut message = message.lines().next().unwrap_or_default();
        let mut line = 1;
        if let Some(place) = error.location() {
            line = place.line();
            let suffix = format!(" at line {line}, column {}", place.column());
            message = message.strip_suffix(&suffix).unwrap_or(message);
        }
        (usize::try_from(line).unwrap_or(usize::MAX), message.to_owned())
    })
}
