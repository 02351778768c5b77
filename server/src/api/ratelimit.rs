//! The rate-limit API: over HTTP, for the Rate Limiting binding of Workers and for any other client.
//!
//! | request | content |
//! |---|---|
//! | `POST /ratelimit` | the check in its body, how to respond in its query |
//! | `GET /ratelimit?…` | both in its query: for proxies that check before they forward a request. It only counts: a `cost` of at least 1, no `peek`, `record` or `reset`, nothing of a limit beside its `name`, no parameter twice |
//!
//! In a GET, the key may also be in the headers of the request, because a proxy can put a client's text there
//! without encoding it: `key_header=NAME` is the value of that header, or the empty key without it, and
//! `trusted_proxies=N` is the address of the client in `X-Forwarded-For`, the Nth from the end, which the
//! outermost of N proxies has seen. It is 400 if a header occurs twice, or there is no address.
//!
//! A check, as JSON or as a query:
//!
//! | field | meaning |
//! |---|---|
//! | `namespace` | the namespace of the counter: any text, unrelated to the namespaces of the key-value store |
//! | `key` | the key of the counter: any text of at most 4096 bytes; empty by default |
//! | `limit` | how many requests of cost 1 are allowed in a period |
//! | `period` | in seconds (`60`, `0.5`), or with a unit (`"10s"`, `"500ms"`, `"1h"`) |
//! | `unit`, `timezone` | in place of `period`: windows of the calendar, `"day"`, `"week"`, `"month"` or `"year"`, in a time zone of the IANA database, by default `"UTC"` |
//! | `name` | a limit of the configuration, in place of these; the fields beside it win |
//! | `algorithm` | `"sliding"` (the default), `"fixed"`, `"gcra"` |
//! | `burst` | of `gcra`: the cost that is allowed at once; `limit` by default |
//! | `cost` | the cost of the request, 1 by default; below 0, its amount is refunded |
//! | `peek` | `true`: report the state, and count nothing |
//! | `record` | `true`: count the cost whatever the limit is, because it is known only afterwards (tokens, bytes). The counter may then be above its limit, and checks are denied until enough of the window has passed |
//! | `reset` | `true`: forget the counter |
//!
//! Checks with the same namespace, key, period and algorithm share a counter; the limit is a threshold
//! on it. The response is 200 and
//!
//! | field | meaning |
//! |---|---|
//! | `success` | whether the request is allowed. A denied request is not counted. Of a record: whether the counter is within its limit |
//! | `limit` | how much cost there can be at most |
//! | `remaining` | how much more would be allowed now |
//! | `reset` | in how many seconds the window ends, at most the period; with `gcra`, the whole limit is free again; after a denial at least `retry_after` |
//! | `retry_after` | of a denial: in how many seconds the same request would be allowed, if nothing else is counted; absent if it never will, because its cost is above the limit. Of a record: in how many seconds the counter is within its limit again |
//! | `shadowed` | `true` if the limit is in shadow mode and would have denied the request |
//!
//! Seconds are whole and rounded up, so that waiting for that long is enough.
//!
//! `{"checks":[…]}` performs up to 100 checks, in order, and the response is
//! `{"success":…,"results":[…]}`. With `"all":true` they count all together or not at all. If they are
//! denied, each result reports its counter without them; a counter that occurs more than once is
//! compared with what the batch counts on it up to there.
//!
//! The query selects the form of the response: `status=429` (or 403, 503) is the status of a denial, which then has
//! `Retry-After`; `headers=true` adds the fields `RateLimit` and `RateLimit-Policy`
//! (draft-ietf-httpapi-ratelimit-headers), under the name of the limit, or `"default"` if it has none.
//! In a batch, repeated names are numbered (`"default-2"`), so that each item has a policy of its own.
//!
//! An invalid request receives 400 and `{"error":"a sentence"}`, a body over 64 KiB 413, and one whose token does not
//! permit its namespace 403.

use std::collections::{HashMap, HashSet};

use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, HeaderName, HeaderValue, RETRY_AFTER},
};
use ratelimit::{Limit, headers};

use crate::{
    access::Grant,
    app::App,
    http::{
        Body, RequestBody,
        incoming::{Incoming, Unread},
        problem::Problem,
        reply as http_reply,
    },
    rate_limits::RateLimits,
};

mod check;
mod error;
mod key;
pub mod query;
mod reply;
pub mod request;
mod value;

pub use error::Invalid;
pub use key::KeySource;
pub use request::MAX_KEY_BYTES;

use check::{Checked, Outcome};
use query::Form;

/// The path of this API.
pub(crate) const PATH: &str = "/ratelimit";

/// The longest body, in bytes: a batch of checks with keys of the usual length.
const MAX_BODY_BYTES: usize = 64 << 10;

/// How much of a longer body is read before it is refused, so that a client that sends everything
/// before it reads the response receives it.
const MAX_DISCARDED_BYTES: u64 = 1 << 20;

/// Responds to a request.
pub async fn serve(app: &App, grant: &Grant, request: Request<RequestBody>) -> Response<Body> {
    let rates = &app.rate_limits.load();
    let query = request.uri().query().unwrap_or_default();
    match *request.method() {
        Method::POST => match query::form(query) {
            Ok(form) => {
                let (head, body) = request.into_parts();
                post(app, (rates, grant), form, Incoming::new(body, &head.headers)).await
            }
            Err(error) => refuse(app, &error),
        },
        Method::GET | Method::HEAD => {
            let outcome = query::parse(query).and_then(|query| {
                let form = query.form;
                let check = query.check(request.headers())?;
                Ok((form, check::run(rates, grant, request::Request::One(check))?))
            });
            let mut response = match outcome {
                Ok((form, outcome)) => respond(form, &outcome),
                Err(error) => refuse(app, &error),
            };
            let no_store = HeaderValue::from_static("no-store");
            response.headers_mut().insert(CACHE_CONTROL, no_store);
            response
        }
        _ => {
            let sentence = "use POST with a body, or GET with a query";
            let mut response = Problem::response(StatusCode::METHOD_NOT_ALLOWED, sentence);
            let allow = HeaderValue::from_static("GET, HEAD, POST");
            response.headers_mut().insert(ALLOW, allow);
            response
        }
    }
}

/// Reads the body of a POST, and performs its checks.
async fn post(
    app: &App,
    (rates, grant): (&RateLimits, &Grant),
    form: Form,
    mut body: Incoming,
) -> Response<Body> {
    let bytes = match body.whole(MAX_BODY_BYTES, None).await {
        Ok(bytes) => bytes,
        Err(unread @ Unread::TooLong { .. }) => {
            body.discard_refused(MAX_DISCARDED_BYTES).await;
            let sentence = format!("{unread}: send fewer checks in one batch");
            return Problem::response(StatusCode::PAYLOAD_TOO_LARGE, sentence);
        }
        Err(unread) => return Problem::response(StatusCode::BAD_REQUEST, unread.to_string()),
    };
    match request::parse(&bytes).and_then(|request| check::run(rates, grant, request)) {
        Ok(outcome) => respond(form, &outcome),
        Err(error) => refuse(app, &error),
    }
}

/// The 400 for an invalid request, or the 403 for one that its token does not permit.
fn refuse(app: &App, error: &Invalid) -> Response<Body> {
    if error.status() == StatusCode::FORBIDDEN {
        app.metrics.access().refused("scope");
    }
    Problem::response(error.status(), error.to_string())
}

/// The response for an outcome, in the form that the caller wants.
fn respond(form: Form, outcome: &Outcome<'_>) -> Response<Body> {
    let (success, json) = match outcome {
        Outcome::One(checked) => (checked.decision.allowed, reply::one(&checked.decision)),
        Outcome::Batch { success, checked } => {
            let decisions = checked.iter().map(|checked| &checked.decision);
            (*success, reply::batch(*success, decisions))
        }
    };
    let status = if success { StatusCode::OK } else { form.denied };
    let mut response = http_reply::with_type(status, http_reply::JSON, json);
    if form != Form::default() {
        let checked = match outcome {
            Outcome::One(checked) => std::slice::from_ref(checked),
            Outcome::Batch { checked, .. } => checked,
        };
        add_fields(&mut response, form, checked);
    }
    response
}

/// Adds the header fields: `Retry-After` to a denial, and the others if the caller wants them.
fn add_fields(response: &mut Response<Body>, form: Form, checked: &[Checked<'_>]) {
    let mut add = |name: HeaderName, value: String| {
        // This fails only for the name of a limit that can't be in a header, which `headers` escapes.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    };
    if let Some(seconds) = retry_after(checked) {
        add(RETRY_AFTER, seconds.to_string());
    }
    // A key without a limit has no quota to report.
    let limited: Vec<_> =
        checked.iter().filter_map(|checked| Some((checked, checked.limit?))).collect();
    if form.headers && !limited.is_empty() {
        let names = names(limited.iter().map(|(checked, _)| checked.name.unwrap_or(UNNAMED)));
        let all = |field: &dyn Fn(&str, &Checked<'_>, &Limit) -> String| {
            let fields = names.iter().zip(&limited);
            let fields = fields.map(|(name, (checked, limit))| field(name, checked, limit));
            fields.collect::<Vec<_>>().join(", ")
        };
        let policy = all(&|name, _, limit| headers::policy(name, limit));
        let state = all(&|name, checked, _| headers::state(name, &checked.decision));
        add(HeaderName::from_static(headers::RATELIMIT_POLICY), policy);
        add(HeaderName::from_static(headers::RATELIMIT), state);
    }
}

/// The name in the fields of a limit that has none.
const UNNAMED: &str = "default";

/// A name for each check, all different, because they connect the items of `RateLimit` with those of
/// `RateLimit-Policy`. The first check of a name keeps it, those after it are numbered from 2.
fn names<'a>(given: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let mut taken: HashSet<String> = given.clone().map(str::to_owned).collect();
    let mut seen = HashMap::new();
    given
        .map(|name| {
            let count = seen.entry(name).or_insert(0_u32);
            *count += 1;
            if *count == 1 {
                return name.to_owned();
            }
            loop {
                let numbered = format!("{name}-{count}");
                if taken.insert(numbered.clone()) {
                    return numbered;
                }
                *count += 1;
            }
        })
        .collect()
}

/// In how many seconds all denied checks would be allowed; none if none was denied, or some never
/// will be allowed.
fn retry_after(checked: &[Checked<'_>]) -> Option<u64> {
    let denied =
        checked.iter().map(|checked| &checked.decision).filter(|decision| !decision.allowed);
    let waits: Option<Vec<u64>> = denied.map(headers::retry_after).collect();
    waits?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn no_two_checks_of_a_batch_have_the_same_name() {
        let named = |given: &[&'static str]| names(given.iter().copied());
        assert_eq!(named(&["default", "login", "default"]), ["default", "login", "default-2"]);
        assert_eq!(named(&["a", "a", "a-2", "a"]), ["a", "a-3", "a-2", "a-4"]);
        assert!(named(&[]).is_empty());
    }
}
