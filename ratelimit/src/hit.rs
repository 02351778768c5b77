//! What a limiter is asked about.

use crate::limit::Limit;

/// One use of something limited: by whom, of what, under which limit.
///
/// Namespace, key, and the period and algorithm of the limit name the counter. Namespace and key are
/// any bytes, of any length; they are hashed and not kept.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    /// What keeps keys of different uses apart.
    pub namespace: &'a [u8],
    /// Who or what is limited.
    pub key: &'a [u8],
    /// The limit to hold it to.
    pub limit: Limit,
    /// How much of the limit it takes: 1 for a common hit, 0 to ask without taking.
    pub cost: u32,
}

impl<'a> Hit<'a> {
    /// A hit of cost 1.
    #[must_use]
    pub fn new<N, K>(namespace: &'a N, key: &'a K, limit: Limit) -> Hit<'a>
    where
        N: AsRef<[u8]> + ?Sized,
        K: AsRef<[u8]> + ?Sized,
    {
        Hit { namespace: namespace.as_ref(), key: key.as_ref(), limit, cost: 1 }
    }

    /// The same hit at another cost.
    #[must_use]
    pub fn cost(self, cost: u32) -> Hit<'a> {
        Hit { cost, ..self }
    }
}
