//! Limits of instance types, from the table that the whole project shares.

use std::collections::BTreeMap;

use freeboard_diagnosis::{Facts, InstanceLimits};

/// The table: `instance_type,vcpus,interfaces,ipv4_per_interface,default_card,interfaces_per_card,hypervisor,bare_metal`.
const TABLE: &str = include_str!("../../vpc/src/instance-limits.csv");

/// Adds the limits of the types that nodes have.
pub(crate) fn add(facts: &mut Facts) {
    let types = facts.nodes.values().filter_map(|node| node.instance_type.clone());
    let wanted: BTreeMap<String, ()> = types.map(|name| (name, ())).collect();
    for line in TABLE.lines() {
        let mut fields = line.split(',');
        let Some(name) = fields.next().filter(|name| wanted.contains_key(*name)) else { continue };
        let [_, interfaces, addresses, card, per_card] = [(); 5].map(|()| fields.next().unwrap_or_default());
        let on_card = card.parse().ok().and_then(|card| per_card.split([';', '|', ' ', '/']).nth(card)?.parse().ok());
        let parsed = on_card.or_else(|| interfaces.parse().ok()).zip(addresses.parse().ok());
        if let Some((interfaces, addresses_per_interface)) = parsed {
            facts.limits.insert(name.to_owned(), InstanceLimits { interfaces, addresses_per_interface });
        }
    }
}
