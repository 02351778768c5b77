//! What a token permits.
//!
//! | scope | permits |
//! |---|---|
//! | `admin` | everything |
//! | `ops` | metrics |
//! | `kv:read=sessions,pages` | reading values and lists of these namespaces, by title or id; `*` stands for all |
//! | `kv:write=sessions` | the same, and putting and deleting |
//! | `ratelimit=1001,rls:edge` | counting in these namespaces of limits; that of an Envoy domain is `rls:DOMAIN`; `*` stands for all |
//! | `ratelimit:override=1001` | setting, listing and deleting overrides of the limits that count in these namespaces |

use std::{fmt, str::FromStr};

use kv_core::NamespaceId;

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
    /// Reading from these namespaces.
    KvRead(Names),
    /// Reading from and writing to these namespaces.
    KvWrite(Names),
    /// Counting in these namespaces of limits.
    Ratelimit(Names),
    /// Overriding the limits that count in these namespaces.
    Override(Names),
}

/// Namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// All of them, those that are created later included.
    All,
    /// These, by title or id.
    These(Vec<String>),
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

/// A namespace of the key-value store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space<'a> {
    /// Its title, or the name that a request has for one that does not exist.
    pub title: &'a str,
    /// Its id, if it exists.
    pub id: Option<NamespaceId>,
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
    /// It has a control character.
    #[error("{0:?} has a control character: write a scope without")]
    Control(String),
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Scope, ScopeError> {
        if text.chars().any(char::is_control) {
            return Err(ScopeError::Control(text.to_owned()));
        }
        let (kind, names) = match text.split_once('=') {
            None => (text, None),
            Some((kind, names)) => (kind, Some(names)),
        };
        let names = || match names {
            Some("*") => Ok(Names::All),
            Some(names) if names.split(',').all(|name| !name.is_empty()) => {
                Ok(Names::These(names.split(',').map(str::to_owned).collect()))
            }
            _ => Err(ScopeError::NoName(text.to_owned())),
        };
        match kind {
            "admin" if text == kind => Ok(Scope::Admin),
            "ops" if text == kind => Ok(Scope::Ops),
            "admin" => Err(ScopeError::HasName(text.to_owned(), "admin")),
            "ops" => Err(ScopeError::HasName(text.to_owned(), "ops")),
            "kv:read" => names().map(Scope::KvRead),
            "kv:write" => names().map(Scope::KvWrite),
            "ratelimit" => names().map(Scope::Ratelimit),
            "ratelimit:override" => names().map(Scope::Override),
            _ => Err(ScopeError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Admin => f.write_str("admin"),
            Scope::Ops => f.write_str("ops"),
            Scope::KvRead(names) => write!(f, "kv:read={names}"),
            Scope::KvWrite(names) => write!(f, "kv:write={names}"),
            Scope::Ratelimit(names) => write!(f, "ratelimit={names}"),
            Scope::Override(names) => write!(f, "ratelimit:override={names}"),
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

impl Names {
    /// Whether a namespace is among them, by its title or its id.
    fn has(&self, space: Space<'_>) -> bool {
        let is_id = |name: &str| space.id.is_some_and(|id| name.parse() == Ok(id));
        let is_it = |name: &String| name == space.title || is_id(name);
        match self {
            Names::All => true,
            Names::These(these) => these.iter().any(is_it),
        }
    }
}

impl Scope {
    /// Whether the scope permits this.
    fn permits(&self, need: Need<'_>) -> bool {
        match (self, need) {
            (Scope::Admin, _) | (Scope::Ops, Need::Ops) => true,
            (Scope::KvRead(names) | Scope::KvWrite(names), Need::KvRead(namespace))
            | (Scope::KvWrite(names), Need::KvWrite(namespace)) => names.has(namespace),
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

/// The scope that permits it, as an error names it.
impl fmt::Display for Need<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Admin => f.write_str("admin"),
            Need::Ops => f.write_str("ops"),
            Need::KvRead(space) => write!(f, "kv:read={}", shown(space.title)),
            Need::KvWrite(space) => write!(f, "kv:write={}", shown(space.title)),
            Need::Ratelimit(name) => {
                write!(f, "ratelimit={}", shown(&String::from_utf8_lossy(name)))
            }
            Need::Override(name) => {
                write!(f, "ratelimit:override={}", shown(&String::from_utf8_lossy(name)))
            }
        }
    }
}

/// The beginning of a name, without control characters.
fn shown(name: &str) -> String {
    const MAX_CHARS: usize = 64;
    let shown: String = name.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if name.chars().count() > MAX_CHARS { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Space<'_> = Space { title: "a", id: Some(NamespaceId([0xaa; 16])) };
    const B: Space<'_> = Space { title: "b", id: Some(NamespaceId([0xbb; 16])) };

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
}
