//! Connections, and their bounds.
//!
//! | bound | setting | what happens |
//! |---|---|---|
//! | the head of a request comes whole, the protocol's preface included | `header-timeout`, 10 s | the connection is closed |
//! | a connection without a request, or with the beginning of one sent behind one still being answered, or of a later one in HTTP/2 | `idle-timeout`, 75 s | it is closed |
//! | a request's body moves | `body-timeout`, 30 s | 408, and the connection is closed |
//! | a response is read | `response-timeout`, 30 s | the connection is closed |
//! | connections at a time | `max-connections`, 10,000 | more wait in the system's queue until one ends |
//! | bytes of a request's head | `max-header-size`, 64 KiB | 431, and the connection is closed |
//! | headers of a request, in HTTP/1 | none: 100 | 431, and the connection is closed |
//!
//! A connection that ends while its client may still be sending lingers for up to 2 s, so that the
//! last response is not lost.
//!
//! hyper knows no idle time: its one timer for heads runs while a connection is idle too. So each
//! connection has a watch of our own here. `activity` is what is seen of a connection,
//! `stream` and `answer` see it, and `watch` judges it. `head` looks through what hyper is about to
//! parse, and `refusal` says what it refuses.

mod activity;
mod answer;
mod head;
mod listen;
mod listener;
mod refusal;
mod stream;
mod watch;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{app::App, router::Router};

use self::{activity::Activity, listener::Socket, stream::Observed};

pub use self::{
    listen::{Listen, ListenError},
    listener::{BindError, Listener},
};

/// What each HTTP/2 stream and connection may have on the way to us: it bounds the memory of a
/// client who sends faster than the disk takes.
const HTTP2_STREAM_WINDOW: u32 = 256 << 10;
const HTTP2_CONNECTION_WINDOW: u32 = 512 << 10;
/// What each HTTP/2 stream may hold of a response that its client does not read.
const HTTP2_SEND_BUFFER: usize = 64 << 10;
const HTTP2_STREAMS: u32 = 128;

/// How long to pause after the system refused a connection: out of files, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of connections; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the head of a request, from its first byte; for the first, from the connection.
    pub header: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Between two pieces of a request's body.
    pub body: Duration,
    /// Between two pieces of a response that its client takes.
    pub response: Duration,
    /// Connections at a time.
    pub connections: NonZeroU32,
    /// Bytes of a request's head, at least 8 KiB.
    pub header_bytes: u32,
}

/// What every connection needs: the routes and how HTTP is to be spoken.
struct Site {
    router: Router,
    limits: Limits,
    http: auto::Builder<TokioExecutor>,
}

/// Accepts connections and serves them.
pub struct Server {
    site: Arc<Site>,
    slots: Arc<Semaphore>,
}

impl Server {
    /// A server of `router`.
    #[must_use]
    pub fn new(router: Router, limits: Limits) -> Server {
        let mut http = auto::Builder::new(TokioExecutor::new());
        let header_bytes = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
        // The watch has the timers; half-closed clients (`nc -N`) get their answer.
        http.http1().header_read_timeout(None).half_close(true).max_buf_size(header_bytes);
        http.http2()
            .max_header_list_size(limits.header_bytes)
            .max_concurrent_streams(HTTP2_STREAMS)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .max_send_buf_size(HTTP2_SEND_BUFFER);
        let slots = usize::try_from(limits.connections.get()).unwrap_or(Semaphore::MAX_PERMITS);
        let slots = Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS)));
        Server { site: Arc::new(Site { router, limits, http }), slots }
    }

    /// Accepts connections until the drain closes; then the listener is gone, and the connections
    /// that there are end with their requests.
    pub async fn accept(&self, listener: Listener) {
        let drain = &self.app().drain;
        let mut is_failing = false;
        let mut is_full = false;
        loop {
            self.tell_if_full(&mut is_full);
            let accepted = tokio::select! {
                biased;
                () = drain.closing() => return,
                accepted = self.next(&listener) => accepted,
            };
            match accepted {
                Ok((socket, slot)) => {
                    is_failing = false;
                    self.spawn(socket, slot);
                }
                // The client's doing, and only this connection is concerned.
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.app().metrics.accept_failed();
                    if !is_failing {
                        tracing::error!(%error, "no connection can be accepted; still trying");
                    }
                    is_failing = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Returns when no connection is left. To be called after the drain closes, or it may wait long.
    pub async fn ended(&self) {
        let all = self.site.limits.connections.get();
        // The semaphore is never closed; if it were, no connection could be held by it.
        drop(self.slots.acquire_many(all).await);
    }

    /// How many connections there are. (Slots don't tell: one is held for the next connection.)
    #[must_use]
    pub fn connections(&self) -> usize {
        usize::try_from(self.app().metrics.connections()).unwrap_or_default()
    }

    fn app(&self) -> &Arc<App> {
        self.site.router.app()
    }

    /// Warns once, and again only if a tenth of the connections was free in between.
    fn tell_if_full(&self, is_full: &mut bool) {
        let free = self.slots.available_permits();
        let max = self.site.limits.connections;
        if free == 0 && !*is_full {
            tracing::warn!(max, "all connections are in use; more wait (max-connections)");
            *is_full = true;
        } else if free > self.connections() / 9 {
            *is_full = false;
        }
    }

    async fn next(&self, listener: &Listener) -> std::io::Result<(Socket, OwnedSemaphorePermit)> {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(std::io::Error::other)?;
        Ok((listener.accept().await?, slot))
    }

    fn spawn(&self, socket: Socket, slot: OwnedSemaphorePermit) {
        let site = Arc::clone(&self.site);
        match socket {
            Socket::Tcp(stream) => tokio::spawn(serve(site, stream, slot)),
            Socket::Unix(stream) => tokio::spawn(serve(site, stream, slot)),
        };
    }
}

fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Serves one connection to its end.
async fn serve<S>(site: Arc<Site>, stream: S, slot: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let app = Arc::clone(site.router.app());
    app.metrics.connected();
    let activity = Arc::new(Activity::default());
    let stream =
        TokioIo::new(Observed::new(stream, Arc::clone(&activity), site.limits.header_bytes));
    let service = answer::service(Arc::clone(&site), Arc::clone(&activity));
    let connection = site.http.serve_connection(stream, service);
    if let Err(error) = watch::over(connection, &site.limits, &activity, &app).await {
        tracing::debug!(error, "a connection broke");
    }
    app.metrics.disconnected();
    drop(slot);
}
