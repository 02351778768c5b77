//! The newcomer's side: dials the locations of its token, one after the other.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use kv_core::env::{Environment as _, SystemEnvironment};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, VarInt, crypto::rustls::QuicClientConfig,
};
use tokio::{
    net::lookup_host,
    time::{Instant, sleep, timeout},
};

use super::{
    BUSY, MAX_MESSAGE_BYTES, PATIENCE,
    message::{Request, Response, Welcome, decode_response, encode},
    tls,
};
use crate::cluster::{names::Address, token::Token};

/// Why a newcomer got no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// Nobody of the cluster answers. The token was not sent.
    #[error(
        "no location of the cluster answers: {0}. The token is as good as before: see that the \
         location that invites runs, and that its UDP port is open"
    )]
    Unreachable(String),
    /// The location that invites says no.
    #[error("the cluster refused: {0}")]
    Refused(String),
    /// The location that invites had others to let in, each time that it was asked. The
    /// token is as good as before, or kept for this one.
    #[error(
        "the location {0} lets in as many newcomers as it can, and had no room for this one in {secs} s: run the \
         same again when others are in", secs = .1.as_secs()
    )]
    Busy(Address, Duration),
    /// The connection broke after the token was sent.
    #[error(
        "the connection to {0} broke before its answer came: {1}. Run the same again: if the token was \
         taken, this location gets its answer with it"
    )]
    Broken(Address, String),
    /// The system does not let it talk.
    #[error("can't use the network: {0}")]
    System(#[from] io::Error),
    /// The cryptography does not work.
    #[error("can't set up TLS: {0}")]
    Tls(String),
}

/// Sends the request of a newcomer to the locations that its token names, until one answers. Where that has no
/// room for now, it is asked again for 45 s.
///
/// Dropped, it may have been let in or not: asking again with the same id and key tells.
///
/// # Errors
/// See [`EnrolError`].
pub async fn enrol(token: &Token, request: &Request) -> Result<Welcome, EnrolError> {
    enrol_within(BUSY_FOR, token, request).await
}

/// How long a newcomer asks where others are being let in. Each takes some syncs of a disk.
const BUSY_FOR: Duration = Duration::from_secs(45);

/// It asks again after this and at most as long again, each time another part of it: those who started at once
/// do not come back at once.
const BETWEEN_ASKINGS: Duration = Duration::from_millis(500);

/// [`enrol`] with another time than [`BUSY_FOR`].
pub(in crate::cluster) async fn enrol_within(
    busy_for: Duration,
    token: &Token,
    request: &Request,
) -> Result<Welcome, EnrolError> {
    let tls = tls::client_config(token.ca).map_err(|error| EnrolError::Tls(error.to_string()))?;
    let quic =
        QuicClientConfig::try_from(tls).map_err(|error| EnrolError::Tls(error.to_string()))?;
    let config = ClientConfig::new(Arc::new(quic));
    let start = Instant::now();
    loop {
        let busy = match enrol_once(token, request, &config).await {
            Err(EnrolError::Busy(address, _)) => address,
            ended => return ended,
        };
        if start.elapsed() >= busy_for {
            return Err(EnrolError::Busy(busy, busy_for));
        }
        // Without randomness it comes back with others, and may be turned away once more.
        let random = SystemEnvironment::new().random_id().map_or(0, |bytes| bytes[0]);
        sleep(BETWEEN_ASKINGS + BETWEEN_ASKINGS * u32::from(random) / 256).await;
    }
}

async fn enrol_once(
    token: &Token,
    request: &Request,
    config: &ClientConfig,
) -> Result<Welcome, EnrolError> {
    let mut failures = Vec::new();
    for address in &token.addresses {
        match connect(address, config).await {
            Ok((endpoint, connection)) => {
                let answer = timeout(PATIENCE, exchange(&connection, request)).await;
                connection.close(VarInt::from_u32(0), b"");
                // So that the other side hears of the end; it would find out by itself.
                let _gone_or_not = timeout(PATIENCE / 10, endpoint.wait_idle()).await;
                let silent = |_elapsed| Failure::Other("it does not answer".to_owned());
                return match answer.map_err(silent).and_then(|answer| answer) {
                    Ok(Response::Welcome(welcome)) => Ok(*welcome),
                    Ok(Response::Refused(why)) => Err(EnrolError::Refused(why)),
                    Err(Failure::Busy) => Err(EnrolError::Busy(address.clone(), Duration::ZERO)),
                    Err(Failure::Other(why)) => Err(EnrolError::Broken(address.clone(), why)),
                };
            }
            Err(Failure::Busy) => return Err(EnrolError::Busy(address.clone(), Duration::ZERO)),
            Err(Failure::Other(why)) => failures.push(format!("{address}: {why}")),
        }
    }
    Err(EnrolError::Unreachable(failures.join("; ")))
}

/// Why one location gave no answer.
enum Failure {
    /// It has no room for now.
    Busy,
    Other(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::Other(why)
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Failure {
        match &error {
            ConnectionError::ApplicationClosed(closed) if closed.error_code == BUSY => {
                Failure::Busy
            }
            _ => Failure::Other(said(&error)),
        }
    }
}

/// Nothing is sent before the other side has proved to be of the cluster.
async fn connect(
    address: &Address,
    config: &ClientConfig,
) -> Result<(Endpoint, Connection), Failure> {
    let found = timeout(PATIENCE, lookup_host(address.as_str())).await;
    let found = found.map_err(|_elapsed| "its name is not found in time".to_owned())?;
    let found = found.map_err(|error| error.to_string())?;
    let mut failure = Failure::Other("its name has no address".to_owned());
    for to in found.take(HOSTS) {
        let from: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let connecting = async {
            let endpoint = Endpoint::client(from).map_err(|error| error.to_string())?;
            let connecting = endpoint
                .connect_with(config.clone(), to, tls::SERVER_NAME)
                .map_err(|error| error.to_string())?;
            let connection = connecting.await?;
            Ok((endpoint, connection))
        };
        match timeout(PATIENCE, connecting).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(why)) => failure = why,
            Err(_elapsed) => failure = Failure::Other("it does not answer".to_owned()),
        }
    }
    Err(failure)
}

/// How many addresses of one name are tried: each may take all the patience there is.
const HOSTS: usize = 4;

/// The alerts of TLS are this and their own number.
const ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;
const CERTIFICATE_EXPIRED: u64 = 0x100 + 45;
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;

fn said(error: &ConnectionError) -> String {
    let ConnectionError::TransportError(error) = error else { return error.to_string() };
    let why = &error.reason;
    match u64::from(error.code) {
        CERTIFICATE_EXPIRED => {
            format!(
                "its certificate does not hold at this machine's time: see that the clocks of both machines are \
                 right ({why})"
            )
        }
        NO_APPLICATION_PROTOCOL => {
            format!("it lets nobody in: the key of the cluster's CA is elsewhere ({why})")
        }
        code if ALERTS.contains(&code) => {
            format!("who answers there is not of the token's cluster, and was told nothing ({why})")
        }
        _ => error.to_string(),
    }
}

async fn exchange(connection: &Connection, request: &Request) -> Result<Response, Failure> {
    let ask = async || {
        let (mut send, mut receive) = connection.open_bi().await.map_err(|e| e.to_string())?;
        send.write_all(&encode(request)).await.map_err(|e| e.to_string())?;
        send.finish().map_err(|e| e.to_string())?;
        receive.read_to_end(MAX_MESSAGE_BYTES).await.map_err(|e| e.to_string())
    };
    // What a stream says of a connection that was closed is only that it is lost.
    let why = |text| connection.close_reason().map_or(Failure::Other(text), Failure::from);
    let answer = ask().await.map_err(why)?;
    decode_response(&answer).map_err(|error| Failure::Other(error.to_string()))
}
