//! Pictures of runs, as SVG: addresses held, used, cooling down, and pods that wait, over time.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::compare::{Comparison, Loads};
use crate::summary::{Sample, Summary};

const INK: RGBColor = RGBColor(0x2b, 0x36, 0x3f);
const FAINT: RGBColor = RGBColor(0x7b, 0x88, 0x92);
const GRID: RGBColor = RGBColor(0xe6, 0xea, 0xed);
const HELD: RGBColor = RGBColor(0x9c, 0xc3, 0xdb);
const USED: RGBColor = RGBColor(0x0b, 0x6e, 0x99);
const COOLING: RGBColor = RGBColor(0xe0, 0x8e, 0x2b);
const WAITING: RGBColor = RGBColor(0xc4, 0x31, 0x3f);

/// Width of every picture.
const WIDTH: u32 = 900;
/// Height of one panel.
const PANEL: u32 = 300;

/// A picture could not be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the picture cannot be drawn: {0}")]
pub struct PlotError(String);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn failed(error: impl std::fmt::Display) -> PlotError {
    PlotError(error.to_string())
}

fn font(size: i32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color)
}

/// Draws on a white sheet of this height.
fn sheet(height: u32, draw: impl FnOnce(&Area<'_>) -> Result<(), PlotError>) -> Result<String, PlotError> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    draw(&area)?;
    area.present().map_err(failed)?;
    drop(area);
    Ok(text)
}

impl Summary {
    /// The run as a picture (SVG).
    ///
    /// # Errors
    /// [`PlotError`] when it cannot be drawn.
    pub fn plot(&self) -> Result<String, PlotError> {
        sheet(PANEL + 60, |area| {
            let nodes = if self.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", self.nodes) };
            let title = format!("{}, seed {}: addresses on {nodes}", self.scenario, self.seed);
            area.draw(&Text::new(title, (20, 18), font(19, INK))).map_err(failed)?;
            let (_, below) = area.split_vertically(48);
            panel(&below, self, None, most(self))
        })
    }
}

impl Comparison {
    /// The policies below each other as a picture (SVG), on the same scales.
    ///
    /// # Errors
    /// [`PlotError`] when it cannot be drawn.
    pub fn plot(&self) -> Result<String, PlotError> {
        let standings = self.standings();
        let top = standings.iter().map(|standing| most(&standing.summary)).max().unwrap_or(1);
        sheet(60 + 3 * PANEL, |area| {
            let title = format!("{}: the same pods under three policies", self.scenario);
            area.draw(&Text::new(title, (20, 18), font(19, INK))).map_err(failed)?;
            let (_, below) = area.split_vertically(48);
            for (panel_area, standing) in below.split_evenly((3, 1)).iter().zip(standings) {
                let name = format!("{}: {:.1} idle on average", standing.policy, standing.idle);
                panel(panel_area, &standing.summary, Some(&name), top)?;
            }
            Ok(())
        })
    }
}

/// The highest value of any line.
fn most(summary: &Summary) -> u32 {
    summary.samples.iter().map(|sample| sample.held.max(sample.waiting)).max().unwrap_or(1).max(1)
}

/// Seconds between two ticks of a time axis of this length: round numbers, at most ten of them.
fn tick_seconds(length: f64) -> f64 {
    let steps = [10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 43_200.0, 86_400.0];
    steps.into_iter().find(|step| length / step <= 10.0).unwrap_or(604_800.0)
}

fn time_label(seconds: f64, tick: f64) -> String {
    if tick >= 3_600.0 {
        format!("{:.0} h", seconds / 3_600.0)
    } else if tick >= 60.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{seconds:.0} s")
    }
}

/// One run: held and used as areas, cooling and waiting as lines, each named at its end.
fn panel(area: &Area<'_>, summary: &Summary, name: Option<&str>, top: u32) -> Result<(), PlotError> {
    let samples = &summary.samples;
    let length = samples.last().map_or(1.0, |sample| sample.at_seconds).max(1.0);
    let tick = tick_seconds(length);
    let height = f64::from(top) * 1.08;
    let mut builder = ChartBuilder::on(area);
    builder.margin(12).margin_left(16).margin_right(110).x_label_area_size(30).y_label_area_size(44);
    if let Some(name) = name {
        builder.caption(name, font(15, INK));
    }
    let mut chart = builder.build_cartesian_2d(0.0..length, 0.0..height).map_err(failed)?;
    let labels = (length / tick).floor() as usize + 1;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FAINT)
        .label_style(font(13, FAINT))
        .x_labels(labels)
        .x_label_formatter(&|seconds| time_label(*seconds, tick))
        .y_labels(6)
        .y_label_formatter(&|count| format!("{count:.0}"))
        .draw()
        .map_err(failed)?;
    let line = |of: fn(&Sample) -> u32| -> Vec<(f64, f64)> {
        // Figures hold until the next sample: steps, not slopes.
        let mut points = Vec::with_capacity(2 * samples.len());
        for sample in samples {
            if let Some((_, last)) = points.last().copied() {
                points.push((sample.at_seconds, last));
            }
            points.push((sample.at_seconds, f64::from(of(sample))));
        }
        points
    };
    for (of, color) in [((|sample| sample.held) as fn(&Sample) -> u32, HELD), (|sample| sample.used, USED)] {
        let series = AreaSeries::new(line(of), 0.0, color.mix(0.55)).border_style(color.stroke_width(2));
        chart.draw_series(series).map_err(failed)?;
    }
    for (of, color) in [((|sample| sample.cooling) as fn(&Sample) -> u32, COOLING), (|sample| sample.waiting, WAITING)]
    {
        chart.draw_series(LineSeries::new(line(of), color.stroke_width(2))).map_err(failed)?;
    }
    let Some(last) = samples.last() else { return Ok(()) };
    let ends = [
        ("held", HELD, last.held),
        ("used", USED, last.used),
        ("cooling", COOLING, last.cooling),
        ("waiting", WAITING, last.waiting),
    ];
    let mut ends = ends.map(|(name, color, count)| {
        let (x, y) = chart.backend_coord(&(length, f64::from(count)));
        (y, x, format!("{count} {name}"), color)
    });
    ends.sort_by_key(|(y, ..)| *y);
    // From the lowest upwards, each a line above the one before.
    let mut ceiling = i32::MAX;
    let (left, above) = area.get_base_pixel();
    for (y, x, text, color) in ends.into_iter().rev() {
        let at = y.min(ceiling.saturating_sub(16));
        ceiling = at;
        let style = font(14, darker(color)).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(text, (x - left + 8, at - above), style)).map_err(failed)?;
    }
    Ok(())
}

/// The colour, dark enough to be read as text.
fn darker(color: RGBColor) -> RGBColor {
    if color == HELD { RGBColor(0x4e, 0x86, 0xa8) } else { color }
}

impl Loads {
    /// Idle addresses of each policy at each load as a picture (SVG).
    ///
    /// # Errors
    /// [`PlotError`] when it cannot be drawn.
    pub fn plot(&self) -> Result<String, PlotError> {
        const ROW: i32 = 78;
        const BAR: i32 = 16;
        const LEFT: i32 = 170;
        let rows = i32::try_from(self.comparisons.len()).unwrap_or(0);
        let nodes = f64::from(crate::compare::Load::NODES);
        let standings = || self.comparisons.iter().flat_map(Comparison::standings);
        let longest = standings().map(|standing| standing.idle / nodes).fold(1.0, f64::max);
        let scale = f64::from(WIDTH as i32 - LEFT - 190) / longest;
        sheet(u32::try_from(80 + rows * ROW).unwrap_or(80), |area| {
            let title = "Addresses held on a node that no pod has, on average";
            area.draw(&Text::new(title, (20, 18), font(19, INK))).map_err(failed)?;
            let colors = [HELD, RGBColor(0x5f, 0x9e, 0xc0), USED];
            for (row, comparison) in (0..).zip(&self.comparisons) {
                let top = 64 + row * ROW;
                let name = font(15, INK).pos(Pos::new(HPos::Right, VPos::Center));
                let middle = top + BAR * 3 / 2 + 4;
                area.draw(&Text::new(comparison.scenario.clone(), (LEFT - 14, middle), name)).map_err(failed)?;
                for (index, (standing, color)) in (0..).zip(comparison.standings().into_iter().zip(colors)) {
                    let idle = standing.idle / nodes;
                    let (y, width) = (top + index * (BAR + 4), (idle * scale).round().max(1.0) as i32);
                    let bar = Rectangle::new([(LEFT, y), (LEFT + width, y + BAR)], color.filled());
                    area.draw(&bar).map_err(failed)?;
                    let style = font(13, FAINT).pos(Pos::new(HPos::Left, VPos::Center));
                    let label = format!("{idle:.1}  {}", standing.policy);
                    area.draw(&Text::new(label, (LEFT + width + 8, y + BAR / 2 + 1), style)).map_err(failed)?;
                }
            }
            Ok(())
        })
    }
}
