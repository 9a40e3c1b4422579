//! `freeboard simulate`: runs of the simulator, and their replay.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use freeboard_simulator::{Animal, Failure, FaultSettings, Replay, Run, Scenario, Summary, ZOO};
use indicatif::{ProgressBar, ProgressStyle};

/// The scenarios that come with the program.
const SHIPPED: [(&str, &str); 4] = [
    ("mixed", include_str!("../../../scenarios/mixed.yaml")),
    ("bursts", include_str!("../../../scenarios/bursts.yaml")),
    ("prefixes", include_str!("../../../scenarios/prefixes.yaml")),
    ("churn-at-the-limit", include_str!("../../../scenarios/churn-at-the-limit.yaml")),
];

/// An animal of the zoo that no check finds in so many seeds has escaped.
const ZOO_SEEDS: u64 = 200;

/// What to simulate.
#[derive(Debug, Args)]
pub(crate) struct SimulateArguments {
    /// A scenario file, or one that comes with the program: mixed, bursts, prefixes, churn-at-the-limit
    #[arg(long, default_value = "mixed")]
    scenario: String,
    /// The (first) seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds to run, one after the other
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Inject every class of fault so often per hour, each seed with some classes left out (instead of the scenario's own faults)
    #[arg(long, value_name = "RATE")]
    faults_per_hour: Option<f64>,
    /// Where the replay of the first seed that fails is written
    #[arg(long, value_name = "FILE", default_value = "freeboard-replay.json")]
    keep: PathBuf,
    /// Make the run of this replay file again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "seed", "seeds", "faults_per_hour"])]
    replay: Option<PathBuf>,
    /// Hunt the wrong behaviours of the zoo, or one of them by name
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "",
        conflicts_with_all = ["scenario", "seed", "seeds", "faults_per_hour", "replay", "until"])]
    zoo: Option<String>,
    /// Show the state at this step, and what the step changed
    #[arg(long, value_name = "STEP")]
    until: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &SimulateArguments) -> Result<()> {
    if let Some(name) = &arguments.zoo {
        return zoo(name, arguments.json);
    }
    let replay = match &arguments.replay {
        Some(file) => Replay::parse(&read(file)?).with_context(|| file.display().to_string())?,
        None => Replay::new(scenario(arguments)?, arguments.seed),
    };
    match arguments.until {
        Some(step) => show(&replay, step, arguments.json),
        None => run_seeds(&replay, arguments),
    }
}

/// Hunts all animals, or the one of this name, and tells how many seeds each check took.
fn zoo(name: &str, json: bool) -> Result<()> {
    let animals: Vec<&Animal> = if name.is_empty() {
        ZOO.iter().collect()
    } else {
        let names = || ZOO.iter().map(|animal| animal.name).collect::<Vec<_>>().join(", ");
        vec![Animal::named(name).with_context(|| format!("{name:?} is no animal of the zoo ({})", names()))?]
    };
    if !json {
        anstream::println!("{:28} {:22} {:>5}  re-creates", "animal", "found by", "seeds");
    }
    let mut trails = Vec::new();
    for animal in animals {
        for trail in animal.hunt(ZOO_SEEDS)? {
            let seeds = trail.seeds.map_or_else(|| "none".to_owned(), |seeds| seeds.to_string());
            if !json {
                let Animal { name, recreates, reference, .. } = animal;
                anstream::println!("{name:28} {:22} {seeds:>5}  {recreates} ({reference})", trail.check);
            }
            trails.push(trail);
        }
    }
    if json {
        anstream::println!("{}", serde_json::to_string_pretty(&trails)?);
    }
    let escaped = trails.iter().filter(|trail| trail.seeds.is_none()).count();
    if escaped > 0 {
        bail!("{escaped} of {} hunts found nothing in {ZOO_SEEDS} seeds", trails.len());
    }
    Ok(())
}

fn scenario(arguments: &SimulateArguments) -> Result<Scenario> {
    let name = &arguments.scenario;
    let shipped = SHIPPED.iter().find(|(shipped, _)| shipped == name).map(|(_, text)| (*text).to_owned());
    let text = match shipped {
        Some(text) => text,
        None => read(Path::new(name)).with_context(|| {
            let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
            format!("{name:?} is no scenario that comes with the program ({})", names.join(", "))
        })?,
    };
    let mut scenario = Scenario::parse(&text).with_context(|| name.clone())?;
    if let Some(rate) = arguments.faults_per_hour {
        scenario.faults = FaultSettings::all(rate, true);
        scenario.check()?;
    }
    Ok(scenario)
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn show(replay: &Replay, step: u64, json: bool) -> Result<()> {
    let shown = replay.until(step)?;
    if json {
        anstream::println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    anstream::println!("{}\n\nstate", shown.step.line());
    for (name, fact) in &shown.state {
        anstream::println!("  {name}: {fact}");
    }
    anstream::println!("\nchanged by this step");
    for line in &shown.diff {
        anstream::println!("  {line}");
    }
    Ok(())
}

fn run_seeds(first: &Replay, arguments: &SimulateArguments) -> Result<()> {
    let progress = ProgressBar::new(arguments.seeds)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {msg}{eta} left")?);
    let mut failures: Vec<Box<Failure>> = Vec::new();
    let mut last = None;
    for seed in first.seed..first.seed.saturating_add(arguments.seeds) {
        match Run::new(&first.scenario, seed)?.finish() {
            Ok(summary) => last = Some(summary),
            Err(failure) => {
                if failures.is_empty() {
                    let text = Replay::new(first.scenario.clone(), seed).text()?;
                    std::fs::write(&arguments.keep, text)
                        .with_context(|| format!("cannot write {}", arguments.keep.display()))?;
                }
                progress.suspend(|| anstream::eprintln!("{failure}"));
                failures.push(failure);
                progress.set_message(format!("{} failed, ", failures.len()));
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if let Some(failure) = failures.first() {
        bail!(
            "{} of {} seeds broke an invariant; the first one again: freeboard simulate --replay {} --until {}",
            failures.len(),
            arguments.seeds,
            arguments.keep.display(),
            failure.step
        );
    }
    if let Some(summary) = last {
        tell(&summary, arguments)?;
    }
    Ok(())
}

fn tell(summary: &Summary, arguments: &SimulateArguments) -> Result<()> {
    if arguments.json {
        anstream::println!("{}", serde_json::to_string_pretty(summary)?);
        return Ok(());
    }
    let Summary { scenario, seed, steps, simulated_seconds, nodes, time_to_address: time, .. } = summary;
    if arguments.seeds > 1 {
        anstream::println!("{} seeds, every invariant held after every step; the last one:", arguments.seeds);
    }
    anstream::println!("{scenario}, seed {seed}: {nodes} nodes, {simulated_seconds:.0} s simulated in {steps} steps");
    anstream::println!(
        "{} pods got an address; p50 {:.2} s, p90 {:.2} s, p99 {:.2} s, at most {:.2} s; {} wait at the end",
        time.count,
        time.p50,
        time.p90,
        time.p99,
        time.max,
        summary.waiting_at_end
    );
    anstream::println!(
        "at most {} addresses held; idle {:.0} address-seconds",
        summary.most_held,
        summary.idle_address_seconds
    );
    for (action, count) in &summary.calls {
        anstream::println!("{count:>7} {action}");
    }
    for (cause, count) in &summary.refusals {
        anstream::println!("{count:>7} ADDs refused: {cause}");
    }
    Ok(())
}
