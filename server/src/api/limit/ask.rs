//! What a caller asks: the JSON of a body. [`super::query`] makes the same of a query.

use std::{borrow::Cow, fmt};

use ratelimit::Algorithm;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

use crate::rate_limits::Period;

mod value;

pub(super) use value::too_long;
use value::{Flag, Integer, Text, Word};

/// The most checks in a batch.
pub const MAX_CHECKS: usize = 100;

/// The longest namespace or key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 4096;

/// One check, as it is asked for; which of it makes sense together is another question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask<'a> {
    /// A limit of the configuration.
    pub name: Option<Cow<'a, str>>,
    /// Where the counter is.
    pub namespace: Option<Cow<'a, [u8]>>,
    /// Whose counter it is; none is the empty key. Any text of JSON, also one with half a surrogate
    /// pair, whose bytes are then as those of a letter of that number.
    pub key: Option<Cow<'a, [u8]>>,
    /// How many hits are let through in a period.
    pub limit: Option<u32>,
    /// Over which time.
    pub period: Option<Period>,
    /// How it is counted.
    pub algorithm: Option<Algorithm>,
    /// How many hits may come at once.
    pub burst: Option<u32>,
    /// How many hits this is; below 0, how many are given back.
    pub cost: Option<i64>,
    /// Whether to look only.
    pub peek: Option<bool>,
    /// Whether to forget the counter.
    pub reset: Option<bool>,
}

/// A request: one check, or a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Request<'a> {
    /// One check.
    One(Ask<'a>),
    /// Several.
    Batch {
        /// In their order.
        checks: Vec<Ask<'a>>,
        /// Whether none counts unless all pass.
        all: bool,
    },
}

/// Reads a body.
///
/// # Errors
/// A sentence that names what is wrong and where.
pub fn parse(body: &[u8]) -> Result<Request<'_>, String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err("the body is empty".into());
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let request = Whole::deserialize(&mut json).and_then(|whole| json.end().map(|()| whole));
    request.map_err(|error| error.to_string()).and_then(Whole::into_request)
}

/// Everything that can stand in a body, before it is known to be a check or a batch.
#[derive(Default)]
struct Whole<'a> {
    ask: Ask<'a>,
    is_check: bool,
    checks: Option<Vec<Ask<'a>>>,
    all: Option<bool>,
}

impl<'a> Whole<'a> {
    fn into_request(self) -> Result<Request<'a>, String> {
        match self.checks {
            None if self.all.is_some() => Err("`all` goes with `checks`".into()),
            None => Ok(Request::One(self.ask)),
            Some(_) if self.is_check => Err(
                "with `checks`, all that is said of a check stands in it: say only `all` beside"
                    .into(),
            ),
            Some(checks) => Ok(Request::Batch { checks, all: self.all.unwrap_or(false) }),
        }
    }
}

impl<'de> Deserialize<'de> for Whole<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Whole<'de>, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Whole<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Whole<'de>, A::Error> {
                let mut whole = Whole::default();
                while let Some(field) = map.next_key_seed(FieldName { in_batch: false })? {
                    match field {
                        Field::Checks => {
                            set(&mut whole.checks, "checks", map.next_value_seed(Checks)?)?
                        }
                        Field::All => {
                            set(&mut whole.all, "all", map.next_value_seed(Flag("all"))?)?
                        }
                        field => {
                            whole.is_check = true;
                            whole.ask.read(field, &mut map)?;
                        }
                    }
                }
                Ok(whole)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// The names of what can be said.
#[derive(Clone, Copy)]
enum Field {
    Name,
    Namespace,
    Key,
    Limit,
    Period,
    Algorithm,
    Burst,
    Cost,
    Peek,
    Reset,
    Checks,
    All,
}

impl Field {
    fn named(name: &str) -> Option<Field> {
        Some(match name {
            "name" => Field::Name,
            "namespace" => Field::Namespace,
            "key" => Field::Key,
            "limit" => Field::Limit,
            "period" => Field::Period,
            "algorithm" => Field::Algorithm,
            "burst" => Field::Burst,
            "cost" => Field::Cost,
            "peek" => Field::Peek,
            "reset" => Field::Reset,
            "checks" => Field::Checks,
            "all" => Field::All,
            _ => return None,
        })
    }
}

/// What is said of a field that is none.
fn unknown(name: &str) -> String {
    let name: String = name.chars().take(40).collect();
    format!(
        "unknown field {name:?}: a check has name, namespace, key, limit, period, algorithm, burst, \
         cost, peek, reset"
    )
}

struct FieldName {
    in_batch: bool,
}

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Field, E> {
        match Field::named(name) {
            Some(Field::Checks | Field::All) if self.in_batch => {
                Err(E::custom("a batch has no batches in it"))
            }
            Some(field) => Ok(field),
            None => Err(E::custom(unknown(name))),
        }
    }
}

impl<'de> Ask<'de> {
    fn read<A: MapAccess<'de>>(&mut self, field: Field, map: &mut A) -> Result<(), A::Error> {
        match field {
            Field::Name => set(&mut self.name, "name", map.next_value_seed(Word("name"))?),
            Field::Namespace => {
                set(&mut self.namespace, "namespace", map.next_value_seed(Text("namespace"))?)
            }
            Field::Key => set(&mut self.key, "key", map.next_value_seed(Text("key"))?),
            Field::Limit => set(&mut self.limit, "limit", count(map, "limit")?),
            Field::Period => set(&mut self.period, "period", map.next_value()?),
            Field::Algorithm => {
                let word = map.next_value_seed(Word("algorithm"))?;
                set(&mut self.algorithm, "algorithm", word.parse().map_err(A::Error::custom)?)
            }
            Field::Burst => set(&mut self.burst, "burst", count(map, "burst")?),
            Field::Cost => set(&mut self.cost, "cost", map.next_value_seed(Integer("cost"))?),
            Field::Peek => set(&mut self.peek, "peek", map.next_value_seed(Flag("peek"))?),
            Field::Reset => set(&mut self.reset, "reset", map.next_value_seed(Flag("reset"))?),
            Field::Checks | Field::All => Err(A::Error::custom("a batch has no batches in it")),
        }
    }
}

fn set<T, E: Error>(place: &mut Option<T>, name: &str, value: T) -> Result<(), E> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom(format!("`{name}` is there more than once"))),
    }
}

fn count<'de, A: MapAccess<'de>>(map: &mut A, name: &'static str) -> Result<u32, A::Error> {
    let number = map.next_value_seed(Integer(name))?;
    u32::try_from(number).map_err(|_range| {
        A::Error::custom(format!("`{name}` is {number}, and can be 0 to {}", u32::MAX))
    })
}

/// Several checks.
struct Checks;

impl<'de> DeserializeSeed<'de> for Checks {
    type Value = Vec<Ask<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Checks {
    type Value = Vec<Ask<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`checks` as a list of checks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut checks = Vec::new();
        while let Some(check) = list.next_element_seed(Check)? {
            if checks.len() == MAX_CHECKS {
                return Err(A::Error::custom(format!("a batch has at most {MAX_CHECKS} checks")));
            }
            checks.push(check);
        }
        Ok(checks)
    }
}

/// A check of a batch.
struct Check;

impl<'de> DeserializeSeed<'de> for Check {
    type Value = Ask<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Ask<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = Ask<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a check, which is an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ask<'de>, A::Error> {
        let mut ask = Ask::default();
        while let Some(field) = map.next_key_seed(FieldName { in_batch: true })? {
            ask.read(field, &mut map)?;
        }
        Ok(ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(body: &str) -> Ask<'_> {
        match parse(body.as_bytes()) {
            Ok(Request::One(ask)) => ask,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_check_says_as_much_as_it_likes() {
        assert_eq!(one("{}"), Ask::default());
        let ask = one(r#"{"namespace":"1001","key":"a","limit":100,"period":60}"#);
        assert_eq!(ask.namespace.as_deref(), Some(&b"1001"[..]));
        assert_eq!(ask.key.as_deref(), Some(&b"a"[..]));
        assert_eq!((ask.limit, ask.period.map(Period::ms)), (Some(100), Some(60_000)));
        let ask = one(
            r#" {"name":"login","algorithm":"gcra","burst":5,"cost":-2,"peek":false,"reset":true,"period":"500ms"} "#,
        );
        assert_eq!(ask.name.as_deref(), Some("login"));
        assert_eq!(
            (ask.algorithm, ask.burst, ask.cost),
            (Some(Algorithm::Gcra), Some(5), Some(-2))
        );
        assert_eq!((ask.peek, ask.reset), (Some(false), Some(true)));
        assert_eq!(ask.period.map(Period::ms), Some(500));
    }

    #[test]
    fn a_key_is_any_text_of_json_and_is_not_copied_without_need() {
        let body = br#"{"key":"ip:1.2.3.4"}"#;
        let Ok(Request::One(ask)) = parse(body) else { panic!("{body:?}") };
        assert!(matches!(ask.key, Some(Cow::Borrowed(b"ip:1.2.3.4"))));
        for (json, bytes) in [
            (r#""""#, &b""[..]),
            (r#""\u0000""#, b"\0"),
            (r#""\ud83d\ude00""#, "\u{1f600}".as_bytes()),
            (r#""\ud83d""#, b"\xed\xa0\xbd"),
            (r#""\ude00""#, b"\xed\xb8\x80"),
            (r#""\\\"\/""#, b"\\\"/"),
            ("\"\u{e9}\"", "\u{e9}".as_bytes()),
        ] {
            let body = format!(r#"{{"key":{json}}}"#);
            assert_eq!(one(&body).key.as_deref(), Some(bytes), "{body}");
        }
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats() {
        assert_eq!(one(r#"{"limit":100.0,"cost":-1e1}"#).limit, Some(100));
        assert_eq!(one(r#"{"limit":4294967295}"#).limit, Some(u32::MAX));
    }

    #[test]
    fn a_batch_has_checks_and_perhaps_all() {
        let body = br#"{"checks":[{"key":"a"},{"key":"b"}],"all":true}"#;
        let Ok(Request::Batch { checks, all }) = parse(body) else { panic!("no batch") };
        assert_eq!((checks.len(), all), (2, true));
        assert!(matches!(parse(br#"{"checks":[]}"#), Ok(Request::Batch { all: false, .. })));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!(r#"{{"key":"{}"}}"#, "x".repeat(MAX_KEY_BYTES + 1));
        let many = format!(r#"{{"checks":[{}{{}}]}}"#, "{},".repeat(MAX_CHECKS));
        for (body, says) in [
            ("", "the body is empty"),
            (" \n", "the body is empty"),
            ("[]", "expected an object"),
            ("null", "expected an object"),
            ("{", "EOF"),
            ("{}x", "trailing"),
            (r#"{"kye":"a"}"#, r#"unknown field "kye": a check has name, namespace, key"#),
            (r#"{"key":5}"#, "integer `5`, expected `key` as a text"),
            (r#"{"key":null}"#, "null, expected `key` as a text"),
            (r#"{"key":[1]}"#, "expected `key` as a text"),
            (r#"{"namespace":{}}"#, "expected `namespace` as a text"),
            (r#"{"limit":"5"}"#, "expected `limit` as a whole number"),
            (r#"{"limit":5.5}"#, "expected `limit` as a whole number"),
            (r#"{"limit":-1}"#, "`limit` is -1, and can be 0 to 4294967295"),
            (r#"{"limit":4294967296}"#, "`limit` is 4294967296, and can be 0 to 4294967295"),
            (r#"{"limit":1e300}"#, "expected `limit` as a whole number"),
            (r#"{"limit":18446744073709551615}"#, "`limit` is 9223372036854775807"),
            (r#"{"period":"x"}"#, r#""x" is no period: say 60, 10s"#),
            (r#"{"period":-1}"#, "`period` can't be -1"),
            (r#"{"period":true}"#, "expected `period` as a number of seconds"),
            (r#"{"algorithm":"leaky"}"#, "one of sliding, fixed, gcra"),
            (r#"{"algorithm":1}"#, "expected `algorithm` as a text"),
            (r#"{"peek":1}"#, "expected `peek` as true or false"),
            (r#"{"cost":"1"}"#, "expected `cost` as a whole number"),
            (r#"{"key":"a","key":"b"}"#, "`key` is there more than once"),
            (r#"{"all":true}"#, "`all` goes with `checks`"),
            (r#"{"checks":[],"key":"a"}"#, "with `checks`"),
            (r#"{"checks":{}}"#, "expected `checks` as a list"),
            (r#"{"checks":[[]]}"#, "expected a check, which is an object"),
            (r#"{"checks":[{"checks":[]}]}"#, "a batch has no batches in it"),
            (&long, "`key` has 4097 bytes, and can have 4096"),
            (&many, "a batch has at most 100 checks"),
        ] {
            let error = parse(body.as_bytes()).expect_err(body);
            assert!(error.contains(says), "{body}: {says:?} is not in {error:?}");
        }
    }
}
