//! This location's part in its cluster, as doors see it.

use std::sync::Arc;

use kv_core::{Member, MemberId, Store, WriteError};
use kv_replicate::{
    Verdict,
    quic::{AskError, Handle, Status},
};

use crate::cluster::{About, Ends};

mod standing;

pub use standing::Standing;

/// A location's part in its cluster.
#[derive(Debug)]
pub struct Membership {
    about: About,
    ends: Ends,
    handle: Handle,
    standing: Arc<Standing>,
}

impl Membership {
    /// One whose replica was just started. Whoever hears of the replica before doors ask writes it into
    /// `standing`.
    #[must_use]
    pub fn new(about: About, ends: Ends, handle: Handle, standing: Arc<Standing>) -> Membership {
        Membership { about, ends, handle, standing }
    }

    /// Which location of which cluster it is.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Until when the certificates hold that it was started with.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.ends
    }

    /// Whether it has all that its first source had: it may be written to from then on.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.standing.is_joined()
    }

    /// Why this location should get no traffic, if so: it is joining, or replicates no more.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        self.standing.unready()
    }

    /// Lets writes through, or says why not. A write before a location has joined would be one of a store
    /// with entries of its own, which can't join; one after it has ceased to replicate would go nowhere, and
    /// be lost when the store is emptied.
    ///
    /// # Errors
    /// [`WriteError::ReadOnly`] while it is joining, or when it replicates no more. Nothing was changed.
    pub fn check_write(&self) -> Result<(), WriteError> {
        self.standing.check_write()
    }

    /// How the replica is. What doors ask is brought up to date with it.
    ///
    /// # Errors
    /// [`AskError::Closed`].
    pub async fn status(&self) -> Result<Status, AskError> {
        let asked = self.handle.status().await;
        self.standing.note(&asked);
        asked
    }

    /// Compares all that this location and a peer hold.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn verify(&self, peer: MemberId) -> Result<Verdict, AskError> {
        self.handle.verify(peer).await
    }
}

/// How far a new location is.
#[must_use]
pub fn progress(status: &Status) -> String {
    let receiving = status.peers.values().filter_map(|peer| peer.state.receiving);
    let (walked, of) =
        receiving.fold((0, 0), |(walked, of), one| (walked + one.walked, of + one.of));
    let links = status.peers.values().filter(|peer| peer.is_connected).count();
    match (links, of) {
        (0, _) => "no other location is reached yet".into(),
        (_, 0) => format!("{} entries so far", status.rows_taken),
        _ => format!("{} entries so far, {} %", status.rows_taken, 100 * walked.min(of) / of),
    }
}

/// The member that people mean: by name, id, or the first digits of an id.
///
/// # Errors
/// A sentence, if it is none or several.
pub fn member_named(store: &Store, name: &str) -> Result<Member, String> {
    let members = store.view();
    let members: Vec<&Member> = members.members().current().collect();
    let of = |is: &dyn Fn(&Member) -> bool| -> Vec<&Member> {
        members.iter().copied().filter(|member| is(member)).collect()
    };
    let mut found = of(&|member| member.name == name);
    if found.is_empty() && name.len() >= 4 {
        found = of(&|member| member.id.to_string().starts_with(name));
    }
    match found[..] {
        [member] => Ok(member.clone()),
        [] => Err(format!(
            "no location of the cluster has the name or id {name:?}: `waypost cluster status` shows all"
        )),
        _ => Err(format!("several locations are called {name:?}: say the id of one")),
    }
}
