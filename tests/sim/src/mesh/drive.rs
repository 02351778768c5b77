//! The next event in a mesh, and everything that follows from it.

use kv_core::writer::Step;
use kv_replicate::{Event, Work};

use super::{Happening, Mesh, Sent};
use crate::{
    later,
    store::{self, time},
};

impl Mesh {
    pub(super) fn step(&mut self) {
        let ((at, _), what) = self.due.pop_first().expect("heads are always due");
        self.now = self.now.max(at);
        match what {
            Happening::Message(sent) => {
                let (from, bytes) = (self.places[sent.from].id, sent.bytes);
                self.tell(sent.to, Event::Received { from, bytes });
            }
            Happening::Timer(place) => {
                let now = self.time();
                if self.places[place].timer.is_some_and(|at| at <= self.now) {
                    self.places[place].timer = None;
                    self.places[place].core.handle_timeout(now);
                    self.pump(place);
                }
            }
            Happening::Sync(place) => {
                self.places[place].will_sync = false;
                let now = time(self.time());
                self.places[place].follow_clock();
                self.places[place].store.run(now, Step::Sync);
                self.take_outputs(place);
                while let Some(event) =
                    store::replicator(&mut self.places[place].store).poll_event()
                {
                    self.tell_of_store(place, event);
                }
                self.pump(place);
            }
        }
    }

    pub(super) fn after(&mut self, ms: u64, what: Happening) {
        self.number += 1;
        self.due.insert((self.now + ms, self.number), what);
    }

    pub(super) fn sync_later(&mut self, place: usize) {
        let found = &mut self.places[place];
        if found.store.sync_due().is_some() && !found.will_sync {
            found.will_sync = true;
            self.after(self.settings.sync_ms, Happening::Sync(place));
        }
    }

    /// Does what a core wants until it wants nothing more.
    pub(super) fn pump(&mut self, place: usize) {
        self.work(place);
        while self.send(place) {}
        let found = &mut self.places[place];
        self.notices.extend(std::iter::from_fn(|| found.core.poll_event()).map(|n| (place, n)));
        let Some(at) = found.core.poll_timeout() else { return };
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX).max(self.now + 1);
        if found.timer.is_none_or(|set| set > at || set <= self.now) {
            found.timer = Some(at);
            self.after(at - self.now, Happening::Timer(place));
        }
    }

    /// Gives a core an event of its store.
    fn tell_of_store(&mut self, place: usize, event: Event) {
        let now = self.time();
        let found = &mut self.places[place];
        if let Event::Wrote(rows) = &event {
            store::replicator(&mut found.store).room().release(rows);
        }
        found.core.handle_event(now, event);
    }

    /// Does a core's work; true if there was some.
    fn work(&mut self, place: usize) -> bool {
        let mut has_worked = false;
        while let Some(work) = self.places[place].core.poll_work() {
            has_worked = true;
            let answer = self.perform(place, work);
            let events = std::iter::from_fn(|| {
                store::replicator(&mut self.places[place].store).poll_event()
            });
            for event in answer.into_iter().chain(events).collect::<Vec<_>>() {
                self.tell_of_store(place, event);
            }
        }
        self.sync_later(place);
        has_worked
    }

    /// Does one piece of work; the answer to a read.
    fn perform(&mut self, place: usize, work: Work) -> Option<Event> {
        let now = time(self.time());
        let found = &mut self.places[place];
        if let Work::Read { id, .. } = &work
            && let Some(refusal) = found.refusals.pop()
        {
            return Some(Event::Read { id: *id, result: Err(refusal) });
        }
        if work.is_read() {
            return store::replicator(&mut found.store).read(work);
        }
        let dots: Vec<_> = match &work {
            Work::Apply { rows, .. } => rows.iter().map(|row| row.row.dot).collect(),
            _ => Vec::new(),
        };
        store::replicator(&mut found.store).push(work);
        found.store.wake();
        found.follow_clock();
        found.store.run(now, Step::Turn);
        self.take_outputs(place);
        dots.into_iter().for_each(|dot| self.spread.seen(dot, place, self.now));
        None
    }

    /// Sends what can be sent; true if there may be more.
    fn send(&mut self, place: usize) -> bool {
        let mut again = false;
        while let Some(peer) = self.places[place].core.poll_ready() {
            let Some(to) = self.at.get(&peer).copied() else { continue };
            while let Some(transmit) = self.places[place].core.poll_transmit(peer) {
                self.traffic.count(&transmit.bytes);
                for bytes in later::sent(&self.settings.program(place), transmit.bytes) {
                    self.deliver(Sent { at: self.now, from: place, to, bytes });
                }
                again |= self.work(place);
            }
        }
        again
    }

    /// Lets a message arrive after its way, unless the link is cut.
    fn deliver(&mut self, sent: Sent) {
        if let Some(record) = &mut self.record {
            record.push(sent.clone());
        }
        if !self.cut.contains(&(sent.from, sent.to)) {
            self.after(self.settings.latency_ms, Happening::Message(sent));
        }
    }
}
