//! The page size in a query.

use kv_core::limits::MAX_LIST_LIMIT;

use super::refusal::Refusal;
use crate::kv::{expiry::integer, invalid::shown, query::Query};

/// The number of keys in a page of a list.
///
/// # Errors
/// If the query has another value than a number from 1 to 1000.
pub fn list_limit(query: Query<'_>) -> Result<usize, Refusal> {
    let Some(text) = query.text("key_count_limit") else { return Ok(MAX_LIST_LIMIT) };
    let invalid = |why: &str| {
        let text = shown(&text);
        Err(Refusal::invalid(format!("Invalid key_count_limit of {text}. {why}")))
    };
    match integer(&text).map(usize::try_from) {
        None | Some(Ok(0)) => invalid("Please specify an integer greater than 0."),
        Some(Ok(limit)) if limit <= MAX_LIST_LIMIT => Ok(limit),
        Some(Err(_)) if text.starts_with('-') => {
            invalid("Please specify an integer greater than 0.")
        }
        // 1000 is accepted; the sentence is that of the reference implementations.
        Some(_) => invalid("Please specify an integer less than 1000."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T>(result: Result<T, Refusal>) -> Result<T, String> {
        result.map_err(|refusal| {
            assert_eq!(refusal.status, 400);
            refusal.text.into_owned()
        })
    }

    #[test]
    fn a_page_has_1_to_1000_keys() {
        const LOW: &str = "Please specify an integer greater than 0.";
        const HIGH: &str = "Please specify an integer less than 1000.";
        for (query, expected) in [
            ("", Ok(1000)),
            ("prefix=", Ok(1000)),
            ("key_count_limit=1", Ok(1)),
            ("key_count_limit=1000", Ok(1000)),
            ("key_count_limit=0", Err(("0", LOW))),
            ("key_count_limit=-1", Err(("-1", LOW))),
            ("key_count_limit=ten", Err(("ten", LOW))),
            ("key_count_limit=", Err(("", LOW))),
            ("key_count_limit=1001", Err(("1001", HIGH))),
            ("key_count_limit=99999999999999999999", Err(("99999999999999999999", HIGH))),
        ] {
            let expected = expected
                .map_err(|(value, why)| format!("Invalid key_count_limit of {value}. {why}"));
            assert_eq!(refused(list_limit(Query(query))), expected, "{query}");
        }
    }
}
