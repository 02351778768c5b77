//! Reading Envoy's limits: `[[rls]]` in the configuration file, and the YAML files of the setting
//! `rls-config`, which are those of envoyproxy/ratelimit.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ratelimit::Algorithm;
use serde_saphyr::UserMessageFormatter;

use super::{build::DomainError, config::Domain, tree::Domains};

/// Why the limits can't be read. The text names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not the YAML of domains.
    #[error("{}:{source}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Where, and why.
        source: YamlError,
    },
    /// A domain is invalid.
    #[error("{}: {source}", path.display())]
    Domain {
        /// The file.
        path: PathBuf,
        /// Where in its tree, and why.
        source: DomainError,
    },
}

impl LoadError {
    /// The file or directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            LoadError::Unreadable { path, .. }
            | LoadError::Yaml { path, .. }
            | LoadError::Domain { path, .. } => path,
        }
    }
}

/// Why a text is not the YAML of domains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {message}")]
pub struct YamlError {
    /// The line, from 1.
    pub line: usize,
    /// The mistake there, in one line of text.
    pub message: String,
}

/// Where limits for Envoy are, and how they are read.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The domains of the configuration file, with its path.
    pub inline: Option<(&'a [Domain], &'a Path)>,
    /// A YAML file, or a directory of such files.
    pub yaml: Option<&'a Path>,
    /// The algorithm of limits that name none.
    pub algorithm: Algorithm,
    /// The most limits.
    pub max_limits: usize,
}

/// Reads all domains. It depends on nothing else, so it can be called again when the files have changed.
///
/// # Errors
/// See [`LoadError`].
pub fn load(sources: Sources<'_>) -> Result<Domains, LoadError> {
    let Sources { inline, yaml, algorithm, max_limits } = sources;
    let mut domains = Domains::with_room(max_limits);
    if let Some((written, file)) = inline {
        add(&mut domains, written, algorithm, file)?;
    }
    for file in yaml.map(files).transpose()?.unwrap_or_default() {
        add(&mut domains, &read(&file)?, algorithm, &file)?;
    }
    Ok(domains)
}

/// Adds domains, whose errors name the file.
fn add(
    domains: &mut Domains,
    written: &[Domain],
    algorithm: Algorithm,
    file: &Path,
) -> Result<(), LoadError> {
    written
        .iter()
        .try_for_each(|domain| domains.add(domain, algorithm))
        .map_err(|source| LoadError::Domain { path: file.to_owned(), source })?;
    domains.warn_of(file);
    Ok(())
}

/// The file itself, or the YAML files of a directory, by name. Names that begin with a dot are
/// skipped, because Kubernetes keeps older versions of a mounted ConfigMap under such names.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
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
        let none = io::Error::new(io::ErrorKind::NotFound, "no file in it ends with .yaml or .yml");
        return Err(unreadable(none));
    }
    files.sort();
    Ok(files)
}

/// Reads a YAML file, which must have a domain.
fn read(path: &Path) -> Result<Vec<Domain>, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let source = match parse(&text) {
        Ok(domains) if !domains.is_empty() => return Ok(domains),
        Ok(_) => YamlError {
            line: 1,
            message: "it has no domain: write `domain` and `descriptors`".into(),
        },
        Err(wrong) => wrong,
    };
    Err(LoadError::Yaml { path: path.to_owned(), source })
}

/// Reads the domains of a YAML text, one in each of its documents.
///
/// # Errors
/// See [`YamlError`].
pub fn parse(text: &str) -> Result<Vec<Domain>, YamlError> {
    // By default, there may be 250,000 values: enough for 25,000 limits. How many limits there may be is
    // checked when the tree is built. What aliases may add stays bounded.
    let budget = serde_saphyr::budget! {
        max_events: usize::MAX,
        max_nodes: usize::MAX,
        max_documents: usize::MAX,
        max_total_scalar_bytes: usize::MAX,
    };
    let options = serde_saphyr::options! { with_snippet: false, budget: budget };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let message = error.render_with_formatter(&UserMessageFormatter);
        let mut message = message.lines().next().unwrap_or_default();
        let mut line = 1;
        if let Some(place) = error.location() {
            line = place.line();
            let suffix = format!(" at line {line}, column {}", place.column());
            message = message.strip_suffix(&suffix).unwrap_or(message);
        }
        YamlError { line: usize::try_from(line).unwrap_or(usize::MAX), message: message.to_owned() }
    })
}
