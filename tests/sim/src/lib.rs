//! Several locations in one thread: the real core over the real store on failing disks, with wrong
//! clocks and a network that loses, duplicates, reorders and cuts.
//!
//! Time is virtual, and all random choices come from one seed. [`world::World`] runs clients and
//! faults, heals everything, and compares the locations with [`model::Model`], which knows every
//! acknowledged write. A [`scenario`] has a fixed sequence of faults instead: there is one for each
//! rule whose violation random faults would reveal too rarely.
//!
//! `WAYPOST_SEED=7 cargo test -p waypost-sim-tests --test seeds -- --nocapture` runs one seed and
//! prints a trace; `WAYPOST_SIM_SEEDS=2000` sets the number of seeds.

pub mod events;
pub mod later;
pub mod mesh;
pub mod model;
pub mod network;
pub mod node;
pub mod plan;
pub mod scenario;
pub mod store;
pub mod transcript;
pub mod world;
