//! A request against a limit.

use crate::limit::Limit;

/// One request against a limit: a namespace, a key, the limit and a cost.
///
/// Namespace, key, and the period and algorithm of the limit name the counter. Namespace and key are
/// bytes of any length. They are hashed and not kept.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Separates the keys of different uses: the same key in two namespaces has two counters.
    pub namespace: &'a [u8],
    /// The client or the resource that is limited.
    pub key: &'a [u8],
    /// The limit that the counter is compared with.
    pub limit: Limit,
    /// How much of the limit the request takes: usually 1. A cost of 0 takes nothing and is allowed
    /// unless the counter is above its limit.
    pub cost: u32,
}

impl<'a> Request<'a> {
    /// Creates a request of cost 1.
    #[must_use]
    pub fn new<N, K>(namespace: &'a N, key: &'a K, limit: Limit) -> Request<'a>
    where
        N: AsRef<[u8]> + ?Sized,
        K: AsRef<[u8]> + ?Sized,
    {
        Request { namespace: namespace.as_ref(), key: key.as_ref(), limit, cost: 1 }
    }

    /// Returns the same request with another cost.
    #[must_use]
    pub fn cost(self, cost: u32) -> Request<'a> {
        Request { cost, ..self }
    }
}
