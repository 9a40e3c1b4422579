//! `freeboard simulate`: runs of the simulator, and their replay.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table};
use freeboard_simulator::{
    Animal, Comparison, Failure, FaultSettings, Loads, NodeLog, Replay, Run, Scenario, Shown, Summary, Workload, ZOO,
};
use indicatif::{ProgressBar, ProgressStyle};

/// The scenarios that come with the program.
const SHIPPED: [(&str, &str); 8] = [
    ("mixed", include_str!("../../../scenarios/mixed.yaml")),
    ("bursts", include_str!("../../../scenarios/bursts.yaml")),
    ("prefixes", include_str!("../../../scenarios/prefixes.yaml")),
    ("churn-at-the-limit", include_str!("../../../scenarios/churn-at-the-limit.yaml")),
    ("nightly", include_str!("../../../scenarios/nightly.yaml")),
    ("mode-switch", include_str!("../../../scenarios/mode-switch.yaml")),
    ("lean", include_str!("../../../scenarios/lean.yaml")),
    ("node-blocks", include_str!("../../../scenarios/node-blocks.yaml")),
];

/// An animal of the zoo that no check finds in so many seeds has escaped.
const ZOO_SEEDS: u64 = 200;

/// What to simulate.
#[derive(Debug, Args)]
pub(crate) struct SimulateArguments {
    /// A scenario file, or one that comes with the program: mixed (the default), bursts, prefixes, churn-at-the-limit,
    /// nightly, mode-switch, lean, node-blocks
    #[arg(long)]
    scenario: Option<String>,
    /// Let pods come and go as in this CSV file (at_seconds,node,event,pod), instead of the scenario's workloads
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
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
    /// Make the run of this replay file again; or of the log of a node's agent (`FREEBOARD_INPUT_LOG`), whole or --until a step
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "seed", "seeds", "faults_per_hour"])]
    replay: Option<PathBuf>,
    /// Hunt the wrong behaviours of the zoo, or one of them by name
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "",
        conflicts_with_all = ["scenario", "seed", "seeds", "faults_per_hour", "replay", "until"])]
    zoo: Option<String>,
    /// Show the state at this step, and what the step changed
    #[arg(long, value_name = "STEP")]
    until: Option<u64>,
    /// Draw the (last) run into this file, as SVG
    #[arg(long, value_name = "FILE", conflicts_with = "until")]
    plot: Option<PathBuf>,
    /// Run the scenario, or six well-known loads when none is named, under the default targets of the Amazon VPC CNI, under
    /// targets that save addresses, and under the lean policy
    #[arg(long, conflicts_with_all = ["replay", "until", "seeds"])]
    compare_policies: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &SimulateArguments) -> Result<()> {
    if arguments.compare_policies {
        return compare_policies(arguments);
    }
    if let Some(name) = &arguments.zoo {
        return zoo(name, arguments.json);
    }
    let replay = match &arguments.replay {
        Some(file) => {
            let text = read(file)?;
            if NodeLog::is_one(&text) {
                return replay_log(&text, arguments).with_context(|| file.display().to_string());
            }
            Replay::parse(&text).with_context(|| file.display().to_string())?
        }
        None => Replay::new(scenario(arguments)?, arguments.seed),
    };
    match arguments.until {
        Some(step) => show(&replay, step, arguments.json),
        None => run_seeds(&replay, arguments),
    }
}

fn compare_policies(arguments: &SimulateArguments) -> Result<()> {
    let (comparisons, picture) = if arguments.scenario.is_none() && arguments.trace.is_none() {
        let loads = Loads::run(arguments.seed)?;
        let picture = loads.plot()?;
        (loads.comparisons, picture)
    } else {
        let comparison = Comparison::of(&scenario(arguments)?, arguments.seed)?;
        let picture = comparison.plot()?;
        (vec![comparison], picture)
    };
    if let Some(file) = &arguments.plot {
        write(file, &picture)?;
    }
    if arguments.json {
        anstream::println!("{}", serde_json::to_string_pretty(&comparisons)?);
    } else {
        anstream::println!("{}", comparison_table(&comparisons));
    }
    Ok(())
}

fn comparison_table(comparisons: &[Comparison]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING.header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["policy", "held", "idle", "pods", "p50", "p99", "EC2 calls", "changing"]);
    for comparison in comparisons {
        table.add_row([comparison.scenario.as_str()]);
        for standing in comparison.standings() {
            let time = standing.time_to_address;
            table.add_row([
                format!("  {}", standing.policy),
                format!("{:.1}", standing.held),
                format!("{:.1}", standing.idle),
                time.count.to_string(),
                format!("{:.2} s", time.p50),
                format!("{:.2} s", time.p99),
                standing.calls.to_string(),
                standing.changing_calls.to_string(),
            ]);
        }
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if column.index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
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
    let name = arguments.scenario.as_deref().unwrap_or("mixed");
    let shipped = SHIPPED.iter().find(|(shipped, _)| *shipped == name).map(|(_, text)| (*text).to_owned());
    let text = match shipped {
        Some(text) => text,
        None => read(Path::new(name)).with_context(|| {
            let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
            format!("{name:?} is no scenario that comes with the program ({})", names.join(", "))
        })?,
    };
    let mut scenario = Scenario::parse(&text).with_context(|| name.to_owned())?;
    if let Some(file) = &arguments.trace {
        scenario.workloads = vec![Workload::Trace { csv: read(file)? }];
        scenario.check().with_context(|| file.display().to_string())?;
    }
    if let Some(rate) = arguments.faults_per_hour {
        scenario.faults = FaultSettings::all(rate, true);
        scenario.check()?;
    }
    Ok(scenario)
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// What a node's agent told its pool, told to the engine again, up to a step or whole.
fn replay_log(text: &str, arguments: &SimulateArguments) -> Result<()> {
    let log = NodeLog::parse(text)?;
    let shown = log.until(arguments.until)?;
    print(&shown, arguments.json)?;
    if let Some(violation) = &shown.step.violation {
        bail!("step {} broke an invariant: {}", shown.step.number, violation.what);
    }
    Ok(())
}

fn show(replay: &Replay, step: u64, json: bool) -> Result<()> {
    print(&replay.until(step)?, json)
}

fn print(shown: &Shown, json: bool) -> Result<()> {
    if json {
        anstream::println!("{}", serde_json::to_string_pretty(shown)?);
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
                    write(&arguments.keep, &text)?;
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
        if let Some(file) = &arguments.plot {
            write(file, &summary.plot()?)?;
        }
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
