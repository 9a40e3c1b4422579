//! The network configuration on standard input.

use std::io::Read;

use serde::Deserialize;
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
    pub(crate) port_mappings: Vec<Value>,
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

    /// Refuses host ports: a pod whose ports silently lead nowhere is worse than one that does not start.
    pub(crate) fn refuse_port_mappings(&self) -> Result<(), Failure> {
        match self.runtime_config.port_mappings.first() {
            None => Ok(()),
            Some(first) => Err(Failure::new(
                Code::UnsupportedField,
                format!("runtimeConfig.portMappings is not supported by this plugin: the first one is {first}"),
                "leave the capability portMappings to the portmap plugin, next in the list in 10-aws.conflist",
            )),
        }
    }

    /// The network's name, a part of the key under which the agent keeps the address.
    pub(crate) fn network(&self) -> Result<&str, Failure> {
        if is_identifier(&self.name) { Ok(&self.name) } else { Err(invalid("name", &self.name, IDENTIFIER)) }
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
    fn a_megabyte_is_read_and_no_more() {
        let long = format!("{{\"name\":\"{}\"}}", "a".repeat(5_000_000));
        let message = Configuration::read(long.as_bytes()).unwrap_err().message;
        assert!(message.contains("longer than 1048576 bytes"), "{message}");
    }
}
