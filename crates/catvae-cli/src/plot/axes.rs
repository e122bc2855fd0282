//! Data ranges, round ticks, and frames that map data to pixels.

use super::canvas::{Align, Canvas, Color, GREY, LIGHT_GREY, Point, Rect, Text};

/// Sizes of letters in pixels, for pictures about 1400 pixels wide.
pub(super) const TITLE_SIZE: f64 = 32.0;
pub(super) const LABEL_SIZE: f64 = 24.0;
pub(super) const TICK_SIZE: f64 = 22.0;

/// A closed range of data values, never empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Range {
    /// The smallest range that holds the values; `None` without values.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        values.into_iter().fold(None, |range, value| match range {
            None => Some(Self { low: value, high: value }),
            Some(Self { low, high }) => Some(Self { low: low.min(value), high: high.max(value) }),
        })
    }

    pub(super) fn span(self) -> f64 {
        self.high - self.low
    }

    pub(super) fn contains(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Wider by a fraction of its span on both sides; a single value gets room around it.
    pub(super) fn padded(self, fraction: f64) -> Self {
        let by = if self.span() > 1e-9 * self.high.abs() {
            fraction * self.span()
        } else {
            (0.05 * self.high.abs()).max(1e-3)
        };
        Self { low: self.low - by, high: self.high + by }
    }

    /// About `n` ticks at round values, with their labels.
    pub(super) fn ticks(self, n: usize) -> Vec<(f64, String)> {
        self.ticks_by(round_step(self.span() / n.max(1) as f64))
    }

    /// About `n` ticks at whole numbers.
    pub(super) fn whole_ticks(self, n: usize) -> Vec<(f64, String)> {
        self.ticks_by(round_step((self.span() / n.max(1) as f64).max(1.0)))
    }

    fn ticks_by(self, step: f64) -> Vec<(f64, String)> {
        let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        // A tick just outside because of rounding is still one.
        let first = (self.low / step - 1e-6).ceil() as i64;
        let last = (self.high / step + 1e-6).floor() as i64;
        (first..=last).map(|i| (i as f64 * step, number(i as f64 * step, decimals))).collect()
    }
}

/// The nearest of 1, 2, 5 and 10 times a power of ten, by their ratio.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factor = match step / power {
        // The bounds are the geometric means of neighbours.
        ratio if ratio < 2_f64.sqrt() => 1.0,
        ratio if ratio < 10_f64.sqrt() => 2.0,
        ratio if ratio < 50_f64.sqrt() => 5.0,
        _ => 10.0,
    };
    factor * power
}

/// A number with a true minus sign; one that would be too long in powers of ten.
pub(super) fn number(value: f64, decimals: usize) -> String {
    let text =
        if value.abs() < 1e7 { format!("{value:.decimals$}") } else { format!("{value:.2e}") };
    match text.strip_prefix('-') {
        // Not "−0.0".
        Some(digits) if digits.bytes().all(|b| b == b'0' || b == b'.') => digits.to_owned(),
        Some(digits) => format!("−{digits}"),
        None => text,
    }
}

/// A rectangle of the picture that shows a range of data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) area: Rect,
    pub(super) x: Range,
    pub(super) y: Range,
}

impl Frame {
    pub(super) fn x(&self, value: f64) -> f64 {
        let fraction = (value - self.x.low) / self.x.span();
        self.area.left + fraction * (self.area.right - self.area.left)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let fraction = (value - self.y.low) / self.y.span();
        self.area.bottom - fraction * (self.area.bottom - self.area.top)
    }

    pub(super) fn point(&self, (x, y): (f64, f64)) -> Point {
        (self.x(x), self.y(y))
    }

    /// A horizontal hairline across the frame.
    pub(super) fn horizontal(&self, canvas: &mut Canvas, y: f64, width: f64, color: Color) {
        let middle = self.y(y).round();
        let Rect { left, right, .. } = self.area;
        canvas.fill(
            Rect { left, right, top: middle - width / 2.0, bottom: middle + width / 2.0 },
            color,
        );
    }

    /// A vertical hairline across the frame.
    pub(super) fn vertical(&self, canvas: &mut Canvas, x: f64, width: f64, color: Color) {
        let middle = self.x(x).round();
        let Rect { top, bottom, .. } = self.area;
        canvas.fill(
            Rect { left: middle - width / 2.0, right: middle + width / 2.0, top, bottom },
            color,
        );
    }

    /// Horizontal grid lines with their values to the left.
    pub(super) fn y_grid(&self, canvas: &mut Canvas, ticks: &[(f64, String)]) {
        let how = Text::new(TICK_SIZE, GREY).align(Align::End);
        for (value, label) in ticks {
            self.horizontal(canvas, *value, 2.0, LIGHT_GREY);
            canvas.text(label, (self.area.left - 14.0, self.y(*value)), how);
        }
    }

    /// The bottom line, and ticks with their values below.
    pub(super) fn x_axis(&self, canvas: &mut Canvas, ticks: &[(f64, String)]) {
        let Rect { left, right, bottom, .. } = self.area;
        canvas.fill(Rect { left, right, top: bottom - 1.0, bottom: bottom + 1.0 }, GREY);
        let how = Text::new(TICK_SIZE, GREY).align(Align::Middle);
        for (value, label) in ticks {
            let x = self.x(*value).round();
            canvas.fill(
                Rect { left: x - 1.0, right: x + 1.0, top: bottom, bottom: bottom + 8.0 },
                GREY,
            );
            canvas.text(label, (x, bottom + 24.0), how);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: Vec<(f64, String)>) -> Vec<String> {
        ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let range = Range { low: 96.3, high: 131.2 };
        assert_eq!(labels(range.ticks(4)), ["100", "110", "120", "130"]);
        let range = Range { low: 0.0, high: 1.0 };
        assert_eq!(labels(range.ticks(2)), ["0.0", "0.5", "1.0"]);
        let range = Range { low: -0.3, high: 0.31 };
        assert_eq!(labels(range.ticks(3)), ["−0.2", "0.0", "0.2"]);
        let range = Range { low: 0.5, high: 1.5 };
        assert_eq!(labels(range.whole_ticks(10)), ["1"]);
        let range = Range { low: 1.0, high: 200.0 };
        assert_eq!(labels(range.whole_ticks(10)).len(), 10);
    }

    #[test]
    fn a_single_value_has_room_around_it() {
        for value in [0.0, 1.0, -3.0, 1e9] {
            let range = Range::of([value]).unwrap().padded(0.1);
            assert!(range.low < value && value < range.high);
            assert!(!range.ticks(4).is_empty());
        }
        assert_eq!(Range::of([]), None);
    }

    #[test]
    fn a_frame_maps_corners_to_corners() {
        let area = Rect { left: 10.0, top: 20.0, right: 110.0, bottom: 220.0 };
        let frame =
            Frame { area, x: Range { low: 1.0, high: 3.0 }, y: Range { low: -1.0, high: 1.0 } };
        assert_eq!(frame.point((1.0, -1.0)), (10.0, 220.0));
        assert_eq!(frame.point((3.0, 1.0)), (110.0, 20.0));
        assert_eq!(frame.point((2.0, 0.0)), (60.0, 120.0));
    }
}
