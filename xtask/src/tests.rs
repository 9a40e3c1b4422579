//! `cargo xtask test`: what the tests need, then all of them, then the totals.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{command, image, programs, tools};

/// What one run of tests came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Installs the tools, builds the programs, and runs every test of the workspace whose name contains `filter`.
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    let started = Instant::now();
    tools::install(&[])?;
    image::write_all(None)?;
    eprintln!("• run the tests");
    let programs = programs::directory();
    let mut tests = command::cargo();
    tests.args(["test", "--locked", "--workspace", "--no-fail-fast"]);
    tests.args(filter.map(|filter| ["--", filter]).into_iter().flatten());
    tests
        .env("FREEBOARD_TOOLS", tools::bin_directory())
        .env("FREEBOARD_PYTHON", tools::python())
        .env("FREEBOARD_AXE", tools::axe())
        .env("FREEBOARD_PROGRAMS", &programs)
        .env("FREEBOARD_IMAGES", image::directory(&programs))
        .env("FREEBOARD_AGENT", programs.join("freeboard-agent"))
        .env("FREEBOARD_PLUGIN", programs.join("aws-cni"));
    let mut child = tests.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no standard output")?;
    let mut totals = Totals::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what cargo test prints")?;
        println!("{line}");
        totals.add(&line);
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    eprintln!("all tests ended after {}", command::in_words(started.elapsed()));
    println!("{} passed, {} failed, {} skipped", totals.passed, totals.failed, totals.ignored);
    if !status.success() || totals.failed > 0 {
        bail!("cargo test ended with {status}, {} tests failed", totals.failed);
    }
    if totals.ignored > 0 {
        bail!("{} tests were skipped; a test that cannot run must fail and name what is missing", totals.ignored);
    }
    if totals.passed == 0 {
        bail!("no test ran{}", filter.map(|filter| format!(": none has {filter:?} in its name")).unwrap_or_default());
    }
    Ok(())
}

impl Totals {
    /// Counts a closing line of a test executable, `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let figures = result.split_once(". ").map_or("", |(_, figures)| figures);
        for figure in figures.split("; ") {
            match figure.split_once(' ').and_then(|(count, what)| Some((count.parse::<u64>().ok()?, what))) {
                Some((count, "passed")) => self.passed += count,
                Some((count, "failed")) => self.failed += count,
                Some((count, "ignored")) => self.ignored += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod unit {
    use super::Totals;

    #[test]
    fn closing_lines_are_added_up_and_other_lines_are_not() {
        let mut totals = Totals::default();
        totals.add("running 9 tests");
        totals.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s");
        totals.add("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s");
        assert_eq!(totals, Totals { passed: 5, failed: 4, ignored: 1 });
    }
}
