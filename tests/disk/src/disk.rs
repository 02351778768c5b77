//! A disk in memory that fails as disks do.
//!
//! What is written is *pending* until a sync covers it. When the machine loses its power, what is
//! pending survives in any subset, torn at the bounds of sectors. Calls fail when a test has armed
//! a fault for them. All chance comes from one seed.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kv_core::engine::disk::{OpenDisk, StorageBackend};

use crate::rng::Rng;

mod media;

use media::Media;
pub use media::{Keep, Loss, SECTOR_BYTES};

/// A call that the engine makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Opening the file.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Changing the length.
    SetLen,
    /// Syncing.
    Sync,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine loses its power: so much of what was not synced is left. All handles are dead.
    PowerLoss(Keep),
    /// The process is killed: nothing is lost, but all handles are dead.
    Kill,
    /// The call fails, this once. A write may have been made in part. A sync loses so much of what
    /// it was to cover; `evict` says whether reads see that at once.
    Fail {
        /// What a sync that fails still brings to the disk.
        keep: Keep,
        /// Whether the cache forgets what was lost.
        evict: bool,
    },
    /// There is no room from here on, until [`FailingDisk::make_room`].
    Full,
}

/// A fault that waits for its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// Which call; any if none.
    pub on: Option<Call>,
    /// How many such calls pass first.
    pub after: u64,
    /// What then happens.
    pub fault: Fault,
}

/// What was done to a disk so far, and what it did.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Calls of each kind that succeeded.
    pub opens: u64,
    /// See [`Counts::opens`].
    pub reads: u64,
    /// See [`Counts::opens`].
    pub writes: u64,
    /// See [`Counts::opens`].
    pub set_lens: u64,
    /// See [`Counts::opens`]. Each covers all writes before it.
    pub syncs: u64,
    /// The number of the last write or change of length that a sync covered.
    pub covered: u64,
    /// The number of the last write to the file's first sector, where redb's header is.
    pub header: u64,
    /// Faults that came, in their order.
    pub fired: Vec<(Call, Fault)>,
    /// What crashes and failed syncs took.
    pub loss: Loss,
}

#[derive(Debug)]
struct Inner {
    media: Media,
    rng: Rng,
    armed: Vec<Armed>,
    is_full: bool,
    is_paused: bool,
    /// Rises when all handles die.
    life: u64,
    /// The number of the last write or change of length.
    serial: u64,
    counts: Counts,
}

/// A disk with one file. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct FailingDisk(Arc<Mutex<Inner>>);

impl FailingDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(rng: Rng) -> FailingDisk {
        FailingDisk::with(Media::default(), rng)
    }

    /// A disk with this file on it.
    #[must_use]
    pub fn holding(bytes: Vec<u8>, rng: Rng) -> FailingDisk {
        FailingDisk::with(Media::from_durable(bytes), rng)
    }

    fn with(media: Media, rng: Rng) -> FailingDisk {
        FailingDisk(Arc::new(Mutex::new(Inner {
            media,
            rng,
            armed: Vec::new(),
            is_full: false,
            is_paused: false,
            life: 0,
            serial: 0,
            counts: Counts::default(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a process opens the file; all that it opens dies with the next crash, and it can open
    /// nothing after it. Ask again for the next process.
    #[must_use]
    pub fn process(&self) -> OpenDisk {
        let (disk, life) = (self.clone(), self.inner().life);
        Box::new(move || {
            let mut inner = disk.inner();
            inner.begin(life, Call::Open, None)?;
            inner.counts.opens += 1;
            Ok(Arc::new(Handle { disk: disk.clone(), life }))
        })
    }

    /// Lets a fault wait for its call.
    pub fn arm(&self, armed: Armed) {
        self.inner().armed.push(armed);
    }

    /// Takes back all faults that still wait.
    pub fn disarm(&self) {
        self.inner().armed.clear();
    }

    /// Lets calls pass without counting them for the faults that wait; or no longer.
    pub fn pause(&self, is_paused: bool) {
        self.inner().is_paused = is_paused;
    }

    /// How many faults wait.
    #[must_use]
    pub fn armed(&self) -> usize {
        self.inner().armed.len()
    }

    /// The machine loses its power now.
    pub fn power_loss(&self, keep: Keep) {
        self.inner().power_loss(keep);
    }

    /// The process is killed now. What a failed sync lost may be forgotten with it.
    pub fn kill(&self) {
        self.inner().life += 1;
    }

    /// Whether all handles of the process that asked at this moment of [`FailingDisk::life`] are
    /// dead.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.inner().life
    }

    /// The cache forgets what it has beyond the disk, except what is still to be written.
    pub fn evict(&self) {
        self.inner().media.evict();
    }

    /// There is no room from now on.
    pub fn fill(&self) {
        self.inner().is_full = true;
    }

    /// There is room again.
    pub fn make_room(&self) {
        self.inner().is_full = false;
    }

    /// Whether there is no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.inner().is_full
    }

    /// Turns a bit of a sector that holds something, on the disk and in the cache; where it was.
    pub fn flip(&self, rng: &mut Rng) -> Option<usize> {
        let mut inner = self.inner();
        let used = inner.media.used_sectors();
        if used.is_empty() {
            return None;
        }
        let at = rng.pick(&used) * SECTOR_BYTES + rng.index(SECTOR_BYTES);
        inner.media.flip(at, u8::try_from(rng.below(8)).expect("below 8"));
        Some(at)
    }

    /// Turns one bit of one byte.
    pub fn flip_at(&self, offset: usize, bit: u8) {
        self.inner().media.flip(offset, bit);
    }

    /// What would be left if the power went now, and nothing pending survived.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.inner().media.durable().to_vec()
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner().counts.clone()
    }
}

impl Inner {
    fn power_loss(&mut self, keep: Keep) {
        self.life += 1;
        self.lose(keep);
        self.media.evict();
    }

    fn lose(&mut self, keep: Keep) {
        let loss = self.media.lose(keep, &mut self.rng);
        self.counts.loss.lost += loss.lost;
        self.counts.loss.torn += loss.torn;
        self.counts.loss.kept += loss.kept;
    }

    /// Whether a call may be made; takes the fault that waited for it. `data` is what a write
    /// would write, and where.
    fn begin(&mut self, life: u64, call: Call, data: Option<(usize, &[u8])>) -> io::Result<()> {
        if life != self.life {
            return Err(io::Error::other("the machine is gone"));
        }
        let Some(fault) = self.due(call) else { return Ok(()) };
        self.counts.fired.push((call, fault));
        match fault {
            Fault::PowerLoss(keep) => {
                // The call that it comes in may have had its effect, or a part of it.
                if let Some((offset, data)) = data {
                    self.media.write(offset, data);
                }
                self.power_loss(keep);
                Err(io::Error::other("the power is gone"))
            }
            Fault::Kill => {
                self.write_part(data);
                self.life += 1;
                Err(io::Error::other("the process is gone"))
            }
            Fault::Fail { keep, evict } => {
                self.write_part(data);
                if call == Call::Sync {
                    self.lose(keep);
                    if evict {
                        self.media.evict();
                    }
                }
                Err(io::Error::other("input/output error"))
            }
            Fault::Full => {
                self.is_full = true;
                Ok(())
            }
        }
    }

    /// A write that fails may have been made in part.
    fn write_part(&mut self, data: Option<(usize, &[u8])>) {
        let Some((offset, data)) = data else { return };
        let sectors = self.rng.index(data.len() / SECTOR_BYTES + 1);
        let part = (sectors * SECTOR_BYTES).min(data.len());
        if part > 0 && offset + part <= self.media.len() {
            self.serial += 1;
            self.media.write(offset, &data[..part]);
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

    fn write(&mut self, life: u64, offset: usize, data: &[u8]) -> io::Result<()> {
        self.begin(life, Call::Write, Some((offset, data)))?;
        if self.is_full {
            self.write_part(Some((offset, data)));
            return Err(Inner::full());
        }
        self.serial += 1;
        self.counts.writes += 1;
        if offset < SECTOR_BYTES {
            self.counts.header = self.serial;
        }
        self.media.write(offset, data);
        Ok(())
    }
}

/// The file, as one process has it open.
#[derive(Debug)]
struct Handle {
    disk: FailingDisk,
    life: u64,
}

fn to_usize(n: u64) -> io::Result<usize> {
    usize::try_from(n).map_err(|_too_far| io::Error::from(io::ErrorKind::InvalidInput))
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        let inner = self.disk.inner();
        if inner.life == self.life {
            Ok(inner.media.len() as u64)
        } else {
            Err(io::Error::other("the machine is gone"))
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.begin(self.life, Call::Read, None)?;
        let bytes = inner.media.read(to_usize(offset)?, out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        inner.counts.reads += 1;
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.begin(self.life, Call::SetLen, None)?;
        let len = to_usize(len)?;
        if inner.is_full && len > inner.media.len() {
            return Err(Inner::full());
        }
        inner.serial += 1;
        inner.counts.set_lens += 1;
        inner.media.set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.begin(self.life, Call::Sync, None)?;
        inner.media.sync();
        inner.counts.syncs += 1;
        inner.counts.covered = inner.serial;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.inner().write(self.life, to_usize(offset)?, data)
    }
}
