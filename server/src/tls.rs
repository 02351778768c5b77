//! TLS of listeners: certificates from files, which are read again when they change.
//!
//! Each listener has one certificate. A connection uses the one that was current when its handshake
//! began, so that a change drops no connection. Files that can't be used change nothing: the listener
//! keeps its certificate, and [`Tls::fault`] says why.

mod error;
mod files;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::ServerConfig;

pub(crate) use self::files::certificates;
pub use self::{error::TlsError, files::TlsFiles};

/// The TLS of one listener.
pub struct Tls {
    /// The files that it comes from.
    files: TlsFiles,
    /// What changes with the files.
    state: Mutex<State>,
}

/// The part of [`Tls`] that changes.
struct State {
    /// The configuration for the next handshakes.
    config: Arc<ServerConfig>,
    /// The files as they were when they were last read.
    read: Stamp,
    /// The files as they were when they were last looked at.
    seen: Stamp,
    /// Why the current files are not in use.
    fault: Option<String>,
}

/// What tells one version of the files from another: for each of them its time of change, length and
/// inode; none if it can't be examined.
type Stamp = Vec<Option<(SystemTime, u64, u64)>>;

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(files: TlsFiles) -> Result<Tls, TlsError> {
        let read = files.stamp();
        let config = Arc::new(files.load()?);
        let seen = read.clone();
        Ok(Tls { files, state: Mutex::new(State { config, read, seen, fault: None }) })
    }

    /// The files that it comes from.
    #[must_use]
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Returns why the files of now are not in use, if they are not.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.state().fault.clone()
    }

    /// Reads the files again, for the handshakes from now on. Connections that are open stay as they
    /// are.
    ///
    /// # Errors
    /// If the files can't be used. The former certificate stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        // Before the files are read: what changes meanwhile is seen the next time.
        let read = self.files.stamp();
        let loaded = self.files.load();
        let mut state = self.state();
        (state.read, state.seen) = (read.clone(), read);
        match loaded {
            Ok(config) => {
                state.config = Arc::new(config);
                state.fault = None;
                Ok(())
            }
            Err(error) => {
                state.fault = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// Reloads if the files differ from those that were read last, and are the same as at the last call:
    /// a certificate and its key are replaced one after the other. Files that could not be used are read at each call: the
    /// cause may be the permissions of a directory above them. Returns whether it reloaded.
    ///
    /// # Errors
    /// As [`Tls::reload`].
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let now = self.files.stamp();
        {
            let mut state = self.state();
            if now == state.read && state.fault.is_none() {
                state.seen = now;
                return Ok(false);
            }
            if now != state.seen {
                state.seen = now;
                return Ok(false);
            }
        }
        self.reload().map(|()| true)
    }

    /// The configuration for the next handshake.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.state().config)
    }

    /// The part that changes. No holder can panic half way.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Writes a certificate for `name` and its key.
    fn write(directory: &Path, name: &str) -> TlsFiles {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let files = TlsFiles {
            certificate: directory.join("cert.pem"),
            key: directory.join("key.pem"),
            client_ca: None,
        };
        fs::write(&files.certificate, made.cert.pem()).expect("a file");
        fs::write(&files.key, made.signing_key.serialize_pem()).expect("a file");
        files
    }

    fn current(tls: &Tls) -> Arc<ServerConfig> {
        tls.config()
    }

    #[test]
    fn files_that_changed_are_read_once_they_stay_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        let tls = Tls::load(write(directory.path(), "one.example")).expect("its files");
        let first = current(&tls);
        assert!(!tls.reload_if_changed().expect("nothing changed"));
        write(directory.path(), "two.example");
        assert!(!tls.reload_if_changed().expect("they may still be changing"));
        assert!(tls.reload_if_changed().expect("they are read"));
        assert!(!Arc::ptr_eq(&first, &current(&tls)));
        assert!(!tls.reload_if_changed().expect("nothing changed since"));
    }

    #[test]
    fn files_that_can_not_be_used_change_nothing_until_they_can() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = write(directory.path(), "one.example");
        let tls = Tls::load(files.clone()).expect("its files");
        let first = current(&tls);
        let old_key = fs::read(&files.key).expect("the key");
        write(directory.path(), "two.example");
        let new_key = fs::read(&files.key).expect("the key");
        fs::write(&files.key, old_key).expect("a file");
        assert!(!tls.reload_if_changed().expect("they may still be changing"));
        let error = tls.reload_if_changed().expect_err("the key of another certificate");
        assert!(error.to_string().contains("key.pem"), "{error}");
        assert_eq!(tls.fault(), Some(error.to_string()));
        assert!(tls.reload_if_changed().is_err(), "it is tried until it succeeds");
        assert!(Arc::ptr_eq(&first, &current(&tls)));
        fs::remove_file(&files.key).expect("a file");
        tls.reload().expect_err("a file is missing");
        fs::write(&files.key, new_key).expect("a file");
        tls.reload().expect("its files");
        assert_eq!(tls.fault(), None);
        assert!(!Arc::ptr_eq(&first, &current(&tls)));
    }
}
