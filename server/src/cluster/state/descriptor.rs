//! `cluster.toml`: the cluster that a location is in, which location it is, and its addresses.

use std::net::SocketAddr;

use kv_core::{Member, MemberId, limits::MAX_ADDRESSES};
use serde::{Deserialize, Serialize};

use super::{
    files::{self, ClusterDir, FilesError},
    names::{Address, ClusterId, Name, TokenId, text},
};

/// The version of the file that this program writes, and the only one that it reads.
const FORMAT: u32 = 1;

/// The names, ids and addresses of a location and its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Descriptor {
    /// The version of the file's layout.
    format: u32,
    /// The cluster's id.
    pub cluster: ClusterId,
    /// The cluster's name.
    pub cluster_name: Name,
    /// The location's id.
    #[serde(with = "text")]
    pub member: MemberId,
    /// The location's name.
    pub location: Name,
    /// Addresses at which other locations reach it, the best first; 1 to 8.
    pub advertise: Vec<Address>,
    /// The UDP address that it listens on.
    pub listen: SocketAddr,
    /// The token that it was welcomed with last; none for the location that made the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// Members to dial beside those that its store knows: it may know none, or only some that were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dial: Vec<Peer>,
}

/// A member, as a joining member learns of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its id.
    #[serde(with = "text")]
    pub member: MemberId,
    /// Its addresses, the best first.
    pub addresses: Vec<Address>,
}

impl Peer {
    /// Converts a member row. Leaves out addresses that can't be dialled.
    #[must_use]
    pub fn of(member: &Member) -> Peer {
        let addresses = member.addresses.iter().filter_map(|address| address.parse().ok());
        Peer { member: member.id, addresses: addresses.collect() }
    }
}

/// A cluster, by id and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRef {
    /// Its id.
    pub id: ClusterId,
    /// Its name.
    pub name: Name,
}

impl Descriptor {
    /// Describes a location that has no members to dial yet.
    #[must_use]
    pub fn new(
        cluster: ClusterRef,
        member: MemberId,
        location: Name,
        advertise: Vec<Address>,
        listen: SocketAddr,
    ) -> Descriptor {
        let (format, cluster, cluster_name) = (FORMAT, cluster.id, cluster.name);
        let dial = Vec::new();
        let token = None;
        Descriptor {
            format,
            cluster,
            cluster_name,
            member,
            location,
            advertise,
            listen,
            token,
            dial,
        }
    }

    /// Reads the file; none if it does not exist.
    ///
    /// # Errors
    /// If its content is wrong.
    pub fn load(directory: &ClusterDir) -> Result<Option<Descriptor>, FilesError> {
        let content = match directory.read(files::DESCRIPTOR) {
            Err(FilesError::Missing(_)) => return Ok(None),
            content => content?,
        };
        let damaged = |reason: String| directory.damaged(files::DESCRIPTOR, reason);
        let descriptor: Descriptor =
            toml::from_str(&content).map_err(|error| damaged(error.to_string()))?;
        if descriptor.format != FORMAT {
            return Err(damaged(format!(
                "it has format {}, and this program reads format {FORMAT}: use the program that \
                 wrote it",
                descriptor.format
            )));
        }
        check_addresses(&descriptor.advertise).map_err(|error| damaged(error.to_string()))?;
        Ok(Some(descriptor))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn save(&self, directory: &ClusterDir) -> Result<(), FilesError> {
        let content =
            toml::to_string(self).map_err(|error| directory.damaged(files::DESCRIPTOR, error))?;
        directory.write(files::DESCRIPTOR, &format!("{HEAD}{content}"))
    }
}

/// The comment at the head of the file.
const HEAD: &str = "\
# This location of the cluster. You may change `location`, `advertise` and `listen` while the server is\n\
# stopped. Do not change the rest.\n";

/// A location has no addresses, or too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a location has 1 to {MAX_ADDRESSES} addresses, not {0}")]
pub struct AddressCountError(usize);

/// Checks that a location can have these addresses.
///
/// # Errors
/// If there are none, or too many.
pub(crate) fn check_addresses(addresses: &[Address]) -> Result<(), AddressCountError> {
    if (1..=MAX_ADDRESSES).contains(&addresses.len()) {
        return Ok(());
    }
    Err(AddressCountError(addresses.len()))
}
