//! When a location's certificates expire, and what an operator must do before that.

use super::dates::{day, minute};

/// Seconds in a day.
const DAY: u64 = 24 * 60 * 60;

/// A CA's certificate that expires in less than this raises an alarm, in seconds.
const CA_ALARM: u64 = 30 * DAY;

/// A location's certificate that expires in less than this raises an alarm, in seconds: its renewal has failed for
/// some days by then.
const ALARM: u64 = 20 * DAY;

/// When the certificates of a location expire, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// When the location's own certificate becomes valid.
    pub not_before: u64,
    /// The location's own certificate.
    pub location: u64,
    /// The certificate of the cluster's CA; no other certificate is valid longer.
    pub ca: u64,
    /// Whether this location has the CA's key, so that it can renew its own certificate.
    pub has_ca_key: bool,
}

/// Whose certificate an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiring {
    /// This location's.
    Location,
    /// The cluster's CA's.
    Ca,
}

/// What a location knows about the renewal of its certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// The name of the location that has the CA's key, if it is known.
    pub ca_holder: Option<String>,
    /// Why the last attempt failed, if it failed.
    pub last_error: Option<String>,
}

impl Expiry {
    /// Returns the alarm at a time, and what expires: from 30 days before the CA's certificate expires, and from
    /// 20 days before the location's own one expires, or before it is valid.
    #[must_use]
    pub fn alarm(&self, now: u64, renewal: &Renewal) -> Option<(Expiring, String)> {
        let is_near = |end: u64, alarm: u64| end.saturating_sub(now) < alarm;
        if is_near(self.ca, CA_ALARM) {
            let text = format!(
                "the certificate of the cluster's CA {}, and those of all locations with it: run `waypost cluster ca \
                 rotate` at the location that has the CA's key, while it and the others run. Without that, locations \
                 stop replicating then; reads and local writes continue",
                expires_on(self.ca, now)
            );
            return Some((Expiring::Ca, text));
        }
        if now < self.not_before {
            let text = format!(
                "the certificate of this location is not valid before {}, and this machine's clock is behind that: set \
                 the clock; or, if it is right and the clock of the location with the CA's key was wrong: {RENEWAL}. \
                 This location does not replicate meanwhile; reads and local writes continue",
                minute(self.not_before)
            );
            return Some((Expiring::Location, text));
        }
        if !is_near(self.location, ALARM) {
            return None;
        }
        let failure = renewal.last_error.as_ref().map_or(String::new(), |why| format!(" ({why})"));
        let remedy = match (&renewal.ca_holder, self.has_ca_key) {
            (_, true) => {
                format!("this location has the CA's key and can't renew it{failure}: repair that")
            }
            (Some(name), _) => {
                format!(
                    "it is renewed once this location reaches {name}, which has the CA's key{failure}"
                )
            }
            (None, _) => format!(
                "it is renewed once this location reaches the one that has the CA's key (`waypost cluster ca show` \
                 prints which), by default the one where `waypost cluster init` ran{failure}"
            ),
        };
        let meanwhile = if self.location <= now {
            "This location does not replicate meanwhile; reads and local writes continue"
        } else {
            "Without a new one, this location stops replicating then"
        };
        let expires = expires_on(self.location, now);
        let text = format!("the certificate of this location {expires}: {remedy}. {meanwhile}");
        Some((Expiring::Location, text))
    }
}

/// How a location without the CA's key gets a new certificate with a token.
const RENEWAL: &str = "print a new token with `waypost cluster invite` at the location that has the \
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
        let expiry = Expiry { not_before: NOW, location, ca, has_ca_key };
        expiry.alarm(NOW, &Renewal::default()).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_certificate_raises_an_alarm_from_twenty_days_before_it_expires() {
        assert_eq!(alarms(20, 31, false), Vec::<String>::new());
        let [alarm] = &alarms(19, 1000, false)[..] else { panic!("one alarm") };
        assert!(alarm.contains("this location expires on 2027-02-03"), "{alarm}");
        assert!(alarm.contains("reaches the one that has the CA's key (`waypost"), "{alarm}");
        assert!(alarm.contains("stops replicating then"), "{alarm}");
        let [alarm] = &alarms(19, 1000, true)[..] else { panic!("one alarm") };
        assert!(alarm.contains("has the CA's key and can't renew it"), "{alarm}");
        let [alarm] = &alarms(0, 1000, false)[..] else { panic!("one alarm") };
        assert!(alarm.contains("expired on 2027-01-15"), "{alarm}");
        assert!(alarm.contains("does not replicate meanwhile; reads and local"), "{alarm}");
    }

    #[test]
    fn an_alarm_names_the_location_with_the_ca_key_and_why_it_was_not_reached() {
        let (not_before, ca) = (0, NOW + 1000 * DAY);
        let expiry = Expiry { not_before, location: NOW, ca, has_ca_key: false };
        let (ca_holder, last_error) = (Some("fra".into()), Some("fra:8421: no answer".into()));
        let renewal = Renewal { ca_holder, last_error };
        let (what, alarm) = expiry.alarm(NOW, &renewal).expect("an alarm");
        assert_eq!(what, Expiring::Location);
        let part = "once this location reaches fra, which has the CA's key (fra:8421: no answer)";
        assert!(alarm.contains(part), "{alarm}");
    }

    #[test]
    fn a_ca_that_expires_raises_the_only_alarm_because_renewals_do_not_help() {
        let [alarm] = &alarms(19, 29, false)[..] else { panic!("one alarm") };
        assert!(alarm.contains("the cluster's CA expires on 2027-02-13"), "{alarm}");
        assert!(alarm.contains("run `waypost cluster ca rotate`"), "{alarm}");
    }
}
