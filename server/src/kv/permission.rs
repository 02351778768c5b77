//! Whether the token of a request permits what it does with keys and values.

use kv_core::NamespaceId;

use crate::{
    access::{Forbidden, Grant, Keys, Need, Space, Unauthenticated},
    app::App,
};

/// What a request does with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes, and may read.
    Write,
}

/// A namespace, as a request names it, and as it was found.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// How the request names it.
    pub name: &'a str,
    /// Its id, if it exists.
    pub id: Option<NamespaceId>,
}

/// Checks that a request may use these keys of a namespace. A refusal is counted.
///
/// # Errors
/// [`Forbidden`], which names the missing scope.
pub fn check(
    app: &App,
    grant: &Grant,
    namespace: Named<'_>,
    access: Access,
    keys: Keys<'_>,
) -> Result<(), Forbidden> {
    if let Grant::Free = grant {
        return Ok(());
    }
    let Named { name: named, id } = namespace;
    let namespaces = app.store.namespaces();
    let title = id.and_then(|id| namespaces.get(id)).map(|found| &*found.title);
    let space = Space { named, title, id, keys };
    let need = match access {
        Access::Read => Need::KvRead(space),
        Access::Write => Need::KvWrite(space),
    };
    grant.check(need).inspect_err(|_forbidden| app.metrics.access().refused("scope"))
}

/// Checks that the token of a request whose body took its time is still accepted. A refusal is counted.
///
/// # Errors
/// If it was revoked or has expired meanwhile.
pub fn recheck(app: &App, grant: &Grant) -> Result<(), Unauthenticated> {
    let checked = app.gate.recheck(grant, &app.store.tokens());
    checked.inspect_err(|why| app.metrics.access().refused(why.reason()))
}
