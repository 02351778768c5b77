//! The messages of Envoy's rate-limit service, and of gRPC's health checks.
//!
//! Written by hand from the `.proto` files that are named at each, field numbers and all: a few
//! messages of the thousands that Envoy has. Fields that we neither read nor send are left out;
//! protobuf skips them.

/// What Envoy asks: `envoy/service/ratelimit/v3/rls.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RateLimitRequest {
    /// Whose limits: the `domain` of the filter's configuration.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// What the request is, once for each action of the route that applies.
    #[prost(message, repeated, tag = "2")]
    pub descriptors: Vec<RateLimitDescriptor>,
    /// How many hits this is; 0 stands for 1.
    #[prost(uint32, tag = "3")]
    pub hits_addend: u32,
}

/// `envoy/extensions/common/ratelimit/v3/ratelimit.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RateLimitDescriptor {
    /// Keys and values, from the root of the tree to a node.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
    /// A limit that wins over the one of the configuration.
    #[prost(message, optional, tag = "2")]
    pub limit: Option<RateLimitOverride>,
    /// How many hits this is, in place of the request's. 0 looks and counts nothing.
    #[prost(message, optional, tag = "3")]
    pub hits_addend: Option<u64>,
    /// The hits are given back.
    #[prost(bool, tag = "4")]
    pub is_negative_hits: bool,
}

/// One level of a descriptor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Entry {
    /// Its key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A limit that comes with the request.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RateLimitOverride {
    /// Hits in a unit.
    #[prost(uint32, tag = "1")]
    pub requests_per_unit: u32,
    /// `envoy.type.v3.RateLimitUnit`, which has the same numbers as [`Unit`].
    #[prost(enumeration = "Unit", tag = "2")]
    pub unit: i32,
}

/// What we answer: `envoy/service/ratelimit/v3/rls.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RateLimitResponse {
    /// [`Code::OverLimit`] if any descriptor is over its limit.
    #[prost(enumeration = "Code", tag = "1")]
    pub overall_code: i32,
    /// One for each descriptor, in their order.
    #[prost(message, repeated, tag = "2")]
    pub statuses: Vec<DescriptorStatus>,
    /// Headers for the client's response.
    #[prost(message, repeated, tag = "3")]
    pub response_headers_to_add: Vec<HeaderValue>,
}

/// What became of one descriptor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DescriptorStatus {
    /// [`Code::Ok`] or [`Code::OverLimit`].
    #[prost(enumeration = "Code", tag = "1")]
    pub code: i32,
    /// The limit; none if no limit matched, or it is unlimited.
    #[prost(message, optional, tag = "2")]
    pub current_limit: Option<CurrentLimit>,
    /// How many more hits would pass now.
    #[prost(uint32, tag = "3")]
    pub limit_remaining: u32,
    /// In whole seconds, rounded up.
    #[prost(message, optional, tag = "4")]
    pub duration_until_reset: Option<Duration>,
}

/// `RateLimitResponse.RateLimit`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CurrentLimit {
    /// Hits in a unit.
    #[prost(uint32, tag = "1")]
    pub requests_per_unit: u32,
    /// [`Unit::Unknown`] if the period is none of the units.
    #[prost(enumeration = "Unit", tag = "2")]
    pub unit: i32,
    /// The name in the configuration, or empty.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// `envoy/config/core/v3/base.proto`. Envoy also knows a `raw_value`; here it takes the text alone.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HeaderValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `google/protobuf/duration.proto`, without parts of seconds.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Duration {
    /// Seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
}

/// `RateLimitResponse.Code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Code {
    /// Never sent.
    Unknown = 0,
    /// Within the limit.
    Ok = 1,
    /// Over the limit.
    OverLimit = 2,
}

/// `RateLimitResponse.RateLimit.Unit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Unit {
    /// A period that has no unit, such as 10 seconds.
    Unknown = 0,
    /// A second.
    Second = 1,
    /// A minute.
    Minute = 2,
    /// An hour.
    Hour = 3,
    /// 24 hours.
    Day = 4,
    /// 30 days, as envoyproxy/ratelimit counts it.
    Month = 5,
    /// 365 days, as envoyproxy/ratelimit counts it.
    Year = 6,
    /// 7 days.
    Week = 7,
}

/// What a health check asks: `grpc/health/v1/health.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HealthCheckRequest {
    /// The service, or empty for all.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// What it is answered.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HealthCheckResponse {
    /// Whether to send it requests.
    #[prost(enumeration = "ServingStatus", tag = "1")]
    pub status: i32,
}

/// `HealthCheckResponse.ServingStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum ServingStatus {
    /// Never sent.
    Unknown = 0,
    /// Send it requests.
    Serving = 1,
    /// Send it none.
    NotServing = 2,
}
