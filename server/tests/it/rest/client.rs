//! The Rust client, against the real server.

use bytes::Bytes;
use serde_json::{json, value::to_raw_value};
use waypost_client::{Attributes, Client, Entry, Expiry, List, Pair, Upload};

use crate::process::Server;

/// Runs what is asynchronous.
fn block_on(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future);
}

/// The value of an entry that must be there.
async fn value(entry: Option<Entry>) -> Bytes {
    entry.expect("an entry").bytes().await.expect("a value")
}

#[test]
fn the_client_gets_what_it_puts() {
    let directory = tempfile::TempDir::new().unwrap();
    let socket = format!("unix:{}", directory.path().join("socket").display());
    for listen in ["127.0.0.1:0", &socket] {
        let server = Server::start_in(tempfile::TempDir::new().unwrap(), listen, &[]);
        block_on(async {
            let client = Client::new(&server.url()).unwrap();
            let made = client.create_namespace("se/ss ions").await.unwrap();
            let taken = client.create_namespace("se/ss ions").await.unwrap_err();
            assert_eq!((taken.code(), taken.is_retryable()), (Some(10014), false));
            assert_eq!(client.namespaces().await.unwrap(), std::slice::from_ref(&made));

            let (keys, by_title) = (client.namespace(&made.id), client.namespace("se/ss ions"));
            by_title.put("t", "1", Attributes::default()).await.unwrap();
            assert_eq!(keys.get_bytes("t").await.unwrap().unwrap(), "1");
            assert!(client.namespace("none").get("t").await.unwrap_err().is_no_namespace());
            assert!(keys.get("a").await.unwrap().is_none());
            assert!(keys.metadata("a").await.unwrap().is_none());
            for key in ["a", "a/b?c#d%25", " \u{e9}\u{1f600}\n\0", "a+b&c=d"] {
                let value = [key.as_bytes(), b"\xff\0"].concat();
                keys.put(key, value.clone(), Attributes::default()).await.unwrap();
                assert_eq!(keys.get_bytes(key).await.unwrap().unwrap(), value);
            }
            let large: Vec<u8> =
                (0..3_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
            let metadata = to_raw_value(&json!({"v": [1, null, "\u{e9}"]})).unwrap();
            let attributes =
                Attributes { metadata: Some(metadata), expiry: Some(Expiry::At(7_000_000_000)) };
            for length in [None, Some(3_000_000)] {
                let upload = Upload::stream(std::io::Cursor::new(large.clone()), length);
                keys.put("large", upload, attributes.clone()).await.unwrap();
                let entry = keys.get("large").await.unwrap().unwrap();
                assert_eq!(
                    (entry.expiration, entry.length()),
                    (Some(7_000_000_000), Some(3_000_000))
                );
                assert!(value(Some(entry)).await == large);
                let metadata = keys.metadata("large").await.unwrap().unwrap();
                assert_eq!(metadata.get(), r#"{"v":[1,null,"é"]}"#);
                keys.delete("large").await.unwrap();
            }
            keys.delete("large").await.unwrap();
            assert!(keys.get("large").await.unwrap().is_none());

            client.rename_namespace(&made.id, "t").await.unwrap();
            client.drop_namespace(&made.id).await.unwrap();
            assert!(keys.get("a").await.unwrap_err().is_no_namespace());
        });
    }
}

#[test]
fn the_client_writes_in_bulk_and_lists_pages() {
    let server = Server::start(&[]);
    block_on(async {
        let client = Client::new(&server.url()).unwrap();
        let id = client.create_namespace("a").await.unwrap().id;
        let keys = client.namespace(&id);
        let pair = |number: usize| Pair {
            key: format!("k{number:04}"),
            value: if number.is_multiple_of(2) {
                Bytes::from("text")
            } else {
                Bytes::from(&b"\xff\xfe"[..])
            },
            attributes: Attributes { metadata: to_raw_value(&number).ok(), expiry: None },
        };
        let mut pairs: Vec<Pair> = (0..2500).map(pair).collect();
        pairs[7].key = "x".repeat(513);
        pairs[8].attributes.expiry = Some(Expiry::After(3600));
        let outcome = keys.bulk_put(&pairs).await.unwrap();
        assert_eq!((outcome.successful, outcome.unsuccessful.len()), (2499, 1));
        assert_eq!(outcome.messages[0].code, 10030);

        let mut list = List { prefix: "k".into(), ..List::default() };
        let mut names = Vec::new();
        loop {
            let page = keys.list(&list).await.unwrap();
            for key in page.keys {
                assert_eq!(
                    key.metadata.expect("metadata").get().parse(),
                    Ok(names.len() + usize::from(names.len() > 6))
                );
                assert_eq!(key.expiration.is_some(), key.name == "k0008");
                names.push(key.name);
            }
            let Some(cursor) = page.cursor else { break };
            list.cursor = Some(cursor);
        }
        assert_eq!((names.len(), names.is_sorted()), (2499, true));
        assert_eq!(value(keys.get("k0009").await.unwrap()).await, &b"\xff\xfe"[..]);

        let wanted: Vec<&str> =
            names.iter().map(String::as_str).filter(|it| it.ends_with('0')).collect();
        let found = keys.bulk_get(&[&wanted[..], &["none"]].concat()).await.unwrap();
        assert_eq!(found.len(), 250);
        assert!(found.values().all(|entry| entry.value == "text" && entry.metadata.is_some()));
        let outcome = keys.bulk_delete(&wanted).await.unwrap();
        assert_eq!((outcome.successful, outcome.unsuccessful.len()), (250, 0));
        assert!(keys.bulk_get(&wanted[..1]).await.unwrap().is_empty());
    });
}

#[test]
fn the_client_lists_ranges_values_and_what_metadata_contains() {
    let server = Server::start(&["--namespaces", "a"]);
    block_on(async {
        let keys = Client::new(&server.url()).unwrap().namespace("a");
        let role = |number| if number % 2 == 0 { "admin" } else { "user" };
        let pair = |number: u32| Pair {
            key: format!("k{number:03}"),
            value: if number == 5 {
                Bytes::from(&b"\xff"[..])
            } else {
                format!("v{number}").into()
            },
            attributes: Attributes {
                metadata: to_raw_value(&json!({"role": role(number), "number": number})).ok(),
                expiry: None,
            },
        };
        keys.bulk_put(&(0..100).map(pair).collect::<Vec<_>>()).await.unwrap();
        let long = vec![b'x'; 1_500_000];
        keys.put("k200", long, Attributes::default()).await.unwrap();

        let all = |list: List| async {
            let (mut list, mut found, mut pages) = (list, Vec::new(), 0);
            loop {
                let page = keys.list(&list).await.unwrap();
                found.extend(page.keys);
                pages += 1;
                let Some(cursor) = page.cursor else { return (found, pages) };
                list.cursor = Some(cursor);
            }
        };
        let names = |found: &[waypost_client::Listed]| -> Vec<u32> {
            found.iter().map(|key| key.name[1..].parse().unwrap()).collect()
        };
        let text = |text: &str| Some(text.to_owned());
        let base = || List { prefix: "k".into(), limit: Some(10), ..List::default() };

        let (found, pages) = all(List { reverse: true, ..base() }).await;
        let backwards: Vec<u32> = std::iter::once(200).chain((0..100).rev()).collect();
        assert_eq!((names(&found), pages), (backwards, 11));
        let range = List { start: text("k010"), end: text("k02"), ..base() };
        assert_eq!(names(&all(range.clone()).await.0), (10..20).collect::<Vec<_>>());
        let range = List { start_after: text("k010"), reverse: true, ..range };
        assert_eq!(names(&all(range).await.0), (11..20).rev().collect::<Vec<_>>());
        let metadata = to_raw_value(&json!({"role": "user"})).ok();
        let (found, pages) = all(List { metadata, ..base() }).await;
        assert_eq!((names(&found), pages), ((0..100).filter(|n| n % 2 == 1).collect(), 5));

        let (found, _) = all(List { values: true, ..base() }).await;
        assert_eq!(found.len(), 101);
        assert_eq!(found[4].value.as_deref(), Some(&b"v4"[..]));
        assert_eq!(found[5].value.as_deref(), Some(&b"\xff"[..]));
        assert_eq!(found[6].metadata.as_ref().unwrap().get(), r#"{"number":6,"role":"admin"}"#);
        assert_eq!(found[100].value, None);
        let (found, _) = all(base()).await;
        assert!(found.iter().all(|key| key.value.is_none()));
    });
}

#[test]
fn a_page_of_values_ends_after_two_mebibytes() {
    let server = Server::start(&["--namespaces", "a"]);
    block_on(async {
        let keys = Client::new(&server.url()).unwrap().namespace("a");
        for number in 0..5 {
            let value = vec![number; 1 << 20];
            keys.put(&format!("k{number}"), value, Attributes::default()).await.unwrap();
        }
        let mut list = List { values: true, ..List::default() };
        let mut counts = Vec::new();
        loop {
            let page = keys.list(&list).await.unwrap();
            assert!(page.keys.iter().all(|key| key.value.as_ref().unwrap().len() == 1 << 20));
            counts.push(page.keys.len());
            let Some(cursor) = page.cursor else { break };
            list.cursor = Some(cursor);
        }
        assert_eq!(counts, [2, 2, 1]);
    });
}
