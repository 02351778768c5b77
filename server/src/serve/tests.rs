//! A server whose replica ends while it runs.

use axum::body::Body;
use hyper::Request;
use kv_core::env::SystemEnvironment;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;
use crate::{
    api,
    audit::AuditLog,
    cluster::{self, NewCluster},
    config::Given,
};

/// Starts the first location of a cluster, with everything but its listener.
async fn start_first(data: &TempDir) -> (Running, Config) {
    let new = NewCluster {
        data: data.path().to_owned(),
        cluster: "prod".parse().expect("a name"),
        location: "fra".parse().expect("a name"),
        advertise: vec!["127.0.0.1:8421".parse().expect("an address")],
        listen: ([127, 0, 0, 1], 0).into(),
    };
    let made = cluster::init(&new, &SystemEnvironment::new()).expect("a cluster");
    let mut config = Config::load(&Given::default(), None).expect("defaults");
    config.settings.data = data.path().to_owned();
    let metrics = Arc::new(Metrics::new());
    let location = location::load(&config.settings).expect("a location");
    let opened = OpenStore::open(&config, Some(made.member), &metrics).expect("a store");
    let running = start(&config, location, opened, (Gate::default(), metrics, AuditLog::default()))
        .await
        .expect("it starts");
    (running, config)
}

/// The response to `GET` of a path, with its status.
async fn get(app: &Arc<App>, path: &str) -> (u16, String) {
    let routes = api::cluster::routes().merge(api::ops::routes()).with_state(Arc::clone(app));
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = routes.oneshot(request).await.expect("a response");
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

/// The cluster, as `/v1/cluster` shows it.
async fn shown(app: &Arc<App>) -> Value {
    let (status, text) = get(app, "/v1/cluster").await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_whose_replica_has_ended_answers_with_what_it_knows_and_with_the_reason() {
    let data = TempDir::new().expect("a directory");
    let (running, _config) = start_first(&data).await;
    let Running { opened, replication, app, watching, .. } = running;
    watching.abort();
    assert_eq!(shown(&app).await["halted"], Value::Null);
    let member = kv_core::MemberId([7; 16]);
    let (name, addresses) = ("ams".into(), vec!["192.0.2.7:8421".into()]);
    let joins = kv_core::Operation::PutMember { id: member, name, addresses };
    app.writes.submit(joins).await.expect("a member");
    // The writer does so when it panics.
    let store = opened.store.clone();
    let ended = tokio::task::spawn_blocking(move || store.stop_replicating()).await;
    ended.expect("a task").expect("it ends");
    while app.membership.as_ref().is_some_and(|member| member.unready().is_none()) {
        app.observe().await;
        sleep(Duration::from_millis(10)).await;
    }
    let info = shown(&app).await;
    assert_eq!((&info["is_joined"], &info["is_well"]), (&true.into(), &false.into()), "{info}");
    let reason = info["halted"].as_str().unwrap_or_default();
    assert!(reason.contains("the replica has ended"), "{info}");
    assert_eq!((&info["alarms"][0]["kind"], &info["alarms"][1]), (&"halted".into(), &Value::Null));
    let text = info["alarms"][0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("Reads are answered") && text.contains("Writes are refused"), "{text}");
    assert_eq!(
        (&info["peers"][0]["name"], &info["peers"][0]["is_connected"]),
        (&"ams".into(), &false.into())
    );
    let (_, metrics) = get(&app, "/metrics").await;
    assert!(metrics.contains("waypost_cluster_halted 1\n"), "{metrics}");
    assert!(metrics.contains(r#"waypost_alarm{kind="halted",of="here"} 1"#), "{metrics}");
    let (status, why) = get(&app, "/readyz").await;
    assert!(status == 503 && why.contains("has stopped replicating"), "{why}");
    if let Some(replication) = replication {
        replication.stop().await;
    }
    opened.close().await.expect("the store closes");
}
