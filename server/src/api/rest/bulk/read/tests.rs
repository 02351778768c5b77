use super::*;

/// Keeps what it receives.
#[derive(Default)]
struct Collected {
    value: Vec<u8>,
    pairs: Vec<(Pair, Vec<u8>)>,
    most: usize,
}

impl Sink for Collected {
    type Error = &'static str;

    fn value(&mut self, bytes: &[u8], _base64: Option<bool>) -> Result<(), &'static str> {
        self.most = self.most.max(bytes.len());
        self.value.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, pair: Pair) -> Result<(), &'static str> {
        self.pairs.push((pair, std::mem::take(&mut self.value)));
        if self.pairs.len() == 3 { Err("enough") } else { Ok(()) }
    }
}

/// A source that returns few bytes at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(7);
        self.0.read(&mut buffer[..length])
    }
}

fn read(json: &str) -> Result<Vec<(Pair, Vec<u8>)>, String> {
    let mut sink = Collected::default();
    match pairs(Slow(json.as_bytes()), &mut sink) {
        Ok(()) => Ok(sink.pairs),
        Err(Stop::Malformed(why)) => Err(why),
        Err(stop) => panic!("{stop:?}"),
    }
}

fn text(text: &str) -> Text {
    Text { kept: text.into(), length: text.len() }
}

#[test]
fn pairs_have_their_fields_in_any_order() {
    let json = r#" [
        {"key": "a\u00e9", "value": "one\n"},
        {"more": [{"value": 1}], "metadata": {"x": [1, 2.50]}, "expiration_ttl": 60.0, "value": "",
         "base64": true, "key": "b", "expiration": 7}
    ] "#;
    let expected = vec![
        (Pair { key: text("a\u{e9}"), ..Pair::default() }, b"one\n".to_vec()),
        (
            Pair {
                key: text("b"),
                base64: Some(true),
                expiration: Some("7".into()),
                ttl: Some("60.0".into()),
                metadata: Some(text(r#"{"x":[1,2.50]}"#)),
            },
            vec![],
        ),
    ];
    assert_eq!(read(json), Ok(expected));
    let nulls = r#"[{"key":"a","value":"b","base64":null,"expiration":null,"metadata":null}]"#;
    let plain = Pair { key: text("a"), ..Pair::default() };
    assert_eq!(read(nulls), Ok(vec![(plain, b"b".to_vec())]));
    assert_eq!(read("[]"), Ok(vec![]));
}

#[test]
fn other_documents_are_malformed_and_the_item_is_named() {
    let long = format!(r#"[{{"{}":1}}]"#, "x".repeat(MAX_TOKEN_BYTES + 4096));
    let deep = format!(r#"[{{"x":{}"#, "[".repeat(100_000));
    for (json, expected) in [
        ("", "syntax error"),
        ("{}", "expected JSON value type Array"),
        ("[1]", "item 0: expected JSON value type Object"),
        (r#"[{"key":"a","value":"b"},{"key":"a"}]"#, "item 1: it has no string \"value\""),
        (r#"[{"value":"b"}]"#, "item 0: it has no string \"key\""),
        (r#"[{"key":"a","value":5}]"#, "item 0: expected JSON value type String"),
        (r#"[{"key":"a","value":null}]"#, "item 0: expected JSON value type String"),
        (r#"[{"key":"a","value":"b","value":"c"}]"#, "item 0: it has two values"),
        (r#"[{"key":"a","value":"b","base64":1}]"#, "item 0: expected JSON value type Boolean"),
        (r#"[{"key":"a","value":"b","expiration":"1"}]"#, "item 0: expected JSON value type"),
        (r#"[{"key":"a","value":"b"#, "item 0: "),
        (r#"[{"key":"a","value":"\ud800"}]"#, "item 0: "),
        (r#"[{"key":"a","value":"b"}]x"#, "syntax error"),
        (&long, "item 0: "),
        (&deep, "item 0: maximum nesting depth"),
    ] {
        let error = read(json).unwrap_err();
        assert!(error.starts_with(expected), "{json:.60}: {error}");
    }
    let mut sink = Collected::default();
    let stop = pairs(&b"[{\"key\":\"a\",\"value\":\"\xff\"}]"[..], &mut sink).unwrap_err();
    assert!(matches!(stop, Stop::Malformed(_)), "{stop:?}");
}

#[test]
fn a_long_value_arrives_in_pieces_and_a_long_key_is_cut() {
    let json = format!(r#"[{{"value":"{}","key":"{}"}}]"#, "v".repeat(500_000), "k".repeat(90_000));
    let mut sink = Collected::default();
    assert_eq!(pairs(json.as_bytes(), &mut sink), Ok(()));
    let (pair, value) = &sink.pairs[0];
    assert_eq!((value.len(), pair.key.length, pair.key.kept.len()), (500_000, 90_000, 512));
    assert!(sink.most <= PIECE_BYTES);
}

#[test]
fn the_sink_can_stop() {
    let json = format!("[{}]", [r#"{"key":"a","value":"b"}"#; 5].join(","));
    assert_eq!(pairs(json.as_bytes(), &mut Collected::default()), Err(Stop::Sink("enough")));
}

#[test]
fn keys_are_strings_and_at_most_ten_thousand() {
    let read = |json: &str| {
        let mut found = vec![];
        let outcome = keys(json.as_bytes(), |key| {
            found.push(key);
            Ok::<(), ()>(())
        });
        outcome.map(|()| found)
    };
    assert_eq!(read(r#"["a", "b/ü"]"#), Ok(vec![text("a"), text("b/ü")]));
    assert!(matches!(read(r#"["a", 1]"#), Err(Stop::Malformed(why)) if why.starts_with("item 1")));
    let many = |count: usize| format!("[{}]", vec![r#""k""#; count].join(","));
    assert_eq!(read(&many(MAX_ITEMS)).map(|keys| keys.len()), Ok(MAX_ITEMS));
    assert_eq!(read(&many(MAX_ITEMS + 1)), Err(Stop::TooMany));
}
