//! One budget for the bytes that requests in progress hold in memory, those of all connections together.
//!
//! Each bound of a connection is small, but there are thousands of connections. So what a request holds is *charged*: its
//! body as far as it is buffered, and what its client has not read of the response, the system's buffer included. Once the
//! budget is used up, further requests are refused, and the connections that have not moved for the longest time are cut.
//! Requests of operators are charged, and never refused.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The most that one response holds beside the pieces of it that are on their way, in bytes: the next piece, and the system's
/// buffer.
pub const RESPONSE_BYTES: u64 = 128 << 10;

/// The most that is charged for one request's body, in bytes. Longer ones are written to the disk as they arrive, or need
/// one of a few permits.
pub const BODY_BYTES: u64 = 256 << 10;

/// What a connection holds without a request, in bytes.
const CONNECTION_BYTES: u64 = 24 << 10;

/// What a request with a body holds beside the body, in bytes.
pub const REQUEST_BYTES: u64 = 8 << 10;

/// How long a connection has not moved that is cut.
const STALLED_FOR: Duration = Duration::from_secs(1);

/// The least time between two searches for connections that stand still.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The bytes that requests in progress may hold.
#[derive(Debug)]
pub struct Budget {
    /// How many there may be.
    capacity: u64,
    /// How many there are.
    used: AtomicU64,
    /// The connections that are open.
    accounts: Mutex<Accounts>,
}

/// The connections that are open. The lock is held when one opens or closes and for a search, not for each byte: charges are
/// atomic counts.
#[derive(Debug, Default)]
struct Accounts {
    /// The number of the next connection.
    next: u64,
    /// The connections by their numbers.
    open: HashMap<u64, Arc<State>>,
    /// When they were last searched.
    looked_at: Option<Instant>,
    /// When they were last searched for those to cut.
    cut_at: Option<Instant>,
}

/// What one connection holds, and how it moves.
#[derive(Debug)]
struct State {
    /// The bytes that it is charged for.
    charged: AtomicU64,
    /// How often a body of a request or a response has moved.
    moves: AtomicU64,
    /// The number of moves at the last search, and since when it has been this one.
    seen: Mutex<(u64, Instant)>,
    /// Ends the connection.
    end: CancellationToken,
}

/// The lock's value. Nothing panics while it is held.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(capacity: u64) -> Arc<Budget> {
        Arc::new(Budget { capacity, used: AtomicU64::new(0), accounts: Mutex::default() })
    }

    /// How many bytes there may be.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// How many bytes requests in progress hold.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Opens the account of a connection. It is charged whatever is left: the number of connections has a bound of its own.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> Arc<Account> {
        let state = Arc::new(State {
            charged: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            seen: Mutex::new((0, Instant::now())),
            end: CancellationToken::new(),
        });
        let mut accounts = locked(&self.accounts);
        let number = accounts.next;
        accounts.next += 1;
        accounts.open.insert(number, Arc::clone(&state));
        drop(accounts);
        let account = Account { budget: Arc::clone(self), number, state };
        account.add(CONNECTION_BYTES);
        Arc::new(account)
    }

    /// Whether so many bytes more fit. Searches for connections that stand still if little is left.
    fn has_room_for(&self, bytes: u64) -> bool {
        let after = self.used().saturating_add(bytes);
        if after > self.capacity / 4 * 3 {
            self.look(after, Instant::now());
        }
        self.used().saturating_add(bytes) <= self.capacity
    }

    /// Notes which connections have moved. If `wanted` bytes are too many, cuts those that have stood still for the longest
    /// time, until a quarter of the budget is free.
    fn look(&self, wanted: u64, now: Instant) {
        let mut accounts = locked(&self.accounts);
        let must_cut = wanted > self.capacity;
        // A search for other reasons must not put one off that makes room.
        let last = if must_cut { &mut accounts.cut_at } else { &mut accounts.looked_at };
        if last.is_some_and(|at| now < at + LOOK_EVERY) {
            return;
        }
        *last = Some(now);
        let mut still: Vec<_> = accounts
            .open
            .values()
            .filter_map(|state| Some((state.stands_still_since(now)?, Arc::clone(state))))
            .collect();
        // Those that were cut before are about to free what they hold.
        let is_ending = |state: &&Arc<State>| state.end.is_cancelled();
        let ending = accounts.open.values().filter(is_ending);
        let freed: u64 = ending.map(|state| state.charged.load(Relaxed)).sum();
        drop(accounts);
        if !must_cut {
            return;
        }
        still.sort_by_key(|(since, _)| *since);
        let mut left = wanted.saturating_sub(freed);
        for (_, state) in still {
            if left <= self.capacity / 4 * 3 {
                break;
            }
            left = left.saturating_sub(state.charged.load(Relaxed));
            state.end.cancel();
        }
    }
}

impl State {
    /// Since when the connection has stood still, if it has for a while. One without a request stands still too.
    fn stands_still_since(&self, now: Instant) -> Option<Instant> {
        let moves = self.moves.load(Relaxed);
        let mut seen = locked(&self.seen);
        if seen.0 != moves {
            *seen = (moves, now);
        }
        let is_still = now >= seen.1 + STALLED_FOR && !self.end.is_cancelled();
        is_still.then_some(seen.1)
    }
}

/// The account of one connection. What it was charged is free again when it is dropped.
#[derive(Debug)]
pub struct Account {
    budget: Arc<Budget>,
    /// Its number among those of the budget.
    number: u64,
    state: Arc<State>,
}

impl Account {
    /// Charges bytes for a request, if they fit into the budget.
    #[must_use]
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        self.budget.has_room_for(bytes).then(|| self.charge_anyway(bytes))
    }

    /// Charges bytes for a request, whether they fit or not.
    #[must_use]
    pub fn charge_anyway(self: &Arc<Self>, bytes: u64) -> Charge {
        self.add(bytes);
        Charge { account: Arc::clone(self), bytes }
    }

    /// A body of a request or a response has moved.
    pub fn moved(&self) {
        self.state.moves.fetch_add(1, Relaxed);
    }

    /// Whether the budget has room for a request whose size is not known yet.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.budget.has_room_for(0)
    }

    /// Returns once the connection must end, because it stands still and others need what it holds.
    pub async fn ended(&self) {
        self.state.end.cancelled().await;
    }

    fn add(&self, bytes: u64) {
        self.budget.used.fetch_add(bytes, Relaxed);
        self.state.charged.fetch_add(bytes, Relaxed);
    }

    fn remove(&self, bytes: u64) {
        self.budget.used.fetch_sub(bytes, Relaxed);
        self.state.charged.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        locked(&self.budget.accounts).open.remove(&self.number);
        self.remove(self.state.charged.load(Relaxed));
    }
}

/// Bytes that a request holds. They are free again when this is dropped.
#[derive(Debug)]
pub struct Charge {
    account: Arc<Account>,
    bytes: u64,
}

impl Charge {
    /// Charges more, up to so many bytes in all. Returns false, and changes nothing, if they do not fit.
    pub fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let fits = more == 0 || self.account.budget.has_room_for(more);
        if fits {
            self.account.add(more);
            self.bytes += more;
        }
        fits
    }

    /// A body has moved.
    pub fn moved(&self) {
        self.account.moved();
    }

    /// How many bytes are charged.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns these bytes, charged in addition until the last copy of them is dropped.
    #[must_use]
    pub fn on_their_way(&self, bytes: Bytes) -> Bytes {
        let charge = self.account.charge_anyway(bytes.len() as u64);
        Bytes::from_owner(Charged { bytes, _charge: charge })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.remove(self.bytes);
        }
    }
}

/// Bytes that are charged.
struct Charged {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests;
