//! Counts of shipped code: lines, documentation, long functions, errors without a type.

use std::fmt;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, ReturnType, Signature, Type, Visibility};

use crate::source::{Crate, File};

/// The most lines of a file that count as short.
pub const FILE_LINES: usize = 400;
/// The most lines of a function's body, without blank lines and comments.
pub const FUNCTION_LINES: usize = 70;
/// The most arguments of a function.
pub const ARGUMENTS: usize = 5;
/// The deepest nesting of blocks in a function's body.
pub const NESTING: usize = 3;

/// The counts of a crate, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Lines of code: neither blank nor a comment, without tests.
    pub code: usize,
    /// Lines of documentation comments, without tests.
    pub documentation: usize,
    /// The files of more than [`FILE_LINES`] lines, with their lines, blank lines and comments included.
    pub long_files: Vec<String>,
    /// The public functions that return `Result<_, String>`.
    pub string_errors: Vec<String>,
    /// The private functions that return `Result<_, String>`.
    pub private_string_errors: Vec<String>,
    /// The functions of more than [`FUNCTION_LINES`] lines.
    pub long_functions: Vec<String>,
    /// The functions of more than [`ARGUMENTS`] arguments. Implementations of traits do not count: the trait decides.
    pub many_arguments: Vec<String>,
    /// The functions whose blocks are nested deeper than [`NESTING`].
    pub deep_functions: Vec<String>,
    /// The structs with named fields.
    pub structs: Vec<Struct>,
}

/// A struct with named fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struct {
    /// The path of its file, and its name.
    pub place: (String, String),
    /// How many fields it has.
    pub fields: usize,
}

impl Metrics {
    /// Counts a crate.
    #[must_use]
    pub fn of(source: &Crate) -> Metrics {
        let mut metrics = Metrics::default();
        for file in &source.files {
            metrics.lines(file);
        }
        for module in source.modules.values() {
            let file = &source.files[module.file];
            let mut functions = Functions { file, metrics: &mut metrics, nesting: None };
            for item in &module.items {
                functions.visit_item(item);
            }
        }
        metrics
    }

    /// Adds the counts of another crate.
    pub fn add(&mut self, other: Metrics) {
        self.code += other.code;
        self.documentation += other.documentation;
        self.long_files.extend(other.long_files);
        self.string_errors.extend(other.string_errors);
        self.private_string_errors.extend(other.private_string_errors);
        self.long_functions.extend(other.long_functions);
        self.many_arguments.extend(other.many_arguments);
        self.deep_functions.extend(other.deep_functions);
        self.structs.extend(other.structs);
    }

    /// Returns lines of documentation for each 100 lines of code, rounded down.
    #[must_use]
    pub fn documentation_percent(&self) -> usize {
        (self.documentation * 100).checked_div(self.code).unwrap_or(0)
    }

    /// Returns the struct with the most fields, except the named one, whose file is in this folder, or is the file
    /// beside it.
    #[must_use]
    pub fn largest_struct(&self, folder: &str, except: &str) -> Option<&Struct> {
        let is_in = |path: &str| {
            path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
        };
        let found = self.structs.iter().filter(|found| is_in(&found.place.0));
        let found = found.filter(|found| found.place.1 != except);
        found.max_by_key(|found| found.fields)
    }

    fn lines(&mut self, file: &File) {
        let is_test = |number: usize| {
            file.test_lines.iter().any(|(first, last)| (*first..=*last).contains(&number))
        };
        for (index, line) in file.text.lines().enumerate() {
            let line = line.trim_start();
            if is_test(index + 1) || line.is_empty() {
                continue;
            }
            let is_comment = line.starts_with("//");
            self.code += usize::from(!is_comment);
            let is_documentation = line.starts_with("///") || line.starts_with("//!");
            self.documentation += usize::from(is_documentation);
        }
        let lines = file.text.lines().count();
        if lines > FILE_LINES {
            self.long_files.push(format!("{} ({lines} lines)", file.path));
        }
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("lines of code".to_string(), self.code),
            ("lines of documentation".into(), self.documentation),
            ("documentation for 100 lines of code".into(), self.documentation_percent()),
            (format!("files over {FILE_LINES} lines"), self.long_files.len()),
            ("public functions -> Result<_, String>".into(), self.string_errors.len()),
            ("private functions -> Result<_, String>".into(), self.private_string_errors.len()),
            (format!("functions over {FUNCTION_LINES} lines"), self.long_functions.len()),
            (format!("functions over {ARGUMENTS} arguments"), self.many_arguments.len()),
            (format!("functions nested over {NESTING}"), self.deep_functions.len()),
        ];
        rows.iter().try_for_each(|(name, count)| writeln!(f, "{name:<40}{count}"))
    }
}

/// Visits functions.
struct Functions<'a> {
    file: &'a File,
    metrics: &'a mut Metrics,
    /// The depth of the block that is visited, and the deepest so far; `None` outside of functions.
    nesting: Option<(usize, usize)>,
}

impl Functions<'_> {
    fn function(&mut self, signature: &Signature, visibility: &Visibility, body: &Block) {
        let line = signature.ident.span().start().line;
        let name = format!("{}:{line} {}", self.file.path, signature.ident);
        if returns_string_error(signature) {
            let is_public = !matches!(visibility, Visibility::Inherited);
            let list = if is_public {
                &mut self.metrics.string_errors
            } else {
                &mut self.metrics.private_string_errors
            };
            list.push(name.clone());
        }
        let lines = self.body_lines(body);
        if lines > FUNCTION_LINES {
            self.metrics.long_functions.push(format!("{name} ({lines} lines)"));
        }
        let outer = self.nesting.replace((0, 0));
        for statement in &body.stmts {
            self.visit_stmt(statement);
        }
        let deepest = self.nesting.map_or(0, |(_, deepest)| deepest);
        self.nesting = outer;
        if deepest > NESTING {
            self.metrics.deep_functions.push(format!("{name} (nested {deepest})"));
        }
    }

    /// Counts the arguments of a function that is free to have fewer.
    fn arguments(&mut self, signature: &Signature) {
        let arguments = signature.inputs.len();
        if arguments > ARGUMENTS {
            let (path, line) = (&self.file.path, signature.ident.span().start().line);
            let name = format!("{path}:{line} {} ({arguments} arguments)", signature.ident);
            self.metrics.many_arguments.push(name);
        }
    }

    fn body_lines(&self, body: &Block) -> usize {
        let (first, last) = (body.span().start().line, body.span().end().line);
        let inner = self.file.text.lines().skip(first).take(last.saturating_sub(first + 1));
        inner
            .map(str::trim_start)
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .count()
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.arguments(&item.sig);
        self.function(&item.sig, &item.vis, &item.block);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        if let syn::Fields::Named(fields) = &item.fields {
            let place = (self.file.path.clone(), item.ident.to_string());
            self.metrics.structs.push(Struct { place, fields: fields.named.len() });
        }
        visit::visit_item_struct(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.trait_.is_none() {
            for inner in &item.items {
                if let syn::ImplItem::Fn(function) = inner {
                    self.arguments(&function.sig);
                }
            }
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.vis, &item.block);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.arguments(&item.sig);
        if let Some(body) = &item.default {
            self.function(&item.sig, &Visibility::Inherited, body);
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let Some((depth, deepest)) = self.nesting else { return visit::visit_block(self, block) };
        self.nesting = Some((depth + 1, deepest.max(depth + 1)));
        visit::visit_block(self, block);
        let deepest = self.nesting.map_or(0, |(_, deepest)| deepest);
        self.nesting = Some((depth, deepest));
    }
}

/// Returns whether a function returns `Result<_, String>`.
fn returns_string_error(signature: &Signature) -> bool {
    let ReturnType::Type(_, returned) = &signature.output else { return false };
    let Type::Path(path) = &**returned else { return false };
    let Some(last) = path.path.segments.last() else { return false };
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return false };
    let Some(syn::GenericArgument::Type(Type::Path(error))) = arguments.args.iter().nth(1) else {
        return false;
    };
    last.ident == "Result" && error.path.is_ident("String")
}
