//! The network configuration on standard input.

use std::io::Read;
use std::net::IpAddr;

use freeboard_datapath::HostPort;
use freeboard_datapath::nft::Protocol;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::{Code, Failure};

/// More than any configuration with its previous result; a runtime that sends more is broken.
const LIMIT_BYTES: u64 = 1024 * 1024;
const DEFAULT_VETH_PREFIX: &str = "eni";
const DEFAULT_MTU: &str = "9001";
const LONGEST_VETH_PREFIX: usize = 4;

/// What the runtime passes, as far as the plugin reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Configuration {
    pub(crate) cni_version: Option<String>,
    pub(crate) name: String,
    pub(crate) veth_prefix: Option<String>,
    /// A text in the incumbent's list; a number is accepted too.
    pub(crate) mtu: Option<Value>,
    pub(crate) plugin_log_file: Option<String>,
    pub(crate) plugin_log_level: Option<String>,
    pub(crate) runtime_config: RuntimeConfiguration,
    pub(crate) prev_result: Option<PreviousResult>,
    #[serde(rename = "cni.dev/valid-attachments")]
    pub(crate) valid_attachments: Option<Vec<ValidAttachment>>,
    /// Freeboard's own: where the agent listens.
    pub(crate) agent_socket: Option<String>,
    /// Freeboard's own: where deletions are noted that the agent did not hear of.
    pub(crate) tombstone_dir: Option<String>,
}

/// What the runtime passes on from the sandbox.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RuntimeConfiguration {
    pub(crate) port_mappings: Vec<PortMapping>,
}

/// A port of the node that is to lead to the pod.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PortMapping {
    host_port: i64,
    container_port: i64,
    protocol: String,
    #[serde(rename = "hostIP")]
    host_ip: String,
}

/// The result of an earlier ADD, as the runtime kept it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PreviousResult {
    pub(crate) interfaces: Vec<PreviousInterface>,
    pub(crate) ips: Vec<PreviousAddress>,
}

/// An interface of an earlier result.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PreviousInterface {
    pub(crate) name: String,
    pub(crate) mac: String,
    pub(crate) sandbox: String,
}

/// An address of an earlier result.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PreviousAddress {
    pub(crate) address: String,
}

/// An attachment that the runtime still knows.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ValidAttachment {
    #[serde(rename = "containerID")]
    pub(crate) container: String,
    #[serde(rename = "ifname")]
    pub(crate) interface: String,
}

impl Configuration {
    /// Reads standard input to its end, at most 1 MiB of it.
    pub(crate) fn read(input: impl Read) -> Result<Self, Failure> {
        let mut bytes = Vec::new();
        let read = input.take(LIMIT_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|e| Failure::new(Code::InputOutput, format!("cannot read standard input: {e}"), ""))?;
        if bytes.len() as u64 > LIMIT_BYTES {
            let message = format!("the network configuration on standard input is longer than {LIMIT_BYTES} bytes");
            return Err(Failure::new(Code::Decoding, message, "look at what the container runtime sends"));
        }
        let unreadable = |reason: String| {
            let message = format!("the network configuration on standard input cannot be read: {reason}");
            Failure::new(Code::Decoding, message, "check the network configuration list, usually 10-aws.conflist")
        };
        // A list would be taken for an object's fields in their order.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(unreadable("expected an object, found a list at line 1 column 1".to_owned()));
        }
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))
    }

    /// The prefix of host interface names.
    pub(crate) fn veth_prefix(&self) -> Result<&str, Failure> {
        let prefix = self.veth_prefix.as_deref().unwrap_or(DEFAULT_VETH_PREFIX);
        let is_word = prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if prefix.is_empty() || prefix.len() > LONGEST_VETH_PREFIX || !is_word {
            return Err(invalid("vethPrefix", prefix, "1 to 4 letters or digits"));
        }
        Ok(prefix)
    }

    /// The MTU of the pod's interface, in bytes.
    pub(crate) fn mtu_bytes(&self) -> Result<u32, Failure> {
        let text = match &self.mtu {
            None => DEFAULT_MTU.to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let parsed: Option<u32> = text.parse().ok().filter(|mtu| (576..=9001).contains(mtu));
        parsed.ok_or_else(|| invalid("mtu", &text, "bytes from 576 to 9001"))
    }

    /// The ports of the node that are to lead to the pod. Those of an IPv6 address of the node are left out: the pod has none.
    pub(crate) fn host_ports(&self) -> Result<Vec<HostPort>, Failure> {
        let mappings = self.runtime_config.port_mappings.iter().map(PortMapping::read);
        Ok(mappings.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The network's name, a part of the key under which the agent keeps the address.
    pub(crate) fn network(&self) -> Result<&str, Failure> {
        if is_identifier(&self.name) { Ok(&self.name) } else { Err(invalid("name", &self.name, IDENTIFIER)) }
    }
}

impl PortMapping {
    fn read(&self) -> Result<Option<HostPort>, Failure> {
        let port = |key: &str, value: i64| {
            let port = u16::try_from(value).ok().filter(|port| *port > 0);
            port.ok_or_else(|| invalid(&format!("runtimeConfig.portMappings: {key}"), &value.to_string(), "1 to 65535"))
        };
        let protocol = match self.protocol.to_ascii_lowercase().as_str() {
            "tcp" | "" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => {
                return Err(invalid("runtimeConfig.portMappings: protocol", &self.protocol, "tcp, udp or sctp"));
            }
        };
        let address = match self.host_ip.as_str() {
            "" => None,
            text => Some(text.parse::<IpAddr>().map_err(|_| {
                invalid("runtimeConfig.portMappings: hostIP", text, "an IP address, or nothing for every one")
            })?),
        };
        let host_address = match address {
            Some(IpAddr::V6(_)) => return Ok(None),
            Some(IpAddr::V4(address)) if !address.is_unspecified() => Some(address),
            Some(IpAddr::V4(_)) | None => None,
        };
        let (host_port, container_port) =
            (port("hostPort", self.host_port)?, port("containerPort", self.container_port)?);
        Ok(Some(HostPort { protocol, host_port, container_port, host_address }))
    }
}

/// What [`is_identifier`] accepts.
pub(crate) const IDENTIFIER: &str = "a letter or digit, then letters, digits, dots, hyphens or underscores";

/// The CNI specification's rule for network names and container ids.
pub(crate) fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn invalid(key: &str, value: &str, expected: &str) -> Failure {
    let message = format!("{key} {value:?} in the network configuration cannot be used: expected {expected}");
    Failure::new(Code::InvalidConfiguration, message, "check the network configuration list, usually 10-aws.conflist")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_has_the_incumbents_defaults() {
        let configuration = Configuration::read("{}".as_bytes()).unwrap();
        assert_eq!(configuration.veth_prefix(), Ok("eni"));
        assert_eq!(configuration.mtu_bytes(), Ok(9001));
    }

    #[test]
    fn bad_values_are_refused_with_key_and_value() {
        let read = |text: &str| Configuration::read(text.as_bytes()).unwrap();
        let messages = [
            read(r#"{"vethPrefix":"en/i"}"#).veth_prefix().unwrap_err().message,
            read(r#"{"mtu":"12x"}"#).mtu_bytes().unwrap_err().message,
            read(r#"{"mtu":99999}"#).mtu_bytes().unwrap_err().message,
            read(r#"{"name":"../x"}"#).network().unwrap_err().message,
        ];
        for (message, part) in messages.iter().zip(["vethPrefix \"en/i\"", "mtu \"12x\"", "99999", "name \"../x\""]) {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn host_ports_are_read_as_the_runtime_writes_them() {
        let read = |entry: &str| {
            let text = format!(r#"{{"runtimeConfig":{{"portMappings":[{entry}]}}}}"#);
            Configuration::read(text.as_bytes()).unwrap().host_ports()
        };
        let ports = read(
            r#"{"hostPort":8080,"containerPort":80,"protocol":"UDP","hostIP":"10.0.0.7"},
            {"hostPort":81,"containerPort":81,"protocol":"tcp","hostIP":"0.0.0.0"},
            {"hostPort":82,"containerPort":82,"hostIP":"::"}"#,
        );
        let expected = |protocol, host_port, container_port, host_address| HostPort {
            protocol,
            host_port,
            container_port,
            host_address,
        };
        let address = Some(std::net::Ipv4Addr::new(10, 0, 0, 7));
        let wanted = vec![expected(Protocol::Udp, 8080, 80, address), expected(Protocol::Tcp, 81, 81, None)];
        assert_eq!(ports, Ok(wanted));
        for (entry, part) in [
            (r#"{"hostPort":0,"containerPort":80}"#, "hostPort \"0\""),
            (r#"{"hostPort":80,"containerPort":65536}"#, "containerPort \"65536\""),
            (r#"{"hostPort":80,"containerPort":80,"protocol":"icmp"}"#, "protocol \"icmp\""),
            (r#"{"hostPort":80,"containerPort":80,"hostIP":"here"}"#, "hostIP \"here\""),
        ] {
            let message = read(entry).unwrap_err().message;
            assert!(message.contains(part), "{part} is not in {message}");
        }
    }

    #[test]
    fn a_megabyte_is_read_and_no_more() {
        let long = format!("{{\"name\":\"{}\"}}", "a".repeat(5_000_000));
        let message = Configuration::read(long.as_bytes()).unwrap_err().message;
        assert!(message.contains("longer than 1048576 bytes"), "{message}");
    }
}
