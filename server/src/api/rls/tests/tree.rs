//! Which limit applies to a descriptor, and which descriptors share a counter.

use super::{Domains, descriptor, domains};

const TREE: &str = "
domain: d
descriptors:
  - key: path
    value: /login
    rate_limit: {unit: second, requests_per_unit: 1}
  - key: path
    value: /api/*
    rate_limit: {unit: second, requests_per_unit: 2}
  - key: path
    value: /api/v1*
    rate_limit: {unit: second, requests_per_unit: 3}
  - key: path
    rate_limit: {unit: second, requests_per_unit: 4}
  - key: path
    value: /health
  - key: tenant
    value: gold
    rate_limit: {unit: second, requests_per_unit: 5}
    descriptors:
      - key: user
        rate_limit: {unit: second, requests_per_unit: 6}
      - key: user
        value: root
        rate_limit: {unit: second, requests_per_unit: 7}
  - key: tenant
    descriptors:
      - key: user
        rate_limit: {unit: second, requests_per_unit: 8}
  - key: a_b
    rate_limit: {unit: second, requests_per_unit: 9}
  - key: a
    value: b
    rate_limit: {unit: second, requests_per_unit: 10}
  - key: files
    value: f*/*
    share_threshold: true
    descriptors:
      - key: user
        rate_limit: {unit: second, requests_per_unit: 11}
";

/// The count of the limit that applies to a descriptor, and the name of its counter.
fn find(domains: &Domains, text: &str) -> Option<(u32, String)> {
    let mut key = Vec::new();
    let tree = domains.get("d").expect("the domain");
    let rule = tree.find(&descriptor(text).entries, &mut key)?;
    Some((rule.limit.expect("a limit").count(), String::from_utf8(key).expect("text")))
}

#[test]
fn the_most_specific_node_applies() {
    let domains = domains(TREE);
    for (text, count) in [
        ("path=/login", Some(1)),
        ("path=/login/", Some(4)),
        // The first wildcard that matches, not the longest.
        ("path=/api/v1/x", Some(2)),
        ("path=/api/", Some(2)),
        ("path=/", Some(4)),
        ("path", Some(4)),
        ("path=/health", None),
        ("tenant=gold", Some(5)),
        ("tenant=gold,user=x", Some(6)),
        ("tenant=gold,user=root", Some(7)),
        ("tenant=other,user=root", Some(8)),
        // No limit at that level, or nothing there.
        ("tenant=other", None),
        ("tenant=gold,path=/", None),
        ("tenant=gold,user=root,more=x", None),
        ("path=/login,more=x", None),
        ("user=root", None),
        ("user=root,tenant=gold", None),
        ("Path=/login", None),
        // envoyproxy/ratelimit can't distinguish these, because it joins key and value by `_`.
        ("a_b", Some(9)),
        ("a=b", Some(10)),
    ] {
        assert_eq!(find(&domains, text).map(|(count, _)| count), count, "{text}");
    }
    assert!(domains.get("D").is_none());
}

#[test]
fn each_value_has_its_own_counter_unless_it_shares_the_threshold() {
    let domains = domains(TREE);
    let counter = |text: &str| find(&domains, text).expect("a limit").1;
    for [one, other] in [
        ["path=/x", "path=/y"],
        ["path=/api/a", "path=/api/b"],
        ["tenant=x,user=a", "tenant=y,user=a"],
        ["tenant=gold,user=a", "tenant=gold"],
        ["files=f/1,user=a", "files=f/1,user=b"],
    ] {
        assert_ne!(counter(one), counter(other), "{one} and {other}");
    }
    assert_eq!(counter("files=f/1,user=a"), counter("files=f2/x,user=a"));
    assert_eq!(counter("files=f/1,user=a"), "files=f*/*,user=a,");
}

#[test]
fn no_two_descriptors_have_the_same_counter_name() {
    let name = |entries: &[(&str, &str)]| {
        let mut key = Vec::new();
        for (k, v) in entries {
            super::super::tree::push_entry(&mut key, k.as_bytes(), v.as_bytes());
        }
        String::from_utf8(key).expect("text")
    };
    let names = [
        name(&[("a", "b"), ("c", "d")]),
        name(&[("a", "b,c=d")]),
        name(&[("a=b,c", "d")]),
        name(&[("a", "b\\"), ("c", "d")]),
        name(&[("a", "b\\,c=d")]),
        name(&[("a", "b\\\\"), ("c", "d")]),
        name(&[("a", ""), ("b", "")]),
        name(&[("a", ",b=")]),
        name(&[("a", "=")]),
        name(&[("a=", "")]),
        name(&[("a\\", "=")]),
        name(&[]),
        name(&[("", "")]),
    ];
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "{names:#?}");
    assert_eq!(names[1], "a=b\\,c=d,");
}

#[test]
fn a_rule_has_the_path_of_envoyproxy_ratelimit() {
    let domains = domains(TREE);
    let paths = domains.paths();
    assert_eq!(paths.len(), 11);
    for path in ["d.path_/login", "d.path", "d.tenant_gold.user_root", "d.tenant.user"] {
        assert!(paths.iter().any(|known| known == path), "{path} is not in {paths:?}");
    }
}
