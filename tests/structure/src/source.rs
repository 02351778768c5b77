//! The modules of a crate, as parsed from its files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use syn::spanned::Spanned;
use syn::{Attribute, Item, UseTree, Visibility};

/// A module path below the crate root: `["algorithm", "gcra"]`. The root is empty.
pub type ModulePath = Vec<String>;

/// A source file.
#[derive(Debug)]
pub struct File {
    /// The path below the root of the repository.
    pub path: String,
    /// The module that the file is.
    pub module: ModulePath,
    /// The text.
    pub text: String,
    /// The first and last line of each item under `#[cfg(test)]`, from 1.
    pub test_lines: Vec<(usize, usize)>,
}

/// A `use` declaration of one name.
#[derive(Clone, Debug)]
pub struct Import {
    /// The full path, without the rename.
    pub path: Vec<String>,
    /// Whether the declaration has a visibility of its own, so that it is a re-export.
    pub is_reexport: bool,
}

/// A module: a file, or an inline module of one.
#[derive(Default)]
pub struct Module {
    /// The index of its file in [`Crate::files`].
    pub file: usize,
    /// The names that it defines, child modules left out.
    pub defines: BTreeSet<String>,
    /// The names that it imports.
    pub imports: BTreeMap<String, Import>,
    /// The paths of its glob imports.
    pub globs: Vec<Vec<String>>,
    /// Its items, without those under `#[cfg(test)]` and without child modules.
    pub items: Vec<Item>,
}

/// A crate.
pub struct Crate {
    /// The folder of the crate.
    pub name: String,
    /// Its files, the root first.
    pub files: Vec<File>,
    /// Its modules.
    pub modules: BTreeMap<ModulePath, Module>,
}

/// The reason why a crate could not be read.
#[derive(Debug)]
pub enum Failure {
    /// A file could not be read.
    Read(PathBuf, io::Error),
    /// A file is not valid Rust.
    Parse(PathBuf, syn::Error),
    /// A module is declared and has no file.
    Missing(PathBuf),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Read(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Failure::Parse(path, error) => write!(f, "cannot parse {}: {error}", path.display()),
            Failure::Missing(path) => write!(f, "no file for the module {}", path.display()),
        }
    }
}

impl std::error::Error for Failure {}

/// Reads a crate of the repository, from `src/lib.rs` on.
///
/// # Errors
/// [`Failure`] if a file is missing, cannot be read, or is not valid Rust.
pub fn read(repository: &Path, name: &str) -> Result<Crate, Failure> {
    let mut reader = Reader {
        repository,
        read: Crate { name: name.into(), files: Vec::new(), modules: BTreeMap::new() },
    };
    let src = repository.join(name).join("src");
    reader.file(&src.join("lib.rs"), &src, Vec::new())?;
    Ok(reader.read)
}

struct Reader<'a> {
    repository: &'a Path,
    read: Crate,
}

impl Reader<'_> {
    /// Reads a file and, from `folder`, the files of its child modules.
    fn file(&mut self, path: &Path, folder: &Path, module: ModulePath) -> Result<(), Failure> {
        let text = fs::read_to_string(path).map_err(|error| Failure::Read(path.into(), error))?;
        let parsed = syn::parse_file(&text).map_err(|error| Failure::Parse(path.into(), error))?;
        let shown = path.strip_prefix(self.repository).unwrap_or(path).display().to_string();
        let test_lines = Vec::new();
        self.read.files.push(File { path: shown, module: module.clone(), text, test_lines });
        let file = self.read.files.len() - 1;
        self.items(parsed.items, file, folder, module)
    }

    /// Reads the items of a module.
    fn items(
        &mut self,
        items: Vec<Item>,
        file: usize,
        folder: &Path,
        module: ModulePath,
    ) -> Result<(), Failure> {
        let mut this = Module { file, ..Module::default() };
        let mut children = Vec::new();
        for item in items {
            if is_test(attributes(&item)) {
                let lines = (item.span().start().line, item.span().end().line);
                self.read.files[file].test_lines.push(lines);
                continue;
            }
            match item {
                Item::Mod(child) => children.push(child),
                Item::Use(item) => {
                    let is_reexport = !matches!(item.vis, Visibility::Inherited);
                    import(&mut this, &item.tree, &mut Vec::new(), is_reexport);
                }
                item => {
                    this.defines.extend(defined(&item));
                    this.items.push(item);
                }
            }
        }
        self.read.modules.insert(module.clone(), this);
        for child in children {
            let name = child.ident.to_string();
            let inner = [&module[..], std::slice::from_ref(&name)].concat();
            let below = folder.join(&name);
            match child.content {
                Some((_, items)) => self.items(items, file, &below, inner)?,
                None => {
                    let path = [below.with_extension("rs"), below.join("mod.rs")];
                    let path = path.iter().find(|path| path.exists());
                    let path = path.ok_or_else(|| Failure::Missing(below.clone()))?;
                    self.file(path, &below, inner)?;
                }
            }
        }
        Ok(())
    }
}

/// Adds the names of a `use` tree to a module.
pub fn import(module: &mut Module, tree: &UseTree, prefix: &mut Vec<String>, is_reexport: bool) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            import(module, &path.tree, prefix, is_reexport);
            prefix.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                import(module, tree, prefix, is_reexport);
            }
        }
        UseTree::Glob(_) => module.globs.push(prefix.clone()),
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            let mut path = prefix.clone();
            if name != "self" {
                path.push(name);
            }
            let bound = path.last().cloned().unwrap_or_default();
            module.imports.insert(bound, Import { path, is_reexport });
        }
        UseTree::Rename(rename) => {
            let (from, mut to) = (rename.ident.to_string(), rename.rename.to_string());
            let mut path = prefix.clone();
            if from != "self" {
                path.push(from);
            }
            if to == "_" {
                // A trait that is imported without a name: keep the edge under a name of its own.
                to = format!("_{}", module.imports.len());
            }
            module.imports.insert(to, Import { path, is_reexport });
        }
    }
}

/// Returns whether an item is compiled for tests only: under `cfg(test)` or `cfg(all(test, …))`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let tokens = attribute.meta.require_list().map(|list| list.tokens.to_string());
        tokens.is_ok_and(|tokens| {
            tokens == "test" || tokens.replace(' ', "").starts_with("all(test,")
        })
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn defined(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
