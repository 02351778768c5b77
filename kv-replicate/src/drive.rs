//! Drives a core and its store in the caller's thread.

use kv_core::{WriteError, engine::Engine};

use crate::{Core, Now, storage::Storage};

/// Does everything that a core wants from its store, and makes it durable. Call it after each event and
/// each timeout of the core, and after local writes to the storage.
///
/// # Errors
/// Those of [`Storage::sync`]. Then hand the event that [`Storage::failure`] returns to the core.
pub fn drive<E: Engine>(
    core: &mut Core,
    storage: &mut Storage<E>,
    now: Now,
) -> Result<(), WriteError>
where
    E::Snapshot: Clone,
{
    loop {
        while let Some(work) = core.poll_work() {
            if let Some(event) = storage.perform(now.wall_ms, work) {
                core.handle_event(now, event);
            }
        }
        if !storage.is_dirty() {
            return Ok(());
        }
        for event in storage.sync()? {
            core.handle_event(now, event);
        }
    }
}
