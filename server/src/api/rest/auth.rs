//! Authorization: what each endpoint needs, and refusals in the form of this API.

use http::{Method, StatusCode};
use kv_core::NamespaceId;

use super::{
    failure::{Failure, code},
    route::Route,
};
use crate::{
    access::{Grant, Need, Space},
    app::App,
    http::Body,
};

/// Checks that a token permits a call. Namespaces are administered; the account and the user are open to every token that
/// is accepted.
///
/// # Errors
/// A 403 that names the missing scope.
pub(super) fn authorize(
    app: &App,
    grant: &Grant,
    route: Route<'_>,
    method: &Method,
) -> Result<(), Failure> {
    if let Grant::Free = grant {
        return Ok(());
    }
    let writes = matches!(*method, Method::PUT | Method::DELETE);
    let checked = match route {
        Route::User
        | Route::VerifyToken
        | Route::Memberships
        | Route::Accounts
        | Route::Account => Ok(()),
        Route::Namespaces | Route::Namespace(_) => grant.check(Need::Admin),
        Route::Keys(id) | Route::Metadata(id, _) | Route::BulkGet(id) => {
            with_space(app, id, |space| grant.check(Need::KvRead(space)))
        }
        Route::Value(id, _) if !writes => {
            with_space(app, id, |space| grant.check(Need::KvRead(space)))
        }
        Route::Value(id, _) | Route::Bulk(id) | Route::BulkDelete(id) => {
            with_space(app, id, |space| grant.check(Need::KvWrite(space)))
        }
    };
    checked.map_err(|why| {
        app.metrics.access().refused("scope");
        Failure::new(StatusCode::FORBIDDEN, code::AUTHENTICATION, why.to_string())
    })
}

/// Runs a check with the namespace that a segment of a path names by its id.
fn with_space<T>(app: &App, id: &str, check: impl FnOnce(Space<'_>) -> T) -> T {
    let namespaces = app.store.namespaces();
    let found = id.parse::<NamespaceId>().ok().and_then(|id| namespaces.get(id));
    let title = found.map_or(id, |found| &found.title);
    check(Space { title, id: found.map(|found| found.id) })
}

/// The response to a request that is refused before it comes here. A token that is not accepted has the number by
/// which wrangler knows that.
pub(super) fn refusal(path: &str, status: StatusCode, text: String) -> http::Response<Body> {
    let number = match (status, Route::of(path)) {
        (StatusCode::UNAUTHORIZED, Some(Route::VerifyToken)) => code::INVALID_TOKEN,
        (StatusCode::NOT_FOUND, _) => code::NO_ROUTE,
        _ => code::AUTHENTICATION,
    };
    let text = match status {
        StatusCode::UNAUTHORIZED => format!("Authentication error: {text}"),
        _ => text,
    };
    Failure::new(status, number, text).into_response()
}
