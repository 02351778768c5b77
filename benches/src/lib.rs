//! What the benchmarks share: programs that run two or more sides by turns, and print ratios.
//!
//! A ratio is made of two neighbouring rounds of one run, so that both sides met the same machine;
//! the median over the rounds is what counts, and the least and the largest say how noisy it was.
//! Where the machine is shared, processor time for each operation is the figure to compare.

use std::{
    env,
    error::Error,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

pub mod accuracy;
pub mod converge;
pub mod cores;
pub mod data;
pub mod distribution;
pub mod fill;
pub mod group_commit;
pub mod limiters;
pub mod meter;
pub mod redis;
pub mod replicate;
pub mod rounds;
pub mod server;
pub mod wrk;

/// What ends a benchmark early.
pub type Failure = Box<dyn Error + Send + Sync>;

/// An empty directory for a benchmark's files, gone when this is dropped.
///
/// It lies beside the program, below `target`: the system's directory for temporary files may be
/// in memory, where a sync costs nothing.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes the directory, below `parent` if one is given.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn new(parent: Option<PathBuf>) -> io::Result<Scratch> {
        let parent = match parent {
            Some(parent) => parent,
            None => env::current_exe()?.with_file_name("bench-data"),
        };
        let path = parent.join(std::process::id().to_string());
        std::fs::create_dir_all(&path)?;
        Ok(Scratch(path))
    }

    /// A path in the directory.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Reads a file, so that the system has it in its cache: some machines take back what was not read
/// for a few seconds.
///
/// # Errors
/// If it can't be read.
pub fn read_through(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; 1 << 20];
    while file.read(&mut piece)? > 0 {}
    Ok(())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}
