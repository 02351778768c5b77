//! The JSON of this API.

use kv_core::Namespaces;
use kv_replicate::{Ending, Verdict};
use serde::{Deserialize, Serialize};

use super::peer::PeerInfo;
use crate::alarms::{DamagedInfo, KeyInfo};

/// A cluster, as one of its locations sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    /// Why it has stopped replicating, if it has: then it refuses writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
    /// The last time for which its process did not run, if that was three seconds at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseInfo>,
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
    /// The time below which tombstones may be dropped, and what holds it back.
    #[serde(default)]
    pub stable: StableInfo,
    /// The conditions that an operator must act on.
    pub alarms: Vec<AlarmInfo>,
    /// Whether there is no alarm, and every acknowledged write is known to be everywhere, or on its way over a link on
    /// which something has arrived within three seconds.
    #[serde(default)]
    pub is_well: bool,
    /// The same in one line.
    pub verdict: String,
}

/// A time for which a process did not run: it was stopped, or its machine was suspended or overloaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseInfo {
    /// How long it was, in seconds.
    pub seconds: u64,
    /// When it ended, in Unix seconds.
    pub until: u64,
}

/// The stable timestamp: every location holds every write up to it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StableInfo {
    /// The timestamp, in Unix seconds; 0 as long as a location has not reported since this one was started.
    pub at: u64,
    /// The names of the locations that hold it back.
    pub held_by: Vec<String>,
    /// Whether something of a process that has ended may be missing at a location, which holds it back too.
    pub is_unsettled: bool,
}

/// What an operator must act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmInfo {
    /// Its kind: the name of its section in docs/alarms.md.
    pub kind: String,
    /// The name of the other location that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Whether that location has reported it of itself.
    #[serde(default)]
    pub is_reported: bool,
    /// Since when it lasts, in Unix seconds.
    pub since: u64,
    /// What is wrong, why, and what to do.
    pub text: String,
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

/// A location that was removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Removed {
    /// Its name.
    pub location: String,
    /// 32 hexadecimal digits.
    pub member: String,
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
    use kv_replicate::inspect::Place;
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
