//! The files of a location about its cluster, and the types that they are made of.
//!
//! | module | contents |
//! |---|---|
//! | [`names`] | ids, addresses and names, as texts |
//! | [`dates`] | times, as texts |
//! | [`files`] | the directory `cluster/` in the data directory |
//! | [`descriptor`] | `cluster.toml`: cluster, location, addresses |
//! | [`certificate`] | the facts in a certificate, and whether the cluster's CA issued it |
//! | [`ca`] | the certificate authority of a cluster |
//! | [`authorities`] | `ca.pem`: the CAs that a location trusts |
//! | [`holder`] | `ca-holder.toml`: the location that has the CA's key, as this one last learned |
//! | [`token`] | the one-time token of a joining member, as a text |
//! | [`invitations`] | the issued tokens, and which location used each |
//! | [`expiry`] | when certificates expire, and what an operator must do before that |
//! | [`location`] | all files of a location, checked against each other |

pub mod authorities;
pub mod ca;
pub mod certificate;
pub mod dates;
pub mod descriptor;
pub mod expiry;
pub mod files;
pub mod holder;
pub mod invitations;
pub mod location;
pub mod names;
pub mod token;
