//! The file of `--resume`: how far an import is.
//!
//! It is JSON, is replaced as a whole after each batch, and is removed at the end. It names source, target and prefix, so that
//! nobody continues one import with the position of another. It contains no password and no token.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::{
    super::error::KvError,
    batch::{Left, Position},
};

/// How far an import is. The server has acknowledged everything before the position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// What is imported.
    pub(super) source: String,
    /// Where it goes.
    pub(super) target: String,
    /// Only keys that start with this.
    pub(super) prefix: String,
    /// Where it continues; none at the start.
    pub(super) position: Option<Position>,
    /// How many entries the server has taken.
    pub(super) imported: u64,
    /// What was left out.
    pub(super) left: Left,
}

/// Keeps a state in a file, if there is one.
pub(super) struct Saved {
    /// The state.
    pub(super) state: State,
    /// The file.
    file: Option<PathBuf>,
}

impl Saved {
    /// Continues with the state of a file, if it exists; else begins with this one.
    pub(super) fn open(file: Option<PathBuf>, begin: State) -> Result<Saved, KvError> {
        let Some(path) = file else { return Ok(Saved { state: begin, file: None }) };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let saved = Saved { state: begin, file: Some(path) };
                saved.save()?;
                return Ok(saved);
            }
            Err(error) => return Err(KvError::Read { path, error }),
        };
        let found: State = serde_json::from_slice(&text)
            .map_err(|error| KvError::NotAState { path: path.clone(), error })?;
        let of = |state: &State| (state.source.clone(), state.target.clone(), state.prefix.clone());
        if of(&found) != of(&begin) {
            let State { source, target, .. } = found;
            return Err(KvError::OtherImport { path, origin: source, target });
        }
        Ok(Saved { state: found, file: Some(path) })
    }

    /// Writes the file. A reader finds the former state or this one.
    pub(super) fn save(&self) -> Result<(), KvError> {
        let Some(path) = &self.file else { return Ok(()) };
        let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
        let write = || {
            let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
            serde_json::to_writer(&mut file, &self.state)?;
            file.flush()?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|error: io::Error| KvError::Write { path: path.clone(), error })
    }

    /// Removes the file, because the import is complete.
    pub(super) fn remove(&self) -> Result<(), KvError> {
        let Some(path) = &self.file else { return Ok(()) };
        fs::remove_file(path).map_err(|error| KvError::Write { path: path.clone(), error })
    }
}
