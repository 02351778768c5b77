//! The steps of the demo, one after the other.

use std::path::Path;

use kv_core::{
    Hlc, MemberId, NamespaceId,
    env::{Environment as _, SystemEnvironment},
};

use kv_replicate::Verdict;

use super::{
    authority::Authority,
    error::DemoError,
    location::{Location, Put, Row},
    screen::Screen,
    step::{SHORT, Step},
};

/// The names of the three locations.
const NAMES: [&str; 3] = ["lisbon", "nairobi", "osaka"];

/// Runs the story. Everything that it starts, it stops.
pub(super) async fn run(screen: &mut Screen, directory: &Path) -> Result<(), DemoError> {
    let clock = SystemEnvironment::new();
    screen.line("Waypost demo: three locations of a key-value store, in this process.")?;
    let mut three = start(screen, clock, directory).await?;
    let created = three[0].create_namespace();
    let namespace = Step::begin().within("lisbon has created a namespace", created).await?;
    replicate_put(screen, clock, &three, namespace).await?;
    let written = disconnect_one(screen, clock, &mut three, namespace).await?;
    reconnect_one(screen, clock, &mut three, &written).await?;
    verify(screen, &three).await?;
    for location in three {
        let name = location.name;
        Step::begin().within(&format!("{name} is closed"), location.close()).await?;
    }
    next(screen)
}

/// Starts three locations, each linked with the others.
async fn start(
    screen: &mut Screen,
    clock: SystemEnvironment,
    directory: &Path,
) -> Result<[Location; 3], DemoError> {
    screen.step(1, "Three locations start and join one cluster")?;
    let step = Step::begin();
    let authority = Authority::new(&clock)?;
    let up = async |number: usize, sponsor: Option<&Location>| {
        let name = NAMES[number];
        let mut config =
            authority.config(MemberId(clock.random_id().map_err(DemoError::Random)?))?;
        let known = sponsor.map(|sponsor| (sponsor.member(), vec![sponsor.address().to_string()]));
        config.bootstrap.extend(known);
        let location = Location::start(name, directory.join(name), config).await?;
        sponsor.unwrap_or(&location).admit(&location).await?;
        Ok::<_, DemoError>(location)
    };
    let all = async {
        let first = up(0, None).await?;
        let (second, third) = (up(1, Some(&first)).await?, up(2, Some(&first)).await?);
        Ok([first, second, third])
    };
    let three = step.within("three locations are up", all).await?;
    await_links(step, &three).await?;
    for location in &three {
        screen
            .line_about(location.name, format_args!("listens on {} (UDP)", location.address()))?;
    }
    screen.line_of_step(
        "Each is linked with both others: QUIC, mutual TLS with a CA created just now.",
    )?;
    Ok(three)
}

/// Waits until each is linked with both others.
async fn await_links(step: Step, three: &[Location; 3]) -> Result<(), DemoError> {
    for location in three {
        let what = format!("{} has joined and is linked with both others", location.name);
        step.until(&what, async || location.is_linked_with(2).await).await?;
    }
    Ok(())
}

/// Shows that a put at one location is read at the others.
async fn replicate_put(
    screen: &mut Screen,
    clock: SystemEnvironment,
    three: &[Location; 3],
    namespace: NamespaceId,
) -> Result<(), DemoError> {
    screen.step(2, "A put at one location is read at the others")?;
    let step = Step::begin();
    let row = Row { namespace, key: "greeting", value: "bom dia" };
    let [first, second, third] = three;
    // The others start reading before the put.
    let (put, at_second, at_third) = tokio::try_join!(
        step.within("lisbon has its put on its disk", first.put(clock, row)),
        second.await_value(clock, step, row),
        third.await_value(clock, step, row),
    )?;
    let took = screen.time(put.took);
    screen.line_about(first.name, format_args!("puts {}: on its disk after {took}", shown(row)))?;
    for (location, at) in [(second, at_second), (third, at_third)] {
        let text = if at < put.at {
            let before = screen.time(put.at.saturating_sub(at));
            format!("reads it {before} before lisbon acknowledges it, from its own store")
        } else {
            let after = screen.time(at.saturating_sub(put.at));
            format!("reads it {after} after that, from its own store")
        };
        screen.line_about(location.name, text)?;
    }
    Ok(())
}

/// A row, for the screen.
fn shown(row: Row) -> String {
    format!("{} = {:?}", row.key, row.value)
}

/// The writes while one location is disconnected.
struct Written {
    /// To the same key, at both sides.
    conflict: [(Row, Put); 2],
    /// To keys that only one side wrote.
    others: [Row; 2],
}

/// Cuts one location off, and writes on both sides.
async fn disconnect_one(
    screen: &mut Screen,
    clock: SystemEnvironment,
    three: &mut [Location; 3],
    namespace: NamespaceId,
) -> Result<Written, DemoError> {
    screen.step(3, "One location is disconnected, and both sides keep writing")?;
    let step = Step::begin();
    let [lisbon, nairobi, osaka] = three;
    step.within("osaka has closed its port", osaka.disconnect()).await?;
    for location in [&*lisbon, nairobi] {
        let what = format!("{} has lost its link with osaka", location.name);
        step.until(&what, async || location.is_linked_with(1).await).await?;
    }
    screen.line_about(osaka.name, "is disconnected: its port is closed, its store still works")?;

    let row = |key, value| Row { namespace, key, value };
    let [early, late] = [row("greeting", "boa tarde"), row("greeting", "konbanwa")];
    let others = [row("tram", "28"), row("train", "loop line")];
    let early_put = put_two(screen, clock, step, lisbon, [early, others[0]]).await?;
    // So that the clock advances between the two.
    tokio::time::sleep(SHORT).await;
    let late_put = put_two(screen, clock, step, osaka, [late, others[1]]).await?;
    nairobi.await_value(clock, step, others[0]).await?;
    for (location, note) in [(&*nairobi, "with lisbon"), (osaka, "alone")] {
        let read = [held(location, early)?, held(location, others[0])?, held(location, others[1])?];
        screen.line_about(location.name, format_args!("reads, {note}: {}", read.join(", ")))?;
    }
    Ok(Written { conflict: [(early, early_put), (late, late_put)], others })
}

/// Puts two rows at one location. Returns the first put.
async fn put_two(
    screen: &mut Screen,
    clock: SystemEnvironment,
    step: Step,
    location: &Location,
    [first, second]: [Row; 2],
) -> Result<Put, DemoError> {
    let both =
        async { Ok((location.put(clock, first).await?, location.put(clock, second).await?)) };
    let what = format!("{} has its puts on its disk", location.name);
    let (put, _second) = step.within(&what, both).await?;
    let (first, second) = (shown(first), shown(second));
    screen.line_about(location.name, format_args!("puts {first} and {second}"))?;
    Ok(put)
}

/// Formats the value of a key at a location.
fn held(location: &Location, row: Row) -> Result<String, DemoError> {
    let value = location.get(row)?;
    let value = value.map_or_else(|| "nothing".to_owned(), |(value, _)| format!("{value:?}"));
    Ok(format!("{} = {value}", row.key))
}

/// Reconnects the location, and waits until all converge.
async fn reconnect_one(
    screen: &mut Screen,
    clock: SystemEnvironment,
    three: &mut [Location; 3],
    written: &Written,
) -> Result<(), DemoError> {
    screen.step(4, "It reconnects, and all converge")?;
    let step = Step::begin();
    let start = clock.monotonic();
    step.within("osaka has restarted", three[2].reconnect()).await?;
    let [lisbon, nairobi, osaka] = &*three;
    let are_same =
        async || Ok(lisbon.has_same_vector_as(osaka) && nairobi.has_same_vector_as(osaka));
    step.until("all three have the same writes", are_same).await?;
    let took = screen.time(clock.monotonic().saturating_sub(start));
    screen.line_about(osaka.name, format_args!("listens on {} again", osaka.address()))?;
    screen.line_of_step(format_args!("All three hold the same {took} after its restart."))?;
    await_links(step, three).await?;
    explain(screen, three, written)
}

/// Prints which of the two puts won, and why, and that nothing else was lost.
fn explain(screen: &mut Screen, three: &[Location; 3], written: &Written) -> Result<(), DemoError> {
    let [(early, early_put), (late, late_put)] = &written.conflict;
    let is_late = late_put.version > early_put.version;
    let (won, lost) = if is_late { (late_put, early_put) } else { (early_put, late_put) };
    let (row, name) = if is_late { (late, NAMES[2]) } else { (early, NAMES[0]) };
    let is_everywhere = |row: &Row| {
        let mut all = three.iter().map(|location| location.get(*row));
        all.try_fold(true, |so_far, read| {
            Ok::<_, DemoError>(so_far && read?.is_some_and(|(value, _)| value == row.value))
        })
    };
    for row in written.others.iter().chain([row]) {
        if !is_everywhere(row)? {
            return Err(DemoError::Wrong(format!("{} is not everywhere", shown(*row))));
        }
    }
    let (won, lost) = (won.version.hlc, lost.version.hlc);
    screen.line_of_step(format_args!(
        "{}: {name}'s put won, everywhere.",
        screen.good(shown(*row))
    ))?;
    if won == lost {
        screen.line_of_step("Both have the same time; then the larger id of the store wins.")?;
    } else {
        let (won, lost) = (time_of_day(won), time_of_day(lost));
        screen.line_of_step(
            "It is the later one by the hybrid logical clock (milliseconds and a counter):",
        )?;
        screen.line_of_step(format_args!("{won} is after {lost}, UTC."))?;
    }
    let [tram, train] = written.others;
    screen.line_of_step(format_args!("{} and {} are everywhere too.", shown(tram), shown(train)))
}

/// Formats a time of the hybrid logical clock, without its day.
fn time_of_day(time: Hlc) -> String {
    let (millis, counter) = (time.millis(), time.0 & 0xffff);
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{millis:03}+{counter}", seconds % 60)
}

/// Compares all locations, and fails if they differ.
async fn verify(screen: &mut Screen, three: &[Location; 3]) -> Result<(), DemoError> {
    screen.step(5, "Verify: each pair compares everything that it holds, key by key")?;
    let step = Step::begin();
    for (one, other) in [(0, 1), (0, 2), (1, 2)].map(|(a, b)| (&three[a], &three[b])) {
        let pair = format!("{} and {}", one.name, other.name);
        let what = format!("{pair} are compared and are the same");
        let verdict = step.within(&what, compare(one, other)).await?;
        let same = screen.good("the same");
        screen.line_of_step(format_args!("{pair}: {} rows compared, {same}", verdict.rows))?;
    }
    Ok(())
}

/// Compares two locations until they are equal. Fails at once if they hold a key differently.
async fn compare(one: &Location, other: &Location) -> Result<Verdict, DemoError> {
    loop {
        let verdict = one.verify(other).await?;
        if verdict.is_equal() {
            return Ok(verdict);
        }
        if verdict.differing > 0 {
            let (one, other, keys) = (one.name, other.name, verdict.differing);
            let sentence = format!("{one} and {other} hold {keys} keys differently");
            return Err(DemoError::Wrong(sentence));
        }
        // Writes are still in flight, or a link was lost.
        tokio::time::sleep(SHORT).await;
    }
}

/// Prints the commands to continue with.
fn next(screen: &mut Screen) -> Result<(), DemoError> {
    screen.step(6, "What next")?;
    screen.command("waypost serve", "run a location that keeps its data")?;
    screen
        .command("waypost cluster init --name NAME", "create a cluster, to invite others into")?;
    screen.command("waypost --help", "all commands")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_clock_is_formatted_for_people() {
        let time = Hlc(Hlc::at_millis(86_400_000 + 3_723_004).0 + 5);
        assert_eq!(time_of_day(time), "01:02:03.004+5");
    }
}
