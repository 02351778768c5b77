//! The newcomer's side: dials the locations of its token, one after the other.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, VarInt, crypto::rustls::QuicClientConfig,
};
use tokio::{net::lookup_host, time::timeout};

use super::{
    MAX_MESSAGE_BYTES, PATIENCE,
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

/// Sends the request of a newcomer to the locations that its token names, until one answers.
///
/// Dropped, it may have been let in or not: asking again with the same id and key tells.
///
/// # Errors
/// See [`EnrolError`].
pub async fn enrol(token: &Token, request: &Request) -> Result<Welcome, EnrolError> {
    let tls = tls::client_config(token.ca).map_err(|error| EnrolError::Tls(error.to_string()))?;
    let quic =
        QuicClientConfig::try_from(tls).map_err(|error| EnrolError::Tls(error.to_string()))?;
    let config = ClientConfig::new(Arc::new(quic));
    let mut failures = Vec::new();
    for address in &token.addresses {
        match connect(address, &config).await {
            Ok((endpoint, connection)) => {
                let answer = timeout(PATIENCE, exchange(&connection, request)).await;
                connection.close(VarInt::from_u32(0), b"");
                // So that the other side hears of the end; it would find out by itself.
                let _gone_or_not = timeout(PATIENCE / 10, endpoint.wait_idle()).await;
                let silent = |_elapsed| "it does not answer".to_owned();
                return match answer.map_err(silent).and_then(|answer| answer) {
                    Ok(Response::Welcome(welcome)) => Ok(*welcome),
                    Ok(Response::Refused(why)) => Err(EnrolError::Refused(why)),
                    Err(why) => Err(EnrolError::Broken(address.clone(), why)),
                };
            }
            Err(why) => failures.push(format!("{address}: {why}")),
        }
    }
    Err(EnrolError::Unreachable(failures.join("; ")))
}

/// Nothing is sent before the other side has proved to be of the cluster.
async fn connect(
    address: &Address,
    config: &ClientConfig,
) -> Result<(Endpoint, Connection), String> {
    let found = timeout(PATIENCE, lookup_host(address.as_str())).await;
    let found = found.map_err(|_elapsed| "its name is not found in time".to_owned())?;
    let found = found.map_err(|error| error.to_string())?;
    let mut failure = "its name has no address".to_owned();
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
            let connection = connecting.await.map_err(|error| said(&error))?;
            Ok((endpoint, connection))
        };
        match timeout(PATIENCE, connecting).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(why)) => failure = why,
            Err(_elapsed) => failure = "it does not answer".to_owned(),
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

async fn exchange(connection: &Connection, request: &Request) -> Result<Response, String> {
    let ask = async || {
        let (mut send, mut receive) = connection.open_bi().await.map_err(|e| e.to_string())?;
        send.write_all(&encode(request)).await.map_err(|e| e.to_string())?;
        send.finish().map_err(|e| e.to_string())?;
        receive.read_to_end(MAX_MESSAGE_BYTES).await.map_err(|e| e.to_string())
    };
    decode_response(&ask().await?).map_err(|error| error.to_string())
}
