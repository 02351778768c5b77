//! The session that is written down.

use kv_core::{Attributes, Key, Metadata, Operation, VersionVector};
use kv_replicate::{Event, Unread};

use super::{Transcript, rows};
use crate::{
    mesh::{Mesh, Settings, namespace},
    node::{START_MS, member},
};

/// The shortest value that does not come with its row.
const LARGE_BYTES: usize = 65_281;

/// Two locations, of which the first writes and the second asks in every way for what it lacks.
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
    gone_body(&mut mesh);
    session(&mut mesh);
    mesh.run_for(3_500);
    verify(&mut mesh);
    let rows = rows(&mut mesh, 1);
    mesh.write(0, vec![Operation::RemoveMember { id: member(1) }]);
    mesh.run_for(500);
    Transcript { messages: mesh.record.take().unwrap_or_default(), rows }
}

/// Rows of every kind as they are made, and a body that is fetched.
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

/// A body that is overwritten before it is asked for.
fn gone_body(mesh: &mut Mesh) {
    mesh.put(0, "gone", &[b'G'; LARGE_BYTES]);
    mesh.run_for(50);
    mesh.put(0, "gone", b"short again");
    mesh.run_until_equal();
}

/// More than the ring holds, while the second location is away: refused twice, then begun, lost by
/// its source, begun again.
fn session(mesh: &mut Mesh) {
    mesh.cut(1);
    let soon = Some((START_MS + mesh.now()) / 1000 + 1);
    put(mesh, "expires", b"soon", Attributes { metadata: None, expires_at: soon });
    (0..12).for_each(|n| mesh.put(0, format!("key {n}"), &[b'0' + n; 100]));
    mesh.write(0, vec![delete("plain"), delete("never there")]);
    mesh.put(0, "large", &[b'M'; LARGE_BYTES]);
    mesh.run_for(3_000);
    // The value that has expired is freed, and its stub stays.
    mesh.collect_garbage(0, 100);
    mesh.run_for(100);
    mesh.refuse(0, vec![Unread::Failed, Unread::Gone(VersionVector::default())]);
    mesh.heal();
    let pages = |mesh: &Mesh| mesh.traffic.of(&["page"]).0;
    let before = pages(mesh);
    while pages(mesh) == before {
        mesh.run_for(1);
    }
    // The first sees the link come up anew and forgets the session; the second does not notice.
    mesh.tell(0, Event::Connected(member(1)));
    mesh.run_until_equal();
}

/// Each compares what it has with the other.
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
