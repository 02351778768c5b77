//! The JSON of another location, as this one sees it.

use kv_core::MemberId;
use kv_replicate::{
    Condition, SessionProgress,
    quic::{Arrears, Pace, Peer},
};
use serde::{Deserialize, Serialize};

use super::verification::VerificationInfo;
use crate::{
    alarms::{AlarmKind, CATCHING_UP},
    membership::FOUND_EQUAL,
};

/// Another location, as the one that responds sees it. Times are in Unix seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its human-readable name.
    pub name: String,
    /// 32 hexadecimal digits.
    pub member: String,
    /// The version of its program; none if it has not announced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
    /// Whether there is a link to it.
    pub is_connected: bool,
    /// How long ago the last message of it arrived, at most, in milliseconds; none if none has arrived since this location was
    /// started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_ms_ago: Option<u64>,
    /// For how long this location has waited for a message of it, in milliseconds: since the last one, or since the first
    /// failed attempt, without the time for which this location did not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// Since when there has been no link to it: since its last message, or since the first failed attempt. None while there
    /// is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_since: Option<u64>,
    /// Since when links to it have come and gone without lasting for ten seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unstable_since: Option<u64>,
    /// Why it does not replicate any more, as it has last reported itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
    /// Whether it has not answered since it reported that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_halt_old: bool,
    /// Whether it has reported that it was shutting down, and no link to it has been up since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_stopped: bool,
    /// The address that the link comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The round-trip time, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Writes that it has and this location has not received.
    pub missing_here: u64,
    /// Since when the oldest of them has been missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_here_since: Option<u64>,
    /// Writes that this location has and it has not acknowledged, whether there is a link or not; none if it has not reported
    /// since this location was started.
    #[serde(default)]
    pub missing_there: Option<u64>,
    /// Since when the oldest of them has been missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_there_since: Option<u64>,
    /// For how long none of the writes that are missing here arrived, in milliseconds.
    pub late_ms: u64,
    /// The catch-up session in which this location receives rows from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving: Option<SessionInfo>,
    /// The catch-up session in which it receives rows from this location, as it reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending: Option<SessionInfo>,
    /// The verification of this location against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifying: Option<VerificationInfo>,
    /// How far its clock is ahead of the one here, in milliseconds; none if it is not known from the last minute, or only
    /// inexactly, because messages take or took long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_ms: Option<i64>,
    /// The alarms that it reports of itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<ReportInfo>,
    /// Why the last link or attempt failed, with each address that was tried; none while there is a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A catch-up session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// The writes that it has passed.
    pub passed: u64,
    /// All writes that were missing when it began or continued; writes that were overwritten since count too.
    pub of: u64,
    /// How many it passes in a second, over the last ten seconds; none if that is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// How long the rest takes at this rate, in seconds; none if that is not known, or nothing moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<f64>,
}

/// An alarm that another location reports of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportInfo {
    /// Its kind: the name of its section in docs/alarms.md; a number, if a later version defines it.
    pub kind: String,
    /// The name of the location that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Since when it lasts, in Unix seconds.
    pub since: u64,
}

impl PeerInfo {
    /// A peer, as its link describes it at the Unix time `now`, in seconds. `called` names locations.
    pub(super) fn new(
        id: MemberId,
        peer: &Peer,
        now: u64,
        called: impl Fn(MemberId) -> String,
    ) -> PeerInfo {
        let state = &peer.state;
        let ago = |time: std::time::Duration| now.saturating_sub(time.as_secs());
        let since = |arrears: Arrears| (arrears.writes > 0).then(|| ago(arrears.lasting));
        PeerInfo {
            name: called(id),
            member: id.to_string(),
            software: None,
            is_connected: peer.is_connected,
            last_message_ms_ago: peer.last_message.map(millis),
            silent_ms: peer.silent_for.map(millis),
            down_since: peer.down_for.map(ago),
            unstable_since: peer.unstable_for.map(ago),
            halted: peer.halted.clone(),
            is_halt_old: peer.halted.is_some() && peer.is_halt_old,
            has_stopped: peer.has_stopped,
            address: peer.address.map(|address| address.to_string()),
            rtt_ms: peer.rtt.map(|rtt| (rtt.as_secs_f64() * 1e5).round() / 100.0),
            missing_here: peer.missing_here.writes,
            missing_here_since: since(peer.missing_here),
            missing_there: peer.missing_there.map(|there| there.writes),
            missing_there_since: peer.missing_there.and_then(since),
            late_ms: millis(state.late),
            receiving: session(state.receiving, peer.receiving),
            sending: session(state.sending, peer.sending),
            verifying: None,
            clock_ahead_ms: state.clock_ahead_ms,
            reports: peer.conditions.iter().filter_map(|one| report(one, now, &called)).collect(),
            last_error: peer.last_error.clone().filter(|_| !peer.is_connected),
        }
    }
}

/// Whole milliseconds.
fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A session, if there is one.
fn session(progress: Option<SessionProgress>, pace: Option<Pace>) -> Option<SessionInfo> {
    let (progress, pace) = (progress?, pace.unwrap_or_default());
    Some(SessionInfo {
        passed: progress.walked,
        of: progress.of,
        per_second: pace.per_second.map(|rate| (rate * 10.0).round() / 10.0),
        seconds_left: pace.rest.map(|rest| (rest.as_secs_f64() * 10.0).round() / 10.0),
    })
}

/// An alarm that a peer reports of itself.
fn report(
    condition: &Condition,
    now: u64,
    called: impl Fn(MemberId) -> String,
) -> Option<ReportInfo> {
    if [CATCHING_UP, FOUND_EQUAL].contains(&condition.code) {
        return None;
    }
    let kind = AlarmKind::of_code(condition.code);
    let kind = kind.map_or_else(|| condition.code.to_string(), |kind| kind.name().to_owned());
    let about = condition.about.map(called);
    Some(ReportInfo { kind, about, since: now.saturating_sub(condition.for_ms / 1000) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const AMS: MemberId = MemberId([2; 16]);

    #[test]
    fn a_location_that_is_down_shows_what_it_lacks_and_one_that_has_not_reported_shows_nothing() {
        let mut peer = Peer::default();
        peer.down_for = Some(Duration::from_secs(9));
        peer.missing_there = Some(Arrears { writes: 20, lasting: Duration::from_secs(8) });
        let info = |peer: &Peer| PeerInfo::new(AMS, peer, 1_000, |_| "ams".into());
        let shown = info(&peer);
        assert_eq!((shown.down_since, shown.missing_there), (Some(991), Some(20)));
        assert_eq!(shown.missing_there_since, Some(992));
        peer.missing_there = None;
        let text = serde_json::to_string(&info(&peer)).expect("JSON");
        assert!(text.contains(r#""missing_there":null"#), "{text}");
    }

    #[test]
    fn what_a_location_reports_is_shown_by_name_and_by_number_if_that_is_later() {
        let mut peer = Peer::default();
        let condition = |code| Condition { code, about: Some(AMS), for_ms: 2_000 };
        peer.conditions =
            [AlarmKind::ClockOff.code(), CATCHING_UP, FOUND_EQUAL, 9_999].map(condition).into();
        let shown = PeerInfo::new(AMS, &peer, 1_000, |_| "ams".into()).reports;
        let about = Some("ams".to_owned());
        let named = |kind: &str| ReportInfo { kind: kind.into(), about: about.clone(), since: 998 };
        assert_eq!(shown, [named("clock-off"), named("9999")]);
    }
}
