//! The location's part of its cluster, as it is when the server starts.

use kv_core::env::{Environment as _, SystemEnvironment};

use super::error::ServeError;
use crate::{
    cluster::{self, Descriptor, Location},
    config::Settings,
};

/// Loads the location's part of its cluster; none if it is not in one. Warns of settings that have no effect.
pub(super) fn load(settings: &Settings) -> Result<Option<Location>, ServeError> {
    let data = &settings.data;
    let location = cluster::open(data, SystemEnvironment::new().now_ms() / 1000)?;
    if let Some(location) = &location {
        location.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    let data = data.display();
    for name in without_effect(settings, location.as_ref().map(|it| &it.descriptor)) {
        if location.is_some() {
            let key = name.strip_prefix("cluster-").unwrap_or(name);
            tracing::warn!(
                "the setting {name} has no effect, because this location has joined its cluster with another value: stop \
                 the server, and change `{key}` in {data}/cluster/cluster.toml; or leave the setting out"
            );
        } else {
            tracing::warn!(
                "the setting {name} has no effect, because this server is in no cluster"
            );
        }
    }
    Ok(location)
}

/// The settings that were set, and count only when a location joins, of which the location has another value.
fn without_effect(settings: &Settings, descriptor: Option<&Descriptor>) -> Vec<&'static str> {
    let differs = |is_set: bool, is_equal: &dyn Fn(&Descriptor) -> bool| {
        is_set && !descriptor.is_some_and(is_equal)
    };
    let Settings { location, advertise, cluster_listen, .. } = settings;
    let all = [
        ("location", differs(location.is_some(), &|it| Some(&it.location) == location.as_ref())),
        (
            "advertise",
            differs(advertise.is_some(), &|it| {
                advertise.as_ref().is_some_and(|set| set.0 == it.advertise)
            }),
        ),
        (
            "cluster-listen",
            differs(cluster_listen.is_some(), &|it| Some(it.listen) == *cluster_listen),
        ),
    ];
    all.into_iter().filter_map(|(name, is_ignored)| is_ignored.then_some(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{ClusterId, state::descriptor::ClusterRef},
        config::{Config, Given, List},
    };

    #[test]
    fn settings_that_count_only_in_a_join_are_reported_if_the_location_has_other_values() {
        let mut settings = Config::load(&Given::default(), None).expect("defaults").settings;
        let address = |text: &str| text.parse().expect("an address");
        let cluster = ClusterRef { id: ClusterId([3; 16]), name: "prod".parse().expect("a name") };
        let listen = "[::]:8421".parse().expect("an address");
        let (member, name) = (kv_core::MemberId([1; 16]), "fra".parse().expect("a name"));
        let descriptor = Descriptor::new(cluster, member, name, vec![address("a:1")], listen);
        assert!(without_effect(&settings, Some(&descriptor)).is_empty());
        assert!(without_effect(&settings, None).is_empty());
        settings.cluster_listen = Some(listen);
        settings.advertise = Some(List(vec![address("a:1")]));
        settings.location = Some("fra".parse().expect("a name"));
        assert!(without_effect(&settings, Some(&descriptor)).is_empty());
        assert_eq!(without_effect(&settings, None), ["location", "advertise", "cluster-listen"]);
        settings.cluster_listen = Some("0.0.0.0:8421".parse().expect("an address"));
        settings.advertise = Some(List(vec![address("b:1")]));
        assert_eq!(without_effect(&settings, Some(&descriptor)), ["advertise", "cluster-listen"]);
    }
}
