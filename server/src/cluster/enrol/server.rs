//! The CA holder's side: one request and one response for each connection.

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
    authority::{self, Authority, EnrolRefusal, Issuer, admit},
    message::{Inquiry, RenewalRequest, Request, Response, decode_inquiry, encode},
    protocol::{ALPN, BUSY, MAX_MESSAGE_BYTES, TIMEOUT},
    registry::Registry,
    slots::{Slot, Slots},
};
use crate::cluster::state::invitations::TokenRejection;

/// How many wrong tokens a minute are logged and get a specific response: of one network, and of all. A
/// secret has 128 bits, so this only keeps guesses from filling the log.
const WRONG_OF_ONE: u32 = 60;
/// The most wrong tokens in a minute from all addresses together.
const WRONG_OF_ALL: u32 = 600;
/// The window in which wrong tokens are counted.
const MINUTE: Duration = Duration::from_secs(60);

/// Memory for the counters of wrong tokens: some thousand networks at a time.
const LIMITER_BYTES: usize = 128 << 10;

/// Serves joining members, on the port of the CA holder's replica.
pub struct EnrolServer {
    /// Proves which certificates are of this cluster.
    issuer: Issuer,
    /// Admits one location at a time.
    admission: Mutex<Admission>,
    /// The source of the time.
    environment: Arc<dyn Environment>,
    /// The connections that may be open at a time.
    slots: Arc<Slots>,
    /// Counts wrong tokens.
    wrong: WrongTokens,
}

/// Admits one joining member after the other.
struct Admission {
    /// Checks requests and issues certificates.
    authority: Authority,
    /// The members in the store.
    registry: Box<dyn Registry + Send>,
}

impl fmt::Debug for EnrolServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolServer").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl EnrolServer {
    /// Creates a server that accepts the tokens of this authority, and creates members in this registry.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new(
        authority: Authority,
        registry: Box<dyn Registry + Send>,
        environment: Arc<dyn Environment>,
    ) -> Result<EnrolServer, BuildError> {
        let issuer = authority.issuer();
        let admission = Mutex::new(Admission { authority, registry });
        let (slots, wrong) = (Arc::default(), WrongTokens::new()?);
        Ok(EnrolServer { issuer, admission, environment, slots, wrong })
    }

    /// Returns the server in the form that a replica's port takes.
    #[must_use]
    pub fn guests(self: Arc<EnrolServer>) -> Guests {
        let serve = Arc::new(move |connection| {
            let server = Arc::clone(&self);
            let served: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> =
                Box::pin(async move { server.serve(connection).await });
            served
        });
        Guests { alpn: ALPN.to_vec(), serve }
    }

    /// Serves a connection whose ALPN is [`ALPN`]: one request and one response, within [`TIMEOUT`]. The
    /// other side needs no certificate.
    ///
    /// Dropped, it closes the connection; a location that was admitted by then retries.
    pub async fn serve(self: &Arc<Self>, connection: Connection) {
        let remote = connection.remote_address().ip().to_canonical();
        let Some(slot) = self.slots.acquire(remote).map(Arc::new) else {
            connection.close(BUSY, BUSY_TEXT);
            return;
        };
        let exchange = timeout(TIMEOUT, self.exchange(&connection, &slot));
        let ended = tokio::select! {
            // Checked first: the exchange may have ended because of it.
            biased;
            () = slot.revoked() => {
                tracing::debug!(%remote, "the slot of a joining member was given to another");
                connection.close(BUSY, BUSY_TEXT);
                return;
            }
            ended = exchange => ended,
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%remote, "a joining member disconnected: {error}"),
            Err(_elapsed) => tracing::debug!(%remote, "a joining member timed out"),
        }
        connection.close(VarInt::from_u32(0), b"");
    }

    /// Reads a request, and sends the response to it.
    async fn exchange(
        self: &Arc<Self>,
        connection: &Connection,
        slot: &Arc<Slot>,
    ) -> Result<(), Ended> {
        let (send, mut receive) = connection.accept_bi().await?;
        let bytes = receive.read_to_end(MAX_MESSAGE_BYTES).await?;
        let response = match decode_inquiry(&bytes) {
            Ok(inquiry) => {
                let (server, held) = (Arc::clone(self), Arc::clone(slot));
                let from = connection.remote_address().ip().to_canonical();
                // The slot is held until the work ends, even if the connection is gone by then.
                let work = move || match server.check(&inquiry, from) {
                    Ok(()) => held.pin().then(|| match &inquiry {
                        Inquiry::Join(request) => server.respond(request, from),
                        Inquiry::Renew(request) => server.renew(request, from),
                    }),
                    Err(refused) => Some(refused),
                };
                let response = tokio::task::spawn_blocking(work).await?;
                response.ok_or("its slot was given to another joining member")?
            }
            Err(error) => Response::Refused(error.to_string()),
        };
        let sent = send_response(send, &response);
        tokio::pin!(sent);
        // A location that is a member now keeps its slot until it has the response, within a bound.
        if matches!(response, Response::Welcome(_))
            && let Ok(sent) = timeout(PINNED_FOR, &mut sent).await
        {
            return sent;
        }
        slot.unpin();
        sent.await
    }

    /// Checks what authenticates the other side: its token, or its certificate. Does not wait for admissions in
    /// progress. Blocks.
    fn check(&self, inquiry: &Inquiry, from: IpAddr) -> Result<(), Response> {
        match inquiry {
            Inquiry::Join(request) => self.check_token(request, from),
            Inquiry::Renew(request) => match authority::check_renewal(request, &self.issuer) {
                Ok(_proven) => Ok(()),
                Err(error) => {
                    if self.wrong.count(from) {
                        tracing::warn!(%from, "refused to renew a certificate: {error}");
                    }
                    Err(Response::Refused(match error {
                        EnrolRefusal::Request(_) => error.to_string(),
                        // An unauthenticated peer must not learn of files.
                        _ => UNAVAILABLE.to_owned(),
                    }))
                }
            },
        }
    }

    /// Issues another certificate to a member, and returns the response. Blocks.
    pub fn renew(&self, request: &RenewalRequest, from: IpAddr) -> Response {
        let renewed = {
            let mut admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
            let Admission { authority, registry } = &mut *admission;
            let now = self.environment.now_ms() / 1000;
            authority::renew(request, authority, &mut **registry, now)
        };
        match renewed {
            Ok(renewed) => Response::Renewed(Box::new(renewed)),
            Err(error) => {
                let member = request.member;
                tracing::warn!(%from, %member, "refused to renew a certificate: {error}");
                Response::Refused(error.to_string())
            }
        }
    }

    /// Checks that this location issued the token of a request. Does not wait for admissions in progress,
    /// and a joining member without a valid token does not pin its slot. Blocks.
    ///
    /// # Errors
    /// The response, if the token is not valid.
    pub fn check_token(&self, request: &Request, from: IpAddr) -> Result<(), Response> {
        authority::check_token(request, self.issuer.directory())
            .map_err(|error| self.refuse(request, from, &error))
    }

    /// Admits a joining member, and returns the response. Blocks.
    pub fn respond(&self, request: &Request, from: IpAddr) -> Response {
        let admitted = {
            // After a panic the authority's files are whole, and it reads them again.
            let mut admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
            let Admission { authority, registry } = &mut *admission;
            let now = self.environment.now_ms() / 1000;
            admit(request, authority, &mut **registry, now)
        };
        match admitted {
            Ok(welcome) => Response::Welcome(Box::new(welcome)),
            Err(error) => {
                tracing::warn!(%from, token = %request.token, "refused a joining member: {error}");
                Response::Refused(error.to_string())
            }
        }
    }

    /// Returns the response to a peer without a valid token.
    fn refuse(&self, request: &Request, from: IpAddr, error: &EnrolRefusal) -> Response {
        // Valid tokens are not counted, so that guesses block no joining member.
        let is_few = self.wrong.count(from);
        if is_few {
            tracing::warn!(%from, token = %request.token, "refused a joining member: {error}");
        }
        Response::Refused(match error {
            EnrolRefusal::Token(TokenRejection::Unknown) if !is_few => TOO_MANY_WRONG.to_owned(),
            EnrolRefusal::Token(_) => error.to_string(),
            // The log has the details. An unauthenticated peer must not learn of files.
            _ => UNAVAILABLE.to_owned(),
        })
    }
}

/// Why an exchange ended early.
type Ended = Box<dyn std::error::Error + Send + Sync>;

/// Returns once the other side has the response: closing earlier would discard it.
async fn send_response(mut send: SendStream, response: &Response) -> Result<(), Ended> {
    send.write_all(&encode(response)).await?;
    send.finish()?;
    send.stopped().await?;
    Ok(())
}

/// How long an admitted location keeps its slot while it receives the response.
const PINNED_FOR: Duration = Duration::from_secs(2);

/// The reason with which a connection without a slot is closed.
const BUSY_TEXT: &[u8] = b"too many joining members at a time: try again";
const TOO_MANY_WRONG: &str = "this location did not issue the token, and received too many wrong ones in the last \
                              minute: ask for a new one (`waypost cluster invite`)";

const UNAVAILABLE: &str =
    "the CA holder can't respond now, and its log has the reason: repair that, and try again";

/// Counts wrong tokens, in a fixed memory.
struct WrongTokens {
    /// The counters, in a fixed memory.
    limiter: Limiter,
    /// The bound for one network.
    of_one: Limit,
    /// The bound for all networks together.
    of_all: Limit,
}

impl WrongTokens {
    /// Creates the counters, which a restart resets.
    fn new() -> Result<WrongTokens, BuildError> {
        let a_minute =
            |most| Limit::fixed(most, MINUTE).expect("a minute and some requests are a limit");
        let limiter = Limiter::builder().memory_bytes(LIMITER_BYTES).build()?;
        Ok(WrongTokens { limiter, of_one: a_minute(WRONG_OF_ONE), of_all: a_minute(WRONG_OF_ALL) })
    }

    /// Counts one. Returns whether it is within both bounds.
    fn count(&self, from: IpAddr) -> bool {
        let network = network_of(from).to_string();
        let is_few = |name, limit, key: &str| self.limiter.limit(name, limit).check(key).allowed;
        is_few("one", self.of_one, &network) && is_few("all", self.of_all, "all")
    }
}
