//! A disk in memory that fails in the ways of real disks.
//!
//! A write is *pending* until a sync covers it. When the machine loses power, any subset of the
//! pending writes survives, torn at sector boundaries. Calls fail when a test has armed a fault for
//! them. All random choices come from one seed.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kv_core::engine::disk::{OpenDisk, StorageBackend};

use crate::rng::Rng;

mod media;

use media::Media;
pub use media::{Keep, Loss, SECTOR_BYTES};

/// A call of the engine.
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

/// The fault of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine loses power. `Keep` decides which pending writes survive. All handles become
    /// invalid.
    PowerLoss(Keep),
    /// The process is killed: nothing is lost, but all handles become invalid.
    Kill,
    /// The call fails once. A write may have been done in part. A sync loses those of its writes
    /// that `keep` does not keep; `evict` decides whether reads see the loss at once.
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
    /// See [`Counts::opens`]. Each sync covers all writes before it.
    pub syncs: u64,
    /// The number of the last write or change of length that a sync has covered.
    pub covered: u64,
    /// The number of the last write to the file's first sector, which contains redb's header.
    pub header: u64,
    /// The faults that occurred, in order.
    pub fired: Vec<(Call, Fault)>,
    /// The writes that crashes and failed syncs lost.
    pub loss: Loss,
}

#[derive(Debug)]
struct Inner {
    media: Media,
    rng: Rng,
    armed: Vec<Armed>,
    is_full: bool,
    is_paused: bool,
    /// Increases when all handles become invalid.
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

    /// A disk that contains this file.
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

    /// Opens the file for a process. All its handles become invalid with the next crash, after
    /// which it can open nothing. Call this again for the next process.
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
        self.inner().life += 1;
    }

    /// Increases with each crash: handles that were opened at a lower value are invalid.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.inner().life
    }

    /// The cache drops everything that is not on the disk, except pending writes.
    pub fn evict(&self) {
        self.inner().media.evict();
    }

    /// The disk is full from now on.
    pub fn fill(&self) {
        self.inner().is_full = true;
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

    /// Flips a bit in a sector with data, on the disk and in the cache. Returns its offset.
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

    /// Flips one bit of one byte.
    pub fn flip_at(&self, offset: usize, bit: u8) {
        self.inner().media.flip(offset, bit);
    }

    /// The file after a power failure now, if no pending write survived.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.inner().media.durable().to_vec()
    }

    /// The calls and faults so far.
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

    /// Whether a call may proceed. Triggers the fault that is armed for it. `data` is the offset
    /// and the bytes of a write.
    fn begin(&mut self, life: u64, call: Call, data: Option<(usize, &[u8])>) -> io::Result<()> {
        if life != self.life {
            return Err(io::Error::other("the machine has lost power"));
        }
        let Some(fault) = self.due(call) else { return Ok(()) };
        self.counts.fired.push((call, fault));
        match fault {
            Fault::PowerLoss(keep) => {
                // The call during which it occurs may have had its effect, completely or in part.
                if let Some((offset, data)) = data {
                    self.media.write(offset, data);
                }
                self.power_loss(keep);
                Err(io::Error::other("the power failed"))
            }
            Fault::Kill => {
                self.write_part(data);
                self.life += 1;
                Err(io::Error::other("the process was killed"))
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

    /// A failed write may have been done in part.
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

/// The file as opened by one process.
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
            Err(io::Error::other("the machine has lost power"))
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
