//! The limit door: rate limits over HTTP, for the Workers binding and for anybody else.
//!
//! | request | says |
//! |---|---|
//! | `POST /ratelimit` | what is checked in its body, how to answer in its query |
//! | `GET /ratelimit?…` | both in its query: for proxies that ask before they let a request through. It only counts: a `cost` of at least 1, no `peek`, no `reset`, nothing of a limit beside its `name`, nothing twice |
//!
//! A check, as JSON or as a query:
//!
//! | field | means |
//! |---|---|
//! | `namespace` | where the counter is: any text, no namespace of the key-value store |
//! | `key` | whose counter it is: any text of at most 4096 bytes; the empty one if it is left out |
//! | `limit` | how many hits are let through in a period |
//! | `period` | in seconds (`60`, `0.5`), or with a unit (`"10s"`, `"500ms"`, `"1h"`) |
//! | `name` | a limit of the configuration, in place of the three; what is said beside it wins |
//! | `algorithm` | `"sliding"` (the default), `"fixed"`, `"gcra"` |
//! | `burst` | of `gcra`: how many may come at once; `limit` of them if it is left out |
//! | `cost` | how many hits this is, 1 if it is left out; below 0 that many are given back |
//! | `peek` | `true`: look, and count nothing |
//! | `reset` | `true`: forget the counter |
//!
//! All who name the same namespace, key, period and algorithm share a counter; the limit is a threshold
//! on it. The answer is 200 and
//!
//! | field | means |
//! |---|---|
//! | `success` | whether to go on. A hit that is denied is not counted |
//! | `limit` | how many hits there can be at most |
//! | `remaining` | how many more would be let through now |
//! | `reset` | in how many seconds all of the limit is free again, if nothing else comes |
//! | `retry_after` | of a denial: in how many seconds the same would pass, if nothing else comes; left out if it never will, for its cost is above the limit |
//! | `shadowed` | `true` if the limit is in shadow mode, and would have denied it |
//!
//! Seconds are whole and rounded up: who waits so long has waited long enough.
//!
//! `{"checks":[…]}` asks for up to 100 checks, one after the other, and is answered by
//! `{"success":…,"results":[…]}`; with `"all":true` none of them counts unless all pass. If they do not, each
//! result says how its counter stands without them; a counter that is named more than once is held
//! against what the batch takes of it up to there.
//!
//! The query says how to answer: `status=429` (or 403, 503) is the status of a denial, which then has
//! `Retry-After`; `headers=true` adds the fields `RateLimit` and `RateLimit-Policy`
//! (draft-ietf-httpapi-ratelimit-headers), under the name of the limit, or `"default"` if it has none. In a batch,
//! names that are there already are numbered (`"default-2"`), so that each item has a policy of its own.
//!
//! What makes no sense is answered by 400 and `{"error":"a sentence"}`, a body over 64 KiB by 413.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};
use ratelimit::headers;

use crate::{
    api::namespaces::Problem,
    app::App,
    body::{Body, RequestBody},
    rate_limits::RateLimits,
    reply,
};

mod answer;
pub mod ask;
mod body;
mod check;
pub mod query;

pub use ask::MAX_KEY_BYTES;

use body::Unread;
use check::{Checked, Outcome};
use query::Form;

/// Where this door is.
pub(crate) const PATH: &str = "/ratelimit";

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers a request.
pub async fn serve(app: &App, request: Request<RequestBody>) -> Response<Body> {
    let rates = &app.rate_limits;
    let query = request.uri().query().unwrap_or_default();
    match *request.method() {
        Method::POST => match query::form(query) {
            Ok(form) => post(rates, form, request.into_body()).await,
            Err(sentence) => problem(StatusCode::BAD_REQUEST, sentence),
        },
        Method::GET | Method::HEAD => {
            let asked = query::parse(query).and_then(|(form, ask)| {
                let request = ask::Request::One(ask);
                Ok((form, check::run(rates, request)?))
            });
            let mut response = match asked {
                Ok((form, outcome)) => answer(form, &outcome),
                Err(sentence) => problem(StatusCode::BAD_REQUEST, sentence),
            };
            let no_store = HeaderValue::from_static("no-store");
            response.headers_mut().insert(CACHE_CONTROL, no_store);
            response
        }
        _ => {
            let sentence = "say POST with a body, or GET with a query";
            let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, sentence);
            let allow = HeaderValue::from_static("GET, HEAD, POST");
            response.headers_mut().insert(ALLOW, allow);
            response
        }
    }
}

async fn post(rates: &RateLimits, form: Form, body: RequestBody) -> Response<Body> {
    let body = match body::whole(body).await {
        Ok(body) => body,
        Err(Unread::TooLong) => {
            let sentence = format!(
                "the body is longer than {} bytes: say less in one batch",
                body::MAX_BODY_BYTES
            );
            return problem(StatusCode::PAYLOAD_TOO_LARGE, sentence);
        }
        Err(Unread::Cut(error)) => return problem(StatusCode::BAD_REQUEST, error.to_string()),
    };
    match ask::parse(&body).and_then(|request| check::run(rates, request)) {
        Ok(outcome) => answer(form, &outcome),
        Err(sentence) => problem(StatusCode::BAD_REQUEST, sentence),
    }
}

fn problem(status: StatusCode, error: impl Into<String>) -> Response<Body> {
    reply::json(status, &Problem { error: error.into() })
}

/// Tells what became of it, in the form that was asked for.
fn answer(form: Form, outcome: &Outcome<'_>) -> Response<Body> {
    let (success, json) = match outcome {
        Outcome::One(checked) => (checked.decision.allowed, answer::one(&checked.decision)),
        Outcome::Batch { success, checked } => {
            let decisions = checked.iter().map(|checked| &checked.decision);
            (*success, answer::batch(*success, decisions))
        }
    };
    let mut response = Response::new(Body::full(Bytes::from(json)));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    if !success {
        *response.status_mut() = form.denied;
    }
    if form != Form::default() {
        let checked = match outcome {
            Outcome::One(checked) => std::slice::from_ref(checked),
            Outcome::Batch { checked, .. } => checked,
        };
        add_fields(&mut response, form, checked);
    }
    response
}

/// Adds what a client of HTTP knows: `Retry-After` to a denial, and all fields if they are asked for.
fn add_fields(response: &mut Response<Body>, form: Form, checked: &[Checked<'_>]) {
    let mut add = |name: HeaderName, value: String| {
        // Not so only if a name of a limit could be no part of a header, and the fields replace that.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    };
    if let Some(seconds) = retry_after(checked) {
        add(RETRY_AFTER, seconds.to_string());
    }
    if form.headers && !checked.is_empty() {
        let names = names(checked.iter().map(|checked| checked.name.unwrap_or(UNNAMED)));
        let all = |field: &dyn Fn(&str, &Checked<'_>) -> String| {
            let fields = names.iter().zip(checked).map(|(name, checked)| field(name, checked));
            fields.collect::<Vec<_>>().join(", ")
        };
        let policy = all(&|name, checked| headers::policy(name, &checked.limit));
        let state = all(&|name, checked| headers::state(name, &checked.decision));
        add(HeaderName::from_static(headers::RATELIMIT_POLICY), policy);
        add(HeaderName::from_static(headers::RATELIMIT), state);
    }
}

/// What the fields call a limit that has no name.
const UNNAMED: &str = "default";

/// A name for each check, of which no two are the same: they tell which item of `RateLimit` belongs to
/// which policy. The first of a name has it as it is, those after it are numbered from 2.
fn names<'a>(said: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let mut taken: HashSet<String> = said.clone().map(str::to_owned).collect();
    let mut seen = HashMap::new();
    said.map(|name| {
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

/// In how many seconds all that was denied would pass; none if nothing was, or some never will.
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
    fn no_two_checks_of_a_batch_have_one_name() {
        let named = |said: &[&'static str]| names(said.iter().copied());
        assert_eq!(named(&["default", "login", "default"]), ["default", "login", "default-2"]);
        assert_eq!(named(&["a", "a", "a-2", "a"]), ["a", "a-3", "a-2", "a-4"]);
        assert!(named(&[]).is_empty());
    }
}
