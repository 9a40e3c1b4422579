//! Failures, as CNI wants them told: code, message, details.

use std::io;

use freeboard_datapath::DatapathError;
use freeboard_rpc::cni::Refusal;
use serde::Serialize;

/// The CNI specification's error codes that this plugin uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    IncompatibleVersion = 1,
    InvalidEnvironment = 4,
    InputOutput = 5,
    Decoding = 6,
    InvalidConfiguration = 7,
    TryAgainLater = 11,
    NotAvailable = 50,
    /// Codes from 100 are the plugin's own; this is the one that runtimes have always seen from the Amazon VPC CNI.
    Other = 999,
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// What to do about it; empty when there is nothing to say.
    pub(crate) details: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    cni_version: &'a str,
    code: u32,
    msg: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    details: &'a str,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>, details: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: details.into() }
    }

    /// A failure of the kernel's part of a command.
    pub(crate) fn datapath(doing: &str, error: &DatapathError) -> Self {
        let details = if matches!(error, DatapathError::NoNamespace { .. }) {
            "the runtime deletes and creates the sandbox again by itself"
        } else {
            "see plugin.log on the node; the runtime tries again by itself"
        };
        Self::new(Code::Other, format!("{doing}: {error}"), details)
    }

    /// The agent gave no address. The incumbent's sentence is kept, since people and tools look for it.
    pub(crate) fn refused(pod: &str, refusal: Option<&Refusal>) -> Self {
        let sentence = "add cmd: failed to assign an IP address to container";
        match refusal {
            None => Self::new(
                Code::TryAgainLater,
                format!("{sentence}: no address for {pod}: the agent gives no cause"),
                "see ipamd.log on the node for the cause",
            ),
            Some(refusal) => Self::new(
                Code::TryAgainLater,
                format!("{sentence}: no address for {pod}: {} [{}]", refusal.message, refusal.cause),
                refusal.remedy.clone(),
            ),
        }
    }

    /// Writes the failure as the runtime reads it.
    pub(crate) fn report(&self, version: &str, mut output: impl io::Write) -> io::Result<()> {
        let report =
            Report { cni_version: version, code: self.code as u32, msg: &self.message, details: &self.details };
        serde_json::to_writer(&mut output, &report)?;
        output.write_all(b"\n")?;
        output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_cause_figures_and_remedy() {
        let refusal = Refusal {
            cause: "SubnetExhausted".to_owned(),
            place: "10.0.208.0/27".to_owned(),
            message: "subnet 10.0.208.0/27 is full (0 of 27 addresses free)".to_owned(),
            remedy: "associate a secondary CIDR".to_owned(),
        };
        let mut text = Vec::new();
        Failure::refused("default/web", Some(&refusal)).report("1.1.0", &mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            concat!(
                r#"{"cniVersion":"1.1.0","code":11,"msg":"add cmd: failed to assign an IP address to container: "#,
                r#"no address for default/web: subnet 10.0.208.0/27 is full (0 of 27 addresses free) [SubnetExhausted]","#,
                r#""details":"associate a secondary CIDR"}"#,
                "\n"
            )
        );
    }
}
