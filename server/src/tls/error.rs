//! Why the files of a listener's TLS can't be used.

use std::{io, path::PathBuf};

use super::files::MAX_FILE_BYTES;

/// Why the files of a listener's TLS can't be used. The text names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[error(
        "can't read {}: {source}; check the path, and that the user of this process may read it",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file is too long.
    #[error("{} is longer than {MAX_FILE_BYTES} bytes: write the path of a PEM file", .0.display())]
    TooLong(PathBuf),
    /// A file has no block of the kind that it must have.
    #[error(
        "{} has no {kind}: write the path of a PEM file with a block that begins with -----BEGIN \
         {label}-----",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// What it must have.
        kind: &'static str,
        /// The label of its block.
        label: &'static str,
    },
    /// A block of a file is not PEM.
    #[error("{} is not a PEM file: {reason}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The certificate of a file is not one.
    #[error("the certificate in {} can't be used: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The key is not that of the certificate, or of a kind that is not supported.
    #[error(
        "the key in {} can't be used with the certificate in {}: {reason}; write the key that the \
         certificate was issued for",
        key.display(), certificate.display()
    )]
    Key {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificate.
        certificate: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The system has no randomness for session tickets.
    #[error("can't make keys for TLS sessions: {0}")]
    System(String),
}
