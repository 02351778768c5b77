//! The end of a process, and the next one.

use std::sync::{Arc, Mutex};

use kv_core::{
    Mode, OpenError,
    commit::{Committer, Creation, GcLimits},
    engine::{Engine, EngineError, Visibility, redb::RedbEngine},
};

use super::{History, Open, Published, World, tell::Doing, writer::Writer};
use crate::{
    disk::Fault,
    events::Event,
    exact::{self, Remains},
    hold,
    model::State,
    violation::{Checked, During, Violation},
};

impl World {
    /// Takes the dead process away and starts the next.
    pub(super) fn after_crash(&mut self) -> Checked {
        if self.uploads.iter().any(|upload| upload.is_staged) {
            self.count(Event::CrashInUpload);
        }
        if self.session.is_some() {
            self.count(Event::CrashInSession);
        }
        self.reopen()
    }

    /// Closes the store in order, as the writer thread does after its last sync.
    pub(super) fn close(&mut self) -> Checked {
        let now_ms = self.clock_ms;
        let result = self.open().writer.close(now_ms)?.map_err(|error| error.to_string());
        self.closed(result)
    }

    /// Closes the engine alone, which then makes durable what was committed.
    pub(super) fn close_engine(&mut self) -> Checked {
        let result = self.committer().engine().close().map_err(|error| error.to_string());
        self.closed(result)
    }

    fn closed(&mut self, result: Result<(), String>) -> Checked {
        self.note_faults(Doing::Close);
        self.trace(|| format!("close -> {result:?}"));
        match result {
            Ok(()) => {
                // A store that was read-only closes as well, and acknowledges nothing new.
                if !self.is_troubled {
                    self.settle()?;
                    self.count(Event::CleanReopen);
                }
            }
            Err(error) => hold!(self.is_troubled, "no fault, and yet closing answers {error}"),
        }
        Ok(())
    }

    /// Opens the store, in a new process, until that succeeds.
    pub(super) fn reopen(&mut self) -> Checked {
        // Which of these goes first must not matter.
        if self.rng.chance(50) {
            self.uploads.clear();
            self.readers.clear();
            self.views.clear();
            self.open = None;
        } else {
            self.open = None;
            self.uploads.clear();
            self.readers.clear();
            self.views.clear();
        }
        self.session = None;
        self.note_faults(Doing::Close);
        for attempt in 0..20 {
            // The remains of the process before can't reach the files.
            self.disk.kill();
            self.disk.disarm();
            if attempt > 5 {
                self.disk.make_room();
            } else if self.plan.fault_percent > 0
                && self.rng.chance(if self.history.is_none() { 50 } else { 25 })
            {
                self.tempt_open();
            }
            if self.try_open()? {
                return Ok(());
            }
        }
        Err(Violation::Wrong("the store does not open".into()))
    }

    fn try_open(&mut self) -> Checked<bool> {
        let faults = self.disk.counts().fired.len();
        let life = self.disk.life();
        let process = self.disk.process();
        let cache_bytes = self.cache_bytes;
        let mut ids = self.rng.fork();
        let opened =
            RedbEngine::open(process, cache_bytes).map_err(OpenError::Engine).and_then(|engine| {
                Committer::open(Arc::new(engine), Creation::default(), move || Ok(ids.id()))
            });
        self.note_faults(Doing::Open);
        let is_dead = self.disk.life() != life;
        match opened {
            Ok(_) if is_dead => Ok(false),
            Ok(mut committer) => {
                let status = committer.engine().status();
                self.trace(|| format!("opened: {status:?}"));
                let view = committer.view();
                let published = Arc::new(Published(Mutex::new(view)));
                let published_commit = Some(status.latest);
                self.open = Some(Open {
                    writer: Writer::new(committer),
                    life,
                    published,
                    published_commit,
                    published_reopened: status.reopened,
                    reopened: status.reopened,
                });
                self.opened()?;
                Ok(true)
            }
            Err(error) => {
                self.trace(|| format!("opening: {error}"));
                let is_full = self.disk.is_full();
                hold!(
                    is_full || self.disk.counts().fired.len() > faults,
                    "no fault, and yet opening answers {error}"
                );
                let is_damaged = matches!(
                    error,
                    OpenError::Corrupt(_) | OpenError::Engine(EngineError::Corrupt(_))
                );
                hold!(!is_damaged || is_full || self.failed_since(faults), "damaged: {error}");
                Ok(false)
            }
        }
    }

    fn failed_since(&self, faults: usize) -> bool {
        self.disk.counts().fired[faults..].iter().any(|(_, fault)| {
            matches!(fault, Fault::Fail { .. } | Fault::PowerLoss(_) | Fault::Kill)
        })
    }

    /// The store is open: it must hold one of the states that it may, and nothing else.
    fn opened(&mut self) -> Checked {
        let status = self.status();
        let member = self.committer().member();
        hold!(self.committer().origins().is_none(), "a process has origins before its first write");
        self.is_troubled = self.disk.is_full() || status.mode != Mode::Writer;
        if let Some(history) = &mut self.history {
            let (floor, before) = (history.floor(), history.now());
            history.found(status.latest)?;
            let was_unknown = self.report.events.get(Event::OutcomeUnknown) > 0;
            if status.latest > floor {
                self.report.events.count(Event::UnacknowledgedSurvived);
                if was_unknown {
                    self.report.events.count(Event::UnknownWasThere);
                }
            } else if before > floor {
                self.report.events.count(Event::UnacknowledgedLost);
                if was_unknown {
                    self.report.events.count(Event::UnknownWasGone);
                }
            }
        } else {
            hold!(status.latest == 1, "a new store is founded in one commit, not {status:?}");
            self.history = Some(History::new(1, State::new(member)));
        }
        self.end_origins();
        self.settle()?;
        self.disk.disarm();
        self.check_exact()?;
        if self.rng.chance(40) {
            self.drain()?;
        }
        Ok(())
    }

    /// Compares all tables with the model.
    pub(super) fn check_exact(&mut self) -> Checked<Option<Remains>> {
        if self.is_dead() {
            return Ok(None);
        }
        self.disk.pause(true);
        let state = self.state();
        let committer = self.committer();
        let view = committer.view();
        let snapshot = committer.engine().snapshot(Visibility::Latest);
        let result = snapshot
            .reading("taking a snapshot")
            .and_then(|snapshot| exact::check(&snapshot, &view, &state));
        self.disk.pause(false);
        match result {
            Ok(remains) => {
                self.check_log(&state)?;
                Ok(Some(remains))
            }
            // After a failure the engine may have no view until it has recovered.
            Err(Violation::Unread(what)) if self.is_troubled => {
                self.trace(|| format!("  not checked: {what}"));
                Ok(None)
            }
            Err(violation) => Err(violation),
        }
    }

    /// Collects garbage until there is nothing more to do; nothing unused may be left.
    pub(super) fn drain(&mut self) -> Checked {
        self.disk.pause(true);
        let result = self.drain_paused();
        self.disk.pause(false);
        result
    }

    fn drain_paused(&mut self) -> Checked {
        if self.is_dead() || self.is_troubled {
            return Ok(());
        }
        self.uploads.clear();
        self.readers.clear();
        for _ in 0..50 {
            let stable = self.stable();
            let limits =
                GcLimits { rows: 40, bodies: 8, stable, expired_ms: None, collects_expired: true };
            let Some(swept) = self.collect_garbage(&limits)? else { return Ok(()) };
            if !self.sync()? {
                return Ok(());
            }
            if swept.is_idle() && !swept.more {
                let Some(remains) = self.check_exact()? else { return Ok(()) };
                hold!(remains == Remains::default(), "left after the sweep: {remains:?}");
                return Ok(());
            }
        }
        Err(Violation::Wrong("the sweep has no end".into()))
    }
}
