//! `cluster.toml`: which cluster a location is in, which location it is, and where it is reached.

use std::net::SocketAddr;

use kv_core::{Member, MemberId, limits::MAX_ADDRESSES};
use serde::{Deserialize, Serialize};

use super::{
    files::{self, ClusterDir, FilesError},
    names::{Address, ClusterId, Name, text},
};

/// The version of the file that this program writes, and the only one that it reads.
const FORMAT: u32 = 1;

/// What a location knows of its cluster beside certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct About {
    format: u32,
    /// Which cluster.
    pub cluster: ClusterId,
    /// What people call it.
    pub cluster_name: Name,
    /// Which location.
    #[serde(with = "text")]
    pub member: MemberId,
    /// What people call it.
    pub location: Name,
    /// Where others reach it, the best first; 1 to 8.
    pub advertise: Vec<Address>,
    /// Where it listens, on UDP.
    pub listen: SocketAddr,
    /// Whom to dial as long as its store has no members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dial: Vec<Peer>,
}

/// A member, as a newcomer is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Which location.
    #[serde(with = "text")]
    pub member: MemberId,
    /// Where it is reached, the best first.
    pub addresses: Vec<Address>,
}

impl Peer {
    /// A member as its store's entry has it; without the addresses that nobody could dial.
    #[must_use]
    pub fn of(member: &Member) -> Peer {
        let addresses = member.addresses.iter().filter_map(|address| address.parse().ok());
        Peer { member: member.id, addresses: addresses.collect() }
    }
}

/// Which cluster, by id and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// Its id.
    pub id: ClusterId,
    /// What people call it.
    pub name: Name,
}

impl About {
    /// A location that has no one to dial as yet.
    #[must_use]
    pub fn new(
        cluster: Which,
        member: MemberId,
        location: Name,
        advertise: Vec<Address>,
        listen: SocketAddr,
    ) -> About {
        let (format, cluster, cluster_name) = (FORMAT, cluster.id, cluster.name);
        let dial = Vec::new();
        About { format, cluster, cluster_name, member, location, advertise, listen, dial }
    }

    /// Reads the file; none if there is none.
    ///
    /// # Errors
    /// If it does not say what it should.
    pub fn load(directory: &ClusterDir) -> Result<Option<About>, FilesError> {
        let said = match directory.read(files::ABOUT) {
            Err(FilesError::Missing(_)) => return Ok(None),
            said => said?,
        };
        let wrong = |reason: String| directory.wrong(files::ABOUT, reason);
        let about: About = toml::from_str(&said).map_err(|error| wrong(error.to_string()))?;
        if about.format != FORMAT {
            return Err(wrong(format!(
                "it has format {} and this program reads format {FORMAT}: use the program that \
                 wrote it",
                about.format
            )));
        }
        check_addresses(&about.advertise).map_err(wrong)?;
        Ok(Some(about))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If the system says no.
    pub fn save(&self, directory: &ClusterDir) -> Result<(), FilesError> {
        let said = toml::to_string(self).map_err(|error| directory.wrong(files::ABOUT, error))?;
        directory.write(files::ABOUT, &format!("{HEAD}{said}"))
    }
}

const HEAD: &str = "\
# This location of the cluster. `location`, `advertise` and `listen` may be changed while it is\n\
# stopped; all else stays as it is.\n";

/// Why a location can't have these addresses, if so.
pub(crate) fn check_addresses(addresses: &[Address]) -> Result<(), String> {
    if (1..=MAX_ADDRESSES).contains(&addresses.len()) {
        return Ok(());
    }
    Err(format!("a location has 1 to {MAX_ADDRESSES} addresses, not {}", addresses.len()))
}
