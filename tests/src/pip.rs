//! Programs from PyPI, installed on demand and pinned by their hashes in `clients`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::announce;

/// Installs the package of `clients/NAME.txt` below `parent`, unless it is there, and returns its directory.
pub(crate) fn install(parent: &Path, name: &str) -> Result<PathBuf, String> {
    let text = |error: std::io::Error| error.to_string();
    let requirements =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(format!("{name}.txt"));
    let wanted = fs::read(&requirements).map_err(text)?;
    fs::create_dir_all(parent).map_err(text)?;
    // Another test run of the same build may install it at the same time.
    let guard = File::create(parent.join(format!("{name}.lock"))).map_err(text)?;
    guard.lock().map_err(text)?;
    let directory = parent.join(name);
    let stamp = directory.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(directory);
    }
    announce(&format!("installing {name} from PyPI, once…"));
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--require-hashes"])
        .arg("--target")
        .arg(&directory)
        .arg("-r")
        .arg(&requirements)
        .output()
        .map_err(|_why| "python3 is not installed")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("pip failed: {}", message.trim()));
    }
    fs::write(&stamp, wanted).map_err(text)?;
    Ok(directory)
}
