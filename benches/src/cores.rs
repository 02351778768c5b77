//! Assigns cores to the sides of a benchmark, so that they do not compete for cores. (They still
//! share the disk and the memory bandwidth.)

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Failure;

/// The cores of this machine: shared by everything, or in two halves. The first half is for one end
/// and its clients, the second for the rest.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    all: CpuSet,
    halves: Option<[CpuSet; 2]>,
}

impl Cores {
    /// All cores for everything.
    ///
    /// # Errors
    /// If the system does not report the cores.
    pub fn shared() -> Result<Cores, Failure> {
        Ok(Cores { all: sched_getaffinity(None)?, halves: None })
    }

    /// Two halves; none if there is only one core.
    fn halves() -> Result<Option<Cores>, Failure> {
        let all = sched_getaffinity(None)?;
        let count = usize::try_from(all.count())?;
        let mut halves = [CpuSet::new(), CpuSet::new()];
        let cores = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
        for (place, core) in cores.enumerate() {
            halves[usize::from(place >= count / 2)].set(core);
        }
        Ok((count > 1).then_some(Cores { all, halves: Some(halves) }))
    }

    /// Measures with two halves, because in production each end has a machine of its own, and then
    /// with shared cores. The name is for a directory.
    ///
    /// # Errors
    /// If the system does not report the cores, or a measurement fails.
    pub fn apart_and_shared(
        mut measure: impl FnMut(&'static str, &Cores) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match Cores::halves()? {
            None => println!("\nthe ends share the only core"),
            Some(cores) => {
                println!(
                    "\none end and its clients on half of the cores, the rest on the other half"
                );
                measure("apart", &cores)?;
            }
        }
        println!("\neverything on all cores");
        measure("shared", &Cores::shared()?)
    }

    /// Does work so that everything it starts runs on one half of the cores, 0 or 1, if there are
    /// halves.
    ///
    /// # Errors
    /// If the system rejects the affinity, or the work fails.
    pub fn on<T>(
        &self,
        half: usize,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if let Some(halves) = &self.halves {
            sched_setaffinity(None, &halves[half])?;
        }
        let done = work();
        sched_setaffinity(None, &self.all)?;
        done
    }
}
