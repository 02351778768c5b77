//! The wall clock that a location's processes see, which a test steps while they run.
//!
//! libfaketime (Debian: `faketime`) answers for the system's clock. It reads the offset from a file at each
//! call, so a step reaches a running process at once. Monotonic time is not faked: it does not step on a real
//! machine either, and every timeout is measured by it.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{clients::or_skip, wait::unix_seconds};

/// The library that answers for the system's clock.
#[derive(Clone, Debug)]
pub struct Faketime {
    preload: String,
}

impl Faketime {
    /// The library of this system. Returns `None`, and prints a line that begins with `SKIPPED`, if it is missing.
    ///
    /// # Panics
    /// If it is missing and `WAYPOST_REQUIRE_CLIENTS=1`.
    #[must_use]
    pub fn get() -> Option<Faketime> {
        static FOUND: OnceLock<Result<Faketime, String>> = OnceLock::new();
        remove_leftovers(Path::new("/dev/shm"));
        let found = FOUND.get_or_init(find);
        or_skip("wrong clocks", found.clone())
    }
}

/// Asks the program `faketime`, which knows where its library is, and whether a process sees a wrong clock by it.
/// `-m` selects the library for processes with threads.
fn find() -> Result<Faketime, String> {
    let ask = r#"printf '%s %s' "$LD_PRELOAD" "$(date +%s)""#;
    let output = Command::new("faketime").args(["-m", "-f", "+2d", "sh", "-c", ask]).output();
    let output =
        output.map_err(|error| format!("`faketime` (Debian: the package faketime): {error}"))?;
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen = answer.rsplit_once(' ').and_then(|(library, now)| {
        Some((library, now.parse::<u64>().ok()?.checked_sub(unix_seconds())?))
    });
    match seen {
        Some((library, DAY..)) if !library.is_empty() => Ok(Faketime { preload: library.into() }),
        _ => Err(format!("`faketime` does not change the clock: {output:?}")),
    }
}

const DAY: u64 = 24 * 60 * 60;

/// Removes the shared memory and the semaphores of processes that have ended from the directory where the system
/// keeps them. libfaketime names them after the process and removes them when it ends, but not when it is killed, as
/// these tests do. Later, a process with the same number does not start: "sem_open: File exists".
pub fn remove_leftovers(shared_memory: &Path) {
    for file in fs::read_dir(shared_memory).into_iter().flatten().flatten() {
        let name = file.file_name();
        let Some(process) = name.to_str().and_then(process_of) else { continue };
        if !Path::new("/proc").join(process.to_string()).exists() {
            // Another test may remove it at the same time.
            let _is_gone = fs::remove_file(file.path());
        }
    }
}

/// The process that made the file of this name, if libfaketime made it.
fn process_of(name: &str) -> Option<u32> {
    let number =
        name.strip_prefix("faketime_shm_").or_else(|| name.strip_prefix("sem.faketime_sem_"))?;
    number.parse().ok()
}

/// A wall clock. It is right until a test sets it.
#[derive(Debug)]
pub struct Clock {
    preload: String,
    file: PathBuf,
}

impl Clock {
    /// A clock that keeps its offset in a file of this directory.
    ///
    /// # Panics
    /// If the directory does not take a file.
    #[must_use]
    pub fn new(faketime: &Faketime, directory: &Path) -> Clock {
        let clock = Clock { preload: faketime.preload.clone(), file: directory.join("clock") };
        clock.set(0);
        clock
    }

    /// Steps the clock to `ahead` seconds ahead of the true time; behind it, if negative.
    ///
    /// # Panics
    /// If the file can't be written.
    pub fn set(&self, ahead: i64) {
        // A process that reads half an offset ends, so the new file takes the place of the old one whole.
        let new = self.file.with_extension("new");
        let written =
            fs::write(&new, format!("{ahead:+}")).and_then(|()| fs::rename(&new, &self.file));
        written.expect("the clock's file takes an offset");
    }

    /// The variables that make a process see this clock.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.preload.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            // The name of the same variable in versions before 0.9.8.
            ("DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]
    }
}
