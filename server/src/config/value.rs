//! Values of settings: how each type is read from a text (a flag or a variable) and from the file.
//! An error message names the values that are valid.

use std::{ffi::OsStr, fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::cluster::state::names::listen_on;

/// A text is not a value of its setting. The message has the reason and the valid values; it never
/// repeats a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(String);

impl ValueError {
    /// Makes the error from its message.
    pub(super) fn new(error: impl fmt::Display) -> ValueError {
        ValueError(error.to_string())
    }
}

/// A type that a setting can have.
pub trait Value: Sized {
    /// Whether a flag of this type may be repeated, with the values of all its occurrences joined.
    const IS_LIST: bool = false;

    /// Whether a flag of this type may stand without a value, which is then `true`.
    const IS_SWITCH: bool = false;

    /// Reads the text of a flag or a variable.
    ///
    /// # Errors
    /// If the text is not such a value.
    fn from_text(text: &str) -> Result<Self, ValueError>;

    /// Reads a flag or a variable as the system has it, which need not be UTF-8.
    ///
    /// # Errors
    /// If the text is not such a value.
    fn from_os(text: &OsStr) -> Result<Self, ValueError> {
        let text = text.to_str().ok_or_else(|| ValueError::new("the value is not UTF-8"))?;
        Self::from_text(text)
    }

    /// Reads the value from the file.
    ///
    /// # Errors
    /// If the file has something else there.
    fn from_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// Returns the value of a setting that is not set, from the text of the table.
    ///
    /// # Panics
    /// If the table has a text that is not such a value. A test reads all of them.
    #[must_use]
    fn by_default(text: &'static str) -> Self {
        Self::from_text(text).unwrap_or_else(|error| panic!("the default {text:?}: {error}"))
    }
}

/// A setting without a fixed default: the table describes in words what happens without it.
impl<T: Value> Value for Option<T> {
    const IS_LIST: bool = T::IS_LIST;
    const IS_SWITCH: bool = T::IS_SWITCH;

    fn from_text(text: &str) -> Result<Self, ValueError> {
        T::from_text(text).map(Some)
    }

    fn from_os(text: &OsStr) -> Result<Self, ValueError> {
        T::from_os(text).map(Some)
    }

    fn from_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::from_file(deserializer).map(Some)
    }

    fn by_default(_words: &'static str) -> Self {
        None
    }
}

/// For `#[serde(deserialize_with)]`: a field that the file may leave out.
pub(super) fn from_file<'de, D: Deserializer<'de>, T: Value>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::from_file(deserializer).map(Some)
}

/// A value that is written as a text.
pub(super) struct Text<T>(pub(super) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Text).map_err(D::Error::custom)
    }
}

impl Value for bool {
    const IS_SWITCH: bool = true;

    fn from_text(text: &str) -> Result<Self, ValueError> {
        text.parse().map_err(|_neither| {
            ValueError::new(format!("{text:?} is not a boolean: write true or false"))
        })
    }

    fn from_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bool::deserialize(deserializer)
    }
}

impl Value for SocketAddr {
    fn from_text(text: &str) -> Result<Self, ValueError> {
        listen_on(text).map_err(ValueError::new)
    }

    fn from_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        listen_on(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Value for PathBuf {
    fn from_text(text: &str) -> Result<Self, ValueError> {
        Self::from_os(OsStr::new(text))
    }

    fn from_os(text: &OsStr) -> Result<Self, ValueError> {
        if text.is_empty() {
            return Err(ValueError::new(
                "the path is empty: write the path of a file or directory",
            ));
        }
        Ok(text.into())
    }

    fn from_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_text(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Several values: in a text, separated by commas; in the file, an array, whose values may have
/// commas. An empty text has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T: FromStr<Err: fmt::Display>> Value for List<T> {
    const IS_LIST: bool = true;

    fn from_text(text: &str) -> Result<Self, ValueError> {
        let values = text.split(',').filter(|_| !text.is_empty()).map(str::parse);
        values.collect::<Result<_, _>>().map(List).map_err(ValueError::new)
    }

    fn from_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = Vec::<Text<T>>::deserialize(deserializer)?;
        Ok(List(values.into_iter().map(|Text(value)| value).collect()))
    }
}
