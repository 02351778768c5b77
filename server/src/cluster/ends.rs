//! Until when a location's certificates hold, and what somebody must do before that.

use super::when::day;

const DAY: u64 = 24 * 60 * 60;

/// Less than this before the end of a certificate, it is an alarm.
const ALARM: u64 = 30 * DAY;

/// Until when the certificates hold that a location uses, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The location's own.
    pub location: u64,
    /// That of the cluster's CA; no other holds longer.
    pub ca: u64,
    /// Whether the key of the CA is here, so that the location can make its certificate anew itself.
    pub has_ca_key: bool,
}

impl Ends {
    /// What somebody must see to, one sentence each: from 30 days before an end.
    #[must_use]
    pub fn alarms(&self, now: u64) -> Vec<String> {
        let is_near = |end: u64| end.saturating_sub(now) < ALARM;
        let mut alarms = Vec::new();
        if is_near(self.ca) {
            alarms.push(format!(
                "the certificate of the cluster's CA {}, and those of its locations with it: make a \
                 new cluster (`waypost cluster init` with an empty data directory), let the locations \
                 join it with empty ones, export here and import there",
                said(self.ca, now)
            ));
        } else if is_near(self.location) {
            let cure = if self.has_ca_key {
                "start it again, and it makes itself another"
            } else {
                RENEWAL
            };
            alarms.push(format!(
                "the certificate of this location {}, and no other location talks to it without one: \
                 {cure}",
                said(self.location, now)
            ));
        }
        alarms
    }
}

/// How a location gets another certificate where the key of the CA is not.
pub(super) const RENEWAL: &str = "print a new token with `waypost cluster invite` where the key of the \
                                  cluster's CA is, start this location with `waypost serve --join \
                                  TOKEN`, and it gets another; its data stays";

fn said(end: u64, now: u64) -> String {
    let verb = if end <= now { "expired" } else { "expires" };
    format!("{verb} on {}", day(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn alarms(location_days: u64, ca_days: u64, has_ca_key: bool) -> Vec<String> {
        let (location, ca) = (NOW + location_days * DAY, NOW + ca_days * DAY);
        Ends { location, ca, has_ca_key }.alarms(NOW)
    }

    #[test]
    fn an_end_is_an_alarm_from_thirty_days_before_it_and_says_what_to_do() {
        assert_eq!(alarms(31, 31, false), Vec::<String>::new());
        let [said] = &alarms(29, 1000, false)[..] else { panic!("one alarm") };
        assert!(said.contains("this location expires on 2027-02-13"), "{said}");
        assert!(said.contains("serve --join TOKEN") && said.contains("cluster invite"), "{said}");
        let [said] = &alarms(29, 1000, true)[..] else { panic!("one alarm") };
        assert!(said.contains("start it again") && !said.contains("--join"), "{said}");
        let [said] = &alarms(0, 1000, true)[..] else { panic!("one alarm") };
        assert!(said.contains("expired on 2027-01-15"), "{said}");
    }

    #[test]
    fn the_end_of_the_ca_is_the_end_of_all_and_renewing_one_is_not_asked_for_then() {
        let [said] = &alarms(29, 29, false)[..] else { panic!("one alarm") };
        assert!(said.contains("the cluster's CA expires on 2027-02-13"), "{said}");
        assert!(said.contains("make a new cluster"), "{said}");
    }
}
