//! The storage engine on a failing disk, compared with a model.
//!
//! [`disk::FailingDisk`] replaces a directory: it loses and tears unsynced writes, loses files that were created
//! and brings back files that were removed, and any call can fail. [`world::World`] runs random operations on a store on that disk, from a seed, and compares
//! all results and contents of the store with [`model::State`]. [`exact::check`] compares the
//! tables in both directions.
//!
//! `WAYPOST_SEED=7 cargo test -p waypost-disk-tests seeds` runs one seed and prints a trace;
//! `WAYPOST_TEST_SEEDS=2000` sets the number of seeds.

pub mod disk;
pub mod events;
pub mod exact;
pub mod model;
pub mod rng;
pub mod seeds;
pub mod violation;
pub mod world;
