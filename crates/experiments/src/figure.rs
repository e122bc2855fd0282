//! A figure of a report, as SVG: a row for each method, a panel for each quantity, a dot for each seed, a bar at their mean.

use std::fmt::Write;

use crate::report::{Column, Report, mean};

const LABELS: f64 = 210.0;
const PANEL: f64 = 230.0;
const GAP: f64 = 36.0;
const TOP: f64 = 76.0;
const ROW: f64 = 26.0;
const BLUE: &str = "#0072b2";
const GREEN: &str = "#009e73";
const INK: &str = "#222222";
const GREY: &str = "#666666";
const LIGHT: &str = "#e4e4e4";

/// Values to pixels, from 0 to [`PANEL`].
struct Axis {
    from: f64,
    to: f64,
    log: bool,
    ticks: Vec<f64>,
}

impl Axis {
    /// Covers all values; on a logarithmic axis those that are not above zero stand at its left end.
    fn new(column: &Column, values: &[f64]) -> Self {
        let finite = values.iter().copied().filter(|x| x.is_finite());
        if column.log {
            let positive: Vec<f64> = finite.filter(|x| *x > 0.0).collect();
            let low = positive.iter().copied().fold(f64::INFINITY, f64::min).clamp(1e-9, 1.0);
            let high = positive.iter().copied().fold(0.0, f64::max).max(low * 10.0);
            let (from, to) = (low.log10().floor(), high.log10().ceil());
            let step = ((to - from) / 5.0).ceil().max(1.0);
            let ticks = (0..=((to - from) / step) as i32).map(|at| from + f64::from(at) * step);
            return Self { from, to, log: true, ticks: ticks.map(|x| 10f64.powf(x)).collect() };
        }
        let all: Vec<f64> = finite.chain(column.answer).collect();
        let low = all.iter().copied().fold(f64::INFINITY, f64::min).min(f64::MAX);
        let high = all.iter().copied().fold(f64::NEG_INFINITY, f64::max).max(low + 1e-9);
        let rough = (high - low) / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|x| x * power >= rough).unwrap_or(10.0);
        let step = step * power;
        let (from, to) = ((low / step).floor(), (high / step).ceil());
        let ticks = (0..=(to - from) as i32).map(|at| (from + f64::from(at)) * step).collect();
        Self { from: from * step, to: to * step, log: false, ticks }
    }

    fn x(&self, value: f64) -> f64 {
        let value = if self.log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0) * PANEL
    }
}

fn label(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 1e-3 => format!("{value:.0e}"),
        _ => format!("{}", (value * 1e6).round() / 1e6),
    }
}

/// The text of the figure.
pub(crate) fn svg(title: &str, report: &Report) -> String {
    let n_panels = report.columns.len() as f64;
    let width = LABELS + n_panels * (PANEL + GAP) + 12.0;
    let bottom = TOP + report.rows.len() as f64 * ROW;
    let height = bottom + 40.0;
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="Inter, Helvetica, Arial, sans-serif" font-size="13"><rect width="{width}" height="{height}" fill="white"/>"#
    );
    let mut draw = |element: String| {
        let _ = writeln!(out, "{element}");
    };
    let text = |x: f64, y: f64, anchor: &str, style: &str, text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('`', "");
        format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" {style}>{text}</text>"#)
    };
    let line = |x: f64, from: f64, to: f64, style: &str| {
        format!(r#"<line x1="{x:.1}" x2="{x:.1}" y1="{from:.1}" y2="{to:.1}" {style}/>"#)
    };
    draw(text(12.0, 26.0, "start", r#"font-size="16" font-weight="600""#, title));
    let row_y = |row: usize| TOP + (row as f64 + 0.5) * ROW;
    for (row, (method, _)) in report.rows.iter().enumerate() {
        let style = format!(r#"fill="{INK}""#);
        draw(text(LABELS - 12.0, row_y(row) + 4.5, "end", &style, method));
    }
    for (at, column) in report.columns.iter().enumerate() {
        let left = LABELS + at as f64 * (PANEL + GAP);
        let values: Vec<f64> =
            report.rows.iter().flat_map(|(_, cells)| cells[at].clone()).collect();
        let axis = Axis::new(column, &values);
        draw(text(left, TOP - 16.0, "start", r#"font-weight="600""#, &column.title));
        for &tick in &axis.ticks {
            let x = left + axis.x(tick);
            draw(line(x, TOP, bottom, &format!(r#"stroke="{LIGHT}""#)));
            let style = format!(r#"fill="{GREY}" font-size="12""#);
            draw(text(x, bottom + 18.0, "middle", &style, &label(tick)));
        }
        if let Some(answer) = column.answer.filter(|answer| !axis.log || *answer > 0.0) {
            let style = format!(r#"stroke="{GREEN}" stroke-width="2" stroke-dasharray="5 4""#);
            draw(line(left + axis.x(answer), TOP, bottom, &style));
        }
        for (row, (_, cells)) in report.rows.iter().enumerate() {
            let y = row_y(row);
            for value in cells[at].iter().filter(|value| value.is_finite()) {
                let x = left + axis.x(*value);
                draw(format!(
                    r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{BLUE}" fill-opacity="0.45"/>"#
                ));
            }
            let x = left + axis.x(mean(&cells[at]));
            draw(line(x, y - 8.0, y + 8.0, &format!(r#"stroke="{INK}" stroke-width="2""#)));
        }
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_cover_values_and_answers() {
        let linear = Axis::new(&Column::new("").answer(1.5), &[1.7, 2.9]);
        assert_eq!((linear.from, linear.to), (1.5, 3.0));
        assert!((linear.x(2.25) - PANEL / 2.0).abs() < 1e-9);
        let log = Axis::new(&Column::new("").log(), &[-1e-16, 2e-3, 0.5]);
        assert_eq!((log.from, log.to), (-3.0, 0.0));
        assert_eq!(log.x(-1e-16), 0.0);
        let flat = Axis::new(&Column::new(""), &[0.0, 0.0]);
        assert!(flat.ticks.len() < 20 && flat.x(0.0).is_finite());
    }
}
