//! HTTP for the commands that use a running server: one request, one response.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1,
    header::{AUTHORIZATION, HOST, HeaderValue},
    http::uri::Authority,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    runtime,
    time::timeout,
};

use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    server_url::{ServerUrl, ServerUrlError, bare_host},
    trust::{self, TrustError},
    variable::environment,
};
use crate::{
    http::{BoxError, problem::Problem},
    terminal,
};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server holds a write for 5 s by default, and drops a namespace of many entries quickly.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a response may take of a command that compares or moves much.
const LONG_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Responses are shorter, unless there are hundreds of thousands of namespaces.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// The server that a command uses.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// The server to use [default: http://127.0.0.1:8420] [env: WAYPOST_SERVER]
    #[arg(long, value_name = "URL|unix:PATH", global = true)]
    server: Option<ServerUrl>,

    /// A file with the token to send, or - for stdin [env: WAYPOST_TOKEN_FILE]
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,

    /// The CA of a server with TLS, a PEM file [default: the CAs of the system] [env: WAYPOST_CA_FILE]
    #[arg(long, value_name = "FILE", global = true)]
    ca_file: Option<PathBuf>,

    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl ServerArgs {
    /// The server: that of the flag, or of the variable, or the default.
    pub(super) fn url(&self) -> Result<ServerUrl, ClientError> {
        if let Some(server) = &self.server {
            return Ok(server.clone());
        }
        match environment(VARIABLE) {
            Some(text) => text.to_string_lossy().parse().map_err(ClientError::Variable),
            None => Ok(ServerUrl::Tcp(Authority::from_static("127.0.0.1:8420"))),
        }
    }

    /// Uses this server, whatever the flag and the variable say.
    pub(super) fn set_url(&mut self, url: ServerUrl) {
        self.server = Some(url);
    }

    /// How the server's certificate is checked; none if it has none.
    pub(super) fn trust(&self) -> Result<Option<ClientConfig>, ClientError> {
        let ServerUrl::Tls(_) = self.url()? else { return Ok(None) };
        let variable = || environment("WAYPOST_CA_FILE").map(PathBuf::from);
        let file = self.ca_file.clone().or_else(variable);
        Ok(Some(trust::config(file.as_deref())?))
    }

    /// The file of `--token-file`, if it was given.
    pub(super) fn token_file(&self) -> Option<&Path> {
        self.token_file.as_deref()
    }

    /// The token to send, of the flag or of the variable.
    pub(super) fn token(&self) -> Result<Option<String>, ClientError> {
        match &self.token_file {
            Some(file) => self.token_of(Some(file.clone())),
            None => self.token_of_environment(),
        }
    }

    /// The token of the variable.
    pub(super) fn token_of_environment(&self) -> Result<Option<String>, ClientError> {
        self.token_of(environment("WAYPOST_TOKEN_FILE").map(PathBuf::from))
    }

    /// The token in a file.
    fn token_of(&self, file: Option<PathBuf>) -> Result<Option<String>, ClientError> {
        let Some(file) = file else { return Ok(None) };
        let server = self.url()?;
        if server.is_readable() {
            return Err(ClientError::Readable(server));
        }
        Ok(Some(trust::token(&file)?))
    }
}

/// The variable that names the server.
const VARIABLE: &str = "WAYPOST_SERVER";

/// Why a command got no usable response.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error(
        "no Waypost server at {0}: start one with `waypost serve`, or set --server or WAYPOST_SERVER"
    )]
    NoServer(ServerUrl),
    #[error("{VARIABLE}: {0}")]
    Variable(ServerUrlError),
    #[error("can't reach {0}: {1}; check --server and WAYPOST_SERVER")]
    Unreachable(ServerUrl, io::Error),
    #[error("can't establish TLS with {0}: {1}; check --server, and --ca-file")]
    Handshake(ServerUrl, io::Error),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(
        "the token is not sent to {0}, because the network could read it: use https:// in --server or WAYPOST_SERVER, or \
         unix:PATH on the machine of the server"
    )]
    Readable(ServerUrl),
    #[error(
        "no response from {0} for {secs} s: the operation may or may not have been carried out; check before you \
         retry", secs = .1.as_secs()
    )]
    TimedOut(ServerUrl, Duration),
    #[error(
        "the connection to {0} broke: {1}; the operation may or may not have been carried out, so check before you \
         retry"
    )]
    Broken(ServerUrl, BoxError),
    #[error("{0}")]
    Refused(String),
    #[error("the response of {0} (status {1}) is not that of a Waypost server: check --server")]
    NotWaypost(ServerUrl, StatusCode),
    #[error("{0}")]
    System(io::Error),
}

impl ClientError {
    /// Whether the command itself was wrong.
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, ClientError::Variable(_) | ClientError::Readable(_))
    }
}

/// For requests without a body.
pub(super) const NO_BODY: Option<&()> = None;

/// A client of one server.
pub(super) struct Client {
    /// The server that requests go to.
    server: ServerUrl,
    /// What checks the server's certificate, if it has one.
    tls: Option<TlsConnector>,
    /// The header with the token, if there is one.
    authorization: Option<HeaderValue>,
    /// How long a response may take.
    timeout: Duration,
    /// Runs one request at a time.
    runtime: runtime::Runtime,
}

impl Client {
    /// Creates a client, which connects at its first request.
    pub(super) fn new(args: &ServerArgs) -> Result<Client, ClientError> {
        let server = args.url()?;
        let tls = args.trust()?.map(|config| TlsConnector::from(Arc::new(config)));
        let authorization = args.token()?.as_deref().map(trust::authorization);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClientError::System)?;
        Ok(Client { server, tls, authorization, timeout: RESPONSE_TIMEOUT, runtime })
    }

    /// Creates a client for requests that may take hours, such as a comparison of two locations.
    pub(super) fn patient(args: &ServerArgs) -> Result<Client, ClientError> {
        Ok(Client { timeout: LONG_TIMEOUT, ..Client::new(args)? })
    }

    /// Sends one request, with a JSON body if there is one, and reads the JSON response.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(|error| ClientError::System(error.into()))?.unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.host())
            .body(Full::from(body))
            .map_err(|error| ClientError::System(io::Error::other(error)))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let (status, response) = self.runtime.block_on(self.exchange(request))?;
        let not_waypost = || ClientError::NotWaypost(self.server.clone(), status);
        if status.is_success() {
            return serde_json::from_slice(&response).map_err(|_not_json| not_waypost());
        }
        let problem: Problem =
            serde_json::from_slice(&response).map_err(|_not_json| not_waypost())?;
        Err(ClientError::Refused(problem.error))
    }

    /// Sends a GET without the token, and returns the status and the text of the response.
    pub(super) fn probe(&self, path: &'static str) -> Result<(StatusCode, String), ClientError> {
        let request = Request::builder().uri(path).header(HOST, self.host());
        let request = request
            .body(Full::default())
            .map_err(|error| ClientError::System(io::Error::other(error)))?;
        let (status, text) = self.runtime.block_on(self.exchange(request))?;
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    }

    /// The value of the header `Host`.
    fn host(&self) -> &str {
        match &self.server {
            ServerUrl::Tcp(authority) | ServerUrl::Tls(authority) => authority.as_str(),
            ServerUrl::Unix(_) => "localhost",
        }
    }

    /// Connects, sends a request and reads the whole response.
    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let server = &self.server;
        let response = match server {
            ServerUrl::Tcp(authority) => {
                let stream = self.connect(authority, 80).await?;
                timeout(self.timeout, exchange_over(stream, request)).await
            }
            ServerUrl::Tls(authority) => {
                let stream = self.connect(authority, 443).await?;
                let stream = self.handshake(authority, stream).await?;
                timeout(self.timeout, exchange_over(stream, request)).await
            }
            ServerUrl::Unix(path) => {
                let stream =
                    self.connected(timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await)?;
                timeout(self.timeout, exchange_over(stream, request)).await
            }
        };
        response
            .map_err(|_elapsed| ClientError::TimedOut(server.clone(), self.timeout))?
            .map_err(|error| ClientError::Broken(server.clone(), error))
    }

    /// Connects over TCP.
    async fn connect(&self, authority: &Authority, port: u16) -> Result<TcpStream, ClientError> {
        let address = (bare_host(authority), authority.port_u16().unwrap_or(port));
        self.connected(timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await)
    }

    /// Establishes TLS, and checks the server's certificate.
    async fn handshake(
        &self,
        authority: &Authority,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ClientError> {
        let failed = |error| ClientError::Handshake(self.server.clone(), error);
        let host = ServerName::try_from(bare_host(authority).to_owned());
        let host = host.map_err(|error| failed(io::Error::other(error)))?;
        let tls = self.tls.as_ref().ok_or_else(|| failed(io::ErrorKind::Unsupported.into()))?;
        let handshake = timeout(CONNECT_TIMEOUT, tls.connect(host, stream)).await;
        handshake.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())).map_err(failed)
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

/// Prints one line of JSON.
pub(super) fn print_json(document: &impl Serialize) -> io::Result<()> {
    terminal::write_json(io::stdout().lock(), document)
}

/// Sends a request over an open connection and reads the whole response.
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
    let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await?;
    connection.abort();
    Ok((status, body.to_bytes()))
}
