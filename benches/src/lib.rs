//! The common parts of the benchmarks: programs that run two or more sides in turns, and print
//! ratios.
//!
//! A ratio is computed from two adjacent rounds of one run, so that both sides met the same
//! conditions. The result is the median over the rounds; the minimum and the maximum show the
//! noise. On a shared machine, compare the processor time of an operation.

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

/// The error of a benchmark.
pub type Failure = Box<dyn Error + Send + Sync>;

/// An empty directory for a benchmark's files, which is removed when this is dropped.
///
/// It is beside the program, below `target`: the system's temporary directory may be in memory,
/// where a sync costs nothing.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Creates the directory, below `parent` if one is given.
    ///
    /// # Errors
    /// If it can't be created.
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

/// Reads a file, so that the system has it in its cache: some machines evict data that was not read
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
            eprintln!("can't remove {}: {error}", self.0.display());
        }
    }
}
