//! What the fuzz targets share.

pub mod disk;
pub mod env;
pub mod number;
pub mod panics;
pub mod row;
pub mod server;
pub mod store;
