//! `/v1/namespaces`: namespaces for people and scripts. `waypost namespace …` speaks it, and so
//! does `curl`; the request's content type does not matter.
//!
//! | request | body | answers |
//! |---|---|---|
//! | `GET /v1/namespaces` | | 200 `{"namespaces":[{"id":"…","title":"…"}, …]}`, by title |
//! | `POST /v1/namespaces` | `{"title":"sessions"}`, perhaps with `"id":"32 hexadecimal digits"` | 201 and the namespace |
//! | `GET /v1/namespaces/{title-or-id}` | | 200 and the namespace |
//! | `PATCH /v1/namespaces/{title-or-id}` | `{"title":"the new one"}` | 200 and the namespace |
//! | `DELETE /v1/namespaces/{title-or-id}` | | 200 and the namespace as it was; all its entries are gone, for good |
//!
//! What is refused is answered by `{"error":"a sentence"}` with 400 (a bad title or body), 404 (no
//! such namespace), 405, 409 (the title or id is taken), 413 (a long body), or 503 (no writes for now; with `Retry-After`
//! if it passes by itself).

use std::sync::Arc;

use axum::{
    Router,
    extract::{
        DefaultBodyLimit, Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{HeaderValue, RETRY_AFTER},
};
use kv_core::{Account, Namespace, NamespaceId, Operation, Outcome, Title, WriteError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{api::binding::json, app::App, body::Body, reply};

/// No body here is longer than a title, an id and some spaces.
const MAX_BODY_BYTES: usize = 64 << 10;

/// The routes of this door.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/namespaces", get(list).post(create))
        .route("/v1/namespaces/{name}", get(show).patch(rename).delete(drop_one))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// A namespace as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceInfo {
    /// 32 hexadecimal digits.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// Whose it is; left out where there are no accounts.
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

/// All namespaces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NamespaceList {
    /// By title.
    pub namespaces: Vec<NamespaceInfo>,
}

/// A namespace to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewNamespace {
    /// What people call it.
    pub title: String,
    /// Its id, if it must have a certain one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// A new title.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTitle {
    /// What people call it from now on.
    pub title: String,
}

/// Why something was not done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// A sentence.
    pub error: String,
}

async fn list(State(app): State<Arc<App>>) -> Response<Body> {
    let mut namespaces: Vec<NamespaceInfo> =
        app.store.namespaces().iter().map(NamespaceInfo::from).collect();
    namespaces.sort_by(|a, b| (&a.title, &a.id).cmp(&(&b.title, &b.id)));
    reply::json(StatusCode::OK, &NamespaceList { namespaces })
}

/// What axum made of a path or a body. What it refuses is answered as all else is here.
type Name = Result<Path<String>, PathRejection>;
type Sent = Result<Bytes, BytesRejection>;

async fn create(State(app): State<Arc<App>>, body: Sent) -> Result<Response<Body>, Refused> {
    let NewNamespace { title, id } = parse(&body?, r#"{"title":"sessions"}"#)?;
    let id = id.map(|id| id.parse::<NamespaceId>()).transpose();
    let id = id.map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let (account, title) = (Account::default(), Title::new(title).map_err(WriteError::from)?);
    let made = change(&app, Operation::CreateNamespace { account, title, id }).await?;
    Ok(reply::json(StatusCode::CREATED, &made))
}

async fn show(State(app): State<Arc<App>>, name: Name) -> Result<Response<Body>, Refused> {
    let Path(name) = name?;
    let namespaces = app.store.namespaces();
    let found = namespaces.resolve(&name).ok_or_else(|| Refused::unknown(&name))?;
    Ok(reply::json(StatusCode::OK, &NamespaceInfo::from(found)))
}

async fn rename(
    State(app): State<Arc<App>>,
    name: Name,
    body: Sent,
) -> Result<Response<Body>, Refused> {
    let (Path(name), body) = (name?, body?);
    let NewTitle { title } = parse(&body, r#"{"title":"the new one"}"#)?;
    let id = resolve(&app, &name)?;
    let title = Title::new(title).map_err(WriteError::from)?;
    let renamed = change(&app, Operation::RenameNamespace { id, title }).await?;
    Ok(reply::json(StatusCode::OK, &renamed))
}

async fn drop_one(State(app): State<Arc<App>>, name: Name) -> Result<Response<Body>, Refused> {
    let Path(name) = name?;
    let id = resolve(&app, &name)?;
    let dropped = change(&app, Operation::DropNamespace { id }).await?;
    Ok(reply::json(StatusCode::OK, &dropped))
}

fn resolve(app: &App, name: &str) -> Result<NamespaceId, Refused> {
    app.store.namespaces().resolve(name).map(|found| found.id).ok_or_else(|| Refused::unknown(name))
}

async fn change(app: &App, operation: Operation) -> Result<NamespaceInfo, Refused> {
    match app.writes.submit(operation).await? {
        Outcome::Namespace(namespace) => Ok(NamespaceInfo::from(&namespace)),
        other => unreachable!("a change to a namespace answers it, not {other:?}"),
    }
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Refused> {
    let parsed = str::from_utf8(body).map_err(|error| error.to_string()).and_then(json::object);
    parsed.map_err(|error| {
        let error = format!("the body must be JSON like {example}: {error}");
        Refused::new(StatusCode::BAD_REQUEST, error)
    })
}

/// What is said under `/v1/namespaces` where there is nothing, or no such method.
pub(crate) fn nothing_here(status: StatusCode, error: impl Into<String>) -> Response<Body> {
    reply::json(status, &Problem { error: error.into() })
}

/// Why this door did not do something.
pub(super) struct Refused {
    status: StatusCode,
    error: String,
    retry_after: Option<HeaderValue>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, error: String) -> Refused {
        Refused { status, error, retry_after: None }
    }

    fn unknown(name: &str) -> Refused {
        let error = format!("no namespace has the title or id {name:?}");
        Refused::new(StatusCode::NOT_FOUND, error)
    }
}

impl From<PathRejection> for Refused {
    fn from(rejection: PathRejection) -> Refused {
        Refused::new(rejection.status(), rejection.body_text())
    }
}

impl From<BytesRejection> for Refused {
    fn from(rejection: BytesRejection) -> Refused {
        let text = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                format!(
                    "the body is longer than {MAX_BODY_BYTES} bytes, and a title has 512 at most"
                )
            }
            _ => rejection.body_text(),
        };
        Refused::new(rejection.status(), text)
    }
}

impl From<WriteError> for Refused {
    fn from(error: WriteError) -> Refused {
        let retry = matches!(error, WriteError::QueueFull | WriteError::DiskFull);
        let status = match error {
            WriteError::UnknownNamespace(_) => StatusCode::NOT_FOUND,
            WriteError::Invalid(_) => StatusCode::BAD_REQUEST,
            WriteError::Taken(_) => StatusCode::CONFLICT,
            WriteError::QueueFull
            | WriteError::DiskFull
            | WriteError::ReadOnly(_)
            | WriteError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let retry_after = retry.then(|| HeaderValue::from_static("1"));
        Refused { status, error: error.to_string(), retry_after }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> axum::response::Response {
        let mut response = reply::json(self.status, &Problem { error: self.error });
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response.into_response()
    }
}
