//! The session that is recorded.

use kv_core::{Attributes, Key, Metadata, Operation, VersionVector};
use kv_replicate::{Condition, Event, Unread};

use super::{Transcript, rows};
use crate::{
    mesh::{Mesh, Settings, namespace},
    node::{START_MS, member},
};

/// The least length of a value that is not sent together with its row.
const LARGE_BYTES: usize = 65_281;

/// Two locations: the first writes, and the second requests what it lacks in every possible way.
///
/// # Panics
/// If they do not become equal.
#[must_use]
pub fn record() -> Transcript {
    let settings =
        Settings { places: 2, backlog_bytes: 1_000, batch_rows: 4, ..Settings::default() };
    let mut mesh = Mesh::new(settings);
    mesh.record = Some(Vec::new());
    mesh.connect();
    mesh.run_for(500);
    live(&mut mesh);
    reports(&mut mesh);
    gone_body(&mut mesh);
    session(&mut mesh);
    mesh.run_for(3_500);
    verify(&mut mesh);
    mesh.write(0, vec![Operation::RemoveMember { id: member(1) }]);
    mesh.run_for(500);
    let rows = rows(&mut mesh, 1);
    Transcript { messages: mesh.record.take().unwrap_or_default(), rows }
}

/// Sends rows of every kind as live messages, and lets a body be fetched.
fn live(mesh: &mut Mesh) {
    mesh.put(0, "plain", b"a value");
    mesh.put(0, "empty", b"");
    mesh.put(0, "plain", b"another value");
    mesh.put(0, "to go", b"short");
    mesh.run_for(100);
    mesh.write(0, vec![delete("to go")]);
    let expires_at = Some((START_MS + mesh.now()) / 1000 + 86_400);
    put(
        mesh,
        "with all",
        b"value",
        Attributes { metadata: Metadata::new(r#"{"a":1}"#).ok(), expires_at },
    );
    mesh.put(0, "large", &[b'L'; LARGE_BYTES]);
    mesh.run_until_equal();
}

/// The second location reports that something is wrong with it and with the first one, and then that nothing is.
fn reports(mesh: &mut Mesh) {
    let condition = |code, about| Condition { code, about, for_ms: 1_500 };
    mesh.report(1, vec![condition(3, None), condition(20, Some(member(0)))]);
    mesh.run_for(100);
    mesh.report(1, Vec::new());
    mesh.run_for(100);
}

/// Overwrites a body before it is requested.
fn gone_body(mesh: &mut Mesh) {
    mesh.put(0, "gone", &[b'G'; LARGE_BYTES]);
    mesh.run_for(50);
    mesh.put(0, "gone", b"short again");
    mesh.run_until_equal();
}

/// Writes more than the backlog holds while the second location is offline. Its session is refused
/// twice, starts, loses its source, and starts again.
fn session(mesh: &mut Mesh) {
    mesh.cut(1);
    let soon = Some((START_MS + mesh.now()) / 1000 + 1);
    put(mesh, "expires", b"soon", Attributes { metadata: None, expires_at: soon });
    (0..12).for_each(|n| mesh.put(0, format!("key {n}"), &[b'0' + n; 100]));
    mesh.write(0, vec![delete("plain"), delete("never there")]);
    mesh.put(0, "large", &[b'M'; LARGE_BYTES]);
    mesh.run_for(3_000);
    // The expired value is freed, and its expired tombstone stays.
    mesh.collect_garbage(0, 100);
    mesh.run_for(100);
    mesh.refuse(0, vec![Unread::Failed, Unread::Gone(VersionVector::default())]);
    mesh.heal();
    let pages = |mesh: &Mesh| mesh.traffic.of(&["page"]).0;
    let before = pages(mesh);
    while pages(mesh) == before {
        mesh.run_for(1);
    }
    // The first location sees the link reconnect and forgets the session; the second does not
    // notice.
    mesh.tell(0, Event::Connected(member(1)));
    mesh.run_until_equal();
}

/// Each location compares its rows with the other's.
fn verify(mesh: &mut Mesh) {
    for (asker, peer) in [(0, 1), (1, 0)] {
        mesh.tell(asker, Event::Verify(member(peer)));
        mesh.run_for(1_000);
    }
}

fn put(mesh: &mut Mesh, key: &'static str, value: &[u8], attributes: Attributes) {
    let operations = mesh.put_operations(0, key, value, attributes);
    mesh.write(0, operations);
}

fn delete(key: &'static str) -> Operation {
    Operation::Delete { namespace: namespace(), key: Key::new(key).expect("a key") }
}
