//! The network limits of every instance type, from the table that ships with the crate.

use std::collections::BTreeMap;

use crate::model::InstanceType;

/// 1,391 instance types; the columns are named in its first line.
const TABLE: &str = include_str!("instance-limits.csv");

/// Instance types by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitTable {
    types: BTreeMap<String, InstanceType>,
}

impl LimitTable {
    /// Reads the table that ships with the crate.
    #[must_use]
    pub fn embedded() -> Self {
        let rows = TABLE.lines().skip(1).filter_map(parse_row);
        Self { types: rows.map(|row| (row.instance_type.clone(), row)).collect() }
    }

    /// The type with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&InstanceType> {
        self.types.get(name)
    }

    /// All types, by name.
    pub fn iter(&self) -> impl Iterator<Item = &InstanceType> + '_ {
        self.types.values()
    }

    /// How many types are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether no type is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Up to three names that a person who wrote `name` may have meant, the nearest first.
    #[must_use]
    pub fn near(&self, name: &str) -> Vec<String> {
        let mut scored: Vec<(usize, &String)> =
            self.types.keys().map(|known| (edit_distance(name, known), known)).filter(|(d, _)| *d <= 2).collect();
        scored.sort();
        scored.into_iter().take(3).map(|(_, known)| known.clone()).collect()
    }
}

/// One line of the table; none when a column is missing or not a number.
fn parse_row(line: &str) -> Option<InstanceType> {
    let columns: Vec<&str> = line.split(',').collect();
    let &[name, vcpus, interfaces, addresses, default_card, cards, hypervisor, bare_metal] = columns.as_slice() else {
        return None;
    };
    Some(InstanceType {
        instance_type: name.to_owned(),
        vcpus: vcpus.parse().ok(),
        hypervisor: matches!(hypervisor, "nitro" | "xen").then(|| hypervisor.to_owned()),
        bare_metal: bare_metal.parse().ok()?,
        maximum_network_interfaces: interfaces.parse().ok()?,
        ipv4_addresses_per_interface: addresses.parse().ok()?,
        default_network_card_index: default_card.parse().ok()?,
        interfaces_per_network_card: cards.split('/').map(|card| card.parse().ok()).collect::<Option<_>>()?,
    })
}

/// How many characters must be added, removed or replaced to turn one text into the other.
fn edit_distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row.get(j + 1).copied().unwrap_or(usize::MAX - 1);
            let best = replaced.min(diagonal + 1).min(left + 1);
            if let Some(cell) = row.get_mut(j) {
                *cell = left;
            }
            left = best;
        }
        if let Some(cell) = row.last_mut() {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_type() {
        let table = LimitTable::embedded();
        assert_eq!(table.len(), TABLE.lines().count() - 1);
        assert_eq!(table.len(), 1_391);
    }

    #[test]
    fn well_known_types_have_their_limits() {
        let table = LimitTable::embedded();
        for (name, interfaces, addresses) in [
            ("t3.nano", 2, 2),
            ("t3.small", 3, 4),
            ("t3.medium", 3, 6),
            ("t3.large", 3, 12),
            ("m5.large", 3, 10),
            ("m5.xlarge", 4, 15),
            ("m5.4xlarge", 8, 30),
            ("m5.24xlarge", 15, 50),
        ] {
            let known = table.get(name).unwrap();
            assert_eq!((known.maximum_network_interfaces, known.ipv4_addresses_per_interface), (interfaces, addresses));
            assert!(known.supports_prefixes());
        }
        assert_eq!(table.get("p4d.24xlarge").unwrap().interfaces_per_network_card, [15, 15, 15, 15]);
        assert!(!table.get("t2.medium").unwrap().supports_prefixes());
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbours() {
        let table = LimitTable::embedded();
        assert!(table.near("t3.mediun").contains(&"t3.medium".to_owned()));
        assert!(table.near("t3medium").contains(&"t3.medium".to_owned()));
        assert!(table.near("something-else").is_empty());
    }

    #[test]
    fn edit_distance_counts_changes() {
        for (one, other, distance) in
            [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("", "abc", 3), ("kitten", "sitting", 3)]
        {
            assert_eq!(edit_distance(one, other), distance, "{one} {other}");
        }
    }
}
