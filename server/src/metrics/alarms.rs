//! The alarms: for each kind whether there is one.

use prometheus::{IntGaugeVec, Registry};

use super::registry::gauges;
use crate::alarms::AlarmKind;

/// Where the condition of an alarm is: at this location, or at another one, which has reported it.
const OF: [&str; 2] = ["here", "peer"];

/// The metric of the alarms.
#[derive(Debug)]
pub(super) struct AlarmMetrics(IntGaugeVec);

impl AlarmMetrics {
    /// Registers the metric.
    pub(super) fn new(r: &Registry) -> AlarmMetrics {
        AlarmMetrics(gauges(
            r,
            "waypost_alarm",
            "1 while there is an alarm of this kind: of this location, or one that another location has reported.",
            &["kind", "of"],
        ))
    }

    /// Sets it from the alarms that last, each with whether another location has reported it. Every kind is exported.
    pub(super) fn set(&self, alarms: &[(AlarmKind, bool)]) {
        for kind in AlarmKind::ALL {
            for (of, is_reported) in OF.into_iter().zip([false, true]) {
                let lasts = alarms.contains(&(kind, is_reported));
                self.0.with_label_values(&[kind.name(), of]).set(i64::from(lasts));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn each_kind_of_alarm_has_a_metric_that_is_1_while_it_lasts() {
        let registry = Registry::new();
        let metrics = AlarmMetrics::new(&registry);
        let text = || TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        let line = |kind: AlarmKind, of, value| {
            format!(r#"waypost_alarm{{kind="{kind}",of="{of}"}} {value}"#)
        };
        for kind in AlarmKind::ALL {
            metrics.set(&[(kind, true)]);
            let shown = text();
            assert!(shown.contains(&line(kind, "peer", 1)), "{shown}");
            assert!(shown.contains(&line(kind, "here", 0)), "{shown}");
            metrics.set(&[]);
            assert!(text().contains(&line(kind, "peer", 0)), "{}", text());
        }
    }
}
