//! Times and durations, for people.

/// A duration in its two largest units.
pub(super) fn duration(ms: u64) -> String {
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

/// A number of writes, in words.
pub(super) fn writes(count: u64) -> String {
    if count == 1 { "1 write".into() } else { format!("{count} writes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_two_largest_units() {
        for (ms, text) in
            [(740, "0.7 s"), (599_000, "9 min 59 s"), (90_061_000, "1 d 1 h"), (12_000, "12 s")]
        {
            assert_eq!(duration(ms), text);
        }
    }
}
