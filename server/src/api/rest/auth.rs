//! Authorization: what each endpoint needs, and refusals in the form of this API.

use http::{Method, StatusCode};

use super::{
    failure::{Failure, code},
    namespaces,
    route::Route,
};
use crate::{
    access::{Forbidden, Grant, Keys, Need},
    app::App,
    http::Body,
    kv::{
        key::decode_key,
        permission::{self, Access, Named},
        query::Query,
    },
};

/// Checks that a token permits a call. Namespaces are administered; the account and the user are open to every token that
/// is accepted. A bulk write needs the whole namespace. The keys of a bulk get are checked once they have arrived.
///
/// # Errors
/// A 403 that names the missing scope.
pub(super) fn authorize(
    app: &App,
    grant: &Grant,
    route: Route<'_>,
    (method, query): (&Method, Query<'_>),
) -> Result<(), Failure> {
    if let Grant::Free = grant {
        return Ok(());
    }
    let access = match *method {
        Method::PUT | Method::DELETE => Access::Write,
        _ => Access::Read,
    };
    match route {
        Route::User
        | Route::VerifyToken
        | Route::Memberships
        | Route::Accounts
        | Route::Account => Ok(()),
        Route::Namespaces | Route::Namespace(_) => grant.check(Need::Admin).map_err(|why| {
            app.metrics.access().refused("scope");
            forbidden(&why)
        }),
        Route::Keys(id) => {
            let prefix = query.get("prefix").unwrap_or_default();
            // No key begins with what is not UTF-8. Then the namespace is needed as a whole.
            let keys = Keys::With(str::from_utf8(&prefix).unwrap_or_default());
            check(app, grant, id, access, keys)
        }
        Route::Value(id, raw) | Route::Metadata(id, raw) => match decode_key(raw) {
            Ok(key) => check(app, grant, id, access, Keys::With(&key)),
            // It is refused later.
            Err(_not_a_key) => check(app, grant, id, access, Keys::Later),
        },
        Route::BulkGet(id) => check(app, grant, id, Access::Read, Keys::Later),
        Route::Bulk(id) | Route::BulkDelete(id) => {
            check(app, grant, id, Access::Write, Keys::With(""))
        }
    }
}

/// Checks that these keys of a namespace may be used, which a segment of a path names.
pub(super) fn check(
    app: &App,
    grant: &Grant,
    id: &str,
    access: Access,
    keys: Keys<'_>,
) -> Result<(), Failure> {
    let found = namespaces::named(&app.store.namespaces(), id).map(|found| found.id);
    let title = namespaces::title_in(id);
    let named = Named { name: title.as_deref().unwrap_or(id), id: found };
    permission::check(app, grant, named, access, keys).map_err(|why| forbidden(&why))
}

/// Checks, after a body has arrived, that the token is still accepted.
pub(super) fn recheck(app: &App, grant: &Grant) -> Result<(), Failure> {
    permission::recheck(app, grant).map_err(|why| {
        let text = format!("Authentication error: {why}");
        Failure::new(StatusCode::UNAUTHORIZED, code::AUTHENTICATION, text)
    })
}

/// The refusal of a token that lacks a scope.
fn forbidden(why: &Forbidden) -> Failure {
    Failure::new(StatusCode::FORBIDDEN, code::AUTHENTICATION, why.to_string())
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
