//! What an instance type allows: interfaces, addresses per interface, and pods.

use freeboard_ec2::InstanceType;

/// The limits of one instance type, on network card 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Interfaces.
    pub interfaces: u32,
    /// IPv4 addresses per interface, its primary address included.
    pub addresses_per_interface: u32,
    /// Whether interfaces can carry /28 prefixes: on Nitro and on bare metal.
    pub prefixes_supported: bool,
    /// Virtual processors, which decide the cap on pods.
    pub processors: u32,
}

/// The table of types known when this version was made: data, shared with the simulated cloud.
const TABLE: &str = include_str!("../../vpc/src/instance-limits.csv");

/// The limits of a type in the table; `None` for a type that is younger than the table.
#[must_use]
pub fn known(instance_type: &str) -> Option<Limits> {
    let line = TABLE.lines().find(|line| line.split(',').next() == Some(instance_type))?;
    parse(line)
}

/// One line: `instance_type,vcpus,interfaces,ipv4_per_interface,default_card,interfaces_per_card,hypervisor,bare_metal`.
fn parse(line: &str) -> Option<Limits> {
    let fields: Vec<&str> = line.split(',').collect();
    let [_, processors, interfaces, addresses, card, per_card, hypervisor, bare_metal] = fields.as_slice() else {
        return None;
    };
    // Types with several network cards list the interfaces of each; pods use the default card.
    let card: usize = card.parse().ok()?;
    let on_card = per_card.split([';', '|', ' ', '/']).nth(card).and_then(|count| count.parse().ok());
    Some(Limits {
        interfaces: on_card.unwrap_or(interfaces.parse().ok()?),
        addresses_per_interface: addresses.parse().ok()?,
        prefixes_supported: *hypervisor == "nitro" || *bare_metal == "true",
        // Unknown for some bare-metal types.
        processors: processors.parse().unwrap_or(0),
    })
}

/// The limits as EC2 describes a type.
#[must_use]
pub fn described(described: &InstanceType) -> Limits {
    let network = &described.network_info;
    let card = network.network_cards.iter().find(|card| card.index == network.default_network_card_index);
    Limits {
        interfaces: card.map_or(network.maximum_network_interfaces, |card| card.maximum_network_interfaces),
        addresses_per_interface: network.ipv4_addresses_per_interface,
        prefixes_supported: described.supports_prefixes(),
        // Only the cap on pods with prefixes depends on it, and the smaller cap is the safe one.
        processors: 0,
    }
}

impl Limits {
    /// Pods by the rule that EKS uses: every secondary address (or every address of every prefix) plus two pods on the host's
    /// own network; with prefixes at most 110, or 250 with more than 30 processors.
    #[must_use]
    pub fn max_pods(self, prefixes: bool, max_interfaces: Option<u32>) -> u32 {
        let interfaces = max_interfaces.map_or(self.interfaces, |most| most.min(self.interfaces));
        let slots = interfaces * self.addresses_per_interface.saturating_sub(1);
        if !prefixes {
            return slots + 2;
        }
        let cap = if self.processors > 30 { 250 } else { 110 };
        (slots.saturating_mul(16) + 2).min(cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_types_have_their_limits() {
        for (name, interfaces, addresses, prefixes) in [
            ("t3.small", 3, 4, true),
            ("t3.medium", 3, 6, true),
            ("m5.large", 3, 10, true),
            ("m5.24xlarge", 15, 50, true),
            ("p4d.24xlarge", 15, 50, true),
            ("p5.48xlarge", 2, 50, true),
            ("t2.micro", 2, 2, false),
        ] {
            let limits = known(name).unwrap();
            assert_eq!(
                (limits.interfaces, limits.addresses_per_interface, limits.prefixes_supported),
                (interfaces, addresses, prefixes),
                "{name}"
            );
        }
        assert_eq!(known("t3"), None);
        assert_eq!(known("instance_type"), None);
    }

    #[test]
    fn every_line_of_the_table_is_understood() {
        for line in TABLE.lines().skip(1) {
            let limits = parse(line).unwrap_or_else(|| panic!("{line}"));
            assert!(limits.interfaces > 0 && limits.addresses_per_interface > 0, "{line}");
        }
    }

    /// The whole file of EKS is ENIs × (IPv4 − 1) + 2 for every type (anchors D5).
    #[test]
    fn max_pods_follows_the_rule_of_eks_for_every_type() {
        assert_eq!(TABLE.lines().skip(1).count(), 1391);
        for line in TABLE.lines().skip(1) {
            let limits = parse(line).unwrap();
            let expected = limits.interfaces * (limits.addresses_per_interface - 1) + 2;
            assert_eq!(limits.max_pods(false, None), expected, "{line}");
        }
    }

    /// The table of anchors D5; custom networking (CN) takes the primary interface out.
    #[test]
    fn max_pods_of_well_known_types() {
        const NO_PREFIXES: Option<(u32, u32)> = None;
        // Types; ENIs, IPv4 each, vCPUs; pods with single addresses and with CN; with prefixes and with both.
        for (types, (interfaces, addresses, processors), (plain, custom), prefixes) in [
            ("t2.micro", (2, 2, 1), (4, 3), NO_PREFIXES),
            ("t3.nano t3.micro", (2, 2, 2), (4, 3), Some((34, 18))),
            ("t3.small", (3, 4, 2), (11, 8), Some((110, 98))),
            ("t3.medium", (3, 6, 2), (17, 12), Some((110, 110))),
            ("t3.large", (3, 12, 2), (35, 24), Some((110, 110))),
            ("t3.xlarge m5.xlarge", (4, 15, 4), (58, 44), Some((110, 110))),
            ("t3.2xlarge m5.2xlarge", (4, 15, 8), (58, 44), Some((110, 110))),
            ("m4.large", (2, 10, 2), (20, 11), NO_PREFIXES),
            ("m5.large", (3, 10, 2), (29, 20), Some((110, 110))),
            ("g4dn.xlarge", (3, 10, 4), (29, 20), Some((110, 110))),
            ("m5.4xlarge", (8, 30, 16), (234, 205), Some((110, 110))),
            ("m5.8xlarge", (8, 30, 32), (234, 205), Some((250, 250))),
            ("m5.12xlarge", (8, 30, 48), (234, 205), Some((250, 250))),
            ("c4.8xlarge", (8, 30, 36), (234, 205), NO_PREFIXES),
            ("x1.32xlarge", (8, 30, 128), (234, 205), NO_PREFIXES),
            ("c5.18xlarge", (15, 50, 72), (737, 688), Some((250, 250))),
            ("m5.24xlarge m5.metal p3dn.24xlarge p4d.24xlarge", (15, 50, 96), (737, 688), Some((250, 250))),
            ("c6i.32xlarge", (15, 50, 128), (737, 688), Some((250, 250))),
            ("m7i.48xlarge", (15, 50, 192), (737, 688), Some((250, 250))),
        ] {
            for name in types.split(' ') {
                let limits = known(name).unwrap_or_else(|| panic!("{name} is not in the table"));
                assert_eq!((limits.interfaces, limits.addresses_per_interface), (interfaces, addresses), "{name}");
                assert_eq!((limits.processors, limits.prefixes_supported), (processors, prefixes.is_some()), "{name}");
                let without_primary = Limits { interfaces: interfaces - 1, ..limits };
                assert_eq!(
                    (limits.max_pods(false, None), without_primary.max_pods(false, None)),
                    (plain, custom),
                    "{name}"
                );
                if let Some(expected) = prefixes {
                    assert_eq!((limits.max_pods(true, None), without_primary.max_pods(true, None)), expected, "{name}");
                }
            }
        }
        assert_eq!(known("m5.large").unwrap().max_pods(false, Some(2)), 20, "MAX_ENI counts");
    }
}
