//! Several locations in one thread: the real core over the real store on failing disks, with a network
//! that loses, repeats, reorders and cuts, and clocks that are wrong.
//!
//! Time is virtual and all chance comes from one seed. [`world::World`] runs clients and faults, heals
//! everything, and holds what the locations then have against [`model::Model`], which knows every
//! write that was acknowledged. In a [`scenario`] what goes wrong is written down instead: one for each
//! rule whose breach chance would show too seldom.
//!
//! `WAYPOST_SEED=7 cargo test -p waypost-sim-tests --test seeds -- --nocapture` runs one seed and
//! prints what it did; `WAYPOST_SIM_SEEDS=2000` runs so many.

pub mod events;
pub mod mesh;
pub mod model;
pub mod network;
pub mod node;
pub mod plan;
pub mod scenario;
pub mod store;
pub mod transcript;
pub mod world;
