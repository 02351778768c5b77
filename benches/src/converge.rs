//! What convergence costs, from the simulator: the real core over the real store, virtual time.

use waypost_sim_tests::mesh::{Mesh, Settings};

pub mod cut;
pub mod full;
pub mod missing;

/// Bytes of each value, unless said otherwise.
pub const VALUE_BYTES: usize = 1024;

/// A mesh that is linked, where each location has written once, so that every vector has all that
/// it will have; and quiet.
#[must_use]
pub fn settled(settings: Settings) -> Mesh {
    let places = settings.places;
    let mut mesh = Mesh::new(settings);
    mesh.connect();
    // The namespace comes to all.
    mesh.run_for(2_000);
    for place in 0..places {
        mesh.put(place, crate::data::key(place as u64).to_vec(), b"first");
    }
    mesh.run_until_equal();
    mesh.run_for(200);
    mesh.spread = Default::default();
    mesh.notices.clear();
    mesh
}

/// One of rising numbers, so many hundredths of the way up.
#[must_use]
pub fn percentile(rising: &[u64], percent: usize) -> u64 {
    let at = (rising.len() * percent).div_ceil(100).max(1) - 1;
    rising.get(at).copied().unwrap_or(0)
}

/// A quotient with as many digits as tell something.
#[must_use]
pub fn per(sum: u64, count: u64) -> String {
    let tenths = (sum * 10 + count / 2) / count.max(1);
    if tenths >= 1000 {
        (tenths / 10).to_string()
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

/// Bytes, as people write them.
#[must_use]
pub fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} KB", per(count, 1000)),
        _ => format!("{} MB", per(count, 1_000_000)),
    }
}
