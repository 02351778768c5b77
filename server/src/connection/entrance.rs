//! A listener with what it serves, and the way from a socket to a connection that speaks HTTP.

use std::{io, net::IpAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use rustls::server::Acceptor;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};

use crate::{
    access::{Apis, Client, Origin},
    admission::{Admission, Permit, Share, Shares},
    tls::Tls,
};

use super::{
    limits::Limits,
    listen::Listen,
    listener::{Listener, Socket},
};

/// A listener with what it serves.
#[derive(Debug)]
pub struct Entrance {
    /// The listener.
    pub listener: Listener,
    /// Its TLS, if it has any. A unix socket has none.
    pub tls: Option<Arc<Tls>>,
    /// The APIs that it serves.
    pub apis: Apis,
}

impl Entrance {
    /// A listener without TLS that serves all APIs.
    #[must_use]
    pub fn plain(listener: Listener) -> Entrance {
        Entrance { listener, tls: None, apis: Apis::ALL }
    }

    /// Whether other machines can reach it.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        // If the system does not report the address, a token is needed.
        !self.listener.address().is_ok_and(|address| address.is_local())
    }

    /// The client of a connection, as far as its access depends on it.
    pub(super) fn client(&self, socket: &Socket) -> Client {
        let origin = match socket {
            Socket::Unix(_) => Origin::Unix,
            Socket::Tcp(_, ip) if self.is_remote() => Origin::Remote(*ip),
            Socket::Tcp(_, ip) => Origin::Local(*ip),
        };
        Client::new(self.apis, origin)
    }

    /// Returns the address as a client writes it, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// If the system does not report it.
    pub fn url(&self) -> io::Result<String> {
        let address = self.listener.address()?;
        Ok(match (&self.tls, address) {
            (Some(_), Listen::Tcp(address)) => format!("https://{address}"),
            (_, address) => address.to_string(),
        })
    }
}

/// A connection before its first request.
pub(super) enum Opened {
    /// Bytes are sent as they are, over TCP.
    Plain(TcpStream),
    /// Bytes are sent as they are, over a unix socket.
    Unix(UnixStream),
    /// TLS is established.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why a connection did not come to its first request.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// Its time is up: `header-timeout` bounds the handshake too.
    #[error("the TLS handshake took too long (header-timeout)")]
    TooSlow,
    /// The client or the network broke it.
    #[error("the TLS handshake failed: {0}")]
    Failed(#[from] io::Error),
    /// The server is about to stop.
    #[error("the server stops")]
    Draining,
    /// The client speaks HTTP without TLS.
    #[error("the client speaks HTTP without TLS")]
    Plain,
}

/// The first byte of a TLS connection: the type of a record of the handshake.
const TLS_HANDSHAKE: u8 = 22;

/// The response to a client that speaks HTTP on a port with TLS.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    connection: close\r\ncontent-length: 46\r\n\r\nthis port speaks TLS: use https:// in the URL\n";

/// The longest beginning of a handshake, in bytes. One that resumes a session contains the certificates of its client.
const MAX_HELLO_BYTES: u64 = 16 << 10;

/// Bounds the TLS handshakes in progress. A handshake is one from the moment when its client has sent what the server must
/// compute with: idle connections take no place of one.
#[derive(Debug)]
pub(super) struct Handshakes {
    /// All of them.
    all: Admission,
    /// Those of each client address: it may have a quarter.
    shares: Arc<Shares>,
}

impl Handshakes {
    /// At most this many at a time, of which each waits for its turn at most this long.
    pub(super) fn new(most: NonZeroUsize, wait: Duration) -> Handshakes {
        let share = NonZeroUsize::MIN.saturating_add(most.get() / 4);
        Handshakes { all: Admission::new(most, wait), shares: Shares::new(share) }
    }

    /// Waits for the turn of a client.
    async fn admit(&self, address: IpAddr) -> Result<(Share, Permit), HandshakeError> {
        let share = self.shares.admit(address).await;
        let permit = self.all.admit().await.map_err(|_refused| HandshakeError::TooSlow)?;
        Ok((share, permit))
    }
}

/// Establishes TLS, if the listener has it. At most as many handshakes as `handshakes` permits are in progress at a time, and
/// each takes at most `header-timeout`, the wait for its turn included.
pub(super) async fn open(
    socket: Socket,
    tls: Option<&Tls>,
    handshakes: &Handshakes,
    limits: &Limits,
) -> Result<Opened, HandshakeError> {
    let (mut stream, address, tls) = match (socket, tls) {
        (Socket::Unix(stream), _) => return Ok(Opened::Unix(stream)),
        (Socket::Tcp(stream, _), None) => return Ok(Opened::Plain(stream)),
        (Socket::Tcp(stream, address), Some(tls)) => (stream, address, tls),
    };
    let handshake = async {
        let mut first = [0];
        let received = stream.peek(&mut first).await?;
        if received > 0 && first[0] != TLS_HANDSHAKE {
            stream.write_all(NOT_TLS).await?;
            stream.shutdown().await?;
            return Err(HandshakeError::Plain);
        }
        let started = hello(stream).await?;
        let _turn = handshakes.admit(address).await?;
        let stream = started.into_stream(tls.config()).await?;
        Ok(Opened::Tls(Box::new(stream)))
    };
    timeout(limits.header, handshake).await.map_err(|_elapsed| HandshakeError::TooSlow)?
}

/// Reads the beginning of a handshake.
async fn hello(stream: TcpStream) -> io::Result<StartHandshake<TcpStream>> {
    let (read, write) = stream.into_split();
    let bounded = tokio::io::join(read.take(MAX_HELLO_BYTES), write);
    let started = LazyConfigAcceptor::new(Acceptor::default(), bounded).await?;
    let (read, write) = started.io.into_inner();
    let stream = read.into_inner().reunite(write).map_err(io::Error::other)?;
    Ok(StartHandshake::from_parts(started.accepted, stream))
}
