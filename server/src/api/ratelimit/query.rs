//! The query of a request: how to respond, and with GET also the check.

use std::borrow::Cow;

use hyper::{HeaderMap, StatusCode};

use super::{
    error::{Invalid, start},
    key::KeySource,
    request::Check,
};
use crate::http::form;

/// How a caller wants its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The status of a denial.
    pub denied: StatusCode,
    /// Whether the response has the fields `RateLimit`, `RateLimit-Policy` and `Retry-After`.
    pub headers: bool,
}

impl Default for Form {
    fn default() -> Form {
        Form { denied: StatusCode::OK, headers: false }
    }
}

/// A query of a GET.
#[derive(Debug, PartialEq)]
pub struct Query<'a> {
    /// How to respond.
    pub form: Form,
    /// The check, perhaps without its key.
    pub check: Check<'a>,
    /// Where its key is, if that is not in the query.
    pub source: Option<KeySource>,
}

impl<'a> Query<'a> {
    /// The check, with its key.
    pub(super) fn check(mut self, headers: &HeaderMap) -> Result<Check<'a>, Invalid> {
        if let Some(source) = &self.source {
            self.check.key = Some(source.key(headers)?);
        }
        Ok(self.check)
    }
}

/// The error for two keys.
const ONE_KEY: Invalid = Invalid::Conflict("use one of `key`, `key_header` and `trusted_proxies`");

/// Reads the query of a POST, which selects only the form of the response.
///
/// # Errors
/// See [`Invalid`].
pub fn form(query: &str) -> Result<Form, Invalid> {
    let mut form = Form::default();
    for pair in pairs(query) {
        let (name, value) = pair?;
        if !form.read(&name, &value)? {
            let name = start(&name);
            return Err(Invalid::BelongsInBody(format!(
                "the query of a POST has status and headers only; {name:?}"
            )));
        }
    }
    Ok(form)
}

/// Reads the query of a GET.
///
/// It can only count. A proxy that puts a client's text into a query without encoding it lets the
/// client add parameters, and those must not lift the client's own limit. So no parameter may be given
/// twice, a limit that has a name is used as it is configured, and peeks, records, refunds and resets go in
/// the body of a POST.
///
/// # Errors
/// See [`Invalid`].
pub fn parse(query: &str) -> Result<Query<'_>, Invalid> {
    let mut form = Form::default();
    let mut check = Check::default();
    let mut source = None;
    let mut given: Vec<Cow<'_, str>> = Vec::new();
    for pair in pairs(query) {
        let (name, value) = pair?;
        if given.contains(&name) {
            return Err(Invalid::Twice(start(&name)));
        }
        if let Some(found) = KeySource::of(&name, &value)? {
            if source.replace(found).is_some() {
                return Err(ONE_KEY);
            }
        } else if !form.read(&name, &value)? {
            read(&mut check, &name, value)?;
        }
        given.push(name);
    }
    let own = ["namespace", "limit", "period", "unit", "timezone", "algorithm", "burst", "scope"]
        .into_iter()
        .find(|own| given.iter().any(|given| given == own));
    match own {
        Some(own) if check.name.is_some() => {
            Err(Invalid::BelongsInBody(format!("`{own}` beside `name`")))
        }
        _ if source.is_some() && check.key.is_some() => Err(ONE_KEY),
        _ => Ok(Query { form, check, source }),
    }
}

impl Form {
    /// Reads a parameter that selects the form of the response; `false` if this is not one.
    fn read(&mut self, name: &str, value: &[u8]) -> Result<bool, Invalid> {
        match name {
            "status" => {
                self.denied = match value {
                    b"200" => StatusCode::OK,
                    b"403" => StatusCode::FORBIDDEN,
                    b"429" => StatusCode::TOO_MANY_REQUESTS,
                    b"503" => StatusCode::SERVICE_UNAVAILABLE,
                    _ => return Err(Invalid::parameter(name, value, "200, 403, 429 or 503")),
                }
            }
            "headers" => {
                self.headers = match value {
                    b"true" | b"1" => true,
                    b"false" | b"0" => false,
                    _ => return Err(Invalid::parameter(name, value, "true or false")),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Reads a parameter of the check.
fn read<'a>(check: &mut Check<'a>, name: &str, value: Cow<'a, [u8]>) -> Result<(), Invalid> {
    match name {
        "name" => check.name = Some(text(name, value)?),
        "namespace" => check.namespace = Some(bounded(name, value)?),
        "key" => check.key = Some(bounded(name, value)?),
        "limit" => check.limit = Some(number(name, &value)?),
        "period" => check.period = Some(text(name, value)?.parse()?),
        "unit" => check.unit = Some(text(name, value)?),
        "timezone" => check.timezone = Some(text(name, value)?),
        "algorithm" => {
            let parsed = str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
            let parsed = parsed
                .ok_or_else(|| Invalid::parameter(name, &value, "one of sliding, fixed, gcra"));
            check.algorithm = Some(parsed?);
        }
        "scope" => {
            let parsed = str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
            let parsed =
                parsed.ok_or_else(|| Invalid::parameter(name, &value, "location or global"));
            check.scope = Some(parsed?);
        }
        "burst" => check.burst = Some(number(name, &value)?),
        "cost" => match number(name, &value)? {
            cost @ 1.. => check.cost = Some(cost),
            _ => {
                return Err(Invalid::parameter(
                    name,
                    &value,
                    "at least 1 in a GET; others go in a POST",
                ));
            }
        },
        "peek" | "record" | "reset" => {
            return Err(Invalid::BelongsInBody(format!("a GET only counts: `{name}`")));
        }
        "checks" | "all" => return Err(Invalid::BelongsInBody("a batch".into())),
        _ => return Err(Invalid::Unknown(start(name))),
    }
    Ok(())
}

/// The parameters of a query. Their names must be text.
fn pairs(query: &str) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, [u8]>), Invalid>> {
    form::pairs(query).map(|(name, value)| Ok((text("a name in the query", name)?, value)))
}

/// A value that must be text.
fn text<'a>(name: &str, value: Cow<'a, [u8]>) -> Result<Cow<'a, str>, Invalid> {
    let text = match value {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).map(Cow::Borrowed).ok(),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
    };
    text.ok_or_else(|| Invalid::NotText(name.to_owned()))
}

/// A namespace or key, which must not be too long.
fn bounded<'a>(name: &str, value: Cow<'a, [u8]>) -> Result<Cow<'a, [u8]>, Invalid> {
    Invalid::check_length(name, &value)?;
    Ok(value)
}

/// A number in the range of its type.
fn number<T: std::str::FromStr>(name: &str, value: &[u8]) -> Result<T, Invalid> {
    let parsed = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Invalid::parameter(name, value, "a whole number in range"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limits::MAX_KEY_BYTES;

    #[test]
    fn the_query_of_a_get_is_a_check_and_how_to_respond() {
        let Query { form, check, .. } = parse(
            "namespace=login&key=a%20b%2Bc+d&status=403&headers=true&period=10s&limit=5&cost=2",
        )
        .unwrap();
        assert_eq!(form, Form { denied: StatusCode::FORBIDDEN, headers: true });
        assert_eq!(check.namespace.as_deref(), Some(&b"login"[..]));
        assert_eq!(parse("name=login&key=a").unwrap().check.name.as_deref(), Some("login"));
        assert_eq!(check.key.as_deref(), Some(&b"a b+c d"[..]));
        assert_eq!((check.limit, check.cost), (Some(5), Some(2)));
        let (form, check) = (Form::default(), Check::default());
        assert_eq!(parse("").unwrap(), Query { form, check, source: None });
        assert_eq!(parse("key=%ff%00").unwrap().check.key.as_deref(), Some(&b"\xff\0"[..]));
    }

    #[test]
    fn the_query_of_a_post_chooses_how_to_respond() {
        assert_eq!(form("status=429").unwrap().denied, StatusCode::TOO_MANY_REQUESTS);
        assert!(form("headers=1").unwrap().headers);
        let error = form("key=a").unwrap_err().to_string();
        assert!(error.contains("\"key\" goes in the body of a POST"), "{error}");
    }

    #[test]
    fn an_error_names_the_parameter_and_the_reason() {
        let long = format!("key={}", "x".repeat(MAX_KEY_BYTES + 1));
        for (query, expected) in [
            ("kye=a", "unknown field \"kye\": a GET has name, or namespace, limit"),
            ("kye=a", "key, key_header or trusted_proxies, cost; status, headers"),
            ("key=a&key_header=b", "use one of `key`, `key_header` and `trusted_proxies`"),
            ("trusted_proxies=1&key=a", "use one of `key`, `key_header` and `trusted_proxies`"),
            ("trusted_proxies=1&key_header=a", "use one of `key`, `key_header`"),
            ("trusted_proxies=1&trusted_proxies=2", "`trusted_proxies` is given more than once"),
            ("status=404", "`status` is \"404\": use 200, 403, 429 or 503"),
            ("headers=yes", "`headers` is \"yes\": use true or false"),
            ("limit=-1", "`limit` is \"-1\": use a whole number in range"),
            ("limit=1.5", "`limit`"),
            ("cost=", "`cost`"),
            ("cost=0", "`cost` is \"0\": use at least 1 in a GET"),
            ("cost=-1", "`cost` is \"-1\": use at least 1 in a GET"),
            ("peek=true", "a GET only counts: `peek` goes in the body of a POST"),
            ("record=true", "a GET only counts: `record` goes in the body of a POST"),
            ("reset=true", "`reset` goes in the body of a POST"),
            ("limit=99&name=login", "`limit` beside `name` goes in the body of a POST"),
            ("name=login&namespace=x", "`namespace` beside `name` goes in the body of a POST"),
            ("name=login&algorithm=fixed", "`algorithm` beside `name` goes in the body of a POST"),
            ("limit=5&limit=99", "`limit` is given more than once"),
            ("status=429&status=200", "`status` is given more than once"),
            ("name=%ff", "`name` is not UTF-8"),
            ("%ff=a", "not UTF-8"),
            ("period=x", "`period`: \"x\" is not a period"),
            ("algorithm=leaky", "`algorithm` is \"leaky\": use one of sliding, fixed, gcra"),
            ("checks=[]", "a batch goes in the body of a POST"),
            (&long, "`key` has 4097 bytes"),
        ] {
            let error = parse(query).expect_err(query).to_string();
            assert!(error.contains(expected), "{query}: {expected:?} is not in {error:?}");
        }
    }
}
