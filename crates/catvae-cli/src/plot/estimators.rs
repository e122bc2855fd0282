//! Gradient estimators side by side: direction, bias and spread of their gradients.

use std::path::Path;

use anyhow::{Result, ensure};

use super::axes::{Frame, LABEL_SIZE, Range, TICK_SIZE, TITLE_SIZE, number};
use super::canvas::{
    Align, BLUE, Canvas, Color, GREEN, GREY, INK, LIGHT_GREY, Rect, Text, VERMILION, WHITE,
};
use super::{finite, shortened};

/// Where the titles of the panels stand, below that of the figure.
const PANEL_TITLE: f64 = 104.0;
const TOP: f64 = PANEL_TITLE + 76.0;
const MARGIN: f64 = 40.0;
const PANEL_WIDTH: f64 = 300.0;
/// After each panel: room for the value of its longest bar.
const PANEL_GAP: f64 = 110.0;
const ROW_HEIGHT: f64 = 52.0;
const BAR_HEIGHT: f64 = 32.0;
const BOTTOM: f64 = 60.0;

/// What is known of an estimator's gradient g against the true gradient.
#[derive(Clone, Debug)]
pub(crate) struct EstimatorRow {
    /// As it is written beside the bars.
    pub(crate) name: String,
    /// Mean cosine between g and the true gradient, in [-1, 1].
    pub(crate) cosine: f64,
    /// Length of the mean gradient minus the true gradient, over the length of the latter.
    pub(crate) relative_bias: f64,
    /// The relative bias that the finite number of draws alone gives, without any bias.
    pub(crate) bias_floor: f64,
    /// Standard deviation of g over the length of the true gradient.
    pub(crate) relative_std: f64,
}

/// One of the three comparisons.
struct Panel {
    title: &'static str,
    hint: &'static str,
    color: Color,
    value: fn(&EstimatorRow) -> f64,
    /// Where a tick across the bar stands.
    mark: Option<fn(&EstimatorRow) -> f64>,
    /// Shown whatever the values are.
    at_least: Range,
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "cosine similarity",
        hint: "higher is better",
        color: GREEN,
        value: |row| row.cosine,
        mark: None,
        at_least: Range { low: 0.0, high: 1.0 },
    },
    Panel {
        title: "relative bias",
        hint: "lower is better; tick: noise alone",
        color: VERMILION,
        value: |row| row.relative_bias,
        mark: Some(|row| row.bias_floor),
        at_least: Range { low: 0.0, high: 0.1 },
    },
    Panel {
        title: "relative std. deviation",
        hint: "lower is better",
        color: BLUE,
        value: |row| row.relative_std,
        mark: None,
        at_least: Range { low: 0.0, high: 0.1 },
    },
];

/// Draws one horizontal bar per estimator in each of three panels, in the order of the rows.
///
/// # Errors
/// Without rows, when a value is not finite, or when the file cannot be written.
pub(crate) fn draw_estimators(title: &str, rows: &[EstimatorRow], path: &Path) -> Result<()> {
    ensure!(!rows.is_empty(), "there are no estimators to draw");
    for row in rows {
        let checked = [
            ("cosine", row.cosine),
            ("relative_bias", row.relative_bias),
            ("bias_floor", row.bias_floor),
            ("relative_std", row.relative_std),
        ];
        for (field, value) in checked {
            finite(value, || format!("{field} of {}", row.name))?;
        }
    }

    let name = Text::new(LABEL_SIZE, INK).align(Align::End);
    let names = names_width(rows, name)?;
    let first_left = MARGIN + names + 24.0;
    let width = first_left + PANELS.len() as f64 * (PANEL_WIDTH + PANEL_GAP);
    let height = TOP + rows.len() as f64 * ROW_HEIGHT + BOTTOM;
    let mut canvas = Canvas::new(width.ceil(), height)?;
    let heading = Text::new(TITLE_SIZE, INK).bold();
    let text = shortened(&canvas, title, heading, width - 2.0 * MARGIN);
    canvas.text(&text, (MARGIN, 44.0), heading);
    for (i, row) in rows.iter().enumerate() {
        canvas.text(&row.name, (first_left - 18.0, row_middle(i)), name);
    }
    for (i, panel) in PANELS.iter().enumerate() {
        draw_panel(&mut canvas, panel, rows, first_left + i as f64 * (PANEL_WIDTH + PANEL_GAP));
    }
    canvas.save(path)
}

/// Length of the longest name.
fn names_width(rows: &[EstimatorRow], how: Text) -> Result<f64> {
    let ruler = Canvas::new(1.0, 1.0)?;
    Ok(rows.iter().map(|row| ruler.text_width(&row.name, how)).fold(0.0, f64::max))
}

fn row_middle(row: usize) -> f64 {
    TOP + (row as f64 + 0.5) * ROW_HEIGHT
}

fn draw_panel(canvas: &mut Canvas, panel: &Panel, rows: &[EstimatorRow], left: f64) {
    let at_least = [panel.at_least.low, panel.at_least.high];
    let marks = panel.mark.iter().flat_map(|mark| rows.iter().map(mark));
    let values = rows.iter().map(panel.value).chain(marks);
    let range = Range::of(values.chain(at_least)).unwrap_or(panel.at_least);
    let bottom = TOP + rows.len() as f64 * ROW_HEIGHT;
    let frame = Frame {
        area: Rect { left, top: TOP, right: left + PANEL_WIDTH, bottom },
        x: range,
        y: Range { low: 0.0, high: 1.0 },
    };
    canvas.text(panel.title, (left, PANEL_TITLE), Text::new(LABEL_SIZE, INK).bold());
    canvas.text(panel.hint, (left, PANEL_TITLE + 38.0), Text::new(TICK_SIZE - 2.0, GREY));

    let ticks = range.ticks(3);
    for (value, label) in &ticks {
        frame.vertical(canvas, *value, 2.0, LIGHT_GREY);
        let below = Text::new(TICK_SIZE, GREY).align(Align::Middle);
        canvas.text(label, (frame.x(*value), bottom + 24.0), below);
    }
    for (i, row) in rows.iter().enumerate() {
        let (value, middle) = ((panel.value)(row), row_middle(i));
        let (zero, end) = (frame.x(0.0), frame.x(value));
        let (top, bottom) = (middle - BAR_HEIGHT / 2.0, middle + BAR_HEIGHT / 2.0);
        canvas.fill(Rect { left: zero.min(end), top, right: zero.max(end), bottom }, panel.color);
        let mark = panel.mark.map(|mark| frame.x(mark(row)));
        if let Some(x) = mark {
            let tick = Rect { left: x - 1.5, top: top - 4.0, right: x + 1.5, bottom: bottom + 4.0 };
            canvas.fill(tick, INK);
        }
        let (text, how) = (number(value, decimals(value)), Text::new(TICK_SIZE, INK));
        // After the bar, and after its tick where the digits would lie on it.
        let after = mark.map_or(end, |x| x.max(end));
        let left = zero.max(after) + 10.0;
        // No grid line behind the digits.
        let right = left + canvas.text_width(&text, how) + 4.0;
        canvas.fill(Rect { left: left - 4.0, top, right, bottom }, WHITE);
        canvas.text(&text, (left, middle), how);
    }
    frame.vertical(canvas, 0.0, 2.0, GREY);
}

/// About three digits that tell something.
fn decimals(value: f64) -> usize {
    match value.abs() {
        size if size < 1.0 => 3,
        size if size < 10.0 => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Picture;
    use super::*;

    fn row(name: &str, cosine: f64, relative_bias: f64, relative_std: f64) -> EstimatorRow {
        let name = name.to_owned();
        EstimatorRow { name, cosine, relative_bias, bias_floor: 0.0, relative_std }
    }

    #[test]
    fn every_panel_has_bars_as_long_as_its_values() {
        let rows = [row("straight-through", 0.5, 0.4, 3.0), row("REINFORCE", 0.25, 0.0, 12.0)];
        let picture = Picture::of(|path| draw_estimators("a run", &rows, path)).unwrap();
        let (width, height) = picture.size();
        assert_eq!(height, 344);
        assert!((1400..1600).contains(&width), "{width}");
        let full = PANEL_WIDTH * BAR_HEIGHT;
        // The grid lines behind, the axis in front, and fractions of pixels at the ends.
        let close = |color, bars: f64| {
            let painted = picture.count(color) as f64;
            assert!((painted - bars * full).abs() < 150.0, "{color:?}: {painted}");
        };
        close(GREEN, 0.75);
        close(VERMILION, 1.0);
        close(BLUE, 1.25);
    }

    #[test]
    fn a_tick_shows_the_bias_of_noise_alone() {
        let bare = row("rloo", 0.9, 0.1, 1.0);
        let rows = [EstimatorRow { bias_floor: 0.4, ..bare.clone() }];
        let picture = Picture::of(|path| draw_estimators("a run", &rows, path)).unwrap();
        let without = Picture::of(|path| draw_estimators("a run", &[bare], path)).unwrap();
        // The tick widens the range to four times the bias, and is the only ink that is new.
        let painted = picture.count(VERMILION) as f64;
        assert!((painted - PANEL_WIDTH * BAR_HEIGHT / 4.0).abs() < 150.0, "{painted}");
        assert!(picture.count(INK) > without.count(INK) + 60);
    }

    #[test]
    fn a_negative_cosine_points_to_the_left() {
        let rows = [row("wrong way", -0.5, 2.0, 0.0)];
        let picture = Picture::of(|path| draw_estimators("a run", &rows, path)).unwrap();
        // The range is [-0.5, 1], so the bar takes a third.
        let painted = picture.count(GREEN) as f64;
        assert!((painted - PANEL_WIDTH * BAR_HEIGHT / 3.0).abs() < 150.0, "{painted}");
    }

    #[test]
    fn a_value_that_is_not_finite_is_an_error_that_names_it() {
        let rows = [row("REBAR", 0.9, 0.0, f64::NAN)];
        let error =
            draw_estimators("a run", &rows, Path::new("never written")).unwrap_err().to_string();
        assert!(error.starts_with("relative_std of REBAR is NaN"), "{error}");
        assert!(draw_estimators("a run", &[], Path::new("never written")).is_err());
    }
}
