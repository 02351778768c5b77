//! The joining member's side: dials the addresses of its token, one after the other.

use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use kv_core::{
    env::{Environment as _, SystemEnvironment},
    visible::escaped,
};
use kv_replicate::quic::{Won, by_turns, race};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, VarInt, crypto::rustls::QuicClientConfig,
};
use rustls::pki_types::CertificateDer;
use tokio::{
    net::lookup_host,
    task::JoinError,
    time::{Instant, sleep, timeout},
};

use super::{
    message::{
        RenewalRequest, Renewed, Request, Response, Welcome, decode_response, encode,
        encode_renewal,
    },
    protocol::{BUSY, MAX_MESSAGE_BYTES, TIMEOUT},
    tls::{self, Trust},
};
use crate::cluster::state::{names::Address, token::Token};

/// Why a joining member got no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// No address of the token leads to the cluster. The token was not sent.
    #[error(
        "can't reach the cluster: {0}. The token is still valid: check that the location that issued it is running, \
         and that its UDP port is reachable"
    )]
    Unreachable(String),
    /// The CA holder refused.
    #[error("the cluster refused: {0}")]
    Refused(String),
    /// The CA holder was admitting as many others as it can, at each attempt. The token is
    /// still valid, or reserved for this location.
    #[error(
        "the location {0} admits as many joining members as it can, and had no slot for this one for {secs} s: \
         run the same command again later", secs = .1.as_secs()
    )]
    Busy(Address, Duration),
    /// The connection broke after the token was sent.
    #[error(
        "the connection to {0} broke before the response arrived: {1}. Run the same command again: if the token \
         was used, this location gets its response with it"
    )]
    Broken(Address, String),
    /// The system does not let it use the network.
    #[error("can't use the network: {0}")]
    System(#[from] io::Error),
    /// TLS can't be set up.
    #[error("can't set up TLS: {0}")]
    Tls(String),
}

/// Sends the request of a joining member to the addresses of its token until one responds. If that
/// location has no slot, retries for 45 s.
///
/// Dropped, the location may have been admitted or not: a retry with the same id and key gets the answer.
///
/// # Errors
/// See [`EnrolError`].
pub async fn enrol(token: &Token, request: &Request) -> Result<Welcome, EnrolError> {
    enrol_within(RETRY_FOR, token, request).await
}

/// How long a joining member retries while others are admitted. Each takes some syncs of a disk.
const RETRY_FOR: Duration = Duration::from_secs(45);

/// The shortest pause before a retry, and the most that is added to it at random: locations that start
/// at once do not retry at once.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Does what [`enrol`] does, with another time than [`RETRY_FOR`].
pub(in crate::cluster) async fn enrol_within(
    retry_for: Duration,
    token: &Token,
    request: &Request,
) -> Result<Welcome, EnrolError> {
    let tls = tls::client_config(Trust::Hash(token.ca))
        .map_err(|error| EnrolError::Tls(error.to_string()))?;
    let quic =
        QuicClientConfig::try_from(tls).map_err(|error| EnrolError::Tls(error.to_string()))?;
    let config = ClientConfig::new(Arc::new(quic));
    let start = Instant::now();
    loop {
        let busy = match enrol_once(token, request, &config).await {
            Err(EnrolError::Busy(address, _)) => address,
            ended => return ended,
        };
        if start.elapsed() >= retry_for {
            return Err(EnrolError::Busy(busy, retry_for));
        }
        // Without randomness it retries together with others, and may find no slot once more.
        let random = SystemEnvironment::new().random_id().map_or(0, |bytes| bytes[0]);
        sleep(RETRY_PAUSE + RETRY_PAUSE * u32::from(random) / 256).await;
    }
}

/// Sends the request to one address and reads the response.
async fn enrol_once(
    token: &Token,
    request: &Request,
    config: &ClientConfig,
) -> Result<Welcome, EnrolError> {
    let mut failures = Vec::new();
    for address in &token.addresses {
        match connect(address, config).await {
            Ok((endpoint, connection)) => {
                return match exchange(endpoint, connection, &encode(request)).await {
                    Ok(Response::Welcome(welcome)) => Ok(*welcome),
                    Ok(Response::Refused(reason)) => Err(EnrolError::Refused(reason)),
                    Ok(Response::Renewed(_)) => {
                        Err(EnrolError::Broken(address.clone(), OTHER_RESPONSE.to_owned()))
                    }
                    Err(Failure::Busy) => Err(EnrolError::Busy(address.clone(), Duration::ZERO)),
                    Err(Failure::Other(reason)) => Err(EnrolError::Broken(address.clone(), reason)),
                };
            }
            Err(Failure::Busy) => return Err(EnrolError::Busy(address.clone(), Duration::ZERO)),
            Err(Failure::Other(reason)) => {
                tracing::info!("the cluster was not reached at {address}: {reason}");
                failures.push(format!("{address}: {reason}"));
            }
        }
    }
    Err(EnrolError::Unreachable(failures.join("; ")))
}

const OTHER_RESPONSE: &str = "the response is to another kind of request";

/// Why a member got no new certificate at an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// The address does not lead to the location that has the CA's key.
    #[error("{0}: {1}")]
    Unreachable(Address, String),
    /// That location refused.
    #[error("the location that has the CA's key refused: {0}")]
    Refused(String),
    /// TLS can't be set up.
    #[error("can't set up TLS: {0}")]
    Tls(String),
}

/// The request of a member for another certificate, which is sent to one address after the other.
#[derive(Debug)]
pub struct RenewalClient {
    /// Accepts locations of the cluster.
    config: ClientConfig,
    /// The encoded request.
    request: Vec<u8>,
}

impl RenewalClient {
    /// Creates one that talks to locations of the cluster with one of these CAs.
    ///
    /// # Errors
    /// [`RenewError::Tls`].
    pub fn new(
        cas: Vec<CertificateDer<'static>>,
        request: RenewalRequest,
    ) -> Result<RenewalClient, RenewError> {
        let failed = |error: &dyn std::fmt::Display| RenewError::Tls(error.to_string());
        let tls = tls::client_config(Trust::Cas(cas)).map_err(|error| failed(&error))?;
        let quic = QuicClientConfig::try_from(tls).map_err(|error| failed(&error))?;
        let config = ClientConfig::new(Arc::new(quic));
        Ok(RenewalClient { config, request: encode_renewal(request) })
    }

    /// Sends the request to an address. The response is not checked.
    ///
    /// # Errors
    /// [`RenewError::Unreachable`] or [`RenewError::Refused`].
    pub async fn request(&self, address: &Address) -> Result<Renewed, RenewError> {
        let response = match connect(address, &self.config).await {
            Ok((endpoint, connection)) => exchange(endpoint, connection, &self.request).await,
            Err(failure) => Err(failure),
        };
        let failure = match response {
            Ok(Response::Renewed(renewed)) => return Ok(*renewed),
            Ok(Response::Refused(reason)) => return Err(RenewError::Refused(reason)),
            Ok(Response::Welcome(_)) => OTHER_RESPONSE.to_owned(),
            Err(Failure::Busy) => "it has no slot for this location now".to_owned(),
            Err(Failure::Other(reason)) => reason,
        };
        Err(RenewError::Unreachable(address.clone(), failure))
    }
}

/// Why one address gave no response.
enum Failure {
    /// The location has no slot for now.
    Busy,
    Other(String),
}

impl Failure {
    /// The failure of one of the addresses of a name.
    fn at(self, remote: &str) -> Failure {
        match self {
            Failure::Busy => Failure::Busy,
            Failure::Other(reason) => Failure::Other(format!("{remote}: {reason}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Busy => f.write_str("it has no slot now"),
            Failure::Other(reason) => f.write_str(reason),
        }
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Failure {
        Failure::Other(error.to_string())
    }
}

/// The failure of an address that sent nothing in time.
fn no_response() -> Failure {
    Failure::Other(format!("no response for {} s", TIMEOUT.as_secs()))
}

impl From<String> for Failure {
    fn from(reason: String) -> Failure {
        Failure::Other(reason)
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Failure {
        match &error {
            ConnectionError::ApplicationClosed(closed) if closed.error_code == BUSY => {
                Failure::Busy
            }
            // It may contain text that the server chose.
            _ => Failure::Other(escaped(&reason(&error)).into_owned()),
        }
    }
}

/// Sends nothing before the other side has proved that it is in the cluster.
async fn connect(
    address: &Address,
    config: &ClientConfig,
) -> Result<(Endpoint, Connection), Failure> {
    let found = timeout(TIMEOUT, lookup_host(address.as_str())).await;
    let found = found.map_err(|_elapsed| "the lookup of its name timed out".to_owned())?;
    let found = found.map_err(|error| error.to_string())?;
    let attempt = |remote: SocketAddr| {
        let (config, name) = (config.clone(), address.as_str().to_owned());
        async move {
            let connected = timeout(TIMEOUT, connect_to(remote, config)).await;
            let connected = connected.unwrap_or_else(|_elapsed| Err(no_response()));
            let remote = remote.to_string();
            connected.map_err(|error| if remote == name { error } else { error.at(&remote) })
        }
    };
    match race(by_turns(found.take(HOSTS)), attempt).await {
        Ok(Won { value, failed }) => {
            if !failed.is_empty() {
                tracing::info!("{address} was reached, but not at {}", failed.join("; "));
            }
            Ok(value)
        }
        Err(failures) if failures.is_empty() => {
            Err(Failure::Other("its name has no address".to_owned()))
        }
        Err(failures) if failures.iter().any(|failure| matches!(failure, Failure::Busy)) => {
            Err(Failure::Busy)
        }
        Err(failures) => {
            let failures = failures.iter().map(ToString::to_string).collect::<Vec<_>>();
            Err(Failure::Other(failures.join("; ")))
        }
    }
}

/// Connects to one address.
async fn connect_to(
    remote: SocketAddr,
    config: ClientConfig,
) -> Result<(Endpoint, Connection), Failure> {
    let local: SocketAddr = match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = Endpoint::client(local).map_err(|error| error.to_string())?;
    let connecting = endpoint
        .connect_with(config, remote, tls::SERVER_NAME)
        .map_err(|error| error.to_string())?;
    let connection = connecting.await?;
    Ok((endpoint, connection))
}

/// How many addresses of one name are tried.
const HOSTS: usize = 32;

/// QUIC reports an alert of TLS as 0x100 and the alert's own number.
const ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;
const CERTIFICATE_EXPIRED: u64 = 0x100 + 45;
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;

/// The reason why a connection ended, in words for the operator.
fn reason(error: &ConnectionError) -> String {
    let ConnectionError::TransportError(error) = error else { return error.to_string() };
    let alert = &error.reason;
    match u64::from(error.code) {
        CERTIFICATE_EXPIRED => {
            format!(
                "its certificate is not valid at this machine's time ({alert}): check the clocks of both machines"
            )
        }
        NO_APPLICATION_PROTOCOL => {
            format!("it admits nobody, because another location has the CA's key ({alert})")
        }
        code if ALERTS.contains(&code) => {
            format!("it is not in the cluster of the token, and nothing was sent to it ({alert})")
        }
        _ => error.to_string(),
    }
}

/// Sends a request over a new connection, receives the response, and closes the connection.
async fn exchange(
    endpoint: Endpoint,
    connection: Connection,
    request: &[u8],
) -> Result<Response, Failure> {
    let response = timeout(TIMEOUT, request_over(&connection, request)).await;
    connection.close(VarInt::from_u32(0), b"");
    // So that the other side learns of the close; it would find out by itself.
    let _closed_or_not = timeout(TIMEOUT / 10, endpoint.wait_idle()).await;
    response.unwrap_or_else(|_elapsed| Err(no_response()))
}

async fn request_over(connection: &Connection, request: &[u8]) -> Result<Response, Failure> {
    let ask = async || {
        let (mut send, mut receive) = connection.open_bi().await.map_err(|e| e.to_string())?;
        send.write_all(request).await.map_err(|e| e.to_string())?;
        send.finish().map_err(|e| e.to_string())?;
        receive.read_to_end(MAX_MESSAGE_BYTES).await.map_err(|e| e.to_string())
    };
    // The error of a stream only reports that its connection is lost; the connection knows why.
    let cause = |text| connection.close_reason().map_or(Failure::Other(text), Failure::from);
    let response = ask().await.map_err(cause)?;
    decode_response(&response).map_err(|error| Failure::Other(error.to_string()))
}
