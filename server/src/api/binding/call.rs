//! A call without its body.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{proxied, refusal::Refusal, target::Target};

/// The header of metadata, in requests and responses.
pub(super) const METADATA: HeaderName = HeaderName::from_static("cf-kv-metadata");

/// A header that a runtime sends with every call, and no other client sends.
const RUNTIME: HeaderName = HeaderName::from_static("cf-kv-flprod-405");

/// A call without its body.
pub(super) struct Call<'a> {
    /// The method.
    pub(super) method: &'a Method,
    /// The headers.
    pub(super) headers: &'a HeaderMap,
    /// The target: the key and the options.
    pub(super) target: &'a Target,
    /// Whether miniflare wrapped it.
    pub(super) is_proxied: bool,
}

impl Call<'_> {
    /// The metadata of a put, as the header contains it.
    pub(super) fn metadata(&self) -> Result<Option<&HeaderValue>, Refusal> {
        let name = if self.is_proxied { proxied::METADATA } else { METADATA };
        let mut values = self.headers.get_all(name).iter();
        let metadata = values.next();
        if values.next().is_some() {
            return Err(Refusal::invalid("Invalid metadata. Please specify it once."));
        }
        Ok(metadata)
    }

    /// Whether a runtime sent it.
    pub(super) fn is_from_runtime(&self) -> bool {
        self.is_proxied || self.headers.contains_key(RUNTIME)
    }

    /// Whether the client reads the body of a refusal. A runtime does not, and then can't use the
    /// connection again.
    pub(super) fn reads_refusals(&self) -> bool {
        self.method != Method::HEAD && !self.is_from_runtime()
    }
}
