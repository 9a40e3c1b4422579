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

    #[test]
    fn max_pods_follows_the_rule_of_eks() {
        let m5 = known("m5.large").unwrap();
        assert_eq!(m5.max_pods(false, None), 29);
        assert_eq!(m5.max_pods(false, Some(2)), 20);
        assert_eq!(m5.max_pods(true, None), 110);
        assert_eq!(known("m5.24xlarge").unwrap().max_pods(true, None), 250);
    }
}
