//! Opens a store, counts the runs of this program in it, and keeps a session that expires.
//!
//! Run it twice: `cargo run -p waypost-core --example getting_started [DIRECTORY]`.

use std::{env, error::Error, path::PathBuf};

use kv_core::{Attributes, Metadata, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = env::args_os()
        .nth(1)
        .map_or_else(|| env::temp_dir().join("kv-core-getting-started"), PathBuf::from);
    let store = Store::open(&directory)?;

    // Returns the namespace, or creates it at the first run.
    let counters = store.namespace("counters")?.id;
    let runs = match store.get(counters, "runs")? {
        Some(entry) => String::from_utf8(entry.body.read()?.to_vec())?.parse::<u64>()?,
        None => 0,
    };
    store.put(counters, "runs", (runs + 1).to_string())?;
    println!("run {} in {}", runs + 1, directory.display());

    // The entry reads as missing from its expiry on.
    let sessions = store.namespace("sessions")?.id;
    let attributes = Attributes {
        metadata: Some(Metadata::new(r#"{"user":"ana"}"#)?),
        expires_at: Some(store.now_ms() / 1000 + 60),
    };
    store.put_with(sessions, format!("session:{runs}"), "signed in", attributes)?;
    println!("{} sessions are live", store.iter(sessions).keys().count());

    // Dropping the last handle closes the store too; `close` also reports an error.
    store.close()?;
    Ok(())
}
