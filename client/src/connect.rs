//! Connections: TCP, TLS or a unix socket.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Authority};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::{
    address::{Address, Way, bare_host},
    error::ConnectError,
};

/// How long a connection or a TLS handshake may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects to one server, whatever the URI.
#[derive(Clone)]
pub(crate) struct Connector {
    /// The server.
    pub(crate) address: Arc<Address>,
    /// What checks its certificate, if it has one.
    pub(crate) tls: Option<TlsConnector>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

impl Connector {
    /// Connects.
    async fn connect(self) -> Result<Stream, ConnectError> {
        match &self.address.way {
            Way::Tcp(authority) => Ok(Stream(Box::new(tcp(authority, 80).await?))),
            Way::Tls(authority) => {
                let stream = tcp(authority, 443).await?;
                let failed = |error| ConnectError::Tls(Arc::new(error));
                let host = ServerName::try_from(bare_host(authority).to_owned());
                let host = host.map_err(|error| failed(io::Error::other(error)))?;
                let tls = self.tls.ok_or_else(|| failed(io::ErrorKind::Unsupported.into()))?;
                let stream = timely(tls.connect(host, stream)).await.map_err(failed)?;
                Ok(Stream(Box::new(stream)))
            }
            Way::Unix(path) => {
                let stream = timely(UnixStream::connect(path)).await.map_err(unreachable)?;
                Ok(Stream(Box::new(stream)))
            }
        }
    }
}

/// Connects over TCP.
async fn tcp(authority: &Authority, port: u16) -> Result<TcpStream, ConnectError> {
    let to = (bare_host(authority), authority.port_u16().unwrap_or(port));
    let stream = timely(TcpStream::connect(to)).await.map_err(unreachable)?;
    // Without it, the head of a request may wait for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(unreachable)?;
    Ok(stream)
}

/// Bounds the time of a step.
async fn timely<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, step).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

/// Why a machine was not reached.
fn unreachable(error: io::Error) -> ConnectError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ConnectError::NoServer,
        _ => ConnectError::Unreachable(Arc::new(error)),
    }
}

/// A connection of any kind.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, as hyper uses it.
pub(crate) struct Stream(Box<dyn Duplex>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
