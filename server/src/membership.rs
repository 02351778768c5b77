//! This location's part in its cluster, as doors see it.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use kv_core::{Member, MemberId, Store, WriteError};
use kv_replicate::{
    Verdict,
    quic::{AskError, Handle, Status},
};

use crate::cluster::About;

/// A location's part in its cluster.
#[derive(Debug)]
pub struct Membership {
    about: About,
    handle: Handle,
    is_joined: AtomicBool,
    /// It has joined, and replicates.
    takes_writes: AtomicBool,
    /// What hinders it, in words for `/readyz`.
    hindrance: Mutex<String>,
}

impl Membership {
    /// One whose replica was just started, and has not joined as far as is known.
    #[must_use]
    pub fn new(about: About, handle: Handle) -> Membership {
        let hindrance = Mutex::new(JOINING.into());
        let (is_joined, takes_writes) = (AtomicBool::new(false), AtomicBool::new(false));
        Membership { about, handle, is_joined, takes_writes, hindrance }
    }

    /// Which location of which cluster it is.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Whether it has all that its first source had: it may be written to from then on.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.is_joined.load(Ordering::Acquire)
    }

    /// Why this location should get no traffic, if so: it is joining, or replicates no more.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        let hindrance = self.hindrance.lock().unwrap_or_else(PoisonError::into_inner);
        Some(hindrance.clone()).filter(|why| !why.is_empty())
    }

    /// Lets writes through, or says why not. A write before a location has joined would be one of a store
    /// with entries of its own, which can't join; one after it has ceased to replicate would go nowhere, and
    /// be lost when the store is emptied.
    ///
    /// # Errors
    /// [`WriteError::ReadOnly`] while it is joining, or when it replicates no more. Nothing was changed.
    pub fn check_write(&self) -> Result<(), WriteError> {
        if self.takes_writes.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(WriteError::ReadOnly(self.unready().unwrap_or_else(|| JOINING.into())))
    }

    /// How the replica is. What doors ask is brought up to date with it.
    ///
    /// # Errors
    /// [`AskError::Closed`].
    pub async fn status(&self) -> Result<Status, AskError> {
        let asked = self.handle.status().await;
        let hindrance = match &asked {
            Err(_ended) => "replication has ended: start the server again".into(),
            Ok(Status { halted: Some(why), .. }) => format!("it replicates no more: {why}"),
            Ok(status) if status.is_joined => String::new(),
            Ok(status) => format!("{JOINING}: {}", progress(status)),
        };
        self.takes_writes.store(hindrance.is_empty(), Ordering::Release);
        *self.hindrance.lock().unwrap_or_else(PoisonError::into_inner) = hindrance;
        if let Ok(status) = &asked {
            self.is_joined.store(status.is_joined, Ordering::Release);
        }
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

const JOINING: &str = "this location is joining its cluster";

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
        [] => Err(format!("no location of the cluster has the name or id {name:?}")),
        _ => Err(format!("several locations are called {name:?}: say the id of one")),
    }
}
