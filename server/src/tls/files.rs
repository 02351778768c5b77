//! The files of a listener's TLS.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    server::WebPkiClientVerifier,
    sign::CertifiedKey,
};

use super::{Stamp, error::TlsError};

/// The longest file, in bytes: some hundred certificates.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;

/// The protocols that a client may choose, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files of a listener's TLS, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those of the CAs between it and a root.
    pub certificate: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// The certificates of the CAs of clients. With it, every client needs a certificate of one of them.
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    /// Reads the files.
    pub(super) fn load(&self) -> Result<ServerConfig, TlsError> {
        let chain = certificates(&self.certificate)?;
        let key = self.private_key()?;
        let provider = Arc::new(ring::default_provider());
        let not_its_key = |error: rustls::Error| TlsError::Key {
            key: self.key.clone(),
            certificate: self.certificate.clone(),
            reason: error.to_string(),
        };
        // Names the file that is wrong: the configuration below would not.
        let leaf = rustls::server::ParsedCertificate::try_from(&chain[0]);
        drop(leaf.map_err(|error| unusable(&self.certificate, &error))?);
        drop(
            CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider)
                .map_err(not_its_key)?,
        );
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::System(error.to_string()))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for ca in certificates(path)? {
                    roots.add(ca).map_err(|error| unusable(path, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                let verifier = verifier.build().map_err(|error| unusable(path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(not_its_key)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        // Keys of its own: a session does not outlive the CAs that it was accepted under.
        config.ticketer =
            ring::Ticketer::new().map_err(|error| TlsError::System(error.to_string()))?;
        Ok(config)
    }

    /// Reads the key.
    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let text = read(&self.key)?;
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::Missing {
                path: self.key.clone(),
                kind: "private key without a passphrase",
                label: "PRIVATE KEY",
            },
            error => not_pem(&self.key, &error),
        })
    }

    /// What tells this version of the files from another.
    pub(super) fn stamp(&self) -> Stamp {
        let files = [&self.certificate, &self.key].into_iter().chain(&self.client_ca);
        let stamp = |path: &PathBuf| {
            let file = fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len(), file.ino()))
        };
        files.map(stamp).collect()
    }
}

/// Reads the certificates of a file: at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| not_pem(path, &error))?;
    if found.is_empty() {
        let path = path.to_owned();
        return Err(TlsError::Missing { path, kind: "certificate", label: "CERTIFICATE" });
    }
    Ok(found)
}

/// Reads a file whose length is bounded.
fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(TlsError::TooLong(path.to_owned()));
    }
    Ok(bytes)
}

/// The error of a file that is not PEM. It repeats nothing of the file, which may be a key.
fn not_pem(path: &Path, error: &pem::Error) -> TlsError {
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no end; the file is cut",
        pem::Error::IllegalSectionStart { .. } => "the first line of a block is wrong",
        pem::Error::Base64Decode(_) => "a block is not base64",
        _ => "a block is wrong",
    };
    TlsError::NotPem { path: path.to_owned(), reason: reason.to_owned() }
}

/// The error of a certificate that can't be used.
fn unusable(path: &Path, error: &dyn std::error::Error) -> TlsError {
    TlsError::Certificate { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_file_and_never_what_is_in_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).expect("a file");
            path
        };
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("one");
        let other = rcgen::generate_simple_self_signed(["b.example".to_owned()]).expect("another");
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let (good, good_key) = (path("good.pem", &certificate), path("good.key", &key));
        let cut = &key[..key.len() / 2];
        for (certificate, key, client_ca, says) in [
            (path("none.pem", ""), good_key.clone(), None, "none.pem has no certificate"),
            (good.clone(), path("none.key", &certificate), None, "none.key has no private key"),
            (good.clone(), path("cut.key", cut), None, "cut.key is not a PEM file"),
            (good.clone(), directory.path().join("gone"), None, "can't read"),
            (good.clone(), path("b.key", &other.signing_key.serialize_pem()), None, "b.key"),
            (path("long.pem", &"x".repeat(2 << 20)), good_key.clone(), None, "longer than"),
            (
                good.clone(),
                good_key.clone(),
                Some(path("ca.pem", "x")),
                "ca.pem has no certificate",
            ),
        ] {
            let files = TlsFiles { certificate, key, client_ca };
            let error = files.load().expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} is not in {error:?}");
            let secret = made.signing_key.serialize_pem();
            let secret = secret.lines().nth(1).expect("a line of the key");
            assert!(!error.contains(secret) && error.lines().count() == 1, "{error}");
        }
        let files = TlsFiles { certificate: good.clone(), key: good_key, client_ca: Some(good) };
        let config = files.load().expect("all files can be used");
        assert_eq!(config.alpn_protocols, PROTOCOLS);
    }
}
