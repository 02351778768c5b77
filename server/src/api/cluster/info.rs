//! The JSON of this API.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use kv_core::{Key, MemberId, Members, NamespaceId, Namespaces, Owed, OwedKeys};
use kv_replicate::{Ending, Verdict, inspect::Place, quic::Peer};
use serde::{Deserialize, Serialize};

/// The most damaged keys that a response names.
const MAX_DAMAGED: usize = 100;

/// A cluster, as one of its locations sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterInfo {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The name of the location that responds.
    pub location: String,
    /// Its id, 32 hexadecimal digits.
    pub member: String,
    /// The version of its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
    /// The features in use, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Whether it has joined. Until then it rejects writes.
    pub is_joined: bool,
    /// How far the joining is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joining: Option<String>,
    /// When this location's certificate expires, in Unix seconds; 0 if the server does not report it.
    #[serde(default)]
    pub certificate_not_after: u64,
    /// When the certificate of the cluster's CA expires.
    #[serde(default)]
    pub ca_not_after: u64,
    /// The other locations, by name.
    pub peers: Vec<PeerInfo>,
    /// How many keys' entries are damaged here and have not come from another location yet.
    #[serde(default)]
    pub damaged: usize,
    /// The first 100 of these keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged_keys: Vec<DamagedInfo>,
    /// The conditions that an operator must act on, each a sentence with the action to take.
    pub alarms: Vec<String>,
    /// One line: whether all is well.
    pub verdict: String,
}

/// Another location, as the one that responds sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its name for people.
    pub name: String,
    /// 32 hexadecimal digits.
    pub member: String,
    /// The version of its program; none if it has not announced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
    /// Whether there is a link to it.
    pub is_connected: bool,
    /// Since when there has been no lasting link to it, in Unix seconds; none while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_since: Option<u64>,
    /// The address that the link comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The round-trip time, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Writes that it has and this location has not received.
    pub missing_here: u64,
    /// Writes that this location has and it has not acknowledged.
    pub missing_there: u64,
    /// For how long none of the writes that are missing here arrived, in milliseconds.
    pub late_ms: u64,
    /// Whether a catch-up session receives rows from it.
    pub is_receiving: bool,
    /// Whether a catch-up session sends rows to it.
    pub is_sending: bool,
    /// How far its clock is ahead of the one here, in milliseconds; none if it was not heard within a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_ms: Option<i64>,
    /// Why the last link or attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// The body of a verification.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewVerification {
    /// A location's name or id.
    pub location: String,
}

/// The result of a verification.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerdictInfo {
    /// The location that was compared with.
    pub location: String,
    /// Whether everything was compared and is the same, byte for byte.
    pub is_equal: bool,
    /// Rows that were compared.
    pub rows: u64,
    /// Keys that differ and should not.
    pub differing: u64,
    /// The first 100 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyInfo>,
    /// Keys that differed each time, while they were being written.
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

/// A key whose entry is damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedInfo {
    /// The key.
    #[serde(flatten)]
    pub key: KeyInfo,
    /// When this location noticed, in Unix seconds; 0 if that is not known any more.
    pub since: u64,
    /// The names of the locations whose answers the entry waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
}

/// A location that was removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Removed {
    /// Its name.
    pub location: String,
    /// 32 hexadecimal digits.
    pub member: String,
}

impl PeerInfo {
    /// A peer, as its link describes it at the Unix time `now`, in seconds.
    pub(super) fn new(name: String, member: String, peer: &Peer, now: u64) -> PeerInfo {
        let state = &peer.state;
        PeerInfo {
            name,
            member,
            software: None,
            is_connected: peer.is_connected,
            down_since: peer.down_for.map(|down| now.saturating_sub(down.as_secs())),
            address: peer.address.map(|address| address.to_string()),
            rtt_ms: peer.rtt.map(|rtt| (rtt.as_secs_f64() * 1e5).round() / 100.0),
            missing_here: state.ahead,
            missing_there: state.behind,
            late_ms: u64::try_from(state.late.as_millis()).unwrap_or(u64::MAX),
            is_receiving: state.receiving.is_some(),
            is_sending: state.is_sending,
            clock_ahead_ms: state.clock_ahead_ms,
            last_error: peer.last_error.clone().filter(|_| !peer.is_connected),
        }
    }
}

impl KeyInfo {
    fn new(place: &Place, namespaces: &Namespaces) -> KeyInfo {
        let namespace = namespaces.iter().find(|namespace| namespace.id == place.namespace);
        let key = match str::from_utf8(&place.key) {
            Ok(text) => text.into(),
            Err(_not_text) => format!("0x{}", HEXLOWER.encode(&place.key)),
        };
        let id = || place.namespace.to_string();
        KeyInfo { namespace: namespace.map_or_else(id, |one| one.title.to_string()), key }
    }
}

impl DamagedInfo {
    /// The first keys whose entries are damaged, with the locations that they wait for.
    pub(super) fn first(
        owed: &OwedKeys,
        awaited: &BTreeMap<Place, Vec<MemberId>>,
        (namespaces, members): (&Namespaces, &Members),
    ) -> Vec<DamagedInfo> {
        let name = |id: &MemberId| {
            members.get(*id).map_or_else(|| id.to_string(), |member| member.name.clone())
        };
        let info = |(namespace, key, owed): (NamespaceId, &Key, Owed)| {
            let place = Place { namespace, key: key.clone() };
            let mut waits_for: Vec<_> =
                awaited.get(&place).into_iter().flatten().map(name).collect();
            waits_for.sort_unstable();
            let key = KeyInfo::new(&place, namespaces);
            DamagedInfo { key, since: owed.since_ms / 1000, waits_for }
        };
        owed.iter().take(MAX_DAMAGED).map(info).collect()
    }
}

impl VerdictInfo {
    /// The result of a verification against `location`.
    pub(super) fn new(location: String, verdict: &Verdict, namespaces: &Namespaces) -> VerdictInfo {
        let Verdict { rows, differing, unsettled, damaged, .. } = *verdict;
        VerdictInfo {
            location,
            is_equal: verdict.is_equal(),
            rows,
            differing,
            keys: verdict.places.iter().map(|place| KeyInfo::new(place, namespaces)).collect(),
            unsettled,
            damaged_here: damaged[0],
            damaged_there: damaged[1],
            verdict: summary(verdict),
        }
    }
}

/// What to do with a store of which verification can't read even the order of the keys.
const UNREADABLE: &str = "location can't read a part of its store, in which keys may be missing: check its disk; if it \
                          repeats, remove the location and let it join again with an empty data directory";

/// The result in one line, with what to do.
fn summary(verdict: &Verdict) -> String {
    let Verdict { rows, differing, unsettled, damaged, .. } = *verdict;
    match verdict.ending {
        _ if verdict.is_equal() => format!("the same: {rows} rows, byte for byte"),
        // A damaged row counts as differing too.
        Ending::Complete if differing > damaged.iter().sum() => {
            format!("{differing} of {rows} keys differ: write them again, and report this as a bug")
        }
        Ending::Complete if damaged != [0, 0] => format!(
            "{} rows can't be read here and {} there: they are fetched from the other locations, if one has them; \
             see `waypost cluster status` at each",
            damaged[0], damaged[1]
        ),
        Ending::Complete => format!(
            "{unsettled} of {rows} keys could not be compared, because they were being written, or because the clock of \
             one location took them for expired and that of the other does not: retry; if the number stays, see the \
             alarms about clocks"
        ),
        Ending::LinkLost => "not finished: there is no link to that location".into(),
        Ending::PeerSilent => "not finished: that location does not respond".into(),
        Ending::PeerUnreadable => format!("not finished: that {UNREADABLE}"),
        Ending::Unreadable => format!("not finished: this {UNREADABLE}"),
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{MemberId, NamespaceId, Store};
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_verdict_names_the_keys_that_differ() {
        let directory = TempDir::new().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let id = store.create_namespace("pages").expect("a namespace").id;
        let place = |namespace, key: &'static [u8]| Place {
            namespace,
            key: kv_core::Key::new(key).unwrap(),
        };
        let differing = Verdict {
            peer: MemberId([1; 16]),
            rows: 9,
            differing: 2,
            places: vec![place(id, "grüße".as_bytes()), place(NamespaceId::SYSTEM, &[0xff, 1])],
            unsettled: 0,
            damaged: [0, 0],
            ending: Ending::Complete,
        };
        let info = VerdictInfo::new("ams".into(), &differing, &store.namespaces());
        let key =
            |namespace: &str, key: &str| KeyInfo { namespace: namespace.into(), key: key.into() };
        let system = NamespaceId::SYSTEM.to_string();
        assert_eq!(info.keys, [key("pages", "grüße"), key(&system, "0xff01")]);
        assert!(info.verdict.starts_with("2 of 9 keys differ"), "{}", info.verdict);
        for (damaged, verdict) in
            [([1, 0], "2 of 9 keys differ"), ([1, 1], "1 rows can't be read here and 1 there")]
        {
            let shown = summary(&Verdict { damaged, ..differing.clone() });
            assert!(shown.starts_with(verdict), "{shown}");
        }
    }

    #[test]
    fn a_response_without_the_expiry_of_certificates_is_accepted() {
        let response = r#"{"id":"01","name":"prod","location":"fra","member":"02","is_joined":true,
            "peers":[],"alarms":[],"verdict":"well"}"#;
        let info: ClusterInfo = serde_json::from_str(response).expect("it is accepted");
        assert_eq!((info.certificate_not_after, info.ca_not_after), (0, 0));
    }
}
