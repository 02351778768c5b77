//! Connections, and their bounds.
//!
//! | bound | setting | what happens |
//! |---|---|---|
//! | the head of a request arrives whole, the protocol's preface included | `header-timeout`, 10 s | the connection is closed |
//! | a connection without a request; or with the beginning of one, sent behind a request in progress, or of a later one in HTTP/2 | `idle-timeout`, 75 s | it is closed |
//! | bytes of a request's body arrive | `body-timeout`, 30 s | 408, and the connection is closed |
//! | 256 bytes of it a second, on average | over 4 times `body-timeout` | likewise |
//! | the client reads a response | `response-timeout`, 30 s | the connection is closed |
//! | a TLS handshake is done, the wait for its turn included | `header-timeout`, 10 s | the connection is closed |
//! | TLS handshakes whose first message has arrived, at a time | none: a tenth of `max-connections`, a quarter of these for one client address | more wait for their turn |
//! | bytes of the first message of a TLS handshake | none: 16 KiB | the connection is closed |
//! | connections at a time | `max-connections`, 10,000 | more are served for monitoring and administration only: `places` |
//! | connections of one client address | half of these | likewise |
//! | bytes of a request's head | `max-header-size`, 64 KiB | 431, and the connection is closed |
//! | headers of a request, in HTTP/1 | none: 100 | 431, and the connection is closed |
//! | HTTP/2 frames that carry nothing | none: see `frames` | the connection is closed |
//! | bytes that all requests hold | `budget`, 256 MiB | 503, and connections that stand still are closed: [`crate::budget`] |
//! | bytes that the system holds of a response that its client does not read | none: 256 KiB | the response waits |
//!
//! A connection that ends while its client may still be sending lingers for up to 2 s, so that the
//! last response is not lost.
//!
//! hyper 1 has no idle timeout: its one timer for heads (`header_read_timeout`) also runs while an
//! HTTP/1 connection is idle, and HTTP/2 has none. The timeout layers of tower-http 0.7 see requests,
//! not connections. So each connection has a watch of ours: `activity` records what happens on a
//! connection, `stream` and `answer` write that record, and `watch` judges it. `head` inspects what
//! hyper is about to parse, and `refusal` explains what hyper rejects.

mod activity;
mod answer;
mod entrance;
mod frames;
mod head;
mod limits;
mod listen;
mod listener;
mod places;
mod refusal;
mod socket_mode;
mod stream;
mod watch;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;

use crate::{access::Client, admission::Admission, app::App, router::Router, tls::Tls};

use self::{
    activity::Activity,
    entrance::{HandshakeError, Handshakes, Opened, open},
    listener::Socket,
    places::{Place, Places},
    stream::Observed,
};

pub use self::{
    entrance::Entrance,
    limits::Limits,
    listen::{Listen, ListenError},
    listener::{BindError, Listener, SocketFile},
    socket_mode::{SocketMode, SocketModeError},
};

/// How many bytes an HTTP/2 stream and connection may have in flight to the server: it bounds the
/// memory for a client that sends faster than the disk writes.
const HTTP2_STREAM_WINDOW: u32 = 256 << 10;
/// The flow-control window of an HTTP/2 connection, in bytes: a few streams.
const HTTP2_CONNECTION_WINDOW: u32 = 512 << 10;
/// How many bytes an HTTP/2 stream may hold of a response that its client does not read.
const HTTP2_SEND_BUFFER: usize = 64 << 10;
/// The most requests at a time on one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 128;

/// How long to pause after the system failed to hand over a connection, for lack of files for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The parts that every connection uses.
struct Site {
    /// Where requests go.
    router: Arc<Router>,
    /// The bounds of each connection.
    limits: Limits,
    /// hyper's configuration, for both versions of HTTP.
    http: auto::Builder<TokioExecutor>,
    /// Bounds the TLS handshakes in progress.
    handshakes: Handshakes,
}

/// Accepts connections and serves them.
pub struct Server {
    /// The parts that all connections share.
    site: Arc<Site>,
    /// Bounds the number of open connections.
    places: Arc<Places>,
    /// The connections that are open, to wait for at the end.
    open: TaskTracker,
}

impl Server {
    /// A server of `router`.
    #[must_use]
    pub fn new(router: Arc<Router>, limits: Limits) -> Server {
        let mut http = auto::Builder::new(TokioExecutor::new());
        let header_bytes = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
        // The watch has the timers; half-closed clients (`nc -N`) receive their response.
        http.http1().header_read_timeout(None).half_close(true).max_buf_size(header_bytes);
        http.http2()
            .max_header_list_size(limits.header_bytes)
            .max_concurrent_streams(HTTP2_STREAMS)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .max_send_buf_size(HTTP2_SEND_BUFFER);
        let connections = NonZeroUsize::try_from(limits.connections).unwrap_or(NonZeroUsize::MAX);
        let handshakes = NonZeroUsize::new(connections.get() / 10).unwrap_or(NonZeroUsize::MIN);
        let handshakes = Handshakes::new(handshakes, limits.header);
        Server {
            site: Arc::new(Site { router, limits, http, handshakes }),
            places: Places::new(Admission::patient(connections)),
            open: TaskTracker::new(),
        }
    }

    /// Accepts connections until the drain closes. Then the listener is gone, and the open connections
    /// end with their requests.
    pub async fn accept(&self, entrance: Entrance) {
        let drain = &self.app().drain;
        let url: Option<Arc<str>> = entrance.url().ok().map(Arc::from);
        let mut is_failing = false;
        let mut is_full = false;
        loop {
            self.warn_if_full(&mut is_full);
            let accepted = tokio::select! {
                biased;
                () = drain.closing() => return,
                accepted = self.next(&entrance.listener) => accepted,
            };
            match accepted {
                Ok((socket, place)) => {
                    is_failing = false;
                    let client = entrance.client(&socket);
                    let client = match &url {
                        Some(url) => client.of_listener(Arc::clone(url)),
                        None => client,
                    };
                    self.spawn(entrance.tls.clone(), (socket, client), place);
                }
                // The client caused it, and it concerns this connection only.
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.app().metrics.connections().accept_failed();
                    if !is_failing {
                        tracing::error!(%error, "can't accept connections; retrying");
                    }
                    is_failing = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Returns once no connection is open. Call it after the drain closes, or it may wait long.
    pub async fn ended(&self) {
        self.open.close();
        self.open.wait().await;
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.len()
    }

    /// The state that the APIs share.
    fn app(&self) -> &Arc<App> {
        self.site.router.app()
    }

    /// Warns once, and again only if a tenth of the connections was free in between.
    fn warn_if_full(&self, is_full: &mut bool) {
        let free = self.places.ordinary().free();
        let max = self.places.ordinary().capacity();
        if free == 0 && !*is_full {
            tracing::warn!(
                max,
                "all connections are in use: further ones get 503 until one ends, except for health, \
                 metrics and administration (max-connections)"
            );
            *is_full = true;
        } else if free > self.connections() / 9 {
            *is_full = false;
        }
    }

    /// Waits for a connection, and takes a place for it.
    async fn next(&self, listener: &Listener) -> std::io::Result<(Socket, Place)> {
        let socket = listener.accept().await?;
        let address = match &socket {
            Socket::Tcp(_, address) => Some(*address),
            Socket::Unix(_) => None,
        };
        Ok((socket, self.places.take(address)))
    }

    /// Serves a connection in a task of its own.
    fn spawn(&self, tls: Option<Arc<Tls>>, (socket, client): (Socket, Client), place: Place) {
        let site = Arc::clone(&self.site);
        self.open.spawn(async move {
            let connections = site.router.app().metrics.connections();
            connections.opened();
            let opened = tokio::select! {
                biased;
                opened = open(socket, tls.as_deref(), &site.handshakes, &site.limits) => opened,
                () = site.router.app().drain.closing() => Err(HandshakeError::Draining),
            };
            match opened {
                Ok(Opened::Plain(stream)) => serve(&site, stream, client, &place).await,
                Ok(Opened::Unix(stream)) => serve(&site, stream, client, &place).await,
                Ok(Opened::Tls(stream)) => serve(&site, *stream, client, &place).await,
                Err(error) => {
                    tracing::debug!(%error, "a connection ended before its first request");
                    if matches!(error, HandshakeError::TooSlow) {
                        connections.cut("header-timeout");
                    }
                }
            }
            connections.closed();
            drop(place);
        });
    }
}

/// Whether an error of `accept` only concerns the connection that it would have returned.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Serves one connection to its end.
async fn serve<S>(site: &Site, stream: S, client: Client, place: &Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let app = site.router.app();
    let activity = Arc::new(Activity::default());
    let account = app.budget.open();
    let stream =
        TokioIo::new(Observed::new(stream, Arc::clone(&activity), site.limits.header_bytes));
    let peer = answer::Peer {
        router: Arc::clone(&site.router),
        client,
        body_timeout: site.limits.body,
        activity: Arc::clone(&activity),
        account: Arc::clone(&account),
        is_reserve: place.is_reserve(),
    };
    let connection = site.http.serve_connection(stream, answer::service(peer));
    tokio::select! {
        biased;
        result = watch::over(connection, &site.limits, &activity, app) => {
            if let Err(error) = result {
                tracing::debug!(error, "a connection broke");
            }
        }
        () = place.ended() => app.metrics.connections().cut("max-connections"),
        () = account.ended() => app.metrics.connections().cut("budget"),
    }
    if activity.is_flooded() {
        app.metrics.connections().cut(frames::LIMIT);
    }
}
