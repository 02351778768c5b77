//! Configurations of envoyproxy/ratelimit. What it accepts is accepted, and what is ignored is named.

use std::{fmt::Write as _, fs};

use ratelimit::Algorithm;

use super::{OK, OVER, Site, with_domains};
use crate::api::rls::{Domains, LoadError, Sources, config::Domain, load};

/// All kinds of fields of the examples of envoyproxy/ratelimit (examples/ratelimit/config, README.md), in the
/// forms that they have there.
const EXAMPLE: &str = r#"---
domain: rl
descriptors:
  - key: category
    value: account
    rate_limit:
      replaces:
        - name: first
        - name: other_name
      unit: minute
      requests_per_unit: 4
  - key: foo
    rate_limit:
      unit: minute
      requests_per_unit: 2
    descriptors:
      - key: bar
        value: banned
        rate_limit:
          name: banned_limit
          unit: minute
          requests_per_unit: 0
      - key: baz
        value: shady
        rate_limit:
          unit: minute
          requests_per_unit: 3
        shadow_mode: true
      - key: bay
        rate_limit:
          unlimited: true
  - key: unspec
    detailed_metric: true
    rate_limit:
      unit: minute
      requests_per_unit: 2
  - key: service
    value: service_1
    quota_mode: true
    rate_limit:
      unit: minute
      requests_per_unit: 1
    metadata:
      service_with_quota:
        name: "service_1"
  - key: route
    value_to_metric: true
    shadow_mode: true
    descriptors:
      - key: http_method
        value: read*
        share_threshold: false
        value_to_metric: false
        shadow_mode: false
        descriptors:
          - key: subject_id
            rate_limit:
              unit: minute
              requests_per_unit: 60
"#;

fn load_yaml(text: &str, max_limits: usize) -> Result<Domains, LoadError> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("example.yaml");
    fs::write(&file, text).expect("the file can be written");
    let (inline, algorithm) = (None, Algorithm::Sliding);
    load(Sources { inline, yaml: Some(&file), algorithm, max_limits })
}

#[test]
fn what_is_ignored_is_named_with_its_file_and_line() {
    let domains = load_yaml(EXAMPLE, 100).expect("it is accepted");
    let warnings = domains.warnings();
    let expected = [
        (33, "domain \"rl\", descriptor unspec: detailed_metric is ignored"),
        (39, "domain \"rl\", descriptor service=service_1: quota_mode is ignored"),
        // The line on which its value begins.
        (44, "domain \"rl\", descriptor service=service_1: metadata is ignored"),
        (48, "domain \"rl\", descriptor route: shadow_mode has no effect without a rate_limit"),
        (47, "domain \"rl\", descriptor route: value_to_metric is ignored"),
    ];
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
    for (line, text) in expected {
        let found = warnings.iter().any(|warning| {
            let place = format!("example.yaml:{line}: {text}");
            warning.contains(&place)
        });
        assert!(found, "{line}: {text:?} is not in {warnings:#?}");
    }
    let site = with_domains(domains);
    assert_eq!(site.allowed_in("rl", "unspec=x"), 2);
    assert_eq!(site.allowed_in("rl", "foo=x,bar=banned"), 0);
    assert_eq!(site.allowed_in("rl", "foo=x,baz=shady"), 100);
    assert_eq!(site.allowed_in("rl", "route=x,http_method=readfile,subject_id=1"), 60);
}

#[test]
fn a_shadow_mode_without_a_limit_does_not_reach_the_limits_below() {
    let yaml = "
domain: d
descriptors:
  - key: a
    shadow_mode: true
    descriptors:
      - key: b
        rate_limit: {unit: hour, requests_per_unit: 1}
";
    let site = Site::new(yaml);
    assert_eq!(site.hit("a=1,b=1").code, OK);
    assert_eq!(site.hit("a=1,b=1").code, OVER);
}

#[test]
fn many_warnings_are_counted_and_not_all_named() {
    let mut yaml = String::from("domain: d\ndescriptors:\n");
    for n in 0..1000 {
        writeln!(yaml, "  - {{key: k{n}, detailed_metric: true}}").expect("a string");
    }
    let warnings = load_yaml(&yaml, 1).expect("there is no limit").warnings();
    assert_eq!(warnings.len(), 21);
    assert_eq!(warnings[20], "980 more fields in the limits for Envoy have no effect");
}

#[test]
fn the_fields_that_are_ignored_may_stand_in_the_configuration_file_too() {
    let toml = "[[rls]]\ndomain = \"d\"\n[[rls.descriptors]]\nkey = \"a\"\ndetailed_metric = true\n\
                shadow_mode = true\nmetadata = { a = { b = 1 } }\n";
    #[derive(serde::Deserialize)]
    struct File {
        rls: Vec<Domain>,
    }
    let File { rls } = toml::from_str(toml).expect("TOML");
    let (inline, algorithm) = (Some((&rls[..], "waypost.toml".as_ref())), Algorithm::Sliding);
    let domains = load(Sources { inline, yaml: None, algorithm, max_limits: 1 }).expect("valid");
    let warnings = domains.warnings();
    assert_eq!(warnings.len(), 3);
    let start = "waypost.toml: domain \"d\", descriptor a: ";
    assert!(warnings.iter().all(|warning| warning.starts_with(start)), "{warnings:?}");
}

/// Many limits, some with values and some with patterns, as YAML.
fn many(count: usize) -> String {
    let mut yaml = String::from("domain: d\ndescriptors:\n");
    for n in 0..count {
        let value = if n % 2 == 0 { format!("user-{n}") } else { format!("/path/{n}/*") };
        write!(
            yaml,
            "  - key: tenant\n    value: {value}\n    rate_limit:\n      unit: hour\n      \
             requests_per_unit: {}\n",
            1 + n % 1000
        )
        .expect("a string");
    }
    yaml
}

#[test]
fn a_file_of_many_limits_is_loaded_up_to_the_setting() {
    let yaml = many(100_000);
    assert!(yaml.len() > 9 << 20);
    let domains = load_yaml(&yaml, 100_000).expect("it is accepted");
    assert_eq!(domains.paths().len(), 100_000);
    let site = with_domains(domains);
    assert_eq!(site.allowed("tenant=user-2"), 3);
    assert_eq!(site.allowed("tenant=/path/99999/x"), 100);
    let error = load_yaml(&many(11), 10).expect_err("too many").to_string();
    assert!(error.contains("more than 10 limits in all domains: raise the setting max-limits"));
}
