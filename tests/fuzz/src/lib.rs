//! Helpers of the fuzz targets.

pub mod disk;
pub mod env;
pub mod number;
pub mod panics;
pub mod row;
pub mod server;
pub mod store;
