//! A share for each client address: at most a given number at a time of what many clients want.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The part of an address that names a client. A client of IPv6 has 2^64 addresses.
#[must_use]
pub fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        four => four,
    }
}

/// The shares of clients. It has a place for each client that holds or awaits something, and for no other.
#[derive(Debug)]
pub struct Shares {
    /// How many each client has at a time.
    share: usize,
    /// What is free of the share of each client that uses some of it.
    clients: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// One of the share of a client. Dropping it frees it.
#[derive(Debug)]
#[must_use]
pub struct Share {
    /// The shares, where it is freed.
    shares: Arc<Shares>,
    /// The client.
    client: IpAddr,
    /// What it holds; none while it waits.
    permit: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// Each client has this many at a time.
    #[must_use]
    pub fn new(share: NonZeroUsize) -> Arc<Shares> {
        let share = share.get().min(Semaphore::MAX_PERMITS);
        Arc::new(Shares { share, clients: Mutex::default() })
    }

    /// Waits until the client of this address has less than its share. Cancel safe.
    pub async fn admit(self: &Arc<Shares>, address: IpAddr) -> Share {
        let (mut share, free) = self.of(address);
        // An error means that the semaphore is closed, and nothing closes it.
        share.permit = free.acquire_owned().await.ok();
        share
    }

    /// Takes one, unless the client of this address has its share.
    #[must_use]
    pub fn try_admit(self: &Arc<Shares>, address: IpAddr) -> Option<Share> {
        let (mut share, free) = self.of(address);
        share.permit = Some(free.try_acquire_owned().ok()?);
        Some(share)
    }

    /// A place for the client of an address, and what is free of its share.
    fn of(self: &Arc<Shares>, address: IpAddr) -> (Share, Arc<Semaphore>) {
        let client = client_of(address);
        let mut clients = self.lock();
        let free = clients.entry(client).or_insert_with(|| Arc::new(Semaphore::new(self.share)));
        let free = Arc::clone(free);
        drop(clients);
        (Share { shares: Arc::clone(self), client, permit: None }, free)
    }

    /// The clients. No holder can panic half way.
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut clients = self.shares.lock();
        let is_last = |free: &Arc<Semaphore>| Arc::strong_count(free) == 1;
        if clients.get(&self.client).is_some_and(is_last) {
            clients.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_client_has_its_share_and_others_have_theirs() {
        let shares = Shares::new(NonZeroUsize::new(2).unwrap());
        let held = [shares.try_admit(ip("2001:db8::1")), shares.try_admit(ip("2001:db8::2"))];
        assert!(held.iter().all(Option::is_some));
        assert!(shares.try_admit(ip("2001:db8::3")).is_none(), "it is the same client");
        let waits = shares.admit(ip("2001:db8::3"));
        assert!(tokio::time::timeout(Duration::ZERO, waits).await.is_err());
        let other = shares.admit(ip("192.0.2.1")).await;
        assert!(shares.try_admit(ip("::ffff:192.0.2.1")).is_some());
        let (_next, ()) = tokio::join!(shares.admit(ip("2001:db8::3")), async { drop(held) });
        drop(other);
        assert_eq!(shares.lock().len(), 1);
        drop(_next);
        assert!(shares.lock().is_empty());
    }
}
