//! A disk in memory that fails in the ways of real disks.
//!
//! A write to a file is *pending* until a sync of that file covers it, and the creation or removal of a file until a
//! sync of the directory does. When the machine loses power, any subset of the pending writes survives, torn at
//! sector boundaries, and any subset of the pending names. Calls fail when a test has armed a fault for them. All
//! random choices come from one seed.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kv_core::engine::disk::Directory;

use crate::rng::Rng;

mod files;
mod media;
mod names;
mod process;
mod room;

use files::Files;
pub use files::Image;
pub use media::{Keep, Loss, SECTOR_BYTES};
use names::FileId;
use process::Process;
use room::Room;

/// The file with redb's database.
pub const FILE: &str = "waypost.redb";

/// A call of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Opening a file.
    Open,
    /// Creating a file.
    Create,
    /// Removing a file.
    Remove,
    /// Listing the files.
    List,
    /// Syncing the directory.
    SyncDirectory,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Changing the length.
    SetLen,
    /// Syncing a file.
    Sync,
}

/// The fault of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine loses power. `Keep` decides which pending writes survive. All handles become
    /// invalid.
    PowerLoss(Keep),
    /// The process is killed: nothing is lost, but all handles become invalid.
    Kill,
    /// The call fails once. A write may have been done in part, a file created or removed nevertheless. A sync
    /// loses those of its writes, or of its names, that `keep` does not keep; `evict` decides whether reads see the loss at once.
    Fail {
        /// Which writes a failed sync still brings to the disk.
        keep: Keep,
        /// Whether the cache drops the lost writes.
        evict: bool,
    },
    /// The disk is full from now on, until [`FailingDisk::make_room`].
    Full,
}

/// A fault that is armed for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// The kind of call; any if none.
    pub on: Option<Call>,
    /// The number of such calls that succeed first.
    pub after: u64,
    /// The fault that then occurs.
    pub fault: Fault,
}

/// The calls of a disk, and its faults.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// The number of calls of each kind that succeeded.
    pub opens: u64,
    /// See [`Counts::opens`].
    pub reads: u64,
    /// See [`Counts::opens`].
    pub writes: u64,
    /// See [`Counts::opens`].
    pub set_lens: u64,
    /// See [`Counts::opens`]. Each sync covers all writes to its file before it.
    pub syncs: u64,
    /// The faults that occurred, in order.
    pub fired: Vec<(Call, Fault)>,
    /// The writes that crashes and failed syncs lost.
    pub loss: Loss,
}

#[derive(Debug)]
struct Inner {
    files: Files,
    rng: Rng,
    armed: Vec<Armed>,
    is_full: bool,
    /// The room for files, if the disk has a size.
    room: Option<Room>,
    is_paused: bool,
    /// Increases when all handles become invalid.
    life: u64,
    counts: Counts,
}

/// A disk with one directory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct FailingDisk(Arc<Mutex<Inner>>);

impl FailingDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(rng: Rng) -> FailingDisk {
        FailingDisk::with(Files::default(), rng)
    }

    /// A disk that contains these files.
    #[must_use]
    pub fn holding(image: Image, rng: Rng) -> FailingDisk {
        FailingDisk::with(Files::from_durable(image), rng)
    }

    fn with(files: Files, rng: Rng) -> FailingDisk {
        FailingDisk(Arc::new(Mutex::new(Inner {
            files,
            rng,
            armed: Vec::new(),
            is_full: false,
            room: None,
            is_paused: false,
            life: 0,
            counts: Counts::default(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory for a process. All its handles become invalid with the next crash, after
    /// which it can open nothing. Call this again for the next process.
    #[must_use]
    pub fn process(&self) -> Arc<dyn Directory> {
        Arc::new(Process { disk: self.clone(), life: self.inner().life })
    }

    /// Arms a fault.
    pub fn arm(&self, armed: Armed) {
        self.inner().armed.push(armed);
    }

    /// Disarms all faults.
    pub fn disarm(&self) {
        self.inner().armed.clear();
    }

    /// Suspends or resumes the counting of calls for armed faults.
    pub fn pause(&self, is_paused: bool) {
        self.inner().is_paused = is_paused;
    }

    /// The number of armed faults.
    #[must_use]
    pub fn armed(&self) -> usize {
        self.inner().armed.len()
    }

    /// The machine loses power now.
    pub fn power_loss(&self, keep: Keep) {
        self.inner().power_loss(keep);
    }

    /// The process is killed now. The writes that a failed sync lost may disappear with it.
    pub fn kill(&self) {
        self.inner().end_process();
    }

    /// Increases with each crash: handles that were opened at a lower value are invalid.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.inner().life
    }

    /// The disk is full from now on.
    pub fn fill(&self) {
        self.inner().is_full = true;
    }

    /// Gives the disk a size, in bytes. It is for an empty disk, and for its first process only.
    pub fn limit(&self, capacity: usize) {
        self.inner().room = Some(Room::new(capacity));
    }

    /// The disk has space again.
    pub fn make_room(&self) {
        self.inner().is_full = false;
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.inner().is_full
    }

    /// Flips a bit in a sector with data, on the disk and in the cache. Returns its file and offset.
    pub fn flip(&self, rng: &mut Rng) -> Option<(String, usize)> {
        self.inner().files.flip(rng)
    }

    /// The files after a power failure now, if nothing that is pending survived.
    #[must_use]
    pub fn image(&self) -> Image {
        self.inner().files.durable()
    }

    /// Whether a write to redb's header, in the first sector of its file, waits for a sync.
    #[must_use]
    pub fn is_header_pending(&self) -> bool {
        let inner = self.inner();
        let file = inner.files.find(FILE);
        file.is_some_and(|id| inner.files.media(id).is_first_sector_pending())
    }

    /// The calls and faults so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner().counts.clone()
    }
}

/// A call that runs, and what a fault must know of it.
#[derive(Clone, Copy, Debug)]
enum Running<'a> {
    /// A call without an effect that a fault leaves in part.
    Plain(Call),
    Create(&'a str),
    Remove(&'a str),
    SyncDirectory,
    Sync(FileId),
    /// A write at an offset.
    Write(FileId, usize, &'a [u8]),
}

impl Running<'_> {
    fn call(&self) -> Call {
        match self {
            Running::Plain(call) => *call,
            Running::Create(_) => Call::Create,
            Running::Remove(_) => Call::Remove,
            Running::SyncDirectory => Call::SyncDirectory,
            Running::Sync(_) => Call::Sync,
            Running::Write(..) => Call::Write,
        }
    }
}

impl Inner {
    fn power_loss(&mut self, keep: Keep) {
        self.counts.loss += self.files.lose_power(keep, &mut self.rng);
        self.end_process();
    }

    fn end_process(&mut self) {
        self.life += 1;
        self.files.end_process();
    }

    /// Whether the process of a handle still runs.
    fn alive(&self, life: u64) -> io::Result<()> {
        if life == self.life { Ok(()) } else { Err(io::Error::other("the machine has lost power")) }
    }

    /// Whether a call may proceed. Triggers the fault that is armed for it.
    fn begin(&mut self, life: u64, running: Running<'_>) -> io::Result<()> {
        self.alive(life)?;
        let Some(fault) = self.due(running.call()) else { return Ok(()) };
        self.counts.fired.push((running.call(), fault));
        match fault {
            Fault::PowerLoss(keep) => {
                // The call during which it occurs may have had its effect, completely or in part.
                match running {
                    Running::Write(id, offset, data) => {
                        self.files.media_mut(id).write(offset, data)
                    }
                    _ => self.change_name(running),
                }
                self.power_loss(keep);
                Err(io::Error::other("the power failed"))
            }
            Fault::Kill => {
                self.run_part(running);
                self.end_process();
                Err(io::Error::other("the process was killed"))
            }
            Fault::Fail { keep, evict } => {
                self.run_part(running);
                let loss = match running {
                    Running::Sync(id) => self.files.lose(id, keep, evict, &mut self.rng),
                    Running::SyncDirectory => self.files.lose_names(keep, evict, &mut self.rng),
                    _ => Loss::default(),
                };
                self.counts.loss += loss;
                Err(io::Error::other("input/output error"))
            }
            Fault::Full => {
                self.is_full = true;
                Ok(())
            }
        }
    }

    /// A failed write may have been done in part, and a file may have been created or removed nevertheless.
    fn run_part(&mut self, running: Running<'_>) {
        match running {
            Running::Write(id, offset, data) => {
                let sectors = self.rng.index(data.len() / SECTOR_BYTES + 1);
                let part = (sectors * SECTOR_BYTES).min(data.len());
                let media = self.files.media_mut(id);
                if part > 0 && offset + part <= media.len() {
                    media.write(offset, &data[..part]);
                }
            }
            Running::Create(_) | Running::Remove(_) if self.rng.chance(50) => {
                self.change_name(running);
            }
            _ => {}
        }
    }

    /// Creates or removes a file, if there is none of this name or one.
    fn change_name(&mut self, running: Running<'_>) {
        match running {
            Running::Create(name) if self.files.find(name).is_none() => {
                self.files.create(name);
            }
            Running::Remove(name) if self.files.find(name).is_some() => self.files.remove(name),
            _ => {}
        }
    }

    fn due(&mut self, call: Call) -> Option<Fault> {
        if self.is_paused {
            return None;
        }
        let mut due = None;
        for (i, armed) in self.armed.iter_mut().enumerate() {
            if armed.on.is_some_and(|on| on != call) {
                continue;
            }
            if armed.after == 0 && due.is_none() {
                due = Some(i);
            }
            armed.after = armed.after.saturating_sub(1);
        }
        due.map(|i| self.armed.remove(i).fault)
    }

    fn full() -> io::Error {
        io::Error::from(io::ErrorKind::StorageFull)
    }
}
