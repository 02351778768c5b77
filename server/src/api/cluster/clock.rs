//! The alarms about this location's clock.

use kv_core::limits::END_OF_TIME;
use kv_replicate::quic::Status;

use super::info::PeerInfo;

/// Returns what is wrong with the clock of the location `own`, whose wall clock shows the Unix second `now`. A
/// wrong clock is an alarm at the location that has it; of two that differ nobody knows which is wrong.
pub(super) fn alarms(status: &Status, own: &str, peers: &[PeerInfo], now: u64) -> Vec<String> {
    let clock = &status.clock;
    let mut alarms = Vec::new();
    if now >= END_OF_TIME {
        alarms.push(format!(
            "the clock of this location ({own}) shows the year 2200 or later, and no write can have such a \
             time: set this machine's clock (check that NTP runs)"
        ));
    }
    if let Some(off_ms) = clock.off_ms {
        alarms.push(format!(
            "the clock of this location ({own}) is {} the cluster's time: set this machine's clock (check \
             that NTP runs). Entries keep replicating meanwhile",
            off(off_ms, ("ahead of", "behind"))
        ));
    }
    for (member, ahead_ms) in &clock.disagreeing {
        let member = member.to_string();
        let name = peers.iter().find(|peer| peer.member == member).map_or(&member, |one| &one.name);
        alarms.push(format!(
            "the clock of this location ({own}) is {} that of {name}, and no third location is heard that \
             could show which is wrong: check that NTP runs on both machines. Entries keep replicating \
             meanwhile",
            off(*ahead_ms, ("ahead of", "behind"))
        ));
    }
    alarms
}

/// A difference of clocks, in words.
fn off(ms: i64, (ahead, behind): (&str, &str)) -> String {
    let way = if ms < 0 { behind } else { ahead };
    format!("{} {way}", duration(ms.unsigned_abs()))
}

/// A time in its two largest units, for people.
fn duration(ms: u64) -> String {
    const UNITS: [(u64, &str); 5] =
        [(31_536_000, "years"), (86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    if ms < 10_000 {
        return format!("{:.1} s", ms as f64 / 1000.0);
    }
    let seconds = (ms + 500) / 1000;
    let first = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, name) in UNITS.iter().skip(first).take(2) {
        if left / unit > 0 {
            parts.push(format!("{} {name}", left / unit));
        }
        left %= unit;
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use kv_core::MemberId;
    use kv_replicate::quic::Peer;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_wrong_clock_is_an_alarm_that_names_its_location_and_the_offset() {
        for (off_ms, text) in [
            (8 * 3_600_000 - 20, "(fra) is 8 h ahead of the cluster's time"),
            (-600_030, "(fra) is 10 min behind the cluster's time"),
            (-599_000, "(fra) is 9 min 59 s behind"),
            (740, "(fra) is 0.7 s ahead of"),
            (90_061_000, "(fra) is 1 d 1 h ahead of"),
        ] {
            let mut status = Status::default();
            status.clock.off_ms = Some(off_ms);
            let alarms = alarms(&status, "fra", &[], NOW);
            assert_eq!(alarms.len(), 1);
            assert!(alarms[0].contains(text), "{alarms:?}");
        }
    }

    #[test]
    fn of_two_clocks_that_differ_the_alarm_names_both_locations() {
        let member = MemberId([2; 16]);
        let peer = PeerInfo::new("ams".into(), member.to_string(), &Peer::default(), NOW);
        let mut status = Status::default();
        status.clock.disagreeing = vec![(member, -60_000)];
        let [alarm] = &alarms(&status, "fra", &[peer], NOW)[..] else { panic!("one alarm") };
        assert!(alarm.contains("(fra) is 1 min behind that of ams"), "{alarm}");
    }

    #[test]
    fn a_clock_in_the_year_2200_is_an_alarm() {
        let found = |now| alarms(&Status::default(), "fra", &[], now).len();
        assert_eq!((found(END_OF_TIME - 1), found(END_OF_TIME)), (0, 1));
    }
}
