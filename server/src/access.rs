//! What a client may use: the APIs that a listener serves, and what a token permits.
//!
//! | module | contents |
//! |---|---|
//! | `apis` | the names of APIs, by which a listener says what it serves |
//! | `token` | a token as a text |
//! | `areas` | the parts of the key-value store that a scope names |
//! | `scopes` | what a token permits, and what a request needs |
//! | `client` | the client of one connection |
//! | `gate` | who sent a request, and what that permits |
//! | `issue` | new tokens, and their revocation |
//! | `failures` | clients whose tokens are not accepted are slowed |
//! | `error`, `shown` | why a request is refused, in texts for people |

pub mod apis;
mod areas;
mod client;
mod error;
mod failures;
mod gate;
pub mod issue;
pub mod scopes;
mod shown;
pub mod token;

pub use self::{
    apis::{ApiName, Apis, UnknownApi},
    areas::{Area, Areas, Keys, Space},
    client::{Client, Origin},
    error::{Forbidden, Unauthenticated},
    gate::{Answer, Demand, Gate, Grant, bearer},
    scopes::{Need, Scope, Scopes},
    token::TokenText,
};
