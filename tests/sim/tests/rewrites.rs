//! Keys that are rewritten faster than a round trip, on links of 100 ms each way: peers are never far behind.
#![expect(clippy::unwrap_used, reason = "tests")]

use kv_replicate::Notice;
use waypost_sim_tests::mesh::{Mesh, Settings, namespace};

/// The time of each write of a key, by its sequence number at its origin.
#[derive(Debug, Default)]
struct Writes(Vec<(u64, u64)>);

impl Writes {
    /// Rewrites a key at the first location.
    fn rewrite(&mut self, mesh: &mut Mesh, key: &str, bytes: usize) {
        let byte = u8::try_from(self.0.len() % 251).unwrap();
        mesh.put(0, key, &vec![byte; bytes]);
        self.0.push((seq(mesh, 0, key).unwrap(), mesh.now()));
    }

    /// For how long the second location has shown a value that was overwritten at the first.
    fn age_ms(&self, mesh: &mut Mesh, key: &str) -> u64 {
        let shown = seq(mesh, 1, key).unwrap_or(0);
        let newer = self.0.iter().find(|(seq, _)| *seq > shown);
        newer.map_or(0, |(_, at)| mesh.now() - at)
    }
}

/// The sequence number of the write that a location has of a key.
fn seq(mesh: &mut Mesh, place: usize, key: &str) -> Option<u64> {
    let found = mesh.store(place).committer().view().row(namespace(), key.as_bytes());
    found.unwrap().map(|found| found.dot.seq)
}

fn far(backlog_bytes: usize) -> Mesh {
    let settings = Settings { places: 2, latency_ms: 100, backlog_bytes, ..Settings::default() };
    let mut mesh = Mesh::new(settings);
    mesh.connect();
    mesh.run_for(1_000);
    mesh
}

fn count(mesh: &Mesh, is_one: impl Fn(&Notice) -> bool) -> usize {
    mesh.notices.iter().filter(|(_, notice)| is_one(notice)).count()
}

/// Rewrites a key for a while. Returns the greatest age of its value at the other location.
fn greatest_age(mesh: &mut Mesh, key: &str, (bytes, every_ms): (usize, u64)) -> u64 {
    let (mut writes, mut greatest) = (Writes::default(), 0);
    for _ in 0..20_000 / every_ms {
        writes.rewrite(mesh, key, bytes);
        for _ in 0..every_ms / 10 {
            mesh.run_for(10);
            greatest = greatest.max(writes.age_ms(mesh, key));
        }
    }
    greatest
}

#[test]
fn a_large_value_that_is_rewritten_faster_than_a_round_trip_is_never_older_than_a_second() {
    let mut mesh = far(8 << 20);
    let age = greatest_age(&mut mesh, "large", (70_000, 50));
    assert!(age <= 1_000, "{age} ms");
    assert_eq!(count(&mesh, |notice| matches!(notice, Notice::SessionBegan(_))), 0);
    assert!(count(&mesh, |notice| matches!(notice, Notice::BodyReplaced(_))) > 10);
    mesh.run_until_equal();
}

#[test]
fn many_large_values_are_fetched_beside_each_other() {
    let mut mesh = far(8 << 20);
    for n in 0..100 {
        mesh.put(0, format!("large {n}"), &vec![b'l'; 70_000]);
        mesh.run_for(50);
    }
    let ms = mesh.run_until_equal();
    assert!(ms <= 1_000, "{ms} ms after the last write");
}

#[test]
fn a_value_in_its_row_that_is_rewritten_fast_follows_at_once() {
    let mut mesh = far(8 << 20);
    let age = greatest_age(&mut mesh, "small", (5_000, 20));
    assert!(age <= 200, "{age} ms");
}

/// How long a location that missed many writes takes to end a session while keys are rewritten.
fn session_ms(pinned_bytes: u64, bytes: usize) -> Option<u64> {
    let mut mesh = Mesh::new(Settings {
        places: 2,
        latency_ms: 100,
        backlog_bytes: 8 << 20,
        pinned_bytes,
        ..Settings::default()
    });
    mesh.connect();
    mesh.run_for(1_000);
    mesh.cut(1);
    let filler = vec![b'f'; 10_000];
    (0..1_000).for_each(|n| mesh.put(0, format!("key {n}"), &filler));
    mesh.run_for(1_000);
    mesh.heal();
    let start = mesh.now();
    while count(&mesh, |notice| matches!(notice, Notice::SessionDone(_))) == 0 {
        mesh.put(0, "rewritten", &vec![b'r'; bytes]);
        mesh.run_for(20);
        if mesh.now() > start + 30_000 {
            return None;
        }
    }
    let is_given_up = |notice: &Notice| {
        matches!(notice, Notice::SessionLost(_) | Notice::SessionSuspended(_) | Notice::BodyLost(_))
    };
    assert_eq!(count(&mesh, is_given_up), 0);
    let ms = mesh.now() - start;
    mesh.run_until_equal();
    Some(ms)
}

#[test]
fn a_session_ends_while_a_key_is_rewritten() {
    for bytes in [100, 5_000, 70_000] {
        for pinned_bytes in [kv_replicate::PINNED_BYTES, 0] {
            let ms = session_ms(pinned_bytes, bytes);
            assert!(ms.is_some_and(|ms| ms <= 10_000), "{bytes} bytes, {pinned_bytes}: {ms:?}");
        }
    }
}
