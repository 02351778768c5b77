//! The steps of the demo, one after the other.

use std::path::Path;

use kv_core::{
    Hlc, MemberId, NamespaceId,
    env::{Environment as _, SystemEnvironment},
};

use kv_replicate::Verdict;

use super::{
    DemoError,
    authority::Authority,
    place::{Place, Put, Row},
    screen::Screen,
    step::{SHORT, Step},
};

const NAMES: [&str; 3] = ["lisbon", "nairobi", "osaka"];

/// Tells the story. What it starts, it ends.
pub(super) async fn tell(screen: &mut Screen, directory: &Path) -> Result<(), DemoError> {
    let clock = SystemEnvironment::new();
    screen.line("Waypost demo: three locations of a key-value store, in this process.")?;
    let mut three = start(screen, clock, directory).await?;
    let made = three[0].make_namespace();
    let namespace = Step::begin().within("lisbon makes a namespace", made).await?;
    put_in_one(screen, clock, &three, namespace).await?;
    let written = cut_one_off(screen, clock, &mut three, namespace).await?;
    heal(screen, clock, &mut three, &written).await?;
    verify(screen, &three).await?;
    for place in three {
        let name = place.name;
        Step::begin().within(&format!("{name} is closed"), place.close()).await?;
    }
    next(screen)
}

async fn start(
    screen: &mut Screen,
    clock: SystemEnvironment,
    directory: &Path,
) -> Result<[Place; 3], DemoError> {
    screen.step(1, "Three locations are up and joined")?;
    let step = Step::begin();
    let authority = Authority::new(&clock)?;
    let up = async |number: usize, sponsor: Option<&Place>| {
        let name = NAMES[number];
        let mut config = authority.config(MemberId(
            clock.random_id().map_err(|error| DemoError::System(error.to_string()))?,
        ))?;
        let known = sponsor.map(|sponsor| (sponsor.member(), vec![sponsor.address().to_string()]));
        config.bootstrap.extend(known);
        let place = Place::start(name, directory.join(name), config).await?;
        sponsor.unwrap_or(&place).admit(&place).await?;
        Ok::<_, DemoError>(place)
    };
    let all = async {
        let first = up(0, None).await?;
        let (second, third) = (up(1, Some(&first)).await?, up(2, Some(&first)).await?);
        Ok([first, second, third])
    };
    let three = step.within("three locations are up", all).await?;
    await_links(step, &three).await?;
    for place in &three {
        screen.about(place.name, format_args!("listens on {} (UDP)", place.address()))?;
    }
    screen.say("Each is linked with both others: QUIC, mutual TLS by a CA made a moment ago.")?;
    Ok(three)
}

/// Waits until each is linked with both others.
async fn await_links(step: Step, three: &[Place; 3]) -> Result<(), DemoError> {
    for place in three {
        let what = format!("{} has joined and is linked with both others", place.name);
        step.until(&what, async || place.is_linked_with(2).await).await?;
    }
    Ok(())
}

async fn put_in_one(
    screen: &mut Screen,
    clock: SystemEnvironment,
    three: &[Place; 3],
    namespace: NamespaceId,
) -> Result<(), DemoError> {
    screen.step(2, "A put in one is read in the others")?;
    let step = Step::begin();
    let row = Row { namespace, key: "greeting", value: "bom dia" };
    let [first, second, third] = three;
    // The others look from before the put on.
    let (put, at_second, at_third) = tokio::try_join!(
        step.within("lisbon's put is on its disk", first.put(clock, row)),
        second.sees(clock, step, row),
        third.sees(clock, step, row),
    )?;
    let took = screen.time(put.took);
    screen.about(first.name, format_args!("puts {}: on its disk after {took}", shown(row)))?;
    for (place, at) in [(second, at_second), (third, at_third)] {
        let text = if at < put.at {
            let before = screen.time(put.at.saturating_sub(at));
            format!("reads it {before} before lisbon's answer has come, from its own store")
        } else {
            let after = screen.time(at.saturating_sub(put.at));
            format!("reads it {after} after that, from its own store")
        };
        screen.about(place.name, text)?;
    }
    Ok(())
}

fn shown(row: Row) -> String {
    format!("{} = {:?}", row.key, row.value)
}

/// What was written while one was cut off.
struct Written {
    /// To the same key: by the one that has company, and by the one that is alone.
    conflict: [(Row, Put); 2],
    /// To keys that nobody else wrote to.
    others: [Row; 2],
}

async fn cut_one_off(
    screen: &mut Screen,
    clock: SystemEnvironment,
    three: &mut [Place; 3],
    namespace: NamespaceId,
) -> Result<Written, DemoError> {
    screen.step(3, "One is cut off, and both sides go on")?;
    let step = Step::begin();
    let [lisbon, nairobi, osaka] = three;
    step.within("osaka's port is closed", osaka.cut()).await?;
    for place in [&*lisbon, nairobi] {
        let what = format!("{} sees that osaka is gone", place.name);
        step.until(&what, async || place.is_linked_with(1).await).await?;
    }
    screen.about(osaka.name, "is cut off: its port is closed, its store is not")?;

    let row = |key, value| Row { namespace, key, value };
    let [early, late] = [row("greeting", "boa tarde"), row("greeting", "konbanwa")];
    let others = [row("tram", "28"), row("train", "loop line")];
    let early_put = put_two(screen, clock, step, lisbon, [early, others[0]]).await?;
    // The clock moves on between the two.
    tokio::time::sleep(SHORT).await;
    let late_put = put_two(screen, clock, step, osaka, [late, others[1]]).await?;
    nairobi.sees(clock, step, others[0]).await?;
    for (place, note) in [(&*nairobi, "with lisbon"), (osaka, "alone")] {
        let read = [held(place, early)?, held(place, others[0])?, held(place, others[1])?];
        screen.about(place.name, format_args!("reads, {note}: {}", read.join(", ")))?;
    }
    Ok(Written { conflict: [(early, early_put), (late, late_put)], others })
}

/// Puts two rows at one location: the first put of them.
async fn put_two(
    screen: &mut Screen,
    clock: SystemEnvironment,
    step: Step,
    place: &Place,
    [first, second]: [Row; 2],
) -> Result<Put, DemoError> {
    let both = async { Ok((place.put(clock, first).await?, place.put(clock, second).await?)) };
    let what = format!("{}'s puts are on its disk", place.name);
    let (put, _second) = step.within(&what, both).await?;
    let (first, second) = (shown(first), shown(second));
    screen.about(place.name, format_args!("puts {first} and {second}"))?;
    Ok(put)
}

/// What a key holds at a location, as a text.
fn held(place: &Place, row: Row) -> Result<String, DemoError> {
    let value = place.get(row)?;
    let value = value.map_or_else(|| "nothing".to_owned(), |(value, _)| format!("{value:?}"));
    Ok(format!("{} = {value}", row.key))
}

async fn heal(
    screen: &mut Screen,
    clock: SystemEnvironment,
    three: &mut [Place; 3],
    written: &Written,
) -> Result<(), DemoError> {
    screen.step(4, "It is back, and all converge")?;
    let step = Step::begin();
    let begun = clock.monotonic();
    step.within("osaka is started again", three[2].heal()).await?;
    let [lisbon, nairobi, osaka] = &*three;
    let are_same =
        async || Ok(lisbon.has_seen_the_same_as(osaka) && nairobi.has_seen_the_same_as(osaka));
    step.until("all three have seen the same writes", are_same).await?;
    let took = screen.time(clock.monotonic().saturating_sub(begun));
    screen.about(osaka.name, format_args!("listens on {} again", osaka.address()))?;
    screen.say(format_args!("All three hold the same {took} after it was started."))?;
    await_links(step, three).await?;
    explain(screen, three, written)
}

/// Says which of the two puts won, and why, and that nothing else was lost.
fn explain(screen: &mut Screen, three: &[Place; 3], written: &Written) -> Result<(), DemoError> {
    let [(early, early_put), (late, late_put)] = &written.conflict;
    let is_late = late_put.version > early_put.version;
    let (won, lost) = if is_late { (late_put, early_put) } else { (early_put, late_put) };
    let (row, name) = if is_late { (late, NAMES[2]) } else { (early, NAMES[0]) };
    let is_everywhere = |row: &Row| {
        let mut all = three.iter().map(|place| place.get(*row));
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
    screen.say(format_args!("{}: {name}'s put won, everywhere.", screen.good(shown(*row))))?;
    if won == lost {
        screen.say("Both were made at the same time; then the larger id of the store decides.")?;
    } else {
        let (won, lost) = (time_of_day(won), time_of_day(lost));
        screen
            .say("It is the later one by the hybrid logical clock (milliseconds and a counter):")?;
        screen.say(format_args!("{won} is after {lost}, UTC."))?;
    }
    let [tram, train] = written.others;
    screen.say(format_args!("{} and {} are everywhere too.", shown(tram), shown(train)))
}

/// A time of the hybrid logical clock, without its day.
fn time_of_day(time: Hlc) -> String {
    let (millis, counter) = (time.millis(), time.0 & 0xffff);
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{millis:03}+{counter}", seconds % 60)
}

async fn verify(screen: &mut Screen, three: &[Place; 3]) -> Result<(), DemoError> {
    screen.step(5, "Verify: each pair compares all that it holds, key by key")?;
    let step = Step::begin();
    for (one, other) in [(0, 1), (0, 2), (1, 2)].map(|(a, b)| (&three[a], &three[b])) {
        let pair = format!("{} and {}", one.name, other.name);
        let what = format!("{pair} are compared and are the same");
        let verdict = step.within(&what, compare(one, other)).await?;
        let same = screen.good("the same");
        screen.say(format_args!("{pair}: {} rows compared, {same}", verdict.rows))?;
    }
    Ok(())
}

/// Compares two locations until they are the same; at once says if they hold a key differently.
async fn compare(one: &Place, other: &Place) -> Result<Verdict, DemoError> {
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
        // Something is under way yet, or a link was lost.
        tokio::time::sleep(SHORT).await;
    }
}

fn next(screen: &mut Screen) -> Result<(), DemoError> {
    screen.step(6, "What next")?;
    screen.command("waypost serve", "run a location that keeps its data")?;
    screen.command("waypost cluster init --name NAME", "make a cluster, to invite others into")?;
    screen.command("waypost --help", "all commands")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_clock_is_shown_as_people_read_it() {
        let time = Hlc(Hlc::at_millis(86_400_000 + 3_723_004).0 + 5);
        assert_eq!(time_of_day(time), "01:02:03.004+5");
    }
}
