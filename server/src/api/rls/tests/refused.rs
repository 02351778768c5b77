//! Invalid configurations: each is refused with its place and a remedy.

use ratelimit::Algorithm;

use super::{Domains, parse};
use crate::api::rls::YamlError;

fn refused(yaml: &str) -> String {
    let mut domains = Domains::default();
    for domain in parse(yaml).expect("YAML") {
        if let Err(error) = domains.add(&domain, Algorithm::Sliding) {
            return error.to_string();
        }
    }
    panic!("accepted: {yaml}");
}

#[test]
fn a_domain_that_makes_no_sense_is_refused_with_its_place() {
    for (descriptors, expected) in [
        ("[{key: ''}]", "domain \"d\", descriptor ?: it has no key"),
        ("[{key: 'a*'}]", "descriptor a*: a `*` in a key"),
        ("[{key: a, value: b}, {key: a, value: b}]", "descriptor a=b: it exists twice"),
        ("[{key: a}, {key: a, value: ''}]", "descriptor a: it exists twice"),
        ("[{key: a, value: b*}, {key: a, value: b*}]", "descriptor a=b*: it exists twice"),
        ("[{key: a, value: b, share_threshold: true}]", "share_threshold needs a `value` with"),
        (
            "[{key: a, descriptors: [{key: b, value: c, descriptors: [{key: e, share_threshold: true}]}]}]",
            "domain \"d\", descriptor a > b=c > e: share_threshold",
        ),
    ] {
        let error = refused(&format!("{{domain: d, descriptors: {descriptors}}}"));
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
    assert!(refused("domain: ''").contains("no name"));
    assert!(refused("domain: d\n---\ndomain: d").contains("domain \"d\": it exists twice"));
}

#[test]
fn a_limit_that_makes_no_sense_is_refused() {
    for (limit, expected) in [
        ("{unit: minute}", "needs `requests_per_unit`"),
        ("{requests_per_unit: 1}", "needs `unit`: use second, minute"),
        ("{unit: fortnight, requests_per_unit: 1}", "\"fortnight\" is not a unit"),
        ("{unit: unknown, requests_per_unit: 1}", "\"unknown\" is not a unit"),
        ("{unit: minute, period: 10s, requests_per_unit: 1}", "`unit` and `period`: use one"),
        ("{unlimited: true, unit: day}", "unlimited, so remove `unit`"),
        ("{unlimited: true, requests_per_unit: 4}", "remove `requests_per_unit`"),
        ("{unit: day, requests_per_unit: 1, algorithm: leaky}", "sliding, fixed, gcra"),
        ("{unit: day, requests_per_unit: 1, burst: 2}", "only the algorithm \"gcra\" has a burst"),
        ("{period: 0s, requests_per_unit: 1}", "1 ms"),
        (
            "{unit: day, requests_per_unit: 1, algorithm: gcra, scope: global}",
            "a global limit can't use gcra",
        ),
        ("{unlimited: true, scope: global}", "remove `scope`"),
        (
            "{unit: second, requests_per_unit: 4294967295, algorithm: gcra}",
            "too large: the most is 1024000. The algorithm \"fixed\" counts up to 4294967295",
        ),
        (
            "{unit: day, requests_per_unit: 5000000, algorithm: sliding}",
            "too large: the most is 2097151. The algorithm \"fixed\" counts up to 4294967295",
        ),
        ("{unit: day, requests_per_unit: 1, replaces: [{name: ''}]}", "empty name"),
        ("{unit: day, requests_per_unit: 1, name: n, replaces: [{name: n}]}", "replaces itself"),
    ] {
        let error =
            refused(&format!("{{domain: d, descriptors: [{{key: a, rate_limit: {limit}}}]}}"));
        assert!(error.starts_with("domain \"d\", descriptor a: "), "{error}");
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
}

#[test]
fn the_number_of_levels_is_bounded() {
    let nested = |levels: usize| {
        let open = "[{key: a, descriptors: ".repeat(levels - 1);
        format!("{{domain: d, descriptors: {open}[{{key: a}}]{}}}", "}]".repeat(levels - 1))
    };
    let domain = |levels| parse(&nested(levels)).expect("YAML").remove(0);
    let mut domains = Domains::default();
    assert_eq!(domains.add(&domain(super::super::MAX_DEPTH), Algorithm::Fixed), Ok(()));
    let mut domains = Domains::default();
    assert!(domains.add(&domain(super::super::MAX_DEPTH + 1), Algorithm::Fixed).is_err());
}

#[test]
fn an_error_in_the_yaml_has_its_line() {
    for (yaml, line, expected) in [
        ("domain: d\ndescriptors:\n  - key: a\n    vlue: b\n", 4, "unknown field `vlue`"),
        ("domain: d\ndomain: e\n", 2, "duplicate"),
        ("domain: d\ndescriptors:\n  - a\n", 3, "expected"),
        ("domain: d\ndescriptors:\n\t- key: a\n", 3, "tab"),
        ("descriptors: []\n", 1, "domain"),
        (
            "domain: d\ndescriptors:\n  - key: a\n    rate_limit:\n      requests_per_unit: -1\n",
            5,
            "`requests_per_unit` is -1: use 0 to 4294967295",
        ),
        (
            "domain: d\ndescriptors:\n  - key: a\n    rate_limit:\n      requests_per_unit: abc\n",
            5,
            "expected `requests_per_unit` as a whole number from 0 to 4294967295",
        ),
    ] {
        let YamlError { line: at, message } = parse(yaml).expect_err(yaml);
        assert_eq!(at, line, "{yaml}: {message}");
        assert!(
            message.contains(expected) && !message.contains('\n') && !message.contains(" at line"),
            "{message}"
        );
    }
    assert!(parse(&format!("domain: {}", "[".repeat(100_000))).is_err());
}

#[test]
fn yaml_is_read_as_envoyproxy_reads_it() {
    let yaml = "# limits\ndomain: 404\ndescriptors:\n  - key: 1\n    value: 2.0\n    shadow_mode: no\n    \
                rate_limit:\n  - key: on\n    value: ~\n    descriptors:\n---\ndomain: two\n---\n";
    let read = parse(yaml).expect("YAML");
    assert_eq!(read.len(), 2);
    let descriptors = read[0].descriptors.as_ref().expect("a level");
    assert_eq!(read[0].domain, "404");
    assert_eq!(descriptors[0].value.as_deref(), Some("2.0"));
    assert_eq!(
        (&descriptors[0].shadow_mode.as_ref().map(|it| it.value), &descriptors[0].rate_limit),
        (&Some(false), &None)
    );
    assert_eq!((&descriptors[1].key[..], &descriptors[1].value), ("on", &None));
    assert_eq!(parse("# nothing\n"), Ok(Vec::new()));
}
