//! What must not leave a cluster: account ids become other numbers, secrets go; and it is counted what was.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use regex::{Captures, Regex};
use serde_json::Value;

/// What stands for something that was taken out.
const MASKED: &str = "masked";
/// Keys whose values no finding needs, and that may hold anything.
const DROPPED: [&str; 10] = [
    "managedFields",
    "command",
    "args",
    "envFrom",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "imagePullSecrets",
    "volumes",
];
/// How variables begin that are settings of the agent; only their values stay.
const SETTINGS: [&str; 22] = [
    "AWS_VPC_",
    "WARM_",
    "MINIMUM_IP_TARGET",
    "MAX_ENI",
    "ENABLE_",
    "DISABLE_",
    "FREEBOARD_",
    "CLUSTER_",
    "VPC_",
    "ENI_CONFIG_",
    "IP_COOLDOWN_PERIOD",
    "ANNOTATE_POD_IP",
    "INTROSPECTION_BIND_ADDRESS",
    "ADDITIONAL_ENI_TAGS",
    "POD_SECURITY_GROUP",
    "NETWORK_POLICY",
    "MY_NODE_NAME",
    "MANAGE_",
    "LOG_LEVEL",
    "AWS_REGION",
    "USE_CUSTOM_NETWORK_CFG",
    "VETH",
];
/// Words in names of variables whose values are secrets, whatever else the names say.
const SECRET_WORDS: [&str; 5] = ["SECRET", "TOKEN", "PASSWORD", "CREDENTIAL", "ACCESS_KEY"];
/// Words in keys of annotations that findings may need.
const ANNOTATIONS: [&str; 6] = [
    "amazonaws.com",
    "freeboard.dev",
    "cilium.io",
    "projectcalico.org",
    "node.alpha.kubernetes.io",
    "cloud.google.com",
];

/// Masks text after text, the same thing always in the same way.
pub(super) struct Mask {
    accounts: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, u64>,
    names_account: Regex,
    twelve_digits: Regex,
    secrets: Vec<(&'static str, Regex)>,
}

impl Mask {
    pub(super) fn new() -> Result<Self> {
        let compile = |pattern: &str| Regex::new(pattern).context("a pattern of the mask is none");
        Ok(Self {
            accounts: BTreeMap::new(),
            counts: BTreeMap::new(),
            names_account: compile(
                r#"(?:arn:aws[a-z-]*:[a-z0-9-]*:[a-z0-9-]*:|"?(?:[Oo]wnerId|OwnerId|InstanceOwnerId|RequesterId|[Aa]ccountId|account_id)"?\s*[:=]\s*"?)([0-9]{12})\b|\b([0-9]{12})\.dkr\.ecr\."#,
            )?,
            twelve_digits: compile(r"\b[0-9]{12}\b")?,
            secrets: vec![
                ("access keys", compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")?),
                ("tokens", compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")?),
                ("tokens", compile(r"(?i)\bbearer\s+[a-z0-9._~+/=-]{8,}")?),
                (
                    "private keys",
                    compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)")?,
                ),
                (
                    "passwords",
                    compile(r#"(?i)\b(?:password|passwd|secret_access_key|client_secret)"?\s*[:=]\s*"?[^\s",;&]{3,}"#)?,
                ),
            ],
        })
    }

    /// What was masked, and how often.
    pub(super) fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// A document without what no finding needs, on lines of its own so that it can be cited.
    pub(super) fn document(&mut self, document: &mut Value) -> Result<String> {
        self.walk(document);
        let text = serde_json::to_string_pretty(document)?;
        Ok(self.text(&text))
    }

    /// A text without account ids and secrets.
    pub(super) fn text(&mut self, text: &str) -> String {
        for found in self.names_account.captures_iter(text) {
            let Some(account) = found.get(1).or_else(|| found.get(2)) else { continue };
            let next = self.accounts.len() + 1;
            self.accounts.entry(account.as_str().to_owned()).or_insert_with(|| format!("{next:012}"));
        }
        let (accounts, mut replaced) = (&self.accounts, 0);
        let mut masked = self.twelve_digits.replace_all(text, |found: &Captures<'_>| {
            let is_account = accounts.get(&found[0]);
            replaced += u64::from(is_account.is_some());
            is_account.map_or(&found[0], String::as_str).to_owned()
        });
        self.add("account ids", replaced);
        for (what, pattern) in &self.secrets {
            let count = u64::try_from(pattern.find_iter(&masked).count()).unwrap_or(u64::MAX);
            if count > 0 {
                *self.counts.entry(what).or_default() += count;
                masked = pattern.replace_all(&masked, MASKED).into_owned().into();
            }
        }
        masked.into_owned()
    }

    fn add(&mut self, what: &'static str, count: u64) {
        if count > 0 {
            *self.counts.entry(what).or_default() += count;
        }
    }

    fn walk(&mut self, value: &mut Value) {
        match value {
            Value::Object(object) => {
                let before = object.len();
                object.retain(|key, _| !DROPPED.contains(&key.as_str()));
                self.add("fields that no finding needs", u64::try_from(before - object.len()).unwrap_or(0));
                for (key, inner) in object.iter_mut() {
                    match (key.as_str(), inner) {
                        ("annotations", Value::Object(annotations)) => {
                            let before = annotations.len();
                            annotations.retain(|key, _| {
                                ANNOTATIONS.iter().any(|word| key.contains(word))
                                    && !key.ends_with("last-applied-configuration")
                            });
                            self.add("annotations", u64::try_from(before - annotations.len()).unwrap_or(0));
                        }
                        ("env", Value::Array(variables)) => self.variables(variables),
                        ("data", Value::Object(data)) => self.settings(data),
                        (_, inner) => self.walk(inner),
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.walk(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Variables of a container.
    fn variables(&mut self, variables: &mut [Value]) {
        for variable in variables {
            let is_setting = variable["name"].as_str().is_some_and(is_setting);
            if !is_setting && variable["value"].as_str().is_some_and(|value| !value.is_empty()) {
                variable["value"] = MASKED.into();
                self.add("variables of containers", 1);
            }
        }
    }

    /// Entries of a ConfigMap: settings, and the autoscaler's status.
    fn settings(&mut self, data: &mut serde_json::Map<String, Value>) {
        for (key, value) in data {
            let is_secret = SECRET_WORDS.iter().any(|word| key.to_ascii_uppercase().contains(word));
            if is_secret {
                *value = MASKED.into();
                self.add("entries of ConfigMaps", 1);
            }
        }
    }
}

fn is_setting(name: &str) -> bool {
    SETTINGS.iter().any(|setting| name.starts_with(setting)) && !SECRET_WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Mask;

    #[test]
    fn an_account_is_the_same_other_number_everywhere_once_it_is_known() {
        let mut mask = Mask::new().unwrap();
        let text = mask.text(
            "arn:aws:iam::210987654321:role/x 210987654321 123456789012 602401143452.dkr.ecr.us-west-2.amazonaws.com/a",
        );
        assert_eq!(
            text,
            "arn:aws:iam::000000000001:role/x 000000000001 123456789012 000000000002.dkr.ecr.us-west-2.amazonaws.com/a"
        );
        assert_eq!(mask.text("{\"OwnerId\": \"210987654321\"}"), "{\"OwnerId\": \"000000000001\"}");
        assert_eq!(mask.counts().get("account ids"), Some(&4));
    }

    #[test]
    fn secrets_go_and_what_findings_need_stays() {
        let mut mask = Mask::new().unwrap();
        let mut pod = json!({
            "metadata": {
                "name": "web-1",
                "annotations": {"vault.example.com/config": "s3cret", "k8s.amazonaws.com/eniConfig": "a"},
                "managedFields": [{"manager": "x"}]
            },
            "spec": {
                "nodeName": "ip-10-0-0-1",
                "containers": [{
                    "args": ["--password=hunter22"],
                    "env": [
                        {"name": "DATABASE", "value": "postgres://u:hunter22@db"},
                        {"name": "WARM_ENI_TARGET", "value": "1"},
                        {"name": "AWS_VPC_TOKEN", "value": "hunter22"}
                    ]
                }]
            },
            "status": {"message": "Bearer abcdefghijkl AKIAABCDEFGHIJKLMNOP eyJhbGciOiJ.eyJzdWIiOiI.c2ln"}
        });
        let text = mask.document(&mut pod).unwrap();
        for secret in ["hunter22", "s3cret", "abcdefghijkl", "AKIAABCD", "eyJ"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        for needed in ["web-1", "ip-10-0-0-1", "\"1\"", "\"a\""] {
            assert!(text.contains(needed), "{needed}: {text}");
        }
        assert_eq!(mask.counts().get("variables of containers"), Some(&2));
    }

    #[test]
    fn a_log_keeps_its_lines() {
        let mut mask = Mask::new().unwrap();
        let log = "a\npassword=hunter22 x\n-----BEGIN RSA PRIVATE KEY-----\nabc\n";
        assert_eq!(mask.text(log), "a\nmasked x\nmasked");
    }
}
