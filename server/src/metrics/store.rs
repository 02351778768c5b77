//! The store: what its writer does, and its state.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Registry};

use super::registry::{counter, gauge, gauges, histogram, number, register, size};

/// Upper bounds for the number of writes in a commit.
const OPERATIONS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// The state of the store, read when the metrics are exported.
#[derive(Clone, Debug, Default)]
pub struct StoreGauges {
    /// Writes that wait or are in progress.
    pub queue_operations: usize,
    /// How many of them there can be.
    pub queue_capacity: usize,
    /// Bytes of the store on the disk.
    pub bytes: u64,
    /// Bodies of deleted and replaced values that garbage collection has not freed yet.
    pub garbage_bodies: usize,
    /// Whether the disk has room for values.
    pub takes_values: bool,
    /// Bytes of the disk that are kept for the time when it is full.
    pub reserve_bytes: u64,
    /// `writer`, `waiting`, `read_only` or `closed`.
    pub mode: &'static str,
    /// Namespaces that are not dropped.
    pub namespaces: usize,
    /// Keys whose entries can't be read here.
    pub damaged_keys: usize,
    /// Namespaces whose title an older one has.
    pub title_conflicts: usize,
}

/// The metrics of the store.
#[derive(Debug)]
pub(super) struct StoreMetrics {
    /// Writes in a commit.
    commit_operations: Histogram,
    /// Bytes that commits wrote.
    commit_bytes: IntCounter,
    /// Times of commits, without their syncs.
    commit_seconds: Histogram,
    /// Times of syncs.
    sync_seconds: Histogram,
    /// Rows and bodies that garbage collection removed.
    gc_rows: IntCounter,
    /// Rows of the index of writes that were made again.
    index_rows: IntCounter,
    /// Writes of other locations that won over a concurrent write of this one.
    concurrent_overwrites: IntCounter,
    /// Writes that wait or are in progress.
    queue_operations: IntGauge,
    /// How many writes can wait or be in progress.
    queue_capacity: IntGauge,
    /// The size of the store's file, in bytes.
    bytes: IntGauge,
    /// Bodies that are not freed yet.
    garbage_bodies: IntGauge,
    /// The room on the disk.
    room: RoomMetrics,
    /// 1 for the current mode, 0 for the others.
    mode: IntGaugeVec,
    /// Namespaces.
    namespaces: IntGauge,
    /// Keys whose entries can't be read here.
    damaged_keys: IntGauge,
    /// Keys that lists left out.
    left_out_of_lists: IntCounter,
    /// See [`StoreGauges::title_conflicts`].
    title_conflicts: IntGauge,
}

/// The metrics of the room on the disk.
#[derive(Debug)]
struct RoomMetrics {
    /// 1 if the disk has room for values.
    takes_values: IntGauge,
    /// Bytes that are kept for a full disk.
    reserve_bytes: IntGauge,
}

impl RoomMetrics {
    /// Registers the metrics.
    fn new(r: &Registry) -> RoomMetrics {
        RoomMetrics {
            takes_values: gauge(
                r,
                "waypost_store_takes_values",
                "1 if the disk has room for values; 0 if it was full, so that only deletes are taken.",
            ),
            reserve_bytes: gauge(
                r,
                "waypost_disk_reserve_bytes",
                "Bytes of the disk that are kept for deletes and garbage collection once it is full.",
            ),
        }
    }
}

impl StoreMetrics {
    /// Registers the metrics.
    pub(super) fn new(r: &Registry) -> StoreMetrics {
        let operations = HistogramOpts::new("waypost_commit_operations", "Writes in one commit.");
        StoreMetrics {
            commit_operations: register(
                r,
                Histogram::with_opts(operations.buckets(OPERATIONS.to_vec())),
            ),
            commit_bytes: counter(r, "waypost_commit_bytes_total", "Bytes written by commits."),
            commit_seconds: histogram(
                r,
                "waypost_commit_seconds",
                "Time to apply a commit, without its sync.",
            ),
            sync_seconds: histogram(r, "waypost_sync_seconds", "Time to make a commit durable."),
            gc_rows: counter(
                r,
                "waypost_gc_rows_total",
                "Rows and bodies that garbage collection removed.",
            ),
            index_rows: counter(
                r,
                "waypost_index_rows_repaired_total",
                "Damaged rows of the index of writes that were made again.",
            ),
            concurrent_overwrites: counter(
                r,
                "waypost_concurrent_overwrites_total",
                "Writes of other locations that won over a concurrent write of this one.",
            ),
            queue_operations: gauge(
                r,
                "waypost_queue_operations",
                "Writes that wait or are in progress.",
            ),
            queue_capacity: gauge(
                r,
                "waypost_queue_capacity",
                "How many writes can wait or be in progress.",
            ),
            bytes: gauge(r, "waypost_store_bytes", "Bytes of the store on the disk."),
            garbage_bodies: gauge(
                r,
                "waypost_garbage_bodies",
                "Bodies of deleted and replaced values that garbage collection has not freed yet.",
            ),
            room: RoomMetrics::new(r),
            mode: gauges(
                r,
                "waypost_store_mode",
                "1 for the mode that the store is in, 0 for the others.",
                &["mode"],
            ),
            namespaces: gauge(r, "waypost_namespaces", "Namespaces."),
            damaged_keys: gauge(
                r,
                "waypost_damaged_keys",
                "Keys whose entries are damaged here and have not come from another location yet.",
            ),
            left_out_of_lists: counter(
                r,
                "waypost_list_damaged_keys_total",
                "Keys that lists left out because their entries are damaged.",
            ),
            title_conflicts: gauge(
                r,
                "waypost_namespace_title_conflicts",
                "Namespaces whose title an older one has.",
            ),
        }
    }

    /// Sets the gauges.
    pub(super) fn set(&self, now: &StoreGauges) {
        self.queue_operations.set(size(now.queue_operations));
        self.queue_capacity.set(size(now.queue_capacity));
        self.bytes.set(number(now.bytes));
        self.garbage_bodies.set(size(now.garbage_bodies));
        self.room.takes_values.set(i64::from(now.takes_values));
        self.room.reserve_bytes.set(number(now.reserve_bytes));
        self.namespaces.set(size(now.namespaces));
        self.damaged_keys.set(size(now.damaged_keys));
        self.title_conflicts.set(size(now.title_conflicts));
        for mode in ["writer", "waiting", "read_only", "closed"] {
            self.mode.with_label_values(&[mode]).set(i64::from(mode == now.mode));
        }
    }

    /// Counts a commit of this many operations and bytes, and the time of its two parts.
    pub(super) fn committed(
        &self,
        operations: usize,
        bytes: usize,
        commit: Duration,
        sync: Option<Duration>,
    ) {
        // A histogram takes floats; a batch has at most thousands of operations.
        self.commit_operations.observe(f64::from(u32::try_from(operations).unwrap_or(u32::MAX)));
        self.commit_bytes.inc_by(bytes as u64);
        self.commit_seconds.observe(commit.as_secs_f64());
        if let Some(sync) = sync {
            self.sync_seconds.observe(sync.as_secs_f64());
        }
    }

    /// Counts writes of other locations that won over concurrent ones of this location.
    pub(super) fn overwrote_concurrent(&self, writes: usize) {
        self.concurrent_overwrites.inc_by(writes as u64);
    }

    /// Counts keys that a list left out because their entries are damaged.
    pub(super) fn left_out_of_lists(&self, keys: usize) {
        self.left_out_of_lists.inc_by(keys as u64);
    }

    /// Counts rows and bodies that garbage collection removed.
    pub(super) fn collected(&self, rows: usize) {
        self.gc_rows.inc_by(rows as u64);
    }

    /// Counts damaged rows of the index of writes that were made again.
    pub(super) fn reindexed(&self, rows: usize) {
        self.index_rows.inc_by(rows as u64);
    }
}
