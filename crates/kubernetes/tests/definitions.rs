//! The files in `deploy/kubernetes/crds` are what the declarations say.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use freeboard_kubernetes::resources::definitions;

/// Set to write the files instead of comparing them.
const WRITE: &str = "FREEBOARD_WRITE_DEFINITIONS";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes/crds")
}

#[test]
fn the_installed_definitions_are_generated_from_the_declarations() {
    let mut expected = Vec::new();
    for definition in definitions() {
        let name = format!("{}.yaml", definition.metadata.name.clone().unwrap());
        let text = format!(
            "# Generated from crates/kubernetes/src/resources; a test says how.\n{}",
            serde_saphyr::to_string(&definition).unwrap()
        );
        let path = directory().join(&name);
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "{} differs from its declaration; write it with {WRITE}=1 cargo test -p freeboard-kubernetes definitions",
            path.display()
        );
        expected.push(name);
    }
    let mut files: Vec<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    expected.sort();
    assert_eq!(files, expected, "each file has a declaration");
}

#[test]
fn every_field_of_a_definition_has_a_description() {
    for definition in definitions() {
        let text = serde_json::to_value(&definition).unwrap();
        let schema = &text["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        for (name, field) in schema.as_object().unwrap() {
            assert!(field["description"].is_string(), "{name} of {}", text["metadata"]["name"]);
        }
    }
}
