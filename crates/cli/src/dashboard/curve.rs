//! The forecast as a curve: the samples, the line through them with its band, and the ceiling that it meets.

use std::fmt::Write;

use freeboard_capacity::{Forecast, Sample, outlook};

use super::Shown;
use crate::input::type_table;

/// The drawing, in its own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;
/// How much of the width the future takes, as a multiple of the past.
const AHEAD: f64 = 2.0;
/// Nine of ten samples to come lie in the band.
const BAND: f64 = 1.645;
const SECONDS_PER_DAY: f64 = 86_400.0;

/// Adds the section.
pub(super) fn section(body: &mut String, forecast: &Forecast, shown: &Shown) {
    let ceiling = outlook(&shown.input.inventory, &type_table()).pods_at_most;
    let samples = &shown.input.inventory.history;
    let days = forecast.days.max(1.0);
    let line = |day: f64| forecast.level + forecast.per_day * day;
    let spread = |day: f64| BAND * (forecast.scatter.powi(2) + (forecast.per_day_error * day).powi(2)).sqrt();
    let end = days * AHEAD;
    #[expect(
        clippy::as_conversions,
        reason = "there is no other way from a count to a float, and a drawing needs no more"
    )]
    let count = |pods: u64| pods as f64;
    let top = (line(end) + spread(end)).max(count(ceiling)).max(1.0) * 1.05;
    let x = |day: f64| (day + days) / (days + end) * WIDTH;
    let y = |pods: f64| HEIGHT - (pods / top).clamp(0.0, 1.0) * HEIGHT;
    let points = |ends: &[(f64, f64)]| {
        ends.iter().map(|(day, pods)| format!("{:.1},{:.1}", x(*day), y(*pods))).collect::<Vec<_>>().join(" ")
    };
    let band = points(&[
        (0.0, line(0.0) + spread(0.0)),
        (end, line(end) + spread(end)),
        (end, line(end) - spread(end)),
        (0.0, line(0.0) - spread(0.0)),
    ]);
    let trend = points(&[(-days, line(-days)), (end, line(end))]);
    let full = forecast.reaches(ceiling);
    let date = |moment: Option<freeboard_diagnosis::Moment>| {
        moment
            .map_or_else(|| "never within ten years".to_owned(), |moment| moment.to_string().chars().take(10).collect())
    };
    let words = if forecast.is_growing() {
        format!(
            "{:.1} more pods a day. The {ceiling} pods that there is room for are reached on {}, nine times of ten between {} and {}.",
            forecast.per_day,
            date(full.expected),
            date(full.earliest),
            date(full.latest)
        )
    } else {
        "No growth beyond the samples' own scatter.".to_owned()
    };
    // Writing to a string cannot fail.
    let _ = write!(
        body,
        "<section aria-labelledby=\"forecast\">\n<h2 id=\"forecast\">Forecast</h2>\n<p>{words}</p>\n\
         <svg class=\"curve\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{words}\">\n<polygon class=\"band\" points=\"{band}\"/>\n\
         <polyline class=\"trend\" points=\"{trend}\"/>\n<line class=\"ceiling\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{height:.1}\" y2=\"{height:.1}\"/>\n",
        height = y(count(ceiling))
    );
    for Sample { at, pods } in samples {
        let day = at.duration_since(forecast.from).as_secs_f64() / SECONDS_PER_DAY;
        let _ = writeln!(body, "<circle class=\"sample\" r=\"3\" cx=\"{:.1}\" cy=\"{:.1}\"/>", x(day), y(count(*pods)));
    }
    body.push_str("</svg>\n</section>\n");
}
