//! The YAML of Envoy's limits: any input makes a tree or is rejected with an explanation, and an
//! error names one of its lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ratelimit::Algorithm;
use waypost::api::rls::{Domains, MAX_RULES, YamlError, parse};

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Sliding, Algorithm::Fixed, Algorithm::Gcra];

fuzz_target!(|input: &[u8]| {
    let Ok(text) = str::from_utf8(input) else { return };
    let parsed = match parse(text) {
        Ok(parsed) => parsed,
        Err(YamlError { line, message }) => {
            // YAML has several line endings.
            let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
            assert!((1..=lines + 1).contains(&line), "line {line} of {lines}");
            assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
            return;
        }
    };
    for algorithm in ALGORITHMS {
        let mut domains = Domains::default();
        for domain in &parsed {
            match domains.add(domain, algorithm) {
                Ok(()) => assert!(domains.get(&domain.domain).is_some()),
                Err(error) => assert!(error.to_string().starts_with("domain ")),
            }
        }
        assert!(domains.paths().len() <= MAX_RULES);
    }
});
