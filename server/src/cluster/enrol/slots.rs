//! Slots for joining members: a few at a time, and fewer from one network.
//!
//! A joining member sends its request at once. So when all slots are taken, a new connection gets the
//! slot of one that has sent nothing yet or does not close: the oldest of the network that holds the
//! most. A flood from some networks delays others only if it brings more connections in one round trip
//! than there are slots.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kv_replicate::quic::network_of;
use tokio::sync::Notify;

/// How many joining members have a slot at a time. Joins are rare; more would be a flood.
const ALL: usize = 16;

/// How many of the slots one network can hold.
const OF_ONE: usize = 4;

/// The slots of a server.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<Taken>);

/// The slots that are held.
#[derive(Debug, Default)]
struct Taken {
    /// The number of the last slot that was given out.
    last: u64,
    /// By number: the oldest first.
    by_number: BTreeMap<u64, Holder>,
}

/// A joining member that holds a slot.
#[derive(Debug)]
struct Holder {
    /// The network that it connects from.
    network: IpAddr,
    /// Its request is being processed, so its slot is not revoked.
    is_pinned: bool,
    /// Notified when the slot goes to another one.
    revoked: Arc<Notify>,
}

/// A slot that a joining member holds. Dropped, it is free.
#[derive(Debug)]
pub(super) struct Slot {
    /// Where the slot is returned.
    slots: Arc<Slots>,
    /// The number of the slot.
    number: u64,
    /// Notified when the slot goes to another one.
    revoked: Arc<Notify>,
}

impl Slots {
    /// Acquires a slot for a joining member. Returns none if all that it could get are pinned.
    pub(super) fn acquire(self: &Arc<Slots>, address: IpAddr) -> Option<Slot> {
        let network = network_of(address);
        let mut taken = self.taken();
        let of_one = taken.by_number.values().filter(|holder| holder.network == network).count();
        if of_one >= OF_ONE {
            taken.revoke_oldest_of(network)?;
        } else if taken.by_number.len() >= ALL {
            let most = taken.network_with_the_most()?;
            taken.revoke_oldest_of(most)?;
        }
        taken.last += 1;
        let (number, revoked) = (taken.last, Arc::new(Notify::new()));
        let holder = Holder { network, is_pinned: false, revoked: Arc::clone(&revoked) };
        taken.by_number.insert(number, holder);
        drop(taken);
        Some(Slot { slots: Arc::clone(self), number, revoked })
    }

    /// Locks the slots.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Returns the network that holds the most slots, of those with a slot that can be revoked; of
    /// several, the one whose revocable slot is the oldest.
    fn network_with_the_most(&self) -> Option<IpAddr> {
        // The number is that of the slot that would be revoked.
        let mut counts = BTreeMap::<IpAddr, (usize, Option<u64>)>::new();
        for (number, holder) in &self.by_number {
            let (count, revocable) = counts.entry(holder.network).or_default();
            *count += 1;
            *revocable = revocable.or((!holder.is_pinned).then_some(*number));
        }
        let candidates = counts
            .into_iter()
            .filter_map(|(network, (count, oldest))| Some((count, Reverse(oldest?), network)));
        candidates.max().map(|(_, _, network)| network)
    }

    /// Revokes the oldest slot of a network that is not pinned; none if all are.
    fn revoke_oldest_of(&mut self, network: IpAddr) -> Option<()> {
        let is_revocable = |holder: &Holder| holder.network == network && !holder.is_pinned;
        let number = *self.by_number.iter().find(|(_, holder)| is_revocable(holder))?.0;
        self.by_number.remove(&number)?.revoked.notify_one();
        Some(())
    }
}

impl Slot {
    /// Returns when the slot has been given to another joining member.
    pub(super) async fn revoked(&self) {
        self.revoked.notified().await;
    }

    /// Pins the slot while the request is processed. Returns false if it has already been revoked.
    pub(super) fn pin(&self) -> bool {
        self.set_pinned(true)
    }

    /// Makes the slot revocable again.
    pub(super) fn unpin(&self) {
        self.set_pinned(false);
    }

    /// Pins or unpins the slot. Returns false if it was revoked before.
    fn set_pinned(&self, is_pinned: bool) -> bool {
        let mut taken = self.slots.taken();
        let Some(holder) = taken.by_number.get_mut(&self.number) else { return false };
        holder.is_pinned = is_pinned;
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn host(network: u8) -> IpAddr {
        [192, 0, 2, network].into()
    }

    async fn is_revoked(slot: &Slot) -> bool {
        tokio::time::timeout(Duration::ZERO, slot.revoked()).await.is_ok()
    }

    #[tokio::test]
    async fn a_network_at_its_bound_gives_its_oldest_slot_to_its_next_connection() {
        let slots = Arc::new(Slots::default());
        let held: Vec<Slot> = (0..OF_ONE).map(|_| slots.acquire(host(1)).expect("free")).collect();
        let _other = slots.acquire(host(2)).expect("free");
        assert!(!is_revoked(&held[0]).await);
        let _next = slots.acquire(host(1)).expect("that of the oldest");
        assert!(is_revoked(&held[0]).await && !is_revoked(&held[1]).await);
        assert!(!held[0].pin(), "its request came too late");
        assert_eq!(slots.taken().by_number.len(), OF_ONE + 1);
    }

    #[tokio::test]
    async fn an_ipv6_network_has_64_bits() {
        let slots = Arc::new(Slots::default());
        let from = |text: &str| slots.acquire(text.parse().expect("an address")).expect("free");
        let held: Vec<Slot> = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4:5"]
            .map(from)
            .into_iter()
            .collect();
        let _near = from("2001:db8::ffff:1:2:3");
        assert!(is_revoked(&held[0]).await);
        let _far = from("2001:db8:0:1::1");
        assert!(!is_revoked(&held[1]).await);
    }

    #[tokio::test]
    async fn without_a_free_slot_the_network_with_the_most_loses_one() {
        let slots = Arc::new(Slots::default());
        let few = slots.acquire(host(9)).expect("free");
        let mut held = Vec::new();
        for network in 0..3 {
            held.extend((0..OF_ONE).map(|_| slots.acquire(host(network)).expect("free")));
        }
        held.extend((0..ALL - 1 - held.len()).map(|_| slots.acquire(host(7)).expect("free")));
        assert_eq!(slots.taken().by_number.len(), ALL);
        let next = slots.acquire(host(8)).expect("one is revoked");
        assert!(!is_revoked(&few).await && !is_revoked(&next).await);
        assert_eq!(slots.taken().by_number.len(), ALL);
    }

    #[tokio::test]
    async fn if_each_network_holds_one_slot_the_oldest_is_revoked_whatever_its_address() {
        let all = u8::try_from(ALL).expect("few");
        let up: Vec<u8> = (1..=all).collect();
        let down: Vec<u8> = (1..=all).rev().collect();
        for (networks, next) in [(&up, 0), (&up, 255), (&down, 0), (&down, 255)] {
            let slots = Arc::new(Slots::default());
            let acquire = |network: u8| slots.acquire(host(network)).expect("one is revoked");
            let held: Vec<Slot> = networks.iter().map(|network| acquire(*network)).collect();
            assert!(held[0].pin(), "the next oldest is revoked instead");
            let first = acquire(next);
            assert!(is_revoked(&held[1]).await && !is_revoked(&held[0]).await);
            let _second = acquire(100);
            assert!(is_revoked(&held[2]).await && !is_revoked(&first).await, "the newest stays");
        }
    }

    #[tokio::test]
    async fn a_pinned_slot_is_not_revoked_and_a_dropped_one_is_free() {
        let slots = Arc::new(Slots::default());
        let held: Vec<Slot> = (0..OF_ONE).map(|_| slots.acquire(host(1)).expect("free")).collect();
        assert!(held.iter().all(Slot::pin));
        assert!(slots.acquire(host(1)).is_none());
        held[2].unpin();
        let _next = slots.acquire(host(1)).expect("the slot that is no longer pinned");
        assert!(is_revoked(&held[2]).await);
        drop(held);
        assert_eq!(slots.taken().by_number.len(), 1, "a revoked slot is not freed twice");
    }
}
