//! Cause × finding: each dump leads to the right finding first, to no wrong one, and healthy dumps to none.

use std::io::empty;
use std::path::{Path, PathBuf};

use freeboard_diagnosis::{Diagnosis, Kind, Place, Severity, diagnose};
use freeboard_evidence::{Evidence, Progress, gather};

/// Each broken dump, with the findings that it must lead to: exactly these, the first one first.
const BROKEN: [(&str, &[&str]); 51] = [
    ("agent-unreachable", &["AgentUnreachable"]),
    ("api-server-unreachable", &["ApiServerUnreachable"]),
    ("attachment-limit", &["AttachmentLimitMismatch", "AttachFailed"]),
    ("aws-rows", &["SubnetExhausted"]),
    ("aws-tables", &["SubnetExhausted"]),
    ("broken-json", &["SubnetExhausted"]),
    ("calico", &["CalicoPoolExhausted"]),
    ("checkpoint-failed", &["CheckpointFailed"]),
    ("checkpoint-unreadable", &["CheckpointUnreadable"]),
    ("cilium", &["CiliumPoolExhausted"]),
    ("cloudtrail", &["SubnetExhausted"]),
    ("cooling-down", &["CoolingDown"]),
    ("duplicate-address", &["DuplicateAddress"]),
    ("duplicate-block", &["DuplicatePodBlock"]),
    ("eks-seed", &["SubnetExhausted"]),
    ("eni-config-missing", &["EniConfigMissing"]),
    ("eni-config-missing-computed", &["EniConfigMissing"]),
    ("eni-config-wrong-zone", &["EniConfigWrongZone"]),
    ("forced-removal", &["ForcedRemoval"]),
    ("fragmented", &["SubnetFragmented"]),
    ("fragmented-is-exhausted", &["SubnetExhausted"]),
    ("freeboard-refusal", &["SubnetExhausted"]),
    ("gke-audit-pod-range", &["PodRangeExhausted"]),
    ("gke-audit-range-unseen", &["PodRangeExhausted"]),
    ("gke-node-range", &["NodeRangeExhausted"]),
    ("gke-pool-exceeds-range", &["PoolExceedsRange"]),
    ("gke-range-unknown", &["IpSpaceExhausted"]),
    ("gke-seed", &["PodRangeExhausted"]),
    ("gke-visibility", &["PodRangeExhausted"]),
    ("host-local", &["PluginRangeExhausted"]),
    ("interface-limit", &["InterfaceLimit"]),
    ("leaked-interface", &["LeakedInterface"]),
    ("live-allocation-discarded", &["LiveAllocationDiscarded"]),
    ("metadata-lag", &["MetadataLag"]),
    ("metrics-cluster-range", &["NodeBlockUnavailable"]),
    ("metrics-errors", &["SubnetExhausted", "ForcedRemoval"]),
    ("minimum-without-warm", &["MinimumWithoutWarm"]),
    ("more-pods-than-addresses", &["MorePodsThanAddresses"]),
    ("nearly-full", &["SubnetNearlyFull"]),
    ("network-not-ready", &["NotReady"]),
    ("network-policy-agent", &["NetworkPolicyAgentDown"]),
    ("no-address-no-reason", &["AddressNotAssigned"]),
    ("no-subnet-allowed", &["NoSubnetAllowed"]),
    ("node-block-unavailable", &["NodeBlockUnavailable"]),
    ("not-authorized", &["NotAuthorized"]),
    ("old-dialect", &["SubnetExhausted"]),
    ("pod-network-setup", &["PodNetworkSetupFailed"]),
    ("scale-up-stockout", &["ScaleUpOtherCause"]),
    ("throttled", &["Throttled"]),
    ("transcript", &["PodRangeExhausted"]),
    ("vpc-block-failed", &["VpcBlockNotAssociated"]),
];

struct Silent;

impl Progress for Silent {
    fn found(&mut self, _: usize, _: u64) {}
    fn begin(&mut self, _: &str) {}
    fn advance(&mut self, _: u64) {}
}

fn dumps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dumps")
}

fn doctor(dump: &str) -> (Evidence, Diagnosis) {
    let evidence = gather(&[dumps().join(dump)], &mut empty(), &mut Silent).expect("the dumps are readable");
    let diagnosis = diagnose(&evidence.facts);
    (evidence, diagnosis)
}

/// The ids of findings, each once, without advice.
fn ids(diagnosis: &Diagnosis) -> Vec<&'static str> {
    let mut ids: Vec<&str> = Vec::new();
    for finding in diagnosis.findings.iter().filter(|finding| finding.severity != Severity::Advice) {
        if !ids.contains(&finding.declaration.id) {
            ids.push(finding.declaration.id);
        }
    }
    ids
}

fn names_below(directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dumps().join(directory)).expect("the dumps are there");
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[test]
fn each_broken_dump_leads_to_the_right_finding_first_and_to_no_wrong_one() {
    let mut wrong = Vec::new();
    for (dump, expected) in BROKEN {
        let (evidence, diagnosis) = doctor(&format!("broken/{dump}"));
        let found = ids(&diagnosis);
        if found != expected {
            wrong.push(format!("{dump}: expected {expected:?}, found {found:?}"));
        }
        if evidence.not_understood_count > 0 {
            wrong.push(format!("{dump}: not understood {:?}", evidence.not_understood));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: Vec<&str> = BROKEN.iter().map(|(dump, _)| *dump).collect();
    assert_eq!(names_below("broken"), listed, "every dump must be in the matrix");
}

#[test]
fn healthy_dumps_lead_to_no_finding_and_are_understood() {
    let mut wrong = Vec::new();
    for dump in names_below("healthy") {
        let (evidence, diagnosis) = doctor(&format!("healthy/{dump}"));
        if !ids(&diagnosis).is_empty() || evidence.not_understood_count > 0 || evidence.kinds.is_empty() {
            wrong.push(format!("{dump}: {:?}, {:?}", ids(&diagnosis), evidence.not_understood));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(names_below("healthy").len() >= 10);
}

#[test]
fn the_eks_story_is_told_with_its_figures() {
    let (_, diagnosis) = doctor("broken/eks-seed");
    let of = |name: &str| {
        let is_it = |place: &Place| matches!(place, Place::Subnet { name: Some(known), .. } if known == name);
        diagnosis.findings.iter().find(|finding| is_it(&finding.place)).unwrap()
    };
    let first = of("PublicSubnet01");
    assert_eq!(first.severity, Severity::Broken);
    assert!(first.figures.iter().any(|figure| figure.to_string() == "0 of 27 addresses free"), "{:?}", first.figures);
    assert!(
        first.notes.iter().any(|note| note.contains("10.0.0.0/16 of the VPC is 0.20 % assigned")),
        "{:?}",
        first.notes
    );
    assert!(
        first.notes.iter().any(|note| note.contains("PrivateSubnet01") && note.contains("26 addresses free")),
        "{:?}",
        first.notes
    );
    assert_eq!(first.waiting_pods.len(), 1, "{:?}", first.waiting_pods);
    assert!(first.sources >= 4, "{}", first.sources);
    assert!(
        first
            .remedies
            .iter()
            .any(|remedy| remedy.commands.iter().any(|command| command.contains("subnet-0bae4d2bf017995b8")))
    );
    let out: Vec<&str> = first.ruled_out.iter().filter_map(|reason| reason.split(" (").next()).collect();
    assert_eq!(out, ["fragmentation", "interface limits", "throttling", "permissions", "cool-down"]);
    // The other subnet's pod waits on the node whose address lies in it.
    let second = of("PublicSubnet02");
    assert!(
        second.waiting_pods.iter().any(|pod| pod.name == "alpine-curl-648f8f669c-zz9xk"),
        "{:?}",
        second.waiting_pods
    );
    assert!(first.contradictions.is_empty() && second.contradictions.is_empty());
}

#[test]
fn the_gke_story_blames_the_pod_range_and_counts_its_blocks() {
    let (_, diagnosis) = doctor("broken/gke-seed");
    let finding = &diagnosis.findings[0];
    assert_eq!(finding.place.to_string(), "range pod-range 10.0.0.0/26");
    assert!(
        finding.figures.iter().any(|figure| figure.to_string() == "2 of 2 blocks given to nodes"),
        "{:?}",
        finding.figures
    );
    assert!(
        finding.ruled_out.iter().any(|reason| reason.starts_with("node range (2 of 65,532")),
        "{:?}",
        finding.ruled_out
    );
    assert_eq!(finding.waiting_pods.len(), 1);
}

#[test]
fn evidence_names_file_line_and_words() {
    let (_, diagnosis) = doctor("broken/old-dialect");
    let citation = diagnosis.findings[0].evidence.iter().find(|one| one.excerpt.contains("InsufficientFree")).unwrap();
    assert!(citation.file.ends_with("old-dialect/ipamd.log"));
    assert_eq!(citation.line, Some(4));
}

#[test]
fn entries_of_cloud_logs_are_documents_and_no_logs() {
    for dump in ["broken/gke-visibility", "broken/gke-audit-range-unseen", "broken/scale-up-stockout"] {
        let (evidence, _) = doctor(dump);
        assert!(evidence.kinds.contains_key(&Kind::GoogleLog), "{dump}: {:?}", evidence.kinds);
        assert!(!evidence.kinds.contains_key(&Kind::OtherLog), "{dump}: {:?}", evidence.kinds);
    }
}

#[test]
fn json_that_breaks_off_is_read_as_far_as_it_goes_and_the_line_is_named() {
    let (evidence, _) = doctor("broken/broken-json");
    let places: Vec<_> = evidence
        .problems
        .iter()
        .map(|problem| (problem.line.is_some(), problem.what.contains("breaks at line")))
        .collect();
    assert_eq!(places, [(true, true), (true, true)]);
}

#[test]
fn sources_that_say_different_things_are_both_named() {
    let both = [dumps().join("broken/eks-seed/ip-10-0-208-27/ipamd.log"), dumps().join("healthy/agent/subnets.json")];
    let evidence = gather(&both, &mut empty(), &mut Silent).unwrap();
    let diagnosis = diagnose(&evidence.facts);
    let finding = &diagnosis.findings[0];
    assert_eq!(finding.declaration.id, "SubnetExhausted");
    assert!(finding.contradictions[0].contains("14 of 27 addresses are free"), "{:?}", finding.contradictions);
}
