//! Groups of runs over their epochs: the mean of each over its seeds, with a band of one standard deviation.

use std::path::Path;

use anyhow::{Result, ensure};

use super::axes::{Frame, LABEL_SIZE, Range, TICK_SIZE, TITLE_SIZE};
use super::canvas::{Align, BLUE, Canvas, Color, GREEN, GREY, INK, PURPLE, Rect, Text, VERMILION};
use super::{finite, shortened};

const WIDTH: f64 = 1400.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = WIDTH - 60.0;
const HEIGHT: f64 = 560.0;
const BOTTOM: f64 = 100.0;
/// A line of the legend.
const LINE: f64 = 36.0;
const COLORS: [Color; 5] = [BLUE, VERMILION, GREEN, PURPLE, GREY];

/// A group of runs.
pub(crate) struct Band {
    pub(crate) name: String,
    /// (epoch, mean, standard deviation)
    pub(crate) points: Vec<(f64, f64, f64)>,
}

/// Draws the groups, the first five in colours of their own. The first epoch of long runs is left out: it lies far above
/// the rest.
///
/// # Errors
/// Where no epoch was evaluated, a number is not finite, or the file cannot be written.
pub(crate) fn draw_comparison(bands: &[Band], path: &Path) -> Result<()> {
    let shown: Vec<&[(f64, f64, f64)]> =
        bands.iter().map(|b| &b.points[usize::from(b.points.len() > 3)..]).collect();
    for (band, &(epoch, mean, sd)) in
        bands.iter().zip(&shown).flat_map(|(b, s)| s.iter().map(move |p| (b, p)))
    {
        finite(mean + sd, || format!("epoch {epoch} of {}", band.name))?;
    }
    let points = || shown.iter().flat_map(|points| points.iter());
    let (Some(x), Some(y)) = (
        Range::of(points().map(|p| p.0)),
        Range::of(points().flat_map(|p| [p.1 - p.2, p.1 + p.2])),
    ) else {
        ensure!(false, "there are no evaluated epochs to draw");
        return Ok(());
    };
    let top = 90.0 + LINE * bands.len() as f64;
    let mut canvas = Canvas::new(WIDTH, top + HEIGHT + BOTTOM)?;
    canvas.text("Comparison", (LEFT, 44.0), Text::new(TITLE_SIZE, INK).bold());
    let area = Rect { left: LEFT, top, right: RIGHT, bottom: top + HEIGHT };
    let frame = Frame { area, x: x.padded(0.02), y: y.padded(0.06) };
    frame.y_grid(&mut canvas, &frame.y.ticks(6));
    let color = |i: usize| COLORS[i.min(COLORS.len() - 1)];
    for (i, points) in shown.iter().enumerate() {
        for pair in points.windows(2) {
            fill_between(&mut canvas, &frame, pair[0], pair[1], tint(color(i)));
        }
    }
    for (i, (band, points)) in bands.iter().zip(&shown).enumerate() {
        let line: Vec<_> = points.iter().map(|p| frame.point((p.0, p.1))).collect();
        canvas.line(&line, 4.0, color(i), area);
        line.iter().for_each(|&point| canvas.disc(point, 6.0, color(i)));
        let y = 90.0 + LINE * i as f64;
        canvas
            .fill(Rect { left: LEFT, top: y - 2.0, right: LEFT + 44.0, bottom: y + 2.0 }, color(i));
        let how = Text::new(TICK_SIZE, INK);
        let name = shortened(&canvas, &band.name, how, RIGHT - LEFT - 60.0);
        canvas.text(&name, (LEFT + 60.0, y), how);
    }
    frame.x_axis(&mut canvas, &x.whole_ticks(12));
    let how = Text::new(LABEL_SIZE, INK).align(Align::Middle);
    canvas.text("epoch", (f64::midpoint(LEFT, RIGHT), top + HEIGHT + 70.0), how);
    let middle = f64::midpoint(area.top, area.bottom);
    canvas.text("exact negative ELBO, held out (nats)", (40.0, middle), how.upwards());
    canvas.save(path)
}

/// The band between two epochs, in columns of two pixels.
fn fill_between(
    canvas: &mut Canvas,
    frame: &Frame,
    from: (f64, f64, f64),
    to: (f64, f64, f64),
    color: Color,
) {
    let (left, right) = (frame.x(from.0), frame.x(to.0));
    let n = ((right - left) / 2.0).ceil().max(1.0);
    for i in 0..n as usize {
        let along = (i as f64 + 0.5) / n;
        let (mean, sd) = (from.1 + along * (to.1 - from.1), from.2 + along * (to.2 - from.2));
        let x = left + (right - left) * i as f64 / n;
        let (top, bottom) = (frame.y(mean + sd), frame.y(mean - sd));
        canvas.fill(Rect { left: x, top, right: x + (right - left) / n, bottom }, color);
    }
}

fn tint(Color(rgb): Color) -> Color {
    Color(rgb.map(|c| (f64::from(c) * 0.22 + 255.0 * 0.78) as u8))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Picture;
    use super::*;

    #[test]
    fn groups_are_drawn_with_their_bands() {
        let band = |name: &str, by: f64| Band {
            name: name.to_owned(),
            points: (1..=8).map(|n| (f64::from(n), by + 90.0 / f64::from(n), 1.5)).collect(),
        };
        let bands = [band("a", 100.0), band("b", 110.0)];
        let picture = Picture::of(|path| draw_comparison(&bands, path)).unwrap();
        for color in [BLUE, VERMILION, tint(BLUE)] {
            assert!(picture.count(color) > 500, "{color:?}");
        }
        let none = [Band { name: "a".to_owned(), points: Vec::new() }];
        assert!(draw_comparison(&none, Path::new("never written")).is_err());
        let mut wrong = band("a", 1.0);
        wrong.points[5].1 = f64::NAN;
        assert!(draw_comparison(&[wrong], Path::new("never written")).is_err());
    }
}
