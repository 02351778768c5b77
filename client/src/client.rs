//! The client of a server, and its namespaces.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsConnector;

use crate::{
    address::{Address, AddressError, Way},
    call::{Call, Caller},
    connect::Connector,
    error::Error,
    namespace::Namespace,
    retry::Retry,
    tls::{self, TlsError},
};

/// How long a connection that is not used stays open.
const IDLE: Duration = Duration::from_secs(30);

/// Why a client can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The address is not one.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The certificates of the server can't be checked.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token is not text that a header may have.
    #[error("the token must be one word of visible ASCII characters")]
    Token,
    /// The network could read the token.
    #[error("the token is not sent to {0}, because the network could read it: use https://")]
    Readable(Address),
}

/// What a client is made of.
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    address: Result<Address, AddressError>,
    account: String,
    token: Option<String>,
    ca: Option<Vec<u8>>,
    tls: Option<ClientConfig>,
    timeout: Duration,
    retry: Retry,
}

impl ClientBuilder {
    /// Sends this token with each call.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> ClientBuilder {
        ClientBuilder { token: Some(token.into()), ..self }
    }

    /// Uses this account. By default it is `local`, the only one of a Waypost server.
    #[must_use]
    pub fn account(self, account: impl Into<String>) -> ClientBuilder {
        ClientBuilder { account: account.into(), ..self }
    }

    /// Trusts these certificates in PEM, and what those of them sign that are CAs, in place of the CAs of the system.
    #[must_use]
    pub fn ca_pem(self, pem: impl Into<Vec<u8>>) -> ClientBuilder {
        ClientBuilder { ca: Some(pem.into()), ..self }
    }

    /// Uses this configuration of TLS, in place of `ca_pem`.
    #[must_use]
    pub fn tls(self, config: ClientConfig) -> ClientBuilder {
        ClientBuilder { tls: Some(config), ..self }
    }

    /// How long the client waits for a response, and for each further piece of it. By default 60 s. While the body of a
    /// request is being sent, the time begins again with each piece.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> ClientBuilder {
        ClientBuilder { timeout, ..self }
    }

    /// When calls are repeated.
    #[must_use]
    pub fn retry(self, retry: Retry) -> ClientBuilder {
        ClientBuilder { retry, ..self }
    }

    /// Makes the client, which connects with its first call.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(self) -> Result<Client, BuildError> {
        let address = Arc::new(self.address?);
        let tls = match (&address.way, self.tls) {
            (Way::Tls(_), Some(config)) => Some(config),
            (Way::Tls(_), None) => {
                let cas = self.ca.as_deref().map(tls::certificates).transpose()?;
                Some(tls::config(cas)?)
            }
            _ => None,
        };
        if self.token.is_some() && address.is_readable() {
            return Err(BuildError::Readable(Address::clone(&address)));
        }
        let authorization = self.token.as_deref().map(authorization).transpose()?;
        let tls = tls.map(|config| TlsConnector::from(Arc::new(config)));
        let connector = Connector { address: Arc::clone(&address), tls };
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        let (timeout, retry) = (self.timeout, self.retry);
        let caller = Arc::new(Caller { address, http, authorization, timeout, retry });
        Ok(Client { caller, account: encoded(&self.account) })
    }
}

/// The header that carries a token.
fn authorization(token: &str) -> Result<HeaderValue, BuildError> {
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = is_token.then(|| HeaderValue::try_from(format!("Bearer {token}")));
    let mut value = value.and_then(Result::ok).ok_or(BuildError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A segment of a path.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A client of one server. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    /// Sends the calls.
    caller: Arc<Caller>,
    /// The account, percent-encoded.
    account: String,
}

/// A namespace, as the server describes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NamespaceInfo {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Its name for people.
    pub title: String,
}

/// The body of a creation or a renaming.
#[derive(Serialize)]
struct Title<'a> {
    title: &'a str,
}

impl Client {
    /// Makes a client of the server at this [address](Address), without a token.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn new(address: &str) -> Result<Client, BuildError> {
        Client::builder(address).build()
    }

    /// Describes a client of the server at this [address](Address).
    #[must_use]
    pub fn builder(address: &str) -> ClientBuilder {
        ClientBuilder {
            address: address.parse(),
            account: "local".to_owned(),
            token: None,
            ca: None,
            tls: None,
            timeout: Duration::from_secs(60),
            retry: Retry::default(),
        }
    }

    /// The server.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.caller.address
    }

    /// The namespace with this id, or, at a Waypost server, with this title. Nothing is sent: whether it exists shows with the
    /// first call.
    #[must_use]
    pub fn namespace(&self, id: &str) -> Namespace {
        let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let path = if is_id { self.path(id) } else { self.path(&format!("title:{id}")) };
        Namespace::new(Arc::clone(&self.caller), path)
    }

    /// Reads all namespaces, in the order of their titles.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn namespaces(&self) -> Result<Vec<NamespaceInfo>, Error> {
        const PER_PAGE: usize = 1000;
        let mut all = Vec::new();
        for page in 1.. {
            let query = format!("?page={page}&per_page={PER_PAGE}&order=title&direction=asc");
            let call = Call::new(Method::GET, self.root() + &query);
            let found: Vec<NamespaceInfo> = self.caller.result(call).await?;
            let is_last = found.len() < PER_PAGE;
            all.extend(found);
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    /// Creates a namespace. The call is not repeated if the server may have performed it.
    ///
    /// # Errors
    /// See [`Error`]. [`Error::code`] is 10014 if the title is taken.
    pub async fn create_namespace(&self, title: &str) -> Result<NamespaceInfo, Error> {
        let call = Call::new(Method::POST, self.root()).json(serde_json::to_vec(&Title { title })?);
        self.caller.result(Call { is_idempotent: false, ..call }).await
    }

    /// Changes the title of a namespace.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rename_namespace(&self, id: &str, title: &str) -> Result<(), Error> {
        let call = Call::new(Method::PUT, self.path(id));
        self.caller.perform(call.json(serde_json::to_vec(&Title { title })?)).await
    }

    /// Drops a namespace with all its entries. The call is not repeated if the server may have performed it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn drop_namespace(&self, id: &str) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, self.path(id));
        self.caller.perform(Call { is_idempotent: false, ..call }).await
    }

    /// The path of the namespaces.
    fn root(&self) -> String {
        format!("/accounts/{}/storage/kv/namespaces", self.account)
    }

    /// The path of a namespace.
    fn path(&self, id: &str) -> String {
        format!("{}/{}", self.root(), encoded(id))
    }
}
