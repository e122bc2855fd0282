//! The figure of the Gumbel-Softmax paper (Jang et al. 2017, fig. 1): what the temperature does to
//! relaxed samples and to their expectation.

use std::path::Path;

use anyhow::{Result, ensure};

use super::axes::{Frame, LABEL_SIZE, Range, TICK_SIZE, TITLE_SIZE};
use super::canvas::{Align, BLUE, Canvas, Color, GREY, INK, Rect, Text, VERMILION};
use super::finite;

const LEFT: f64 = 124.0;
const TOP: f64 = 100.0;
const PANEL_WIDTH: f64 = 225.0;
const PANEL_HEIGHT: f64 = 150.0;
/// Between the columns of the temperatures.
const COLUMN_GAP: f64 = 30.0;
/// Between the probabilities and the first temperature: two row names, ticks.
const WIDE_GAP: f64 = 165.0;
const ROW_GAP: f64 = 36.0;
/// Between the expectations and the samples.
const WIDE_ROW_GAP: f64 = 60.0;
const RIGHT_MARGIN: f64 = 40.0;
/// Ticks and the name of the axis.
const BOTTOM: f64 = 100.0;
/// Where the marks are explained, below the probabilities.
const LEGEND: f64 = TOP + PANEL_HEIGHT + 120.0;

/// From this width on, in pixels, a bar is drawn in whole pixels.
const WIDE_BAR: f64 = 8.0;

/// Where all expectations stay below this, their axis is shorter than [0, 1]: the bars would be
/// too low to compare.
const LOW: f64 = 0.2;

/// A categorical distribution and its relaxations.
#[derive(Clone, Debug)]
pub(crate) struct TemperatureFigure {
    /// Number of categories.
    pub(crate) categories: usize,
    /// Probabilities of the categories.
    pub(crate) probs: Vec<f64>,
    /// One column per temperature.
    pub(crate) panels: Vec<TemperaturePanel>,
}

/// Relaxed samples at one temperature; each vector holds one value in [0, 1] per category.
#[derive(Clone, Debug)]
pub(crate) struct TemperaturePanel {
    /// τ
    pub(crate) temperature: f64,
    /// Mean of many relaxed samples.
    pub(crate) expectation: Vec<f64>,
    /// Single relaxed samples.
    pub(crate) samples: Vec<Vec<f64>>,
}

/// Draws the probabilities in the first column, and one column per temperature beside it: the
/// expectation of the relaxed sample on top, with the probabilities marked, single samples below.
///
/// # Errors
/// When a vector does not hold one value in [0, 1] per category, when there is no column, or when
/// the file cannot be written.
pub(crate) fn draw_temperature(figure: &TemperatureFigure, path: &Path) -> Result<()> {
    check(figure)?;
    let n_samples = figure.panels.iter().map(|panel| panel.samples.len()).max().unwrap_or(0);
    let width = column_left(figure.panels.len() - 1) + PANEL_WIDTH + RIGHT_MARGIN;
    let height = (row_top(n_samples) + PANEL_HEIGHT + BOTTOM).max(LEGEND + 60.0);
    let mut canvas = Canvas::new(width, height)?;

    let frame = panel_frame(figure, LEFT, 0);
    title(&mut canvas, &frame, "categorical");
    frame.y_grid(&mut canvas, &frame.y.ticks(2));
    bars(&mut canvas, &frame, &figure.probs, GREY);
    category_axis(&mut canvas, &frame);
    upward_name(&mut canvas, "probability", 30.0, &frame, &frame);
    legend(&mut canvas);

    for (column, panel) in figure.panels.iter().enumerate() {
        let left = column_left(column);
        let expectation = panel_frame(figure, left, 0);
        title(&mut canvas, &expectation, &format!("τ = {}", panel.temperature));
        grid(&mut canvas, &expectation, column == 0);
        bars(&mut canvas, &expectation, &panel.expectation, BLUE);
        marks(&mut canvas, &expectation, &figure.probs);
        for (row, sample) in panel.samples.iter().enumerate() {
            let frame = panel_frame(figure, left, row + 1);
            grid(&mut canvas, &frame, column == 0);
            bars(&mut canvas, &frame, sample, VERMILION);
        }
        for row in 0..panel.samples.len() {
            panel_frame(figure, left, row).x_axis(&mut canvas, &[]);
        }
        category_axis(&mut canvas, &panel_frame(figure, left, panel.samples.len()));
    }

    let names_at = column_left(0) - 94.0;
    let (first, last) = (panel_frame(figure, LEFT, 1), panel_frame(figure, LEFT, n_samples));
    upward_name(&mut canvas, "expectation", names_at, &frame, &frame);
    if n_samples > 0 {
        let name = if n_samples == 1 { "sample" } else { "single samples" };
        upward_name(&mut canvas, name, names_at, &first, &last);
    }
    canvas.save(path)
}

fn check(figure: &TemperatureFigure) -> Result<()> {
    let n = figure.categories;
    ensure!(n >= 1, "a figure of {n} categories shows nothing");
    ensure!(!figure.panels.is_empty(), "there is no temperature to draw");
    check_values(&figure.probs, n, "probs")?;
    for panel in &figure.panels {
        let tau = finite(panel.temperature, || "temperature".to_owned())?;
        ensure!(tau > 0.0, "temperature is {tau}, but it must be greater than 0");
        check_values(&panel.expectation, n, &format!("expectation at temperature {tau}"))?;
        for (i, sample) in panel.samples.iter().enumerate() {
            check_values(sample, n, &format!("sample {i} at temperature {tau}"))?;
        }
    }
    Ok(())
}

fn check_values(values: &[f64], n: usize, what: &str) -> Result<()> {
    ensure!(values.len() == n, "{what} has {} values for {n} categories", values.len());
    for (i, &value) in values.iter().enumerate() {
        let value = finite(value, || format!("{what}[{i}]"))?;
        // Rounding in f32 may leave [0, 1] by this much.
        ensure!((-1e-5..=1.0 + 1e-5).contains(&value), "{what}[{i}] is {value}, outside [0, 1]");
    }
    Ok(())
}

fn column_left(column: usize) -> f64 {
    LEFT + PANEL_WIDTH + WIDE_GAP + column as f64 * (PANEL_WIDTH + COLUMN_GAP)
}

/// Row 0 holds the expectations.
fn row_top(row: usize) -> f64 {
    let extra = if row > 0 { WIDE_ROW_GAP - ROW_GAP } else { 0.0 };
    TOP + row as f64 * (PANEL_HEIGHT + ROW_GAP) + extra
}

fn panel_frame(figure: &TemperatureFigure, left: f64, row: usize) -> Frame {
    let top = row_top(row);
    Frame {
        area: Rect { left, top, right: left + PANEL_WIDTH, bottom: top + PANEL_HEIGHT },
        x: Range { low: -0.6, high: figure.categories as f64 - 0.4 },
        y: Range { low: 0.0, high: if row == 0 { top_of_first_row(figure) } else { 1.0 } },
    }
}

/// 1, or less for many categories.
fn top_of_first_row(figure: &TemperatureFigure) -> f64 {
    let expectations = figure.panels.iter().flat_map(|panel| &panel.expectation);
    let highest = figure.probs.iter().chain(expectations).copied().fold(0.0, f64::max);
    if highest >= LOW { 1.0 } else { 1.15 * highest.max(1e-3) }
}

/// The grid, with values where a row begins.
fn grid(canvas: &mut Canvas, frame: &Frame, with_values: bool) {
    let mut ticks = frame.y.ticks(2);
    if !with_values {
        ticks.iter_mut().for_each(|tick| tick.1.clear());
    }
    frame.y_grid(canvas, &ticks);
}

fn bars(canvas: &mut Canvas, frame: &Frame, values: &[f64], color: Color) {
    for (category, &value) in values.iter().enumerate() {
        let (left, right) = bar_sides(frame, category);
        canvas.fill(
            Rect { left, right, top: frame.y(value.clamp(0.0, 1.0)), bottom: frame.area.bottom },
            color,
        );
    }
}

/// Short lines at the height that bars would have.
fn marks(canvas: &mut Canvas, frame: &Frame, values: &[f64]) {
    for (category, &value) in values.iter().enumerate() {
        let (left, right) = bar_sides(frame, category);
        let thickness = if right - left >= WIDE_BAR { 4.0 } else { 2.0 };
        let bottom = (frame.y(value) + thickness / 2.0).min(frame.area.bottom);
        canvas.fill(Rect { left, right, top: bottom - thickness, bottom }, INK);
    }
}

/// What the marks are.
fn legend(canvas: &mut Canvas) {
    let mark = Rect { left: LEFT, right: LEFT + 30.0, top: LEGEND - 2.0, bottom: LEGEND + 2.0 };
    canvas.fill(mark, INK);
    let how = Text::new(TICK_SIZE, INK);
    canvas.text("probability, for", (mark.right + 12.0, LEGEND), how);
    canvas.text("comparison", (mark.right + 12.0, LEGEND + 30.0), how);
}

fn bar_sides(frame: &Frame, category: usize) -> (f64, f64) {
    let middle = category as f64;
    let (left, right) = (frame.x(middle - 0.4), frame.x(middle + 0.4));
    // Whole pixels are crisp where there are enough of them.
    if right - left >= WIDE_BAR { (left.round(), right.round()) } else { (left, right) }
}

fn category_axis(canvas: &mut Canvas, frame: &Frame) {
    let n_ticks = if frame.x.span() <= 10.0 { 10 } else { 5 };
    frame.x_axis(canvas, &frame.x.whole_ticks(n_ticks));
    let how = Text::new(LABEL_SIZE, INK).align(Align::Middle);
    let middle = f64::midpoint(frame.area.left, frame.area.right);
    canvas.text("category", (middle, frame.area.bottom + 58.0), how);
}

fn title(canvas: &mut Canvas, frame: &Frame, title: &str) {
    let how = Text::new(TITLE_SIZE - 4.0, INK).bold().align(Align::Middle);
    canvas.text(title, (f64::midpoint(frame.area.left, frame.area.right), 50.0), how);
}

/// A name beside the rows from `first` to `last`.
fn upward_name(canvas: &mut Canvas, name: &str, x: f64, first: &Frame, last: &Frame) {
    let how = Text::new(TICK_SIZE, INK).align(Align::Middle).upwards();
    canvas.text(name, (x, f64::midpoint(first.area.top, last.area.bottom)), how);
}

#[cfg(test)]
mod tests {
    use super::super::testing::Picture;
    use super::*;

    fn figure(categories: usize, n_samples: usize) -> TemperatureFigure {
        let total = (categories * (categories + 1)) as f64 / 2.0;
        let probs: Vec<f64> = (1..=categories).map(|i| i as f64 / total).collect();
        let one_hot = |hot: usize| (0..categories).map(|i| f64::from(u8::from(i == hot))).collect();
        let panels = [0.1, 0.5, 1.0, 10.0].map(|temperature| TemperaturePanel {
            temperature,
            expectation: probs.clone(),
            samples: (0..n_samples).map(|i| one_hot(i % categories)).collect(),
        });
        TemperatureFigure { categories, probs, panels: panels.into() }
    }

    #[test]
    fn every_panel_is_drawn() {
        for categories in [1, 2, 7, 50] {
            let picture =
                Picture::of(|path| draw_temperature(&figure(categories, 3), path)).unwrap();
            assert_eq!(picture.size(), (1544, 932), "{categories} categories");
            // A sample is one bar over the whole height of its panel, and there are twelve.
            let bar = 0.8 * PANEL_WIDTH / (categories as f64 + 0.2) * PANEL_HEIGHT;
            let ratio = picture.count(VERMILION) as f64 / (12.0 * bar);
            // Of thin bars the columns at both sides are mixed with the background.
            let least = if categories == 50 { 0.4 } else { 0.9 };
            assert!((least..1.05).contains(&ratio), "{categories} categories: {ratio}");
            assert!(picture.count(BLUE) > 1000);
        }
    }

    #[test]
    fn low_probabilities_have_a_shorter_axis() {
        let top = |categories| panel_frame(&figure(categories, 1), LEFT, 0).y.high;
        assert_eq!(top(5), 1.0);
        // The highest of fifty is 2/51.
        assert!((0.04..0.05).contains(&top(50)), "{}", top(50));
        assert_eq!(panel_frame(&figure(50, 1), LEFT, 1).y.high, 1.0);
    }

    #[test]
    fn without_samples_there_is_one_row() {
        let picture = Picture::of(|path| draw_temperature(&figure(5, 0), path)).unwrap();
        assert_eq!(picture.size(), (1544, 430));
        assert_eq!(picture.count(VERMILION), 0);
    }

    #[test]
    fn wrong_values_are_errors_that_name_them() {
        type Spoil = fn(&mut TemperatureFigure);
        let cases: [(&str, Spoil); 7] = [
            ("probs[1] is NaN", |f| f.probs[1] = f64::NAN),
            ("probs has 2 values for 3 categories", |f| f.probs.truncate(2)),
            ("expectation at temperature 0.1[0] is inf", |f| {
                f.panels[0].expectation[0] = f64::INFINITY;
            }),
            ("sample 1 at temperature 0.5[2] is 1.5, outside [0, 1]", |f| {
                f.panels[1].samples[1][2] = 1.5;
            }),
            ("temperature is -1, but it must be greater than 0", |f| {
                f.panels[2].temperature = -1.0
            }),
            ("there is no temperature to draw", |f| f.panels.clear()),
            ("a figure of 0 categories", |f| f.categories = 0),
        ];
        for (message, spoil) in cases {
            let mut figure = figure(3, 2);
            spoil(&mut figure);
            let error =
                draw_temperature(&figure, Path::new("never written")).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn more_samples_than_a_picture_holds_are_an_error() {
        assert!(draw_temperature(&figure(2, 1000), Path::new("never written")).is_err());
    }
}
