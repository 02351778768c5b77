//! Writes a thousand entries in one batch, and reads them with prefixes, ranges and from the end.
//!
//! Run it with `cargo run -p waypost-core --example batches_and_iteration`.

use std::error::Error;

use kv_core::Store;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let store = Store::open(directory.path())?;
    let readings = store.namespace("readings")?.id;

    // One commit and one sync for all of them. Written one by one, each would wait for its own sync.
    let mut batch = store.batch();
    for hour in 0..24 {
        for sensor in 0..40 {
            batch.put(
                readings,
                format!("day1/{hour:02}/{sensor:02}"),
                format!("{}", hour * sensor),
            )?;
        }
    }
    batch.delete(readings, "day0/23/00")?;
    let written = store.write(batch)?;
    println!("{} writes in one commit", written.len());

    // Entries with their values, by prefix.
    for entry in store.prefix(readings, "day1/07/").take(3) {
        let (key, entry) = entry?;
        println!("{} = {:?}", String::from_utf8_lossy(&key), entry.body.read()?);
    }

    // Keys alone read less.
    let morning = store.range(readings, "day1/06".."day1/12").keys();
    println!("{} readings in the morning", morning.count());

    // From the end.
    if let Some(last) = store.iter(readings).keys().next_back() {
        println!("the last key is {}", String::from_utf8_lossy(&last?.key));
    }
    Ok(())
}
