//! Random orders of everything that can happen, small and shrinkable; and the same steps twice.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod world;

use proptest::prelude::*;
use world::Fate;
use world::cluster::{Cluster, Step};

fn steps() -> impl Strategy<Value = Step> {
    let fate =
        prop::sample::select(vec![Fate::Done, Fate::AnswerLost, Fate::RequestLost, Fate::Refused, Fate::Conflict]);
    prop_oneof![
        4 => (1u8..8, any::<u8>(), any::<u8>()).prop_map(|(count, pool, pods)| Step::Register { count, pool, pods }),
        3 => any::<u8>().prop_map(Step::Delete),
        1 => any::<u8>().prop_map(Step::MarkDeleting),
        1 => any::<u8>().prop_map(Step::Recreate),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(node, pool)| Step::Relabel(node, pool)),
        5 => (1u8..20).prop_map(Step::Deliver),
        8 => (any::<u8>(), fate).prop_map(|(call, fate)| Step::Answer(call, fate)),
        3 => (1u8..40).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(|keeps_cooling| Step::Leader { keeps_cooling }),
        2 => any::<u8>().prop_map(Step::AddRange),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(range, drains)| Step::Drain(range, drains)),
        1 => any::<u8>().prop_map(Step::RemoveRange),
        1 => any::<u8>().prop_map(Step::Grow),
        1 => any::<u8>().prop_map(Step::Exclude),
        1 => prop::sample::select(vec![Step::WatchGap, Step::StaleList, Step::Remember]),
        1 => any::<u8>().prop_map(Step::Replay),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(node, block)| Step::ForeignWrite(node, block)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_engine_agrees_with_what_the_api_has(steps in prop::collection::vec(steps(), 1..120)) {
        let mut cluster = Cluster::new();
        cluster.step(Step::AddRange(0));
        for step in &steps {
            cluster.step(*step);
        }
        cluster.finish();
        let mut again = Cluster::new();
        again.step(Step::AddRange(0));
        for step in &steps {
            again.step(*step);
        }
        again.finish();
        prop_assert_eq!(format!("{:?}", cluster.world.signals), format!("{:?}", again.world.signals), "the same in every run");
    }
}
