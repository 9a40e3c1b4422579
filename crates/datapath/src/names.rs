//! Names, table numbers and priorities that the Amazon VPC CNI gives to a pod's things on the host, so that either side
//! finds what the other made.

use freeboard_address::PodKey;
use sha1::{Digest, Sha1};

use crate::DatapathError;

/// The kernel's main routing table.
pub const MAIN_TABLE: u32 = 254;
/// Priority of the rule "to the pod, look up main".
pub const TO_POD_PRIORITY: u32 = 512;
/// Priority of the rule "marked traffic looks up main".
pub const MARK_PRIORITY: u32 = 1024;
/// Priority of the rules "to an external service block, look up main".
pub const EXTERNAL_SERVICE_PRIORITY: u32 = 1535;
/// Priority of the rule "from the pod, look up the interface's table".
pub const FROM_POD_PRIORITY: u32 = 1536;
/// Priority of the rule "from the interface's own address, look up its table".
pub const FROM_INTERFACE_PRIORITY: u32 = 32765;
/// The mark bit of connections that must leave by the primary interface, unless AWS_VPC_K8S_CNI_CONNMARK says otherwise.
pub const DEFAULT_MARK: u32 = 0x80;
/// Bytes that the kernel allows in an interface name.
pub const INTERFACE_NAME_BYTES: usize = 15;
/// Hexadecimal digits of the hash in a pod's interface names.
const HASH_DIGITS: usize = 11;

/// The name of the host end of a pod's veth pair: `prefix` and the first 11 hexadecimal digits of SHA-1 of `namespace.name`.
#[must_use]
pub fn host_interface(prefix: &str, pod: &PodKey) -> String {
    let hash = Sha1::digest(format!("{}.{}", pod.namespace, pod.name).as_bytes());
    let mut name = String::with_capacity(prefix.len() + HASH_DIGITS + 1);
    name.push_str(prefix);
    for byte in hash.iter().take(HASH_DIGITS.div_ceil(2)) {
        name.push_str(&format!("{byte:02x}"));
    }
    name.truncate(prefix.len() + HASH_DIGITS);
    name
}

/// The name of the interface in a CNI result that exists nowhere and only carries the incumbent's private data.
#[must_use]
pub fn dummy_interface(pod: &PodKey) -> String {
    host_interface("dummy", pod)
}

/// The routing table of a network interface: main for the primary one, `device + 1` on the first network card,
/// `10000 + 100 × card + device` on the others.
#[must_use]
pub fn interface_table(network_card: u32, device_number: u32) -> u32 {
    match (network_card, device_number) {
        (0, 0) => MAIN_TABLE,
        (0, device) => device + 1,
        (card, device) => 10_000 + 100 * card + device,
    }
}

/// The routing table that the Amazon VPC CNI used before v1.20, which only knew the limit of interfaces per card.
#[must_use]
pub fn interface_table_before_1_20(network_card: u32, device_number: u32, interfaces_per_card: u32) -> u32 {
    if network_card == 0 && device_number == 0 {
        MAIN_TABLE
    } else {
        device_number + 1 + network_card * interfaces_per_card
    }
}

/// Accepts a name that the kernel accepts for an interface.
///
/// # Errors
/// [`DatapathError::BadValue`] naming the rule that the name breaks.
pub fn check_interface_name(what: &'static str, name: &str) -> Result<(), DatapathError> {
    let expected = if name.is_empty() {
        "a name"
    } else if name.len() > INTERFACE_NAME_BYTES {
        "at most 15 bytes, the kernel's limit for interface names"
    } else if name == "." || name == ".." {
        "a name other than . and .."
    } else if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        "no slash, colon, space or control character"
    } else {
        return Ok(());
    };
    Err(DatapathError::BadValue { what, value: name.to_owned(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_are_those_of_the_incumbent() {
        let coredns = PodKey::new("kube-system", "coredns-57ff979f67-qqbdh");
        assert_eq!(host_interface("eni", &coredns), "enib5faff8a083");
        assert_eq!(host_interface("", &PodKey::new("kube-system", "coredns-57ff979f67-8ns9b")), "9571956a6cc");
        assert_eq!(dummy_interface(&PodKey::new("default", "sample-pod")), "dummycc21c2d7785");
    }

    #[test]
    fn table_numbers_are_those_of_the_incumbent() {
        assert_eq!(interface_table(0, 0), 254);
        assert_eq!(interface_table(0, 1), 2);
        assert_eq!(interface_table(1, 1), 10101);
        assert_eq!(interface_table(2, 3), 10203);
        assert_eq!(interface_table(1, 0), 10100);
        assert_eq!(interface_table_before_1_20(1, 1, 8), 10);
        assert_eq!(interface_table_before_1_20(0, 2, 8), 3);
    }

    #[test]
    fn a_name_the_kernel_would_refuse_is_refused_with_the_rule() {
        for (name, part) in [("", "a name"), ("abcdefghijklmnop", "15 bytes"), ("a/b", "slash"), ("..", "..")] {
            let message = check_interface_name("interface name", name).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains(&format!("{name:?}")), "{message}");
        }
        check_interface_name("interface name", "eth0").unwrap();
    }
}
