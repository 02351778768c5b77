//! Requests that a web page makes a browser send are refused, whatever they ask for, before an API sees them.
//!
//! Without tokens, the server trusts everyone who can reach it. A browser on the same machine can, and it sends requests
//! for any page that is open in it. Three headers tell them from those of programs, and no page can change these:
//!
//! | header | refused |
//! |---|---|
//! | `Origin` | unless it is the host and port of the request itself. Browsers send it with every request that is not a simple read, and with every WebSocket |
//! | `Sec-Fetch-Site` | unless it is `none` (the user typed the address) or `same-origin`. Browsers send it to loopback addresses and `localhost`, for images and links too |
//! | `Host`, over HTTP/1 | if it is a name with a dot in it, unless `allowed-hosts` has it. A page can point a name of its own at this machine, and the browser then takes the server for the page's own (DNS rebinding) |
//!
//! Browsers speak HTTP/2 only over TLS, so the authority of a gRPC client is not checked, except against an `Origin`. A
//! request target that is a whole URL replaces `Host`, as RFC 9112 section 3.2.2 demands.
//!
//! What remains: a browser sends neither `Origin` nor `Sec-Fetch-Site` with a simple read, such as that of an image, from a
//! host that it does not take for this machine. If a name without a dot leads to the address that the server listens
//! on, a page can use that name to count against a rate limit; it can't read the response.

mod host;

use http::{
    HeaderMap, HeaderName, Request, StatusCode, Version,
    header::{HOST, HeaderValue, ORIGIN},
};

use self::host::Host;

pub use self::host::{AllowedHost, AllowedHostError};

/// Which site made a browser send a request.
static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The values of `Sec-Fetch-Site` that stand for no other site.
const OWN_SITES: [&[u8]; 2] = [b"none", b"same-origin"];

/// The most bytes of a header that a refusal repeats.
const MAX_SHOWN_BYTES: usize = 100;

/// Decides which requests come from web pages.
#[derive(Clone, Debug, Default)]
pub struct WebPages {
    /// The names that `Host` may have although a page could use them.
    allowed: Vec<AllowedHost>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The page is another site's, or the browser does not name it.
    #[error(
        "refused, because a web page sent this request (Origin: {0}), and pages of other sites must not use this server, \
         which has no tokens: use a program that sends no Origin. A proxy that serves browsers must keep their Host, which \
         --allowed-hosts must name; one that serves programs must remove Origin (docs/operating.md, Web pages)"
    )]
    Origin(String),
    /// Another site made the browser send it.
    #[error(
        "refused, because a web page of another site made the browser send this request (Sec-Fetch-Site: {0}), and such \
         pages must not use this server, which has no tokens: type the address, or use a program that does not send this \
         header. A proxy that serves programs must remove it (docs/operating.md, Web pages)"
    )]
    Site(String),
    /// A name that a page could point at this machine.
    #[error(
        "refused, because a web page could have pointed the name in this request's Host at this machine (Host: {0}): use \
         localhost, 127.0.0.1, [::1] or a name without a dot. If this name is the server's own, start the server with \
         --allowed-hosts NAME; a proxy may also send another Host (docs/operating.md, Web pages)"
    )]
    Host(String),
    /// Not a host.
    #[error(
        "the Host of this request is not the name or address of a host with an optional port ({0}): write one such as \
         localhost:8420"
    )]
    Malformed(String),
}

impl Refusal {
    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

impl WebPages {
    /// Accepts these names as the server's own.
    #[must_use]
    pub fn new(allowed: Vec<AllowedHost>) -> WebPages {
        WebPages { allowed }
    }

    /// Checks the head of a request. The body is not read.
    ///
    /// # Errors
    /// If the request may come from a web page; see [`Refusal`].
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let headers = request.headers();
        if request.version() < Version::HTTP_2 {
            self.check_host(request)?;
        }
        for site in headers.get_all(&SEC_FETCH_SITE) {
            if !OWN_SITES.contains(&site.as_bytes()) {
                return Err(Refusal::Site(shown(site.as_bytes())));
            }
        }
        if headers.contains_key(ORIGIN) && !self.is_own_page(request) {
            return Err(Refusal::Origin(shown_origins(headers)));
        }
        Ok(())
    }

    /// Checks the hosts that a request names.
    fn check_host<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        for written in hosts(request) {
            let host = Host::parse(written).ok_or_else(|| Refusal::Malformed(shown(written)))?;
            if !self.is_safe(&host) {
                return Err(Refusal::Host(shown(written)));
            }
        }
        Ok(())
    }

    /// Whether no page can have made a browser use this host for this machine.
    fn is_safe(&self, host: &Host<'_>) -> bool {
        !host.name.is_open_to_pages() || self.allowed.iter().any(|allowed| allowed.is(host.name))
    }

    /// Whether the one origin of a request is its one host, and that host is safe.
    fn is_own_page<B>(&self, request: &Request<B>) -> bool {
        let Some(origin) = only(request.headers().get_all(ORIGIN).iter()) else { return false };
        let Some(host) = only(hosts(request)).and_then(Host::parse) else { return false };
        let (origin, default_port) = match origin.as_bytes() {
            bytes if bytes.starts_with(b"http://") => (&bytes[7..], 80),
            bytes if bytes.starts_with(b"https://") => (&bytes[8..], 443),
            _ => return false,
        };
        let is_same = |origin: Host<'_>| origin.is_same(&host, default_port);
        Host::parse(origin).is_some_and(is_same) && self.is_safe(&host)
    }
}

/// The hosts that a request names: that of its target, or else the values of `Host`, of which there should be one.
fn hosts<B>(request: &Request<B>) -> impl Iterator<Item = &[u8]> {
    let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let headers = target.is_none().then(|| request.headers().get_all(HOST));
    target.into_iter().chain(headers.into_iter().flatten().map(HeaderValue::as_bytes))
}

/// The one item; none if there are more.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next();
    first.filter(|_| items.next().is_none())
}

/// A value from a client, for a refusal.
fn shown(value: &[u8]) -> String {
    let start = &value[..value.len().min(MAX_SHOWN_BYTES)];
    let rest = if start.len() < value.len() { "…" } else { "" };
    format!("{}{rest}", start.escape_ascii())
}

/// All origins of a request, for a refusal.
fn shown_origins(headers: &HeaderMap) -> String {
    let origins: Vec<&[u8]> = headers.get_all(ORIGIN).iter().map(HeaderValue::as_bytes).collect();
    shown(&origins.join(&b", "[..]))
}

#[cfg(test)]
mod tests;
