//! Which endpoint a path is. The path stays raw until it is split: a key is its percent-encoded rest. Clients encode
//! the `/` of keys, except the npm SDK 4, which encodes nothing.

use http::Method;

/// The path below which all endpoints are.
pub const BASE: &str = "/client/v4";

/// The account of a location without accounts.
pub const LOCAL: &str = "local";

/// An endpoint, with the raw segments of its path that vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/user`.
    User,
    /// `/user/tokens/verify` and `/accounts/{account}/tokens/verify`.
    VerifyToken,
    /// `/memberships`.
    Memberships,
    /// `/accounts`.
    Accounts,
    /// `/accounts/{account}`.
    Account,
    /// `…/namespaces`.
    Namespaces,
    /// `…/namespaces/{id}`.
    Namespace(&'a str),
    /// `…/namespaces/{id}/keys`.
    Keys(&'a str),
    /// `…/namespaces/{id}/values/{key}`.
    Value(&'a str, &'a str),
    /// `…/namespaces/{id}/metadata/{key}`.
    Metadata(&'a str, &'a str),
    /// `…/namespaces/{id}/bulk`.
    Bulk(&'a str),
    /// `…/namespaces/{id}/bulk/delete`.
    BulkDelete(&'a str),
    /// `…/namespaces/{id}/bulk/get`.
    BulkGet(&'a str),
}

impl Route<'_> {
    /// The endpoint of a raw path; none if there is none, or if its account does not exist.
    #[must_use]
    pub fn of(path: &str) -> Option<Route<'_>> {
        let rest = path.strip_prefix(BASE)?.strip_prefix('/')?;
        let (first, rest) = cut(rest);
        match (first, rest) {
            ("user", None) => Some(Route::User),
            ("user", Some("tokens/verify")) => Some(Route::VerifyToken),
            ("memberships", None) => Some(Route::Memberships),
            ("accounts", None) => Some(Route::Accounts),
            ("accounts", Some(rest)) => Route::of_account(rest),
            _ => None,
        }
    }

    /// The endpoint behind `/accounts/`.
    fn of_account(rest: &str) -> Option<Route<'_>> {
        let (account, rest) = cut(rest);
        if account != LOCAL {
            return None;
        }
        match rest {
            None => Some(Route::Account),
            Some("tokens/verify") => Some(Route::VerifyToken),
            Some(rest) => match rest.strip_prefix("storage/kv/namespaces")? {
                "" => Some(Route::Namespaces),
                rest => Route::of_namespace(rest.strip_prefix('/')?),
            },
        }
    }

    /// The endpoint behind `/namespaces/`.
    fn of_namespace(rest: &str) -> Option<Route<'_>> {
        let (id, rest) = cut(rest);
        let Some(rest) = rest else {
            return (!id.is_empty()).then_some(Route::Namespace(id));
        };
        match cut(rest) {
            ("keys", None) => Some(Route::Keys(id)),
            ("values", Some(key)) => Some(Route::Value(id, key)),
            ("metadata", Some(key)) => Some(Route::Metadata(id, key)),
            ("bulk", None) => Some(Route::Bulk(id)),
            ("bulk", Some("delete")) => Some(Route::BulkDelete(id)),
            ("bulk", Some("get")) => Some(Route::BulkGet(id)),
            _ => None,
        }
    }

    /// The methods of the endpoint, for the header `Allow`.
    #[must_use]
    pub fn methods(&self) -> &'static str {
        match self {
            Route::Namespaces => "GET, HEAD, POST",
            Route::Namespace(_) | Route::Value(..) => "GET, HEAD, PUT, DELETE",
            Route::Keys(_) => "GET, HEAD, DELETE",
            Route::Bulk(_) => "PUT, DELETE",
            Route::BulkDelete(_) | Route::BulkGet(_) => "POST",
            _ => "GET, HEAD",
        }
    }

    /// Whether the endpoint has this method.
    #[must_use]
    pub fn has(&self, method: &Method) -> bool {
        self.methods().split(", ").any(|name| name == method.as_str())
    }
}

/// The first segment, and what follows its `/`.
fn cut(path: &str) -> (&str, Option<&str>) {
    path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_an_endpoint() {
        let kv = "/client/v4/accounts/local/storage/kv/namespaces";
        for (path, expected) in [
            ("/client/v4/user".to_owned(), Some(Route::User)),
            ("/client/v4/user/tokens/verify".into(), Some(Route::VerifyToken)),
            ("/client/v4/accounts/local/tokens/verify".into(), Some(Route::VerifyToken)),
            ("/client/v4/memberships".into(), Some(Route::Memberships)),
            ("/client/v4/accounts".into(), Some(Route::Accounts)),
            ("/client/v4/accounts/local".into(), Some(Route::Account)),
            (kv.into(), Some(Route::Namespaces)),
            (format!("{kv}/x"), Some(Route::Namespace("x"))),
            (format!("{kv}/x/keys"), Some(Route::Keys("x"))),
            (format!("{kv}/x/values/a%2Fb"), Some(Route::Value("x", "a%2Fb"))),
            (format!("{kv}/x/values/a/b"), Some(Route::Value("x", "a/b"))),
            (format!("{kv}/x/values/"), Some(Route::Value("x", ""))),
            (format!("{kv}/x/metadata/keys"), Some(Route::Metadata("x", "keys"))),
            (format!("{kv}/x/bulk"), Some(Route::Bulk("x"))),
            (format!("{kv}/x/bulk/delete"), Some(Route::BulkDelete("x"))),
            (format!("{kv}/x/bulk/get"), Some(Route::BulkGet("x"))),
        ] {
            assert_eq!(Route::of(&path), expected, "{path}");
        }
    }

    #[test]
    fn other_paths_are_no_endpoints() {
        for path in [
            "/client/v4",
            "/client/v4/",
            "/client/v4x/user",
            "/client/v4/user/",
            "/client/v4/accounts/",
            "/client/v4/accounts/other",
            "/client/v4/accounts/other/storage/kv/namespaces",
            "/client/v4/accounts/local/workers/namespaces",
            "/client/v4/accounts/local/storage/kv/namespacesx",
            "/client/v4/accounts/local/storage/kv/namespaces/",
            "/client/v4/accounts/local/storage/kv/namespaces/x/values",
            "/client/v4/accounts/local/storage/kv/namespaces/x/bulk/put",
        ] {
            assert_eq!(Route::of(path), None, "{path}");
        }
    }

    #[test]
    fn each_endpoint_has_its_methods() {
        assert!(Route::Bulk("x").has(&Method::DELETE));
        assert!(!Route::Bulk("x").has(&Method::POST));
        assert!(Route::User.has(&Method::GET) && !Route::User.has(&Method::PUT));
        assert!(!Route::User.has(&Method::from_bytes(b"GE").unwrap()));
    }
}
