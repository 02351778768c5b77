//! What the sender of a call may do with the keys of its namespace.

use http::{Method, StatusCode};

use super::{call::Call, refusal::Refusal};
use crate::{
    access::{Grant, Keys},
    app::App,
    kv::permission::{self, Access, Named},
};

/// What the sender of a call may do in its namespace.
#[derive(Clone, Copy)]
pub(super) struct Permission<'a> {
    /// The location.
    pub(super) app: &'a App,
    /// What the sender may do.
    pub(super) grant: &'a Grant,
    /// The namespace.
    pub(super) namespace: Named<'a>,
}

impl Permission<'_> {
    /// Checks a call by its head, before anything shows whether the namespace exists. The keys of a bulk get are in its body.
    pub(super) fn check_head(&self, call: &Call<'_>, is_list: bool) -> Result<(), Refusal> {
        if let Grant::Free = self.grant {
            return Ok(());
        }
        let access = match *call.method {
            Method::GET | Method::HEAD | Method::POST => Access::Read,
            _ => Access::Write,
        };
        if is_list {
            let prefix = call.target.query().get("prefix").unwrap_or_default();
            // No key begins with what is not UTF-8. Then the namespace is needed as a whole.
            return self.check(access, Keys::With(str::from_utf8(&prefix).unwrap_or_default()));
        }
        match call.target.key() {
            Ok(key) if *call.method != Method::POST => self.check(access, Keys::With(&key)),
            // A key that is not valid is refused later.
            _ => self.check(access, Keys::Later),
        }
    }

    /// Checks that these keys may be used.
    pub(super) fn check(&self, access: Access, keys: Keys<'_>) -> Result<(), Refusal> {
        permission::check(self.app, self.grant, self.namespace, access, keys)
            .map_err(|why| Refusal::new(StatusCode::FORBIDDEN, why.to_string()))
    }

    /// Checks, after a body has arrived, that the token is still accepted.
    pub(super) fn recheck(&self) -> Result<(), Refusal> {
        permission::recheck(self.app, self.grant)
            .map_err(|why| Refusal::new(StatusCode::UNAUTHORIZED, why.to_string()))
    }
}
