//! The clients that are not ours, installed from npm on demand.
//!
//! `tests/clients/package.json` names them and the lock file beside it pins them. They are installed
//! once into the build's directory, and again only when the lock file changes.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;

use crate::{process::announce, settings};

/// One version of workerd.
#[derive(Clone, Debug)]
pub struct Workerd {
    /// Its program.
    pub program: PathBuf,
    /// As npm counts them.
    pub version: String,
}

/// One version of miniflare.
#[derive(Clone, Debug)]
pub struct Miniflare {
    /// The Node.js that runs it.
    pub node: PathBuf,
    /// Its name among the packages.
    pub package: &'static str,
    /// Where `node_modules` is.
    pub directory: PathBuf,
}

impl Miniflare {
    /// The same with our own npm package beside it: as `npm pack` makes it, so that what would be
    /// missing for a user is missing here.
    ///
    /// # Panics
    /// If the package can't be made.
    #[must_use]
    pub fn with_bindings(self) -> Miniflare {
        if let Err(why) = install_bindings(&self.directory) {
            panic!("our npm package can't be installed: {why}");
        }
        self
    }
}

/// An installation of the clients.
#[derive(Clone, Debug)]
pub struct Clients {
    directory: PathBuf,
}

impl Clients {
    /// The clients, installed below `directory` if they are not yet; none if they can't be had,
    /// which is said once.
    ///
    /// # Panics
    /// If they can't be had though they are required.
    pub fn get(directory: &Path) -> Option<&'static Clients> {
        static CLIENTS: OnceLock<Result<Clients, String>> = OnceLock::new();
        let clients = CLIENTS.get_or_init(|| {
            let clients = install(directory);
            if let Err(why) = &clients {
                announce(&format!("SKIPPED: the tests with workerd and miniflare: {why}"));
            }
            clients
        });
        or_skip(clients.as_ref().map_err(Clone::clone))
    }

    /// The miniflare that runs on Node 20; none if this Node is older, which is said.
    ///
    /// # Panics
    /// If it can't be had though it is required.
    #[must_use]
    pub fn miniflare_4(&self) -> Option<Miniflare> {
        self.miniflare("miniflare", "node".into(), "20.18")
    }

    /// The miniflare of today's wrangler, on a Node from npm where it has one for this system; none if
    /// this Node is too old, which is said.
    ///
    /// # Panics
    /// If it can't be had though it is required.
    #[must_use]
    pub fn miniflare_5(&self) -> Option<Miniflare> {
        let system = match (env::consts::OS, env::consts::ARCH) {
            ("linux", "x86_64") => "linux-x64",
            ("linux", "aarch64") => "linux-arm64",
            _ => "none",
        };
        let own = self.directory.join(format!("node_modules/node-22-{system}/bin/node"));
        let node = if own.exists() { own } else { "node".into() };
        self.miniflare("miniflare-5", node, "22.12")
    }

    fn miniflare(&self, package: &'static str, node: PathBuf, wants: &str) -> Option<Miniflare> {
        let [major, minor] = [0, 1].map(|part| wants.split('.').nth(part).expect("two parts"));
        let load = format!(
            "const [major, minor] = process.versions.node.split('.').map(Number);\
             if (major < {major} || (major === {major} && minor < {minor})) {{\
             console.error('it is ' + process.version); process.exit(1) }}\
             require('{package}')"
        );
        let loaded = run(Command::new(&node).args(["-e", &load]).current_dir(&self.directory));
        if let Err(why) = &loaded {
            announce(&format!(
                "SKIPPED: the tests with {package}, which wants Node {wants}: {why}"
            ));
        }
        or_skip(loaded)?;
        Some(Miniflare { node, package, directory: self.directory.clone() })
    }

    /// A workerd, by the name that package.json gives it; none if that version is not made for this
    /// system, which is said.
    ///
    /// # Panics
    /// If it can't be had though it is required.
    #[must_use]
    pub fn workerd(&self, name: &str) -> Option<Workerd> {
        let arguments = [file("workerd.cjs"), self.directory.clone(), name.into()];
        let found = run(Command::new("node").args(arguments)).map(|output| {
            let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let field =
                |name: &str| found[name].as_str().expect("the script tells both").to_owned();
            Workerd { program: field("program").into(), version: field("version") }
        });
        if let Err(why) = &found {
            announce(&format!("SKIPPED: the tests with {name}, which npm has not for here: {why}"));
        }
        or_skip(found)
    }
}

/// The nginx of this system, if it has one that can ask before it lets a request through; none if not,
/// which is said.
///
/// # Panics
/// If there is none though clients are required.
#[must_use]
pub fn nginx() -> Option<&'static str> {
    let can_ask = |program: &str| {
        let about = Command::new(program).arg("-V").output();
        about.is_ok_and(|about| {
            String::from_utf8_lossy(&about.stderr).contains("http_auth_request_module")
        })
    };
    // Debian has it where only root looks.
    let found = ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| can_ask(program));
    if found.is_none() {
        announce("SKIPPED: the tests with nginx: there is none here with http_auth_request_module");
    }
    or_skip(found.ok_or_else(|| "nginx".into()))
}

pub(crate) fn or_skip<T>(client: Result<T, String>) -> Option<T> {
    match client {
        Ok(client) => Some(client),
        Err(why) if settings::clients_are_required() => panic!("a client is missing: {why}"),
        Err(_said_already) => None,
    }
}

/// A file of `tests/clients`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

fn install(parent: &Path) -> Result<Clients, String> {
    run(Command::new("node").arg("--version")).map_err(|_why| "there is no node here")?;
    run(Command::new("npm").arg("--version")).map_err(|_why| "there is no npm here")?;
    fs::create_dir_all(parent).map_err(|error| error.to_string())?;
    // Other test runs of the same build may want the same, at the same time.
    let guard = File::create(parent.join("clients.lock")).map_err(|error| error.to_string())?;
    guard.lock().map_err(|error| error.to_string())?;
    let directory = parent.join("clients");
    let wanted = fs::read(file("package-lock.json")).map_err(|error| error.to_string())?;
    let stamp = directory.join("installed.json");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(Clients { directory });
    }
    announce("installing workerd and miniflare from npm, once…");
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(file(name), directory.join(name)).map_err(|error| error.to_string())?;
    }
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    run(Command::new("npm").args(arguments).current_dir(&directory))?;
    fs::write(&stamp, wanted).map_err(|error| error.to_string())?;
    Ok(Clients { directory })
}

/// Makes the npm package of `server/bindings` and unpacks it into `node_modules`, if it is not the one
/// that is there.
fn install_bindings(directory: &Path) -> Result<(), String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/bindings");
    let scope = directory.join("node_modules/@waypost");
    fs::create_dir_all(&scope).map_err(|error| error.to_string())?;
    let guard = File::create(scope.join("lock")).map_err(|error| error.to_string())?;
    guard.lock().map_err(|error| error.to_string())?;
    let packed = run(Command::new("npm")
        .args(["pack", "--json", "--loglevel=error", "--pack-destination"])
        .arg(&scope)
        .current_dir(&source))?;
    let packed: Value = serde_json::from_slice(&packed.stdout).unwrap_or_default();
    let field = |name: &str| packed[0][name].as_str();
    let (Some(file), Some(sum)) = (field("filename"), field("integrity")) else {
        return Err(format!("npm pack says {packed}"));
    };
    let stamp = scope.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == sum) {
        return Ok(());
    }
    let target = scope.join("bindings");
    let _there_was_none = fs::remove_dir_all(&target);
    fs::create_dir_all(&target).map_err(|error| error.to_string())?;
    let arguments = ["-x", "-z", "--strip-components=1", "-C"];
    run(Command::new("tar").args(arguments).arg(&target).arg("-f").arg(scope.join(file)))?;
    fs::write(&stamp, sum).map_err(|error| error.to_string())
}

/// Runs a program to its end; an error has what it said.
fn run(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("can't run {program}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).take(6).collect();
    Err(format!("{program} failed ({}): {}", output.status, said.join("; ")))
}
