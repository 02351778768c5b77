//! How a token becomes a certificate: one request and one answer over QUIC, with the ALPN
//! [`ALPN`].
//!
//! | module | what it knows |
//! |---|---|
//! | [`message`] | the request and the answer, and their bytes |
//! | [`authority`] | what the location that invites does with a request: no network, time is told |
//! | [`registry`] | who is a member, and makes newcomers members |
//! | [`tls`] | that the newcomer talks to the cluster of its token, and to nobody else |
//! | [`client`] | the newcomer's side |
//! | [`server`] | the inviting location's side, and how many it hears at a time |
//!
//! The newcomer knows the SHA-256 of the CA's certificate from its token. It sends the token's secret
//! only after the other side has proved, in the TLS handshake, to have a certificate that this CA
//! made. The location that invites looks whether the newcomer can be a member, marks the token as
//! used, durably, then makes it one, and only then answers with the certificate. Who lost the answer
//! asks again with the same id and key and gets the same.

pub mod authority;
pub mod client;
pub mod message;
mod places;
pub mod registry;
pub mod server;
pub mod tls;

use std::time::Duration;

use quinn::VarInt;

pub use self::{
    authority::{Authority, ServeError, serve},
    client::{EnrolError, enrol},
    message::{Request, Response, Welcome},
    registry::{Claim, Newcomer, Registry, StoreRegistry},
    server::Api,
};

/// The protocol's name in the handshake.
pub const ALPN: &[u8] = b"waypost-join/1";

/// The longest request or answer.
pub const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// With this code the connection of a newcomer is closed for whom there is no room. Its token was not looked at, or
/// is kept for it: it asks again.
const BUSY: VarInt = VarInt::from_u32(1);

/// How long one side waits for all that the other does.
pub const PATIENCE: Duration = Duration::from_secs(10);
