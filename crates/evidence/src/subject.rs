//! What a message is about: the ids, names and actions in it.

use freeboard_address::{Cidr, EniId, NodeName, PodKey, SubnetId};
use freeboard_diagnosis::Subject;

/// Reads what a message names.
pub(crate) fn of(message: &str) -> Subject {
    Subject {
        node: after(message, "Node ", is_name).filter(|_| message.contains("status is now")).map(NodeName::new),
        pod: pod(message),
        subnet: id(message, "subnet-").map(SubnetId::new),
        interface: id(message, "eni-").map(EniId::new),
        action: action(message),
        range: after(message, "subnetworks/", is_name).or_else(|| range_set(message)).map(str::to_owned),
        block: after(message, "IP range '", |byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'/'))
            .and_then(|text| text.parse::<Cidr>().ok()),
        name: eni_config(message).map(str::to_owned),
    }
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
        let config = "error while retrieving eniconfig: ENIConfig.crd.k8s.amazonaws.com \"ap-southeast-2b\" not found";
        assert_eq!(of(config).name.as_deref(), Some("ap-southeast-2b"));
        assert_eq!(of("eni-attach-0123456789abcdef0 subnet-xyz subnet-").interface, None);
    }
}
