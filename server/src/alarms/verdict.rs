//! Whether all is well, in one line.

use std::time::Duration;

use kv_replicate::quic::{Arrears, Pace, Pause, Peer};

use super::{
    kind::AlarmKind,
    snapshot::Member,
    times::{duration, writes},
};
use crate::membership::progress;

/// A link on which nothing has arrived for longer than this may be dead, in milliseconds: each end sends something about once
/// a second.
const LIVE_MS: u64 = 3_000;

/// How long the silence of a peer may come from a pause of this process.
const WAITING: Duration = Duration::from_secs(60);

/// Writes that are missing for longer than this are not simply on their way, in milliseconds.
const ON_THEIR_WAY_MS: u64 = 10_000;

/// Whether all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether there is no alarm, and every acknowledged write is known to be everywhere, or on its way over a link on which
    /// something has arrived within three seconds.
    pub is_well: bool,
    /// The same in one line; what prevents it comes first.
    pub text: String,
}

/// Returns the verdict of a location with this many alarms.
#[must_use]
pub fn verdict(member: &Member, alarms: usize) -> Verdict {
    let status = &member.status;
    let not_well = |text: String| Verdict { is_well: false, text };
    if member.has_stopped() {
        return not_well("this location has stopped replicating, and refuses writes".into());
    }
    if !status.is_joined {
        return not_well(format!("joining: {}", progress(status, |id| member.called(id))));
    }
    let all = status.peers.len();
    let up = status.peers.values().filter(|peer| is_live(peer)).count();
    let pause =
        status.pause.filter(|pause| status.peers.values().any(|peer| is_waiting(peer, *pause)));
    let of_peers = member.peers().filter_map(|(_, name, peer)| trouble(&name, peer, pause));
    let mut troubles: Vec<String> = pause.iter().map(paused).chain(of_peers).collect();
    if troubles.is_empty() && status.unsettled_for.is_some() {
        troubles.push(
            "it is not known yet whether the last writes of an ended process are everywhere".into(),
        );
    }
    if alarms > 0 {
        let more =
            if troubles.is_empty() { String::new() } else { format!("; {}", troubles.join("; ")) };
        return not_well(format!("{up} of {all} links are up{more}; see the alarms"));
    }
    if !troubles.is_empty() {
        return not_well(format!("not known to be well, because {}", troubles.join("; ")));
    }
    let text = if all == 0 {
        "well, and alone: invite another location".into()
    } else {
        let links =
            if all == 1 { "the link is up".into() } else { format!("all {all} links are up") };
        format!("well: {links}, {}", on_the_way(status.peers.values()))
    };
    Verdict { is_well: true, text }
}

/// Returns whether something has arrived from a peer within three seconds, on a link.
#[must_use]
pub fn is_live(peer: &Peer) -> bool {
    peer.is_connected && peer.last_message.is_some_and(|last| millis(last) <= LIVE_MS)
}

/// Whether nothing has arrived from a peer since a pause of this process that has ended within a minute: what was sent
/// meanwhile could not be received, and links are made again. After that the peer is silent for a reason of its own.
fn is_waiting(peer: &Peer, pause: Pause) -> bool {
    let is_new = pause.ended < WAITING;
    !is_live(peer) && is_new && peer.last_message.is_some_and(|last| last >= pause.ended)
}

/// That this process did not run, in words.
fn paused(pause: &Pause) -> String {
    let (lasted, ended) = (duration(millis(pause.lasted)), duration(millis(pause.ended)));
    format!("this location did not run for {lasted} until {ended} ago, paused or overloaded")
}

/// Whole milliseconds.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Why it is not known that a peer and this location have everything of each other, or get it at once; none if it is.
fn trouble(name: &str, peer: &Peer, pause: Option<Pause>) -> Option<String> {
    let there = match peer.missing_there {
        Some(Arrears { writes: 0, .. }) => String::new(),
        Some(there) => format!(", and lacks {}", writes(there.writes)),
        None => ", and what it has is not known since this location was started".into(),
    };
    let here = match peer.missing_here.writes {
        0 => String::new(),
        count => format!("; it has {} that have not arrived here", writes(count)),
    };
    if peer.halted.is_some() && !peer.is_halt_old {
        return Some(format!("{name} does not replicate any more{there}{here}"));
    }
    if peer.has_stopped {
        return Some(format!("{name} was shut down{there}{here}"));
    }
    if !is_live(peer) {
        let link = match (peer.is_connected, &there[..]) {
            (true, _) => "",
            (false, "") => "has no link and ",
            (false, _) => "has no link, ",
        };
        return Some(format!("{name} {link}{}{there}{here}", silence(peer, pause)));
    }
    if peer.missing_there.is_none() || !peer.state.is_known {
        return Some(format!("{name} has not reported yet what it has"));
    }
    let behind = peer.missing_there.unwrap_or_default();
    if let Some(pace) = peer.receiving {
        let count = writes(peer.missing_here.writes);
        return Some(format!("this location catches up from {name}: {count}{}", rest(pace)));
    }
    if let Some(pace) = peer.sending {
        let count = writes(behind.writes);
        return Some(format!("{name} catches up from this location: {count}{}", rest(pace)));
    }
    if let Some(kind) = harm(peer) {
        return Some(format!("{name} reports {kind}"));
    }
    let late = |arrears: Arrears| millis(arrears.lasting) > ON_THEIR_WAY_MS;
    if late(behind) {
        return Some(format!("{name} lacks {}", since(behind)));
    }
    if late(peer.missing_here) {
        return Some(format!("this location lacks {}, which {name} has", since(peer.missing_here)));
    }
    None
}

/// For how long nothing has arrived from a peer, in words.
fn silence(peer: &Peer, pause: Option<Pause>) -> String {
    match peer.last_message {
        None => "has sent nothing since this location was started".into(),
        Some(_) if pause.is_some_and(|pause| is_waiting(peer, pause)) => {
            "has sent nothing since then".into()
        }
        Some(last) => format!("has sent nothing for {}", duration(millis(last))),
    }
}

/// What a peer reports of itself that may keep a write which it counts from being readable there.
fn harm(peer: &Peer) -> Option<AlarmKind> {
    let reported = peer.conditions.iter().filter_map(|one| AlarmKind::of_code(one.code));
    let is_harm = |kind: &AlarmKind| {
        matches!(
            kind,
            AlarmKind::DamagedEntries | AlarmKind::TooMuchDamage | AlarmKind::SalvageFailed
        )
    };
    reported.into_iter().find(is_harm)
}

/// Missing writes, and for how long.
fn since(arrears: Arrears) -> String {
    format!("{}, for {}", writes(arrears.writes), duration(millis(arrears.lasting)))
}

/// The rate of a session and the time that it takes, in words.
fn rest(pace: Pace) -> String {
    let Some(rate) = pace.per_second else { return String::new() };
    let rest = match pace.rest {
        Some(rest) => format!("{} left", duration(millis(rest))),
        None => "and does not move".into(),
    };
    format!(", {rate:.0}/s, {rest}")
}

/// What is on its way between locations that are well.
fn on_the_way<'a>(peers: impl Iterator<Item = &'a Peer>) -> String {
    let most = peers.fold((0, 0), |(here, there): (u64, u64), peer| {
        let lacks = peer.missing_there.unwrap_or_default().writes;
        (here.max(peer.missing_here.writes), there.max(lacks))
    });
    match most {
        (0, 0) => "nothing is missing".into(),
        (0, there) => format!("{} on the way to others", writes(there)),
        (here, 0) => format!("{} on the way here", writes(here)),
        (here, there) => {
            format!("{} on the way here, and {} to others", writes(here), writes(there))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarms::testing::{AMS, PAR, linked, member};

    fn lacking(writes: u64, seconds: u64) -> Arrears {
        Arrears { writes, lasting: Duration::from_secs(seconds) }
    }

    /// The verdict on a cluster of this location and two others, of which one was changed.
    fn of(change: impl FnOnce(&mut Peer)) -> (bool, String) {
        let mut ams = linked();
        change(&mut ams);
        let Verdict { is_well, text } = verdict(&member([(AMS, ams), (PAR, linked())]), 0);
        (is_well, text)
    }

    #[test]
    fn all_is_well_only_if_each_write_is_known_to_be_everywhere_or_on_its_way() {
        assert_eq!(of(|_| {}), (true, "well: all 2 links are up, nothing is missing".into()));
        let sent = of(|peer| peer.missing_there = Some(lacking(20, 1)));
        let on_the_way = "well: all 2 links are up, 20 writes on the way to others";
        assert_eq!(sent, (true, on_the_way.into()));
        let old = of(|peer| peer.missing_there = Some(lacking(20, 11)));
        assert_eq!(
            old,
            (false, "not known to be well, because ams lacks 20 writes, for 11 s".into())
        );
        let here = of(|peer| peer.missing_here = lacking(1, 11));
        assert!(
            !here.0 && here.1.contains("this location lacks 1 write, for 11 s, which ams has"),
            "{here:?}"
        );
    }

    #[test]
    fn a_link_on_which_nothing_has_arrived_for_three_seconds_is_not_well() {
        let silent = |ms, writes| {
            of(|peer| {
                peer.last_message = Some(Duration::from_millis(ms));
                peer.missing_there = Some(lacking(writes, 0));
            })
        };
        assert!(silent(3_000, 20).0);
        let says =
            "not known to be well, because ams has sent nothing for 3.1 s, and lacks 20 writes";
        assert_eq!(silent(3_100, 20), (false, says.into()));
    }

    #[test]
    fn a_location_without_a_link_is_not_well_with_what_it_lacks() {
        let down = of(|peer| {
            (peer.is_connected, peer.last_message) = (false, Some(Duration::from_secs(16)));
            peer.missing_there = Some(lacking(20, 16));
        });
        let says = "not known to be well, because ams has no link, has sent nothing for 16 s, and lacks 20 writes";
        assert_eq!(down, (false, says.into()));
        let has = of(|peer| {
            (peer.is_connected, peer.missing_here) = (false, lacking(70, 16));
        });
        assert!(has.1.ends_with("; it has 70 writes that have not arrived here"), "{has:?}");
        let unknown = of(|peer| {
            (peer.is_connected, peer.last_message, peer.missing_there) = (false, None, None);
        });
        assert!(
            unknown.1.contains(
                "has sent nothing since this location was started, and what it has is not known"
            ),
            "{unknown:?}"
        );
        let new = of(|peer| peer.missing_there = None);
        assert!(!new.0 && new.1.contains("ams has not reported yet what it has"), "{new:?}");
    }

    #[test]
    fn a_location_that_was_paused_says_so_instead_of_blaming_others() {
        let resumed = |last_ms, ended_ms| {
            let mut ams = linked();
            ams.last_message = Some(Duration::from_millis(last_ms));
            let mut member = member([(AMS, ams), (PAR, linked())]);
            let (lasted, ended) = (Duration::from_secs(25), Duration::from_millis(ended_ms));
            member.status.pause = Some(Pause { lasted, ended });
            verdict(&member, 0).text
        };
        let text = "not known to be well, because this location did not run for 25 s until 0.7 s ago, paused or \
                    overloaded; ams has sent nothing since then";
        assert_eq!(resumed(26_000, 700), text);
        assert!(resumed(500, 700).starts_with("well: "), "{}", resumed(500, 700));
        let later = resumed(90_000, 60_000);
        assert!(later.contains("ams has sent nothing for 1 min 30 s"), "{later}");
    }

    #[test]
    fn a_location_that_was_shut_down_is_shown_so() {
        let stopped = of(|peer| (peer.is_connected, peer.has_stopped) = (false, true));
        assert_eq!(stopped, (false, "not known to be well, because ams was shut down".into()));
    }

    #[test]
    fn a_location_that_has_halted_is_not_called_silent() {
        let halted = of(|peer| {
            (peer.is_connected, peer.halted) = (false, Some("it was removed".into()));
            peer.missing_there = Some(lacking(2, 20));
        });
        assert!(
            halted.1.contains("ams does not replicate any more, and lacks 2 writes"),
            "{halted:?}"
        );
    }

    #[test]
    fn catching_up_is_shown_with_its_rate_and_the_time_that_it_takes() {
        let pace = Pace { per_second: Some(1200.0), rest: Some(Duration::from_secs(90)) };
        let here = of(|peer| {
            (peer.receiving, peer.missing_here) = (Some(pace), lacking(100, 5));
        });
        let says = "not known to be well, because this location catches up from ams: 100 writes, 1200/s, 1 min 30 s left";
        assert_eq!(here, (false, says.into()));
        let there =
            of(|peer| (peer.sending, peer.missing_there) = (Some(pace), Some(lacking(100, 5))));
        assert!(there.1.contains("ams catches up from this location: 100 writes"), "{there:?}");
        let stuck = Pace { per_second: Some(0.0), rest: None };
        let still = of(|peer| peer.receiving = Some(stuck));
        assert!(still.1.contains("does not move"), "{still:?}");
    }

    #[test]
    fn it_is_not_well_while_the_last_writes_of_an_ended_process_may_be_missing_somewhere() {
        let mut unsettled = member([(AMS, linked())]);
        unsettled.status.unsettled_for = Some(Duration::from_secs(1));
        let verdict = verdict(&unsettled, 0);
        assert!(!verdict.is_well && verdict.text.contains("an ended process"), "{verdict:?}");
    }

    #[test]
    fn a_location_that_has_alarms_or_has_not_joined_is_not_well() {
        let alarmed = verdict(&member([(AMS, linked())]), 1);
        assert_eq!(
            (alarmed.is_well, &alarmed.text[..]),
            (false, "1 of 1 links are up; see the alarms")
        );
        let mut joining = member([(AMS, linked())]);
        joining.status.is_joined = false;
        let verdict = verdict(&joining, 0);
        assert!(!verdict.is_well && verdict.text.starts_with("joining: "), "{verdict:?}");
    }
}
