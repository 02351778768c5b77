//! The disk as one process sees it.

use std::{io, sync::Arc};

use kv_core::engine::disk::{Directory, DiskFile};

use super::{Call, FailingDisk, Inner, Running, names::FileId};

/// The directory as one process has it open.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) disk: FailingDisk,
    pub(super) life: u64,
}

impl Process {
    fn handle(&self, file: FileId, is_first: bool) -> Arc<dyn DiskFile> {
        Arc::new(Handle { disk: self.disk.clone(), life: self.life, file, is_first })
    }
}

impl Directory for Process {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.disk.inner();
        inner.begin(self.life, Running::Plain(Call::Open))?;
        let (file, is_first) = inner.files.open(name).ok_or(io::ErrorKind::NotFound)?;
        inner.counts.opens += 1;
        Ok(self.handle(file, is_first))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.disk.inner();
        inner.begin(self.life, Running::Create(name))?;
        if inner.files.find(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if inner.is_full {
            return Err(Inner::full());
        }
        let file = inner.files.create(name);
        Ok(self.handle(file, true))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.begin(self.life, Running::Remove(name))?;
        inner.files.find(name).ok_or(io::ErrorKind::NotFound)?;
        inner.files.remove(name);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut inner = self.disk.inner();
        inner.begin(self.life, Running::Plain(Call::List))?;
        Ok(inner.files.list())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.begin(self.life, Running::SyncDirectory)?;
        inner.files.sync_names();
        Ok(())
    }

    fn capacity(&self) -> io::Result<u64> {
        Ok(self.disk.inner().room.as_ref().map_or(0, |room| room.capacity as u64))
    }
}

/// A file as one process has it open.
#[derive(Debug)]
struct Handle {
    disk: FailingDisk,
    life: u64,
    file: FileId,
    /// No other handle was open since the last crash.
    is_first: bool,
}

fn to_usize(n: u64) -> io::Result<usize> {
    usize::try_from(n).map_err(|_too_far| io::Error::from(io::ErrorKind::InvalidInput))
}

impl DiskFile for Handle {
    fn size(&self) -> io::Result<u64> {
        let inner = self.disk.inner();
        inner.alive(self.life)?;
        Ok(inner.files.media(self.file).len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.begin(self.life, Running::Plain(Call::Read))?;
        let bytes = inner.files.media(self.file).read(to_usize(offset)?, out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        inner.counts.reads += 1;
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = to_usize(offset)?;
        let running = Running::Write(self.file, offset, data);
        let mut inner = self.disk.inner();
        inner.begin(self.life, running)?;
        let has_room =
            inner.room.as_mut().is_none_or(|room| room.take(self.file, offset, data.len()));
        if inner.is_full || !has_room {
            inner.run_part(running);
            return Err(Inner::full());
        }
        inner.counts.writes += 1;
        inner.files.media_mut(self.file).write(offset, data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.begin(self.life, Running::Plain(Call::SetLen))?;
        let len = to_usize(len)?;
        if inner.is_full && len > inner.files.media(self.file).len() {
            return Err(Inner::full());
        }
        inner.counts.set_lens += 1;
        if let Some(room) = &mut inner.room {
            room.set_len(self.file, len);
        }
        inner.files.media_mut(self.file).set_len(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.begin(self.life, Running::Sync(self.file))?;
        inner.files.media_mut(self.file).sync();
        inner.counts.syncs += 1;
        Ok(())
    }

    /// The system drops only pages that nobody uses: here those of a file that the process opens first.
    fn forget_cached(&self) {
        let mut inner = self.disk.inner();
        if self.is_first && inner.alive(self.life).is_ok() {
            inner.files.media_mut(self.file).evict();
        }
    }
}
