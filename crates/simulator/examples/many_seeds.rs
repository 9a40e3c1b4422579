//! Many seeds of every scenario with every class of fault, on all processors: `many_seeds SEEDS [FIRST]`. It tells how far it is every
//! half minute, and each run that broke an invariant with the command that replays it.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program for a person, and no engine")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use freeboard_simulator::{FaultSettings, Run, Scenario};

/// Each with its rate of faults per hour: what the tests deal their seeds over.
const SCENARIOS: [(&str, f64); 6] = [
    (include_str!("../../../scenarios/mixed.yaml"), 20.0),
    (include_str!("../../../scenarios/bursts.yaml"), 20.0),
    (include_str!("../../../scenarios/prefixes.yaml"), 20.0),
    (include_str!("../../../scenarios/churn-at-the-limit.yaml"), 20.0),
    (include_str!("../../../scenarios/churn-at-the-limit.yaml"), 60.0),
    (include_str!("../../../scenarios/node-blocks.yaml"), 20.0),
];
const TOLD_EVERY: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (Some(Ok(seeds)), Ok(first)) = (numbers.next(), numbers.next().unwrap_or(Ok(0))) else {
        println!("expected how many seeds to run, and the first seed if it is not 0: many_seeds 200000");
        return ExitCode::FAILURE;
    };
    let scenarios: Vec<Scenario> = SCENARIOS
        .iter()
        .filter_map(|(text, rate)| {
            let mut scenario = Scenario::parse(text).ok()?;
            scenario.faults = FaultSettings::all(*rate, true);
            Some(scenario)
        })
        .collect();
    assert_eq!(scenarios.len(), SCENARIOS.len(), "the scenarios that come with the program make sense");
    let (next, failed, steps) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let started = Instant::now();
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(seed) = Some(first + number).filter(|_| number < seeds) else { return };
            // Every scenario has its turn, with seeds of its own.
            let place = usize::try_from(seed).unwrap_or(0) % scenarios.len();
            let Some(Ok(mut run)) = scenarios.get(place).map(|scenario| Run::new(scenario, seed)) else { return };
            while run.step().is_some() {}
            steps.fetch_add(run.steps(), Ordering::Relaxed);
            if let Some(failure) = run.failure() {
                failed.fetch_add(1, Ordering::Relaxed);
                println!("{failure} (faults per hour: {})", SCENARIOS.get(place).map_or(0.0, |(_, rate)| *rate));
            }
        }
    };
    let tell = || {
        let done = next.load(Ordering::Relaxed).min(seeds);
        let (failed, steps) = (failed.load(Ordering::Relaxed), steps.load(Ordering::Relaxed));
        println!("{done} of {seeds} seeds, {failed} failed, {steps} steps, {:.0} s", started.elapsed().as_secs_f64());
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..std::thread::available_parallelism().map_or(1, usize::from)).map(|_| scope.spawn(work)).collect();
        let mut told = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(200));
            if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                tell();
            }
        }
    });
    tell();
    if failed.load(Ordering::Relaxed) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
