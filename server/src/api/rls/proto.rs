//! The messages of Envoy's rate-limit service.
//!
//! They are transcribed from the `.proto` files that are named at each, with their field numbers, for
//! prost's derive: generating them would need the thousands of messages of Envoy's API, and protoc,
//! at build time. Fields that are neither read nor sent are left out; protobuf skips them.

/// The request: `envoy/service/ratelimit/v3/rls.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RateLimitRequest {
    /// The `domain` of the filter's configuration.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Descriptions of the client's request, one for each action of the route.
    #[prost(message, repeated, tag = "2")]
    pub descriptors: Vec<RateLimitDescriptor>,
    /// The cost of the request; 0 means 1.
    #[prost(uint32, tag = "3")]
    pub hits_addend: u32,
}

/// `envoy/extensions/common/ratelimit/v3/ratelimit.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RateLimitDescriptor {
    /// Keys and values, from the root of the tree to a node.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
    /// A limit that replaces the configured one.
    #[prost(message, optional, tag = "2")]
    pub limit: Option<RateLimitOverride>,
    /// The cost for this descriptor, in place of that of the request. It is recorded whatever the limit is;
    /// 0 looks and counts nothing.
    #[prost(message, optional, tag = "3")]
    pub hits_addend: Option<u64>,
    /// The cost is refunded.
    #[prost(bool, tag = "4")]
    pub is_negative_hits: bool,
}

/// One level of a descriptor. In the `.proto` file these are strings. Here they are bytes, because Envoy
/// copies a client's header into them as it is, and prost refuses a whole message for one string that is
/// not UTF-8.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Entry {
    /// Its key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Its value.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// A limit in the request.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RateLimitOverride {
    /// The cost that is allowed in a unit.
    #[prost(uint32, tag = "1")]
    pub requests_per_unit: u32,
    /// `envoy.type.v3.RateLimitUnit`, which has the same numbers as [`Unit`].
    #[prost(enumeration = "Unit", tag = "2")]
    pub unit: i32,
}

/// The response: `envoy/service/ratelimit/v3/rls.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RateLimitResponse {
    /// [`Code::OverLimit`] if any descriptor is over its limit.
    #[prost(enumeration = "Code", tag = "1")]
    pub overall_code: i32,
    /// One for each descriptor, in the same order.
    #[prost(message, repeated, tag = "2")]
    pub statuses: Vec<DescriptorStatus>,
    /// Headers for the client's response.
    #[prost(message, repeated, tag = "3")]
    pub response_headers_to_add: Vec<HeaderValue>,
}

/// The result for one descriptor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DescriptorStatus {
    /// [`Code::Ok`] or [`Code::OverLimit`].
    #[prost(enumeration = "Code", tag = "1")]
    pub code: i32,
    /// The limit; none if no limit applied, or it is unlimited.
    #[prost(message, optional, tag = "2")]
    pub current_limit: Option<CurrentLimit>,
    /// How much more cost would be allowed now.
    #[prost(uint32, tag = "3")]
    pub limit_remaining: u32,
    /// In whole seconds, rounded up.
    #[prost(message, optional, tag = "4")]
    pub duration_until_reset: Option<Duration>,
}

/// `RateLimitResponse.RateLimit`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CurrentLimit {
    /// The cost that is allowed in a unit.
    #[prost(uint32, tag = "1")]
    pub requests_per_unit: u32,
    /// [`Unit::Unknown`] if the period is not a unit.
    #[prost(enumeration = "Unit", tag = "2")]
    pub unit: i32,
    /// The name in the configuration, or empty.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// `envoy/config/core/v3/base.proto`. Envoy also has a `raw_value`, but uses only the text here.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HeaderValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `google/protobuf/duration.proto`, without fractions of seconds.
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
    /// A period that is not a unit, such as 10 seconds.
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
