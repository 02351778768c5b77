//! The places of the write queue: a semaphore that threads and tasks wait for in order.
//!
//! tokio's semaphore is not used, because a thread can't wait for it, and because this crate needs no runtime.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use crate::env::Environment;

/// The places of the queue. One place stands for an operation of at most 64 KiB.
pub(crate) struct Places {
    capacity: usize,
    state: Mutex<State>,
}

struct State {
    free: usize,
    next_id: u64,
    /// The waiters that have no place yet, the oldest first.
    waiting: VecDeque<Waiter>,
    /// The waiters that have places and were not polled since.
    granted: BTreeSet<u64>,
}

struct Waiter {
    id: u64,
    count: usize,
    waker: Waker,
}

impl Places {
    pub(crate) fn new(capacity: usize) -> Arc<Places> {
        let state = State {
            free: capacity,
            next_id: 0,
            waiting: VecDeque::new(),
            granted: BTreeSet::new(),
        };
        Arc::new(Places { capacity, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes places if they are free and no other caller waits.
    pub(crate) fn try_take(self: &Arc<Self>, count: usize) -> Option<Place> {
        let count = count.min(self.capacity);
        let mut state = self.state();
        if !state.waiting.is_empty() || state.free < count {
            return None;
        }
        state.free -= count;
        Some(Place { places: Arc::clone(self), count })
    }

    /// Waits for places, in a task, for as long as it takes. More places than there are count as all.
    pub(crate) fn take(self: &Arc<Self>, count: usize) -> TakePlace {
        let count = count.min(self.capacity);
        TakePlace { places: Arc::clone(self), count, state: Taking::New }
    }

    /// Waits for places on this thread, for at most `wait`.
    pub(crate) fn take_within(
        self: &Arc<Self>,
        count: usize,
        wait: Duration,
        clock: &dyn Environment,
    ) -> Option<Place> {
        if let Some(place) = self.try_take(count) {
            return Some(place);
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut taking = pin!(self.take(count));
        let start = clock.monotonic();
        loop {
            if let Poll::Ready(place) = taking.as_mut().poll(&mut context) {
                return Some(place);
            }
            let left = wait.checked_sub(clock.monotonic().saturating_sub(start));
            thread::park_timeout(left.filter(|left| !left.is_zero())?);
        }
    }
}

impl State {
    /// Gives free places to the waiters in their order. Returns the wakers to call.
    fn grant(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        while self.waiting.front().is_some_and(|first| first.count <= self.free) {
            let Some(first) = self.waiting.pop_front() else { break };
            self.free -= first.count;
            self.granted.insert(first.id);
            woken.push(first.waker);
        }
        woken
    }
}

/// Wakes a thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Places of the queue. Dropping it frees them.
pub(crate) struct Place {
    places: Arc<Places>,
    count: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state();
        state.free += self.count;
        let woken = state.grant();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }
}

/// Waits for places. Dropping it gives up the wait.
pub(crate) struct TakePlace {
    places: Arc<Places>,
    count: usize,
    state: Taking,
}

enum Taking {
    New,
    Waiting(u64),
    Done,
}

impl Future for TakePlace {
    type Output = Place;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Place> {
        let places = Arc::clone(&self.places);
        let count = self.count;
        // Dropped after the lock: a waker may be the last owner of a task that has a place.
        let mut former = None;
        let mut state = places.state();
        let is_ready = match self.state {
            Taking::New if state.waiting.is_empty() && state.free >= count => {
                state.free -= count;
                true
            }
            Taking::New => {
                let id = state.next_id;
                state.next_id += 1;
                state.waiting.push_back(Waiter { id, count, waker: context.waker().clone() });
                self.state = Taking::Waiting(id);
                false
            }
            Taking::Waiting(id) if state.granted.remove(&id) => true,
            Taking::Waiting(id) => {
                if let Some(waiter) = state.waiting.iter_mut().find(|waiter| waiter.id == id) {
                    former = Some(mem::replace(&mut waiter.waker, context.waker().clone()));
                }
                false
            }
            Taking::Done => panic!("a place is waited for once"),
        };
        drop(state);
        drop(former);
        if !is_ready {
            return Poll::Pending;
        }
        self.state = Taking::Done;
        Poll::Ready(Place { places, count })
    }
}

impl Drop for TakePlace {
    fn drop(&mut self) {
        let Taking::Waiting(id) = self.state else { return };
        let mut state = self.places.state();
        if state.granted.remove(&id) {
            state.free += self.count;
        }
        let index = state.waiting.iter().position(|waiter| waiter.id == id);
        let removed = index.and_then(|index| state.waiting.remove(index));
        // The waiter that gave up may have been first, and the next ones may need fewer places.
        let woken = state.grant();
        drop(state);
        // Not under the lock: its waker may be the last owner of a task that has a place.
        drop(removed);
        woken.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemEnvironment;

    fn poll(taking: &mut TakePlace) -> Option<Place> {
        match Pin::new(taking).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => Some(place),
            Poll::Pending => None,
        }
    }

    #[test]
    fn waiters_get_places_in_their_order() {
        let places = Places::new(2);
        let first = places.try_take(1).unwrap();
        let mut large = places.take(9);
        let mut small = places.take(1);
        assert!(poll(&mut large).is_none());
        assert!(poll(&mut small).is_none(), "it waits behind the large one");
        assert!(places.try_take(1).is_none(), "it can't overtake the waiters");
        drop(first);
        let large = poll(&mut large).unwrap();
        assert!(poll(&mut small).is_none());
        drop(large);
        assert!(poll(&mut small).is_some());
    }

    #[test]
    fn a_waiter_that_gives_up_lets_the_next_ones_through() {
        let places = Places::new(2);
        let first = places.try_take(1).unwrap();
        let mut large = places.take(2);
        let mut small = places.take(1);
        assert!(poll(&mut large).is_none() && poll(&mut small).is_none());
        drop(large);
        let small = poll(&mut small).unwrap();
        assert!(places.try_take(1).is_none());
        let mut granted = places.take(1);
        assert!(poll(&mut granted).is_none());
        drop((first, small));
        drop(granted);
        assert!(places.try_take(2).is_some(), "a grant that is not taken is not lost");
    }

    #[test]
    fn a_thread_waits_for_a_place_up_to_its_time() {
        let places = Places::new(1);
        let clock = SystemEnvironment::new();
        let place = places.try_take(1).unwrap();
        assert!(places.take_within(1, Duration::from_millis(5), &clock).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| places.take_within(1, Duration::from_secs(60), &clock));
            drop(place);
            assert!(waiting.join().unwrap().is_some());
        });
    }
}
