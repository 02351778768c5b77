//! A location's part of a cluster: its files and certificates, and how another location joins.
//!
//! | module | contents |
//! |---|---|
//! | [`state`] | the location's files, and the types that they are made of |
//! | [`enrol`] | how a token becomes a certificate, over QUIC |
//! | [`mod@init`], [`mod@invite`], [`mod@join`] | what the command line does with both |
//! | [`mod@renew`] | how a running server keeps its certificate valid |
//! | [`ca`] | how the CA is rotated, and its key moved |
//!
//! `init`, `invite`, `join`, `renew` and `ca` use `enrol`, which uses `state`; never the other way. Nothing here knows
//! how locations converge: that is `kv-replicate`, which is given a [`Location`]. Times are arguments,
//! in Unix seconds; the callers read the clock.

pub mod ca;
pub mod enrol;
pub mod init;
pub mod invite;
pub mod join;
pub mod renew;
pub mod state;

pub use self::{
    enrol::Authority,
    init::{NewCluster, init},
    invite::invite,
    join::{JoinOptions, JoinOutcome, join},
    renew::{Due, renew},
    state::{
        certificate::Identity,
        descriptor::{Descriptor, Peer},
        expiry::{Expiring, Expiry, Renewal},
        location::{Location, load, open},
        names::{Address, ClusterId},
        token::Token,
    },
};

#[cfg(test)]
mod tests;
