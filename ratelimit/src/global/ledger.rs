//! All keys of global limits, in a bounded memory.

use std::collections::HashMap;

use super::entry::Entry;
use super::kind::Kind;
use super::usage::{Counter, Pieces, Section};
use crate::class::Weight;
use crate::table::Table;

/// How many keys are compared to find one to evict.
const COMPARED: usize = 16;
/// How many keys each exchange looks at in turn, whether they have changed or not.
const SWEPT: usize = 64;
/// How many keys a piece of the whole state is read from.
const WALKED: usize = 256;

/// The place of a key in the table: the set and the fingerprint.
type Place = (usize, u64);

/// The keys of global limits.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The random number of this process.
    replica: u64,
    /// The keys, in places that stay.
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_id: HashMap<u64, u32>,
    by_place: HashMap<Place, u32>,
    /// Keys with something to report.
    unsent: Vec<u32>,
    /// Keys whose next window has begun elsewhere.
    ahead: Vec<u32>,
    /// The next key to sweep.
    swept: usize,
    bytes: usize,
    budget: usize,
    random: u64,
    pub(crate) tally: Tally,
}

/// What a ledger has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) merged: u64,
    pub(crate) refused: u64,
    pub(crate) evicted: u64,
}

/// The table and the time, which a ledger works with. The time is read again after each word.
pub(crate) struct Scene<'a, N: Fn() -> u64> {
    pub(crate) table: &'a Table,
    pub(crate) now: N,
}

impl Ledger {
    pub(crate) fn new(replica: u64, budget: usize) -> Ledger {
        Ledger {
            replica,
            entries: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            by_place: HashMap::new(),
            unsent: Vec::new(),
            ahead: Vec::new(),
            swept: 0,
            bytes: 0,
            budget,
            random: replica | 1,
            tally: Tally::default(),
        }
    }

    /// Returns how many keys there are, and how many counts of others.
    pub(crate) fn size(&self) -> (usize, usize) {
        let others = self.entries.iter().flatten().map(|entry| entry.others.len()).sum();
        (self.by_id.len(), others)
    }

    /// Returns what the slot of a key must hold. It has no slot now.
    pub(crate) fn seed(&mut self, table: &Table, id: u64, kind: Kind, now: u64) -> u64 {
        let Some(at) = self.find(id) else { return 0 };
        match self.entry(at) {
            Some(entry) if entry.kind.is_same_window(kind) => entry.seed(now),
            // Another location has sent the name of this key with another period, which no honest one does.
            _ => {
                self.remove(table, at);
                0
            }
        }
    }

    /// A key has got a slot, with a request that was counted.
    pub(crate) fn placed<N: Fn() -> u64>(
        &mut self,
        scene: &Scene<'_, N>,
        (id, hash): (u64, u64),
        kind: Kind,
    ) {
        let now = (scene.now)();
        let at = match self.find(id) {
            Some(at) => at,
            None => self.add(Entry::new(id, kind, now)),
        };
        let place = scene.table.place(hash);
        let Some(entry) = self.entry(at) else { return };
        entry.kind = kind;
        if let Some(before) = entry.hash.replace(hash) {
            self.by_place.remove(&scene.table.place(before));
        }
        self.by_place.insert(place, at);
        self.make_room(scene, Some(at));
    }

    /// Forgets what was counted of a key. `clear` empties its slot.
    pub(crate) fn reset<N: Fn() -> u64>(
        &mut self,
        scene: &Scene<'_, N>,
        id: u64,
        clear: impl FnOnce(),
    ) {
        let entry = self.find(id).and_then(|at| self.entry(at));
        match entry {
            Some(entry) => {
                entry.refresh(scene.table, &scene.now);
                clear();
                entry.reset();
            }
            None => clear(),
        }
    }

    /// Takes over what another process has allowed. Returns how much is new.
    pub(crate) fn merge<N: Fn() -> u64>(&mut self, scene: &Scene<'_, N>, section: &Section) -> u64 {
        if section.replica == self.replica {
            return 0;
        }
        section.counters.iter().map(|counter| self.merge_one(scene, section, counter)).sum()
    }

    fn merge_one<N: Fn() -> u64>(
        &mut self,
        scene: &Scene<'_, N>,
        section: &Section,
        counter: &Counter,
    ) -> u64 {
        let (now, mut is_new) = ((scene.now)(), false);
        let at = self.find(counter.id).unwrap_or_else(|| {
            is_new = true;
            self.add(Entry::new(counter.id, section.kind, now))
        });
        let Some(entry) = self.entry(at) else { return 0 };
        let before = entry.bytes();
        let merged = (entry.kind.is_same_window(section.kind))
            .then(|| entry.merge(section.replica, section.window, counter.counts, now))
            .flatten();
        if merged.is_some_and(|new| new > 0) {
            entry.refresh(scene.table, &scene.now);
        }
        let begins_to_wait = entry.is_ahead() && !entry.waits;
        entry.waits |= begins_to_wait;
        let (after, is_empty) = (entry.bytes(), entry.is_empty());
        self.bytes = (self.bytes + after).saturating_sub(before);
        match merged {
            Some(_) => self.tally.merged += 1,
            None => self.tally.refused += 1,
        }
        if is_new && is_empty {
            self.remove(scene.table, at);
        } else if begins_to_wait {
            self.ahead.push(at);
        }
        self.make_room(scene, None);
        merged.unwrap_or(0)
    }

    /// Reads what has changed in these sets of the table, and returns what is due to be reported to the others, of which
    /// there are so many with this one.
    pub(crate) fn changes<N: Fn() -> u64>(
        &mut self,
        scene: &Scene<'_, N>,
        sets: impl Iterator<Item = usize>,
        locations: u32,
    ) -> Vec<Vec<u8>> {
        let mut changed: Vec<u32> = Vec::new();
        for set in sets {
            let places = scene.table.fingerprints(set).map(|fingerprint| (set, fingerprint));
            changed.extend(places.filter_map(|place| self.by_place.get(&place)));
        }
        for at in std::mem::take(&mut self.ahead) {
            if let Some(entry) = self.entry(at) {
                entry.waits = false;
                changed.push(at);
            }
        }
        changed.extend(self.sweep());
        for at in changed {
            self.examine(scene, at);
        }
        let (now, replica) = ((scene.now)(), self.replica);
        let mut pieces = Pieces::default();
        for at in std::mem::take(&mut self.unsent) {
            let Some(entry) = self.entry(at) else { continue };
            let unsent = entry.unsent();
            let waited = now.saturating_sub(entry.unsent_since);
            if unsent >= entry.kind.threshold(locations) || waited >= entry.kind.patience() {
                if unsent > 0 {
                    pieces.add(replica, entry.kind, entry.window, (entry.id, entry.own()));
                }
                entry.report();
            } else {
                self.unsent.push(at);
            }
        }
        pieces.encode()
    }

    /// Looks at a key, which may have changed: notes what is to be reported, and removes it if it counts nothing.
    fn examine<N: Fn() -> u64>(&mut self, scene: &Scene<'_, N>, at: u32) {
        let Some(entry) = self.entry(at) else { return };
        entry.refresh(scene.table, &scene.now);
        if entry.is_empty() {
            return self.remove(scene.table, at);
        }
        let begins_to_wait = entry.is_ahead() && !entry.waits;
        entry.waits |= begins_to_wait;
        let is_unsent = entry.unsent() > 0 && entry.unsent_since == 0;
        if is_unsent {
            entry.unsent_since = (scene.now)().max(1);
        }
        if begins_to_wait {
            self.ahead.push(at);
        }
        if is_unsent {
            self.unsent.push(at);
        }
    }

    /// Returns the next keys in turn.
    fn sweep(&mut self) -> Vec<u32> {
        let len = self.entries.len();
        let first = if self.swept >= len { 0 } else { self.swept };
        let swept = first..(first + SWEPT).min(len);
        self.swept = swept.end;
        swept.filter_map(|at| u32::try_from(at).ok()).collect()
    }

    /// Returns the next pieces of everything that is known, from the key at `from` on, and where to continue; none at the
    /// end.
    pub(crate) fn state<N: Fn() -> u64>(
        &mut self,
        scene: &Scene<'_, N>,
        from: usize,
    ) -> (Vec<Vec<u8>>, Option<usize>) {
        let (replica, mut pieces) = (self.replica, Pieces::default());
        let end = from.saturating_add(WALKED).min(self.entries.len());
        for entry in self.entries.iter_mut().take(end).skip(from).flatten() {
            entry.refresh(scene.table, &scene.now);
            if entry.own() != [0; 2] {
                pieces.add(replica, entry.kind, entry.window, (entry.id, entry.own()));
            }
            for other in &entry.others {
                let counts = [other.counts[0], other.counts[1]];
                if counts != [0; 2] {
                    pieces.add(other.replica, entry.kind, entry.window, (entry.id, counts));
                }
            }
        }
        (pieces.encode(), (end < self.entries.len()).then_some(end))
    }

    /// Returns how much of all keys is not reported.
    pub(crate) fn unsent(&self) -> u64 {
        let of = |at: &u32| self.entries.get(*at as usize)?.as_ref().map(Entry::unsent);
        self.unsent.iter().filter_map(of).map(u64::from).sum()
    }

    fn find(&self, id: u64) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    fn entry(&mut self, at: u32) -> Option<&mut Entry> {
        self.entries.get_mut(at as usize)?.as_mut()
    }

    fn add(&mut self, entry: Entry) -> u32 {
        self.bytes += entry.bytes();
        let id = entry.id;
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            u32::try_from(self.entries.len() - 1).expect("fewer keys than fit into memory")
        });
        self.entries[at as usize] = Some(entry);
        self.by_id.insert(id, at);
        at
    }

    /// Removes a key, with its slot: without an entry, what the slot counts would never be reported.
    fn remove(&mut self, table: &Table, at: u32) {
        let Some(entry) = self.entries.get_mut(at as usize).and_then(Option::take) else { return };
        if let Some(hash) = entry.hash {
            self.by_place.remove(&table.place(hash));
            while let Some((slot, word)) = table.find(hash) {
                if slot.replace(word, 0).is_ok() {
                    break;
                }
            }
        }
        self.by_id.remove(&entry.id);
        self.bytes = self.bytes.saturating_sub(entry.bytes());
        self.free.push(at);
    }

    /// Evicts keys until the rest fits, but not this one.
    fn make_room<N: Fn() -> u64>(&mut self, scene: &Scene<'_, N>, but: Option<u32>) {
        while self.bytes > self.budget && self.by_id.len() > 1 {
            let now = (scene.now)();
            let sampled: Vec<u32> = (0..COMPARED).map(|_| self.sample()).collect();
            let spare = |at: u32| self.rank(scene, at, now);
            let found = sampled.into_iter().filter(|at| Some(*at) != but).filter_map(spare).min();
            let Some(((rank, weight), at)) = found else { continue };
            self.tally.evicted += u64::from(rank > 0 && !weight.is_zero());
            self.remove(scene.table, at);
        }
    }

    /// Returns how well a key can be spared: the least first. What callers name goes before what the configuration names,
    /// and what only other locations count goes before what is counted here too.
    fn rank<N: Fn() -> u64>(
        &mut self,
        scene: &Scene<'_, N>,
        at: u32,
        now: u64,
    ) -> Option<((u8, Weight), u32)> {
        let entry = self.entry(at)?;
        // What was counted since the last exchange counts too.
        entry.refresh(scene.table, &scene.now);
        let weight = entry.weight(now);
        let rank = match (entry.kind.is_guest, entry.hash.is_some()) {
            _ if weight.is_zero() => 0,
            (true, false) => 1,
            (true, true) => 2,
            (false, false) => 3,
            (false, true) => 4,
        };
        Some(((rank, weight), at))
    }

    /// Returns the place of some key, by xorshift64 (Marsaglia, 2003).
    fn sample(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let at = self.random % (self.entries.len().max(1) as u64);
        u32::try_from(at).unwrap_or(0)
    }
}
