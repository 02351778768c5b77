//! The client commands' side of HTTP: one request, one answer.

use std::{fmt, io, path::PathBuf, str::FromStr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode, Uri, client::conn::http1, header::HOST, http::uri::Authority,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    runtime,
    time::timeout,
};

use crate::http::{BoxError, problem::Problem};

const CONNECT: Duration = Duration::from_secs(5);
/// A server holds a write for 5 s at most unless told otherwise; a drop of many entries is quick.
const ANSWER: Duration = Duration::from_secs(60);
const LONG_ANSWER: Duration = Duration::from_secs(24 * 3600);
/// No answer is longer, unless there are hundreds of thousands of namespaces.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Where a server is.
#[derive(Clone, Debug)]
pub(super) enum ServerUrl {
    Tcp(Authority),
    Unix(PathBuf),
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<ServerUrl, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(ServerUrl::Unix(path.into()));
        }
        let wrong = || "say http://HOST:PORT or unix:PATH".to_owned();
        let uri: Uri = text.parse().map_err(|_not_one| wrong())?;
        if uri.scheme_str() == Some("https") {
            return Err("a server speaks plain HTTP: say http://HOST:PORT or unix:PATH".into());
        }
        let is_root = matches!(uri.path(), "" | "/") && uri.query().is_none();
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) if is_root => Ok(ServerUrl::Tcp(authority.clone())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerUrl::Tcp(authority) => write!(f, "http://{authority}"),
            ServerUrl::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a command got no answer that it can use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("no Waypost server at {0}: start one with `waypost serve`, or name it with --server")]
    NoServer(ServerUrl),
    #[error("can't reach {0}: {1}")]
    Unreachable(ServerUrl, io::Error),
    #[error("{0} does not answer; whether it did what was asked is not known")]
    Silent(ServerUrl),
    #[error("the connection to {0} broke: {1}; whether it did what was asked is not known")]
    Broken(ServerUrl, BoxError),
    #[error("{0}")]
    Refused(String),
    #[error("{0} answered {1} in a way that no Waypost server does: is that one?")]
    Stranger(ServerUrl, StatusCode),
    #[error("{0}")]
    System(io::Error),
}

/// Asks a server.
pub(super) struct Client {
    server: ServerUrl,
    patience: Duration,
    runtime: runtime::Runtime,
}

impl Client {
    pub(super) fn new(server: ServerUrl) -> Result<Client, ClientError> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClientError::System)?;
        Ok(Client { server, patience: ANSWER, runtime })
    }

    /// For what may take long: a comparison of all that two locations hold.
    pub(super) fn patient(server: ServerUrl) -> Result<Client, ClientError> {
        Ok(Client { patience: LONG_ANSWER, ..Client::new(server)? })
    }

    /// Makes one request, with a JSON body if one is given, and reads its JSON answer.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(|error| ClientError::System(error.into()))?.unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.host())
            .body(Full::from(body))
            .map_err(|error| ClientError::System(io::Error::other(error)))?;
        let (status, answer) = self.runtime.block_on(self.exchange(request))?;
        let stranger = || ClientError::Stranger(self.server.clone(), status);
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(|_not_json| stranger());
        }
        let problem: Problem = serde_json::from_slice(&answer).map_err(|_not_json| stranger())?;
        Err(ClientError::Refused(problem.error))
    }

    fn host(&self) -> &str {
        match &self.server {
            ServerUrl::Tcp(authority) => authority.as_str(),
            ServerUrl::Unix(_) => "localhost",
        }
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let server = &self.server;
        let answer = match server {
            ServerUrl::Tcp(authority) => {
                let address = (bare_host(authority), authority.port_u16().unwrap_or(80));
                let stream = self.connected(timeout(CONNECT, TcpStream::connect(address)).await)?;
                timeout(self.patience, exchange_over(stream, request)).await
            }
            ServerUrl::Unix(path) => {
                let stream = self.connected(timeout(CONNECT, UnixStream::connect(path)).await)?;
                timeout(self.patience, exchange_over(stream, request)).await
            }
        };
        answer
            .map_err(|_elapsed| ClientError::Silent(server.clone()))?
            .map_err(|error| ClientError::Broken(server.clone(), error))
    }

    fn connected<S>(
        &self,
        stream: Result<io::Result<S>, tokio::time::error::Elapsed>,
    ) -> Result<S, ClientError> {
        use io::ErrorKind::{ConnectionRefused, NotFound, TimedOut};
        let server = self.server.clone();
        match stream {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if matches!(error.kind(), ConnectionRefused | NotFound) => {
                Err(ClientError::NoServer(server))
            }
            Ok(Err(error)) => Err(ClientError::Unreachable(server, error)),
            Err(_elapsed) => Err(ClientError::Unreachable(server, TimedOut.into())),
        }
    }
}

/// An IPv6 address stands in brackets in a URL, and without them anywhere else.
fn bare_host(authority: &Authority) -> &str {
    let host = authority.host();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

async fn exchange_over<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await?;
    connection.abort();
    Ok((status, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_url_or_socket() {
        for (text, shown) in [
            ("http://127.0.0.1:8420", "http://127.0.0.1:8420"),
            ("http://localhost:1/", "http://localhost:1"),
            ("http://[::1]:8420", "http://[::1]:8420"),
            ("unix:/run/waypost.sock", "unix:/run/waypost.sock"),
        ] {
            assert_eq!(text.parse::<ServerUrl>().expect(text).to_string(), shown);
        }
        for text in ["", "unix:", "127.0.0.1:8420", "https://a:1", "http://a:1/x", "ftp://a"] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }
}
