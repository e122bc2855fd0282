//! What a tuning found: the exact objective with its intervals over log τ, and the gap below.

use std::path::Path;

use anyhow::{Context, Result};

use super::axes::{Frame, LABEL_SIZE, Range, TICK_SIZE, TITLE_SIZE};
use super::canvas::{
    Align, BLUE, Canvas, Color, GREEN, GREY, INK, PURPLE, Rect, Text, VERMILION, WHITE,
};
use crate::tune::report::{Findings, Row};

const WIDTH: f64 = 1400.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = WIDTH - 150.0;
const TOP: f64 = 130.0;
const OBJECTIVE_HEIGHT: f64 = 480.0;
const GAP_HEIGHT: f64 = 200.0;
const BETWEEN: f64 = 36.0;
const BOTTOM: f64 = 100.0;
/// One for each backward temperature.
const COLORS: [Color; 4] = [BLUE, VERMILION, GREEN, PURPLE];

/// Draws the candidates of the last rung: filled discs are those that are tied with the best, the ringed one is chosen.
///
/// # Errors
/// Where nothing is finite, or the file cannot be written.
pub(crate) fn draw_tuning(findings: &Findings, path: &Path) -> Result<()> {
    let height = TOP + OBJECTIVE_HEIGHT + BETWEEN + GAP_HEIGHT + BOTTOM;
    let mut canvas = Canvas::new(WIDTH, height)?;
    let title = format!("Tuning: {} is chosen", findings.chosen().shown());
    canvas.text(&title, (LEFT, 44.0), Text::new(TITLE_SIZE, INK).bold());
    let legend = "filled: tied with the best; ring: chosen; bars: 95 % over seeds";
    canvas.text(legend, (LEFT, 92.0), Text::new(TICK_SIZE, GREY));

    let all = findings.rungs.first().context("there is no rung to draw")?;
    let taus: Vec<f64> = all.candidates.iter().map(|c| c.temperature).collect();
    let log = Range::of(taus.iter().map(|tau| tau.ln())).context("there are no candidates")?;
    let x = log.padded(0.06);
    let mut ticks: Vec<(f64, String)> = taus.iter().map(|t| (t.ln(), t.to_string())).collect();
    ticks.dedup_by(|a, b| a.0 == b.0);
    let rows: Vec<&Row> = findings.rows.iter().filter(|r| r.objective.mean.is_finite()).collect();
    let mut backward: Vec<Option<f64>> = Vec::new();
    for row in &rows {
        if !backward.contains(&row.candidate.backward_temperature) {
            backward.push(row.candidate.backward_temperature);
        }
    }

    let top = Rect { left: LEFT, top: TOP, right: RIGHT, bottom: TOP + OBJECTIVE_HEIGHT };
    let reach = |row: &Row| Some(row.objective.half_width).filter(|w| w.is_finite()).unwrap_or(0.0);
    let ends = rows.iter().flat_map(|row| {
        let (mean, reach) = (row.objective.mean, reach(row));
        [mean - reach, mean + reach]
    });
    let y = Range::of(ends).context("every candidate diverged")?.padded(0.08);
    let frame = Frame { area: top, x, y };
    frame.y_grid(&mut canvas, &frame.y.ticks(6));
    frame.x_axis(&mut canvas, &[]);
    name_axis(&mut canvas, &frame, "exact objective (nats)");
    let bottom = TOP + OBJECTIVE_HEIGHT + BETWEEN;
    let area = Rect { top: bottom, bottom: bottom + GAP_HEIGHT, ..top };
    let gaps = rows.iter().map(|row| row.gap).filter(|gap| gap.is_finite());
    let below = Range::of(gaps.chain([0.0])).map(|y| Frame { area, x, y: y.padded(0.12) });

    if let Some(below) = &below {
        below.y_grid(&mut canvas, &below.y.ticks(3));
        below.x_axis(&mut canvas, &ticks);
        name_axis(&mut canvas, below, "gap");
    }

    for (i, &of) in backward.iter().enumerate() {
        let color = COLORS[i % COLORS.len()];
        let series: Vec<&&Row> =
            rows.iter().filter(|row| row.candidate.backward_temperature == of).collect();
        let points: Vec<_> = series
            .iter()
            .map(|row| frame.point((row.candidate.temperature.ln(), row.objective.mean)))
            .collect();
        canvas.line(&points, 3.0, color, frame.area);
        for (row, &point) in series.iter().zip(&points) {
            let (mean, reach) = (row.objective.mean, reach(row));
            let bar = [(point.0, frame.y(mean - reach)), (point.0, frame.y(mean + reach))];
            canvas.line(&bar, 3.0, color, frame.area);
            if row.candidate == findings.chosen() {
                canvas.disc(point, 17.0, INK);
                canvas.disc(point, 14.0, WHITE);
            }
            canvas.disc(point, 10.0, color);
            if !row.against_leader.is_tied {
                canvas.disc(point, 6.0, WHITE);
            }
        }
        if let (Some(tau), Some(&(x, y))) = (of, points.last()) {
            let label = format!("backward {tau}");
            canvas.text(&label, (x + 16.0, y), Text::new(TICK_SIZE, color));
        }
        let Some(below) = &below else { continue };
        let points: Vec<_> = series
            .iter()
            .filter(|row| row.gap.is_finite())
            .map(|row| below.point((row.candidate.temperature.ln(), row.gap)))
            .collect();
        canvas.line(&points, 3.0, color, below.area);
        points.iter().for_each(|&point| canvas.disc(point, 8.0, color));
    }
    let how = Text::new(LABEL_SIZE, INK).align(Align::Middle);
    canvas.text("temperature τ", (f64::midpoint(LEFT, RIGHT), height - 30.0), how);
    canvas.save(path)
}

fn name_axis(canvas: &mut Canvas, frame: &Frame, name: &str) {
    let middle = f64::midpoint(frame.area.top, frame.area.bottom);
    let how = Text::new(LABEL_SIZE, INK).align(Align::Middle).upwards();
    canvas.text(name, (40.0, middle), how);
}
