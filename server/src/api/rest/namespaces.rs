//! Namespaces: list, create, show, rename, drop.

use std::borrow::Cow;

use http::Response;
use kv_core::{
    Account, Namespace, NamespaceId, Namespaces, Operation, Outcome, Store, Taken, Title,
    TitleError, WriteError,
};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    accounts::PageInfo,
    envelope,
    failure::{Failure, code},
    numbers::Pages,
};
use crate::{
    app::App,
    audit::noted,
    http::{Body, incoming::Incoming, json::object_from_slice, problem::MAX_BODY_BYTES},
    kv::{invalid::shown, query::Query},
};

/// A namespace in a response.
#[derive(Debug, Serialize)]
struct NamespaceInfo {
    /// 32 hexadecimal digits.
    id: String,
    /// Its human-readable name.
    title: String,
    /// Keys in paths are percent-encoded: always true.
    supports_url_encoding: bool,
}

impl From<&Namespace> for NamespaceInfo {
    fn from(namespace: &Namespace) -> NamespaceInfo {
        let (id, title) = (namespace.id.to_string(), namespace.title.to_string());
        NamespaceInfo { id, title, supports_url_encoding: true }
    }
}

/// The body of a creation or a renaming. Clients may send more fields.
#[derive(Debug, Deserialize)]
struct Wanted {
    /// Its human-readable name.
    title: Option<String>,
    /// The region that its data may not leave.
    jurisdiction: Option<serde_json::Value>,
}

/// Precedes a title that stands in place of an id. Cloudflare's service has ids only.
const TITLE: &str = "title:";

/// The title in a segment of a path, if it has one in place of an id.
pub(super) fn title_in(raw: &str) -> Option<Cow<'_, str>> {
    match percent_decode_str(raw).decode_utf8().ok()? {
        Cow::Borrowed(text) => text.strip_prefix(TITLE).map(Cow::Borrowed),
        Cow::Owned(text) => text.strip_prefix(TITLE).map(|title| Cow::Owned(title.to_owned())),
    }
}

/// The namespace that a segment of a path names.
pub(super) fn named<'a>(namespaces: &'a Namespaces, raw: &str) -> Option<&'a Namespace> {
    match raw.parse() {
        Ok(id) => namespaces.get(id),
        Err(_) => namespaces.resolve(&title_in(raw)?),
    }
}

/// The id of the namespace that a segment of a path names.
///
/// # Errors
/// If there is none.
pub(super) fn find(store: &Store, raw: &str, operation: &str) -> Result<NamespaceId, Failure> {
    if let Some(namespace) = named(&store.namespaces(), raw) {
        return Ok(namespace.id);
    }
    if raw.parse::<NamespaceId>().is_err() && title_in(raw).is_none() {
        let message = format!(
            "could not parse UUID from request's namespace_id: 'invalid namespace format: {}'",
            shown(raw)
        );
        return Err(Failure::invalid(code::NAMESPACE_ID, message));
    }
    if store.lacks_namespaces() {
        return Err(Failure::busy(format!(
            "The namespace {} can't be read, and the row of a namespace is damaged on the disk of this location. It \
             is fetched from the other locations, if there are any: try again.",
            shown(raw)
        )));
    }
    Err(Failure::no_namespace(operation))
}

/// `GET …/namespaces`.
pub(super) fn list(app: &App, query: Query<'_>) -> Result<Response<Body>, Failure> {
    let pages = Pages::of(query)?;
    let by_title = choice(query, "order", ["id", "title"], code::ORDER)?;
    let is_descending = choice(query, "direction", ["asc", "desc"], code::DIRECTION)?;
    let namespaces = app.store.namespaces();
    let mut all: Vec<&Namespace> = namespaces.iter().collect();
    if by_title {
        all.sort_unstable_by(|a, b| (&*a.title, a.id).cmp(&(&*b.title, b.id)));
    }
    if is_descending {
        all.reverse();
    }
    let page = all.iter().skip(pages.before()).take(pages.per_page);
    let page: Vec<_> = page.map(|namespace| NamespaceInfo::from(*namespace)).collect();
    let info = PageInfo::new(pages, page.len(), all.len());
    Ok(envelope::page(page, info))
}

/// Whether the query has the second of two words; the first is the default.
fn choice(query: Query<'_>, name: &str, words: [&str; 2], code: u32) -> Result<bool, Failure> {
    match query.text(name).as_deref() {
        None | Some("") => Ok(false),
        Some(word) if word == words[0] => Ok(false),
        Some(word) if word == words[1] => Ok(true),
        Some(other) => {
            let [first, second] = words;
            let message = format!("invalid {name} '{}': use '{first}' or '{second}'", shown(other));
            Err(Failure::invalid(code, message))
        }
    }
}

/// `GET …/namespaces/{id}`.
pub(super) fn show(app: &App, id: &str) -> Result<Response<Body>, Failure> {
    const OPERATION: &str = "get namespace";
    let id = find(&app.store, id, OPERATION)?;
    let namespaces = app.store.namespaces();
    let found = namespaces.get(id).ok_or_else(|| Failure::no_namespace(OPERATION))?;
    Ok(envelope::success(NamespaceInfo::from(found)))
}

/// `POST …/namespaces`.
pub(super) async fn create(app: &App, body: &mut Incoming) -> Result<Response<Body>, Failure> {
    const OPERATION: &str = "create namespace";
    let title = title(app, body, OPERATION).await?;
    let namespaces = app.store.namespaces();
    if app.bounds.max_namespaces().is_some_and(|most| namespaces.len() >= most) {
        let message = format!(
            "{OPERATION}: 'too many namespaces': strict is set, and there are {} already, as many as in Workers KV",
            namespaces.len()
        );
        return Err(Failure::invalid(code::TOO_MANY_NAMESPACES, message));
    }
    drop(namespaces);
    let account = Account::default();
    let create = Operation::CreateNamespace { account, title, id: None };
    let made = change(app, create, OPERATION).await?;
    let detail = json!({"id": made.id, "title": made.title});
    Ok(noted(envelope::success(made), detail))
}

/// `PUT …/namespaces/{id}`.
pub(super) async fn rename(
    app: &App,
    id: &str,
    body: &mut Incoming,
) -> Result<Response<Body>, Failure> {
    const OPERATION: &str = "rename namespace";
    let id = find(&app.store, id, OPERATION)?;
    let title = title(app, body, OPERATION).await?;
    let renamed = change(app, Operation::RenameNamespace { id, title }, OPERATION).await?;
    let detail = json!({"id": renamed.id, "title": renamed.title});
    Ok(noted(envelope::success(renamed), detail))
}

/// `DELETE …/namespaces/{id}`.
pub(super) async fn remove(app: &App, id: &str) -> Result<Response<Body>, Failure> {
    const OPERATION: &str = "remove namespace";
    let id = find(&app.store, id, OPERATION)?;
    change(app, Operation::DropNamespace { id }, OPERATION).await?;
    Ok(envelope::success(()))
}

/// The title in the body of a request.
async fn title(app: &App, body: &mut Incoming, operation: &str) -> Result<Title, Failure> {
    let body = body.whole(MAX_BODY_BYTES, Some(&app.long_bodies)).await?;
    let wanted: Wanted = object_from_slice(&body).map_err(|error| {
        let message =
            format!(r#"{operation}: the body must be JSON like {{"title":"sessions"}}: {error}"#);
        Failure::invalid(code::BODY, message)
    })?;
    if let Some(jurisdiction) = wanted.jurisdiction.filter(|value| !value.is_null()) {
        let message = format!(
            "{operation}: this server has no jurisdiction {}: it keeps data in all locations of its cluster. \
             Leave the jurisdiction out.",
            shown(&jurisdiction.to_string())
        );
        return Err(Failure::invalid(code::NOT_ENTITLED, message));
    }
    let title = wanted.title.unwrap_or_default();
    Title::new(title).map_err(|error| match error {
        TitleError::Length(0) => {
            Failure::invalid(code::NO_TITLE, format!("{operation}: 'missing title'"))
        }
        error => Failure::invalid(code::INVALID, format!("{operation}: {error}")),
    })
}

/// Performs a write to a namespace, and returns the namespace.
async fn change(app: &App, write: Operation, operation: &str) -> Result<NamespaceInfo, Failure> {
    match app.writes.submit(write).await {
        Ok(Outcome::Namespace(namespace)) => Ok(NamespaceInfo::from(&namespace)),
        Ok(other) => unreachable!("a change to a namespace returns the namespace, not {other:?}"),
        Err(WriteError::Taken(Taken::Title { .. })) => {
            let message =
                format!("{operation}: 'a namespace with this account ID and title already exists'");
            Err(Failure::invalid(code::TITLE_TAKEN, message))
        }
        Err(WriteError::UnknownNamespace(_)) => Err(Failure::no_namespace(operation)),
        Err(error) => Err(error.into()),
    }
}
