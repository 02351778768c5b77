//! The dashboard and the alerts in `deploy/` use only metrics and labels that are exported.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use hyper::StatusCode;
use serde_json::Value;

use super::*;
use crate::cluster::Expiry;

/// What each series of Prometheus has beside what a server exports.
const SCRAPED: [&str; 2] = ["instance", "job"];

/// The labels of each metric that a server with one peer exports, by name.
fn exported() -> BTreeMap<String, BTreeSet<String>> {
    let metrics = Metrics::new();
    metrics.requests().answered(Api::Binding, Verb::Get, StatusCode::OK, Duration::ZERO);
    metrics.connections().cut("header-timeout");
    metrics.access().refused("unknown");
    metrics.limits().tallies().tally("login").count(false, false);
    let mut status = kv_replicate::quic::Status::default();
    let mut peer = kv_replicate::quic::Peer::default();
    (peer.is_connected, peer.rtt) = (true, Some(Duration::ZERO));
    status.peers.insert(kv_core::MemberId([1; 16]), peer);
    let cluster = ClusterGauges {
        status: &status,
        has_stopped: false,
        members: &kv_core::Members::default(),
        origins: crate::membership::OriginState::default(),
        ends: Expiry { not_before: 0, location: 0, ca: 0, has_ca_key: false },
        is_well: true,
    };
    let text = metrics.render(&Gauges::default(), Some(&cluster));
    let mut exported: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        let known = exported.entry(name.to_owned()).or_default();
        known.extend(labels.map(|(label, _)| label.to_owned()));
    }
    exported
}

/// The text of a file of `deploy/`.
fn deployed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    fs::read_to_string(path).expect("the file can be read")
}

/// All values of fields with this name.
fn fields(document: &Value, name: &str, found: &mut Vec<String>) {
    match document {
        Value::Object(object) => {
            found.extend(object.get(name).and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| fields(value, name, found));
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, name, found)),
        _ => {}
    }
}

/// The metrics that an expression uses, each with the labels by which it selects.
fn used(expression: &str) -> Vec<(String, Vec<String>)> {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let starts = expression.match_indices("waypost_").filter(|(at, _)| {
        // Not within a text or another name.
        !expression[..*at].ends_with(|letter| is_of_name(letter) || letter == '"')
    });
    let metrics = starts.map(|(at, _)| {
        let rest = &expression[at..];
        let end = rest.find(|letter| !is_of_name(letter)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let selector = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let labels = selector.map(|(labels, _)| labels).unwrap_or_default().split(',');
        let labels = labels.filter_map(|label| label.split_once('='));
        (name.to_owned(), labels.map(|(label, _)| label.trim().to_owned()).collect())
    });
    metrics.collect()
}

#[test]
fn the_dashboard_and_the_alerts_use_only_what_is_exported() {
    let exported = exported();
    let dashboard: Value = serde_json::from_str(&deployed("grafana/waypost.json")).expect("JSON");
    let alerts: Value = serde_saphyr::from_str(&deployed("prometheus/waypost.yml")).expect("YAML");
    let mut expressions = Vec::new();
    fields(&dashboard, "expr", &mut expressions);
    fields(&dashboard, "query", &mut expressions);
    let panels = expressions.len();
    fields(&alerts, "expr", &mut expressions);
    assert!(panels > 10 && expressions.len() > panels + 5, "{expressions:?}");
    for expression in &expressions {
        for (name, labels) in used(expression) {
            let known = exported.get(&name);
            let known = known.unwrap_or_else(|| panic!("{name} of {expression} is not exported"));
            for label in labels {
                let is_known = known.contains(&label) || SCRAPED.contains(&label.as_str());
                assert!(is_known, "{name} has no label {label}: {expression}");
            }
        }
    }
    let used: Vec<_> = used(r#"rate(waypost_a_total{b="waypost_c",d=~"e"}[5m]) > waypost_f"#);
    let expected = [("waypost_a_total", vec!["b", "d"]), ("waypost_f", vec![])];
    let expected = expected
        .map(|(name, labels)| (name.into(), labels.into_iter().map(String::from).collect()));
    assert_eq!(used, expected);
}

#[test]
fn each_alert_says_what_to_do() {
    let alerts: Value = serde_saphyr::from_str(&deployed("prometheus/waypost.yml")).expect("YAML");
    let count = |name| {
        let mut found = Vec::new();
        fields(&alerts, name, &mut found);
        assert!(found.iter().all(|text| !text.is_empty()), "{name}");
        found.len()
    };
    assert_eq!([count("summary"), count("description"), count("severity")], [count("alert"); 3]);
}
