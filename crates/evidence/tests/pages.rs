//! The pages of the findings under docs/findings are what the declarations say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use freeboard_diagnosis::{catalogue, reference};

#[test]
fn pages_are_as_declared() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/findings");
    let mut pages: BTreeMap<String, String> =
        catalogue::all().map(|one| (format!("{}.md", one.id), reference::page(one))).collect();
    pages.insert("README.md".to_owned(), reference::index());
    if std::env::var_os("FREEBOARD_WRITE_DOCS").is_some() {
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in &pages {
            fs::write(directory.join(name), text).unwrap();
        }
    }
    for (name, text) in &pages {
        let written = fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert!(written == *text, "docs/findings/{name} is not as declared: run this test with FREEBOARD_WRITE_DOCS=1");
    }
    let present = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = present.filter(|name| !pages.contains_key(name)).collect();
    assert!(left.is_empty(), "pages of findings that are declared no more: {left:?}");
}
