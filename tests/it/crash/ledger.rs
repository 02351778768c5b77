//! The state of one writer's keys: what the server acknowledged, and what it may have done without
//! acknowledging it.

use std::collections::BTreeMap;

use serde_json::Value;
use waypost_tests::{http::Connection, random::noise};

/// The number of keys of each writer: few, so that most writes replace something.
const KEYS: u64 = 24;

/// A value with its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Unique for each write, and the seed of the value's bytes.
    pub(super) stamp: u64,
    pub(super) length: usize,
    pub(super) metadata: Option<String>,
    pub(super) expires_at: Option<u64>,
}

impl Written {
    /// The bytes of the value.
    pub(super) fn bytes(&self) -> Vec<u8> {
        noise(self.stamp, self.length)
    }
}

/// The state of one key. `None` means that the key does not exist.
#[derive(Clone, Debug, Default)]
struct State {
    acknowledged: Option<Written>,
    /// The last write, if the server was killed before it responded.
    unanswered: Option<Option<Written>>,
}

/// The state of a writer's keys.
#[derive(Debug)]
pub(super) struct Ledger {
    owner: u64,
    keys: BTreeMap<u64, State>,
    stamps: u64,
}

/// A key's attributes in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    metadata: Option<String>,
    expires_at: Option<u64>,
}

impl Ledger {
    pub(super) fn new(owner: u64) -> Ledger {
        Ledger { owner, keys: (0..KEYS).map(|key| (key, State::default())).collect(), stamps: 0 }
    }

    pub(super) fn name(&self, key: u64) -> String {
        format!("writer-{}.key-{key}", self.owner)
    }

    /// The stamp of the next value.
    pub(super) fn stamp(&mut self) -> u64 {
        self.stamps += 1;
        (self.owner << 32) | self.stamps
    }

    /// Maps any number to a key.
    pub(super) fn pick(choice: u64) -> u64 {
        choice % KEYS
    }

    /// Records that a write is about to be sent.
    pub(super) fn begins(&mut self, key: u64, write: Option<Written>) {
        self.state(key).unanswered = Some(write);
    }

    /// Records that the write was acknowledged.
    pub(super) fn succeeds(&mut self, key: u64) {
        let state = self.state(key);
        state.acknowledged = state.unanswered.take().expect("a write is in flight");
    }

    /// The value of a key that has no write in flight.
    pub(super) fn holds(&self, key: u64) -> Option<&Written> {
        self.keys[&key].acknowledged.as_ref()
    }

    fn state(&mut self, key: u64) -> &mut State {
        self.keys.get_mut(&key).expect("the key belongs to the writer")
    }

    /// Compares all keys with the server's entries, and records those as acknowledged from now on.
    /// Returns the number of existing keys.
    pub(super) fn check(
        &mut self,
        connection: &mut Connection,
        namespace: &str,
        listed: &BTreeMap<String, Listed>,
    ) -> usize {
        let names: Vec<_> = self.keys.keys().map(|key| (*key, self.name(*key))).collect();
        let mut count = 0;
        for (key, name) in names {
            let state = self.state(key);
            let unanswered = state.unanswered.take();
            let expected = [Some(&state.acknowledged), unanswered.as_ref()];
            let found = expected
                .into_iter()
                .flatten()
                .find(|candidate| matches(connection, namespace, &name, candidate.as_ref()))
                .unwrap_or_else(|| {
                    let got = get(connection, namespace, &name);
                    panic!(
                        "{name} holds neither {:?} nor the unacknowledged write {unanswered:?}: \
                         status {}, {} bytes, headers {:?}",
                        state.acknowledged,
                        got.status,
                        got.body.len(),
                        got.headers,
                    )
                })
                .clone();
            let in_list = found.as_ref().map(|found| Listed {
                metadata: found.metadata.clone(),
                expires_at: found.expires_at,
            });
            assert_eq!(listed.get(&name), in_list.as_ref(), "the list's entry of {name}");
            count += usize::from(found.is_some());
            state.acknowledged = found;
        }
        count
    }
}

fn get(connection: &mut Connection, namespace: &str, name: &str) -> waypost_tests::http::Response {
    connection.get(&format!("/binding/{namespace}/{name}")).expect("the server answers the get")
}

/// Whether a key has exactly this value, metadata and expiry.
fn matches(
    connection: &mut Connection,
    namespace: &str,
    name: &str,
    expected: Option<&Written>,
) -> bool {
    let got = get(connection, namespace, name);
    let Some(expected) = expected else { return got.status == 404 };
    got.status == 200
        && got.header("cf-kv-metadata") == expected.metadata.as_deref()
        && got.header("cf-expiration").map(str::to_owned)
            == expected.expires_at.map(|at| at.to_string())
        && got.body == expected.bytes()
}

/// All keys of a namespace, from its list.
pub(super) fn list(connection: &mut Connection, namespace: &str) -> BTreeMap<String, Listed> {
    let mut all = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let target = format!("/binding/{namespace}/?key_count_limit=50&cursor={cursor}");
        let answer = connection.get(&target).expect("the server answers the list");
        assert_eq!(answer.status, 200, "{answer:?}");
        let page: Value = serde_json::from_slice(&answer.body).expect("a list is JSON");
        for key in page["keys"].as_array().expect("a list has an array of keys") {
            let name = key["name"].as_str().expect("a key has a name").to_owned();
            let metadata = key["metadata"].as_str().map(str::to_owned);
            let listed = Listed { metadata, expires_at: key["expiration"].as_u64() };
            assert_eq!(all.insert(name.clone(), listed), None, "{name} is listed twice");
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = next.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"),
            None => return all,
        }
    }
}
