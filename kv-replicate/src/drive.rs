//! Drives a core and the writer of its store in the caller's thread.

use kv_core::{
    ClusterClock,
    engine::Engine,
    writer::{self, Output, Step, WriterCore},
};

use crate::{Core, Event, Now, replicator::Replicator};

/// Does everything that a core wants from its store, runs the writer's steps that are due, and makes
/// everything durable. Call it after each event and each timeout of the core, and after local requests to
/// the writer. `deliver` gets the writer's outputs.
///
/// Messages to peers wait in the core: take them with [`Core::poll_transmit`].
pub fn drive<E: Engine, T>(
    core: &mut Core,
    writer: &mut WriterCore<E, T, Replicator<E::Snapshot>>,
    now: Now,
    deliver: &mut impl FnMut(Output<E::Snapshot, T>),
) where
    E::Snapshot: Clone,
{
    loop {
        let has_worked = hand_over(core, writer, now);
        let has_run = run_steps(writer, (now, core.clock()), deliver);
        let has_reported = report(core, writer, now);
        if !(has_worked || has_run || has_reported) {
            return;
        }
    }
}

/// Answers the core's reads, and gives its other work to the replicator.
fn hand_over<E: Engine, T>(
    core: &mut Core,
    writer: &mut WriterCore<E, T, Replicator<E::Snapshot>>,
    now: Now,
) -> bool
where
    E::Snapshot: Clone,
{
    let mut has_worked = false;
    while let Some(work) = core.poll_work() {
        has_worked = true;
        let Some(replicator) = writer.replicator_mut() else { continue };
        if !work.is_read() {
            replicator.push(work);
            writer.wake();
        } else if let Some(event) = replicator.read(work) {
            core.handle_event(now, event);
        }
    }
    has_worked
}

/// Runs the steps that are due by this clock, and a sync without delay if something is not durable.
fn run_steps<E: Engine, T>(
    writer: &mut WriterCore<E, T, Replicator<E::Snapshot>>,
    (now, clock): (Now, ClusterClock),
    deliver: &mut impl FnMut(Output<E::Snapshot, T>),
) -> bool
where
    E::Snapshot: Clone,
{
    let time = writer::Now { mono: now.mono, wall_ms: now.wall_ms };
    writer.set_clock(clock);
    let mut has_run = false;
    while let Some(step) = writer.next_step(now.mono) {
        writer.run(time, step);
        std::iter::from_fn(|| writer.poll_output()).for_each(&mut *deliver);
        has_run = true;
    }
    if writer.sync_due().is_some() {
        writer.run(time, Step::Sync);
        std::iter::from_fn(|| writer.poll_output()).for_each(&mut *deliver);
        // A sync that failed is due again later: to try at once would never end.
        has_run |= writer.sync_due().is_none();
    }
    has_run
}

/// Reports to the core what the store did.
fn report<E: Engine, T>(
    core: &mut Core,
    writer: &mut WriterCore<E, T, Replicator<E::Snapshot>>,
    now: Now,
) -> bool
where
    E::Snapshot: Clone,
{
    let mut has_reported = false;
    while let Some(replicator) = writer.replicator_mut()
        && let Some(event) = replicator.poll_event()
    {
        if let Event::Wrote(rows) = &event {
            replicator.room().release(rows);
        }
        core.handle_event(now, event);
        has_reported = true;
    }
    has_reported
}
