//! The store of a server: opened with the settings, closed with the counters of rate limits in it.

use std::{path::Path, sync::Arc, time::Duration};

use kv_core::{Durability, MemberId, OpenError, Options, Store};
use tokio::time::sleep;

use super::error::ServeError;
use crate::{
    alarms::DataDirectory,
    config::{Config, List},
    metrics::Metrics,
    rate_limits::{RateLimitSettings, RateLimits},
};

/// The name of the store's file in its directory.
const FILE: &str = "waypost.redb";

/// What must not be removed while the server runs.
pub(super) fn watched(data: &Path) -> DataDirectory {
    DataDirectory::opened([data.to_owned(), data.join(FILE)])
}

/// An open store, and the rate limits whose counters it keeps while the server is stopped.
#[derive(Debug)]
pub(super) struct OpenStore {
    /// The store.
    pub(super) store: Store,
    /// The rate limits, with the counters of the last clean stop.
    pub(super) rate_limits: Arc<RateLimits>,
}

impl OpenStore {
    /// Opens the store, creates the namespaces of the settings, and restores the rate limits. Blocks.
    pub(super) fn open(
        config: &Config,
        member: Option<MemberId>,
        metrics: &Arc<Metrics>,
    ) -> Result<OpenStore, ServeError> {
        let store = open(config, member, Arc::clone(metrics))?;
        // A member creates them once it has joined: another location may have created them.
        if member.is_none() {
            create_namespaces(&store, config)?;
        }
        let settings = RateLimitSettings {
            memory_bytes: to_usize(config.settings.limiter_memory.get()),
            named: config.rate_limits.clone(),
            top_denied_keys: config.settings.top_denied_keys.get(),
        };
        let rate_limits =
            RateLimits::open(&store, settings, metrics.limits()).map_err(ServeError::Limiter)?;
        Ok(OpenStore { store, rate_limits: Arc::new(rate_limits) })
    }

    /// Saves the counters of rate limits, and closes the store.
    pub(super) async fn close(self) -> Result<(), ServeError> {
        let closing = tokio::task::spawn_blocking(move || {
            self.rate_limits.save(&self.store);
            self.store.close()
        });
        closing.await?.map_err(ServeError::Close)
    }
}

/// Opens the store with the settings. A member whose store is lost gets a new one, which waits for what the other
/// locations have.
fn open(
    config: &Config,
    member: Option<MemberId>,
    metrics: Arc<Metrics>,
) -> Result<Store, ServeError> {
    let settings = &config.settings;
    let options = match member {
        Some(member) => Options::new().replicated(true).member(member).joining(),
        None => Options::new(),
    };
    options
        .cache_bytes(to_usize(settings.cache.get()))
        .durability(settings.durability.0)
        .queue_capacity(to_usize(settings.queue.get().into()))
        .queue_wait(settings.queue_wait.get())
        .expiry_grace(settings.expiry_grace.get())
        .max_clock_skew(settings.max_clock_skew.get())
        .observer(metrics)
        .open(&settings.data)
        .map_err(|source| {
            let data = settings.data.clone();
            match source {
                OpenError::Member { found, expected: named } => {
                    ServeError::OtherStore { data, found, named }
                }
                source => ServeError::Open { data, source },
            }
        })
}

/// Converts a setting in bytes; one that does not fit becomes the largest number.
fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Creates the namespaces of the settings that do not exist. Blocks.
pub(super) fn create_namespaces(store: &Store, config: &Config) -> Result<(), ServeError> {
    let List(titles) = &config.settings.namespaces;
    for title in titles {
        let title = title.as_str();
        if store.namespaces().resolve(title).is_none() {
            store
                .create_namespace(title)
                .map_err(|source| ServeError::Namespace { title: title.to_owned(), source })?;
        }
    }
    Ok(())
}

/// Waits until the store is closed; after `hurry`, at most `last_wait` more. It is not an error to stop
/// waiting: the operator requested it, and a store that was not closed is as after a crash.
pub(super) async fn wait_for_close(
    closing: impl Future<Output = Result<(), ServeError>>,
    hurry: impl Future<Output = ()>,
    last_wait: Duration,
    durability: Durability,
) -> Result<(), ServeError> {
    let timed_out = async {
        hurry.await;
        sleep(last_wait).await;
    };
    tokio::select! {
        biased;
        closed = closing => {
            closed?;
            tracing::info!("stopped");
        }
        () = timed_out => match durability {
            Durability::Relaxed { within } => tracing::warn!(
                "stopped before the store was closed: writes of about the last {within:?} may be lost"
            ),
            _ => tracing::warn!(
                "stopped before the store was closed: no acknowledged write is lost; the counters of rate \
                 limits may be"
            ),
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use kv_core::WriteError;
    use tokio::time::timeout;

    use super::*;

    const DURABLE: Durability = Durability::Durable;

    #[tokio::test]
    async fn a_store_that_does_not_close_is_awaited_until_there_is_a_hurry() {
        let last_wait = Duration::from_millis(20);
        let relaxed = Durability::Relaxed { within: Duration::from_millis(1) };
        for durability in [DURABLE, relaxed] {
            assert!(wait_for_close(pending(), ready(()), last_wait, durability).await.is_ok());
        }
        let patient = wait_for_close(pending(), pending(), Duration::ZERO, DURABLE);
        assert!(timeout(last_wait, patient).await.is_err());
    }

    #[tokio::test]
    async fn the_result_of_the_close_counts_if_it_comes_in_time() {
        let failed = || ServeError::Close(WriteError::Failed("of a test".into()));
        for closed in [true, false] {
            let closing = async || {
                tokio::task::yield_now().await;
                if closed { Ok(()) } else { Err(failed()) }
            };
            for is_hurried in [true, false] {
                let hurry = async move || {
                    if !is_hurried {
                        pending().await
                    }
                };
                let last_wait = Duration::from_secs(60);
                let result = wait_for_close(closing(), hurry(), last_wait, DURABLE).await;
                assert_eq!(result.is_ok(), closed);
            }
        }
    }
}
