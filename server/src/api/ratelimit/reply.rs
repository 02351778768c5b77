//! The JSON of a response.
//!
//! It is written without serde, because it is a few numbers on the path of every check: `write!`
//! into one buffer needs no intermediate types.

use std::io::Write as _;

use ratelimit::{Decision, headers::seconds};

/// Appends the decision on one check, as an object.
fn push(out: &mut Vec<u8>, decision: &Decision) {
    let Decision { allowed, limit, remaining, .. } = decision;
    let reset = seconds(decision.reset_after);
    write!(out, r#"{{"success":{allowed},"limit":{limit},"remaining":{remaining},"reset":{reset}"#)
        .expect(MEMORY);
    if let Some(retry_after) = decision.retry_after.filter(|_| !allowed) {
        write!(out, r#","retry_after":{}"#, seconds(retry_after)).expect(MEMORY);
    }
    if decision.shadowed {
        out.extend_from_slice(br#","shadowed":true"#);
    }
    out.push(b'}');
}

/// Why writing cannot fail, for `expect`.
const MEMORY: &str = "writing to a vector does not fail";

/// The response to one check.
pub(super) fn one(decision: &Decision) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    push(&mut out, decision);
    out.push(b'\n');
    out
}

/// The response to a batch.
pub(super) fn batch<'a>(
    success: bool,
    decisions: impl ExactSizeIterator<Item = &'a Decision>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + 96 * decisions.len());
    write!(out, r#"{{"success":{success},"results":["#).expect(MEMORY);
    for (n, decision) in decisions.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        push(&mut out, decision);
    }
    out.extend_from_slice(b"]}\n");
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    const DENIED: Decision = Decision {
        allowed: false,
        shadowed: false,
        limit: 100,
        remaining: 0,
        reset_after: Duration::from_millis(59_001),
        retry_after: Some(Duration::from_millis(1)),
    };

    fn read(json: &[u8]) -> Value {
        serde_json::from_slice(json).unwrap()
    }

    #[test]
    fn a_response_is_json_with_seconds_rounded_up() {
        let denied = json!({"success":false,"limit":100,"remaining":0,"reset":60,"retry_after":1});
        assert_eq!(read(&one(&DENIED)), denied);
        let never = json!({"success":false,"limit":100,"remaining":0,"reset":60});
        assert_eq!(read(&one(&Decision { retry_after: None, ..DENIED })), never);
        let shadowed = Decision { allowed: true, shadowed: true, ..DENIED };
        assert_eq!(
            read(&one(&shadowed)),
            json!({"success":true,"limit":100,"remaining":0,"reset":60,"shadowed":true})
        );
        assert_eq!(
            read(&batch(false, [DENIED, DENIED].iter())),
            json!({"success":false,"results":[denied, denied]})
        );
        assert_eq!(read(&batch(true, [].iter())), json!({"success":true,"results":[]}));
    }
}
