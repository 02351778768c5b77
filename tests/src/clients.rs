//! The clients from npm, installed on demand.
//!
//! `tests/clients/package.json` lists them and the lock file beside it pins them. They are
//! installed once into the build directory, and again only when the lock file changes.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, OnceLock, PoisonError},
};

use serde_json::Value;

use crate::{process::announce, settings};

/// One version of workerd.
#[derive(Clone, Debug)]
pub struct Workerd {
    /// Its program.
    pub program: PathBuf,
    /// Its version in npm.
    pub version: String,
}

/// One version of miniflare.
#[derive(Clone, Debug)]
pub struct Miniflare {
    /// The Node.js that runs it.
    pub node: PathBuf,
    /// The name of its npm package.
    pub package: &'static str,
    /// The directory that contains `node_modules`.
    pub directory: PathBuf,
}

impl Miniflare {
    /// Adds our own npm package beside it, made with `npm pack`: a file that is missing in a user's
    /// installation is missing here, too.
    ///
    /// # Panics
    /// If the package can't be made or unpacked.
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
    /// Returns the clients, and installs them below `directory` unless they are there. Returns
    /// none, and announces it once, if they can't be installed.
    ///
    /// # Panics
    /// If they can't be installed and `WAYPOST_REQUIRE_CLIENTS` is set.
    pub fn get(directory: &Path) -> Option<&'static Clients> {
        static CLIENTS: OnceLock<Result<Clients, String>> = OnceLock::new();
        let clients = CLIENTS.get_or_init(|| install(directory));
        or_skip("workerd and miniflare", clients.as_ref().map_err(Clone::clone))
    }

    /// The miniflare that needs Node 20. Returns none, and announces it once, if this machine's
    /// Node is older.
    ///
    /// # Panics
    /// If it does not run and `WAYPOST_REQUIRE_CLIENTS` is set.
    #[must_use]
    pub fn miniflare_4(&self) -> Option<Miniflare> {
        self.miniflare("miniflare", "node".into(), "20.18")
    }

    /// The miniflare of the current wrangler. It runs on a Node from npm if there is one for this
    /// system. Returns none, and announces it once, if this machine's Node is too old.
    ///
    /// # Panics
    /// If it does not run and `WAYPOST_REQUIRE_CLIENTS` is set.
    #[must_use]
    pub fn miniflare_5(&self) -> Option<Miniflare> {
        let node = self.own_node().unwrap_or_else(|| "node".into());
        self.miniflare("miniflare-5", node, "22.12")
    }

    /// The Node.js from npm, if there is one for this system.
    fn own_node(&self) -> Option<PathBuf> {
        let system = match (env::consts::OS, env::consts::ARCH) {
            ("linux", "x86_64") => "linux-x64",
            ("linux", "aarch64") => "linux-arm64",
            _ => "none",
        };
        let own = self.directory.join(format!("node_modules/node-22-{system}/bin/node"));
        own.exists().then_some(own)
    }

    /// A command that runs a script of `tests/clients` with the packages, on the newer Node.js if
    /// there is one.
    #[must_use]
    pub fn node_22(&self) -> Command {
        let mut command = Command::new(self.own_node().unwrap_or_else(|| "node".into()));
        command.current_dir(&self.directory);
        command
    }

    /// Whether wrangler runs: it needs Node 22.12. Announces once if it does not.
    ///
    /// # Panics
    /// If it does not run and `WAYPOST_REQUIRE_CLIENTS` is set.
    #[must_use]
    pub fn has_wrangler(&self) -> bool {
        let run = run(self.wrangler().arg("--version"));
        or_skip("wrangler, which needs Node 22.12", run).is_some()
    }

    /// A command that runs wrangler.
    #[must_use]
    pub fn wrangler(&self) -> Command {
        let mut command = self.node_22();
        command.arg(self.directory.join("node_modules/wrangler/bin/wrangler.js"));
        command
    }

    fn miniflare(&self, package: &'static str, node: PathBuf, needs: &str) -> Option<Miniflare> {
        let [major, minor] =
            [0, 1].map(|part| needs.split('.').nth(part).expect("a version has two parts"));
        let load = format!(
            "const [major, minor] = process.versions.node.split('.').map(Number);\
             if (major < {major} || (major === {major} && minor < {minor})) {{\
             console.error('this is ' + process.version); process.exit(1) }}\
             require('{package}')"
        );
        let loaded = run(Command::new(&node).args(["-e", &load]).current_dir(&self.directory));
        or_skip(&format!("{package}, which needs Node {needs}"), loaded)?;
        Some(Miniflare { node, package, directory: self.directory.clone() })
    }

    /// A workerd, by its name in package.json. Returns none, and announces it once, if npm has none
    /// for this system.
    ///
    /// # Panics
    /// If there is none and `WAYPOST_REQUIRE_CLIENTS` is set.
    #[must_use]
    pub fn workerd(&self, name: &str) -> Option<Workerd> {
        let arguments = [file("workerd.cjs"), self.directory.clone(), name.into()];
        let found = run(Command::new("node").args(arguments)).map(|output| {
            let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let field = |name: &str| {
                found[name].as_str().expect("the script prints both fields").to_owned()
            };
            Workerd { program: field("program").into(), version: field("version") }
        });
        or_skip(name, found)
    }
}

/// The nginx of this machine, if it was built with `http_auth_request_module`. Returns none, and
/// announces it once, if there is no such nginx.
///
/// # Panics
/// If there is none and `WAYPOST_REQUIRE_CLIENTS` is set.
#[must_use]
pub fn nginx() -> Option<&'static str> {
    let has_module = |program: &str| {
        let about = Command::new(program).arg("-V").output();
        about.is_ok_and(|about| {
            String::from_utf8_lossy(&about.stderr).contains("http_auth_request_module")
        })
    };
    // Debian installs it in a directory that is only on root's PATH.
    let found = ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| has_module(program));
    let why = "no nginx with http_auth_request_module is installed";
    or_skip("nginx", found.ok_or_else(|| why.into()))
}

/// Returns the directory with Cloudflare's SDK for Python, and installs it below `parent` unless it is
/// there. Returns none, and announces it once, if it can't be installed.
///
/// # Panics
/// If it can't be installed and `WAYPOST_REQUIRE_CLIENTS` is set.
pub fn python_sdk(parent: &Path) -> Option<PathBuf> {
    or_skip("Cloudflare's SDK for Python", install_python_sdk(parent))
}

/// Installs Cloudflare's SDK for Python.
fn install_python_sdk(parent: &Path) -> Result<PathBuf, String> {
    let text = |error: std::io::Error| error.to_string();
    fs::create_dir_all(parent).map_err(text)?;
    // Another test run of the same build may install it at the same time.
    let guard = File::create(parent.join("python-sdk.lock")).map_err(text)?;
    guard.lock().map_err(text)?;
    let (requirements, directory) = (file("rest.txt"), parent.join("python-sdk"));
    let wanted = fs::read(&requirements).map_err(text)?;
    let stamp = directory.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(directory);
    }
    announce("installing Cloudflare's SDK from PyPI, once…");
    let arguments = ["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"];
    run(Command::new("python3").args(arguments).arg(&directory).arg("-r").arg(&requirements))?;
    fs::write(&stamp, wanted).map_err(text)?;
    Ok(directory)
}

/// Returns the client. If it is missing, announces once that its tests are skipped, and returns none.
///
/// # Panics
/// If it is missing and `WAYPOST_REQUIRE_CLIENTS` is set.
pub(crate) fn or_skip<T>(name: &str, client: Result<T, String>) -> Option<T> {
    static SKIPPED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let why = match client {
        Ok(client) => return Some(client),
        Err(why) => why,
    };
    assert!(
        !settings::clients_are_required(),
        "{name} is missing, and WAYPOST_REQUIRE_CLIENTS is set: {why}"
    );
    if SKIPPED.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned()) {
        announce(&format!("SKIPPED: the tests with {name}: {why}"));
    }
    None
}

/// A file of `tests/clients`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

fn install(parent: &Path) -> Result<Clients, String> {
    run(Command::new("node").arg("--version")).map_err(|_why| "Node is not installed")?;
    run(Command::new("npm").arg("--version")).map_err(|_why| "npm is not installed")?;
    fs::create_dir_all(parent).map_err(|error| error.to_string())?;
    // Another test run of the same build may install them at the same time.
    let guard = File::create(parent.join("clients.lock")).map_err(|error| error.to_string())?;
    guard.lock().map_err(|error| error.to_string())?;
    let directory = parent.join("clients");
    let wanted = fs::read(file("package-lock.json")).map_err(|error| error.to_string())?;
    let stamp = directory.join("installed.json");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(Clients { directory });
    }
    announce("installing workerd, miniflare and clients of Cloudflare's API from npm, once…");
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(file(name), directory.join(name)).map_err(|error| error.to_string())?;
    }
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    run(Command::new("npm").args(arguments).current_dir(&directory))?;
    fs::write(&stamp, wanted).map_err(|error| error.to_string())?;
    Ok(Clients { directory })
}

/// Makes the npm package of `server/bindings` and unpacks it into `node_modules`, unless it is
/// already there.
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
        return Err(format!("npm pack printed {packed}"));
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

/// Runs a program to its end. The error contains the program's messages.
fn run(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("can't run {program}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let messages = String::from_utf8_lossy(&output.stderr);
    let messages: Vec<&str> =
        messages.lines().filter(|line| !line.trim().is_empty()).take(6).collect();
    Err(format!("{program} failed ({}): {}", output.status, messages.join("; ")))
}
