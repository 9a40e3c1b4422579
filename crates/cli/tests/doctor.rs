//! `freeboard doctor` as people and programs meet it: exit codes, width, colour, JSON, the standard input.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn dump(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../evidence/tests/dumps").join(name)
}

fn doctor(arguments: &[&str], input: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freeboard"));
    // No test asks the cluster of whoever runs it.
    command.env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST").env("HOME", "/nonexistent");
    command.arg("doctor").args(arguments).current_dir(dump("."));
    let stdin = input.map_or_else(Stdio::null, |path| fs::File::open(path).expect("the dump is there").into());
    command.stdin(stdin).output().expect("the program starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_exit_code_says_whether_something_was_found() {
    let code = |arguments: &[&str]| doctor(arguments, None).status.code();
    assert_eq!(code(&["healthy/agent"]), Some(0));
    assert_eq!(code(&["broken/eks-seed"]), Some(1));
    assert_eq!(code(&["broken/not-there"]), Some(2));
    assert_eq!(code(&[]), Some(2));
    assert_eq!(code(&["--no-such-option"]), Some(2));
    assert_eq!(code(&["--explain", "NoSuchFinding"]), Some(2));
    assert_eq!(code(&["--explain", "SubnetExhausted"]), Some(0));
}

#[test]
fn the_overview_fits_80_columns_and_has_no_colour_in_a_pipe() {
    let output = doctor(&["broken/eks-seed"], None);
    let text = text(&output);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(text.contains("✗ SubnetExhausted  PublicSubnet01 10.0.208.0/27"), "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("27 of 27 usable addresses are taken, since 2023-11-04T10:03:00Z, 1 pod waiting"), "{text}");
    assert!(text.contains("ruled out: "), "{text}");
    assert!(text.contains("2 findings"), "{text}");
}

#[test]
fn an_explanation_gives_evidence_and_commands_with_the_names_filled_in() {
    let text = text(&doctor(&["broken/eks-seed", "--explain", "subnetexhausted"], None));
    assert!(text.contains("ip-10-0-208-27/ipamd.log:"), "{text}");
    assert!(
        text.contains(
            "aws ec2 create-tags --resources subnet-0bae4d2bf017995b8 --tags Key=kubernetes.io/role/cni,Value=1"
        ),
        "{text}"
    );
    assert!(
        text.contains("aws ec2 associate-vpc-cidr-block --vpc-id vpc-0f3a9ca141c0acd04 --cidr-block 100.64.0.0/16"),
        "{text}"
    );
}

#[test]
fn programs_get_json_and_the_standard_input_is_read() {
    let output = doctor(&["-", "-o", "json"], Some(&dump("broken/not-authorized/ipamd.log.1.gz")));
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["findings"][0]["id"], "NotAuthorized");
    assert_eq!(json["findings"][0]["severity"], "broken");
    assert_eq!(json["read"]["kinds"]["ipamd.log"], 1);
}

#[test]
fn what_was_not_understood_is_listed_on_request() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("noise.bin"), [0_u8, 1, 2, 3].repeat(100)).expect("a file");
    fs::copy(dump("broken/old-dialect/ipamd.log"), directory.path().join("log")).expect("a copy");
    let path = directory.path().to_string_lossy().into_owned();
    let short = text(&doctor(&[&path], None));
    assert!(short.contains("1 file not understood (listed with"), "{short}");
    let long = text(&doctor(&[&path, "-v"], None));
    assert!(long.contains("noise.bin: binary"), "{long}");
}
