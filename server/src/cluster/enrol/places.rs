//! Who is heard at the door for newcomers: few at a time, and of one network fewer.
//!
//! A newcomer that has its token asks at once. So who comes when all places are taken gets that of someone who
//! has said nothing yet, or does not go: the oldest of the network that has the most. A flood from some networks
//! holds up others only if it brings more connections in one round trip than there are places.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kv_replicate::quic::network_of;
use tokio::sync::Notify;

/// How many newcomers are heard at a time. Joins are rare; more would be a flood.
const ALL: usize = 16;

/// How many of them from one network.
const OF_ONE: usize = 4;

/// The places of a door.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    /// By number: the oldest first.
    by: BTreeMap<u64, Guest>,
}

#[derive(Debug)]
struct Guest {
    network: IpAddr,
    /// What it asked is being done: it is not sent away.
    is_served: bool,
    leave: Arc<Notify>,
}

/// A place that a newcomer has.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    leave: Arc<Notify>,
}

impl Places {
    /// Takes a place for a newcomer; none if all are taken by those who are being served.
    pub(super) fn take(self: &Arc<Places>, address: IpAddr) -> Option<Place> {
        let network = network_of(address);
        let mut taken = self.taken();
        let of_one = taken.by.values().filter(|guest| guest.network == network).count();
        if of_one >= OF_ONE {
            taken.send_one_away(network)?;
        } else if taken.by.len() >= ALL {
            let most = taken.with_the_most()?;
            taken.send_one_away(most)?;
        }
        taken.last += 1;
        let (number, leave) = (taken.last, Arc::new(Notify::new()));
        taken.by.insert(number, Guest { network, is_served: false, leave: Arc::clone(&leave) });
        drop(taken);
        Some(Place { places: Arc::clone(self), number, leave })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Of the networks from which someone can be sent away, the one that has the most places; of those with as
    /// many, the one whose guest that would go is the oldest.
    fn with_the_most(&self) -> Option<IpAddr> {
        // The number is that of the guest that would go.
        let mut counts = BTreeMap::<IpAddr, (usize, Option<u64>)>::new();
        for (number, guest) in &self.by {
            let (count, goes) = counts.entry(guest.network).or_default();
            *count += 1;
            *goes = goes.or((!guest.is_served).then_some(*number));
        }
        let can_go =
            counts.into_iter().filter_map(|(of, (count, goes))| Some((count, Reverse(goes?), of)));
        can_go.max().map(|(_, _, network)| network)
    }

    fn send_one_away(&mut self, network: IpAddr) -> Option<()> {
        let can_go = |guest: &Guest| guest.network == network && !guest.is_served;
        let number = *self.by.iter().find(|(_, guest)| can_go(guest))?.0;
        self.by.remove(&number)?.leave.notify_one();
        Some(())
    }
}

impl Place {
    /// Returns when the place is another's.
    pub(super) async fn lost(&self) {
        self.leave.notified().await;
    }

    /// Says whether the newcomer is being served. False if the place is another's already.
    pub(super) fn serve(&self, is_served: bool) -> bool {
        let mut taken = self.places.taken();
        let Some(guest) = taken.by.get_mut(&self.number) else { return false };
        guest.is_served = is_served;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().by.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn host(network: u8) -> IpAddr {
        [192, 0, 2, network].into()
    }

    async fn is_lost(place: &Place) -> bool {
        tokio::time::timeout(Duration::ZERO, place.lost()).await.is_ok()
    }

    #[tokio::test]
    async fn one_network_has_few_places_and_who_comes_there_takes_the_oldest() {
        let places = Arc::new(Places::default());
        let held: Vec<Place> = (0..OF_ONE).map(|_| places.take(host(1)).expect("free")).collect();
        let _other = places.take(host(2)).expect("free");
        assert!(!is_lost(&held[0]).await);
        let _next = places.take(host(1)).expect("that of the oldest");
        assert!(is_lost(&held[0]).await && !is_lost(&held[1]).await);
        assert!(!held[0].serve(true), "it came too late");
        assert_eq!(places.taken().by.len(), OF_ONE + 1);
    }

    #[tokio::test]
    async fn of_ipv6_one_network_is_64_bits() {
        let places = Arc::new(Places::default());
        let from = |text: &str| places.take(text.parse().expect("an address")).expect("free");
        let held: Vec<Place> = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4:5"]
            .map(from)
            .into_iter()
            .collect();
        let _near = from("2001:db8::ffff:1:2:3");
        assert!(is_lost(&held[0]).await);
        let _far = from("2001:db8:0:1::1");
        assert!(!is_lost(&held[1]).await);
    }

    #[tokio::test]
    async fn where_all_are_taken_who_comes_gets_one_of_those_who_have_the_most() {
        let places = Arc::new(Places::default());
        let few = places.take(host(9)).expect("free");
        let mut held = Vec::new();
        for network in 0..3 {
            held.extend((0..OF_ONE).map(|_| places.take(host(network)).expect("free")));
        }
        held.extend((0..ALL - 1 - held.len()).map(|_| places.take(host(7)).expect("free")));
        assert_eq!(places.taken().by.len(), ALL);
        let come = places.take(host(8)).expect("someone goes");
        assert!(!is_lost(&few).await && !is_lost(&come).await);
        assert_eq!(places.taken().by.len(), ALL);
    }

    #[tokio::test]
    async fn where_each_is_of_another_network_the_oldest_goes_whatever_its_address() {
        let all = u8::try_from(ALL).expect("few");
        let up: Vec<u8> = (1..=all).collect();
        let down: Vec<u8> = (1..=all).rev().collect();
        for (networks, next) in [(&up, 0), (&up, 255), (&down, 0), (&down, 255)] {
            let places = Arc::new(Places::default());
            let take = |network: u8| places.take(host(network)).expect("someone goes");
            let held: Vec<Place> = networks.iter().map(|network| take(*network)).collect();
            assert!(held[0].serve(true), "the oldest that can go is the next");
            let first = take(next);
            assert!(is_lost(&held[1]).await && !is_lost(&held[0]).await);
            let _second = take(100);
            assert!(is_lost(&held[2]).await && !is_lost(&first).await, "who came last stays");
        }
    }

    #[tokio::test]
    async fn who_is_being_served_stays_and_a_place_is_free_when_it_is_dropped() {
        let places = Arc::new(Places::default());
        let held: Vec<Place> = (0..OF_ONE).map(|_| places.take(host(1)).expect("free")).collect();
        assert!(held.iter().all(|place| place.serve(true)));
        assert!(places.take(host(1)).is_none());
        assert!(held[2].serve(false), "it is answered, and only has to go");
        let _next = places.take(host(1)).expect("its place");
        assert!(is_lost(&held[2]).await);
        drop(held);
        assert_eq!(places.taken().by.len(), 1, "a place that was lost is not given back twice");
    }
}
