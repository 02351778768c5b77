//! The form in which miniflare's `remoteProxyConnectionString` sends a call: always to the same URL,
//! with the URL and headers of the call wrapped in headers.

use http::{HeaderMap, HeaderName};

use super::{refusal::Refusal, target::Target};

/// The call's own URL.
pub const URL: HeaderName = HeaderName::from_static("mf-url");

/// The call's own `CF-KV-Metadata`.
pub const METADATA: HeaderName = HeaderName::from_static("mf-header-cf-kv-metadata");

/// The target of the wrapped call.
///
/// # Errors
/// If there is none. With each call miniflare also tries to open a websocket, which KV never uses; if
/// that is refused, it continues at once, whatever the reason.
pub fn target(headers: &HeaderMap) -> Result<Target, Refusal> {
    let Some(url) = headers.get(URL) else {
        return Err(Refusal::invalid(
            "This address takes KV calls wrapped in MF-URL and MF-Header-*, and no websocket.",
        ));
    };
    Target::of_url(url.as_bytes())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_target_is_that_of_the_wrapped_url() {
        let mut headers = HeaderMap::new();
        assert_eq!(target(&headers).unwrap_err().status, 400);
        let url = HeaderValue::from_static("https://fake-host/a%2Fb?urlencoded=true");
        headers.insert(URL, url);
        assert_eq!(target(&headers).unwrap().key().unwrap(), "a/b");
    }
}
