//! The zoo: every animal is found by each of its checks alone, every check finds one, and without an animal the same seeds hold.

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a test that cannot go on fails")]

use freeboard_simulator::{Check, Run, ZOO, zoo_page};

/// Seeds after which an animal counts as escaped.
const SEEDS: u64 = 200;

#[test]
#[expect(clippy::print_stdout, reason = "the table of what it took, with --nocapture")]
fn every_animal_is_found_by_each_of_its_checks_and_nothing_is_found_without_it() {
    let mut escaped = Vec::new();
    for animal in ZOO {
        let trails = animal.hunt(SEEDS).unwrap();
        for trail in &trails {
            match trail.seeds {
                Some(seeds) => println!("{:28} {:22} {seeds:3} {}", trail.animal, trail.check, trail.said),
                None => escaped.push(format!("{} escapes {}", animal.name, trail.check)),
            }
        }
        let scenario = animal.scenario().unwrap();
        for seed in 0..trails.iter().filter_map(|trail| trail.seeds).max().unwrap_or(0) {
            if let Err(failure) = Run::new(&scenario, seed).unwrap().quiet().finish() {
                escaped.push(format!("{} is not to blame: {failure}", animal.name));
            }
        }
    }
    assert!(escaped.is_empty(), "{}", escaped.join("\n"));
}

#[test]
fn every_check_finds_an_animal() {
    let idle: Vec<_> =
        Check::ALL.iter().filter(|check| !ZOO.iter().any(|animal| animal.found_by.contains(check))).collect();
    assert!(idle.is_empty(), "{idle:?} catch nothing: write an animal for each, mend it, or remove it");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the page is a file; the engines do no I/O, their tests may")]
fn the_page_tells_what_is_declared() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/zoo.md");
    if std::env::var_os("FREEBOARD_WRITE_PAGES").is_some() {
        std::fs::write(file, zoo_page()).unwrap();
    }
    assert!(
        std::fs::read_to_string(file).unwrap() == zoo_page(),
        "docs/zoo.md is not what the zoo declares; write it anew with FREEBOARD_WRITE_PAGES=1 cargo test -p freeboard-simulator --test zoo"
    );
}
