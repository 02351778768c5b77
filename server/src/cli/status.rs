//! How `waypost cluster status` prints a cluster.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    time::Duration,
};

use kv_core::env::{Environment as _, SystemEnvironment};

use crate::{
    api::cluster::{
        AlarmInfo, ClusterInfo, DamagedInfo, KeyInfo, PeerInfo, SessionInfo, VerificationInfo,
    },
    cluster::state::dates::{day, minute},
    terminal,
};

/// A link on which nothing has arrived for longer than this is not called live, in milliseconds.
const LIVE_MS: u64 = 3_000;

/// Prints the cluster, its locations and the alarms.
pub(super) fn print_status(info: &ClusterInfo) -> io::Result<()> {
    let now = SystemEnvironment::new().now_ms() / 1000;
    terminal::stdout().write_all(text(info, now).as_bytes())
}

/// The cluster, its locations and the alarms, at a Unix time in seconds.
fn text(info: &ClusterInfo, now: u64) -> String {
    let mut out = format!("{} of the cluster {}: {}\n", info.location, info.name, info.verdict);
    if let Some(software) = &info.software {
        line(&mut out, &format!("{} runs waypost {software}", info.location));
    }
    if !info.peers.is_empty() {
        out.push('\n');
        locations(&mut out, &info.peers, now);
    }
    out.push_str(&stable(info, now));
    if info.ca_not_after > 0 {
        out.push('\n');
        let (own, ca) = (day(info.certificate_not_after), day(info.ca_not_after));
        line(
            &mut out,
            &format!("certificates: this location's expires on {own}, the CA's on {ca}"),
        );
    }
    if info.damaged > 0 {
        out.push('\n');
        damaged(&mut out, info);
    }
    for AlarmInfo { kind, text, since, .. } in &info.alarms {
        out.push('\n');
        line(&mut out, &format!("ALARM {kind}, {}: {text}", lasting(*since, now)));
    }
    out
}

/// Appends a line.
fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// The table of the other locations.
fn locations(out: &mut String, peers: &[PeerInfo], now: u64) {
    let width = peers.iter().map(|peer| peer.name.chars().count()).max().unwrap_or(0).max(8);
    line(
        out,
        &format!(
            "{:width$}  {:8}  {:4}  {:>12}  {:>9}  {:>14}  {:>14}  state",
            "location", "version", "link", "last message", "rtt", "missing here", "missing there"
        ),
    );
    for peer in peers {
        let rtt = peer.rtt_ms.map_or_else(|| "-".into(), |rtt| format!("{rtt:.1} ms"));
        let link = if peer.is_connected { "up" } else { "down" };
        let last = peer.last_message_ms_ago.map_or_else(|| "never".into(), ago);
        let here = missing(Some(peer.missing_here), peer.missing_here_since, now);
        let there = missing(peer.missing_there, peer.missing_there_since, now);
        let software = peer.software.as_deref().unwrap_or("unknown");
        line(
            out,
            &format!(
                "{:width$}  {software:8}  {link:4}  {last:>12}  {rtt:>9}  {here:>14}  {there:>14}  {}",
                peer.name,
                state(peer, now)
            ),
        );
    }
}

/// A number of missing writes, and for how long the oldest of them has been missing.
fn missing(writes: Option<u64>, since: Option<u64>, now: u64) -> String {
    match (writes, since) {
        (None, _) => "unknown".into(),
        (Some(writes), Some(since)) if now > since + 1 => {
            format!("{writes} ({})", duration(now - since))
        }
        (Some(writes), _) => writes.to_string(),
    }
}

/// The state of a link and of the location at its other end, in words.
fn state(peer: &PeerInfo, now: u64) -> String {
    let is_late = |ms: Option<u64>| ms.is_none_or(|ms| ms > LIVE_MS);
    let halted = peer.halted.as_ref().filter(|_| !peer.is_halt_old);
    let mut state = if let Some(why) = halted {
        format!("does not replicate any more: {why}")
    } else if !peer.is_connected {
        let since =
            peer.down_since.map_or(String::new(), |since| format!(" since {}", minute(since)));
        let why = peer.last_error.as_ref().map_or(String::new(), |why| format!(": {why}"));
        let stopped = if peer.has_stopped { ", was shut down" } else { "" };
        format!("no link{since}{stopped}{why}")
    } else if is_late(peer.last_message_ms_ago) {
        let is_paused = !is_late(peer.silent_ms);
        if is_paused { "no message since this location resumed".into() } else { "silent".into() }
    } else {
        session(peer)
    };
    if let Some(verifying) = &peer.verifying {
        let _infallible = write!(state, "; comparison: {}", verification(verifying));
    }
    if let Some(why) = peer.halted.as_ref().filter(|_| peer.is_halt_old) {
        let _infallible =
            write!(state, ", last reported that it does not replicate any more: {why}");
    }
    if let Some(since) = peer.unstable_since {
        let _infallible = write!(state, ", no lasting link since {}", minute(since));
    }
    if let Some(ms) = peer.clock_ahead_ms.filter(|ms| ms.unsigned_abs() >= 500) {
        let way = if ms < 0 { "behind" } else { "ahead" };
        let off = duration((ms.unsigned_abs() + 500) / 1000);
        let _infallible = write!(state, ", its clock is {off} {way}");
    }
    for report in &peer.reports {
        let about = report.about.as_ref().map_or(String::new(), |name| format!(" about {name}"));
        let lasting = lasting(report.since, now);
        let _infallible = write!(state, ", reports {}{about} ({lasting})", report.kind);
    }
    state
}

/// The sessions of a link, in words.
fn session(peer: &PeerInfo) -> String {
    let from =
        peer.receiving.as_ref().map(|session| format!("catching up from it{}", pace(session)));
    let to = peer.sending.as_ref().map(|session| format!("it is catching up{}", pace(session)));
    match (from, to) {
        (None, None) => "live".into(),
        (from, to) => from.into_iter().chain(to).collect::<Vec<_>>().join("; "),
    }
}

/// How far a session is, its rate, and how long the rest takes.
fn pace(session: &SessionInfo) -> String {
    let SessionInfo { passed, of, per_second, seconds_left } = session;
    let rate = per_second.map_or(String::new(), |rate| format!(", {rate:.0}/s"));
    let left = seconds_left.map_or(String::new(), |seconds| format!(", {}", left(seconds)));
    format!(": {}{rate}{left}", share(*passed, *of))
}

/// How far a comparison is, in words.
pub(super) fn verification(verifying: &VerificationInfo) -> String {
    let VerificationInfo { rows, of, per_second, seconds_left, differing, unsettled, .. } =
        verifying;
    let mut parts = vec![match of {
        Some(of) => format!("{} of {of} rows", share(*rows, *of)),
        None => format!("{rows} rows"),
    }];
    parts.push(format!("{per_second:.0}/s"));
    parts.extend(seconds_left.map(left));
    parts.extend((*differing > 0).then(|| format!("{differing} keys differ")));
    parts.extend((*unsettled > 0).then(|| format!("{unsettled} keys are read again")));
    let why = verifying.waits_for.as_ref().map_or(String::new(), |why| format!(": {why}"));
    parts.join(", ") + &why
}

/// How long the rest takes, in words.
fn left(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).map_or(u64::MAX, |left| left.as_secs());
    format!("{} left", duration(seconds))
}

/// A share in percent.
fn share(part: u64, of: u64) -> String {
    let percent = if of == 0 { 100 } else { 100 * u128::from(part.min(of)) / u128::from(of) };
    format!("{percent} %")
}

/// How far the stable timestamp is behind before it is shown, in seconds: among many locations it is some seconds behind.
const BEHIND: u64 = 30;

/// The stable timestamp, if it is behind, and what holds it back.
fn stable(info: &ClusterInfo, now: u64) -> String {
    let stable = &info.stable;
    let is_away = |peer: &PeerInfo| !peer.is_connected || peer.halted.is_some();
    let mut away = info.peers.iter().filter(|peer| is_away(peer));
    let is_held = away.any(|peer| stable.held_by.contains(&peer.name));
    let is_behind = stable.at > 0 && stable.at + BEHIND < now;
    if info.peers.is_empty() || !(is_held || is_behind || stable.is_unsettled) {
        return String::new();
    }
    if stable.is_unsettled {
        return "\ntombstones: all are kept for now, because writes of an ended process may be missing at a location\n"
            .into();
    }
    let by = stable.held_by.join(", ");
    let at = match stable.at {
        0 => "none is dropped since this location was started".into(),
        at => format!("those later than {} are kept", minute(at)),
    };
    format!("\ntombstones: {at}, because of {by}\n")
}

/// The damaged entries.
fn damaged(out: &mut String, info: &ClusterInfo) {
    line(out, &format!("damaged entries: {}", info.damaged));
    // Quoted: a key may contain control sequences of a terminal.
    for DamagedInfo { key: KeyInfo { namespace, key }, waits_for, .. } in &info.damaged_keys {
        let waits = match &waits_for[..] {
            [] => String::new(),
            names => format!(", waits for {}", names.join(", ")),
        };
        line(out, &format!("  {namespace:?} {key:?}{waits}"));
    }
}

/// For how long something has lasted.
fn lasting(since: u64, now: u64) -> String {
    format!("for {}", duration(now.saturating_sub(since)))
}

/// How long ago something was, from milliseconds.
fn ago(ms: u64) -> String {
    if ms < 10_000 { format!("{:.1} s", ms as f64 / 1000.0) } else { duration(ms / 1000) }
}

/// Seconds in their largest unit.
fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use crate::api::cluster::{ReportInfo, StableInfo};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn live() -> PeerInfo {
        PeerInfo {
            name: "ams".into(),
            is_connected: true,
            last_message_ms_ago: Some(400),
            silent_ms: Some(400),
            missing_there: Some(0),
            ..PeerInfo::default()
        }
    }

    #[test]
    fn a_location_is_live_only_if_something_has_arrived_from_it_recently() {
        assert_eq!(state(&live(), NOW), "live");
        let last_message_ms_ago = Some(3_001);
        let silent = PeerInfo { last_message_ms_ago, silent_ms: Some(3_001), ..live() };
        assert_eq!(state(&silent, NOW), "silent");
        let resumed = PeerInfo { last_message_ms_ago, ..live() };
        assert_eq!(state(&resumed, NOW), "no message since this location resumed");
    }

    #[test]
    fn a_location_without_a_link_is_shown_with_its_error_and_a_halted_one_with_its_reason() {
        let down = PeerInfo {
            is_connected: false,
            down_since: Some(NOW - 540),
            last_error: Some("a:1: no answer".into()),
            ..live()
        };
        assert_eq!(state(&down, NOW), "no link since 2027-01-15 07:51 UTC: a:1: no answer");
        let stopped = PeerInfo { has_stopped: true, ..down.clone() };
        let says = "no link since 2027-01-15 07:51 UTC, was shut down: a:1: no answer";
        assert_eq!(state(&stopped, NOW), says);
        let halted = PeerInfo { halted: Some("it was removed".into()), ..down };
        assert_eq!(state(&halted, NOW), "does not replicate any more: it was removed");
        let gone = PeerInfo { is_halt_old: true, ..halted };
        let says = "no link since 2027-01-15 07:51 UTC: a:1: no answer, last reported that it does not replicate any more: \
                    it was removed";
        assert_eq!(state(&gone, NOW), says);
    }

    #[test]
    fn catching_up_is_shown_with_its_progress_its_rate_and_the_rest() {
        let session =
            SessionInfo { passed: 30, of: 120, per_second: Some(9.0), seconds_left: Some(10.0) };
        let peer = PeerInfo { receiving: Some(session), ..live() };
        assert_eq!(state(&peer, NOW), "catching up from it: 25 %, 9/s, 10 s left");
    }

    #[test]
    fn a_comparison_is_shown_with_its_progress_and_what_holds_it_up() {
        let mut verifying = VerificationInfo {
            rows: 250,
            of: Some(1_000),
            per_second: 50.0,
            seconds_left: Some(15.0),
            ..VerificationInfo::default()
        };
        let says = "25 % of 1000 rows, 50/s, 15 s left";
        assert_eq!(verification(&verifying), says);
        (verifying.rows, verifying.seconds_left, verifying.unsettled) = (1_000, Some(0.0), 2);
        verifying.waits_for = Some("2 wait for writes that have not arrived here".into());
        let peer = PeerInfo { verifying: Some(verifying), ..live() };
        let says = "live; comparison: 100 % of 1000 rows, 50/s, 0 s left, 2 keys are read again: 2 wait for writes that have \
                    not arrived here";
        assert_eq!(state(&peer, NOW), says);
    }

    #[test]
    fn what_a_location_reports_and_a_wrong_clock_are_shown() {
        let reports =
            vec![ReportInfo { kind: "damaged-entries".into(), about: None, since: NOW - 30 }];
        let peer = PeerInfo { reports, clock_ahead_ms: Some(-600_000), ..live() };
        let says = "live, its clock is 10 min behind, reports damaged-entries (for 30 s)";
        assert_eq!(state(&peer, NOW), says);
    }

    #[test]
    fn missing_writes_are_shown_with_their_age_and_unknown_ones_as_unknown() {
        assert_eq!(missing(Some(0), None, NOW), "0");
        assert_eq!(missing(Some(20), Some(NOW), NOW), "20");
        assert_eq!(missing(Some(20), Some(NOW - 14), NOW), "20 (14 s)");
        assert_eq!(missing(None, None, NOW), "unknown");
    }

    #[test]
    fn what_holds_tombstones_back_is_shown_if_that_location_is_away_or_behind() {
        let mut info = ClusterInfo {
            stable: StableInfo { at: NOW - 60, held_by: vec!["ams".into()], is_unsettled: false },
            peers: vec![live()],
            ..ClusterInfo::default()
        };
        info.stable.at = NOW - 5;
        assert_eq!(stable(&info, NOW), "");
        info.stable.at = NOW - 60;
        assert!(stable(&info, NOW).contains("kept, because of ams"), "it is live, and behind");
        info.stable.at = NOW - 5;
        info.peers[0].is_connected = false;
        assert!(stable(&info, NOW).contains("kept, because of ams"), "{}", stable(&info, NOW));
        info.stable.is_unsettled = true;
        assert!(stable(&info, NOW).contains("an ended process"), "{}", stable(&info, NOW));
    }
}
