//! What a query says: how to answer, and with GET also what is asked.

use std::borrow::Cow;

use hyper::StatusCode;
use ratelimit::LimitError;

use super::ask::{self, Ask};
use crate::api::urlencoded;

/// How a caller wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The status of an answer that says no.
    pub denied: StatusCode,
    /// Whether the answer has the fields `RateLimit`, `RateLimit-Policy` and `Retry-After`.
    pub headers: bool,
}

impl Default for Form {
    fn default() -> Form {
        Form { denied: StatusCode::OK, headers: false }
    }
}

/// Reads a query that says how to answer and no more: that of a POST.
///
/// # Errors
/// A sentence that names what is wrong.
pub fn form(query: &str) -> Result<Form, String> {
    let mut form = Form::default();
    for pair in pairs(query) {
        let (name, value) = pair?;
        if !form.read(&name, &value)? {
            return Err(format!(
                "the query of a POST says how to answer, by status and headers; {name:?} belongs \
                 into the body"
            ));
        }
    }
    Ok(form)
}

/// Reads the query of a GET. It can only count a hit: a proxy that puts a client's text into a query
/// without encoding it lets the client say more, which must not lift the client's own limit. So nothing
/// may be said twice, a limit with a name is as it is configured, and what looks, gives back or forgets
/// goes in the body of a POST.
///
/// # Errors
/// A sentence that names what is wrong.
pub fn parse(query: &str) -> Result<(Form, Ask<'_>), String> {
    let mut form = Form::default();
    let mut ask = Ask::default();
    let mut said = Vec::new();
    for pair in pairs(query) {
        let (name, value) = pair?;
        if said.contains(&name) {
            return Err(format!("`{name}` is there more than once"));
        }
        if !form.read(&name, &value)? {
            read(&mut ask, &name, value)?;
        }
        said.push(name);
    }
    let is_own = |name: &str| said.iter().any(|said| said == name);
    let own = ["namespace", "limit", "period", "algorithm", "burst"]
        .into_iter()
        .find(|name| is_own(name));
    match own {
        Some(own) if ask.name.is_some() => {
            Err(format!("`{own}` beside `name` goes in the body of a POST"))
        }
        _ => Ok((form, ask)),
    }
}

impl Form {
    /// Takes a part of the query that says how to answer; `false` if this is none.
    fn read(&mut self, name: &str, value: &[u8]) -> Result<bool, String> {
        match name {
            "status" => {
                self.denied = match value {
                    b"200" => StatusCode::OK,
                    b"403" => StatusCode::FORBIDDEN,
                    b"429" => StatusCode::TOO_MANY_REQUESTS,
                    b"503" => StatusCode::SERVICE_UNAVAILABLE,
                    _ => {
                        let value = shown(value);
                        return Err(format!(
                            "`status` is {value}, and can be 200, 403, 429 or 503"
                        ));
                    }
                }
            }
            "headers" => self.headers = flag(name, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn read<'a>(ask: &mut Ask<'a>, name: &str, value: Cow<'a, [u8]>) -> Result<(), String> {
    match name {
        "name" => ask.name = Some(text(name, value)?),
        "namespace" => ask.namespace = Some(bounded(name, value)?),
        "key" => ask.key = Some(bounded(name, value)?),
        "limit" => ask.limit = Some(number(name, &value)?),
        "period" => ask.period = Some(text(name, value)?.parse()?),
        "algorithm" => {
            let parsed = text(name, value)?.parse();
            ask.algorithm = Some(parsed.map_err(|error: LimitError| error.to_string())?);
        }
        "burst" => ask.burst = Some(number(name, &value)?),
        "cost" => match number(name, &value)? {
            cost @ 1.. => ask.cost = Some(cost),
            _ => return Err("the `cost` of a GET is at least 1: say others in a POST".into()),
        },
        "peek" | "reset" => {
            return Err(format!("`{name}` goes in the body of a POST: a GET only counts"));
        }
        "checks" | "all" => return Err("a batch goes in the body of a POST".into()),
        _ => return Err(unknown(name)),
    }
    Ok(())
}

fn unknown(name: &str) -> String {
    let name: String = name.chars().take(40).collect();
    format!(
        "unknown field {name:?}: a GET has name, or namespace, limit, period, algorithm and burst; key, \
         cost; status, headers"
    )
}

/// The parts of a query, decoded once; a `+` is a space, as in forms.
fn pairs(query: &str) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, [u8]>), String>> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = text("a name in the query", urlencoded::decode(name))?;
        Ok((name, urlencoded::decode(value)))
    })
}

fn text<'a>(name: &str, value: Cow<'a, [u8]>) -> Result<Cow<'a, str>, String> {
    let not_utf8 = |_| format!("`{name}` is not UTF-8");
    match value {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).map(Cow::Borrowed).map_err(not_utf8),
        Cow::Owned(bytes) => {
            String::from_utf8(bytes).map(Cow::Owned).map_err(|error| not_utf8(error.utf8_error()))
        }
    }
}

fn bounded<'a>(name: &str, value: Cow<'a, [u8]>) -> Result<Cow<'a, [u8]>, String> {
    ask::too_long(name, &value).map_or(Ok(value), Err)
}

fn number<T: std::str::FromStr>(name: &str, value: &[u8]) -> Result<T, String> {
    let parsed = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| format!("`{name}` is {}, and not a whole number in bounds", shown(value)))
}

fn flag(name: &str, value: &[u8]) -> Result<bool, String> {
    match value {
        b"true" | b"1" => Ok(true),
        b"false" | b"0" => Ok(false),
        _ => Err(format!("`{name}` is {}, and can be true or false", shown(value))),
    }
}

/// The start of what a client said, for a sentence.
fn shown(value: &[u8]) -> String {
    let start = &value[..value.len().min(40)];
    format!("{:?}", String::from_utf8_lossy(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_get_says_all_in_its_query() {
        let (form, ask) = parse(
            "namespace=login&key=a%20b%2Bc+d&status=403&headers=true&period=10s&limit=5&cost=2",
        )
        .unwrap();
        assert_eq!(form, Form { denied: StatusCode::FORBIDDEN, headers: true });
        assert_eq!(ask.namespace.as_deref(), Some(&b"login"[..]));
        assert_eq!(parse("name=login&key=a").unwrap().1.name.as_deref(), Some("login"));
        assert_eq!(ask.key.as_deref(), Some(&b"a b+c d"[..]));
        assert_eq!((ask.limit, ask.cost), (Some(5), Some(2)));
        let (form, ask) = parse("").unwrap();
        assert_eq!((form, ask), (Form::default(), Ask::default()));
        assert_eq!(parse("key=%ff%00").unwrap().1.key.as_deref(), Some(&b"\xff\0"[..]));
    }

    #[test]
    fn a_post_says_how_to_answer_in_its_query() {
        assert_eq!(form("status=429").unwrap().denied, StatusCode::TOO_MANY_REQUESTS);
        assert!(form("headers=1").unwrap().headers);
        assert!(form("key=a").unwrap_err().contains("\"key\" belongs into the body"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!("key={}", "x".repeat(ask::MAX_KEY_BYTES + 1));
        for (query, says) in [
            ("kye=a", "unknown field \"kye\": a GET has name, or namespace, limit"),
            ("kye=a", "key, cost; status, headers"),
            ("status=404", "`status` is \"404\", and can be 200, 403, 429 or 503"),
            ("headers=yes", "`headers` is \"yes\", and can be true or false"),
            ("limit=-1", "`limit` is \"-1\""),
            ("limit=1.5", "`limit`"),
            ("cost=", "`cost`"),
            ("cost=0", "the `cost` of a GET is at least 1"),
            ("cost=-1", "the `cost` of a GET is at least 1"),
            ("peek=true", "`peek` goes in the body of a POST"),
            ("reset=true", "`reset` goes in the body of a POST"),
            ("limit=99&name=login", "`limit` beside `name` goes in the body of a POST"),
            ("name=login&namespace=x", "`namespace` beside `name` goes in the body of a POST"),
            ("name=login&algorithm=fixed", "`algorithm` beside `name` goes in the body of a POST"),
            ("limit=5&limit=99", "`limit` is there more than once"),
            ("status=429&status=200", "`status` is there more than once"),
            ("name=%ff", "`name` is not UTF-8"),
            ("%ff=a", "not UTF-8"),
            ("period=x", "no period"),
            ("algorithm=leaky", "one of sliding, fixed, gcra"),
            ("checks=[]", "body of a POST"),
            (&long, "`key` has 4097 bytes"),
        ] {
            let error = parse(query).expect_err(query);
            assert!(error.contains(says), "{query}: {says:?} is not in {error:?}");
        }
    }
}
