//! The cost of convergence, from the simulator: the real core over the real store, in virtual time.

use waypost_sim_tests::mesh::{Mesh, Settings};

pub mod cut;
pub mod full;
pub mod missing;

/// Bytes of each value, unless stated otherwise.
pub const VALUE_BYTES: usize = 1024;

/// By then each location has acknowledged what the others have: each sends progress every three seconds.
const ACKNOWLEDGED_MS: u64 = 9_500;

/// A connected mesh in which each location has written once, so that every version vector has all
/// its origins, and all have acknowledged that; idle.
#[must_use]
pub fn settled(settings: Settings) -> Mesh {
    let places = settings.places;
    let mut mesh = Mesh::new(settings);
    mesh.connect();
    // The namespace reaches all locations.
    mesh.run_for(2_000);
    for place in 0..places {
        mesh.put(place, crate::data::key(place as u64), b"first");
    }
    mesh.run_until_equal();
    mesh.run_for(ACKNOWLEDGED_MS);
    mesh.spread = Default::default();
    mesh.notices.clear();
    mesh
}

/// The value at `percent` of a hundred of an ascending list.
#[must_use]
pub fn percentile(rising: &[u64], percent: usize) -> u64 {
    let at = (rising.len() * percent).div_ceil(100).max(1) - 1;
    rising.get(at).copied().unwrap_or(0)
}

/// A quotient with a sensible number of digits.
#[must_use]
pub fn per(sum: u64, count: u64) -> String {
    let tenths = (sum * 10 + count / 2) / count.max(1);
    if tenths >= 1000 {
        (tenths / 10).to_string()
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

/// A number of bytes with a unit.
#[must_use]
pub fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} KB", per(count, 1000)),
        _ => format!("{} MB", per(count, 1_000_000)),
    }
}
