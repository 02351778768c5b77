//! The JSON of verifications, and what it says in words.

use kv_core::{Namespaces, OriginId};
use kv_replicate::{Ending, Unsettled, Verdict, Verification, Waits};
use serde::{Deserialize, Serialize};

use crate::alarms::KeyInfo;

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
    /// Keys that could not be compared. The verdict says why.
    pub unsettled: u64,
    /// Rows that can't be read here.
    pub damaged_here: u64,
    /// Rows that can't be read there.
    pub damaged_there: u64,
    /// One line.
    pub verdict: String,
}

/// A verification that has not ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VerificationInfo {
    /// The rows of this location that were compared.
    pub rows: u64,
    /// The rows that this location has now; none if they can't be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// How many were compared in a second, since it began.
    pub per_second: f64,
    /// How long the rest takes at this rate, in seconds; none if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<f64>,
    /// Keys that differ and should not, so far.
    pub differing: u64,
    /// Keys that can't be compared yet. They are read again.
    pub unsettled: u64,
    /// What holds it up; none if nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// The two ends of a verification, for texts.
pub(super) struct Ends<'a> {
    /// The name of the other location.
    pub there: &'a str,
    /// The name of the location that writes under an origin.
    pub writer: &'a dyn Fn(OriginId) -> String,
}

impl VerdictInfo {
    /// The result of a verification.
    pub(super) fn new(verdict: &Verdict, ends: &Ends<'_>, namespaces: &Namespaces) -> VerdictInfo {
        let Verdict { rows, differing, unsettled, damaged, .. } = *verdict;
        VerdictInfo {
            location: ends.there.to_owned(),
            is_equal: verdict.is_equal(),
            rows,
            differing,
            keys: verdict.places.iter().map(|place| KeyInfo::new(place, namespaces)).collect(),
            unsettled: unsettled.keys(),
            damaged_here: damaged[0],
            damaged_there: damaged[1],
            verdict: summary(verdict, ends),
        }
    }
}

impl VerificationInfo {
    /// How far a verification is, of so many rows.
    pub(super) fn new(
        verification: &Verification,
        of: Option<u64>,
        ends: &Ends<'_>,
    ) -> VerificationInfo {
        let Verification { rows, differing, unsettled, lasting, waits } = *verification;
        let seconds = lasting.as_secs_f64();
        let rate = if seconds > 0.0 { rows as f64 / seconds } else { 0.0 };
        let left = of.filter(|_| rate > 0.0).map(|of| of.saturating_sub(rows) as f64 / rate);
        let round = |number: f64| (number * 10.0).round() / 10.0;
        VerificationInfo {
            rows,
            of,
            per_second: round(rate),
            seconds_left: left.map(round),
            differing,
            unsettled: unsettled.keys(),
            waits_for: waits_for(waits, &unsettled, ends),
        }
    }
}

/// What holds a verification up, in words; none if nothing does.
fn waits_for(waits: Waits, unsettled: &Unsettled, ends: &Ends<'_>) -> Option<String> {
    let there = ends.there;
    match waits {
        Waits::Store | Waits::Link => None,
        Waits::Peer(silent) if silent.as_secs() == 0 => None,
        Waits::Peer(silent) => Some(format!("{there} has not answered for {} s", silent.as_secs())),
        Waits::PeerUnreadable => {
            Some(format!("{there} can't read its disk, and the request is repeated"))
        }
        Waits::Unsettled => (unsettled.keys() > 0).then(|| causes(unsettled, ends)),
    }
}

/// Why keys can't be compared yet, in words.
fn causes(unsettled: &Unsettled, ends: &Ends<'_>) -> String {
    let Unsettled { not_here, not_there, clocks, written, origins } = *unsettled;
    // The last one that was met: there may be several.
    let from = |origin: Option<OriginId>| {
        let writer = origin.map(ends.writer);
        writer.map_or(String::new(), |writer| format!(", such as those of {writer}"))
    };
    let there = ends.there;
    let causes = [
        (not_here, format!("waiting for writes that have not arrived here{}", from(origins[0]))),
        (
            not_there,
            format!("waiting for writes that have not arrived at {there}{}", from(origins[1])),
        ),
        (clocks, "expired by the clock of one location, and not by that of the other".into()),
        (written, "written during each reading".into()),
    ];
    let causes = causes.into_iter().filter(|(keys, _)| *keys > 0);
    causes.map(|(keys, why)| format!("{keys} {why}")).collect::<Vec<_>>().join("; ")
}

/// What to do with a store of which verification can't read even the order of the keys.
const UNREADABLE: &str = "location can't read a part of its store, in which keys may be missing: check its disk; if it \
                          repeats, remove the location and let it join again with an empty data directory";

/// The result in one line, with what to do.
fn summary(verdict: &Verdict, ends: &Ends<'_>) -> String {
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
            "{} of {rows} keys could not be compared: {}; `waypost cluster status` says what is late, and how the clocks \
             differ; then retry",
            unsettled.keys(),
            causes(&unsettled, ends)
        ),
        Ending::LinkLost => "not finished: there is no link to that location".into(),
        Ending::PeerSilent => "not finished: that location does not respond".into(),
        Ending::PeerUnreadable => format!("not finished: that {UNREADABLE}"),
        Ending::Unreadable => format!("not finished: this {UNREADABLE}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv_core::{MemberId, NamespaceId, Store};
    use kv_replicate::{Reason, inspect::Place};
    use tempfile::TempDir;

    use super::*;

    const ORIGIN: OriginId = OriginId([7; 16]);

    fn ends() -> Ends<'static> {
        Ends { there: "ams", writer: &|_| "nrt".to_owned() }
    }

    fn verdict() -> Verdict {
        Verdict {
            peer: MemberId([1; 16]),
            rows: 9,
            differing: 0,
            places: Vec::new(),
            unsettled: Unsettled::default(),
            damaged: [0, 0],
            ending: Ending::Complete,
        }
    }

    #[test]
    fn a_verdict_names_the_keys_that_differ() {
        let directory = TempDir::new().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let id = store.create_namespace("pages").expect("a namespace").id;
        let place = |namespace, key: &'static [u8]| Place {
            namespace,
            key: kv_core::Key::new(key).unwrap(),
        };
        let places = vec![place(id, "grüße".as_bytes()), place(NamespaceId::SYSTEM, &[0xff, 1])];
        let differing = Verdict { differing: 2, places, ..verdict() };
        let info = VerdictInfo::new(&differing, &ends(), &store.namespaces());
        let key =
            |namespace: &str, key: &str| KeyInfo { namespace: namespace.into(), key: key.into() };
        let system = NamespaceId::SYSTEM.to_string();
        assert_eq!(info.keys, [key("pages", "grüße"), key(&system, "0xff01")]);
        assert!(info.verdict.starts_with("2 of 9 keys differ"), "{}", info.verdict);
        for (damaged, verdict) in
            [([1, 0], "2 of 9 keys differ"), ([1, 1], "1 rows can't be read here and 1 there")]
        {
            let shown = summary(&Verdict { damaged, ..differing.clone() }, &ends());
            assert!(shown.starts_with(verdict), "{shown}");
        }
    }

    #[test]
    fn a_verdict_names_what_keys_wait_for() {
        let mut unsettled = Unsettled::default();
        for reason in [Reason::NotThere(ORIGIN), Reason::NotThere(ORIGIN), Reason::Clocks] {
            unsettled.add(reason);
        }
        let shown = summary(&Verdict { unsettled, ..verdict() }, &ends());
        let says = "3 of 9 keys could not be compared: 2 waiting for writes that have not arrived at \
                    ams, such as those of nrt; 1 expired by the clock of one location, and not by that of the other; ";
        assert!(shown.starts_with(says), "{shown}");
    }

    #[test]
    fn a_verification_shows_its_rate_the_rest_and_what_holds_it_up() {
        let mut unsettled = Unsettled::default();
        unsettled.add(Reason::NotHere(ORIGIN));
        let verification = Verification {
            rows: 300,
            differing: 0,
            unsettled,
            lasting: Duration::from_secs(10),
            waits: Waits::Peer(Duration::from_millis(3_400)),
        };
        let info = VerificationInfo::new(&verification, Some(900), &ends());
        assert_eq!((info.per_second, info.seconds_left), (30.0, Some(20.0)));
        assert_eq!(info.waits_for.as_deref(), Some("ams has not answered for 3 s"));
        let shown = |waits| waits_for(waits, &unsettled, &ends());
        let late = "1 waiting for writes that have not arrived here, such as those of nrt";
        assert_eq!(shown(Waits::Unsettled).as_deref(), Some(late));
        assert_eq!(shown(Waits::Peer(Duration::from_millis(900))), None);
        let nothing = Verification { rows: 0, lasting: Duration::ZERO, ..verification };
        let info = VerificationInfo::new(&nothing, Some(900), &ends());
        assert_eq!((info.per_second, info.seconds_left), (0.0, None));
    }
}
