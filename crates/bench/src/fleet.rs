//! The bench of fleets: thousands of engines under the request limits of their accounts, in simulated time.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use freeboard_address::Prefixes;
use freeboard_pool::{Policy, Targets};
use freeboard_simulator::{Fleet, FleetResult, Shape};
use jiff::SignedDuration;
use plotters::prelude::*;
use serde::Serialize;

/// A fleet that starts at once is done within this times what the account's buckets allow.
const PROMISED_OVER_BOUND: f64 = 1.2;
/// The hour of 5,000 nodes is simulated within this.
const PROMISED_HOUR: Duration = Duration::from_secs(120);
/// Nodes of one account in the fleets that run for an hour.
const NODES_PER_ACCOUNT: u32 = 2_500;

/// A fleet that starts at once.
#[derive(Clone, Debug, Serialize)]
pub struct Start {
    /// Nodes.
    pub nodes: u32,
    /// What tells the nodes how to share the account.
    pub kind: Kind,
    /// Seconds until every pod had its address.
    pub done_seconds: Option<f64>,
    /// Seconds that the buckets need for the calls that were made.
    pub bound_seconds: f64,
    /// Everything else.
    pub result: FleetResult,
}

/// The policies and their ways to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// Lean, with a share from a controller.
    Shared,
    /// Lean, each node alone.
    Alone,
    /// `WARM_ENI_TARGET=1`, each node alone, with our budget.
    Incumbent,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Shared => "lean, shares told",
            Self::Alone => "lean, each alone",
            Self::Incumbent => "WARM_ENI_TARGET=1",
        }
    }

    fn policy(self) -> Policy {
        match self {
            Self::Shared | Self::Alone => Policy::Lean,
            Self::Incumbent => {
                Policy::Compatible(Targets { warm_eni: 1, warm_ip: None, minimum_ip: None, warm_prefix: Prefixes(0) })
            }
        }
    }
}

/// One simulated hour of a fleet with churn.
#[derive(Clone, Debug, Serialize)]
pub struct Hour {
    /// Nodes of all accounts.
    pub nodes: u32,
    /// Pods at any time.
    pub pods: u32,
    /// Wall-clock seconds of the simulation.
    pub wall_seconds: f64,
    /// The most memory that the process had, over the nodes: engine, its node's view of the cloud, and queued events.
    pub bytes_per_node: u64,
    /// Everything else.
    pub result: FleetResult,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Fleets that start at once.
    pub starts: Vec<Start>,
    /// Hours, the smaller fleets first, because memory is measured by the most that was ever held.
    pub hours: Vec<Hour>,
}

fn fleet(nodes: u32, policy: Policy) -> Fleet {
    Fleet {
        accounts: 1,
        nodes,
        pods: 20,
        shape: Shape { interfaces: 8, addresses: 30 },
        policy,
        start_within: SignedDuration::ZERO,
        lifetime: None,
        length: SignedDuration::from_hours(2),
        shared: false,
        seed: 1,
    }
}

/// Runs everything; fleets of `hours` nodes for an hour each.
///
/// # Errors
/// When a fleet cannot be made, or the process cannot read its own memory.
pub fn measure(hours: &[u32], tell: impl Fn(&str)) -> Result<Run> {
    let mut run = Run { starts: Vec::new(), hours: Vec::new() };
    for nodes in [1_000, 5_000] {
        for kind in [Kind::Shared, Kind::Alone, Kind::Incumbent] {
            tell(&format!("{nodes} nodes start at once: {}", kind.label()));
            let result = Fleet { shared: kind == Kind::Shared, ..fleet(nodes, kind.policy()) }.run(1)?;
            let done_seconds = result.complete_after_milliseconds.map(|done| done as f64 / 1_000.0);
            run.starts.push(Start { nodes, kind, done_seconds, bound_seconds: result.bound_seconds(), result });
        }
    }
    for nodes in hours {
        tell(&format!("{nodes} nodes for an hour"));
        run.hours.push(hour(*nodes)?);
    }
    Ok(run)
}

fn hour(nodes: u32) -> Result<Hour> {
    let accounts = nodes.div_ceil(NODES_PER_ACCOUNT).max(1);
    let fleet = Fleet {
        accounts: usize::try_from(accounts).unwrap_or(1),
        pods: 30,
        start_within: SignedDuration::from_mins(20),
        lifetime: Some(SignedDuration::from_mins(20)),
        length: SignedDuration::from_hours(1),
        ..fleet(nodes / accounts, Policy::Lean)
    };
    let started = Instant::now();
    let result = fleet.run(2)?;
    let wall_seconds = started.elapsed().as_secs_f64();
    let running = u64::from(nodes.min(2 * NODES_PER_ACCOUNT));
    Ok(Hour { nodes, pods: nodes * 30, wall_seconds, bytes_per_node: most_memory()? / running.max(1), result })
}

/// The most memory that this process ever had, in bytes.
fn most_memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("/proc/self/status has no VmHWM")?;
    let kibibytes = line.trim().trim_end_matches(" kB").parse::<u64>();
    Ok(kibibytes.with_context(|| format!("VmHWM is {line:?}, expected kibibytes"))? * 1_024)
}

impl Run {
    /// What was promised and missed, as sentences.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let slow = self
            .starts
            .iter()
            .filter(|start| start.kind == Kind::Shared)
            .filter(|start| start.done_seconds.is_none_or(|done| done > PROMISED_OVER_BOUND * start.bound_seconds));
        let slow = slow.map(|start| format!("{} nodes were not done within 1.2× of the bound", start.nodes));
        let hours = self.hours.iter().filter(|hour| hour.nodes <= 5_000);
        let hours = hours.filter(|hour| hour.wall_seconds > PROMISED_HOUR.as_secs_f64());
        let hours = hours.map(|hour| format!("the hour of {} nodes took {:.0} s", hour.nodes, hour.wall_seconds));
        slow.chain(hours).collect()
    }

    /// The figures as tables.
    #[must_use]
    pub fn table(&self) -> String {
        let mut starts = Table::new();
        starts.load_style(NOTHING);
        starts.set_header([
            "nodes at once",
            "policy",
            "done",
            "bound",
            "ratio",
            "changes per pod",
            "calls per pod",
            "throttled",
        ]);
        for start in &self.starts {
            let done = start.done_seconds;
            starts.add_row([
                start.nodes.to_string(),
                start.kind.label().to_owned(),
                done.map_or_else(|| "never".to_owned(), |done| format!("{done:.0} s")),
                format!("{:.0} s", start.bound_seconds),
                done.map_or_else(String::new, |done| format!("{:.2}×", done / start.bound_seconds)),
                format!("{:.2}", start.result.changes() as f64 / (f64::from(start.nodes) * 20.0)),
                format!("{:.2}", start.result.all_calls() as f64 / (f64::from(start.nodes) * 20.0)),
                format!("{:.1} %", 100.0 * start.result.throttled() as f64 / start.result.all_calls().max(1) as f64),
            ]);
        }
        let mut hours = Table::new();
        hours.load_style(NOTHING);
        hours.set_header([
            "nodes",
            "pods",
            "wall",
            "events",
            "memory per node",
            "wait p50",
            "wait p99",
            "calls per ADD",
        ]);
        for hour in &self.hours {
            let waits = hour.result.wait_milliseconds;
            hours.add_row([
                hour.nodes.to_string(),
                hour.pods.to_string(),
                format!("{:.1} s", hour.wall_seconds),
                hour.result.events.to_string(),
                format!("{:.1} KiB", hour.bytes_per_node as f64 / 1_024.0),
                format!("{} ms", waits.p50),
                format!("{} ms", waits.p99),
                format!("{:.3}", hour.result.all_calls() as f64 / hour.result.served.max(1) as f64),
            ]);
        }
        let mut text = String::new();
        let _ = write!(text, "{starts}\n\n{hours}");
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    /// Draws how the pods of the largest start came to their addresses.
    ///
    /// # Errors
    /// When it cannot be drawn or written.
    pub fn plot(&self, file: &Path) -> Result<()> {
        let mut text = String::new();
        self.draw(&mut text).context("cannot draw the curve")?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    fn draw(&self, text: &mut String) -> Result<()> {
        let nodes = self.starts.iter().map(|start| start.nodes).max().unwrap_or(0);
        let of_size: Vec<_> = self.starts.iter().filter(|start| start.nodes == nodes).collect();
        let longest = of_size.iter().map(|start| start.result.served_by_second.len()).max().unwrap_or(1) as f64 / 60.0;
        let area = SVGBackend::with_string(text, (760, 400)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{nodes} nodes with 20 pods each start at once"), ("sans-serif", 18))
            .margin(16)
            .margin_right(170)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..longest, 0.0..100.0)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("minutes since the start")
            .y_desc("pods with an address, %")
            .draw()?;
        let colors = [RGBColor(0x0b, 0x6e, 0x99), RGBColor(0x2e, 0x8b, 0x57), RGBColor(0xc0, 0x6c, 0x2b)];
        for (place, (start, color)) in of_size.iter().zip(colors).enumerate() {
            let all = f64::from(start.nodes) * 20.0;
            let mut served = 0;
            let line: Vec<(f64, f64)> = start
                .result
                .served_by_second
                .iter()
                .enumerate()
                .map(|(second, count)| {
                    served += count;
                    (second as f64 / 60.0, 100.0 * served as f64 / all)
                })
                .collect();
            chart.draw_series(LineSeries::new(line, color.stroke_width(2)))?;
            let label = Text::new(
                start.kind.label(),
                (600, 60 + 22 * place as i32),
                ("sans-serif", 13).into_font().color(&color),
            );
            area.draw(&label)?;
        }
        drop(chart);
        area.present()?;
        Ok(())
    }
}
