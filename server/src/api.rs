//! The APIs: one folder a protocol. No API uses another; what several need is in [`crate::http`].

pub mod binding;
pub mod cluster;
pub mod doctor;
pub mod limits;
pub mod namespaces;
pub mod ops;
pub mod ratelimit;
pub mod rest;
pub mod rls;
pub mod tokens;
