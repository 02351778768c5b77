//! HTTP helpers that the APIs share: bodies, JSON, forms, problems, replies and streams.

pub mod body;
pub mod del;
pub mod form;
pub mod head;
pub mod incoming;
pub mod json;
pub mod problem;
pub mod reply;
pub mod request_body;
pub mod stream;

pub use body::{Body, BoxError};
pub use request_body::{BodyError, RequestBody};
