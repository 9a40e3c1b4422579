//! Reads what it is given and tells how fast, and with how much memory: `cargo run --release --example speed -- FILE…`.
#![expect(clippy::print_stdout, reason = "an example talks to the person who started it")]

use std::path::PathBuf;
use std::time::Instant;

use freeboard_diagnosis::diagnose;
use freeboard_evidence::{GatherError, Progress, gather};

struct Silent;

impl Progress for Silent {
    fn found(&mut self, _: usize, _: u64) {}
    fn begin(&mut self, _: &str) {}
    fn advance(&mut self, _: u64) {}
}

fn main() -> Result<(), GatherError> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let started = Instant::now();
    let evidence = gather(&paths, &mut std::io::stdin(), &mut Silent)?;
    let read = started.elapsed().as_secs_f64();
    let found = diagnose(&evidence.facts).findings.len();
    let took = started.elapsed().as_secs_f64();
    let megabytes = evidence.bytes / 1_000_000;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!("{megabytes} MB in {read:.2} s, {found} findings after {took:.2} s; {peak}");
    Ok(())
}
