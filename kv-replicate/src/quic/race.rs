//! Attempts at several addresses, one beside the other: an address that drops packets must not hold up the others. In the
//! manner of RFC 8305.

use std::{collections::BTreeMap, fmt::Display, net::SocketAddr, time::Duration};

use tokio::{
    task::{JoinError, JoinSet},
    time::timeout,
};

/// How long one address is tried alone. A round trip of half a second leaves room for a handshake.
const NEXT_AFTER: Duration = Duration::from_secs(2);

/// The attempt that succeeded first.
#[derive(Debug)]
pub struct Won<T> {
    /// What it resulted in.
    pub value: T,
    /// The other addresses that were tried, each with its error; one that has not answered yet is named too.
    pub failed: Vec<String>,
}

/// Makes an attempt at each address in their order. The next one begins as soon as one has failed, and at the latest after
/// two seconds. The first that succeeds wins, and the others are given up.
///
/// # Errors
/// The errors of all addresses, if each failed; none if there is no address.
pub async fn race<A, T, E, F>(addresses: Vec<A>, attempt: impl Fn(A) -> F) -> Result<Won<T>, Vec<E>>
where
    A: ToString,
    T: Send + 'static,
    E: Display + From<JoinError> + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let (mut waiting, mut attempts) = (addresses.into_iter(), JoinSet::new());
    let (mut under_way, mut failed) = (BTreeMap::new(), Vec::new());
    loop {
        let next = waiting.next();
        let is_last = next.is_none();
        if let Some(address) = next {
            let name = address.to_string();
            under_way.insert(attempts.spawn(attempt(address)).id(), name);
        }
        let limit = if is_last { Duration::MAX } else { NEXT_AFTER };
        // After the limit, the next address is tried beside this one.
        let Ok(ended) = timeout(limit, attempts.join_next_with_id()).await else { continue };
        match ended {
            Some(Ok((id, Ok(value)))) => {
                under_way.remove(&id);
                let silent = under_way.values().map(|name| format!("{name}: no answer yet"));
                let failed = failed.iter().map(E::to_string).chain(silent).collect();
                return Ok(Won { value, failed });
            }
            Some(Ok((id, Err(error)))) => {
                under_way.remove(&id);
                failed.push(error);
            }
            Some(Err(error)) => {
                under_way.remove(&error.id());
                failed.push(error.into());
            }
            None if is_last => return Err(failed),
            None => {}
        }
    }
}

/// Orders the addresses of a name as RFC 8305 does: the families take turns, beginning with that of the first, so that
/// a family that does not work costs one attempt at a time. Within a family the order stays.
#[must_use]
pub fn by_turns(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let all: Vec<SocketAddr> = addresses.into_iter().collect();
    let first_is_v4 = all.first().is_some_and(SocketAddr::is_ipv4);
    let (one, other): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut ordered = Vec::new();
    loop {
        let (next, after) = (one.next(), other.next());
        if next.is_none() && after.is_none() {
            return ordered;
        }
        ordered.extend(next.into_iter().chain(after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_of_a_name_take_turns() {
        let parse = |texts: &str| -> Vec<SocketAddr> {
            let addresses = texts.split(' ').filter(|text| !text.is_empty());
            addresses.map(|text| text.parse().expect(text)).collect()
        };
        for (given, expected) in [
            ("", ""),
            ("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1", "[::1]:1 1.1.1.1:1 [::2]:1 [::3]:1"),
            ("1.1.1.1:1 1.1.1.2:1 [::1]:1 [::2]:1", "1.1.1.1:1 [::1]:1 1.1.1.2:1 [::2]:1"),
            ("1.1.1.1:1 1.1.1.2:1", "1.1.1.1:1 1.1.1.2:1"),
        ] {
            assert_eq!(by_turns(parse(given)), parse(expected));
        }
    }

    /// The error of an attempt.
    #[derive(Debug)]
    struct Refused(String);

    impl Display for Refused {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&self.0)
        }
    }

    impl From<JoinError> for Refused {
        fn from(error: JoinError) -> Refused {
            Refused(error.to_string())
        }
    }

    /// An attempt at an address that answers nothing, refuses after a while, or accepts.
    async fn attempt(address: &'static str) -> Result<&'static str, Refused> {
        match address {
            "silent" => std::future::pending().await,
            "refuses" => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Err(Refused("refuses: no".into()))
            }
            other => Ok(other),
        }
    }

    #[tokio::test]
    async fn an_address_that_is_silent_does_not_hold_up_the_others_and_is_named() {
        let won = race(vec!["silent", "refuses", "accepts"], attempt).await.expect("one accepts");
        assert_eq!(
            (won.value, &won.failed[..]),
            ("accepts", &["refuses: no".into(), "silent: no answer yet".into()][..])
        );
    }

    #[tokio::test]
    async fn if_no_address_succeeds_the_errors_of_all_are_returned() {
        let errors = race(vec!["refuses", "refuses"], attempt).await.expect_err("none accepts");
        assert_eq!(errors.len(), 2);
        assert_eq!(race(Vec::new(), attempt).await.expect_err("there is none").len(), 0);
    }
}
