//! A directory whose files a test wraps.

use std::{fmt, io, sync::Arc};

use kv_core::engine::disk::{Directory, DiskFile};

/// Wraps each file that is opened or created.
type Wrap = Box<dyn Fn(Arc<dyn DiskFile>) -> Arc<dyn DiskFile> + Send + Sync>;

struct Wrapped {
    directory: Arc<dyn Directory>,
    wrap: Wrap,
}

/// The directory with each of its files wrapped.
pub(crate) fn wrapped(
    directory: Arc<dyn Directory>,
    wrap: impl Fn(Arc<dyn DiskFile>) -> Arc<dyn DiskFile> + Send + Sync + 'static,
) -> Arc<dyn Directory> {
    Arc::new(Wrapped { directory, wrap: Box::new(wrap) })
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.directory.fmt(f)
    }
}

impl Directory for Wrapped {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.directory.open(name).map(&self.wrap)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.directory.create(name).map(&self.wrap)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.directory.list()
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.sync()
    }
}
