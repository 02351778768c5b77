use kv_core::{Attributes, NamespaceId, Store};
use serde_json::{Value as Json, json};

use super::*;

const TEXT: Shape = Shape { is_json: false, with_metadata: false };

struct Fixture {
    store: Store,
    namespace: NamespaceId,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new(entries: &[(&str, &[u8], Option<&str>)]) -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let namespace = store.create_namespace("test").unwrap().id;
        for (key, value, metadata) in entries {
            let attributes = Attributes {
                metadata: metadata.map(|text| kv_core::Metadata::new(text).unwrap()),
                expires_at: None,
            };
            store.put_with(namespace, key, value, attributes).unwrap();
        }
        Fixture { store, namespace, _directory: directory }
    }

    /// The reply, and the number of its pieces.
    fn reply(&self, keys: &[&str], shape: Shape) -> (Vec<u8>, usize) {
        let entries = self.store.get_many(self.namespace, keys).unwrap();
        let keys = keys.iter().map(|key| (*key).to_owned());
        let mut reply = Reply::new(keys.zip(entries).collect(), shape);
        let (mut whole, mut pieces) = (Vec::new(), 0);
        while let Some(piece) = reply.next().unwrap() {
            assert!(piece.len() < 2 * PIECE_BYTES + 6 * 65_280, "{} bytes", piece.len());
            whole.extend_from_slice(&piece);
            pieces += 1;
        }
        (whole, pieces)
    }

    fn json(&self, keys: &[&str], shape: Shape) -> Json {
        serde_json::from_slice(&self.reply(keys, shape).0).unwrap()
    }
}

#[test]
fn a_reply_has_every_key_with_its_value_or_null() {
    let fixture = Fixture::new(&[
        ("a", b"text", None),
        ("empty", b"", Some("5")),
        ("\"", b"\"\n\xff", Some(r#"{"m": "\u00e9"}"#)),
    ]);
    let keys = ["\"", "a", "none", "empty"];
    let (text, pieces) = fixture.reply(&keys, TEXT);
    let expected = "{\"\\\"\":\"\\\"\\n\u{fffd}\",\"a\":\"text\",\"none\":null,\"empty\":\"\"}";
    assert_eq!((str::from_utf8(&text).unwrap(), pieces), (expected, 1));
    assert_eq!(
        fixture.json(&keys, Shape { with_metadata: true, ..TEXT }),
        json!({
            "\"": {"value": "\"\n\u{fffd}", "metadata": {"m": "\u{e9}"}},
            "a": {"value": "text", "metadata": null},
            "none": null,
            "empty": {"value": "", "metadata": 5},
        })
    );
}

#[test]
fn json_values_are_written_as_they_are() {
    let fixture = Fixture::new(&[
        ("object", br#" {"a": [1, 1e400]} "#, None),
        ("null", b"null", Some("\"m\"")),
        ("marked", b"\xef\xbb\xbf5", None),
    ]);
    let keys = ["object", "null", "marked"];
    let (text, _) = fixture.reply(&keys, Shape { is_json: true, with_metadata: false });
    assert_eq!(
        str::from_utf8(&text).unwrap(),
        r#"{"object": {"a": [1, 1e400]} ,"null":null,"marked":5}"#
    );
    assert_eq!(
        fixture.json(&keys[1..], Shape { is_json: true, with_metadata: true }),
        json!({
            "null": {"value": null, "metadata": "m"},
            "marked": {"value": 5, "metadata": null},
        })
    );
}

#[test]
fn a_large_value_is_written_in_pieces() {
    // Characters of three bytes, which most chunks cut.
    let large = "\u{20ac}\"".repeat(100_000);
    let fixture = Fixture::new(&[
        ("large", large.as_bytes(), Some("1")),
        ("zeros", &[0; 200_000], None),
        ("small", b"s", None),
    ]);
    let keys = ["large", "small", "zeros"];
    let (_, pieces) = fixture.reply(&keys, TEXT);
    assert!(pieces >= 10, "{pieces} pieces");
    let reply = fixture.json(&keys, Shape { with_metadata: true, ..TEXT });
    assert_eq!(reply["large"], json!({"value": large, "metadata": 1}));
    assert_eq!(reply["zeros"]["value"], "\0".repeat(200_000));
    assert_eq!(reply["small"]["value"], "s");
}

#[test]
fn metadata_that_is_not_json_is_written_as_a_string() {
    let fixture = Fixture::new(&[("a", b"1", Some("{broken"))]);
    assert_eq!(
        fixture.json(&["a"], Shape { with_metadata: true, ..TEXT }),
        json!({"a": {"value": "1", "metadata": "{broken"}})
    );
}
