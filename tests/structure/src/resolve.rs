//! From names to the files that define them.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::source::{Crate, Module, ModulePath, import};

/// How many re-exports a name may lead through.
const DEPTH: usize = 16;

/// The target of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// A module itself.
    Module(ModulePath),
    /// A name that a module defines.
    Item(ModulePath, String),
}

/// The imports between files: for (from, to) the names that `from` uses of `to`, in order.
pub type Edges = BTreeMap<(usize, usize), Vec<String>>;

/// Returns the names that a file uses of another file, for each pair of files.
#[must_use]
pub fn edges(source: &Crate) -> Edges {
    let mut edges = Edges::new();
    for (path, module) in &source.modules {
        let mut names = Names { paths: Vec::new(), local: Module::default() };
        for item in &module.items {
            names.visit_item(item);
        }
        for (name, found) in names.local.imports {
            names.paths.push(found.path);
            names.paths.push(vec![name]);
        }
        let imported = module.imports.values().filter(|import| !import.is_reexport);
        let imported = imported.map(|import| import.path.clone());
        for name in imported.chain(names.paths) {
            let Some(Target::Item(target, shown)) = resolve(source, path, &name, DEPTH) else {
                continue;
            };
            let (from, to) = (module.file, source.modules[&target].file);
            if from != to {
                let names = edges.entry((from, to)).or_default();
                if !names.contains(&shown) {
                    names.push(shown);
                }
            }
        }
    }
    edges
}

/// Follows a path from a module. Returns `None` for names of other crates, of the language, and of
/// functions' own variables.
fn resolve(source: &Crate, from: &[String], path: &[String], depth: usize) -> Option<Target> {
    let (first, mut rest) = path.split_first()?;
    let depth = depth.checked_sub(1)?;
    let mut at = match first.as_str() {
        "crate" => Target::Module(Vec::new()),
        "self" => Target::Module(from.to_vec()),
        "super" => {
            let mut parent = from[..from.len().checked_sub(1)?].to_vec();
            while let Some(("super", after)) =
                rest.split_first().map(|(first, after)| (first.as_str(), after))
            {
                parent.pop()?;
                rest = after;
            }
            Target::Module(parent)
        }
        name => step(source, from, name, depth)?,
    };
    for name in rest {
        match at {
            Target::Module(module) => at = step(source, &module, name, depth)?,
            // A variant, a constant or a function of a type.
            item @ Target::Item(..) => return Some(item),
        }
    }
    Some(at)
}

/// Follows one name from a module.
fn step(source: &Crate, from: &[String], name: &str, depth: usize) -> Option<Target> {
    let module = source.modules.get(from)?;
    if module.defines.contains(name) {
        return Some(Target::Item(from.to_vec(), name.into()));
    }
    if let Some(import) = module.imports.get(name)
        && import.path.first().is_none_or(|first| first != name || import.path.len() > 1)
        && let Some(target) = resolve(source, from, &import.path, depth)
    {
        return Some(target);
    }
    let child = [from, &[name.to_string()]].concat();
    if source.modules.contains_key(&child) {
        return Some(Target::Module(child));
    }
    module.globs.iter().find_map(|glob| match resolve(source, from, glob, depth)? {
        Target::Module(glob) if glob != from => step(source, &glob, name, depth.checked_sub(1)?),
        _ => None,
    })
}

/// Collects the paths of items: of types, expressions and patterns, and inside macros.
struct Names {
    paths: Vec<Vec<String>>,
    /// Imports inside functions.
    local: Module,
}

impl<'ast> Visit<'ast> for Names {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter();
        self.paths.push(segments.map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        import(&mut self.local, &item.tree, &mut Vec::new(), false);
    }

    fn visit_macro(&mut self, found: &'ast syn::Macro) {
        self.tokens(found.tokens.clone());
        visit::visit_macro(self, found);
    }

    fn visit_attribute(&mut self, _attribute: &'ast syn::Attribute) {}
}

impl Names {
    /// Collects what looks like a path in the tokens of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) if path.is_empty() || colons == 2 => {
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(point) if point.as_char() == ':' && !path.is_empty() => {
                    colons += 1
                }
                other => {
                    self.paths.extend((!path.is_empty()).then(|| std::mem::take(&mut path)));
                    colons = 0;
                    match other {
                        TokenTree::Ident(name) => path.push(name.to_string()),
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        _ => {}
                    }
                }
            }
        }
        self.paths.extend((!path.is_empty()).then_some(path));
    }
}
