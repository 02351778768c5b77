//! The highest rate of writes, at one of three locations and at a single location.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use waypost_tests::{
    cluster::{Cluster, Location},
    wait,
};

use super::{Client, VALUE_BYTES, start, verdict};
use crate::{
    Failure,
    cores::Cores,
    data,
    meter::Stopwatch,
    rounds::{CPU, RATE, Sample, Side, Target, alternate},
};

/// The number of concurrent callers.
pub const CALLERS: u64 = 50;
/// How long the others may take to catch up after the last write.
const PATIENCE: Duration = Duration::from_secs(120);
/// The pause between two checks of the lag.
const PAUSE: Duration = Duration::from_millis(200);

/// Three locations of which one gets writes, compared with a single location: first with separate
/// cores for the other two, as on separate machines; then with shared cores.
///
/// # Errors
/// If a server fails.
pub fn run(directory: &Path, rounds: u64, lasting: Duration) -> Result<(), Failure> {
    Cores::apart_and_shared(|name, cores| measure(&directory.join(name), cores, rounds, lasting))
}

fn measure(directory: &Path, cores: &Cores, rounds: u64, lasting: Duration) -> Result<(), Failure> {
    let alone = cores.on(0, || start(&directory.join("alone"), 1, None, &[]))?;
    let mut three = cores.on(0, || start(&directory.join("three"), 1, None, &[]))?;
    cores.on(1, || {
        three.join();
        three.join();
        Ok(())
    })?;
    cores.on(0, || write(&alone, &three, rounds, lasting))
}

fn write(alone: &Cluster, three: &Cluster, rounds: u64, lasting: Duration) -> Result<(), Failure> {
    let mut lags = Vec::new();
    let sides = vec![
        Side::new("one of three", |round| {
            let sample = put_for(&three.locations()[0], round, lasting, |lag| lags.push(lag))?;
            wait_until_equal(&three.locations()[0])?;
            Ok(sample)
        }),
        Side::new("alone", |round| put_for(&alone.locations()[0], round, lasting, |_none| {})),
    ];
    let measured = alternate(rounds, sides)?;
    let title = format!("durable puts of 1 KiB, {CALLERS} callers, {lasting:?} a round");
    measured.print(&title, &[RATE, CPU]);
    measured.compare(0, 1, RATE, Target::AtLeast(0.7));
    measured.compare(0, 1, CPU, Target::Report);
    report(&lags, lasting);
    Ok(())
}

/// The greatest lag of the others in the first and in the second half of each round.
fn report(lags: &[(Duration, f64)], lasting: Duration) {
    let most = |is_late: bool| {
        let half = lags.iter().filter(|(at, _)| (*at > lasting / 2) == is_late);
        half.map(|(_, lag)| *lag).fold(0.0, f64::max)
    };
    let (early, late) = (most(false), most(true));
    println!(
        "writes that the two others together had not confirmed: at most {early:.0} in the first halves of \
         the rounds, {late:.0} in the second: not growing {}",
        verdict(late <= early * 1.5 + 1000.0)
    );
}

/// Puts new keys for a time. Meanwhile it reports the lag, with the time of each check.
///
/// # Errors
/// If a put fails.
pub fn put_for(
    location: &Location,
    round: u64,
    lasting: Duration,
    mut observe: impl FnMut((Duration, f64)),
) -> Result<Sample, Failure> {
    let (puts, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let watch = Stopwatch::of(location.server().pid())?;
    let caller = |caller: u64| -> Result<(), Failure> {
        let mut client = Client::to(location)?;
        for n in 0.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let number = (round << 40) + (caller << 32) + n;
            let key = data::key(number);
            client.put(str::from_utf8(&key)?, &data::value(number, VALUE_BYTES))?;
            puts.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let caller = &caller;
        let callers: Vec<_> = (0..CALLERS).map(|n| scope.spawn(move || caller(n))).collect();
        while watch.wall() < lasting {
            std::thread::sleep(PAUSE.min(lasting));
            if let Some(lag) = location.server().find_metric("waypost_peer_missing_there") {
                observe((watch.wall(), lag));
            }
        }
        is_over.store(true, Ordering::Relaxed);
        callers
            .into_iter()
            .try_for_each(|caller| caller.join().map_err(|_panic| "a caller panicked")?)
    })?;
    let operations = puts.into_inner();
    Ok(Sample { operations, cpu: watch.cpu()?, wall: watch.wall() })
}

/// Waits until the others have everything that this location has.
fn wait_until_equal(location: &Location) -> Result<(), Failure> {
    let missing = || location.server().metric("waypost_peer_missing_there");
    wait::until(PATIENCE, || (missing() == 0.0).then_some(()))
        .ok_or_else(|| "the other locations do not catch up".into())
}
