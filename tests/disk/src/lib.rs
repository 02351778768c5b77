//! The storage engine on a disk that fails, held against a model.
//!
//! [`disk::FailingDisk`] stands in the place of a file: it loses and tears what was not synced, and
//! fails at any call. [`world::World`] runs random operations on a store over it, by a seed, and
//! holds all that the store answers and keeps against [`model::State`]. [`exact::check`] compares
//! the tables, both ways.
//!
//! `WAYPOST_SEED=7 cargo test -p waypost-disk-tests seeds` runs one seed and prints what it did;
//! `WAYPOST_TEST_SEEDS=2000` runs so many.

pub mod disk;
pub mod events;
pub mod exact;
pub mod model;
pub mod rng;
pub mod violation;
pub mod world;
