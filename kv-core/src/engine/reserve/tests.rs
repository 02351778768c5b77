use std::sync::atomic::AtomicBool;

use super::*;
use crate::engine::{memory::memory, storage::FILE};

/// A directory in memory on a disk of a certain size.
#[derive(Debug)]
struct Small {
    files: Arc<dyn Directory>,
    /// Whether no file may grow.
    is_full: Arc<AtomicBool>,
}

#[derive(Debug)]
struct SmallFile(Arc<dyn DiskFile>, Arc<AtomicBool>);

impl SmallFile {
    fn boxed(small: &Small, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(SmallFile(file, Arc::clone(&small.is_full)))
    }
}

impl DiskFile for SmallFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset + data.len() as u64 > self.size()? && self.1.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // The bytes that one file gives up are room for another.
        self.1.fetch_and(len >= self.size()?, Ordering::SeqCst);
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn forget_cached(&self) {}
}

impl Directory for Small {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.files.open(name).map(|file| SmallFile::boxed(self, file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.files.create(name).map(|file| SmallFile::boxed(self, file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn sync(&self) -> io::Result<()> {
        self.files.sync()
    }

    fn capacity(&self) -> io::Result<u64> {
        Ok(1 << 20)
    }
}

fn small() -> (Arc<dyn Directory>, Arc<AtomicBool>) {
    let is_full = Arc::new(AtomicBool::new(false));
    (Arc::new(Small { files: memory(), is_full: Arc::clone(&is_full) }), is_full)
}

#[test]
fn a_write_without_room_cuts_the_reserve_until_nothing_is_left_of_it() {
    let (directory, is_full) = small();
    let reserve = Reserve::open(&directory);
    assert!(reserve.refill());
    assert_eq!((reserve.left(), reserve.full()), (64 << 10, 64 << 10));
    let file = reserve.behind(directory.create(FILE).expect("a file"));
    let mut written = 0;
    loop {
        is_full.store(true, Ordering::SeqCst);
        if file.write_at(written, &[1; 4096]).is_err() {
            break;
        }
        written += 4096;
    }
    assert_eq!((written, reserve.left()), (64 << 10, 0));
    assert!(file.write_at(0, &[2; 4096]).is_ok(), "it needs no room");
}

#[test]
fn the_next_process_finds_what_is_left_and_makes_the_reserve_whole_when_there_is_room() {
    let (directory, is_full) = small();
    let reserve = Reserve::open(&directory);
    assert!(reserve.refill());
    assert!(reserve.cut(5000));
    is_full.store(true, Ordering::SeqCst);
    let next = Reserve::open(&directory);
    assert_eq!(next.left(), (64 << 10) - 5000);
    assert!(!next.refill());
    is_full.store(false, Ordering::SeqCst);
    assert!(next.refill());
    assert_eq!(next.left(), 64 << 10);
}

#[test]
fn a_disk_without_bounds_has_no_reserve_and_a_large_one_a_small_part() {
    let directory = memory();
    let reserve = Reserve::open(&directory);
    assert!(reserve.refill() && !reserve.cut(1));
    assert_eq!(directory.list().expect("a list"), [""; 0]);
    assert_eq!([size_of_reserve(0), size_of_reserve(64 << 20)], [0, 4 << 20]);
    assert_eq!(size_of_reserve(1 << 40), MAX_BYTES);
}
