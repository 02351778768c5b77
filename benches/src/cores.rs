//! Which cores a side has, so that what one does takes no core from another. (The disk and the memory's
//! bandwidth are still shared.)

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Failure;

/// The cores of this machine: all of them for all, or in two halves, the first for one end, with who
/// asks there, and the second for the rest.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    all: CpuSet,
    halves: Option<[CpuSet; 2]>,
}

impl Cores {
    /// All for all.
    ///
    /// # Errors
    /// If the system does not say which there are.
    pub fn shared() -> Result<Cores, Failure> {
        Ok(Cores { all: sched_getaffinity(None)?, halves: None })
    }

    /// In two halves; none if there is only one.
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

    /// Measures with halved cores, as each end has its own elsewhere; then with shared ones. The name is
    /// for a directory.
    ///
    /// # Errors
    /// If the system does not say which cores there are, or a measurement fails.
    pub fn apart_and_shared(
        mut measure: impl FnMut(&'static str, &Cores) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match Cores::halves()? {
            None => println!("\nthe ends can't have cores of their own: there is one core"),
            Some(cores) => {
                println!(
                    "\none end, with who asks there, on half of the cores, the rest on the others"
                );
                measure("apart", &cores)?;
            }
        }
        println!("\nall on all cores");
        measure("shared", &Cores::shared()?)
    }

    /// Does some work so that whatever it starts has one half of the cores, 0 or 1, if they are halved.
    ///
    /// # Errors
    /// If the system does not let it, or the work fails.
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
