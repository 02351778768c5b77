//! The conditions of each peer, and which peers are cut off.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use crate::{Conditions, Way, Ways};

const BOTH: [Way; 2] = [Way::To, Way::From];

/// The conditions and cuts of single peers and of all of them.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// The conditions of peers without conditions of their own.
    to: Conditions,
    from: Conditions,
    of_peers: BTreeMap<(SocketAddr, Way), Conditions>,
    cut: BTreeSet<(SocketAddr, Way)>,
    all_cut: BTreeSet<Way>,
}

impl Rules {
    pub(crate) fn conditions(&self, peer: SocketAddr, way: Way) -> Conditions {
        let of_all = match way {
            Way::To => self.to,
            Way::From => self.from,
        };
        self.of_peers.get(&(peer, way)).copied().unwrap_or(of_all)
    }

    pub(crate) fn is_cut(&self, peer: SocketAddr, way: Way) -> bool {
        self.all_cut.contains(&way) || self.cut.contains(&(peer, way))
    }

    pub(crate) fn set(&mut self, ways: Ways, conditions: Conditions) {
        for way in BOTH.into_iter().filter(|way| ways.has(*way)) {
            self.of_peers.retain(|(_, of), _| *of != way);
            match way {
                Way::To => self.to = conditions,
                Way::From => self.from = conditions,
            }
        }
    }

    pub(crate) fn set_peer(&mut self, peer: SocketAddr, ways: Ways, conditions: Conditions) {
        for way in BOTH.into_iter().filter(|way| ways.has(*way)) {
            self.of_peers.insert((peer, way), conditions);
        }
    }

    pub(crate) fn cut(&mut self, peer: SocketAddr, ways: Ways) {
        self.cut.extend(BOTH.into_iter().filter(|way| ways.has(*way)).map(|way| (peer, way)));
    }

    pub(crate) fn cut_all(&mut self, ways: Ways) {
        self.all_cut.extend(BOTH.into_iter().filter(|way| ways.has(*way)));
    }

    pub(crate) fn heal_peer(&mut self, peer: SocketAddr) {
        self.cut.retain(|(cut, _)| *cut != peer);
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.all_cut.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn conditions_of_a_peer_hold_until_conditions_of_all_are_set() {
        let [slow, slower] = [1, 2].map(|s| Conditions::delayed(Duration::from_secs(s)));
        let mut rules = Rules::default();
        rules.set_peer(peer(1), Ways::To, slow);
        assert_eq!(rules.conditions(peer(1), Way::To), slow);
        assert_eq!(rules.conditions(peer(1), Way::From), Conditions::default());
        assert_eq!(rules.conditions(peer(2), Way::To), Conditions::default());
        rules.set(Ways::From, slower);
        assert_eq!(rules.conditions(peer(1), Way::To), slow);
        assert_eq!(rules.conditions(peer(1), Way::From), slower);
        rules.set(Ways::Both, slower);
        assert_eq!(rules.conditions(peer(1), Way::To), slower);
    }

    #[test]
    fn a_cut_affects_one_direction_of_one_peer_or_of_all() {
        let mut rules = Rules::default();
        rules.cut(peer(1), Ways::From);
        let cut = |rules: &Rules| {
            let of = |n| [Way::To, Way::From].map(|way| rules.is_cut(peer(n), way));
            [of(1), of(2)]
        };
        assert_eq!(cut(&rules), [[false, true], [false, false]]);
        rules.cut_all(Ways::To);
        assert_eq!(cut(&rules), [[true, true], [true, false]]);
        rules.heal_peer(peer(1));
        assert_eq!(cut(&rules), [[true, false], [true, false]]);
        rules.cut(peer(2), Ways::Both);
        assert_eq!(cut(&rules), [[true, false], [true, true]]);
        rules.heal();
        assert_eq!(cut(&rules), [[false, false], [false, false]]);
    }
}
