//! The client of one connection, as far as its access depends on it.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use hyper::header::HeaderValue;
use kv_core::AccessToken;

use super::{apis::Apis, scopes::Scopes};

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A unix socket: the system decides who can connect, so that no token is needed.
    Unix,
    /// An address, through a listener that only this machine reaches.
    Local(IpAddr),
    /// An address, through a listener that other machines reach.
    Remote(IpAddr),
}

/// The client of one connection.
#[derive(Debug)]
pub struct Client {
    /// The APIs that its listener serves.
    apis: Apis,
    /// Where it comes from.
    origin: Origin,
    /// The URL of its listener, if that is known.
    listener: Option<Arc<str>>,
    /// The token that it sent last, if it was accepted.
    accepted: Mutex<Option<Accepted>>,
}

/// A token that was accepted on a connection. The next request with the same header needs neither to be
/// decoded nor hashed.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    /// The header that carried it.
    pub(super) header: HeaderValue,
    /// The token as the store had it.
    pub(super) token: Arc<AccessToken>,
    /// What it permits.
    pub(super) scopes: Arc<Scopes>,
    /// When it was last used, in Unix seconds.
    pub(super) used: Arc<AtomicU64>,
}

impl Accepted {
    /// Records a use.
    pub(super) fn used_at(&self, now: u64) {
        if self.used.load(Relaxed) < now {
            self.used.store(now, Relaxed);
        }
    }
}

impl Client {
    /// A client of a listener with these APIs.
    #[must_use]
    pub fn new(apis: Apis, origin: Origin) -> Client {
        // An IPv4 client of an IPv6 socket is the same as one of an IPv4 socket.
        let origin = match origin {
            Origin::Unix => Origin::Unix,
            Origin::Local(ip) => Origin::Local(ip.to_canonical()),
            Origin::Remote(ip) => Origin::Remote(ip.to_canonical()),
        };
        Client { apis, origin, listener: None, accepted: Mutex::default() }
    }

    /// The same client, with the URL of its listener.
    #[must_use]
    pub fn of_listener(self, url: Arc<str>) -> Client {
        Client { listener: Some(url), ..self }
    }

    /// The URL of its listener, if that is known.
    #[must_use]
    pub fn listener(&self) -> Option<&str> {
        self.listener.as_deref()
    }

    /// The APIs that its listener serves.
    #[must_use]
    pub fn apis(&self) -> Apis {
        self.apis
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The token that it sent last, if it was accepted and the header is the same.
    pub(super) fn accepted(&self, header: &HeaderValue) -> Option<Accepted> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.as_ref().filter(|accepted| accepted.header == header).cloned()
    }

    /// Keeps a token that was accepted.
    pub(super) fn accept(&self, accepted: Accepted) {
        *self.accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(accepted);
    }
}
