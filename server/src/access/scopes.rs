//! What a token permits.
//!
//! | scope | permits |
//! |---|---|
//! | `admin` | everything |
//! | `ops` | metrics |
//! | `kv:read=sessions,pages` | reading values and lists of these namespaces, by title or id; `*` stands for all |
//! | `kv:read=sessions/user:` | the same for the keys of this namespace that begin with `user:` |
//! | `kv:write=sessions` | the same, and putting and deleting |
//! | `ratelimit=1001,rls:edge` | counting in these namespaces of limits; that of an Envoy domain is `rls:DOMAIN`; `*` stands for all |
//! | `ratelimit:override=1001` | setting, listing and deleting overrides of the limits that count in these namespaces |

use std::{fmt, str::FromStr};

use kv_core::visible::is_invisible;

use super::{
    areas::{Areas, Names, Space},
    shown::shown,
};

/// What a token permits: some scopes, each of which permits what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

/// One scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Admin,
    /// Metrics.
    Ops,
    /// Reading from these namespaces, or from parts of them.
    KvRead(Areas),
    /// Reading from and writing to these.
    KvWrite(Areas),
    /// Counting in these namespaces of limits.
    Ratelimit(Names),
    /// Overriding the limits that count in these namespaces.
    Override(Names),
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need<'a> {
    /// Administration.
    Admin,
    /// Metrics.
    Ops,
    /// Reading from a namespace.
    KvRead(Space<'a>),
    /// Writing to a namespace.
    KvWrite(Space<'a>),
    /// Counting in a namespace of limits.
    Ratelimit(&'a [u8]),
    /// Overriding limits that count in a namespace.
    Override(&'a [u8]),
}

/// A text is not a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// It has none of the names.
    #[error(
        "{0:?} is not a scope: write admin, ops, kv:read=NAMESPACE, kv:write=NAMESPACE, ratelimit=NAMESPACE or \
         ratelimit:override=NAMESPACE, with several namespaces separated by commas, or * for all"
    )]
    Unknown(String),
    /// It names no namespace, or an empty one.
    #[error("{0:?} has an empty namespace: write titles or ids separated by commas, or * for all")]
    NoName(String),
    /// It names namespaces, and this scope has none.
    #[error("{0:?}: this scope has no namespaces; write {1}")]
    HasName(String, &'static str),
    /// It has a character that nobody sees.
    #[error("{0:?} has a control character, or one that is invisible: write a scope without")]
    Control(String),
    /// It has a space where no name has one.
    #[error("{0:?} has a space at the beginning or end of a name: remove it")]
    Space(String),
    /// It has a `*` beside something else.
    #[error(
        "{0:?} has a * beside other characters: a * stands for all namespaces, alone, as in kv:read=*; there are no \
         patterns. Name a namespace whose title has a * by its id, and write a prefix of keys without *"
    )]
    Star(String),
    /// It ends with the slash of a prefix.
    #[error(
        "{0:?} has an empty prefix after the /: write NAMESPACE for all keys of a namespace, NAMESPACE/PREFIX for those \
         that begin with the prefix; a namespace whose title has a / is named by its id"
    )]
    NoPrefix(String),
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Scope, ScopeError> {
        let owned = || text.to_owned();
        if text.chars().any(|letter| letter.is_control() || is_invisible(letter)) {
            return Err(ScopeError::Control(owned()));
        }
        let (kind, names) = match text.split_once('=') {
            None => (text, None),
            Some((kind, names)) => (kind, Some(names)),
        };
        let names = || {
            let names = names.unwrap_or_default();
            match names {
                "*" => Ok(Names::All),
                _ if names.split(',').any(|name| name.trim().is_empty()) => {
                    Err(ScopeError::NoName(owned()))
                }
                _ if names.split(',').any(|name| name.trim() != name) => {
                    Err(ScopeError::Space(owned()))
                }
                _ if names.contains('*') => Err(ScopeError::Star(owned())),
                _ => Ok(Names::These(names.split(',').map(str::to_owned).collect())),
            }
        };
        let areas = || Areas::of(names()?).ok_or_else(|| ScopeError::NoPrefix(owned()));
        match kind {
            "admin" if text == kind => Ok(Scope::Admin),
            "ops" if text == kind => Ok(Scope::Ops),
            "admin" => Err(ScopeError::HasName(owned(), "admin")),
            "ops" => Err(ScopeError::HasName(owned(), "ops")),
            "kv:read" => areas().map(Scope::KvRead),
            "kv:write" => areas().map(Scope::KvWrite),
            "ratelimit" => names().map(Scope::Ratelimit),
            "ratelimit:override" => names().map(Scope::Override),
            _ => Err(ScopeError::Unknown(owned())),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Admin => f.write_str("admin"),
            Scope::Ops => f.write_str("ops"),
            Scope::KvRead(areas) => write!(f, "kv:read={areas}"),
            Scope::KvWrite(areas) => write!(f, "kv:write={areas}"),
            Scope::Ratelimit(names) => write!(f, "ratelimit={names}"),
            Scope::Override(names) => write!(f, "ratelimit:override={names}"),
        }
    }
}

impl Scope {
    /// Whether the scope permits this.
    fn permits(&self, need: Need<'_>) -> bool {
        match (self, need) {
            (Scope::Admin, _) | (Scope::Ops, Need::Ops) => true,
            (Scope::KvRead(areas) | Scope::KvWrite(areas), Need::KvRead(space))
            | (Scope::KvWrite(areas), Need::KvWrite(space)) => areas.have(space),
            (Scope::Ratelimit(Names::All), Need::Ratelimit(_))
            | (Scope::Override(Names::All), Need::Override(_)) => true,
            (Scope::Ratelimit(Names::These(names)), Need::Ratelimit(namespace))
            | (Scope::Override(Names::These(names)), Need::Override(namespace)) => {
                names.iter().any(|name| name.as_bytes() == namespace)
            }
            _ => false,
        }
    }
}

impl Scopes {
    /// Reads what a store keeps: a scope a line. Those that a newer program knows permit nothing here.
    #[must_use]
    pub fn of_stored(text: &str) -> Scopes {
        Scopes(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Writes what a store keeps.
    #[must_use]
    pub fn to_stored(&self) -> String {
        let lines: Vec<_> = self.0.iter().map(Scope::to_string).collect();
        lines.join("\n")
    }

    /// Whether some scope permits this.
    #[must_use]
    pub fn permit(&self, need: Need<'_>) -> bool {
        self.0.iter().any(|scope| scope.permits(need))
    }

    /// The scopes.
    #[must_use]
    pub fn as_slice(&self) -> &[Scope] {
        &self.0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Scopes(scopes.into_iter().collect())
    }
}

/// The scope that permits it, as an error names it: with the name that the request has for the namespace, and not with its
/// title, which a client that may not use it must not learn.
impl fmt::Display for Need<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, space) = match self {
            Need::Admin => return f.write_str("admin"),
            Need::Ops => return f.write_str("ops"),
            Need::Ratelimit(name) => {
                return write!(f, "ratelimit={}", shown(&String::from_utf8_lossy(name)));
            }
            Need::Override(name) => {
                let name = String::from_utf8_lossy(name);
                return write!(f, "ratelimit:override={}", shown(&name));
            }
            Need::KvRead(space) => ("kv:read", space),
            Need::KvWrite(space) => ("kv:write", space),
        };
        write!(f, "{kind}={}", shown(space.named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use kv_core::NamespaceId;

    use crate::access::Keys;

    const A: Space<'_> = Space {
        named: "a",
        title: Some("a"),
        id: Some(NamespaceId([0xaa; 16])),
        keys: Keys::With(""),
    };
    const B: Space<'_> = Space {
        named: "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
        title: Some("b"),
        id: Some(NamespaceId([0xbb; 16])),
        keys: Keys::With(""),
    };

    const NEEDS: [Need<'_>; 9] = [
        Need::Admin,
        Need::Ops,
        Need::KvRead(A),
        Need::KvRead(B),
        Need::KvWrite(A),
        Need::KvWrite(B),
        Need::Ratelimit(b"a"),
        Need::Ratelimit(b"rls:edge"),
        Need::Override(b"a"),
    ];

    #[test]
    fn a_scope_permits_what_it_names_and_nothing_else() {
        for (text, permitted) in [
            ("admin", [true; 9]),
            ("ops", [false, true, false, false, false, false, false, false, false]),
            ("kv:read=*", [false, false, true, true, false, false, false, false, false]),
            ("kv:read=a", [false, false, true, false, false, false, false, false, false]),
            (
                "kv:read=x,bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
                [false, false, false, true, false, false, false, false, false],
            ),
            ("kv:write=*", [false, false, true, true, true, true, false, false, false]),
            (
                "kv:write=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                [false, false, true, false, true, false, false, false, false],
            ),
            ("ratelimit=*", [false, false, false, false, false, false, true, true, false]),
            ("ratelimit=a", [false, false, false, false, false, false, true, false, false]),
            (
                "ratelimit:override=a",
                [false, false, false, false, false, false, false, false, true],
            ),
            (
                "ratelimit=b,rls:edge",
                [false, false, false, false, false, false, false, true, false],
            ),
        ] {
            let scope: Scope = text.parse().expect(text);
            assert_eq!(scope.to_string(), text);
            let scopes = Scopes::from_iter([scope]);
            assert_eq!(NEEDS.map(|need| scopes.permit(need)), permitted, "{text}");
            assert_eq!(Scopes::of_stored(&scopes.to_stored()), scopes);
        }
        assert_eq!(NEEDS.map(|need| Scopes::default().permit(need)), [false; 9]);
    }

    #[test]
    fn a_text_that_is_not_a_scope_is_refused_with_the_remedy() {
        for (text, says) in [
            ("", "not a scope"),
            ("Admin", "not a scope"),
            ("kv=a", "not a scope"),
            ("admin=x", "has no namespaces"),
            ("ops=*", "has no namespaces"),
            ("kv:read", "empty namespace"),
            ("kv:read=", "empty namespace"),
            ("kv:write=a,,b", "empty namespace"),
            ("ratelimit=a,", "empty namespace"),
            ("kv:read=a\nadmin", "control character"),
            ("kv:read=a\u{200b}", "invisible"),
            ("kv:read=a, b", "has a space"),
            ("kv:read= a", "has a space"),
            ("kv:read=a ", "has a space"),
            ("ratelimit=a ,b", "has a space"),
            ("kv:read=*,a", "has a *"),
            ("kv:read=a,*", "has a *"),
            ("kv:read=sess*", "has a *"),
            ("kv:read=*/user:", "has a *"),
            ("kv:write=a/user:*", "has a *"),
            ("ratelimit=*,*", "has a *"),
            ("kv:read=* ", "has a space"),
            ("kv:read= ", "empty namespace"),
            ("kv:read=a/", "empty prefix"),
            ("kv:read=/a", "empty prefix"),
            ("kv :read=a", "not a scope"),
            (" admin", "not a scope"),
        ] {
            let error = text.parse::<Scope>().expect_err(text).to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_scope_of_a_newer_program_permits_nothing_and_hides_no_other() {
        let scopes = Scopes::of_stored("queue=*\nkv:read=a\n\nadmin=some");
        assert_eq!(scopes.as_slice().len(), 1);
        assert!(scopes.permit(NEEDS[2]) && !scopes.permit(NEEDS[0]));
    }

    #[test]
    fn a_refusal_names_a_namespace_as_the_request_does_and_not_by_its_title() {
        assert_eq!(Need::KvRead(B).to_string(), "kv:read=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
        assert_eq!(Need::KvWrite(A).to_string(), "kv:write=a");
    }
}
