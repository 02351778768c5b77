//! The times in a request: expirations and cache times.

use kv_core::limits::END_OF_TIME;

use super::{
    invalid::{Invalid, Rule, shown},
    query::Query,
};

/// The least time for which a read may be cached, in seconds.
pub const MIN_CACHE_TTL: i128 = 30;

/// The last second before the year 2200, in Unix seconds. Later times are certainly a mistake, such as
/// milliseconds. (Runtimes can't send them: their numbers end at 2^31.)
const MAX_EXPIRATION: u64 = END_OF_TIME - 1;

/// The time at which the entry of a put expires, in Unix seconds: `now` plus `expiration_ttl`, else `expiration`. It must be
/// at least `least` seconds ahead.
///
/// # Errors
/// If that is not a number, past, or too near.
pub fn expires_at(query: Query<'_>, now: u64, least: u64) -> Result<Option<u64>, Invalid> {
    of(query.text("expiration_ttl").as_deref(), query.text("expiration").as_deref(), (now, least))
}

/// [`expires_at`] of the two numbers as text, however they were given.
///
/// # Errors
/// If that is not a number, past, or too near.
pub fn of(
    ttl: Option<&str>,
    time: Option<&str>,
    (now, least): (u64, u64),
) -> Result<Option<u64>, Invalid> {
    match (ttl, time) {
        (Some(ttl), _) => after(ttl, now, least).map(Some),
        (None, Some(time)) => at(time, now, least).map(Some),
        (None, None) => Ok(None),
    }
}

/// The time `ttl` seconds after `now`.
fn after(ttl: &str, now: u64, least: u64) -> Result<u64, Invalid> {
    let invalid = |why: &str| {
        let ttl = shown(ttl);
        Err(Invalid::new(Rule::Ttl, format!("Invalid expiration_ttl of {ttl}. {why}")))
    };
    match integer(ttl).map(u64::try_from) {
        None | Some(Err(_) | Ok(0)) => invalid("Please specify integer greater than 0."),
        Some(Ok(seconds)) if seconds < least => {
            invalid(&format!("Expiration TTL must be at least {least}."))
        }
        Some(Ok(seconds)) if seconds > MAX_EXPIRATION.saturating_sub(now) => invalid(TOO_FAR),
        Some(Ok(seconds)) => Ok(now + seconds),
    }
}

/// The time `time`, which must be long enough after `now`.
fn at(time: &str, now: u64, least: u64) -> Result<u64, Invalid> {
    let invalid = |why: &str| {
        let time = shown(time);
        Err(Invalid::new(Rule::Expiration, format!("Invalid expiration of {time}. {why}")))
    };
    match integer(time).map(u64::try_from) {
        Some(Ok(seconds)) if seconds > now => {
            if seconds - now < least {
                return invalid(&format!(
                    "Expiration times must be at least {least} seconds in the future."
                ));
            }
            if seconds > MAX_EXPIRATION {
                return invalid(TOO_FAR);
            }
            Ok(seconds)
        }
        _ => invalid(
            "Please specify integer greater than the current number of seconds since the UNIX \
             epoch.",
        ),
    }
}

/// The remedy for an expiration after [`MAX_EXPIRATION`].
const TOO_FAR: &str = "Please specify a time in seconds, before the year 2200.";

/// Checks for how long a read may be cached. The time has no effect here, because every read is fresh.
///
/// # Errors
/// If it is not a number, or too short.
pub fn check_cache_ttl(seconds: &str) -> Result<(), Invalid> {
    match integer(seconds) {
        Some(seconds) if seconds >= MIN_CACHE_TTL => Ok(()),
        _ => Err(Invalid::new(
            Rule::CacheTtl,
            format!(
                "Invalid cache_ttl of {}. Cache TTL must be at least {MIN_CACHE_TTL}.",
                shown(seconds)
            ),
        )),
    }
}

/// Reads an integer: digits, with or without a `-` before them. An overflow becomes the largest or
/// smallest number.
///
/// Nothing else is accepted: no `+`, no space, no fraction and no exponent. None if the text is not an integer.
#[must_use]
pub fn integer(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let overflow = if digits.len() == text.len() { i128::MAX } else { i128::MIN };
    Some(text.parse().unwrap_or(overflow))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn refused<T>(result: Result<T, Invalid>) -> Result<T, String> {
        result.map_err(|refusal| {
            assert_eq!(refusal.status, 400);
            refusal.text.into_owned()
        })
    }

    #[test]
    fn an_expiration_is_a_time_or_a_time_from_now() {
        for (query, expected) in [
            ("", None),
            ("urlencoded=true", None),
            ("expiration_ttl=60", Some(NOW + 60)),
            ("urlencoded=true&expiration_ttl=2147483647", Some(NOW + 2_147_483_647)),
            ("expiration=1800000060", Some(NOW + 60)),
            ("expiration=1&expiration_ttl=61", Some(NOW + 61)),
            ("expiration=1800009999&expiration_ttl=61", Some(NOW + 61)),
            ("expiration=7258118399", Some(7_258_118_399)),
        ] {
            assert_eq!(refused(expires_at(Query(query), NOW, 60)), Ok(expected), "{query}");
        }
    }

    #[test]
    fn an_expiration_out_of_bounds_is_refused() {
        const TTL: &str = "Invalid expiration_ttl of ";
        const TIME: &str = "Invalid expiration of ";
        const NO_TIME: &str = ". Please specify integer greater than the current number of \
                               seconds since the UNIX epoch.";
        const NEAR: &str = ". Expiration times must be at least 60 seconds in the future.";
        let positive = ". Please specify integer greater than 0.";
        for (query, expected) in [
            ("expiration_ttl=0", format!("{TTL}0{positive}")),
            ("expiration_ttl=-1", format!("{TTL}-1{positive}")),
            ("expiration_ttl=", format!("{TTL}{positive}")),
            ("expiration_ttl=61.5", format!("{TTL}61.5{positive}")),
            ("expiration_ttl=61x&expiration=1900000000", format!("{TTL}61x{positive}")),
            ("expiration_ttl=%2B61", format!("{TTL}+61{positive}")),
            ("expiration_ttl=1", format!("{TTL}1. Expiration TTL must be at least 60.")),
            ("expiration_ttl=59", format!("{TTL}59. Expiration TTL must be at least 60.")),
            ("expiration_ttl=7258118399", format!("{TTL}7258118399. {TOO_FAR}")),
            ("expiration=", format!("{TIME}{NO_TIME}")),
            ("expiration=0", format!("{TIME}0{NO_TIME}")),
            ("expiration=-5", format!("{TIME}-5{NO_TIME}")),
            ("expiration=soon", format!("{TIME}soon{NO_TIME}")),
            ("expiration=1800000000", format!("{TIME}1800000000{NO_TIME}")),
            ("expiration=1800000001", format!("{TIME}1800000001{NEAR}")),
            ("expiration=1800000059", format!("{TIME}1800000059{NEAR}")),
            ("expiration=1800000000000", format!("{TIME}1800000000000. {TOO_FAR}")),
        ] {
            assert_eq!(refused(expires_at(Query(query), NOW, 60)), Err(expected), "{query}");
        }
        let huge = "9".repeat(50);
        let query = format!("expiration_ttl={huge}");
        assert_eq!(
            refused(expires_at(Query(&query), NOW, 60)),
            Err(format!("{TTL}{huge}{positive}"))
        );
    }

    #[test]
    fn the_least_time_is_that_of_the_operator() {
        let of = |query, least| refused(expires_at(Query(query), NOW, least));
        assert_eq!(of("expiration_ttl=1", 1), Ok(Some(NOW + 1)));
        assert_eq!(of("expiration=1800000005", 5), Ok(Some(NOW + 5)));
        let short = "Invalid expiration_ttl of 4. Expiration TTL must be at least 5.".to_owned();
        assert_eq!(of("expiration_ttl=4", 5), Err(short));
        assert!(of("expiration_ttl=0", 1).is_err() && of("expiration=1800000000", 1).is_err());
    }

    #[test]
    fn a_cache_ttl_is_at_least_30() {
        for fine in ["30", "60", "2147483647", &"9".repeat(60)] {
            assert_eq!(refused(check_cache_ttl(fine)), Ok(()), "{fine}");
        }
        for bad in ["29", "0", "-1", "", "NaN", "30abc", "1e3"] {
            let expected = format!("Invalid cache_ttl of {bad}. Cache TTL must be at least 30.");
            assert_eq!(refused(check_cache_ttl(bad)), Err(expected));
        }
    }
}
