//! The bench of the pool engine: what is measured, held against what was promised, as a table, JSON, and a curve.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table};
use freeboard_pool::AllocationMode;
use plotters::prelude::*;
use serde::Serialize;

use crate::engine::{Node, Shape};
use crate::scan;

/// Pod events per second on one core that are promised for a node with 250 pods.
const PROMISED_RATE: f64 = 500_000.0;
/// The longest step that is promised.
const PROMISED_STEP: Duration = Duration::from_millis(1);
/// Cost per event with the most addresses over that with the fewest: "independent" allows for caches that hold less.
const PROMISED_GROWTH: f64 = 1.5;
/// Addresses held, along the curve.
const SIZES: [u32; 4] = [50, 250, 1_000, 4_000];
/// Events taken in before effects are taken out, in the batched figure.
const BATCH: usize = 16;
/// DELs, and as many ADDs, that are timed together: so few that the machine rarely takes the core away meanwhile.
const PAIRS: usize = 250;
/// Measurements of a node before the next has its turn; the first finds the caches cold.
const VISITS: usize = 4;
/// What is missing when nothing can be measured.
const NO_CLOCK: &str = "the system does not tell the processor time of this thread";

/// One point of the curve.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// What holds the addresses.
    pub kind: Kind,
    /// Addresses held.
    pub addresses: u32,
    /// The best of the rounds, event by event.
    pub nanoseconds_per_event: f64,
    /// The same, with effects taken out after a batch of events.
    pub nanoseconds_in_batches: f64,
    /// The scan allocator on as many addresses, in the same run.
    pub nanoseconds_of_scan: f64,
    /// The longest step, in processor time.
    pub longest_step_microseconds: f64,
    /// 9,999 of 10,000 steps took at most this.
    pub step_p9999_microseconds: f64,
    /// Listing the durable state once.
    pub checkpoint_microseconds: f64,
    /// Steps that were timed.
    pub steps: usize,
}

/// What holds the addresses, and who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Single addresses under targets.
    Singles,
    /// Prefixes under targets.
    Prefixes,
    /// Single addresses under the lean policy.
    Lean,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Singles, Self::Prefixes, Self::Lean];

    fn label(self) -> &'static str {
        match self {
            Self::Singles => "single addresses",
            Self::Prefixes => "prefixes",
            Self::Lean => "lean, singles",
        }
    }

    fn shape(self, addresses: u32) -> Shape {
        let mode = match self {
            Self::Singles | Self::Lean => AllocationMode::SecondaryAddresses,
            Self::Prefixes => AllocationMode::Prefixes,
        };
        // As instance types have them: 50 addresses on one interface, more on several, at most 15.
        Shape { addresses, mode, is_lean: self == Self::Lean, interfaces: addresses.div_ceil(50).clamp(1, 15) }
    }
}

/// A promise and whether it was kept.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What was promised.
    pub promise: String,
    /// What was measured.
    pub measured: String,
    /// Whether it was kept.
    pub is_met: bool,
}

/// All figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct EngineRun {
    /// Whether the program was built with optimisation; figures of another build mean nothing.
    pub is_optimised: bool,
    /// The curve.
    pub points: Vec<Point>,
}

/// Measures everything. `effort`: how many events each round has, and how many rounds there are, in thousands of pairs.
///
/// # Errors
/// When the system does not tell a thread's processor time.
pub fn measure(effort: usize) -> Result<EngineRun> {
    let mut points = Vec::new();
    for kind in Kind::ALL {
        let mut nodes: Vec<(u32, Node)> = SIZES.iter().map(|size| (*size, Node::new(&kind.shape(*size)))).collect();
        let mut rounds = vec![[Duration::MAX; 3]; nodes.len()];
        // In turns, so that what else the machine does falls on all of them alike; the best of the rounds counts.
        for _ in 0..effort {
            for ((size, node), best) in nodes.iter_mut().zip(&mut rounds) {
                let batch = BATCH.min(usize::try_from(*size / 25).unwrap_or(BATCH));
                for _ in 0..VISITS {
                    let figures = [
                        node.churn(PAIRS).context(NO_CLOCK)?,
                        node.churn_in_batches(PAIRS, batch).context(NO_CLOCK)?,
                        scan::churn(*size, 50).context(NO_CLOCK)?,
                    ];
                    for (best, figure) in best.iter_mut().zip(figures) {
                        *best = (*best).min(figure);
                    }
                }
            }
        }
        for ((addresses, node), best) in nodes.iter_mut().zip(&rounds) {
            points.push(point(kind, *addresses, node, best, effort)?);
        }
    }
    Ok(EngineRun { is_optimised: !cfg!(debug_assertions), points })
}

fn point(kind: Kind, addresses: u32, node: &mut Node, best: &[Duration; 3], effort: usize) -> Result<Point> {
    let mut steps = node.steps(1_000 * effort).context(NO_CLOCK)?;
    steps.sort_unstable();
    let rank = (steps.len() * 9_999).div_ceil(10_000).max(1);
    let checkpoint = node.checkpoint().context(NO_CLOCK)?;
    let nanoseconds = |duration: &Duration| duration.as_secs_f64() * 1e9;
    let microseconds = |duration: Option<&Duration>| duration.map_or(0.0, |duration| duration.as_secs_f64() * 1e6);
    Ok(Point {
        kind,
        addresses,
        nanoseconds_per_event: nanoseconds(&best[0]),
        nanoseconds_in_batches: nanoseconds(&best[1]),
        nanoseconds_of_scan: nanoseconds(&best[2]),
        longest_step_microseconds: microseconds(steps.last()),
        step_p9999_microseconds: microseconds(steps.get(rank - 1)),
        checkpoint_microseconds: microseconds(Some(&checkpoint)),
        steps: steps.len(),
    })
}

impl EngineRun {
    fn of(&self, kind: Kind) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(move |point| point.kind == kind)
    }

    /// What was promised, and whether it was kept.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for kind in Kind::ALL {
            for point in self.of(kind).filter(|point| point.addresses == 250) {
                let rate = 1e9 / point.nanoseconds_per_event;
                verdicts.push(Verdict {
                    promise: format!("{}: at least {PROMISED_RATE:.0} events/s with 250 addresses", kind.label()),
                    measured: format!("{rate:.0}"),
                    is_met: rate >= PROMISED_RATE,
                });
            }
            let cost = |size| self.of(kind).find(|point| point.addresses == size).map(|p| p.nanoseconds_per_event);
            if let (Some(few), Some(many)) = (cost(SIZES[0]), cost(SIZES[SIZES.len() - 1])) {
                verdicts.push(Verdict {
                    promise: format!("{}: 4,000 addresses cost at most {PROMISED_GROWTH}× of 50", kind.label()),
                    measured: format!("{:.2}×", many / few),
                    is_met: many / few <= PROMISED_GROWTH,
                });
            }
        }
        let longest = self.points.iter().map(|point| point.longest_step_microseconds).fold(0.0, f64::max);
        verdicts.push(Verdict {
            promise: format!("no step above {PROMISED_STEP:?}"),
            measured: format!("{longest:.0} µs"),
            is_met: longest <= PROMISED_STEP.as_secs_f64() * 1e6,
        });
        verdicts
    }

    /// Draws the curve: the cost of an event over the addresses held, and the scan allocator's beside it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn plot(&self, file: &Path) -> Result<()> {
        let mut text = String::new();
        self.draw(&mut text).context("cannot draw the curve")?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    fn draw(&self, text: &mut String) -> Result<()> {
        let area = SVGBackend::with_string(text, (760, 440)).into_drawing_area();
        area.fill(&WHITE)?;
        let ink = RGBColor(0x33, 0x3f, 0x48);
        let font = |size: i32| ("sans-serif", size).into_font().color(&ink);
        let mut chart = ChartBuilder::on(&area)
            .caption("Processor time per pod event, by addresses held", font(18))
            .margin(16)
            .margin_right(150)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d((40.0..4_500.0).log_scale(), (200.0..100_000.0).log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(0xe4, 0xe8, 0xeb))
            .axis_style(RGBColor(0x9a, 0xa5, 0xad))
            .label_style(font(13))
            .x_desc("addresses held by the node")
            .y_desc("time per event")
            .x_label_formatter(&|addresses| format!("{addresses:.0}"))
            .y_label_formatter(&|time| {
                if *time < 1_000.0 { format!("{time:.0} ns") } else { format!("{:.0} µs", time / 1_000.0) }
            })
            .draw()?;
        let scan: Vec<(f64, f64)> =
            self.of(Kind::Singles).map(|point| (f64::from(point.addresses), point.nanoseconds_of_scan)).collect();
        let mut lines = vec![("scan allocator", RGBColor(0xc0, 0x6c, 0x2b), scan)];
        for (kind, color) in [
            (Kind::Singles, RGBColor(0x0b, 0x6e, 0x99)),
            (Kind::Prefixes, RGBColor(0x2e, 0x8b, 0x57)),
            (Kind::Lean, RGBColor(0x7a, 0x4f, 0xa3)),
        ] {
            let curve = self.of(kind).map(|point| (f64::from(point.addresses), point.nanoseconds_per_event)).collect();
            lines.push((kind.label(), color, curve));
        }
        let promised = vec![(50.0, 1e9 / PROMISED_RATE), (4_000.0, 1e9 / PROMISED_RATE)];
        chart.draw_series(DashedLineSeries::new(promised, 5, 4, RGBColor(0x9a, 0xa5, 0xad).stroke_width(1)))?;
        for (_, color, line) in &lines {
            chart.draw_series(LineSeries::new(line.iter().copied(), color.stroke_width(2)))?;
            chart.draw_series(line.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
        }
        // Names at the ends of their lines, apart from each other where the lines end together.
        let mut ends: Vec<(i32, &str, RGBColor)> = lines
            .iter()
            .filter_map(|(name, color, line)| Some((chart.backend_coord(line.last()?).1, *name, *color)))
            .collect();
        ends.push((chart.backend_coord(&(4_000.0, 1e9 / PROMISED_RATE)).1, "promised", RGBColor(0x9a, 0xa5, 0xad)));
        ends.sort_by_key(|(height, ..)| *height);
        let (mut lowest, x) = (i32::MIN, chart.backend_coord(&(4_500.0, 1_000.0)).0 + 6);
        for (height, name, color) in ends {
            let at = height.max(lowest.saturating_add(17));
            lowest = at;
            area.draw(&Text::new(name, (x, at - 7), ("sans-serif", 13).into_font().color(&color)))?;
        }
        drop(chart);
        area.present()?;
        Ok(())
    }

    /// The table, at most 80 columns wide.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING.header_separator(LineStyle::none().fill('─').junction('─')));
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["held as", "held", "per event", "events/s", "batched", "scan", "longest", "p99.99"]);
        for point in &self.points {
            table.add_row([
                point.kind.label().to_owned(),
                point.addresses.to_string(),
                format!("{:.0} ns", point.nanoseconds_per_event),
                format!("{:.0}", 1e9 / point.nanoseconds_per_event),
                format!("{:.0} ns", point.nanoseconds_in_batches),
                format!("{:.1}×", point.nanoseconds_of_scan / point.nanoseconds_per_event),
                format!("{:.0} µs", point.longest_step_microseconds),
                format!("{:.0} µs", point.step_p9999_microseconds),
            ]);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
            if column.index > 0 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = table.to_string();
        text.push('\n');
        for verdict in self.verdicts() {
            let word = if verdict.is_met { "met" } else { "MISSED" };
            let _ = write!(text, "\n{}: {} ({word})", verdict.promise, verdict.measured);
        }
        text
    }
}
