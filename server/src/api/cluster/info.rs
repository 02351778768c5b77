//! The JSON of this API.

use serde::{Deserialize, Serialize};

use super::peer::PeerInfo;
use crate::alarms::DamagedInfo;

/// A cluster, as one of its locations sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClusterInfo {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Its human-readable name.
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

/// A location that was removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Removed {
    /// Its name.
    pub location: String,
    /// 32 hexadecimal digits.
    pub member: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_without_the_expiry_of_certificates_is_accepted() {
        let response = r#"{"id":"01","name":"prod","location":"fra","member":"02","is_joined":true,
            "peers":[],"alarms":[],"verdict":"well"}"#;
        let info: ClusterInfo = serde_json::from_str(response).expect("it is accepted");
        assert_eq!((info.certificate_not_after, info.ca_not_after), (0, 0));
    }
}
