//! The names that people and programs give: titles and accounts of namespaces, local names.

use std::{borrow::Borrow, fmt, ops::Deref};

use super::{
    id::NamespaceId,
    limits::{MAX_LOCAL_NAME_BYTES, MAX_TITLE_BYTES},
    visible::is_invisible,
};

/// The title of a namespace: 1 to [`MAX_TITLE_BYTES`] bytes of UTF-8 without control characters. One that a user gives
/// has no space at either end and no invisible characters, so that two titles that look the same are the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Title(Box<str>);

/// Why a text is not a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TitleError {
    /// It is empty or too long; its length in bytes.
    #[error("a title has 1 to {MAX_TITLE_BYTES} bytes; this one has {0}")]
    Length(usize),
    /// It contains a control character.
    #[error("a title has no control characters")]
    ControlCharacter,
    /// It begins or ends with a space.
    #[error("a title has no space at its beginning or end")]
    Space,
    /// It contains a character that nobody sees, or that changes how others are shown.
    #[error(
        "a title has no characters that are invisible or change the direction of writing: this one has U+{:04X}",
        u32::from(*.0)
    )]
    Invisible(char),
    /// It reads as an id, and a namespace is looked up by either.
    #[error("32 hexadecimal digits are an id, not a title: give it as the id")]
    LooksLikeId,
}

impl Title {
    /// Takes the title that a user gives to a namespace.
    ///
    /// # Errors
    /// See [`TitleError`].
    pub fn new(title: impl Into<Box<str>>) -> Result<Title, TitleError> {
        let title = Title::stored(title)?;
        if title.trim() != title.as_str() {
            return Err(TitleError::Space);
        }
        if let Some(letter) = title.chars().find(|letter| is_invisible(*letter)) {
            return Err(TitleError::Invisible(letter));
        }
        if title.parse::<NamespaceId>().is_ok() {
            return Err(TitleError::LooksLikeId);
        }
        Ok(title)
    }

    /// Takes a title that was stored before. It may look like an id, or not be visible: these rules are younger than
    /// the format, and a peer may not have them.
    pub(crate) fn stored(title: impl Into<Box<str>>) -> Result<Title, TitleError> {
        let title = title.into();
        if !(1..=MAX_TITLE_BYTES).contains(&title.len()) {
            return Err(TitleError::Length(title.len()));
        }
        if title.chars().any(char::is_control) {
            return Err(TitleError::ControlCharacter);
        }
        Ok(Title(title))
    }
}

/// The account that a namespace belongs to: at most [`MAX_TITLE_BYTES`] bytes of UTF-8; empty where
/// a location has no accounts.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(Box<str>);

/// An account's name is too long. The value is its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an account has at most {MAX_TITLE_BYTES} bytes; this one has {0}")]
pub struct AccountError(pub usize);

impl Account {
    /// Takes the name of an account.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub fn new(account: impl Into<Box<str>>) -> Result<Account, AccountError> {
        let account = account.into();
        if account.len() > MAX_TITLE_BYTES {
            return Err(AccountError(account.len()));
        }
        Ok(Account(account))
    }
}

/// The name under which a location keeps bytes for itself: 1 to [`MAX_LOCAL_NAME_BYTES`] bytes of
/// UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalName(Box<str>);

/// A local name is empty or too long. The value is its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a local name has 1 to {MAX_LOCAL_NAME_BYTES} bytes; this one has {0}")]
pub struct LocalNameError(pub usize);

impl LocalName {
    /// Takes a local name.
    ///
    /// # Errors
    /// See [`LocalNameError`].
    pub fn new(name: impl Into<Box<str>>) -> Result<LocalName, LocalNameError> {
        let name = name.into();
        if !(1..=MAX_LOCAL_NAME_BYTES).contains(&name.len()) {
            return Err(LocalNameError(name.len()));
        }
        Ok(LocalName(name))
    }
}

/// What types that wrap a checked text have in common: they dereference to it, compare with it, and show it.
macro_rules! text {
    ($($name:ident, $error:ident);*) => {$(
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $error;

            fn try_from(text: &str) -> Result<$name, $error> {
                $name::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<$name, $error> {
                $name::new(text)
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                *self.0 == *other
            }
        }

        impl PartialEq<String> for $name {
            fn eq(&self, other: &String) -> bool {
                *self.0 == **other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                *self.0 == **other
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

text!(Title, TitleError; Account, AccountError; LocalName, LocalNameError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_a_short_text_that_is_not_an_id() {
        assert!(Title::new("t\u{ed}tle").is_ok());
        assert!(Title::new("t".repeat(512)).is_ok());
        assert_eq!(Title::new(""), Err(TitleError::Length(0)));
        assert_eq!(Title::new("t".repeat(513)), Err(TitleError::Length(513)));
        assert_eq!(Title::new("a\nb"), Err(TitleError::ControlCharacter));
        assert_eq!(Title::new("0".repeat(32)), Err(TitleError::LooksLikeId));
        assert!(Title::new("a b\u{a0}c").is_ok());
        for title in [" a", "a ", "\u{a0}a", "a\u{3000}", " "] {
            assert_eq!(Title::new(title), Err(TitleError::Space), "{title:?}");
        }
        for letter in ['\u{200b}', '\u{202e}', '\u{2067}', '\u{feff}', '\u{ad}', '\u{3164}'] {
            let title = format!("a{letter}b");
            assert_eq!(Title::new(title.as_str()), Err(TitleError::Invisible(letter)));
            assert!(Title::stored(title).is_ok(), "a peer of an earlier version may have it");
        }
        let text = Title::new("a\u{202e}b").unwrap_err().to_string();
        assert!(text.ends_with("this one has U+202E"), "{text}");
        assert!(Title::stored("0".repeat(32)).is_ok());
    }

    #[test]
    fn accounts_and_local_names_are_bounded() {
        assert!(Account::new("").is_ok());
        assert_eq!(Account::new("a".repeat(513)), Err(AccountError(513)));
        assert!(LocalName::new("n".repeat(64)).is_ok());
        assert_eq!(LocalName::new(""), Err(LocalNameError(0)));
        assert_eq!(LocalName::new("n".repeat(65)), Err(LocalNameError(65)));
    }
}
