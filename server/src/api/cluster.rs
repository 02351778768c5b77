//! The cluster API: `/v1/cluster`, the cluster that this location is in. `waypost cluster status |
//! verify | remove` uses it.
//!
//! | request | body | response |
//! |---|---|---|
//! | `GET /v1/cluster` | | 200 and a [`ClusterInfo`] |
//! | `POST /v1/cluster/verify` | `{"location":"name or id"}` | 200 and a [`VerdictInfo`], which may take minutes |
//! | `DELETE /v1/cluster/locations/{name-or-id}` | | 200 and the location, which is removed for good |
//!
//! A refusal is `{"error":"a sentence"}` with 400, 404 (no such location, or this server is in no
//! cluster), 409 (it would remove itself), or 503 (no writes for now).

use std::sync::Arc;

use axum::{
    Router,
    extract::{
        Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    routing::{delete, get, post},
};
use bytes::Bytes;
use hyper::{Response, StatusCode};
use kv_core::{Member, MemberId, Operation, env::Environment as _, env::SystemEnvironment};
use kv_replicate::quic::AskError;

mod alarms;
mod clock;
mod damaged;
mod info;

use self::{
    alarms::{alarms, store_alarm, title_alarms, verdict_of},
    damaged::damage,
};
use crate::{
    app::App,
    http::{
        Body,
        problem::{Refused, parse},
        reply,
    },
    membership::{Membership, OriginState, find_member, progress},
};

pub use self::info::{
    ClusterInfo, DamagedInfo, KeyInfo, NewVerification, PeerInfo, Removed, VerdictInfo,
};

/// The routes of this API.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/cluster", get(show))
        .route("/v1/cluster/verify", post(verify))
        .route("/v1/cluster/locations/{name}", delete(remove))
}

/// The membership of this location, or a 404 that says how to get one.
fn membership(app: &App) -> Result<&Arc<Membership>, Refused> {
    app.membership.as_ref().ok_or_else(|| {
        let error = "this server is in no cluster: `waypost cluster init` creates one, `waypost \
                     serve --join TOKEN` joins one";
        Refused::new(StatusCode::NOT_FOUND, error)
    })
}

/// The 503 for a replica that does not answer.
fn unavailable(error: AskError) -> Refused {
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

/// `GET /v1/cluster`.
async fn show(State(app): State<Arc<App>>) -> Result<Response<Body>, Refused> {
    let membership = membership(&app)?;
    let status = membership.status().await.map_err(unavailable)?;
    let view = app.store.view();
    let (descriptor, expiry) = (membership.descriptor(), membership.expiry());
    let now = SystemEnvironment::new().now_ms() / 1000;
    // The link to a removed member stays for a while, so that it learns of its removal.
    let is_removed = |id: &MemberId| view.members().get(*id).is_some_and(|member| member.removed);
    let mut peers: Vec<PeerInfo> = (status.peers.iter())
        .filter(|(id, _)| !is_removed(id))
        .map(|(id, peer)| {
            let member = view.members().get(*id);
            let name = member.map_or_else(|| id.to_string(), |one| one.name.clone());
            let software = member.and_then(software_of);
            PeerInfo { software, ..PeerInfo::new(name, id.to_string(), peer, now) }
        })
        .collect();
    peers.sort_by(|a, b| (&a.name, &a.member).cmp(&(&b.name, &b.member)));
    let damaged_keys = {
        let names = (view.namespaces().as_ref(), view.members().as_ref());
        DamagedInfo::first(view.owed(), &status.awaited, names)
    };
    let mut alarms = alarms(&status, &peers, membership.certificate_alarms(now), now);
    if status.halted.is_none() {
        alarms.extend(clock::alarms(&status, descriptor.location.as_str(), &peers, now));
        alarms.extend(OriginState::of(&view).alarms());
        alarms.extend(membership.incidents(now));
        alarms.extend(title_alarms(view.namespaces()));
    }
    alarms.extend(store_alarm(&app.store.status().mode));
    alarms.extend(damage(view.owed().len(), &damaged_keys));
    Ok(reply::json(
        StatusCode::OK,
        &ClusterInfo {
            id: descriptor.cluster.to_string(),
            name: descriptor.cluster_name.to_string(),
            location: descriptor.location.to_string(),
            member: descriptor.member.to_string(),
            software: Some(kv_replicate::software().version.to_string()),
            features: view.features().names().map(str::to_owned).collect(),
            is_joined: status.is_joined,
            joining: (!status.is_joined).then(|| progress(&status)),
            certificate_not_after: expiry.location,
            ca_not_after: expiry.ca,
            verdict: verdict_of(&status, &peers, alarms.len()),
            peers,
            damaged: view.owed().len(),
            damaged_keys,
            alarms,
        },
    ))
}

/// The version of the program that a member has announced.
fn software_of(member: &Member) -> Option<String> {
    member.software.as_ref().map(|software| software.version.to_string())
}

/// A body that axum read, or the reason why not.
type Received = Result<Bytes, BytesRejection>;
/// The location's name in the path, decoded.
type Name = Result<Path<String>, PathRejection>;

/// The member with this name or id.
fn found(app: &App, name: &str) -> Result<Member, Refused> {
    find_member(&app.store, name)
        .map_err(|error| Refused::new(StatusCode::NOT_FOUND, error.to_string()))
}

/// `POST /v1/cluster/verify`.
async fn verify(State(app): State<Arc<App>>, body: Received) -> Result<Response<Body>, Refused> {
    let membership = membership(&app)?;
    let NewVerification { location } = parse(&body?, r#"{"location":"fra"}"#)?;
    let member = found(&app, &location)?;
    if member.id == membership.descriptor().member {
        let error = format!("{location} is this location: use the name of another one");
        return Err(Refused::new(StatusCode::BAD_REQUEST, error));
    }
    let verdict = membership.verify(member.id).await.map_err(unavailable)?;
    let info = VerdictInfo::new(member.name, &verdict, &app.store.namespaces());
    Ok(reply::json(StatusCode::OK, &info))
}

/// `DELETE /v1/cluster/locations/{name-or-id}`.
async fn remove(State(app): State<Arc<App>>, name: Name) -> Result<Response<Body>, Refused> {
    let membership = membership(&app)?;
    let Path(name) = name?;
    let member = found(&app, &name)?;
    if member.id == membership.descriptor().member {
        let error = "a location can't remove itself: run this on another location";
        return Err(Refused::new(StatusCode::CONFLICT, error));
    }
    app.writes.submit(Operation::RemoveMember { id: member.id }).await?;
    let removed = Removed { location: member.name, member: member.id.to_string() };
    Ok(reply::json(StatusCode::OK, &removed))
}
