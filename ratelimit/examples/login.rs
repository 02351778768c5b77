//! Limits login attempts to 3 a minute for each address, and shows the decisions.
//!
//! `cargo run -p waypost-ratelimit --example login`

use std::time::Duration;

use ratelimit::{Limit, Limiter, headers};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The memory is allocated here and does not grow: 32 bytes for each of 10,000 keys.
    let limiter = Limiter::builder().capacity(10_000).build()?;
    let limit = Limit::sliding(3, Duration::from_secs(60))?;
    let login = limiter.limit("login", limit);
    println!("RateLimit-Policy: {}", headers::policy("login", &limit));

    for attempt in 1..=5 {
        let decision = login.check("192.0.2.1");
        let verdict = if decision.allowed { "allowed" } else { "denied" };
        println!("attempt {attempt}: {verdict}, RateLimit: {}", headers::state("login", &decision));
        if let Some(seconds) = headers::retry_after(&decision) {
            println!("           Retry-After: {seconds}");
        }
    }

    // A successful login should not count: give the cost back.
    login.refund("192.0.2.1", 1);
    assert!(login.peek("192.0.2.1").allowed);
    println!("after a refund: {} left", login.peek("192.0.2.1").remaining);
    Ok(())
}
