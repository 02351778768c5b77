//! Requests, by API, method and status.

use std::{sync::OnceLock, time::Duration};

use hyper::{Method, StatusCode};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};

use super::registry::{counter, counters, register, times};

/// An API, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// workerd's KV protocol.
    Binding,
    /// Cloudflare's API v4 for Workers KV.
    Rest,
    /// Rate limits over HTTP.
    Ratelimit,
    /// Rate limits for Envoy.
    Rls,
    /// Namespaces, for the command line.
    Namespaces,
    /// The cluster, for the command line.
    Cluster,
    /// The examination of the store, for the command line.
    Doctor,
    /// Access tokens, for the command line.
    Tokens,
    /// Overrides of rate limits.
    Limits,
    /// Health and metrics.
    Ops,
    /// No API: an unknown path, or a request that was refused before it came to an API.
    None,
}

impl Api {
    /// How many there are.
    const COUNT: usize = Api::None as usize + 1;

    /// The value of the label `api`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Api::Binding => "binding",
            Api::Rest => "rest",
            Api::Ratelimit => "ratelimit",
            Api::Rls => "rls",
            Api::Namespaces => "namespaces",
            Api::Cluster => "cluster",
            Api::Doctor => "doctor",
            Api::Tokens => "tokens",
            Api::Limits => "limits",
            Api::Ops => "ops",
            Api::None => "none",
        }
    }
}

/// A method, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// PUT.
    Put,
    /// POST.
    Post,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// Any other: text from a client must not become a label.
    Other,
}

impl Verb {
    /// How many there are.
    const COUNT: usize = 7;

    /// The value of the label `method`.
    const fn label(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Head => "HEAD",
            Verb::Put => "PUT",
            Verb::Post => "POST",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
            Verb::Other => "other",
        }
    }
}

impl From<&Method> for Verb {
    fn from(method: &Method) -> Verb {
        match *method {
            Method::GET => Verb::Get,
            Method::HEAD => Verb::Head,
            Method::PUT => Verb::Put,
            Method::POST => Verb::Post,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ => Verb::Other,
        }
    }
}

/// The metrics of requests. Counting costs a few atomic additions, because each combination of labels
/// is looked up once.
#[derive(Debug)]
pub struct RequestMetrics {
    /// Requests, by API, method and status class.
    requests: IntCounterVec,
    /// Times, by API and method.
    seconds: HistogramVec,
    /// Calls of a runtime with parameters that the binding API ignored.
    ignored: IntCounter,
    /// The series of each API and method.
    by: [[Series; Verb::COUNT]; Api::COUNT],
}

/// The series of one API and method. Each is made when it is first needed, so that only what happened
/// is exported.
#[derive(Debug, Default)]
struct Series {
    /// The counters, by the first digit of the status.
    by_class: [OnceLock<IntCounter>; 5],
    /// The histogram of times.
    seconds: OnceLock<Histogram>,
}

impl RequestMetrics {
    /// Registers the metrics.
    pub(super) fn new(r: &Registry) -> RequestMetrics {
        let seconds = times(
            "waypost_request_seconds",
            "Time from the head of a request to the head of its response.",
        );
        RequestMetrics {
            requests: counters(
                r,
                "waypost_requests_total",
                "Requests that received a response.",
                &["api", "method", "status"],
            ),
            ignored: counter(
                r,
                "waypost_binding_parameters_ignored_total",
                "Calls of workerd or miniflare with a parameter that is unknown here and was ignored.",
            ),
            seconds: register(r, HistogramVec::new(seconds, &["api", "method"])),
            by: Default::default(),
        }
    }

    /// Counts a call of a runtime with parameters that were ignored.
    pub fn ignored_parameters(&self) {
        self.ignored.inc();
    }

    /// Counts a response.
    pub fn answered(&self, api: Api, verb: Verb, status: StatusCode, took: Duration) {
        /// The values of the label `status`.
        const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        let series = &self.by[api as usize][verb as usize];
        series.by_class[class]
            .get_or_init(|| {
                self.requests.with_label_values(&[api.label(), verb.label(), CLASSES[class]])
            })
            .inc();
        series
            .seconds
            .get_or_init(|| self.seconds.with_label_values(&[api.label(), verb.label()]))
            .observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_method_does_not_become_a_label() {
        let method = Method::from_bytes(b"BREW").expect("a method");
        assert_eq!(Verb::from(&method), Verb::Other);
    }
}
