//! The namespaces API: `/v1/namespaces`, for people and scripts. `waypost namespace …` uses it, and
//! `curl` can: the content type of a request does not matter.
//!
//! | request | body | response |
//! |---|---|---|
//! | `GET /v1/namespaces` | | 200 `{"namespaces":[{"id":"…","title":"…"}, …]}`, the first 1000 by id; `"next"` is an id if there are more |
//! | `GET /v1/namespaces?after=ID` | | 200 and those after this id, which need not exist |
//! | `POST /v1/namespaces` | `{"title":"sessions"}`, optionally with `"id":"32 hexadecimal digits"` | 201 and the namespace |
//! | `GET /v1/namespaces/{title-or-id}` | | 200 and the namespace |
//! | `PATCH /v1/namespaces/{title-or-id}` | `{"title":"the new one"}` | 200 and the namespace |
//! | `DELETE /v1/namespaces/{title-or-id}` | | 200 and the namespace as it was; all its entries are deleted. It may be created again, with the same id and empty |
//! | `POST /v1/namespaces/{title-or-id}/merge` | `{"into":"title or id"}` | 200 and a [`Merged`], once all entries are in the other namespace and this one is dropped; it may take minutes |
//!
//! A refusal is `{"error":"a sentence"}` with 400 (a bad title or body), 404 (no such namespace), 405,
//! 409 (the title or id is taken), 413 (a long body), or 503 (no writes for now; with `Retry-After` if
//! that is temporary).

mod merge;
mod page;

use std::sync::Arc;

use axum::{
    Router,
    extract::{
        DefaultBodyLimit, Path, RawQuery, State,
        rejection::{BytesRejection, PathRejection},
    },
    routing::{get, post},
};
use bytes::Bytes;
use hyper::{Response, StatusCode};
use kv_core::{Account, Namespace, NamespaceId, Operation, Outcome, Title, WriteError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    app::App,
    audit::noted,
    http::{
        Body,
        problem::{MAX_BODY_BYTES, Refused, parse},
        reply,
    },
};

/// The routes of this API.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/namespaces", get(list).post(create))
        .route("/v1/namespaces/{name}", get(show).patch(rename).delete(drop_one))
        .route("/v1/namespaces/{name}/merge", post(merge_into))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// A namespace in a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceInfo {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Its human-readable name.
    pub title: String,
    /// The account that owns it; absent where there are no accounts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub account: String,
}

impl From<&Namespace> for NamespaceInfo {
    fn from(namespace: &Namespace) -> NamespaceInfo {
        NamespaceInfo {
            id: namespace.id.to_string(),
            title: namespace.title.to_string(),
            account: namespace.account.to_string(),
        }
    }
}

/// A page of namespaces.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamespaceList {
    /// By id.
    pub namespaces: Vec<NamespaceInfo>,
    /// The id after which the next page begins; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The body of a creation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewNamespace {
    /// Its human-readable name.
    pub title: String,
    /// Its id, if it must have a certain one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// The body of a renaming.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTitle {
    /// Its new name for people.
    pub title: String,
}

/// The body of a merge.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMerge {
    /// The title or id of the namespace that gets the entries.
    pub into: String,
}

/// A merge that is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Merged {
    /// The namespace that was dropped.
    pub dropped: NamespaceInfo,
    /// The namespace that has the entries now.
    pub into: NamespaceInfo,
    /// Entries that were put into it. It had later writes of the others.
    pub moved: u64,
}

/// `GET /v1/namespaces`.
async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Refused> {
    let after = after_of(query.as_deref().unwrap_or_default())?;
    Ok(reply::with_type(StatusCode::OK, reply::JSON, page::body(&app.store, after)))
}

/// The id after which a list begins. No namespace has the one of the system, which is the least.
fn after_of(query: &str) -> Result<NamespaceId, Refused> {
    let wrong = || {
        let error =
            "the query of a list of namespaces is after=ID, with an id of 32 hexadecimal digits";
        Refused::new(StatusCode::BAD_REQUEST, error)
    };
    match query {
        "" => Ok(NamespaceId::SYSTEM),
        _ => query.strip_prefix("after=").and_then(|id| id.parse().ok()).ok_or_else(wrong),
    }
}

/// A path and a body, or why axum refuses it, so that the refusal has the form of this API.
type Name = Result<Path<String>, PathRejection>;
/// A body that axum read, or the reason why not.
type Received = Result<Bytes, BytesRejection>;

/// `POST /v1/namespaces`.
async fn create(State(app): State<Arc<App>>, body: Received) -> Result<Response<Body>, Refused> {
    let NewNamespace { title, id } = parse(&body?, r#"{"title":"sessions"}"#)?;
    let id = id.map(|id| id.parse::<NamespaceId>()).transpose();
    let id = id.map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let (account, title) = (Account::default(), Title::new(title).map_err(WriteError::from)?);
    let made = change(&app, Operation::CreateNamespace { account, title, id }).await?;
    Ok(noted(reply::json(StatusCode::CREATED, &made), json!({"id": made.id, "title": made.title})))
}

/// `GET /v1/namespaces/{title-or-id}`.
async fn show(State(app): State<Arc<App>>, name: Name) -> Result<Response<Body>, Refused> {
    let Path(name) = name?;
    let namespaces = app.store.namespaces();
    let found = namespaces.resolve(&name).ok_or_else(|| unknown(&name))?;
    Ok(reply::json(StatusCode::OK, &NamespaceInfo::from(found)))
}

/// `PATCH /v1/namespaces/{title-or-id}`.
async fn rename(
    State(app): State<Arc<App>>,
    name: Name,
    body: Received,
) -> Result<Response<Body>, Refused> {
    let (Path(name), body) = (name?, body?);
    let NewTitle { title } = parse(&body, r#"{"title":"the new one"}"#)?;
    let id = resolve(&app, &name)?;
    let title = Title::new(title).map_err(WriteError::from)?;
    let renamed = change(&app, Operation::RenameNamespace { id, title }).await?;
    Ok(noted(
        reply::json(StatusCode::OK, &renamed),
        json!({"id": renamed.id, "title": renamed.title}),
    ))
}

/// `DELETE /v1/namespaces/{title-or-id}`.
async fn drop_one(State(app): State<Arc<App>>, name: Name) -> Result<Response<Body>, Refused> {
    let Path(name) = name?;
    let id = resolve(&app, &name)?;
    let dropped = change(&app, Operation::DropNamespace { id }).await?;
    Ok(noted(
        reply::json(StatusCode::OK, &dropped),
        json!({"id": dropped.id, "title": dropped.title}),
    ))
}

/// `POST /v1/namespaces/{title-or-id}/merge`.
async fn merge_into(
    State(app): State<Arc<App>>,
    name: Name,
    body: Received,
) -> Result<Response<Body>, Refused> {
    let (Path(name), body) = (name?, body?);
    let NewMerge { into } = parse(&body, r#"{"into":"title or id"}"#)?;
    let namespaces = app.store.namespaces();
    let find = |name: &str| namespaces.resolve(name).ok_or_else(|| unknown(name));
    let (from, into) = (find(&name)?, find(&into)?);
    if from.id == into.id {
        let error = format!(
            "{name:?} and the namespace to merge into are the same one, {}: name one of them by its id",
            from.id
        );
        return Err(Refused::new(StatusCode::CONFLICT, error));
    }
    let moved = merge::merge(&app, from.id, into.id).await?;
    let (dropped, into) = (NamespaceInfo::from(from), NamespaceInfo::from(into));
    Ok(reply::json(StatusCode::OK, &Merged { dropped, into, moved }))
}

/// The id of the namespace with this title or id.
fn resolve(app: &App, name: &str) -> Result<NamespaceId, Refused> {
    app.store.namespaces().resolve(name).map(|found| found.id).ok_or_else(|| unknown(name))
}

/// The 404 for a title or id that no namespace has.
fn unknown(name: &str) -> Refused {
    let error = format!("no namespace has the title or id {name:?}");
    Refused::new(StatusCode::NOT_FOUND, error)
}

/// Performs a write to a namespace, and returns the namespace.
async fn change(app: &App, operation: Operation) -> Result<NamespaceInfo, Refused> {
    match app.writes.submit(operation).await? {
        Outcome::Namespace(namespace) => Ok(NamespaceInfo::from(&namespace)),
        other => unreachable!("a change to a namespace returns the namespace, not {other:?}"),
    }
}
