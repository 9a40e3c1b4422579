//! What the environment becomes, and what is said when it cannot be used.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;

use freeboard_settings::{
    Bind, Environment, LogDestination, Policy, RandomizeSnat, RangePreference, Settings, knobs, markdown, unknown_keys,
};

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn problem(pairs: &[(&str, &str)]) -> String {
    Settings::parse(&environment(pairs)).unwrap_err().to_string()
}

#[test]
fn an_empty_environment_gives_the_documented_defaults() {
    let (settings, notices) = Settings::parse(&Environment::new()).unwrap();
    assert_eq!(notices, []);
    assert_eq!(settings.warm_eni_target, None);
    assert_eq!(settings.policy(), Policy::Lean);
    assert_eq!(settings.warm_ip_target, None);
    assert_eq!(settings.cooldown_seconds, 30);
    assert_eq!(settings.connmark, 0x80);
    assert_eq!(settings.randomize_snat, RandomizeSnat::Prng);
    assert_eq!(settings.range_preference, RangePreference::MostFree);
    assert_eq!(settings.metrics_bind_address, Bind::Tcp("0.0.0.0:61678".parse().unwrap()));
    assert_eq!(settings.effective_pod_mtu(), 9001);
    assert!(settings.values().iter().all(|value| !value.changed));
}

#[test]
fn values_are_read_as_the_incumbent_reads_them() {
    let (settings, _) = Settings::parse(&environment(&[
        ("WARM_IP_TARGET", "5"),
        ("MINIMUM_IP_TARGET", "0"),
        ("ENABLE_PREFIX_DELEGATION", "T"),
        ("AWS_VPC_K8S_CNI_CONNMARK", "256"),
        ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "192.168.7.1/16, 10.9.0.0/16,"),
        ("INTROSPECTION_BIND_ADDRESS", "unix:/run/introspection.sock"),
        ("AWS_VPC_K8S_CNI_LOG_FILE", "stdout"),
        ("ADDITIONAL_ENI_TAGS", r#"{"team":"net"}"#),
        ("POD_MTU", "1500"),
        ("CLUSTER_NAME", ""),
        ("FREEBOARD_METRICS_BIND_ADDRESS", ":9000"),
    ]))
    .unwrap();
    assert_eq!(settings.warm_ip_target, Some(5));
    assert_eq!(settings.minimum_ip_target, None);
    assert!(settings.prefix_delegation);
    assert_eq!(settings.connmark, 256);
    let excluded: Vec<String> = settings.exclude_snat_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(excluded, ["10.9.0.0/16", "192.168.0.0/16"]);
    assert_eq!(settings.introspection_bind_address, Bind::Unix("/run/introspection.sock".into()));
    assert_eq!(settings.log_file, LogDestination::Stdout);
    assert_eq!(settings.additional_eni_tags["team"], "net");
    assert_eq!(settings.effective_pod_mtu(), 1500);
    assert_eq!(settings.cluster_name, None);
    assert_eq!(settings.metrics_bind_address, Bind::Tcp("0.0.0.0:9000".parse().unwrap()));
    let changed: Vec<_> = settings.values().into_iter().filter(|value| value.changed).collect();
    assert_eq!(changed.len(), 9, "{changed:?}");
}

#[test]
fn a_wrong_value_is_named_with_what_was_expected() {
    for (variable, value, expected) in [
        ("WARM_ENI_TARGET", "two", "a whole number from 0 to 128"),
        ("WARM_IP_TARGET", "-1", "a whole number from 1 to 4096, or 0 for not set"),
        ("WARM_IP_TARGET", "+5", "a whole number from 1 to 4096, or 0 for not set"),
        ("MINIMUM_IP_TARGET", "99999999999999", "a whole number from 1 to 16384"),
        ("IP_COOLDOWN_PERIOD", "3.5", "a whole number from 0 to 3600"),
        ("ENABLE_PREFIX_DELEGATION", "yes", "true or false"),
        ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "md5", "one of prng, hashrandom, none"),
        ("AWS_VPC_ENI_MTU", "9002", "a whole number from 576 to 9001"),
        ("POD_MTU", "100", "a whole number from 576 to 9001"),
        ("AWS_VPC_K8S_CNI_VETHPREFIX", "eth", "1 to 4 letters or digits"),
        ("AWS_VPC_K8S_CNI_VETHPREFIX", "longer", "1 to 4 letters or digits"),
        ("AWS_VPC_K8S_CNI_CONNMARK", "0x0", "a packet mark"),
        ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "10.0.0.0/33", "IPv4 blocks"),
        ("ADDITIONAL_ENI_TAGS", "{team:net}", "a JSON object"),
        ("AWS_VPC_K8S_CNI_LOGLEVEL", "LOUD", "one of DEBUG, INFO"),
        ("AWS_VPC_K8S_PLUGIN_LOG_FILE", "stdout", "an absolute path, stderr"),
        ("AWS_VPC_K8S_CNI_BACKING_STORE", "ipam.json", "an absolute path"),
        ("INTROSPECTION_BIND_ADDRESS", "localhost", "address and port"),
        ("FREEBOARD_RANGE_PREFERENCE", "biggest", "one of secondary-first, primary-first, most-free"),
        ("FREEBOARD_ADD_WAIT_SECONDS", "600", "a whole number from 0 to 110"),
        ("AWS_ENDPOINT_URL_EC2", "ec2.example", "a URL"),
        ("ENABLE_IPv6", "true", "false: IPv6 pods are not supported"),
        ("CLUSTER_ENDPOINT", "10.0.0.1:6443", "a URL"),
        ("FREEBOARD_FULL_NODE_TAINT", "maybe", "one of prefer, forbid, off"),
    ] {
        let message = problem(&[(variable, value)]);
        let sentence = format!("1 setting cannot be used: {variable}={value:?}: expected {expected}");
        assert!(message.starts_with(&sentence), "{message}\nis not\n{sentence}");
    }
}

#[test]
fn all_wrong_values_are_named_at_once() {
    let message = problem(&[("WARM_ENI_TARGET", "x"), ("MAX_ENI", "many"), ("ENABLE_IPv4", "maybe")]);
    assert!(message.starts_with("3 settings cannot be used: "), "{message}");
    for part in ["WARM_ENI_TARGET=\"x\"", "MAX_ENI=\"many\"", "ENABLE_IPv4=\"maybe\""] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_key_of_the_config_map_that_nobody_knows_is_named_and_those_of_others_are_let_through() {
    let keys = [
        "WARM_IP_TARGET",
        "ENABLE_IPv4",
        "ENABLE_POD_ENI",
        "AWS_REGION",
        "AWS_ROLE_ARN",
        "HTTPS_PROXY",
        "no_proxy",
        "SSL_CERT_FILE",
        "enable-windows-ipam",
    ];
    assert_eq!(unknown_keys(keys.into_iter()).collect::<Vec<_>>(), []);
    let wrong: Vec<String> = unknown_keys(["WARM_IP_TARGETS", "AWS_VPC_K8S_CNI_CONMARK", "LOG"].into_iter())
        .map(|key| key.to_string())
        .collect();
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    assert_eq!(
        wrong.first().map(String::as_str),
        Some("WARM_IP_TARGETS: expected the name of a setting, as freeboard-agent --print-settings lists them")
    );
}

#[test]
fn prefix_delegation_without_any_target_is_refused() {
    let message = problem(&[("ENABLE_PREFIX_DELEGATION", "true"), ("WARM_PREFIX_TARGET", "0")]);
    assert!(message.contains("WARM_PREFIX_TARGET=\"0\": expected at least 1"), "{message}");
    let with_target = [("ENABLE_PREFIX_DELEGATION", "true"), ("WARM_PREFIX_TARGET", "0"), ("WARM_IP_TARGET", "2")];
    assert!(Settings::parse(&environment(&with_target)).is_ok());
}

#[test]
fn a_variable_that_does_nothing_gets_one_line_and_an_unknown_one_too() {
    let given = environment(&[
        ("ENABLE_POD_ENI", "true"),
        ("ENABLE_BANDWIDTH_PLUGIN", "false"),
        ("FREEBOARD_SOKET", "/x"),
        ("FREEBOARD_DASHBOARD_SERVICE_HOST", "10.100.0.1"),
    ]);
    let (_, notices) = Settings::parse(&given).unwrap();
    let texts: Vec<&str> = notices.iter().map(|notice| notice.0.as_str()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].starts_with("ENABLE_POD_ENI=\"true\" is accepted and does nothing here"));
    assert!(texts[1].starts_with("FREEBOARD_SOKET is not a setting"));
}

#[test]
fn every_shown_value_is_read_back_as_the_same_value() {
    let (settings, _) = Settings::parse(&environment(&[
        ("WARM_IP_TARGET", "7"),
        ("AWS_EXTERNAL_SERVICE_CIDRS", "10.1.0.0/16"),
        ("ADDITIONAL_ENI_TAGS", r#"{"a":"b\"c"}"#),
        ("AWS_VPC_K8S_CNI_CONNMARK", "0x100"),
    ]))
    .unwrap();
    let shown = settings.values().into_iter().map(|value| (value.variable.to_owned(), value.value)).collect();
    assert_eq!(Settings::parse(&shown).unwrap().0, settings);
}

#[test]
fn each_variable_is_declared_once_and_is_in_the_reference() {
    let names: Vec<&str> = knobs().iter().map(|knob| knob.variable).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), distinct.len());
    let page = markdown();
    assert!(names.iter().all(|name| page.contains(&format!("| `{name}` |"))));
}

#[test]
fn the_policy_is_lean_until_a_target_is_set_or_the_choice_is_made() {
    for (pairs, policy) in [
        (&[][..], Policy::Lean),
        (&[("WARM_IP_TARGET", "0")], Policy::Lean),
        (&[("MAX_ENI", "2")], Policy::Lean),
        (&[("WARM_ENI_TARGET", "0")], Policy::Compatible),
        (&[("WARM_IP_TARGET", "2")], Policy::Compatible),
        (&[("MINIMUM_IP_TARGET", "2")], Policy::Compatible),
        (&[("WARM_PREFIX_TARGET", "0")], Policy::Compatible),
        (&[("FREEBOARD_POLICY", "Compatible")], Policy::Compatible),
        (&[("FREEBOARD_POLICY", "lean"), ("WARM_ENI_TARGET", "1")], Policy::Lean),
    ] {
        let (settings, _) = Settings::parse(&environment(pairs)).unwrap();
        assert_eq!(settings.policy(), policy, "{pairs:?}");
        assert_eq!(settings.effective_warm_prefix_target(), settings.warm_prefix_target.unwrap_or(1));
    }
    assert!(problem(&[("FREEBOARD_POLICY", "greedy")]).contains("expected one of lean, compatible"));
}

/// The manifests of the Amazon VPC CNI set targets: who chooses lean beside them means it.
#[test]
fn lean_wins_over_targets_and_says_which_do_nothing() {
    let given = environment(&[
        ("FREEBOARD_POLICY", "lean"),
        ("WARM_ENI_TARGET", "1"),
        ("WARM_PREFIX_TARGET", "0"),
        ("ENABLE_PREFIX_DELEGATION", "true"),
    ]);
    let (_, notices) = Settings::parse(&given).unwrap();
    let texts: Vec<&str> = notices.iter().map(|notice| notice.0.as_str()).collect();
    assert_eq!(
        texts,
        [
            "WARM_ENI_TARGET=\"1\" does nothing: FREEBOARD_POLICY=lean wins over targets",
            "WARM_PREFIX_TARGET=\"0\" does nothing: FREEBOARD_POLICY=lean wins over targets",
        ]
    );
}
