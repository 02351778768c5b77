use bytes::Bytes;
use http_body_util::BodyExt as _;

use super::*;

fn request(keys: &[&str], is_json: bool, with_metadata: bool) -> Request {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Request { keys, shape: Shape { is_json, with_metadata } }
}

#[test]
fn a_request_has_keys_and_a_shape() {
    for (body, expected) in [
        (r#"{"keys":["a"]}"#, request(&["a"], false, false)),
        (r#"{"keys":["b","a","b"],"type":"text"}"#, request(&["b", "a"], false, false)),
        (r#"{"keys":["a"],"type":"json","withMetadata":true}"#, request(&["a"], true, true)),
        (r#"{"keys":["a"],"type":null,"withMetadata":false}"#, request(&["a"], false, false)),
        (r#"{"keys":["a"],"type":"","cacheTtl":"30"}"#, request(&["a"], false, false)),
        (r#"{"keys":["a"],"cacheTtl":60,"more":[{}]}"#, request(&["a"], false, false)),
        (r#"{"keys":["\u00e9"]}"#, request(&["\u{e9}"], false, false)),
    ] {
        assert_eq!(Request::parse(body.as_bytes()), Ok(expected), "{body}");
    }
    // A lone surrogate, as the runtime writes it.
    let surrogate = b"{\"keys\":[\"\xed\xa0\x80\"]}";
    assert_eq!(Request::parse(surrogate), Ok(request(&["\u{fffd}\u{fffd}\u{fffd}"], false, false)));
}

#[test]
fn a_request_that_is_out_of_bounds_is_refused() {
    let keys = |count: usize| format!(r#"{{"keys":[{}]}}"#, vec![r#""k""#; count].join(","));
    let long = format!(r#"{{"keys":["a","{}"]}}"#, "x".repeat(513));
    for (body, status, text) in [
        (r#"{"keys":[]}"#, 400, "You must request a minimum of 1 key"),
        (&keys(101), 400, "You can request a maximum of 100 keys"),
        (&keys(5000), 400, "You can request a maximum of 100 keys"),
        (
            r#"{"keys":["a"],"type":"arrayBuffer"}"#,
            400,
            r#""arrayBuffer" is not a valid type. Use "json" or "text""#,
        ),
        (r#"{"keys":["a",""]}"#, 400, "Key names must not be empty"),
        (r#"{"keys":["."]}"#, 400, r#"Illegal key name ".". Please use a different name."#),
        (r#"{"keys":[".."]}"#, 400, r#"Illegal key name "..". Please use a different name."#),
        (&long, 414, "UTF-8 encoded length of 513 exceeds key length limit of 512."),
        (
            r#"{"keys":["a"],"cacheTtl":"29"}"#,
            400,
            "Invalid cache_ttl of 29. Cache TTL must be at least 30.",
        ),
        (
            r#"{"keys":["a"],"cacheTtl":1.5}"#,
            400,
            "Invalid cache_ttl of 1.5. Cache TTL must be at least 30.",
        ),
    ] {
        let refusal = Request::parse(body.as_bytes()).unwrap_err();
        assert_eq!((refusal.status.as_u16(), &refusal.text[..]), (status, text));
    }
    assert!(Request::parse(keys(100).as_bytes()).is_ok());
    let longest = vec![format!("\"{}\"", r"\u0001".repeat(512)); 100].join(",");
    let longest = format!(r#"{{"keys":[{longest}],"type":"json","withMetadata":true}}"#);
    assert!(longest.len() < MAX_REQUEST_BYTES && Request::parse(longest.as_bytes()).is_ok());
}

#[test]
fn a_body_that_is_not_a_request_is_refused_with_the_reason() {
    let deep = "[".repeat(100_000);
    for body in ["", "{", "null", "[]", "{}", r#"{"keys":"a"}"#, r#"{"keys":[1]}"#, &deep] {
        let refusal = Request::parse(body.as_bytes()).unwrap_err();
        assert_eq!(refusal.status, 400);
        assert!(refusal.text.starts_with("The body is not the JSON of a bulk get: "), "{body}");
        let is_object = body.is_empty() || body.starts_with('{');
        assert_eq!(refusal.text.ends_with(": expected an object"), !is_object, "{body:.20}");
    }
}

#[test]
fn the_reason_has_no_path_of_a_field() {
    for (body, expected) in [
        (r#"{"keys":[1]}"#, "invalid type: integer `1`, expected a string at line 1 column 10"),
        (r#"{"keys":1}"#, "invalid type: integer `1`, expected a sequence at line 1 column 9"),
        ("{", "EOF while parsing an object at line 1 column 1"),
        (r#"{"keys":["a"]}x"#, "trailing characters at line 1 column 15"),
    ] {
        let refusal = Request::parse(body.as_bytes()).unwrap_err();
        assert_eq!(refusal.text, format!("The body is not the JSON of a bulk get: {expected}"));
    }
}

/// The reply of a store with these entries to a request for all of them.
async fn answered(entries: &[(&str, Bytes)], is_json: bool) -> Result<Bytes, (u16, String)> {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let namespace = store.create_namespace("test").unwrap().id;
    for (key, value) in entries {
        store.put(namespace, key, value).unwrap();
    }
    let keys: Vec<_> = entries.iter().map(|(key, _)| *key).collect();
    match answer(&store, namespace, request(&keys, is_json, false)) {
        Ok(reply) => Ok(reply.into_body().unwrap().collect().await.unwrap().to_bytes()),
        Err(KvError::Invalid(refusal)) => Err((refusal.status.as_u16(), refusal.text.into_owned())),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn values_of_25_mib_in_all_are_returned_and_one_byte_more_is_refused() {
    let half = Bytes::from(vec![b'x'; 13 * 1024 * 1024]);
    let rest = half.slice(..12 * 1024 * 1024);
    let whole = answered(&[("a", half.clone()), ("b", rest.clone())], false).await.unwrap();
    assert_eq!(whole.len(), 25 * 1024 * 1024 + r#"{"a":"","b":""}"#.len());
    let one = Bytes::from_static(b"x");
    assert_eq!(
        answered(&[("a", half), ("b", rest), ("c", one)], false).await,
        Err((413, "Total size of request exceeds the limit of 25MB".to_owned()))
    );
}

#[tokio::test]
async fn one_value_that_is_not_json_fails_the_call() {
    let refused =
        Err((400, "At least one of the requested keys corresponds to a non-json value".to_owned()));
    let small = Bytes::from_static(b"[1]");
    let large = Bytes::from(format!("[\"{}\"]", "x".repeat(200_000)));
    let marked = Bytes::from([b"\xef\xbb\xbf", &large[..]].concat());
    let dirty = Bytes::from([b"[\"\xff", &large[2..]].concat());
    let cut = large.slice(..large.len() - 1);
    let more = Bytes::from([&large[..], b"1"].concat());
    for (value, is_json) in [
        (small.clone(), true),
        (large, true),
        (marked, true),
        (dirty, true),
        (cut, false),
        (more, false),
        (Bytes::from_static(b"x"), false),
        (Bytes::new(), false),
    ] {
        let length = value.len();
        let answer = answered(&[("small", small.clone()), ("it", value)], true).await;
        if is_json {
            let answer: serde_json::Value = serde_json::from_slice(&answer.unwrap()).unwrap();
            assert!(answer["it"].is_array(), "{length} bytes");
        } else {
            assert_eq!(answer, refused, "{length} bytes");
        }
    }
}
