//! The namespace that a command uses.
//!
//! A command does not look for the namespace first: its first call names it by title or id, and the server's error says that
//! there is none. The token is read here, and is sent over TLS, a unix socket or to this machine only.

use std::time::Duration;

use waypost_client::{Client, Namespace, Retry};

use super::{
    super::{
        client::{ClientError, ServerArgs},
        server_url::ServerUrl,
    },
    error::KvError,
};

/// How often a call is repeated while a person waits: for a third of a second.
const IMPATIENT: Retry = retry(3, Duration::from_secs(2));
/// How often a call of long work is repeated: for about a minute.
pub(super) const PATIENT: Retry = retry(12, Duration::from_secs(10));

/// When calls are repeated.
const fn retry(attempts: u32, longest_wait: Duration) -> Retry {
    Retry { attempts, first_wait: Duration::from_millis(100), longest_wait }
}

/// The namespace that a command uses.
pub(super) struct Target {
    /// How its server is called in errors.
    pub(super) server: ServerUrl,
    /// Its title or id, as the user wrote it.
    pub(super) name: String,
    /// The namespace.
    pub(super) keys: Namespace,
}

impl Target {
    /// The namespace with this title or id at a server. A person waits.
    pub(super) fn of(args: &ServerArgs, name: &str) -> Result<Target, KvError> {
        Target::with(args, name, args.token()?, IMPATIENT)
    }

    /// The same for long work, which survives a restart of the server, with this token.
    pub(super) fn patient(
        args: &ServerArgs,
        name: &str,
        token: Option<String>,
    ) -> Result<Target, KvError> {
        Target::with(args, name, token, PATIENT)
    }

    /// The namespace with this title or id at a server.
    fn with(
        args: &ServerArgs,
        name: &str,
        token: Option<String>,
        retry: Retry,
    ) -> Result<Target, KvError> {
        let server = args.url()?;
        let builder = Client::builder(&server.to_string()).retry(retry);
        let builder = match args.trust()? {
            Some(tls) => builder.tls(tls),
            None => builder,
        };
        let builder = match token {
            Some(token) => builder.token(token),
            None => builder,
        };
        let client = builder.build().map_err(|error| match error {
            waypost_client::BuildError::Readable(_) => ClientError::Readable(server.clone()).into(),
            error => KvError::Build(error),
        })?;
        Ok(Target { server, name: name.to_owned(), keys: client.namespace(name) })
    }

    /// The error of a call, with what to do.
    pub(super) fn failed(&self, error: waypost_client::Error) -> KvError {
        let (server, namespace) = (self.server.clone(), self.name.clone());
        match error {
            waypost_client::Error::Connect { reason, .. } => match reason {
                waypost_client::ConnectError::NoServer => ClientError::NoServer(server).into(),
                reason => KvError::Unreachable { server, reason },
            },
            error if error.is_no_namespace() => KvError::NoNamespace { server, namespace },
            error => KvError::Call(error),
        }
    }
}
