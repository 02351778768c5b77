//! The parts of the key-value store that a scope names: namespaces, or the keys of one that begin with a prefix.

use std::fmt;

use kv_core::NamespaceId;

/// What separates a namespace from the prefix of its keys. A namespace whose title has it is named by its id.
const SEPARATOR: char = '/';

/// Namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// All of them, those that are created later included.
    All,
    /// These, by title or id.
    These(Vec<String>),
}

/// Parts of the key-value store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Areas {
    /// All namespaces, those that are created later included.
    All,
    /// These.
    These(Vec<Area>),
}

/// A namespace, or those of its keys that begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// The namespace.
    namespace: Name,
    /// The beginning of the keys; empty for all.
    prefix: String,
}

/// The name of a namespace in a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    /// Its id. What looks like an id is never a title.
    Id(NamespaceId, String),
    /// Its title.
    Title(String),
}

/// A namespace of the key-value store, and the keys in it that a request concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space<'a> {
    /// How the request names the namespace.
    pub named: &'a str,
    /// Its title, if it exists.
    pub title: Option<&'a str>,
    /// Its id, if it exists.
    pub id: Option<NamespaceId>,
    /// The keys.
    pub keys: Keys<'a>,
}

/// The keys of a namespace that a request concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys<'a> {
    /// They are not known yet: each is checked once it is.
    Later,
    /// A key, or all keys that begin with this.
    With(&'a str),
}

impl Areas {
    /// Reads the names of a scope. Returns `None` if a namespace or a prefix is empty.
    pub(super) fn of(names: Names) -> Option<Areas> {
        match names {
            Names::All => Some(Areas::All),
            Names::These(names) => {
                names.iter().map(|name| Area::of(name)).collect::<Option<_>>().map(Areas::These)
            }
        }
    }

    /// Whether all that a request concerns is in them.
    pub(super) fn have(&self, space: Space<'_>) -> bool {
        match self {
            Areas::All => true,
            Areas::These(these) => these.iter().any(|area| area.has(space)),
        }
    }
}

impl Area {
    /// Reads a namespace, and its prefix if it has one.
    fn of(text: &str) -> Option<Area> {
        let (name, prefix) = match text.split_once(SEPARATOR) {
            Some((name, prefix)) if name.is_empty() || prefix.is_empty() => return None,
            Some((name, prefix)) => (name, prefix),
            None => (text, ""),
        };
        let namespace = match name.parse() {
            Ok(id) => Name::Id(id, name.to_owned()),
            Err(_not_an_id) => Name::Title(name.to_owned()),
        };
        Some(Area { namespace, prefix: prefix.to_owned() })
    }

    /// Whether all that a request concerns is in it.
    fn has(&self, space: Space<'_>) -> bool {
        let is_namespace = match &self.namespace {
            Name::Id(id, _) => space.id == Some(*id),
            // A namespace that does not exist is named by the request alone.
            Name::Title(title) => space.title.unwrap_or(space.named) == title,
        };
        is_namespace
            && match space.keys {
                Keys::Later => true,
                Keys::With(begin) => begin.starts_with(&self.prefix),
            }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Names::All => f.write_str("*"),
            Names::These(names) => f.write_str(&names.join(",")),
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Name::Id(_, name) | Name::Title(name)) = &self.namespace;
        f.write_str(name)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "{SEPARATOR}{}", self.prefix) }
    }
}

impl fmt::Display for Areas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Areas::All => f.write_str("*"),
            Areas::These(these) => {
                let these: Vec<_> = these.iter().map(Area::to_string).collect();
                f.write_str(&these.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn areas(text: &str) -> Areas {
        let names = text.split(',').map(str::to_owned).collect();
        let areas = Areas::of(Names::These(names)).expect(text);
        assert_eq!(areas.to_string(), text);
        areas
    }

    fn space<'a>(title: &'a str, keys: Keys<'a>) -> Space<'a> {
        Space { named: title, title: Some(title), id: Some(NamespaceId([0xaa; 16])), keys }
    }

    #[test]
    fn a_prefix_permits_the_keys_that_begin_with_it_and_lists_of_these() {
        let user = areas("sessions/user:,pages");
        for (title, key, is_in) in [
            ("sessions", "user:", true),
            ("sessions", "user:1/x", true),
            ("sessions", "user", false),
            ("sessions", "", false),
            ("sessions", "admin:user:", false),
            ("sessions/user:", "user:", false),
            ("pages", "", true),
            ("pages", "any", true),
            ("other", "user:1", false),
        ] {
            assert_eq!(user.have(space(title, Keys::With(key))), is_in, "{title} {key}");
        }
        assert!(user.have(space("sessions", Keys::Later)));
        assert!(!user.have(space("other", Keys::Later)));
    }

    #[test]
    fn what_looks_like_an_id_is_one_and_a_slash_ends_a_name() {
        let id = areas("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/user/x");
        assert!(id.have(space("any", Keys::With("user/x1"))));
        assert!(!id.have(space("any", Keys::With("user"))));
        let other = areas("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
        assert!(!other.have(space("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", Keys::With(""))));
        let unknown = Space { named: "new", title: None, id: None, keys: Keys::With("k") };
        assert!(areas("new").have(unknown) && !areas("newer").have(unknown));
        for wrong in ["a/", "/a", "/"] {
            assert_eq!(Areas::of(Names::These(vec![wrong.to_owned()])), None, "{wrong}");
        }
    }
}
