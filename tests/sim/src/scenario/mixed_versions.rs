//! Three locations run three versions of the program, as in a rolling upgrade: one sends messages of a kind and optional
//! fields that the others do not know, and one has not announced its program. A feature is in use once the rows of all
//! members have it, and not before, whatever their hellos contain.

use kv_core::{Features, Operation, Software};
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::shuffled;
use crate::{
    later::{self, FEATURE, OTHER},
    mesh::{Mesh, Settings},
};

/// Puts a value at each location, and waits until all have them.
fn put(mesh: &mut Mesh, round: u8) {
    for place in 0..3 {
        mesh.put(place, [round, b'0' + u8::try_from(place).expect("few places")], b"a value");
    }
    mesh.run_until_equal();
}

/// A location writes its program into its member row, as a server does at its start.
fn announce(mesh: &mut Mesh, place: usize, software: &Software) {
    let (id, software) = (mesh.member(place), software.clone());
    mesh.write(place, vec![Operation::PutSoftware { id, software }]);
    mesh.run_until_equal();
}

/// Checks which features are in use at all locations.
fn hold_in_use(mesh: &mut Mesh, features: Features) -> Checked {
    for place in 0..3 {
        let in_use = mesh.store(place).committer().view().features().set();
        hold!(in_use == features, "{place}: in use is {in_use}, and not {features}");
    }
    Ok(())
}

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let order = shuffled(3, &mut rng);
    let (latest, next, last) = (order[0], order[1], order[2]);
    let both = Features::from_bits(FEATURE.bits() | OTHER.bits());
    let this = kv_replicate::software();
    let with = |features| Software::new(this.version.clone(), this.wire(), features);
    let mut programs = vec![with(FEATURE).expect("the range of this program"); 3];
    programs[latest] = later::software(both);
    let latency_ms = rng.weighted(&[(1, 2), (2, 20), (2, 50)]);
    let settings = Settings { latency_ms, programs: programs.clone(), ..Settings::default() };
    let mut mesh = Mesh::new(settings);
    mesh.connect();
    put(&mut mesh, 0);

    announce(&mut mesh, latest, &programs[latest]);
    announce(&mut mesh, next, &programs[next]);
    hold_in_use(&mut mesh, Features::NONE)?;
    // It has the feature, which its hello reports and its row does not yet.
    let without = with(Features::NONE).expect("the range of this program");
    announce(&mut mesh, last, &without);
    hold_in_use(&mut mesh, Features::NONE)?;
    announce(&mut mesh, last, &programs[last]);
    hold_in_use(&mut mesh, FEATURE)?;
    put(&mut mesh, 1);

    for place in 0..3 {
        let skipped = mesh.core(place).skipped();
        let has_skipped = skipped.messages > 0 && skipped.fields > 0;
        hold!(has_skipped == (place != latest), "{place}: it skipped {skipped:?}");
    }
    for (place, notice) in &mesh.notices {
        let is_wrong = matches!(notice, kv_replicate::Notice::Close { .. });
        hold!(!is_wrong, "{place}: {notice:?}");
    }
    Ok(())
}
