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
use kv_core::{Member, MemberId, Operation, OriginId, Store, engine::Snapshot, view::View};
use kv_replicate::quic::{Peer, QueryError};

mod info;
mod peer;
mod verification;

use crate::{
    alarms::{self, Raised},
    app::App,
    http::{
        Body,
        problem::{Refused, parse},
        reply,
    },
    membership::{Membership, find_member, progress},
};

use self::verification::Ends;
pub use self::{
    info::{AlarmInfo, ClusterInfo, PauseInfo, Removed, StableInfo},
    peer::{PeerInfo, ReportInfo, SessionInfo},
    verification::{NewVerification, VerdictInfo, VerificationInfo},
};
pub use crate::alarms::{DamagedInfo, KeyInfo};

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
fn unavailable(error: QueryError) -> Refused {
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

/// `GET /v1/cluster`.
async fn show(State(app): State<Arc<App>>) -> Result<Response<Body>, Refused> {
    let membership = membership(&app)?;
    let observed = app.observe().await;
    let (Some(member), Some(verdict)) = (&observed.snapshot.member, &observed.verdict) else {
        // A membership has both, whether its replica has ended or not.
        return Err(unavailable(QueryError::Closed));
    };
    let (descriptor, status) = (membership.descriptor(), &member.status);
    let peers = peers(&app.store, member, observed.snapshot.now);
    let alarm = |raised: &Raised| AlarmInfo {
        kind: raised.alarm.kind.name().to_owned(),
        location: raised.alarm.about.map(|id| member.called(id)),
        is_reported: raised.alarm.is_reported,
        since: raised.since,
        text: raised.alarm.text.clone(),
    };
    let stable = StableInfo {
        at: status.stable.at.millis() / 1000,
        held_by: status.stable.held_by.iter().map(|id| member.called(*id)).collect(),
        is_unsettled: status.stable.is_unsettled,
    };
    Ok(reply::json(
        StatusCode::OK,
        &ClusterInfo {
            id: descriptor.cluster.to_string(),
            name: descriptor.cluster_name.to_string(),
            location: descriptor.location.to_string(),
            member: descriptor.member.to_string(),
            software: Some(kv_replicate::software().version.to_string()),
            features: app.store.view().features().names().map(str::to_owned).collect(),
            is_joined: status.is_joined,
            halted: membership.halt_reason().filter(|_| member.has_stopped()),
            pause: status.pause.map(|pause| PauseInfo {
                seconds: pause.lasted.as_secs(),
                until: observed.snapshot.now.saturating_sub(pause.ended.as_secs()),
            }),
            joining: (!status.is_joined).then(|| progress(status, |id| member.called(id))),
            certificate_not_after: member.expiry.location,
            ca_not_after: member.expiry.ca,
            peers,
            damaged: observed.snapshot.damage.count,
            damaged_keys: observed.snapshot.damage.first.clone(),
            stable,
            alarms: observed.alarms.iter().map(alarm).collect(),
            is_well: verdict.is_well,
            verdict: verdict.text.clone(),
        },
    ))
}

/// The other locations, by name.
fn peers(store: &Store, member: &alarms::Member, now: u64) -> Vec<PeerInfo> {
    let view = store.view();
    let writer = |origin| writer(&view, origin, |id| member.called(id));
    let info = |(id, name, peer): (MemberId, String, &Peer)| {
        let software = member.members.get(id).and_then(software_of);
        let verifying = peer.state.verifying.map(|verification| {
            let ends = Ends { there: &name, writer: &writer };
            VerificationInfo::new(&verification, view.rows().ok(), &ends)
        });
        PeerInfo { software, verifying, ..PeerInfo::new(id, peer, now, |id| member.called(id)) }
    };
    let mut peers: Vec<_> = member.peers().map(info).collect();
    peers.sort_by(|a, b| (&a.name, &a.member).cmp(&(&b.name, &b.member)));
    peers
}

/// The name of the location that writes under an origin.
fn writer(
    view: &View<impl Snapshot>,
    origin: OriginId,
    called: impl Fn(MemberId) -> String,
) -> String {
    let member = view.registry().get(origin).map(|info| info.member);
    member.map_or_else(|| "an unknown location".into(), called)
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
    let view = app.store.view();
    let called = |id| view.members().get(id).map_or_else(|| id.to_string(), |one| one.name.clone());
    let ends = Ends { there: &member.name, writer: &|origin| writer(&view, origin, called) };
    let info = VerdictInfo::new(&verdict, &ends, &app.store.namespaces());
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
