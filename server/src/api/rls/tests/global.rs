//! Limits across all locations in the configuration of Envoy.

use super::{Site, parse};

/// A site whose only descriptor has a limit with this field.
fn site(field: &str) -> Site {
    Site::new(&format!(
        "domain: d\ndescriptors:\n  - key: user\n    rate_limit:\n      unit: day\n      requests_per_unit: 3\n      {field}\n"
    ))
}

#[test]
fn a_limit_of_envoy_is_global_if_its_scope_says_so() {
    for (field, is_global) in
        [("scope: global", true), ("scope: location", false), ("name: a", false)]
    {
        let site = site(field);
        assert_eq!(site.allowed("user=a"), 3, "{field}");
        let windows = site.rls.domains().get("d").expect("the domain").windows.clone();
        assert!(windows.iter().all(|(.., global)| *global == is_global), "{field}");
    }
}

#[test]
fn an_unknown_scope_is_refused_with_what_to_write() {
    let yaml = "domain: d\ndescriptors:\n  - key: a\n    rate_limit:\n      unit: day\n      requests_per_unit: 3\n      scope: world\n";
    let error = parse(yaml).expect_err("there is no such scope").to_string();
    assert!(error.contains("\"world\" is not a scope: use location or global"), "{error}");
}
