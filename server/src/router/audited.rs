//! Which requests are administrative acts, for the audit log.

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::{api::rest, metrics::Api};

/// An administrative request, before it has a response.
pub(super) struct Asked {
    /// What it does.
    pub(super) action: &'static str,
    /// Its path, decoded.
    pub(super) target: String,
}

impl Asked {
    /// Recognises a request that changes or examines more than keys and values.
    pub(super) fn of(api: Api, method: &Method, path: &str) -> Option<Asked> {
        let action = match (api, method) {
            (Api::Rest, _) => of_rest(method, path)?,
            (_, &Method::GET | &Method::HEAD) => return None,
            (Api::Tokens, &Method::POST) => "token.create",
            (Api::Tokens, &Method::DELETE) => "token.revoke",
            (Api::Namespaces, &Method::POST) if path.ends_with("/merge") => "namespace.merge",
            (Api::Namespaces, &Method::POST) => "namespace.create",
            (Api::Namespaces, &Method::PATCH) => "namespace.change",
            (Api::Namespaces, &Method::DELETE) => "namespace.drop",
            (Api::Cluster, &Method::POST) if path.ends_with("/verify") => "cluster.verify",
            (Api::Cluster, &Method::DELETE) => "cluster.remove",
            (Api::Doctor, &Method::POST) => "store.examine",
            (Api::Limits, &Method::PUT) => "limit.override",
            (Api::Limits, &Method::DELETE) => "limit.restore",
            (Api::Tokens, _) => "token.other",
            (Api::Namespaces, _) => "namespace.other",
            (Api::Cluster, _) => "cluster.other",
            _ => return None,
        };
        let target = percent_decode_str(path).decode_utf8_lossy().into_owned();
        Some(Asked { action, target })
    }
}

/// The act of a request of the REST API.
fn of_rest(method: &Method, path: &str) -> Option<&'static str> {
    match (rest::Route::of(path)?, method) {
        (rest::Route::Namespaces, &Method::POST) => Some("namespace.create"),
        (rest::Route::Namespace(_), &Method::PUT) => Some("namespace.change"),
        (rest::Route::Namespace(_), &Method::DELETE) => Some("namespace.drop"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_more_than_keys_is_an_act_and_what_reads_is_not() {
        let rest = "/client/v4/accounts/local/storage/kv/namespaces";
        let one = format!("{rest}/0123456789abcdef0123456789abcdef");
        for (api, method, path, action) in [
            (Api::Tokens, Method::POST, "/v1/tokens", Some("token.create")),
            (Api::Tokens, Method::DELETE, "/v1/tokens/1", Some("token.revoke")),
            (Api::Tokens, Method::GET, "/v1/tokens", None),
            (Api::Namespaces, Method::POST, "/v1/namespaces", Some("namespace.create")),
            (Api::Namespaces, Method::PUT, "/v1/namespaces/a", Some("namespace.other")),
            (Api::Namespaces, Method::POST, "/v1/namespaces/a/merge", Some("namespace.merge")),
            (Api::Cluster, Method::DELETE, "/v1/cluster/locations/a", Some("cluster.remove")),
            (Api::Doctor, Method::POST, "/v1/doctor", Some("store.examine")),
            (Api::Limits, Method::PUT, "/v1/limits/a/overrides/k", Some("limit.override")),
            (Api::Limits, Method::DELETE, "/v1/limits/a/overrides/k", Some("limit.restore")),
            (Api::Limits, Method::GET, "/v1/limits", None),
            (Api::Rest, Method::POST, rest, Some("namespace.create")),
            (Api::Rest, Method::DELETE, &one, Some("namespace.drop")),
            (Api::Rest, Method::PUT, &format!("{one}/values/k"), None),
            (Api::Binding, Method::PUT, "/binding/a/k", None),
            (Api::Ops, Method::POST, "/metrics", None),
        ] {
            let asked = Asked::of(api, &method, path);
            assert_eq!(asked.map(|asked| asked.action), action, "{method} {path}");
        }
    }
}
