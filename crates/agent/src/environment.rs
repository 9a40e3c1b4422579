//! The environment in two layers: the container's own, and the `aws-node` ConfigMap over it.
//!
//! The manifest hands the ConfigMap over twice: under the names of the settings, for what reads the environment by itself (the
//! AWS SDKs), and with a prefix. So a start without the API server knows the ConfigMap, and a live change or removal of one of
//! its keys is told from what the DaemonSet itself sets.

use std::collections::BTreeMap;

use freeboard_settings::Environment;

/// Before each key of the ConfigMap in the container's environment.
pub const PREFIX: &str = "AWS_NODE_CONFIGMAP_";

/// The two layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    own: Environment,
    at_start: Environment,
}

impl Layers {
    /// The layers of a process's environment.
    #[must_use]
    pub fn of(process: Environment) -> Self {
        let (prefixed, mut own): (Environment, Environment) =
            process.into_iter().partition(|(name, _)| name.starts_with(PREFIX));
        let at_start: Environment = prefixed
            .into_iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value)))
            .collect();
        // Equal values came from the ConfigMap; a different one is the DaemonSet's.
        own.retain(|name, value| at_start.get(name) != Some(value));
        Self { own, at_start }
    }

    /// The environment of the start.
    #[must_use]
    pub fn at_start(&self) -> Environment {
        self.with(&self.at_start)
    }

    /// The environment with these data of the ConfigMap: a key of it wins, because whoever edits it expects that.
    #[must_use]
    pub fn with(&self, data: &BTreeMap<String, String>) -> Environment {
        let mut whole = self.own.clone();
        whole.extend(data.iter().map(|(name, value)| (name.clone(), value.clone())));
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_config_map_wins_and_a_key_that_leaves_it_leaves_nothing_behind() {
        let layers = Layers::of(environment(&[
            ("PATH", "/app"),
            ("WARM_IP_TARGET", "5"),
            ("AWS_NODE_CONFIGMAP_WARM_IP_TARGET", "5"),
            ("MAX_ENI", "2"),
            ("AWS_NODE_CONFIGMAP_MAX_ENI", "3"),
        ]));
        assert_eq!(layers.at_start(), environment(&[("PATH", "/app"), ("WARM_IP_TARGET", "5"), ("MAX_ENI", "3")]));
        assert_eq!(layers.with(&BTreeMap::new()), environment(&[("PATH", "/app"), ("MAX_ENI", "2")]));
        let edited = environment(&[("WARM_IP_TARGET", "9")]);
        assert_eq!(layers.with(&edited), environment(&[("PATH", "/app"), ("WARM_IP_TARGET", "9"), ("MAX_ENI", "2")]));
    }
}
