//! What a message is about: the ids, names and actions in it.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use freeboard_address::{Cidr, EniId, NodeName, PodKey, SubnetId};
use freeboard_diagnosis::Subject;

/// What a message may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Node,
    Pod,
    Subnet,
    Interface,
    Action,
    Range,
    Block,
    Config,
}

/// Words without which a message does not name that: they are looked for in one pass, and most messages hold one or two.
const MARKS: [(&str, Names); 21] = [
    ("status is now", Names::Node),
    ("pod=", Names::Pod),
    ("no address for ", Names::Pod),
    ("for pod \"", Names::Pod),
    ("Error syncing pod ", Names::Pod),
    ("PodNamespace(", Names::Pod),
    ("K8S_POD_NAMESPACE", Names::Pod),
    (",Namespace:", Names::Pod),
    ("subnet-", Names::Subnet),
    ("eni-", Names::Interface),
    ("EC2: ", Names::Action),
    ("ec2:", Names::Action),
    ("Failed to ", Names::Action),
    ("Unable to get leaked", Names::Action),
    ("retrieve instance data", Names::Action),
    ("subnetworks/", Names::Range),
    ("in range", Names::Range),
    ("IP range '", Names::Block),
    ("subnet ", Names::Block),
    ("ENIConfig", Names::Config),
    ("eniconfigs", Names::Config),
];

/// Finds the marks. That they make an automaton is tested; without one, nothing would be named.
static FINDER: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| AhoCorasick::new(MARKS.map(|(mark, _)| mark)).ok());

/// Reads what a message names.
pub(crate) fn of(message: &str) -> Subject {
    let mut marked = [false; MARKS.len()];
    for found in FINDER.iter().flat_map(|finder| finder.find_iter(message)) {
        marked[found.pattern().as_usize()] = true;
    }
    let names = |what: Names| MARKS.iter().zip(marked).any(|((_, names), marked)| marked && *names == what);
    let when = |what: Names| names(what).then_some(message);
    Subject {
        node: when(Names::Node).and_then(|text| after(text, "Node ", is_name)).map(NodeName::new),
        pod: when(Names::Pod).and_then(pod),
        subnet: when(Names::Subnet).and_then(|text| id(text, "subnet-")).map(SubnetId::new),
        interface: when(Names::Interface).and_then(|text| id(text, "eni-")).map(EniId::new),
        action: when(Names::Action).and_then(action),
        range: when(Names::Range)
            .and_then(|text| after(text, "subnetworks/", is_name).or_else(|| range_set(text)))
            .map(str::to_owned),
        block: when(Names::Block)
            .and_then(|text| after(text, "IP range '", is_block).or_else(|| after(text, "subnet ", is_block)))
            .and_then(|text| text.parse::<Cidr>().ok()),
        name: when(Names::Config).and_then(eni_config).map(str::to_owned),
    }
}

fn is_block(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b'/')
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// The longest run of bytes that `belongs` accepts after `mark`.
pub(crate) fn after<'a>(text: &'a str, mark: &str, belongs: impl Fn(u8) -> bool) -> Option<&'a str> {
    let start = text.find(mark)? + mark.len();
    let rest = &text[start..];
    let end = rest.bytes().position(|byte| !belongs(byte)).unwrap_or(rest.len());
    rest.get(..end).filter(|found| !found.is_empty())
}

/// An id of the cloud: prefix and eight or more hexadecimal digits.
pub(crate) fn id<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let mut from = 0;
    while let Some(found) = text.get(from..)?.find(prefix) {
        let start = from + found;
        let rest = &text[start + prefix.len()..];
        let length = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let stands_alone = !text[..start].ends_with(|letter: char| letter.is_ascii_alphanumeric());
        if length >= 8 && stands_alone {
            return text.get(start..start + prefix.len() + length);
        }
        from = start + prefix.len();
    }
    None
}

/// The pod, in the ways in which kubelet, runtime, plugin and agent write it.
fn pod(text: &str) -> Option<PodKey> {
    let is_key = |byte: u8| is_name(byte) || byte == b'/';
    for mark in ["pod=\"", "pod=\\\"", "no address for ", "for pod \"", "Error syncing pod "] {
        if let Some((namespace, name)) = after(text, mark, is_key).and_then(|key| key.split_once('/')) {
            return Some(PodKey::new(namespace, name));
        }
    }
    let pair = |namespace, name| {
        let namespace = after(text, namespace, is_name)?;
        Some(PodKey::new(namespace, after(text, name, is_name)?))
    };
    pair("PodNamespace(", "PodName(")
        .or_else(|| pair("K8S_POD_NAMESPACE=", "K8S_POD_NAME="))
        .or_else(|| pair(",Namespace:", "PodSandboxMetadata{Name:"))
        .or_else(|| pair("K8S_POD_NAMESPACE:\"", "K8S_POD_NAME:\""))
}

/// The API action of EC2, from the SDK's error or from the agent's words.
fn action(text: &str) -> Option<String> {
    let is_word = |byte: u8| byte.is_ascii_alphabetic();
    if let Some(name) = after(text, "operation error EC2: ", is_word).or_else(|| after(text, "ec2:", is_word)) {
        return Some(format!("ec2:{name}"));
    }
    let known = [
        ("Failed to allocate a private IP", "ec2:AssignPrivateIpAddresses"),
        ("Failed to CreateNetworkInterface", "ec2:CreateNetworkInterface"),
        ("Failed to attach ENI", "ec2:AttachNetworkInterface"),
        ("Unable to get leaked ENIs", "ec2:DescribeNetworkInterfaces"),
        ("retrieve instance data from EC2 control plane", "ec2:DescribeInstances"),
    ];
    known.iter().find(|(words, _)| text.contains(words)).map(|(_, action)| (*action).to_owned())
}

/// `… in range set: 10.244.1.1-10.244.1.254`, as host-local says it.
fn range_set(text: &str) -> Option<&str> {
    after(text, "in range set: ", |byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'/'))
        .or_else(|| after(text, "in range: ", |byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'/')))
}

/// The name of a missing ENIConfig, as the API server quotes it.
fn eni_config(text: &str) -> Option<&str> {
    let start =
        text.find("ENIConfig.crd.k8s.amazonaws.com").or_else(|| text.find("eniconfigs.crd.k8s.amazonaws.com"))?;
    let rest = text.get(start..)?;
    after(rest, "\"", is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_pods_and_actions_are_found_where_they_stand() {
        let subject = of(
            "Failed to allocate a private IP/Prefix addresses on ENI eni-00259388be69d244d: operation error EC2: AssignPrivateIpAddresses, https response error StatusCode: 400, api error InsufficientFreeAddressesInSubnet: The specified subnet does not have enough free addresses",
        );
        assert_eq!(subject.interface.unwrap().as_str(), "eni-00259388be69d244d");
        assert_eq!(subject.action.unwrap(), "ec2:AssignPrivateIpAddresses");
        assert_eq!(subject.subnet, None);
        let kubelet = r#"err="failed to …" pod="test/alpine-curl-648f8f669c-wltzt" podUID="x""#;
        assert_eq!(of(kubelet).pod.unwrap().to_string(), "test/alpine-curl-648f8f669c-wltzt");
        let containerd = "RunPodSandbox for &PodSandboxMetadata{Name:web-0,Uid:abc,Namespace:shop,Attempt:0,} failed";
        assert_eq!(of(containerd).pod.unwrap().to_string(), "shop/web-0");
        let google = "Instance 'vm-1' creation failed: IP space of 'projects/p/regions/r/subnetworks/cluster-pod-range-49c037f0c13a0320' is exhausted.";
        assert_eq!(of(google).range.as_deref(), Some("cluster-pod-range-49c037f0c13a0320"));
        let refusal = "no address for shop/web-0: subnet 10.0.208.0/27 full (0 of 27 free) [SubnetExhausted]";
        assert_eq!(of(refusal).block, "10.0.208.0/27".parse().ok());
        let config = "error while retrieving eniconfig: ENIConfig.crd.k8s.amazonaws.com \"ap-southeast-2b\" not found";
        assert_eq!(of(config).name.as_deref(), Some("ap-southeast-2b"));
        assert_eq!(of("eni-attach-0123456789abcdef0 subnet-xyz subnet-").interface, None);
    }
}
