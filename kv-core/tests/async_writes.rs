//! Writes from async code, without a runtime.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use kv_core::{Attributes, NamespaceId, Options, Store, WriteError};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park_timeout(Duration::from_secs(60)),
        }
    }
}

fn new_store(queue: usize) -> (tempfile::TempDir, Store, NamespaceId) {
    let directory = tempfile::tempdir().unwrap();
    let store = Options::new().queue_capacity(queue).open(directory.path()).unwrap();
    let namespace = store.namespace("test").unwrap().id;
    (directory, store, namespace)
}

#[test]
fn async_writes_do_what_the_blocking_ones_do() {
    let (_directory, store, namespace) = new_store(512);
    let attributes = Attributes { metadata: None, expires_at: Some(1 << 32) };
    block_on(async {
        store.put_async(namespace, "a", "1").await.unwrap();
        store.put_with_async(namespace, "b", vec![2; 200_000], attributes).await.unwrap();
        store.delete_async(namespace, "a").await.unwrap();
        let mut batch = store.batch();
        batch.put(namespace, "c", vec![3; 100_000]).unwrap().put(namespace, "d", "4").unwrap();
        assert_eq!(store.write_async(batch).await.unwrap().len(), 2);
        assert_eq!(store.write_async(store.batch()).await, Ok(Vec::new()));
    });
    assert!(store.get(namespace, "a").unwrap().is_none());
    let entry = store.get(namespace, "b").unwrap().unwrap();
    assert_eq!((entry.body.len(), entry.expires_at), (200_000, Some(1 << 32)));
    assert_eq!(store.iter(namespace).keys().count(), 3);
}

#[test]
fn async_writes_wait_for_a_place_where_a_blocking_write_gives_up() {
    let (_directory, store, namespace) = new_store(1);
    let mut writes: Vec<Pin<Box<dyn Future<Output = Result<_, WriteError>>>>> = (0..300)
        .map(|n| {
            let (store, key) = (store.clone(), format!("{n}"));
            Box::pin(async move { store.put_async(namespace, key, "v").await }) as _
        })
        .collect();
    // All wait at once, for one place.
    let mut context = Context::from_waker(Waker::noop());
    writes.retain_mut(|write| write.as_mut().poll(&mut context).is_pending());
    block_on(async {
        for write in writes {
            write.await.unwrap();
        }
    });
    assert_eq!(store.iter(namespace).keys().count(), 300);
}

#[test]
fn a_write_that_is_dropped_before_it_has_a_place_is_not_made() {
    let (_directory, store, namespace) = new_store(1);
    let mut context = Context::from_waker(Waker::noop());
    let mut dropped = 0;
    for n in 0..200 {
        let mut first = Box::pin(store.put_async(namespace, format!("first {n}"), "v"));
        let mut second = Box::pin(store.put_async(namespace, format!("second {n}"), "v"));
        let is_first_pending = first.as_mut().poll(&mut context).is_pending();
        let is_second_pending = second.as_mut().poll(&mut context).is_pending();
        dropped += usize::from(is_first_pending && is_second_pending);
        drop(second);
        if is_first_pending {
            block_on(first).unwrap();
        }
    }
    assert!(dropped > 0);
    assert!(store.put(namespace, "last", "v").is_ok(), "the dropped ones hold no place");
    let firsts = store.prefix(namespace, "first").keys().count();
    assert_eq!(firsts, 200);
}

#[test]
fn a_closed_store_rejects_async_writes() {
    let (_directory, store, namespace) = new_store(512);
    store.close().unwrap();
    assert_eq!(block_on(store.put_async(namespace, "k", "v")), Err(WriteError::Closed));
    assert_eq!(store.put(namespace, "k", "v"), Err(WriteError::Closed));
}

#[test]
fn async_writes_can_be_sent_to_another_thread() {
    let (_directory, store, namespace) = new_store(512);
    let clone = store.clone();
    let write = async move { clone.put_async(namespace, "k", "v").await };
    thread::spawn(move || block_on(write)).join().unwrap().unwrap();
    assert!(store.get(namespace, "k").unwrap().is_some());
}
