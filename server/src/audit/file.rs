//! The file of the audit log, and the thread that writes it: a disk that hangs delays no request.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

/// How many lines may wait while the disk hangs. Further ones are lost, which the log of the server says.
const MAX_WAITING: usize = 4096;

/// The permissions of the file.
const MODE: u32 = 0o600;

/// What the thread does.
enum Task {
    /// Writes a line.
    Line(Vec<u8>),
    /// Reopens the file.
    Reopen,
    /// Ends.
    Close,
}

/// The file of the audit log.
#[derive(Debug)]
pub(super) struct LogFile {
    /// Gives the thread something to do.
    sender: SyncSender<Task>,
    /// The thread, until it was told to end.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LogFile {
    /// Opens the file, and starts the thread.
    pub(super) fn open(path: &Path) -> io::Result<LogFile> {
        let file = open(path)?;
        let (sender, receiver) = sync_channel(MAX_WAITING);
        let path = path.to_owned();
        let thread = thread::Builder::new().name("audit-log".into());
        let thread = thread.spawn(move || write_all(file, &path, &receiver))?;
        Ok(LogFile { sender, thread: Mutex::new(Some(thread)) })
    }

    /// Writes a line.
    ///
    /// Never blocks. If [`MAX_WAITING`] tasks wait, the line is lost, and the log of the server reports it.
    pub(super) fn write(&self, line: Vec<u8>) {
        if self.sender.try_send(Task::Line(line)).is_err() {
            tracing::error!(
                "a line of the audit log is lost: its disk does not keep up, or the server stops"
            );
        }
    }

    /// Reopens the file.
    pub(super) fn reopen(&self) {
        if self.sender.try_send(Task::Reopen).is_err() {
            tracing::error!("can't reopen the audit log: its disk does not keep up");
        }
    }

    /// Waits until all lines are written.
    ///
    /// Blocks the calling thread for as long as the disk hangs. A second call returns at once.
    pub(super) fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        if self.sender.send(Task::Close).is_err() || thread.join().is_err() {
            tracing::error!("the thread of the audit log has panicked");
        }
    }
}

/// Opens the file to append to it. A file that exists keeps its permissions.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

/// Does what is sent, until the end.
fn write_all(mut file: File, path: &Path, receiver: &Receiver<Task>) {
    let mut is_failing = false;
    while let Ok(task) = receiver.recv() {
        let done = match task {
            Task::Line(line) => file.write_all(&line),
            Task::Reopen => open(path).map(|reopened| file = reopened),
            Task::Close => return,
        };
        match done {
            Ok(()) => is_failing = false,
            // Once: the next line may fail for the same reason.
            Err(_) if is_failing => {}
            Err(error) => {
                is_failing = true;
                let path = path.display();
                tracing::error!(
                    "can't write the audit log {path}: {error}; lines are lost until it can be written"
                );
            }
        }
    }
}
