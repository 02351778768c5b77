//! When a location's certificates expire, and what an operator must do before that.

use super::dates::day;

/// Seconds in a day.
const DAY: u64 = 24 * 60 * 60;

/// A certificate that expires in less than this raises an alarm, in seconds.
const ALARM: u64 = 30 * DAY;

/// When the certificates of a location expire, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The location's own certificate.
    pub location: u64,
    /// The certificate of the cluster's CA; no other certificate is valid longer.
    pub ca: u64,
    /// Whether this location has the CA's key, so that it can renew its own certificate.
    pub has_ca_key: bool,
}

impl Expiry {
    /// Returns the alarms at a time, one sentence each, from 30 days before a certificate expires.
    #[must_use]
    pub fn alarms(&self, now: u64) -> Vec<String> {
        let is_near = |end: u64| end.saturating_sub(now) < ALARM;
        let mut alarms = Vec::new();
        if is_near(self.ca) {
            alarms.push(format!(
                "the certificate of the cluster's CA {}, and those of all locations with it: create a \
                 new cluster (`waypost cluster init` with an empty data directory), let the locations \
                 join it with empty data directories, export the data here and import it there",
                expires_on(self.ca, now)
            ));
        } else if is_near(self.location) {
            let remedy =
                if self.has_ca_key { "restart it, and it renews its certificate" } else { RENEWAL };
            alarms.push(format!(
                "the certificate of this location {}, and other locations reject it without a valid \
                 one: {remedy}",
                expires_on(self.location, now)
            ));
        }
        alarms
    }
}

/// How a location without the CA's key gets a new certificate.
pub(crate) const RENEWAL: &str = "print a new token with `waypost cluster invite` at the location that has the \
                                  CA's key, and restart this location with `waypost serve --join TOKEN`; its \
                                  data stays";

/// The end of a certificate's life, in words.
fn expires_on(end: u64, now: u64) -> String {
    let verb = if end <= now { "expired" } else { "expires" };
    format!("{verb} on {}", day(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn alarms(location_days: u64, ca_days: u64, has_ca_key: bool) -> Vec<String> {
        let (location, ca) = (NOW + location_days * DAY, NOW + ca_days * DAY);
        Expiry { location, ca, has_ca_key }.alarms(NOW)
    }

    #[test]
    fn a_certificate_raises_an_alarm_from_thirty_days_before_it_expires() {
        assert_eq!(alarms(31, 31, false), Vec::<String>::new());
        let [alarm] = &alarms(29, 1000, false)[..] else { panic!("one alarm") };
        assert!(alarm.contains("this location expires on 2027-02-13"), "{alarm}");
        assert!(
            alarm.contains("serve --join TOKEN") && alarm.contains("cluster invite"),
            "{alarm}"
        );
        let [alarm] = &alarms(29, 1000, true)[..] else { panic!("one alarm") };
        assert!(alarm.contains("restart it") && !alarm.contains("--join"), "{alarm}");
        let [alarm] = &alarms(0, 1000, true)[..] else { panic!("one alarm") };
        assert!(alarm.contains("expired on 2027-01-15"), "{alarm}");
    }

    #[test]
    fn a_ca_that_expires_raises_the_only_alarm_because_renewals_do_not_help() {
        let [alarm] = &alarms(29, 29, false)[..] else { panic!("one alarm") };
        assert!(alarm.contains("the cluster's CA expires on 2027-02-13"), "{alarm}");
        assert!(alarm.contains("create a new cluster"), "{alarm}");
    }
}
