//! Numbers as the clients write them. Some have them as floats: `120.0` is 120.

use std::borrow::Cow;

use super::failure::{Failure, code};
use crate::kv::{invalid::shown, query::Query};

/// A number without its fraction, if that is zero.
#[must_use]
pub fn whole(text: Cow<'_, str>) -> Cow<'_, str> {
    let Some((digits, fraction)) = text.split_once('.') else { return text };
    let is_whole = !digits.is_empty() && !fraction.is_empty();
    if is_whole && fraction.bytes().all(|byte| byte == b'0') {
        return Cow::Owned(digits.to_owned());
    }
    text
}

/// The number of this name in a query, from `least` to `most`, else the default. `code` is that of a failure.
fn number(
    query: Query<'_>,
    name: &str,
    code: u32,
    (least, default, most): (usize, usize, usize),
) -> Result<usize, Failure> {
    let Some(text) = query.text(name).filter(|text| !text.is_empty()) else { return Ok(default) };
    let text = whole(text);
    let number = (!text.starts_with('+')).then(|| text.parse::<usize>().ok()).flatten();
    number.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        let text = shown(&text);
        let message = format!("invalid {name} '{text}': use an integer from {least} to {most}");
        Failure::invalid(code, message)
    })
}

/// The page of a list by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Its number, from 1.
    pub page: usize,
    /// How many items a page has.
    pub per_page: usize,
}

impl Pages {
    /// Reads `page` and `per_page`.
    ///
    /// # Errors
    /// If one is not a number from 1, or `per_page` is more than 1000.
    pub fn of(query: Query<'_>) -> Result<Pages, Failure> {
        let page = number(query, "page", code::PAGE, (1, 1, usize::MAX))?;
        let per_page = number(query, "per_page", code::PER_PAGE, (1, 20, 1000))?;
        Ok(Pages { page, per_page })
    }

    /// The items before the page.
    #[must_use]
    pub fn before(self) -> usize {
        (self.page - 1).saturating_mul(self.per_page)
    }
}

/// The number of keys in a page.
///
/// # Errors
/// If it is not a number from 10 to 1000.
pub fn limit(query: Query<'_>) -> Result<usize, Failure> {
    number(query, "limit", code::LIMIT, (10, 1000, 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_zeros_is_dropped() {
        for (text, expected) in
            [("120.0", "120"), ("-1.00", "-1"), ("1.5", "1.5"), ("1.", "1."), (".0", ".0")]
        {
            assert_eq!(whole(text.into()), expected);
        }
    }

    #[test]
    fn pages_and_limits_have_bounds() {
        let pages = |query| Pages::of(Query(query)).map_err(|failure| failure.code);
        assert_eq!(pages(""), Ok(Pages { page: 1, per_page: 20 }));
        assert_eq!(pages("page=3.0&per_page=1000"), Ok(Pages { page: 3, per_page: 1000 }));
        for (query, code) in [
            ("page=0", code::PAGE),
            ("page=x", code::PAGE),
            ("page=%2B1", code::PAGE),
            ("page=-1", code::PAGE),
            ("per_page=0", code::PER_PAGE),
            ("per_page=1001", code::PER_PAGE),
        ] {
            assert_eq!(pages(query), Err(code), "{query}");
        }
        assert_eq!(Pages { page: usize::MAX, per_page: 1000 }.before(), usize::MAX);
        for (query, expected) in [("", Some(1000)), ("limit=10", Some(10)), ("limit=9", None)] {
            assert_eq!(limit(Query(query)).ok(), expected, "{query}");
        }
    }
}
