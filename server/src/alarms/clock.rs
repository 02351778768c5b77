//! The alarms about this location's clock.

use kv_core::limits::END_OF_TIME;

use super::{alarm::Alarm, kind::AlarmKind, snapshot::Member, times::duration};

/// Returns what is wrong with the clock of this location, whose wall clock shows the Unix second `now`. A wrong clock is
/// an alarm at the location that has it; of two that differ it is not known which is wrong.
pub(super) fn alarms(member: &Member, now: u64) -> Vec<Alarm> {
    let (own, clock) = (&member.name, &member.status.clock);
    let mut alarms = Vec::new();
    if now >= END_OF_TIME {
        let text = format!(
            "the clock of this location ({own}) shows the year 2200 or later, and no write can have such a time: set \
             this machine's clock (check that NTP runs)"
        );
        alarms.push(Alarm::here(AlarmKind::ClockOutOfRange, text));
    }
    if let Some(off_ms) = clock.off_ms {
        let text = format!(
            "the clock of this location ({own}) is {} the cluster's time: set this machine's clock (check that NTP \
             runs). Entries keep replicating meanwhile",
            off(off_ms, ("ahead of", "behind"))
        );
        alarms.push(Alarm::here(AlarmKind::ClockOff, text));
    }
    for (other, ahead_ms) in &clock.disagreeing {
        let text = format!(
            "the clock of this location ({own}) is {} that of {}, and there is no link to a third location that \
             could show which is wrong: check that NTP runs on both machines. Entries keep replicating meanwhile",
            off(*ahead_ms, ("ahead of", "behind")),
            member.called(*other)
        );
        alarms.push(Alarm::about(AlarmKind::ClocksDiffer, *other, text));
    }
    alarms
}

/// A difference of clocks, in words.
fn off(ms: i64, (ahead, behind): (&str, &str)) -> String {
    let way = if ms < 0 { behind } else { ahead };
    format!("{} {way}", duration(ms.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarms::testing::{AMS, NOW, linked, member};

    #[test]
    fn a_wrong_clock_is_an_alarm_that_names_its_location_and_the_offset() {
        for (off_ms, text) in [
            (8 * 3_600_000 - 20, "(fra) is 8 h ahead of the cluster's time"),
            (-600_030, "(fra) is 10 min behind the cluster's time"),
            (-599_000, "(fra) is 9 min 59 s behind"),
            (740, "(fra) is 0.7 s ahead of"),
            (90_061_000, "(fra) is 1 d 1 h ahead of"),
        ] {
            let mut member = member([]);
            member.status.clock.off_ms = Some(off_ms);
            let [alarm] = &alarms(&member, NOW)[..] else { panic!("one alarm") };
            assert!(alarm.text.contains(text), "{alarm:?}");
        }
    }

    #[test]
    fn of_two_clocks_that_differ_the_alarm_names_both_locations() {
        let mut member = member([(AMS, linked())]);
        member.status.clock.disagreeing = vec![(AMS, -60_000)];
        let [alarm] = &alarms(&member, NOW)[..] else { panic!("one alarm") };
        assert!(alarm.text.contains("(fra) is 1 min behind that of ams"), "{alarm:?}");
    }

    #[test]
    fn a_clock_in_the_year_2200_is_an_alarm() {
        let found = |now| alarms(&member([]), now).len();
        assert_eq!((found(END_OF_TIME - 1), found(END_OF_TIME)), (0, 1));
    }
}
