//! Circles in the imports.
//!
//! A circle is a set of nodes each of which imports, over others, every other one (a strongly connected
//! component of more than one node; Tarjan, "Depth-First Search and Linear Graph Algorithms", 1972).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::resolve::Edges;
use crate::source::Crate;

/// A circle, with the names that tie it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// The crate and, for a circle between folders, the module in which they lie.
    pub place: String,
    /// The files or folders of the circle.
    pub nodes: BTreeSet<String>,
    /// The imports within the circle: "from uses NAME, NAME of to".
    pub ties: Vec<String>,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<&str> = self.nodes.iter().map(String::as_str).collect();
        writeln!(f, "{}: {} in a circle: {}", self.place, nodes.len(), nodes.join(", "))?;
        self.ties.iter().try_for_each(|tie| writeln!(f, "    {tie}"))
    }
}

/// Returns the circles of files of a crate. A circle of two is one, too: the caller chooses its bound.
#[must_use]
pub fn of_files(source: &Crate, edges: &Edges) -> Vec<Circle> {
    let mut graph = Graph::new();
    for ((from, to), names) in edges {
        let (from, to) = (&source.files[*from].path, &source.files[*to].path);
        graph.entry(from.clone()).or_default().entry(to.clone()).or_default().extend(names.clone());
    }
    circles(&source.name, &graph)
}

/// Returns the circles between folders of a crate, and between a folder and files beside it.
///
/// The modules in one folder are compared with each other: each is one node, with everything below it. A
/// module and its own submodules are one node, so a submodule may use its parent.
#[must_use]
pub fn of_folders(source: &Crate, edges: &Edges) -> Vec<Circle> {
    let levels: BTreeSet<&[String]> = source
        .files
        .iter()
        .filter_map(|file| file.module.split_last().map(|(_, parent)| parent))
        .collect();
    let mut found = Vec::new();
    for level in levels {
        let below = |file: usize| {
            let module = &source.files[file].module;
            module.strip_prefix(level).and_then(|rest| rest.first())
        };
        let mut graph = Graph::new();
        for ((from, to), names) in edges {
            if let (Some(from), Some(to)) = (below(*from), below(*to))
                && from != to
            {
                let ties = graph.entry(from.clone()).or_default().entry(to.clone()).or_default();
                ties.extend(names.clone());
            }
        }
        let is_folder = |name: &String| {
            let path = [level, std::slice::from_ref(name)].concat();
            source
                .files
                .iter()
                .any(|file| file.module.len() > path.len() && file.module.starts_with(&path))
        };
        let place = [&[source.name.clone()][..], level].concat().join("/");
        let all = circles(&place, &graph).into_iter();
        found.extend(all.filter(|circle| circle.nodes.iter().any(is_folder)));
    }
    found
}

/// For each node the nodes that it imports, with the names.
type Graph = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Returns the circles of a graph.
fn circles(place: &str, graph: &Graph) -> Vec<Circle> {
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|node| (node.as_str(), reachable(graph, node))).collect();
    let connects = |from: &str, to: &str| reach.get(from).is_some_and(|reach| reach.contains(to));
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for node in graph.keys() {
        if !seen.insert(node) || !connects(node, node) {
            continue;
        }
        let nodes: BTreeSet<String> = graph
            .keys()
            .filter(|other| connects(node, other) && connects(other, node))
            .cloned()
            .collect();
        seen.extend(graph.keys().filter(|other| nodes.contains(*other)).map(String::as_str));
        let ties = ties(graph, &nodes);
        found.push(Circle { place: place.into(), nodes, ties });
    }
    found
}

fn ties(graph: &Graph, nodes: &BTreeSet<String>) -> Vec<String> {
    let mut ties = Vec::new();
    for from in nodes {
        for (to, names) in graph.get(from).into_iter().flatten() {
            if nodes.contains(to) && from != to {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                ties.push(format!("{from} uses {} of {to}", names.join(", ")));
            }
        }
    }
    ties
}

/// Returns the nodes that can be reached from a node in one step or more.
fn reachable<'g>(graph: &'g Graph, from: &str) -> BTreeSet<&'g str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = vec![from];
    while let Some(node) = next.pop() {
        for to in graph.get(node).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(to.as_str()) {
                next.push(to);
            }
        }
    }
    reached
}
