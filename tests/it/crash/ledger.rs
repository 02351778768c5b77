//! What one writer knows of its keys: what the server acknowledged, and what it may have done beside.

use std::collections::BTreeMap;

use serde_json::Value;
use waypost_tests::{http::Connection, random::noise};

/// Keys of each writer: few, so that most writes replace something.
const KEYS: u64 = 24;

/// A value with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// No two writes have the same: it is where the value's bytes begin.
    pub(super) stamp: u64,
    pub(super) length: usize,
    pub(super) metadata: Option<String>,
    pub(super) expires_at: Option<u64>,
}

impl Written {
    /// The value.
    pub(super) fn bytes(&self) -> Vec<u8> {
        noise(self.stamp, self.length)
    }
}

/// What is known of one key. `None` is: nothing is there.
#[derive(Clone, Debug, Default)]
struct Known {
    acknowledged: Option<Written>,
    /// The write that was not answered when the server was killed.
    unanswered: Option<Option<Written>>,
}

/// What is known of a writer's keys.
#[derive(Debug)]
pub(super) struct Ledger {
    owner: u64,
    keys: BTreeMap<u64, Known>,
    stamps: u64,
}

/// What a list says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    metadata: Option<String>,
    expires_at: Option<u64>,
}

impl Ledger {
    pub(super) fn new(owner: u64) -> Ledger {
        Ledger { owner, keys: (0..KEYS).map(|key| (key, Known::default())).collect(), stamps: 0 }
    }

    pub(super) fn name(&self, key: u64) -> String {
        format!("writer-{}.key-{key}", self.owner)
    }

    /// Where the next value begins.
    pub(super) fn stamp(&mut self) -> u64 {
        self.stamps += 1;
        (self.owner << 32) | self.stamps
    }

    /// A key, by any number.
    pub(super) fn pick(choice: u64) -> u64 {
        choice % KEYS
    }

    /// A write is about to be sent.
    pub(super) fn begins(&mut self, key: u64, write: Option<Written>) {
        self.known(key).unanswered = Some(write);
    }

    /// It was acknowledged.
    pub(super) fn succeeds(&mut self, key: u64) {
        let known = self.known(key);
        known.acknowledged = known.unanswered.take().expect("a write was begun");
    }

    /// What the key holds, where no write is under way.
    pub(super) fn holds(&self, key: u64) -> Option<&Written> {
        self.keys[&key].acknowledged.as_ref()
    }

    fn known(&mut self, key: u64) -> &mut Known {
        self.keys.get_mut(&key).expect("the key is one of the writer's")
    }

    /// Compares all keys with what the server has, and takes that for acknowledged from now on.
    /// Gives how many there are.
    pub(super) fn check(
        &mut self,
        connection: &mut Connection,
        namespace: &str,
        listed: &BTreeMap<String, Listed>,
    ) -> usize {
        let names: Vec<_> = self.keys.keys().map(|key| (*key, self.name(*key))).collect();
        let mut there = 0;
        for (key, name) in names {
            let known = self.known(key);
            let maybe = known.unanswered.take();
            let expected = [Some(&known.acknowledged), maybe.as_ref()];
            let found = expected
                .into_iter()
                .flatten()
                .find(|candidate| is_there(connection, namespace, &name, candidate.as_ref()))
                .unwrap_or_else(|| {
                    let got = get(connection, namespace, &name);
                    panic!(
                        "{name} holds something else than {:?} or (unanswered) {maybe:?}: \
                         status {}, {} bytes, headers {:?}",
                        known.acknowledged,
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
            there += usize::from(found.is_some());
            known.acknowledged = found;
        }
        there
    }
}

fn get(connection: &mut Connection, namespace: &str, name: &str) -> waypost_tests::http::Response {
    connection.get(&format!("/binding/{namespace}/{name}")).expect("the server answers a get")
}

/// Whether a key holds exactly this: value, metadata and expiry.
fn is_there(
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

/// Every key of a namespace, as the list tells it.
pub(super) fn list(connection: &mut Connection, namespace: &str) -> BTreeMap<String, Listed> {
    let mut all = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let target = format!("/binding/{namespace}/?key_count_limit=50&cursor={cursor}");
        let answer = connection.get(&target).expect("the server answers a list");
        assert_eq!(answer.status, 200, "{answer:?}");
        let page: Value = serde_json::from_slice(&answer.body).expect("a list is JSON");
        for key in page["keys"].as_array().expect("a list has keys") {
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
