//! This location's membership in its cluster, as APIs see it.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kv_core::{
    Member, MemberId, Store, WriteError,
    env::{Environment as _, SystemEnvironment},
};
use kv_replicate::{
    Condition, Verdict,
    quic::{Handle, Identity, IdentityError, QueryError, Status},
};

use crate::cluster::{Descriptor, Expiry, Renewal};

mod incidents;
mod last;
mod origins;
mod progress;
mod readiness;

use self::last::LastStatus;
pub use self::{
    incidents::{FOUND_EQUAL, IncidentState, Incidents, PeerIncidents},
    last::ReplicaState,
    origins::OriginState,
    progress::progress,
    readiness::Readiness,
};

/// A location's membership in its cluster.
#[derive(Debug)]
pub struct Membership {
    /// The names and ids of the cluster and of this location.
    descriptor: Descriptor,
    /// The location's certificate, which is renewed while the server runs.
    certificate: Mutex<Certificate>,
    handle: Handle,
    /// Whether the location is joined and accepts writes.
    readiness: Arc<Readiness>,
    /// What the replica has reported that an operator must act on.
    incidents: Arc<Incidents>,
    /// The last status of the replica.
    last: LastStatus,
}

/// The location's certificate: when it expires, and its renewal.
#[derive(Debug)]
struct Certificate {
    /// When the certificates expire.
    expiry: Expiry,
    /// What is known of the renewal.
    renewal: Renewal,
}

impl Membership {
    /// Creates that of a replica that was just started. Each part that learns the replica's state passes
    /// it to `readiness`.
    #[must_use]
    pub fn new(
        descriptor: Descriptor,
        (expiry, renewal): (Expiry, Renewal),
        handle: Handle,
        readiness: Arc<Readiness>,
        incidents: Arc<Incidents>,
    ) -> Membership {
        let certificate = Mutex::new(Certificate { expiry, renewal });
        let last = LastStatus::default();
        Membership { descriptor, certificate, handle, readiness, incidents, last }
    }

    /// Returns what the replica has reported that matters at a Unix time, in seconds.
    #[must_use]
    pub fn incidents(&self, now: u64) -> IncidentState {
        self.incidents.at(now)
    }

    /// Returns the folder for writes that a rebuild removed.
    #[must_use]
    pub fn salvage_folder(&self) -> &Path {
        self.incidents.folder()
    }

    /// Returns the location's descriptor.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Returns when the certificates expire that the location uses.
    #[must_use]
    pub fn expiry(&self) -> Expiry {
        self.certificate().expiry
    }

    /// Returns when the certificates expire, and what is known of the renewal.
    #[must_use]
    pub fn certificate_state(&self) -> (Expiry, Renewal) {
        let certificate = self.certificate();
        (certificate.expiry, certificate.renewal.clone())
    }

    /// Tells the other locations of this one's conditions: their status shows them.
    ///
    /// # Errors
    /// [`QueryError::Closed`].
    pub async fn report(&self, conditions: Vec<Condition>) -> Result<(), QueryError> {
        self.handle.set_conditions(conditions).await
    }

    /// Uses another certificate, or other CAs, for this location's links from now on.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub async fn renewed(&self, identity: Identity, expiry: Expiry) -> Result<(), IdentityError> {
        self.handle.set_identity(identity).await?;
        self.certificate().expiry = expiry;
        Ok(())
    }

    /// Closes all links, for a reason that peers see. They are made again, with the certificates of now.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn unlink(&self, reason: &'static str) -> Result<(), QueryError> {
        self.handle.unlink(reason).await
    }

    /// Records the name of the location that has the CA's key, if it is known, for alarms.
    pub fn set_ca_holder(&self, name: Option<String>) {
        let mut certificate = self.certificate();
        if name.is_some() {
            certificate.renewal.ca_holder = name;
        }
    }

    /// Records why the certificate was not renewed, for alarms; none if it was, or need not be.
    pub fn set_renewal_failure(&self, reason: Option<String>) {
        self.certificate().renewal.last_error = reason;
    }

    /// Locks the state of the certificate.
    fn certificate(&self) -> MutexGuard<'_, Certificate> {
        self.certificate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the location has everything that its first source had, so that it may accept writes.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.readiness.is_joined()
    }

    /// Returns why this location should get no traffic: it is joining, or has stopped replicating. None
    /// if it should.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        self.readiness.unready()
    }

    /// Returns why it has stopped replicating, if it has.
    #[must_use]
    pub fn halt_reason(&self) -> Option<String> {
        self.readiness.halt_reason()
    }

    /// Checks that this location accepts writes. A write before it has joined would make its store
    /// non-empty, and such a store can't join; a write after it has stopped replicating would reach no
    /// other location, and be lost when the store is emptied.
    ///
    /// # Errors
    /// [`WriteError::ReadOnly`] while it joins, or once it has stopped replicating. Nothing was changed.
    pub fn check_write(&self) -> Result<(), WriteError> {
        self.readiness.check_write()
    }

    /// Requests the replica's status. Updates what [`Membership::unready`] and the other methods return.
    ///
    /// # Errors
    /// [`QueryError::Closed`].
    pub async fn status(&self) -> Result<Status, QueryError> {
        let status = self.handle.status().await;
        self.readiness.observe(&status);
        self.last.observe(status.as_ref().ok());
        if let Ok(status) = &status {
            let now = SystemEnvironment::new().now_ms() / 1000;
            self.incidents.compared(self.descriptor.member, status, now);
        }
        status
    }

    /// Returns the replica's status; if it has ended, what is known of it.
    pub async fn state(&self) -> ReplicaState {
        match self.status().await {
            Ok(status) => ReplicaState { status, ended_for: None },
            Err(_ended) => self.last.ended(),
        }
    }

    /// Counts the files of salvaged writes again, unless that is under way: an operator may have deleted some. Blocks.
    pub fn count_salvaged(&self) {
        self.incidents.count_files();
    }

    /// Compares everything that this location and a peer hold.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn verify(&self, peer: MemberId) -> Result<Verdict, QueryError> {
        self.handle.verify(peer).await
    }
}

/// Why a text names no member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberLookupError {
    /// No member has such a name or id.
    #[error(
        "no location of the cluster has the name or id {0:?}: `waypost cluster status` lists all"
    )]
    Unknown(String),
    /// Several members have such a name, or an id that begins so.
    #[error("several locations have the name or id {0:?}: use a whole id")]
    Ambiguous(String),
}

/// Finds a member by its name, its id, or at least 4 first digits of its id.
///
/// # Errors
/// If there is none, or several.
pub fn find_member(store: &Store, name: &str) -> Result<Member, MemberLookupError> {
    let view = store.view();
    let members: Vec<&Member> = view.members().current().collect();
    let matching = |is_match: &dyn Fn(&Member) -> bool| -> Vec<&Member> {
        members.iter().copied().filter(|member| is_match(member)).collect()
    };
    let mut found = matching(&|member| member.name == name);
    if found.is_empty() && name.len() >= 4 {
        found = matching(&|member| member.id.to_string().starts_with(name));
    }
    match found[..] {
        [member] => Ok(member.clone()),
        [] => Err(MemberLookupError::Unknown(name.to_owned())),
        _ => Err(MemberLookupError::Ambiguous(name.to_owned())),
    }
}
