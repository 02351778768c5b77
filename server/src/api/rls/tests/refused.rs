//! Configurations that make no sense: each is refused with its place, and with what would do.

use ratelimit::Algorithm;

use super::Domains;
use crate::config::rls::parse;

fn refused(yaml: &str) -> String {
    let mut domains = Domains::default();
    for domain in parse(yaml).expect("YAML") {
        if let Err(error) = domains.add(&domain, Algorithm::Sliding) {
            return error.to_string();
        }
    }
    panic!("taken: {yaml}");
}

#[test]
fn a_domain_that_makes_no_sense_is_refused_with_its_place() {
    for (descriptors, says) in [
        ("[{key: ''}]", "domain \"d\", descriptor ?: it has no key"),
        ("[{key: 'a*'}]", "descriptor a*: a `*` in a key"),
        ("[{key: a, value: b}, {key: a, value: b}]", "descriptor a=b: it is there twice"),
        ("[{key: a}, {key: a, value: ''}]", "descriptor a: it is there twice"),
        ("[{key: a, value: b*}, {key: a, value: b*}]", "descriptor a=b*: it is there twice"),
        ("[{key: a, shadow_mode: true}]", "descriptor a: shadow_mode is for the rate_limit"),
        ("[{key: a, value: b, share_threshold: true}]", "share_threshold is for a `value` with"),
        ("[{key: a, detailed_metric: true}]", "detailed_metric is not supported"),
        ("[{key: a, value_to_metric: true}]", "value_to_metric is not supported"),
        ("[{key: a, quota_mode: true}]", "quota_mode is not supported"),
        ("[{key: a, metadata: {b: c}}]", "metadata is not supported"),
        (
            "[{key: a, descriptors: [{key: b, value: c, descriptors: [{key: e, quota_mode: true}]}]}]",
            "domain \"d\", descriptor a > b=c > e: quota_mode",
        ),
    ] {
        let said = refused(&format!("{{domain: d, descriptors: {descriptors}}}"));
        assert!(said.contains(says), "{says:?} is not in {said:?}");
    }
    assert!(refused("domain: ''").contains("no name"));
    assert!(refused("domain: d\n---\ndomain: d").contains("domain \"d\": it is there twice"));
}

#[test]
fn a_limit_that_makes_no_sense_is_refused() {
    for (limit, says) in [
        ("{unit: minute}", "needs `requests_per_unit`"),
        ("{requests_per_unit: 1}", "needs `unit`: say second, minute"),
        ("{unit: fortnight, requests_per_unit: 1}", "\"fortnight\" is no unit"),
        ("{unit: unknown, requests_per_unit: 1}", "\"unknown\" is no unit"),
        ("{unit: minute, period: 10s, requests_per_unit: 1}", "`unit` and `period`: say one"),
        ("{unlimited: true, unit: day}", "unlimited, so that `unit` means nothing"),
        ("{unlimited: true, requests_per_unit: 4}", "`requests_per_unit` means nothing"),
        ("{unit: day, requests_per_unit: 1, algorithm: leaky}", "sliding, fixed, gcra"),
        ("{unit: day, requests_per_unit: 1, burst: 2}", "a burst goes with"),
        ("{period: 0s, requests_per_unit: 1}", "1 ms"),
        (
            "{unit: second, requests_per_unit: 4294967295, algorithm: gcra}",
            "too large: the most is 1024000. The algorithm \"fixed\" takes up to 4294967295",
        ),
        (
            "{unit: day, requests_per_unit: 5000000, algorithm: sliding}",
            "too large: the most is 2097151. The algorithm \"fixed\" takes up to 4294967295",
        ),
        ("{unit: day, requests_per_unit: 1, replaces: [{name: ''}]}", "empty name"),
        ("{unit: day, requests_per_unit: 1, name: n, replaces: [{name: n}]}", "replaces itself"),
    ] {
        let said =
            refused(&format!("{{domain: d, descriptors: [{{key: a, rate_limit: {limit}}}]}}"));
        assert!(said.starts_with("domain \"d\", descriptor a: "), "{said}");
        assert!(said.contains(says), "{says:?} is not in {said:?}");
    }
}

#[test]
fn there_can_be_so_many_levels_and_no_more() {
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
fn what_is_no_yaml_of_this_shape_is_told_with_its_line() {
    for (yaml, line, says) in [
        ("domain: d\ndescriptors:\n  - key: a\n    vlue: b\n", 4, "unknown field `vlue`"),
        ("domain: d\ndomain: e\n", 2, "duplicate"),
        ("domain: d\ndescriptors:\n  - a\n", 3, "expected"),
        ("domain: d\ndescriptors:\n\t- key: a\n", 3, "tab"),
        ("descriptors: []\n", 1, "domain"),
        (
            "domain: d\ndescriptors:\n  - key: a\n    rate_limit:\n      requests_per_unit: -1\n",
            5,
            "`requests_per_unit` is -1, and can be 0 to 4294967295",
        ),
        (
            "domain: d\ndescriptors:\n  - key: a\n    rate_limit:\n      requests_per_unit: abc\n",
            5,
            "expected `requests_per_unit` as a whole number from 0 to 4294967295",
        ),
    ] {
        let (at, said) = parse(yaml).expect_err(yaml);
        assert_eq!(at, line, "{yaml}: {said}");
        assert!(
            said.contains(says) && !said.contains('\n') && !said.contains(" at line"),
            "{said}"
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
    assert_eq!((&descriptors[0].shadow_mode, &descriptors[0].rate_limit), (&Some(false), &None));
    assert_eq!((&descriptors[1].key[..], &descriptors[1].value), ("on", &None));
    assert_eq!(parse("# nothing\n"), Ok(Vec::new()));
}
