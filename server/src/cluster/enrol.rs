//! How a token becomes a certificate: one request and one response over QUIC, with the ALPN
//! [`ALPN`].
//!
//! | module | contents |
//! |---|---|
//! | [`protocol`] | constants that both sides share |
//! | [`message`] | the request and the response, and their bytes |
//! | [`authority`] | what the CA holder does with a request, without network or clock |
//! | [`program`] | the program of a joining member, and whether the cluster can take it in |
//! | [`registry`] | the members of the cluster, and the admission of new ones |
//! | [`tls`] | the joining member's TLS: it talks to the cluster of its token only |
//! | [`client`] | the joining member's side |
//! | [`server`] | the CA holder's side |
//! | `slots` | how many joining members are served at a time |
//!
//! A joining member knows the SHA-256 of the CA's certificate from its token. It sends the token's
//! secret only after the other side has proved, in the TLS handshake, that this CA issued its
//! certificate. The CA holder checks that the location can become a member, marks the token as used,
//! durably, then makes the location a member, and only then responds with the certificate. A location
//! that lost the response retries with the same id and key and gets the same certificate.
//!
//! A member renews its certificate over the same protocol, without a token: it proves the certificate that it has,
//! expired or not, and its key.

pub mod authority;
pub mod client;
pub mod message;
pub mod program;
pub mod protocol;
pub mod registry;
pub mod server;
mod slots;
pub mod tls;

pub use self::{
    authority::{Authority, EnrolRefusal, admit},
    client::{EnrolError, enrol},
    message::{Request, Response, Welcome},
    protocol::{ALPN, MAX_MESSAGE_BYTES},
    registry::{AdmissionError, Claim, JoiningMember, Registry, StoreRegistry},
    server::EnrolServer,
};
