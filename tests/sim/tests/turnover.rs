//! Members that come and go by the hundred leave nothing behind that makes the next one slower.

use waypost_sim_tests::mesh::{Mesh, Settings};

/// How many members come and go: 200, or `WAYPOST_SIM_MEMBERS`.
fn members() -> u64 {
    std::env::var("WAYPOST_SIM_MEMBERS")
        .map_or(200, |text| text.parse().expect("WAYPOST_SIM_MEMBERS is a number"))
}

#[test]
fn the_last_of_many_members_joins_about_as_fast_as_the_first() {
    // As many rows at a time as a location reads by default.
    let mut mesh = Mesh::new(Settings { places: 3, batch_rows: 4_096, ..Settings::default() });
    mesh.connect();
    mesh.run_for(1_000);
    let costs: Vec<_> = (1..=members()).map(|number| mesh.turn_over(number)).collect();
    let (first, last) = (costs.first().unwrap(), costs.last().unwrap());
    println!("first: {first:?}, last: {last:?}");
    assert!(2 * last.ms <= 3 * first.ms, "first: {first:?}, last: {last:?}");
}
