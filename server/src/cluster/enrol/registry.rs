//! The members of a cluster, and the admission of new ones, in the store of the CA holder.

use std::time::Duration;

use kv_core::{Member, MemberId, Operation, Software, Store, WriteError, limits::MAX_MEMBERS};

use super::program;
use crate::cluster::state::{
    descriptor::Peer,
    names::{Address, Name, TextError},
};

/// A location that is being admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoiningMember {
    /// Its id.
    pub member: MemberId,
    /// Its name.
    pub location: Name,
    /// Its addresses, the best first; 1 to 8.
    pub addresses: Vec<Address>,
    /// The proof beside possession of a token.
    pub claim: Claim,
    /// Its program, if it is known.
    pub software: Option<Software>,
}

/// Whether a joining member may have the id of a location that is already a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It joins for the first time: no location may have its id.
    New,
    /// It has already used this token or another one: its admission failed then, or it lost the response.
    Retry,
    /// It has proved the member's certificate and key, and requests a new certificate.
    Renewal,
}

/// Why a location can't become a member. Nothing was changed, with the exception that [`Registry::admit`] documents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// A member has its id.
    #[error(
        "the location {0} already has its id: if it is that location, start it with this version of waypost, \
         {version}; if not, start it with an empty data directory, and it gets another id",
        version = env!("CARGO_PKG_VERSION")
    )]
    IdTaken(String),
    /// A renewal for a location that is not a member.
    #[error("no location with its id is in this cluster: join with an empty data directory")]
    NotAMember,
    /// The member was removed.
    #[error(
        "it was removed from the cluster: start it with an empty data directory, and it joins as a new location"
    )]
    Removed,
    /// The cluster has the most members that it can have.
    #[error(
        "the cluster has {MAX_MEMBERS} locations, which is the limit: remove one that is gone for good first, with \
         `waypost cluster remove`"
    )]
    Full,
    /// Another member has the name.
    #[error("another location is called {0:?}: set --location NAME")]
    NameTaken(String),
    /// Its name is none that a new location may have.
    #[error("{0}; set --location NAME")]
    Name(TextError),
    /// Its program lacks a feature that the cluster uses.
    #[error(
        "it runs waypost of {joins}, which lacks what this cluster uses: {lacking}; start it with waypost {cluster} or a \
         newer version"
    )]
    LacksFeatures {
        /// The version of its program.
        joins: String,
        /// The names of the features.
        lacking: String,
        /// The version of the CA holder's program.
        cluster: String,
    },
    /// Its program and that of the CA holder have no version of messages in common.
    #[error(
        "it runs waypost of {joins}, and the CA holder runs waypost {cluster}: they have no wire version in common, so \
         upgrade the older one"
    )]
    NoCommonWire {
        /// The version of its program.
        joins: String,
        /// The version of the CA holder's program.
        cluster: String,
    },
    /// The CA holder does not replicate, so that no other member would learn of the new one.
    #[error("the CA holder admits no location, because it has stopped replicating: {0}")]
    Halted(String),
    /// The member row can't be written.
    #[error("its row can't be written: {0}")]
    Write(#[from] WriteError),
    /// The member row is not on the disk in time.
    #[error("its row is not on the disk after {} s", (BETWEEN_CHECKS * CHECKS).as_secs())]
    NotDurable,
}

/// The members of a cluster, as the CA holder sees them.
pub trait Registry {
    /// Checks that a location can become a member: before its token is marked as used, and again right
    /// before [`Registry::admit`].
    ///
    /// # Errors
    /// If it can't. Nothing was changed.
    fn check(&mut self, joining: &JoiningMember) -> Result<(), AdmissionError>;

    /// Makes a location a member, durably, and returns the members that it can dial. May block. Called
    /// again if the location retries.
    ///
    /// # Errors
    /// If it can't become one, or its row may not be durable.
    fn admit(&mut self, joining: &JoiningMember) -> Result<Vec<Peer>, AdmissionError>;

    /// Checks that a location that has proved its certificate and key may get another certificate.
    ///
    /// # Errors
    /// If it is not a member, or was removed.
    fn check_renewal(&mut self, member: MemberId) -> Result<(), AdmissionError>;
}

/// The members in a store.
#[derive(Clone, Debug)]
pub struct StoreRegistry(pub Store);

impl Registry for StoreRegistry {
    fn check(&mut self, joining: &JoiningMember) -> Result<(), AdmissionError> {
        let name = joining.location.as_str();
        if joining.claim == Claim::New {
            name.parse::<Name>().map_err(AdmissionError::Name)?;
        }
        let view = self.0.view();
        program::check(joining.software.as_ref(), &kv_replicate::software(), view.features())?;
        let current = view.members().get(joining.member);
        match (joining.claim, current) {
            (Claim::New, Some(other)) => return Err(AdmissionError::IdTaken(other.name.clone())),
            (Claim::Renewal, None) => return Err(AdmissionError::NotAMember),
            (_, Some(current)) if current.removed => return Err(AdmissionError::Removed),
            (_, None) if view.members().current().count() >= MAX_MEMBERS => {
                return Err(AdmissionError::Full);
            }
            _ => {}
        }
        let mut others = view.members().iter().filter(|other| other.id != joining.member);
        match others.find(|other| !other.removed && other.name == name) {
            Some(_) => Err(AdmissionError::NameTaken(name.to_owned())),
            None => Ok(()),
        }
    }

    fn admit(&mut self, joining: &JoiningMember) -> Result<Vec<Peer>, AdmissionError> {
        let operation = Operation::PutMember {
            id: joining.member,
            name: joining.location.to_string(),
            addresses: joining.addresses.iter().map(Address::to_string).collect(),
        };
        self.0.submit(operation)?.wait()?;
        await_durable(&self.0, joining.member)?;
        Ok(self.0.view().members().current().map(|member: &Member| Peer::of(member)).collect())
    }

    fn check_renewal(&mut self, member: MemberId) -> Result<(), AdmissionError> {
        match self.0.view().members().get(member) {
            None => Err(AdmissionError::NotAMember),
            Some(member) if member.removed => Err(AdmissionError::Removed),
            Some(_) => Ok(()),
        }
    }
}

/// A relaxed store acknowledges before the row survives a crash; a certificate must not come before that.
fn await_durable(store: &Store, member: MemberId) -> Result<(), AdmissionError> {
    for _ in 0..CHECKS {
        if store.durable_view().members().is_current(member) {
            return Ok(());
        }
        std::thread::sleep(BETWEEN_CHECKS);
    }
    Err(AdmissionError::NotDurable)
}

/// How often the durable view is checked for the new row.
const CHECKS: u32 = 1000;
/// The pause between two checks.
const BETWEEN_CHECKS: Duration = Duration::from_millis(5);
