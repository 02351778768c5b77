//! Namespaces, as the users of a store create and change them.

use super::handle::Store;
use crate::{
    commit::{Operation, Outcome},
    error::{Taken, WriteError},
    types::{Account, Namespace, NamespaceId, Title},
};

impl Store {
    /// Returns the namespace with a title. Creates it if it does not exist, and blocks until that is
    /// durable.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let store = kv_core::Store::open(directory.path())?;
    /// let sessions = store.namespace("sessions")?;
    /// assert_eq!(store.namespace("sessions")?, sessions);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`WriteError`]; [`InvalidWrite::Title`](crate::InvalidWrite::Title) if it can't be a title.
    pub fn namespace(&self, title: &str) -> Result<Namespace, WriteError> {
        let (account, kept) = (Account::default(), Title::stored(title)?);
        loop {
            // One that exists may have a title from before the rules for new ones.
            if let Some(namespace) = self.namespaces().titled(&account, &kept) {
                return Ok(namespace.clone());
            }
            let (account, title) = (account.clone(), Title::new(title)?);
            match self.changed(Operation::CreateNamespace { account, title, id: None }) {
                // Another thread created it meanwhile. It is in the next view that readers get.
                Err(WriteError::Taken(Taken::Title { .. })) => {}
                result => return result,
            }
        }
    }

    /// Creates a namespace with a title that no other has.
    ///
    /// # Errors
    /// [`Taken::Title`] if another namespace has it.
    pub fn create_namespace(&self, title: &str) -> Result<Namespace, WriteError> {
        self.create_namespace_with("", title, None)
    }

    /// Creates a namespace for an account, with the given id if there is one.
    ///
    /// # Errors
    /// [`WriteError::Taken`] if the account has a namespace with this title, or the id is in use.
    pub fn create_namespace_with(
        &self,
        account: &str,
        title: &str,
        id: Option<NamespaceId>,
    ) -> Result<Namespace, WriteError> {
        let (account, title) = (Account::new(account)?, Title::new(title)?);
        self.changed(Operation::CreateNamespace { account, title, id })
    }

    /// Gives a namespace another title.
    ///
    /// # Errors
    /// [`Taken::Title`] if another namespace has it.
    pub fn rename_namespace(&self, id: NamespaceId, title: &str) -> Result<Namespace, WriteError> {
        self.changed(Operation::RenameNamespace { id, title: Title::new(title)? })
    }

    /// Drops a namespace with all its entries. They are not readable from then on; entries that other locations put
    /// later, because they do not know of the drop yet, live, and with them the namespace. A namespace that was dropped
    /// may be created again: it has the same id and is empty.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn drop_namespace(&self, id: NamespaceId) -> Result<Namespace, WriteError> {
        self.changed(Operation::DropNamespace { id })
    }

    /// Runs an operation that changes a namespace, and returns the changed namespace.
    fn changed(&self, operation: Operation) -> Result<Namespace, WriteError> {
        match self.run(operation)? {
            Outcome::Namespace(namespace) => Ok(namespace),
            other => unreachable!("the outcome of a change to a namespace is it, not {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InvalidWrite;

    #[test]
    fn a_namespace_whose_title_no_new_one_may_have_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        for text in [" a", "a\u{200b}", "0123456789abcdef0123456789abcdef"] {
            let error = store.namespace(text).unwrap_err();
            assert!(matches!(error, WriteError::Invalid(InvalidWrite::Title(_))), "{error}");
            let (account, title) = (Account::default(), Title::stored(text).unwrap());
            let create = Operation::CreateNamespace { account, title, id: None };
            let former = store.changed(create).unwrap();
            assert_eq!(store.namespace(text).unwrap(), former);
        }
    }
}
