//! The tree of a domain's descriptors, and which limit applies to the descriptor of a request.
//!
//! As in envoyproxy/ratelimit, each entry of a descriptor leads one level down: to the node of its key
//! and value; else to the first node whose wildcard matches the value; else to the node of its key
//! alone. There is no backtracking. The limit of the node that the last entry leads to applies, and
//! each distinct descriptor has its own counter there.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use ratelimit::Limit;

use super::{
    pattern::Pattern,
    proto::{Entry, Unit},
};
use crate::rate_limits::Window;

/// The most limits in all domains, unless the setting `max-limits` changes it.
pub const MAX_RULES: usize = 1_000_000;

/// How many fields without effect are named.
const MAX_WARNINGS: usize = 20;

/// All domains, by name.
#[derive(Clone, Debug)]
pub struct Domains {
    /// The most limits.
    pub(super) max_rules: usize,
    /// The trees, by the name of the domain.
    pub(super) domains: HashMap<String, Tree>,
    /// The paths of the rules, by number.
    pub(super) paths: Vec<String>,
    /// Those of them that count by fixed windows because the default algorithm can't count that many.
    pub(super) too_large: Vec<String>,
    /// The fields that have no effect, of the file that is being read.
    pub(super) ignored: Vec<Ignored>,
    /// The first warnings about such fields.
    warnings: Vec<String>,
    /// How many such fields there are.
    count_of_warnings: usize,
}

/// A field that has no effect here, or that this server does not support and ignores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The line of its file, from 1; none in TOML.
    pub line: Option<u64>,
    /// Its place in the tree.
    pub place: String,
    /// The field, and why it has no effect.
    pub reason: &'static str,
}

impl Default for Domains {
    fn default() -> Domains {
        Domains::with_room(MAX_RULES)
    }
}

impl Domains {
    /// No domains, with room for this many limits.
    #[must_use]
    pub fn with_room(max_rules: usize) -> Domains {
        Domains {
            max_rules,
            domains: HashMap::new(),
            paths: Vec::new(),
            too_large: Vec::new(),
            ignored: Vec::new(),
            warnings: Vec::new(),
            count_of_warnings: 0,
        }
    }

    /// The counters of all limits: namespace, and window.
    pub(crate) fn spaces(&self) -> impl Iterator<Item = (&str, Window)> {
        let spaces = |tree: &'_ Tree| tree.windows.iter().copied().collect::<Vec<_>>();
        self.domains
            .values()
            .flat_map(move |tree| spaces(tree).into_iter().map(|it| (&tree.namespace[..], it)))
    }

    /// The domain of this name.
    #[must_use]
    pub fn get(&self, domain: &str) -> Option<&Tree> {
        self.domains.get(domain)
    }

    /// The path of each rule: `edge.tenant.path_/login*`, its place in the tree as envoyproxy/ratelimit
    /// writes it. The rule with the number `i` has the `i`th.
    #[must_use]
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Makes warnings of the fields without effect that a file had.
    pub(super) fn warn_of(&mut self, file: &Path) {
        for Ignored { line, place, reason } in self.ignored.drain(..) {
            self.count_of_warnings += 1;
            if self.warnings.len() < MAX_WARNINGS {
                let line = line.map_or(String::new(), |line| format!(":{line}"));
                self.warnings.push(format!("{}{line}: {place}: {reason}", file.display()));
            }
        }
    }

    /// Warnings for the operator: what is ignored, and which limits do not count by the default algorithm.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        let left_out = self.count_of_warnings - warnings.len();
        if left_out > 0 {
            warnings.push(format!("{left_out} more fields in the limits for Envoy have no effect"));
        }
        if let Some(first) = self.too_large.first() {
            let others = match self.too_large.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            warnings.push(format!(
                "{first}{others}: too many requests_per_unit for the default algorithm, so these limits \
                 count by fixed windows; to confirm that, set algorithm: fixed, or rls-algorithm"
            ));
        }
        warnings
    }
}

/// A domain.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The namespace of its counters among those of the location.
    pub(super) namespace: String,
    /// The windows of its limits.
    pub(super) windows: HashSet<Window>,
    /// The node above the first entry of a descriptor.
    pub(super) root: Node,
}

/// The node that an entry leads to.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// The limit of a descriptor that ends here; none if only longer ones have limits.
    pub(super) rule: Option<Rule>,
    /// The nodes below, by the key of the entry.
    pub(super) children: HashMap<Box<[u8]>, Branch>,
}

/// The nodes of one key.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    /// The nodes of exact values. They win over wildcards.
    pub(super) values: HashMap<Box<[u8]>, Node>,
    /// In the order of the file.
    pub(super) wildcards: Vec<Wildcard>,
    /// Their texts, which differ.
    pub(super) patterns: HashSet<Box<str>>,
    /// The node of any other value.
    pub(super) any: Option<Box<Node>>,
}

/// A node whose value is a pattern.
#[derive(Clone, Debug)]
pub(super) struct Wildcard {
    /// The pattern that the value must match.
    pub(super) pattern: Pattern,
    /// Whether all matching values share a counter.
    pub(super) is_shared: bool,
    /// The node that a matching value leads to.
    pub(super) node: Node,
}

/// A limit of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number among all rules.
    pub id: usize,
    /// The requests that it allows; none if unlimited.
    pub limit: Option<Limit>,
    /// The unit of its period.
    pub unit: Unit,
    /// Its name, or empty.
    pub name: String,
    /// The names of the rules that it replaces.
    pub replaces: Vec<String>,
    /// Whether hits count whatever the limit is; none if that depends on the request.
    pub record: Option<bool>,
}

impl Tree {
    /// The rule that applies to a descriptor. Appends the name of its counter to `key`, which is the
    /// same for two descriptors only if they share the counter.
    pub(super) fn find(&self, entries: &[Entry], key: &mut Vec<u8>) -> Option<&Rule> {
        let mut node = &self.root;
        for entry in entries {
            let branch = node.children.get(&entry.key[..])?;
            let (next, shared) = branch.find(&entry.value)?;
            let value = shared.map_or(&entry.value[..], |pattern| pattern.text().as_bytes());
            push_entry(key, &entry.key, value);
            node = next;
        }
        node.rule.as_ref()
    }
}

impl Branch {
    /// The node of a value, and the pattern that replaces the value in the name of the counter.
    fn find(&self, value: &[u8]) -> Option<(&Node, Option<&Pattern>)> {
        if let Some(node) = self.values.get(value) {
            return Some((node, None));
        }
        if let Some(found) = self.wildcards.iter().find(|it| it.pattern.matches(value)) {
            return Some((&found.node, found.is_shared.then_some(&found.pattern)));
        }
        self.any.as_deref().map(|node| (node, None))
    }
}

/// Appends the name of the counter of a descriptor whose limit is in the request.
pub(super) fn counter_of(entries: &[Entry], key: &mut Vec<u8>) {
    for entry in entries {
        push_entry(key, &entry.key, &entry.value);
    }
}

/// Appends `key=value,`. These marks in the texts are escaped by `\`, so that no two descriptors have
/// the same name.
pub(super) fn push_entry(name: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    push_escaped(name, key, b"\\,=");
    name.push(b'=');
    push_escaped(name, value, b"\\,");
    name.push(b',');
}

/// Appends a text, with a backslash before each mark, so that joined texts stay distinct.
fn push_escaped(name: &mut Vec<u8>, text: &[u8], marks: &[u8]) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| marks.contains(byte)) {
        name.extend_from_slice(&rest[..at]);
        name.extend_from_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    name.extend_from_slice(rest);
}
