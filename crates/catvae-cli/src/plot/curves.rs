//! Training curves: the objectives over the epochs, and the temperature below where it moves.

use std::path::Path;

use anyhow::{Result, ensure};
use catvae_train::EpochMetrics;

use super::axes::{Frame, LABEL_SIZE, Range, TICK_SIZE, TITLE_SIZE, number};
use super::canvas::{
    Align, BLUE, Canvas, Color, GREEN, GREY, INK, PURPLE, Point, Rect, Text, VERMILION, WHITE,
};
use super::{finite, shortened};

const WIDTH: f64 = 1400.0;
const LEFT: f64 = 130.0;
/// Leaves room for names and final values.
const RIGHT: f64 = WIDTH - 310.0;
const TOP: f64 = 124.0;
const OBJECTIVE_HEIGHT: f64 = 560.0;
const TEMPERATURE_HEIGHT: f64 = 130.0;
/// Between the panels.
const GAP: f64 = 36.0;
/// Below the last panel: ticks and the name of the axis.
const BOTTOM: f64 = 100.0;

/// Up to this many points, each is marked.
const MAX_MARKED: usize = 30;
/// With fewer epochs than this, all values are shown.
const MIN_EPOCHS_TO_CUT: usize = 4;
/// Above the later values by less than this share of their span, the first values are shown too.
const TOLERATED_EXCESS: f64 = 0.6;

/// One line of the plot.
struct Series {
    name: &'static str,
    color: Color,
    /// (epoch, value)
    points: Vec<(f64, f64)>,
}

/// Draws the relaxed and the unrelaxed training objective and those on validation and test images, each where it
/// was computed, over epochs; and the temperature below them when it changes.
///
/// The first epochs lie far above the rest: where they would squeeze it, the lines leave the frame
/// at the top, and the values of the first epoch are written there. The title says the run's name and τ.
///
/// # Errors
/// Without metrics, when a value is not finite, or when the file cannot be written.
pub(crate) fn draw_curves(name: &str, metrics: &[EpochMetrics], path: &Path) -> Result<()> {
    ensure!(!metrics.is_empty(), "there are no epochs to draw");
    let series = objectives(metrics)?;
    let temperature = temperatures(metrics)?;
    let moves = temperature.points.iter().any(|point| point.1 != temperature.points[0].1);

    let height =
        TOP + OBJECTIVE_HEIGHT + if moves { GAP + TEMPERATURE_HEIGHT } else { 0.0 } + BOTTOM;
    let mut canvas = Canvas::new(WIDTH, height)?;
    let heading = Text::new(TITLE_SIZE, INK).bold();
    let [first, last] = [metrics[0].temperature, metrics[metrics.len() - 1].temperature];
    let tau = if first == last {
        format!("τ = {first}")
    } else {
        format!("τ from {first:.3} to {last:.3}")
    };
    let tail = format!(", {tau}");
    let room = WIDTH - 2.0 * LEFT - canvas.text_width(&tail, heading);
    let title = shortened(&canvas, name, heading, room) + &tail;
    canvas.text(&title, (LEFT, 44.0), heading);

    let first_and_last = [metrics[0].epoch as f64, metrics[metrics.len() - 1].epoch as f64];
    let (epochs, epoch_ticks) = epoch_axis(first_and_last);
    let area = Rect { left: LEFT, top: TOP, right: RIGHT, bottom: TOP + OBJECTIVE_HEIGHT };
    let mut frame = Frame { area, x: epochs, y: objective_range(&series) };
    frame.y_grid(&mut canvas, &frame.y.ticks(6));
    axis_name(&mut canvas, &frame, "negative ELBO (nats per image)");
    for line in &series {
        draw_series(&mut canvas, &frame, line);
    }
    first_values(&mut canvas, &frame, &series);
    final_values(&mut canvas, &frame, &series);

    if moves {
        frame.x_axis(&mut canvas, &[]);
        let top = area.bottom + GAP;
        let area = Rect { top, bottom: top + TEMPERATURE_HEIGHT, ..area };
        let y = Range::of(temperature.points.iter().map(|point| point.1)).unwrap_or(epochs);
        frame = Frame { area, x: epochs, y: y.padded(0.15) };
        frame.y_grid(&mut canvas, &frame.y.ticks(2));
        axis_name(&mut canvas, &frame, "temperature");
        draw_series(&mut canvas, &frame, &temperature);
        final_values(&mut canvas, &frame, std::slice::from_ref(&temperature));
    }
    frame.x_axis(&mut canvas, &epoch_ticks);
    let below = Text::new(LABEL_SIZE, INK).align(Align::Middle);
    canvas.text("epoch", (f64::midpoint(LEFT, RIGHT), height - 30.0), below);
    canvas.save(path)
}

/// The objectives that were computed at least once.
fn objectives(metrics: &[EpochMetrics]) -> Result<Vec<Series>> {
    let all = [
        Series {
            name: "train, relaxed",
            color: BLUE,
            points: points(metrics, "train_neg_elbo", |m| Some(m.train_neg_elbo))?,
        },
        Series {
            name: "train, unrelaxed",
            color: VERMILION,
            points: points(metrics, "train_neg_elbo_unrelaxed", |m| m.train_neg_elbo_unrelaxed)?,
        },
        Series {
            name: "validation",
            color: PURPLE,
            points: points(metrics, "validation_neg_elbo", |m| m.validation_neg_elbo)?,
        },
        Series {
            name: "test",
            color: GREEN,
            points: points(metrics, "test_neg_elbo", |m| m.test_neg_elbo)?,
        },
    ];
    Ok(all.into_iter().filter(|series| !series.points.is_empty()).collect())
}

fn temperatures(metrics: &[EpochMetrics]) -> Result<Series> {
    let points = points(metrics, "temperature", |m| Some(m.temperature))?;
    Ok(Series { name: "τ", color: GREY, points })
}

/// The values of a field where there are any.
fn points(
    metrics: &[EpochMetrics],
    field: &str,
    value: impl Fn(&EpochMetrics) -> Option<f64>,
) -> Result<Vec<(f64, f64)>> {
    let known = metrics.iter().filter_map(|m| value(m).map(|v| (m.epoch, v)));
    known
        .map(|(epoch, v)| Ok((epoch as f64, finite(v, || format!("{field} of epoch {epoch}"))?)))
        .collect()
}

/// A little wider than the epochs, so that the first and the last marker are whole; with ticks at
/// epochs only.
fn epoch_axis([first, last]: [f64; 2]) -> (Range, Vec<(f64, String)>) {
    let room = if last > first { 0.02 * (last - first) } else { 0.5 };
    let ticks = Range { low: first, high: last }.whole_ticks(12);
    (Range { low: first - room, high: last + room }, ticks)
}

/// From the epochs after the first, or after the first twentieth of many, unless all fit well.
fn objective_range(series: &[Series]) -> Range {
    let values = |n_skipped: fn(usize) -> usize| {
        let kept = series.iter().flat_map(move |s| s.points.iter().skip(n_skipped(s.points.len())));
        Range::of(kept.map(|point| point.1))
    };
    let all = values(|_| 0).unwrap_or(Range { low: 0.0, high: 1.0 });
    let n_epochs = series.iter().map(|s| s.points.len()).max().unwrap_or(0);
    let shown = match values(|n_points| (n_points / 20).max(1)) {
        Some(later)
            if n_epochs >= MIN_EPOCHS_TO_CUT
                && later.span() > 0.0
                && all.high > later.high + TOLERATED_EXCESS * later.span() =>
        {
            Range { low: all.low, high: later.high + 0.1 * later.span() }
        }
        _ => all,
    };
    shown.padded(0.06)
}

fn draw_series(canvas: &mut Canvas, frame: &Frame, series: &Series) {
    let pixels: Vec<Point> = series.points.iter().map(|&point| frame.point(point)).collect();
    canvas.line(&pixels, 4.0, series.color, frame.area);
    if pixels.len() <= MAX_MARKED {
        for (&(_, value), &pixel) in series.points.iter().zip(&pixels) {
            if frame.y.contains(value) {
                canvas.disc(pixel, 9.0, WHITE);
                canvas.disc(pixel, 7.0, series.color);
            }
        }
    }
}

fn axis_name(canvas: &mut Canvas, frame: &Frame, name: &str) {
    let how = Text::new(LABEL_SIZE, INK).align(Align::Middle).upwards();
    canvas.text(name, (34.0, f64::midpoint(frame.area.top, frame.area.bottom)), how);
}

/// Writes first values that lie above the frame over the place where their line enters it.
fn first_values(canvas: &mut Canvas, frame: &Frame, series: &[Series]) {
    let above: Vec<(&Series, (f64, f64))> = series
        .iter()
        .filter_map(|s| Some((s, *s.points.first()?)))
        .filter(|(_, first)| first.1 > frame.y.high)
        .collect();
    let Some(&(_, (epoch, _))) = above.first() else { return };
    let mut x = frame.x(epoch) - 7.0;
    let y = frame.area.top - 16.0;
    let arrow = Text::new(TICK_SIZE, GREY);
    let lead = format!("↑ epoch {epoch}:");
    canvas.text(&lead, (x, y), arrow);
    x += canvas.text_width(&lead, arrow) + 12.0;
    for (series, (_, value)) in above.into_iter().filter(|(_, first)| first.0 == epoch) {
        let how = Text::new(TICK_SIZE, series.color).bold();
        let text = number(value, 1);
        canvas.text(&text, (x, y), how);
        x += canvas.text_width(&text, how) + 16.0;
    }
}

/// Writes names and last values to the right of the frame, moved apart where they would touch.
fn final_values(canvas: &mut Canvas, frame: &Frame, series: &[Series]) {
    let mut labels: Vec<(f64, &Series, f64)> = series
        .iter()
        .filter_map(|s| s.points.last().map(|&(_, value)| (frame.y(value), s, value)))
        .collect();
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let heights: Vec<f64> = labels.iter().map(|label| label.0).collect();
    for (y, (_, series, value)) in apart(&heights, 30.0, frame.area).into_iter().zip(labels) {
        let how = Text::new(LABEL_SIZE, series.color).bold();
        let decimals = if value.abs() < 10.0 { 2 } else { 1 };
        let label = format!("{} {}", series.name, number(value, decimals));
        canvas.text(&label, (frame.area.right + 14.0, y), how);
    }
}

/// Moves ascending heights at least `distance` apart, each as little as it can be, within the area.
fn apart(heights: &[f64], distance: f64, area: Rect) -> Vec<f64> {
    // Groups of touching labels are centred over where they would like to be.
    let mut groups: Vec<(f64, usize)> = Vec::new();
    for &height in heights {
        let mut group = (height.clamp(area.top, area.bottom), 1);
        while let Some(&(above, n_above)) = groups.last() {
            let needed = distance * (n_above + group.1) as f64 / 2.0;
            if group.0 - above >= needed {
                break;
            }
            let n = n_above + group.1;
            group = ((above * n_above as f64 + group.0 * group.1 as f64) / n as f64, n);
            groups.pop();
        }
        groups.push(group);
    }
    let places = groups.into_iter().flat_map(|(middle, n)| {
        (0..n).map(move |i| middle + distance * (i as f64 - (n - 1) as f64 / 2.0))
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Picture;
    use super::*;

    fn epoch(epoch: usize, value: f64) -> EpochMetrics {
        EpochMetrics {
            epoch,
            step: 600 * epoch as u64,
            temperature: 1.0,
            learning_rate: 1e-3,
            train_neg_elbo: value,
            train_bce: value - 20.0,
            train_kl: 20.0,
            train_neg_elbo_unrelaxed: Some(value + 14.0),
            validation_neg_elbo: None,
            validation_bce: None,
            validation_kl: None,
            test_neg_elbo: Some(value + 12.0),
            test_bce: None,
            test_kl: None,
            train_seconds: 10.0,
            step_ms: 16.0,
            images_per_second: 6000.0,
            best_on: None,
        }
    }

    fn run(n_epochs: usize) -> Vec<EpochMetrics> {
        (1..=n_epochs).map(|n| epoch(n, 105.0 + 90.0 / (n * n) as f64 + 15.0 / n as f64)).collect()
    }

    fn picture(metrics: &[EpochMetrics]) -> Picture {
        Picture::of(|path| draw_curves("a run", metrics, path)).unwrap()
    }

    const PLAIN: (u32, u32) = (1400, 784);
    const WITH_TEMPERATURE: (u32, u32) = (1400, 950);

    #[test]
    fn every_objective_is_drawn() {
        for n_epochs in [1, 2, 10, 200] {
            let picture = picture(&run(n_epochs));
            assert_eq!(picture.size(), PLAIN);
            for color in [BLUE, VERMILION, GREEN] {
                // More than what the label paints.
                assert!(picture.count(color) > 500, "{color:?} after {n_epochs} epochs");
            }
        }
    }

    #[test]
    fn objectives_that_were_not_computed_are_left_out() {
        let mut metrics = run(10);
        for m in &mut metrics {
            m.train_neg_elbo_unrelaxed = None;
            m.test_neg_elbo = (m.epoch % 5 == 0).then_some(120.0);
        }
        let some = picture(&metrics);
        assert_eq!(some.count(VERMILION), 0);
        assert!(some.count(GREEN) > 500);
        for m in &mut metrics {
            m.test_neg_elbo = None;
        }
        let one = picture(&metrics);
        assert_eq!(one.count(GREEN), 0);
        assert!(one.count(BLUE) > 500);
    }

    #[test]
    fn a_validation_objective_has_its_line() {
        let mut metrics = run(10);
        assert_eq!(picture(&metrics).count(PURPLE), 0);
        for m in &mut metrics {
            m.validation_neg_elbo = Some(m.train_neg_elbo + 13.0);
        }
        assert!(picture(&metrics).count(PURPLE) > 500);
    }

    #[test]
    fn a_moving_temperature_has_a_panel_below() {
        let mut metrics = run(10);
        for m in &mut metrics {
            m.temperature = (-0.1 * m.epoch as f64).exp();
        }
        assert_eq!(picture(&metrics).size(), WITH_TEMPERATURE);
    }

    #[test]
    fn a_first_epoch_far_above_leaves_the_rest_readable() {
        let mut metrics = run(10);
        metrics[0].train_neg_elbo = 1e6;
        let range = objective_range(&objectives(&metrics).unwrap());
        assert!(range.high < 200.0, "{range:?}");
        for m in &metrics[1..] {
            assert!(range.contains(m.train_neg_elbo) && range.contains(m.train_neg_elbo + 14.0));
        }
        assert_eq!(picture(&metrics).size(), PLAIN);
    }

    #[test]
    fn a_first_epoch_among_the_rest_is_shown() {
        let metrics: Vec<_> = (1..=10).map(|n| epoch(n, 120.0 - n as f64)).collect();
        let range = objective_range(&objectives(&metrics).unwrap());
        assert!(range.contains(119.0 + 14.0));
    }

    #[test]
    fn few_epochs_are_shown_whole() {
        for n_epochs in 1..MIN_EPOCHS_TO_CUT {
            let metrics = run(n_epochs);
            let range = objective_range(&objectives(&metrics).unwrap());
            assert!(range.contains(metrics[0].train_neg_elbo + 14.0), "{n_epochs} epochs");
        }
    }

    #[test]
    fn equal_values_are_drawn() {
        let metrics: Vec<_> = (1..=10).map(|n| epoch(n, 0.0)).collect();
        assert_eq!(picture(&metrics).size(), PLAIN);
    }

    #[test]
    fn a_value_that_is_not_finite_is_an_error_that_names_it() {
        type Spoil = fn(&mut EpochMetrics);
        let cases: [(&str, Spoil); 4] = [
            ("train_neg_elbo of epoch 3 is NaN", |m| m.train_neg_elbo = f64::NAN),
            ("train_neg_elbo_unrelaxed of epoch 3 is inf", |m| {
                m.train_neg_elbo_unrelaxed = Some(f64::INFINITY);
            }),
            ("test_neg_elbo of epoch 3 is -inf", |m| m.test_neg_elbo = Some(f64::NEG_INFINITY)),
            ("temperature of epoch 3 is NaN", |m| m.temperature = f64::NAN),
        ];
        for (message, spoil) in cases {
            let mut metrics = run(5);
            spoil(&mut metrics[2]);
            let error =
                draw_curves("a run", &metrics, Path::new("never written")).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        assert!(draw_curves("a run", &[], Path::new("never written")).is_err());
    }

    #[test]
    fn labels_move_apart_as_little_as_they_can() {
        let area = Rect { left: 0.0, top: 0.0, right: 10.0, bottom: 100.0 };
        assert_eq!(apart(&[10.0, 50.0], 20.0, area), [10.0, 50.0]);
        assert_eq!(apart(&[40.0, 50.0], 20.0, area), [35.0, 55.0]);
        assert_eq!(apart(&[40.0, 50.0, 51.0], 20.0, area), [27.0, 47.0, 67.0]);
        assert_eq!(apart(&[], 20.0, area), Vec::<f64>::new());
    }
}
