//! Which connections are served, and for what: the bound on their number, the share of one client address, and the
//! reserve for monitoring and administration.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyper::{HeaderMap, Uri};
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, Permit, client_of};

/// How many connections more than `max-connections` are open at a time. Each of them is served for monitoring and
/// administration only, and the oldest one ends when another needs its place.
pub(super) const RESERVE: usize = 64;

/// How many of the reserve one client address has, before its own oldest one ends and not that of another.
const RESERVE_OF_ADDRESS: usize = RESERVE / 8;

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Places {
    /// A permit for each ordinary connection.
    ordinary: Admission,
    /// The ordinary connections of each address.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    /// The connections of the reserve, the oldest first.
    reserve: Mutex<VecDeque<Reserved>>,
}

/// A connection of the reserve.
#[derive(Debug)]
struct Reserved {
    /// The address of its client.
    address: Option<IpAddr>,
    /// Ends it.
    end: CancellationToken,
}

/// The place of one connection. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    /// The places, where this one is freed.
    places: Arc<Places>,
    /// The address of its client; none for a unix socket.
    address: Option<IpAddr>,
    /// What kind of place it is.
    kind: Kind,
}

/// A kind of place.
#[derive(Debug)]
enum Kind {
    /// One of `max-connections`.
    Ordinary(#[expect(dead_code, reason = "it is held to be dropped")] Permit),
    /// One of the reserve, which ends when this is cancelled.
    Reserve(CancellationToken),
}

/// The lock's value. A panic while it was held leaves counts that are still right.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    /// Places for as many connections as `ordinary` has permits.
    pub(super) fn new(ordinary: Admission) -> Arc<Places> {
        Arc::new(Places { ordinary, addresses: Mutex::default(), reserve: Mutex::default() })
    }

    /// The bound on ordinary connections.
    pub(super) fn ordinary(&self) -> &Admission {
        &self.ordinary
    }

    /// How many ordinary connections one client address may have.
    pub(super) fn per_address(&self) -> usize {
        self.ordinary.capacity().div_ceil(2)
    }

    /// Takes a place for a new connection: an ordinary one, or one of the reserve if all are in use or the client has
    /// its share. A client of a unix socket has no address, and no bound of its own.
    pub(super) fn take(self: &Arc<Places>, address: Option<IpAddr>) -> Place {
        let address = address.map(client_of);
        let ordinary = self.take_share(address).then(|| self.ordinary.try_admit());
        let kind = match ordinary {
            Some(Some(permit)) => Kind::Ordinary(permit),
            Some(None) => {
                self.give_share_back(address);
                self.reserve(address)
            }
            None => self.reserve(address),
        };
        Place { places: Arc::clone(self), address, kind }
    }

    /// Counts a connection of an address, unless it has its share.
    fn take_share(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return true };
        let mut addresses = locked(&self.addresses);
        let open = addresses.entry(address).or_default();
        let has_room = *open < self.per_address();
        *open += usize::from(has_room);
        has_room
    }

    /// Counts a connection of an address less.
    fn give_share_back(&self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let mut addresses = locked(&self.addresses);
        if let Some(open) = addresses.get_mut(&address) {
            *open -= 1;
            if *open == 0 {
                addresses.remove(&address);
            }
        }
    }

    /// Takes a place of the reserve. If none is free, the oldest connection in it ends; that of the same address, if it
    /// has more than a few.
    fn reserve(&self, address: Option<IpAddr>) -> Kind {
        let mut reserve = locked(&self.reserve);
        let is_of_client = |reserved: &Reserved| reserved.address == address;
        let of_client = reserve.iter().filter(|reserved| is_of_client(reserved)).count();
        let oldest = match of_client {
            RESERVE_OF_ADDRESS.. => reserve.iter().position(is_of_client),
            _ if reserve.len() >= RESERVE => Some(0),
            _ => None,
        };
        if let Some(ended) = oldest.and_then(|at| reserve.remove(at)) {
            ended.end.cancel();
        }
        let end = CancellationToken::new();
        reserve.push_back(Reserved { address, end: end.clone() });
        Kind::Reserve(end)
    }
}

impl Place {
    /// Whether the connection is served for monitoring and administration only.
    pub(super) fn is_reserve(&self) -> bool {
        matches!(self.kind, Kind::Reserve(_))
    }

    /// Waits until another connection needs this place.
    pub(super) async fn ended(&self) {
        match &self.kind {
            Kind::Ordinary(_) => std::future::pending().await,
            Kind::Reserve(end) => end.cancelled().await,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match &self.kind {
            Kind::Ordinary(_) => self.places.give_share_back(self.address),
            Kind::Reserve(end) => {
                // Nobody else waits for it: this marks it to be found.
                end.cancel();
                locked(&self.places.reserve).retain(|reserved| !reserved.end.is_cancelled());
            }
        }
    }
}

/// Whether a request is for monitoring or administration, and is answered on a connection of the reserve too. A
/// request that names a namespace in its header is for a key, whatever its path.
pub(super) fn is_for_operators(uri: &Uri, headers: &HeaderMap) -> bool {
    let path = uri.path();
    let is_operators =
        matches!(path, "/healthz" | "/readyz" | "/metrics") || path.starts_with("/v1/");
    is_operators && !headers.contains_key("waypost-namespace")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn places(ordinary: usize) -> Arc<Places> {
        Places::new(Admission::patient(NonZeroUsize::new(ordinary).unwrap()))
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_has_half_of_the_places_and_others_have_the_rest() {
        let places = places(4);
        let mut open: Vec<_> = (0..3).map(|_| places.take(address("10.0.0.1"))).collect();
        let is_reserve = |open: &[Place]| open.iter().map(Place::is_reserve).collect::<Vec<_>>();
        assert_eq!(is_reserve(&open), [false, false, true]);
        open.extend((0..3).map(|_| places.take(address("10.0.0.2"))));
        assert_eq!(is_reserve(&open[3..]), [false, false, true]);
        // All places are in use.
        assert!(places.take(address("10.0.0.3")).is_reserve());
        open.clear();
        assert!(!places.take(address("10.0.0.3")).is_reserve());
        assert_eq!((places.ordinary.free(), locked(&places.addresses).len()), (4, 0));
        assert!(locked(&places.reserve).is_empty());
    }

    #[test]
    fn the_addresses_of_one_client_share_its_half() {
        for (one, other) in [("2001:db8::1", "2001:db8::ffff:1"), ("::ffff:1.2.3.4", "1.2.3.4")] {
            let places = places(2);
            let _open = places.take(address(one));
            assert!(places.take(address(other)).is_reserve(), "{one}, {other}");
        }
        let places = places(2);
        let _open = places.take(address("2001:db8:0:1::1"));
        assert!(!places.take(address("2001:db8:0:2::1")).is_reserve());
    }

    #[test]
    fn clients_of_a_unix_socket_share_all_places() {
        let places = places(2);
        let open = [places.take(None), places.take(None), places.take(None)];
        assert_eq!(open.map(|place| place.is_reserve()), [false, false, true]);
    }

    #[tokio::test]
    async fn a_client_that_fills_the_reserve_ends_its_own_connections() {
        let places = places(1);
        let _ordinary = places.take(address("10.0.0.1"));
        let other = places.take(address("10.0.0.2"));
        let mine: Vec<_> = (0..3 * RESERVE).map(|_| places.take(address("10.0.0.1"))).collect();
        mine[0].ended().await;
        assert_eq!(locked(&places.reserve).len(), RESERVE_OF_ADDRESS + 1);
        let Kind::Reserve(end) = &other.kind else { panic!("the ordinary place is in use") };
        assert!(!end.is_cancelled());
    }

    #[test]
    fn only_requests_of_operators_use_the_reserve() {
        let none = HeaderMap::new();
        for (path, expected) in [
            ("/healthz", true),
            ("/readyz", true),
            ("/metrics", true),
            ("/v1/cluster", true),
            ("/binding/n/healthz", false),
            ("/ratelimit", false),
            ("/", false),
        ] {
            assert_eq!(is_for_operators(&path.parse().unwrap(), &none), expected, "{path}");
        }
        let named =
            HeaderMap::from_iter([("waypost-namespace".parse().unwrap(), "n".parse().unwrap())]);
        assert!(!is_for_operators(&Uri::from_static("/metrics"), &named));
    }
}
