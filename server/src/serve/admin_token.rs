//! The token of the setting `admin-token-file`: read at the start, and again when its file changes, so that it can be replaced
//! while the server runs. A file that can't be used changes nothing.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::error::ServeError;
use crate::{access::TokenText, config::Stamp};

/// The longest file of a token, in bytes.
const MAX_BYTES: u64 = 4096;

/// The content of a file can't be used. The text repeats nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unusable(String);

/// The file of a token, and what was seen of it.
#[derive(Debug)]
pub(super) struct AdminToken {
    /// The file.
    path: PathBuf,
    /// The file as it was when it was last read.
    read: Stamp,
    /// Another state that may be half-written.
    changing: Option<Stamp>,
    /// Whether it could not be used when it was last read. Then it is read at each look: the cause may be a directory above it.
    is_faulty: bool,
}

impl AdminToken {
    /// Reads the file of a server that starts.
    ///
    /// # Errors
    /// [`ServeError::AdminToken`].
    pub(super) fn load(path: &Path) -> Result<(AdminToken, TokenText), ServeError> {
        let path = path.to_owned();
        let mut file =
            AdminToken { path, read: Stamp::default(), changing: None, is_faulty: false };
        match file.reload() {
            Ok(token) => Ok((file, token)),
            Err(Unusable(reason)) => Err(ServeError::AdminToken { path: file.path, reason }),
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again.
    ///
    /// # Errors
    /// Why its content can't be used. No text repeats anything of it.
    pub(super) fn reload(&mut self) -> Result<TokenText, Unusable> {
        // Before it is read: what changes meanwhile is seen the next time.
        self.read = self.stamp();
        self.changing = None;
        let token = read(&self.path);
        self.is_faulty = token.is_err();
        token
    }

    /// Reads the file if it has changed and is the same as at the last look, or if it is faulty.
    ///
    /// # Errors
    /// As [`AdminToken::reload`].
    pub(super) fn look(&mut self) -> Option<Result<TokenText, Unusable>> {
        let now = self.stamp();
        if now == self.read {
            self.changing = None;
            return self.is_faulty.then(|| self.reload());
        }
        if self.changing.as_ref() != Some(&now) {
            self.changing = Some(now);
            return None;
        }
        Some(self.reload())
    }

    /// The state of the file.
    fn stamp(&self) -> Stamp {
        let mut stamp = Stamp::default();
        stamp.add(&self.path);
        stamp
    }
}

/// Reads the token of a file.
fn read(path: &Path) -> Result<TokenText, Unusable> {
    let unreadable = |error: io::Error| {
        Unusable(format!("{error}; check the path, and that the user of this process may read it"))
    };
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
        .map_err(unreadable)?;
    text.trim().parse().map_err(|error| {
        Unusable(format!("{error}. `waypost token generate` prints one for this setting"))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use kv_core::env::SystemEnvironment;

    use super::*;

    #[test]
    fn a_token_is_read_again_once_its_file_has_changed_and_stays_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let write = |text: &str| {
            let new = directory.path().join("new");
            fs::write(&new, text).expect("a file");
            fs::rename(new, &path).expect("a rename");
        };
        let made = || TokenText::generate(&SystemEnvironment::new()).expect("a token");
        let (one, two) = (made(), made());
        assert!(AdminToken::load(&path).is_err());
        write(&format!("{}\n", one.reveal()));
        let (mut file, token) = AdminToken::load(&path).expect("a token");
        assert_eq!((token, file.look()), (one, None));
        write(&two.reveal()[..30]);
        assert_eq!(file.look(), None, "it may still be changing");
        let error = file.look().expect("it is read").expect_err("it is cut");
        assert!(error.0.contains("mistyped or cut") && !error.0.contains(&two.reveal()[4..30]));
        assert_eq!(file.look(), Some(Err(error)), "it is read until it can be used");
        write(&two.reveal());
        assert_eq!(file.look(), None, "it may still be changing");
        assert_eq!((file.look(), file.look()), (Some(Ok(two)), None));
        fs::remove_file(&path).expect("a file");
        assert_eq!(file.look(), None, "it may be replaced");
        assert!(file.look().is_some_and(|read| read.is_err()));
    }
}
