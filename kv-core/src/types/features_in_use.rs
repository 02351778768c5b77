//! The features that a location may use.
//!
//! A location may use a feature once every current member has it, as the members' rows report. From then on the feature
//! is *in use* for good: the store records it, and a program without it does not open the store.

use std::collections::BTreeMap;

use super::{
    features::{Features, MAX_NAME_BYTES, name_of},
    software::SoftwareVersion,
};
use crate::codec::{DecodeError, Reader, put_text};

/// A feature in use, described so that a program without it can name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureInUse {
    /// Its name.
    pub name: String,
    /// The version of the program that recorded the use, which therefore has the feature.
    pub since: SoftwareVersion,
}

/// The features in use, by bit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeaturesInUse(BTreeMap<u8, FeatureInUse>);

impl FeaturesInUse {
    /// Returns the set.
    #[must_use]
    pub fn set(&self) -> Features {
        Features::from_bits(self.0.keys().fold(0, |bits, bit| bits | 1 << bit))
    }

    /// Returns the names, by bit.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|feature| feature.name.as_str())
    }

    /// Returns those that a program lacks which has these features, by bit.
    pub fn lacking(&self, has: Features) -> impl Iterator<Item = &FeatureInUse> {
        let lacks = self.set().without(has);
        self.0
            .iter()
            .filter(move |(bit, _)| lacks.bits() & (1 << **bit) != 0)
            .map(|(_, feature)| feature)
    }

    /// Adds the features that all current members have in `common`, as far as this program of version `since` has them
    /// too. Returns whether there were any new ones. A feature stays in use even if a member joins without it.
    pub(crate) fn follow(
        &mut self,
        common: Features,
        has: Features,
        since: &SoftwareVersion,
    ) -> bool {
        let new = common.and(has).without(self.set());
        for bit in new.each() {
            self.0.insert(bit, FeatureInUse { name: name_of(bit), since: since.clone() });
        }
        !new.is_empty()
    }

    /// Encodes a count, then for each feature its bit, name and version.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![u8::try_from(self.0.len()).expect("there are 64 bits")];
        for (bit, feature) in &self.0 {
            out.push(*bit);
            put_text(&mut out, &feature.name);
            put_text(&mut out, feature.since.as_str());
        }
        out
    }

    /// Decodes what [`FeaturesInUse::encode`] returns.
    pub(crate) fn decode(bytes: &[u8]) -> Result<FeaturesInUse, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut features = BTreeMap::new();
        for _ in 0..reader.u8()? {
            let bit = reader.u8()?;
            if bit >= 64 || features.last_key_value().is_some_and(|(last, _)| *last >= bit) {
                return Err(DecodeError("features that are not in order"));
            }
            let name = reader.text(MAX_NAME_BYTES)?.to_owned();
            let since = SoftwareVersion::read(&mut reader)?;
            features.insert(bit, FeatureInUse { name, since });
        }
        reader.end()?;
        Ok(FeaturesInUse(features))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Member, MemberId, Members, Software};

    /// A bit that no program has.
    const TEST: Features = Features::from_bits(1 << 63);

    fn version(text: &str) -> SoftwareVersion {
        SoftwareVersion::new(text).unwrap()
    }

    fn member(id: u8, features: Option<Features>) -> Member {
        let made = Member::new(MemberId([id; 16]), format!("place {id}"), Vec::new());
        let software = features.map(|features| Software::new(version("1.2.3"), (2, 2), features));
        Member { software: software.transpose().unwrap(), ..made.unwrap() }
    }

    fn in_use(members: &[Member]) -> FeaturesInUse {
        let mut features = FeaturesInUse::default();
        let members: Members = members.iter().cloned().collect();
        features.follow(members.common_features(), TEST, &version("1.2.3"));
        features
    }

    #[test]
    fn a_feature_is_in_use_once_all_current_members_have_it() {
        let (with, without) = (Some(TEST), Some(Features::NONE));
        assert_eq!(in_use(&[member(1, with), member(2, with)]).set(), TEST);
        for second in [without, None] {
            assert_eq!(in_use(&[member(1, with), member(2, second)]).set(), Features::NONE);
        }
        let left = Member { removed: true, ..member(2, without) };
        assert_eq!(in_use(&[member(1, with), left]).set(), TEST, "a removed member does not count");
        assert_eq!(in_use(&[]).set(), Features::NONE, "without members there is no agreement");
    }

    #[test]
    fn a_feature_that_this_program_lacks_is_not_recorded_as_in_use() {
        let mut features = FeaturesInUse::default();
        assert!(!features.follow(TEST, Features::NONE, &version("1.2.3")));
        assert_eq!(features, FeaturesInUse::default());
    }

    #[test]
    fn features_in_use_name_what_a_program_lacks() {
        let features = in_use(&[member(1, Some(TEST))]);
        assert_eq!(FeaturesInUse::decode(&features.encode()), Ok(features.clone()));
        assert_eq!(features.lacking(TEST).count(), 0);
        let lacking: Vec<_> = features.lacking(Features::NONE).collect();
        assert_eq!(lacking[0].name, "feature 63");
        assert_eq!(lacking[0].since, version("1.2.3"));
    }

    #[test]
    fn features_that_are_not_in_order_are_rejected() {
        let one = |bit| [&[bit][..], &[0, 1, b'n', 0, 1, b'v']].concat();
        let decode = |bits: &[u8]| {
            let rows: Vec<u8> = bits.iter().flat_map(|bit| one(*bit)).collect();
            FeaturesInUse::decode(&[&[u8::try_from(bits.len()).unwrap()][..], &rows].concat())
        };
        assert!(decode(&[3, 7]).is_ok());
        for wrong in [&[7, 3][..], &[3, 3], &[64]] {
            assert!(decode(wrong).is_err(), "{wrong:?}");
        }
    }
}
