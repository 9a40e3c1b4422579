//! Every input that was found worth keeping, and every one that once broke something, is read again.

use std::fs;
use std::path::Path;

use fuzz::TARGETS;

#[test]
fn every_input_of_every_corpus_is_read() {
    for (name, target) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let entries = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{} is empty", corpus.display());
        for path in paths {
            let bytes = fs::read(&path).unwrap();
            let read = std::panic::catch_unwind(|| target(&bytes));
            assert!(read.is_ok(), "{} breaks the target {name}", path.display());
        }
    }
}

#[test]
fn every_corpus_has_a_target() {
    let corpora = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap();
    for corpus in corpora {
        let name = corpus.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "no target reads corpus/{name}");
    }
}
