//! The inviting location's side: one request and one answer for each connection.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kv_core::env::Environment;
use kv_replicate::quic::{Guests, network_of};
use quinn::{Connection, SendStream, VarInt};
use ratelimit::{BuildError, Limit, Limiter};
use tokio::time::timeout;

use super::{
    ALPN, BUSY, MAX_MESSAGE_BYTES, PATIENCE,
    authority::{self, Authority, ServeError, serve},
    message::{Request, Response, decode_request, encode},
    places::{Place, Places},
    registry::Registry,
};
use crate::cluster::{files::ClusterDir, invitations::Refusal};

/// How many wrong tokens a minute are told apart from others and logged: of one network, and of all. A secret has
/// 128 bits, so this only keeps who guesses from filling the log.
const WRONG_OF_ONE: u32 = 60;
const WRONG_OF_ALL: u32 = 600;
const MINUTE: Duration = Duration::from_secs(60);

/// For the counters of wrong tokens: some thousand networks at a time.
const LIMITER_BYTES: usize = 128 << 10;

/// Where newcomers come in.
pub struct Api {
    directory: ClusterDir,
    opened: Mutex<Opened>,
    environment: Arc<dyn Environment>,
    places: Arc<Places>,
    wrong: WrongTokens,
}

/// What is done for one newcomer after the other.
struct Opened {
    authority: Authority,
    registry: Box<dyn Registry + Send>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Api {
    /// A door that opens to tokens of this authority, and makes members in this registry.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new(
        authority: Authority,
        registry: Box<dyn Registry + Send>,
        environment: Arc<dyn Environment>,
    ) -> Result<Api, BuildError> {
        let directory = authority.directory().clone();
        let opened = Mutex::new(Opened { authority, registry });
        let (places, wrong) = (Arc::default(), WrongTokens::new()?);
        Ok(Api { directory, opened, environment, places, wrong })
    }

    /// The door as a replica's port has it.
    #[must_use]
    pub fn guests(self: Arc<Api>) -> Guests {
        let serve = Arc::new(move |connection| {
            let api = Arc::clone(&self);
            let heard: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> =
                Box::pin(async move { api.hear(connection).await });
            heard
        });
        Guests { alpn: ALPN.to_vec(), serve }
    }

    /// Hears the newcomer at the other end of a connection whose ALPN is [`super::ALPN`]: one
    /// request, one answer, within [`PATIENCE`]. It needs no certificate of the other side.
    ///
    /// Dropped, it closes the connection; a newcomer that was let in by then asks again.
    pub async fn hear(self: &Arc<Self>, connection: Connection) {
        let remote = connection.remote_address();
        let Some(place) = self.places.take(remote.ip()).map(Arc::new) else {
            connection.close(BUSY, BUSY_TEXT);
            return;
        };
        let exchange = timeout(PATIENCE, self.exchange(&connection, &place));
        let heard = tokio::select! {
            // The exchange may have ended because of it.
            biased;
            () = place.lost() => {
                tracing::debug!(%remote, "a newcomer had to make room for another");
                connection.close(BUSY, BUSY_TEXT);
                return;
            }
            heard = exchange => heard,
        };
        match heard {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%remote, "a newcomer went away: {error}"),
            Err(_elapsed) => tracing::debug!(%remote, "a newcomer took too long"),
        }
        connection.close(VarInt::from_u32(0), b"");
    }

    async fn exchange(
        self: &Arc<Self>,
        connection: &Connection,
        place: &Arc<Place>,
    ) -> Result<(), Ended> {
        let (send, mut receive) = connection.accept_bi().await?;
        let bytes = receive.read_to_end(MAX_MESSAGE_BYTES).await?;
        let response = match decode_request(&bytes) {
            Ok(request) => {
                let (api, held) = (Arc::clone(self), Arc::clone(place));
                let from = connection.remote_address().ip();
                // The place is taken as long as the work goes on, whoever waits for it.
                let work = move || match api.look(&request, from) {
                    Ok(()) => held.serve(true).then(|| api.answer(&request, from)),
                    Err(refused) => Some(refused),
                };
                let answer = tokio::task::spawn_blocking(work).await?;
                answer.ok_or("its place was given to another")?
            }
            Err(error) => Response::Refused(error.to_string()),
        };
        let told = tell(send, &response);
        tokio::pin!(told);
        // Who is a member now keeps its place until it has the answer, if it takes that in time.
        if matches!(response, Response::Welcome(_))
            && let Ok(sent) = timeout(TO_HEAR, &mut told).await
        {
            return sent;
        }
        place.serve(false);
        told.await
    }

    /// Looks whether this location gave out a newcomer's token, while others may be let in: who has none waits for
    /// nobody, and has no claim to its place. Blocks.
    ///
    /// # Errors
    /// What it is answered if not.
    pub fn look(&self, request: &Request, from: IpAddr) -> Result<(), Response> {
        authority::find(request, &self.directory)
            .map_err(|error| self.refused(request, from, &error))
    }

    /// What a newcomer from this address is answered. Blocks.
    pub fn answer(&self, request: &Request, from: IpAddr) -> Response {
        let said = {
            // Whatever a panic left, the authority's files are whole, and it reads them anew.
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            let Opened { authority, registry } = &mut *opened;
            let now = self.environment.now_ms() / 1000;
            serve(request, authority, &mut **registry, now)
        };
        match said {
            Ok(welcome) => Response::Welcome(Box::new(welcome)),
            Err(error) => {
                tracing::warn!(%from, token = %request.token, "a newcomer was refused: {error}");
                Response::Refused(error.to_string())
            }
        }
    }

    /// What is answered to who has shown no token of this location.
    fn refused(&self, request: &Request, from: IpAddr, error: &ServeError) -> Response {
        // A right token is never among those that are counted: who guesses keeps nobody out.
        let is_few = self.wrong.count(from);
        if is_few {
            tracing::warn!(%from, token = %request.token, "a newcomer was refused: {error}");
        }
        Response::Refused(match error {
            ServeError::Token(Refusal::Unknown) if !is_few => TOO_MANY_WRONG.to_owned(),
            ServeError::Token(_) => error.to_string(),
            // What fails here, and where, is for the log.
            _ => CANT_TELL.to_owned(),
        })
    }
}

/// Why an exchange came to no good end.
type Ended = Box<dyn std::error::Error + Send + Sync>;

/// Returns when the other side has the answer: closing before that would throw it away.
async fn tell(mut send: SendStream, response: &Response) -> Result<(), Ended> {
    send.write_all(&encode(response)).await?;
    send.finish()?;
    send.stopped().await?;
    Ok(())
}

/// How long who was let in keeps its place while it takes its answer.
const TO_HEAR: Duration = Duration::from_secs(2);

const BUSY_TEXT: &[u8] = b"too many newcomers at a time: try again";
const TOO_MANY_WRONG: &str = "this location gave out no such token, and too many wrong ones came in the last \
                              minute: ask for a new one (`waypost cluster invite`)";

const CANT_TELL: &str =
    "the location that invites can't answer now: its log says why; try again when that is mended";

/// Counts wrong tokens, in a fixed memory.
struct WrongTokens {
    limiter: Limiter,
    of_one: Limit,
    of_all: Limit,
}

impl WrongTokens {
    fn new() -> Result<WrongTokens, BuildError> {
        let a_minute =
            |most| Limit::fixed(most, MINUTE).expect("a minute and some hits are a limit");
        let limiter = Limiter::builder().memory_bytes(LIMITER_BYTES).build()?;
        Ok(WrongTokens { limiter, of_one: a_minute(WRONG_OF_ONE), of_all: a_minute(WRONG_OF_ALL) })
    }

    /// Counts one; whether it is not one too many.
    fn count(&self, from: IpAddr) -> bool {
        let network = network_of(from).to_string();
        let is_few = |name, limit, key: &str| self.limiter.limit(name, limit).check(key).allowed;
        is_few("one", self.of_one, &network) && is_few("all", self.of_all, "all")
    }
}
