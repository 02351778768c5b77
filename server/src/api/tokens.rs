//! The tokens API: `/v1/tokens`. `waypost token` uses it.
//!
//! | request | body | response |
//! |---|---|---|
//! | `GET /v1/tokens` | | 200 `{"tokens":[…]}`, each a [`TokenInfo`], revoked and expired ones included |
//! | `POST /v1/tokens` | `{"scopes":["kv:read=*"]}`, optionally with `"description"` and `"expires_in"` in seconds | 201 and a [`CreatedToken`], which no other response contains |
//! | `DELETE /v1/tokens/{id}` | none, or `{"force":true}` | 200 and the token, which is not accepted any more |
//!
//! A refusal is `{"error":"a sentence"}` with 400, 404 (no such token), 409 (it is the last one with the scope `admin`, and
//! `force` is not set), or 503 (no writes for now).

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{
        DefaultBodyLimit, Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    routing::{delete, get},
};
use bytes::Bytes;
use hyper::{Response, StatusCode};
use kv_core::{
    AccessToken,
    env::{Environment as _, SystemEnvironment},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    access::{
        Scopes,
        issue::{self, IssueError, NewToken, Revocation},
    },
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
        .route("/v1/tokens", get(list).post(create))
        .route("/v1/tokens/{id}", delete(revoke))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// A token without its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenInfo {
    /// 16 hexadecimal digits, which are not secret.
    pub id: String,
    /// What it permits.
    pub scopes: Vec<String>,
    /// Its description for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When it was created, in Unix seconds.
    pub created: u64,
    /// From when on it is not accepted, in Unix seconds; absent if it does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// When it was last used at this location since its server started, in Unix seconds; absent if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<u64>,
}

impl TokenInfo {
    /// Describes a token.
    #[must_use]
    pub fn new(token: &AccessToken, last_used: Option<u64>) -> TokenInfo {
        TokenInfo {
            id: token.id.to_string(),
            scopes: token.scopes.lines().map(str::to_owned).collect(),
            description: token.description.clone(),
            created: token.created_ms / 1000,
            expires: token.expires_at,
            revoked: token.is_revoked,
            last_used,
        }
    }
}

/// All tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenList {
    /// By the time of their creation.
    pub tokens: Vec<TokenInfo>,
}

impl TokenList {
    /// Sorts tokens by the time of their creation.
    pub fn new(tokens: impl Iterator<Item = TokenInfo>) -> TokenList {
        let mut tokens: Vec<_> = tokens.collect();
        tokens.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        TokenList { tokens }
    }
}

/// The body of a creation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What it permits.
    pub scopes: Vec<String>,
    /// Its description for people.
    #[serde(default)]
    pub description: String,
    /// How many seconds it is accepted; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// The body of a revocation.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// Whether the last token with the scope `admin` may be revoked.
    #[serde(default)]
    pub force: bool,
}

/// A token with its secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct CreatedToken {
    /// The id.
    pub id: String,
    /// The whole token. It can't be shown again.
    pub token: String,
}

impl From<IssueError> for Refused {
    fn from(error: IssueError) -> Refused {
        let status = match error {
            IssueError::NoToken(_) => StatusCode::NOT_FOUND,
            IssueError::LastAdmin(_) => StatusCode::CONFLICT,
            IssueError::Random(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Refused::new(status, error.to_string())
    }
}

/// `GET /v1/tokens`.
async fn list(State(app): State<Arc<App>>) -> Response<Body> {
    let tokens = app.store.tokens();
    let tokens = tokens.iter().map(|token| TokenInfo::new(token, app.gate.last_used(token.id)));
    reply::json(StatusCode::OK, &TokenList::new(tokens))
}

/// `POST /v1/tokens`.
async fn create(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response<Body>, Refused> {
    let request: TokenRequest = parse(&body?, r#"{"scopes":["kv:read=*"]}"#)?;
    let scopes: Result<Scopes, _> = request.scopes.iter().map(|text| text.parse()).collect();
    let scopes = scopes.map_err(|error: crate::access::scopes::ScopeError| {
        Refused::new(StatusCode::BAD_REQUEST, error.to_string())
    })?;
    let new = NewToken {
        scopes,
        description: request.description,
        expires_in: request.expires_in.map(Duration::from_secs),
    };
    let (text, operation) = issue::create(&new, &app.store.tokens(), &SystemEnvironment::new())?;
    app.writes.submit(operation).await?;
    tracing::info!(id = %text.id(), scopes = ?request.scopes, "created a token");
    let detail = json!({
        "id": text.id().to_string(),
        "scopes": request.scopes,
        "description": new.description,
        "expires_in": request.expires_in,
    });
    let created = CreatedToken { id: text.id().to_string(), token: text.reveal() };
    Ok(noted(reply::json(StatusCode::CREATED, &created), detail))
}

/// `DELETE /v1/tokens/{id}`.
async fn revoke(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response<Body>, Refused> {
    let (Path(id), body) = (id?, body?);
    let request = match body.is_empty() {
        true => RevokeRequest::default(),
        false => parse(&body, r#"{"force":true}"#)?,
    };
    let tokens = app.store.tokens();
    let now = SystemEnvironment::new().now_ms() / 1000;
    let how = Revocation { is_forced: request.force, now };
    let (token, operation) = issue::revoke(&id, &tokens, how)?;
    app.writes.submit(operation).await?;
    tracing::info!(%id, "revoked a token");
    let revoked = AccessToken { is_revoked: true, ..token.clone() };
    Ok(reply::json(StatusCode::OK, &TokenInfo::new(&revoked, app.gate.last_used(token.id))))
}
