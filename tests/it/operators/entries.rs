//! The entries that were acknowledged: what every location must answer in the end.

use std::collections::BTreeMap;

use waypost_tests::{Server, cluster::Cluster, http::Response, wait};

use super::{PATIENCE, call, server, shared};

/// Puts and deletes that a location acknowledged, by key; the later one of a key counts. A test that uses this
/// writes a key at two locations only when the first write has reached the second location.
#[derive(Debug, Default)]
pub(super) struct Entries(BTreeMap<String, Option<String>>);

impl Entries {
    /// Puts a value, which must be acknowledged. Returns the time in the version that the location gave it, in
    /// milliseconds since the Unix epoch.
    pub(super) fn put(&mut self, at: &Server, key: &str, value: &str) -> u64 {
        self.put_with(at, key, value, "")
    }

    /// [`Entries::put`] with options, such as `expiration_ttl=60`.
    pub(super) fn put_with(&mut self, at: &Server, key: &str, value: &str, options: &str) -> u64 {
        let answer = self.try_put(at, key, value, options);
        assert_eq!(answer.status, 200, "{key} is not put: {}", answer.text());
        version_ms(&answer)
    }

    /// Puts a value, which counts only if it is acknowledged.
    pub(super) fn try_put(
        &mut self,
        at: &Server,
        key: &str,
        value: &str,
        options: &str,
    ) -> Response {
        let answer = call(at, "PUT", &shared(key), options, value.as_bytes());
        if answer.status == 200 {
            self.0.insert(key.into(), Some(value.into()));
        }
        answer
    }

    /// Puts `count` values, `{name}-0` and so on.
    pub(super) fn put_many(&mut self, at: &Server, name: &str, count: u32) {
        for index in 0..count {
            self.put(at, &format!("{name}-{index}"), &format!("the value of {name}-{index}"));
        }
    }

    /// Deletes a key, which must be acknowledged.
    pub(super) fn delete(&mut self, at: &Server, key: &str) {
        let answer = call(at, "DELETE", &shared(key), "", b"");
        assert!(matches!(answer.status, 200 | 204), "{key} is not deleted: {answer:?}");
        self.0.insert(key.into(), None);
    }

    /// Expects a value that was put in another way, and acknowledged.
    pub(super) fn expect(&mut self, key: &str, value: &str) {
        self.0.insert(key.into(), Some(value.into()));
    }

    /// No longer expects anything of a key: its time may be over.
    pub(super) fn forget(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// What a server answers otherwise than it must, one sentence a key.
    pub(super) fn wrong_at(&self, at: &Server) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, expected) in &self.0 {
            let answer = call(at, "GET", &shared(key), "", b"");
            let found = answer.text();
            match (answer.status, expected) {
                (200, Some(expected)) if found == *expected => {}
                (404, None) => {}
                (404, Some(_)) => wrong.push(format!("{key} is lost")),
                (200, None) => wrong.push(format!("{key} was deleted and is there again")),
                (200, Some(expected)) => {
                    wrong.push(format!("{key} is {:?}, not {:?}", start(&found), start(expected)));
                }
                (status, _) => wrong.push(format!("{key} is answered with {status}: {found}")),
            }
        }
        wrong
    }

    /// [`Entries::wrong_at`] of all locations that are up.
    pub(super) fn wrong(&self, cluster: &Cluster) -> Vec<String> {
        let up = (0..cluster.len()).filter(|number| cluster.locations()[*number].is_up());
        let wrong = up.flat_map(|number| {
            let wrong = self.wrong_at(server(cluster, number));
            wrong.into_iter().map(move |why| format!("location {number}: {why}"))
        });
        wrong.collect()
    }

    /// Waits until every location that is up answers all entries. Panics with all that are lost if one does not.
    pub(super) fn assert_everywhere(&self, cluster: &Cluster, fault: &str) {
        let arrived = wait::until(PATIENCE, || self.wrong(cluster).is_empty().then_some(()));
        if arrived.is_none() {
            let wrong = self.wrong(cluster);
            let statuses: Vec<String> = (cluster.locations().iter())
                .filter(|location| location.is_up())
                .map(|location| location.status().shown)
                .collect();
            panic!(
                "after {fault}, {} acknowledged entries are not as they were acknowledged:\n{}\n{}",
                wrong.len(),
                wrong.join("\n"),
                statuses.join("\n")
            );
        }
    }
}

/// The start of a text, for messages.
fn start(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The wall clock's time in the version of an entry, which its `ETag` shows: 48 bits of milliseconds, 16 of a counter.
pub(super) fn version_ms(answer: &Response) -> u64 {
    let etag = answer.header("etag").expect("a put is answered with an ETag");
    let digits = etag.trim_matches('"').get(..12).expect("an ETag begins with a time");
    u64::from_str_radix(digits, 16).expect("the time is hexadecimal")
}
