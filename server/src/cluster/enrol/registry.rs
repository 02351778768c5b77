//! Who is a member, and makes newcomers members: the store of the location that invites.

use std::time::Duration;

use kv_core::{Member, MemberId, Operation, OriginId, Store, limits::MAX_MEMBERS};

use crate::cluster::{
    about::Peer,
    names::{Address, Name},
};

/// Who is about to become a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// Which location.
    pub member: MemberId,
    /// The origins that its store writes under.
    pub origins: [OriginId; 2],
    /// What people call it.
    pub location: Name,
    /// Where it is reached, the best first; 1 to 8.
    pub addresses: Vec<Address>,
    /// What it has shown of itself beside a token.
    pub claim: Claim,
}

/// Whether a newcomer may have the id of a location that is a member already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It comes for the first time: no location may have its id.
    New,
    /// A token is marked as used by it, this one or another: it could not be made a member then, or its answer
    /// was lost.
    Again,
    /// It has shown that member's certificate and key, and gets another certificate.
    Renewal,
}

/// The members of a cluster, as who lets newcomers in sees them.
pub trait Registry {
    /// Looks whether a newcomer can be let in, before its token is marked as used, and again right before
    /// [`Registry::admit`].
    ///
    /// # Errors
    /// A sentence says why it can't. Nothing was changed.
    fn check(&mut self, newcomer: &Newcomer) -> Result<(), String>;

    /// Makes a newcomer a member, durably, and names those whom it can dial. May block. Called again if the
    /// newcomer asks again.
    ///
    /// # Errors
    /// A sentence says why it can't be one.
    fn admit(&mut self, newcomer: &Newcomer) -> Result<Vec<Peer>, String>;
}

/// The members in a store.
#[derive(Clone, Debug)]
pub struct StoreRegistry(pub Store);

impl Registry for StoreRegistry {
    fn check(&mut self, newcomer: &Newcomer) -> Result<(), String> {
        let view = self.0.view();
        let before = view.members().get(newcomer.member);
        match (newcomer.claim, before) {
            (Claim::New, Some(other)) => {
                return Err(format!(
                    "the location {} has its id already: if it is that location, start it with this version of \
                     waypost, {}; if not, with an empty data directory, and it gives itself another",
                    other.name,
                    env!("CARGO_PKG_VERSION"),
                ));
            }
            (Claim::Renewal, None) => {
                return Err("no location with its id is in this cluster".into());
            }
            (_, Some(before)) if before.removed => return Err(REMOVED.into()),
            (_, None) if view.members().iter().count() >= MAX_MEMBERS => {
                return Err(format!(
                    "a cluster has had at most {MAX_MEMBERS} locations, those that left among them: make a new one"
                ));
            }
            (_, Some(before)) if before.origins != newcomer.origins => {
                return Err(format!(
                    "the location {} has another store: start this one with an empty data directory, and it joins \
                     under another id",
                    before.name
                ));
            }
            _ => {}
        }
        let others = || view.members().iter().filter(|other| other.id != newcomer.member);
        let has_its_store =
            |other: &&Member| other.origins.iter().any(|origin| newcomer.origins.contains(origin));
        if let Some(other) = others().find(has_its_store) {
            return Err(format!(
                "the location {} has this store: one is a copy, so start this one with an empty data directory",
                other.name
            ));
        }
        let name = newcomer.location.as_str();
        match others().find(|other| !other.removed && other.name == name) {
            Some(_) => Err(format!("another location is called {name:?}: say --location NAME")),
            None => Ok(()),
        }
    }

    fn admit(&mut self, newcomer: &Newcomer) -> Result<Vec<Peer>, String> {
        let operation = Operation::PutMember {
            id: newcomer.member,
            origins: newcomer.origins,
            name: newcomer.location.to_string(),
            addresses: newcomer.addresses.iter().map(Address::to_string).collect(),
        };
        let ticket = self.0.submit(operation).map_err(|error| error.to_string())?;
        ticket.wait().map_err(|error| error.to_string())?;
        await_durable(&self.0, newcomer.member)?;
        Ok(self.0.view().members().current().map(|member: &Member| Peer::of(member)).collect())
    }
}

const REMOVED: &str = "it was removed from the cluster: start it with an empty data directory, and it joins \
                       anew";

/// A relaxed store answers before the row survives a crash; a certificate must not come before that.
fn await_durable(store: &Store, member: MemberId) -> Result<(), String> {
    for _ in 0..LOOKS {
        if store.durable_view().members().is_current(member) {
            return Ok(());
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    Err("its row is not on the disk after 5 s".into())
}

const LOOKS: u32 = 1000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
