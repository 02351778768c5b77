//! What a limiter admits, beside what it would if it remembered every hit.

pub mod chart;
pub mod log;
pub mod rates;
pub mod traffic;
