//! Every input that was found worth keeping, and every one that once broke something, is read again. Evidence begins from the dumps
//! of its own tests, which are not kept twice.

use std::fs;
use std::path::{Path, PathBuf};

use fuzz::TARGETS;

/// What evidence of any kind begins from; `cargo fuzz run evidence` is given this directory too.
const DUMPS: &str = "../crates/evidence/tests/dumps";

#[test]
fn every_input_of_every_corpus_is_read() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, target) in TARGETS {
        let own = Some(here.join("corpus").join(name)).filter(|corpus| corpus.exists());
        let dumps = (name == "evidence").then(|| here.join(DUMPS));
        let inputs: Vec<PathBuf> = own.iter().chain(&dumps).flat_map(|directory| files_below(directory)).collect();
        assert!(!inputs.is_empty(), "the target {name} has no input");
        for path in inputs {
            let bytes = fs::read(&path).unwrap();
            let read = std::panic::catch_unwind(|| target(&bytes));
            assert!(read.is_ok(), "{} breaks the target {name}", path.display());
        }
    }
}

/// All files below a directory.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = open.pop() {
        let listed = fs::read_dir(&directory).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let entries = listed.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for path in entries.iter().map(fs::DirEntry::path) {
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

#[test]
fn every_corpus_has_a_target() {
    let corpora = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap();
    for corpus in corpora {
        let name = corpus.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "no target reads corpus/{name}");
    }
}
