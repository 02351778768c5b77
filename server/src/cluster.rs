//! The cluster that a location is in: what it keeps about it on its disk, and how another location
//! comes in.
//!
//! | module | what it knows |
//! |---|---|
//! | [`names`] | ids, addresses and the names of people, as texts |
//! | [`files`] | `cluster/` in the data directory: private, written whole or not at all |
//! | [`about`] | `cluster.toml`: which cluster, which location, where it is reached |
//! | [`certificate`] | what a certificate says, and whether the cluster's CA made it |
//! | [`when`] | times, as texts |
//! | [`ca`] | the certificate authority of a cluster |
//! | [`token`] | the one-time token that a newcomer brings, as a text |
//! | [`invitations`] | the tokens that were given out, and who used them |
//! | [`ends`] | until when certificates hold, and what to do before that |
//! | [`location`] | all of a location's files, checked against each other |
//! | [`mod@init`], [`mod@invite`], [`mod@join`] | what the command line does with them |
//! | [`enrol`] | how a token becomes a certificate, over QUIC |
//!
//! Nothing here knows how locations converge: that is `kv-replicate`, which is given a [`Location`].
//! Time is told in Unix seconds; the callers read the clock.

pub mod about;
pub mod ca;
pub mod certificate;
pub mod ends;
pub mod enrol;
pub mod files;
pub mod init;
pub mod invitations;
pub mod invite;
pub mod join;
pub mod location;
pub mod names;
pub mod token;
pub mod when;

pub use self::{
    about::{About, Peer},
    certificate::Identity,
    ends::Ends,
    enrol::Authority,
    init::{Founding, init},
    invite::invite,
    join::{Joined, Joining, join},
    location::{Location, load, open},
    names::{Address, ClusterId},
    token::Token,
};

#[cfg(test)]
mod tests;
