//! The requests that a limiter admits, compared with a log of every request.

pub mod chart;
pub mod log;
pub mod rates;
pub mod traffic;
