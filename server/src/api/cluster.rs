//! `/v1/cluster`: the cluster that this location is in. `waypost cluster status | verify | remove` speaks it.
//!
//! | request | body | answers |
//! |---|---|---|
//! | `GET /v1/cluster` | | 200 and a [`ClusterInfo`] |
//! | `POST /v1/cluster/verify` | `{"location":"name or id"}` | 200 and a [`VerdictInfo`], after minutes perhaps |
//! | `DELETE /v1/cluster/locations/{name-or-id}` | | 200 and the location: it has left for good |
//!
//! What is refused is answered by `{"error":"a sentence"}` with 400, 404 (no such location, or this server
//! is in no cluster), 409 (it would remove itself), or 503 (no writes for now).

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
use data_encoding::HEXLOWER;
use hyper::{Response, StatusCode};
use kv_core::{Member, Namespaces, Operation, env::Environment as _, env::SystemEnvironment};
use kv_replicate::{
    Ending, Verdict,
    inspect::Place,
    quic::{AskError, Peer},
};
use serde::{Deserialize, Serialize};

mod alarms;

use self::alarms::{alarms, verdict_of};
use super::namespaces::{Refused, parse};
use crate::{
    app::App,
    body::Body,
    membership::{Membership, member_named, progress},
    reply,
};

/// The routes of this door.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/cluster", get(show))
        .route("/v1/cluster/verify", post(verify))
        .route("/v1/cluster/locations/{name}", delete(remove))
}

/// A cluster, as one of its locations sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterInfo {
    /// 32 hexadecimal digits.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The location that answers.
    pub location: String,
    /// Its id, 32 hexadecimal digits.
    pub member: String,
    /// Whether it takes part; while it joins it takes no writes.
    pub is_joined: bool,
    /// How far it is, while it joins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joining: Option<String>,
    /// Until when this location's certificate holds, in Unix seconds; 0 if the server does not say it.
    #[serde(default)]
    pub certificate_not_after: u64,
    /// Until when that of the cluster's CA does.
    #[serde(default)]
    pub ca_not_after: u64,
    /// The other locations, by name.
    pub peers: Vec<PeerInfo>,
    /// What somebody must see to, each a sentence that says what to do.
    pub alarms: Vec<String>,
    /// One line: is all well?
    pub verdict: String,
}

/// Another location, as the one that answers sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerInfo {
    /// What people call it.
    pub name: String,
    /// 32 hexadecimal digits.
    pub member: String,
    /// Whether a link to it is up.
    pub is_connected: bool,
    /// Since when there is no link to it that lasts, in Unix seconds; none while one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_since: Option<u64>,
    /// From where it is heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// There and back, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Writes that it has and that have not come here.
    pub missing_here: u64,
    /// Writes that are here and that it does not have, as far as it has said.
    pub missing_there: u64,
    /// For how long nothing came of what is missing here, in milliseconds.
    pub late_ms: u64,
    /// A catch-up session brings rows from it.
    pub is_receiving: bool,
    /// A catch-up session sends rows to it.
    pub is_sending: bool,
    /// Its clock is too far ahead: its writes wait.
    pub is_parked: bool,
    /// Why the last link or attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What is to be compared with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewVerification {
    /// A location's name or id.
    pub location: String,
}

/// What a comparison came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerdictInfo {
    /// With which location.
    pub location: String,
    /// All was compared, and is the same byte for byte.
    pub is_equal: bool,
    /// Rows that were compared.
    pub rows: u64,
    /// Keys that differ and should not.
    pub differing: u64,
    /// Which: the first 100 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyInfo>,
    /// Keys that differed each time, while writes were under way.
    pub unsettled: u64,
    /// Rows that can't be read here.
    pub damaged_here: u64,
    /// Rows that can't be read there.
    pub damaged_there: u64,
    /// One line.
    pub verdict: String,
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// The title of its namespace; the id, if the namespace has none here.
    pub namespace: String,
    /// The key; `0x` and hexadecimal digits, if it is not text.
    pub key: String,
}

/// A location that was removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Removed {
    /// What it was called.
    pub location: String,
    /// 32 hexadecimal digits.
    pub member: String,
}

fn membership(app: &App) -> Result<&Arc<Membership>, Refused> {
    app.membership.as_ref().ok_or_else(|| {
        let error = "this server is in no cluster: `waypost cluster init` makes one, `waypost serve \
                     --join TOKEN` joins one";
        Refused::new(StatusCode::NOT_FOUND, error.into())
    })
}

fn gone(error: AskError) -> Refused {
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

async fn show(State(app): State<Arc<App>>) -> Result<Response<Body>, Refused> {
    let membership = membership(&app)?;
    let status = membership.status().await.map_err(gone)?;
    let view = app.store.view();
    let (about, ends) = (membership.about(), membership.ends());
    let now = SystemEnvironment::new().now_ms() / 1000;
    let mut peers: Vec<PeerInfo> = (status.peers.iter())
        .map(|(id, peer)| {
            let name =
                view.members().get(*id).map_or_else(|| id.to_string(), |one| one.name.clone());
            peer_info(name, id.to_string(), peer, now)
        })
        .collect();
    peers.sort_by(|a, b| (&a.name, &a.member).cmp(&(&b.name, &b.member)));
    let alarms = alarms(&status, &peers, ends, now);
    Ok(reply::json(
        StatusCode::OK,
        &ClusterInfo {
            id: about.cluster.to_string(),
            name: about.cluster_name.to_string(),
            location: about.location.to_string(),
            member: about.member.to_string(),
            is_joined: status.is_joined,
            joining: (!status.is_joined).then(|| progress(&status)),
            certificate_not_after: ends.location,
            ca_not_after: ends.ca,
            verdict: verdict_of(&status, &peers, alarms.len()),
            peers,
            alarms,
        },
    ))
}

fn peer_info(name: String, member: String, peer: &Peer, now: u64) -> PeerInfo {
    let state = &peer.state;
    PeerInfo {
        name,
        member,
        is_connected: peer.is_connected,
        down_since: peer.down_for.map(|down| now.saturating_sub(down.as_secs())),
        address: peer.address.map(|address| address.to_string()),
        rtt_ms: peer.rtt.map(|rtt| (rtt.as_secs_f64() * 1e5).round() / 100.0),
        missing_here: state.ahead,
        missing_there: state.behind,
        late_ms: u64::try_from(state.late.as_millis()).unwrap_or(u64::MAX),
        is_receiving: state.receiving.is_some(),
        is_sending: state.is_sending,
        is_parked: state.parked_until_ms.is_some(),
        last_error: peer.last_error.clone().filter(|_| !peer.is_connected),
    }
}

type Sent = Result<Bytes, BytesRejection>;
type Name = Result<Path<String>, PathRejection>;

fn found(app: &App, name: &str) -> Result<Member, Refused> {
    member_named(&app.store, name).map_err(|error| Refused::new(StatusCode::NOT_FOUND, error))
}

async fn verify(State(app): State<Arc<App>>, body: Sent) -> Result<Response<Body>, Refused> {
    let membership = membership(&app)?;
    let NewVerification { location } = parse(&body?, r#"{"location":"fra"}"#)?;
    let member = found(&app, &location)?;
    if member.id == membership.about().member {
        let error = format!("{location} is this location: name another");
        return Err(Refused::new(StatusCode::BAD_REQUEST, error));
    }
    let verdict = membership.verify(member.id).await.map_err(gone)?;
    Ok(reply::json(StatusCode::OK, &verdict_info(member.name, &verdict, &app.store.namespaces())))
}

fn key_info(place: &Place, namespaces: &Namespaces) -> KeyInfo {
    let namespace = namespaces.iter().find(|namespace| namespace.id == place.namespace);
    let key = match str::from_utf8(&place.key) {
        Ok(text) => text.into(),
        Err(_no_text) => format!("0x{}", HEXLOWER.encode(&place.key)),
    };
    let id = || place.namespace.to_string();
    KeyInfo { namespace: namespace.map_or_else(id, |one| one.title.to_string()), key }
}

fn verdict_info(location: String, verdict: &Verdict, namespaces: &Namespaces) -> VerdictInfo {
    let Verdict { rows, differing, unsettled, damaged, .. } = *verdict;
    let said = match verdict.ending {
        _ if verdict.is_equal() => format!("the same: {rows} rows, byte for byte"),
        Ending::Complete if differing > 0 => {
            format!("{differing} of {rows} keys differ: write them anew, and report it")
        }
        Ending::Complete if damaged != [0, 0] => format!(
            "{} rows can't be read here and {} there: empty that location, and let it join anew",
            damaged[0], damaged[1]
        ),
        Ending::Complete => format!(
            "{unsettled} of {rows} keys were being written all the while: ask again when less is written"
        ),
        Ending::LinkLost => "not finished: there is no link to it".into(),
        Ending::PeerSilent => "not finished: it does not answer".into(),
        Ending::PeerUnreadable => "not finished: it can't read its disk".into(),
        Ending::Unreadable => "not finished: this location can't read its disk".into(),
    };
    VerdictInfo {
        location,
        is_equal: verdict.is_equal(),
        rows,
        differing,
        keys: verdict.places.iter().map(|place| key_info(place, namespaces)).collect(),
        unsettled,
        damaged_here: damaged[0],
        damaged_there: damaged[1],
        verdict: said,
    }
}

async fn remove(State(app): State<Arc<App>>, name: Name) -> Result<Response<Body>, Refused> {
    let membership = membership(&app)?;
    let Path(name) = name?;
    let member = found(&app, &name)?;
    if member.id == membership.about().member {
        let error = "a location can't remove itself: ask another one to do it";
        return Err(Refused::new(StatusCode::CONFLICT, error.into()));
    }
    app.writes.submit(Operation::RemoveMember { id: member.id }).await?;
    let removed = Removed { location: member.name, member: member.id.to_string() };
    Ok(reply::json(StatusCode::OK, &removed))
}

#[cfg(test)]
mod tests {
    use kv_core::{Key, MemberId, NamespaceId, Store};
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_verdict_names_the_keys_that_differ() {
        let directory = TempDir::new().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let id = store.create_namespace("pages").expect("a namespace").id;
        let place =
            |namespace, key: &'static [u8]| Place { namespace, key: Key::new(key).unwrap() };
        let verdict = Verdict {
            peer: MemberId([1; 16]),
            rows: 9,
            differing: 2,
            places: vec![place(id, "grüße".as_bytes()), place(NamespaceId::SYSTEM, &[0xff, 1])],
            unsettled: 0,
            damaged: [0, 0],
            ending: Ending::Complete,
        };
        let info = verdict_info("ams".into(), &verdict, &store.namespaces());
        let key =
            |namespace: &str, key: &str| KeyInfo { namespace: namespace.into(), key: key.into() };
        let system = NamespaceId::SYSTEM.to_string();
        assert_eq!(info.keys, [key("pages", "grüße"), key(&system, "0xff01")]);
        assert!(info.verdict.starts_with("2 of 9 keys differ"), "{}", info.verdict);
    }

    #[test]
    fn a_server_that_does_not_say_the_ends_of_certificates_is_understood() {
        let said = r#"{"id":"01","name":"prod","location":"fra","member":"02","is_joined":true,
            "peers":[],"alarms":[],"verdict":"well"}"#;
        let info: ClusterInfo = serde_json::from_str(said).expect("it is understood");
        assert_eq!((info.certificate_not_after, info.ca_not_after), (0, 0));
    }
}
