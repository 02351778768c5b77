//! The least of a time of all members. Among hundreds of members each message would look for it.

use kv_core::Hlc;

/// The least of some times; none if there are no times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Least {
    /// The least one.
    at: Option<Hlc>,
    /// How many of the times are the least one: only once the last of these has risen, another is looked for.
    count: usize,
}

impl Least {
    /// Finds the least of these times.
    pub(super) fn of(times: impl Iterator<Item = Hlc>) -> Least {
        times.fold(Least::default(), Least::with)
    }

    /// The least time.
    pub(super) fn get(self) -> Option<Hlc> {
        self.at
    }

    /// One of the times has changed; `all` are the times from now on.
    pub(super) fn moved<I: Iterator<Item = Hlc>>(
        &mut self,
        (before, now): (Hlc, Hlc),
        all: impl FnOnce() -> I,
    ) {
        if before == now {
            return;
        }
        if self.at == Some(before) {
            self.count -= 1;
        }
        *self = if self.count == 0 { Least::of(all()) } else { self.with(now) };
    }

    /// The same with one more time.
    fn with(self, time: Hlc) -> Least {
        match self.at {
            Some(at) if at < time => self,
            Some(at) if at == time => Least { count: self.count + 1, ..self },
            _ => Least { at: Some(time), count: 1 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_time_follows_every_change() {
        let mut times = [5, 3, 3, 9].map(Hlc);
        let mut least = Least::of(times.into_iter());
        assert_eq!(least, Least { at: Some(Hlc(3)), count: 2 });
        for (place, now) in [(1, 7), (2, 7), (0, 6), (3, 6), (0, 6), (0, 8), (3, 1), (3, 9), (1, 7)]
        {
            let before = std::mem::replace(&mut times[place], Hlc(now));
            least.moved((before, Hlc(now)), || times.into_iter());
            assert_eq!(least, Least::of(times.into_iter()), "{times:?}");
        }
    }

    #[test]
    fn there_is_no_least_of_no_times() {
        assert_eq!(Least::of(std::iter::empty()).get(), None);
    }
}
