//! Antialiased rectangles, lines, discs and text on an RGB picture, and the same as SVG.

use std::fmt::Write;
use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result};
use image::{ImageFormat, Rgb, RgbImage};

use super::font::{CAP_HEIGHT, Style, Typeface, Weight};
use crate::grid::{has_extension, write_file};

/// An sRGB colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Color(pub(super) [u8; 3]);

impl std::fmt::Display for Color {
    /// As in CSS.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

// The palette of Okabe and Ito, "Color universal design" (2008), and greys.
pub(super) const BLUE: Color = Color([0, 114, 178]);
pub(super) const VERMILION: Color = Color([213, 94, 0]);
pub(super) const GREEN: Color = Color([0, 158, 115]);
pub(super) const PURPLE: Color = Color([204, 121, 167]);
pub(super) const INK: Color = Color([34, 34, 34]);
pub(super) const GREY: Color = Color([102, 102, 102]);
pub(super) const LIGHT_GREY: Color = Color([228, 228, 228]);
pub(super) const WHITE: Color = Color([255, 255, 255]);

/// In pixels; y grows downwards.
pub(super) type Point = (f64, f64);

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

/// How a line of text is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub(super) style: Style,
    pub(super) color: Color,
    pub(super) align: Align,
    /// A quarter turn, to be read from bottom to top.
    pub(super) upwards: bool,
}

/// Which part of a text is at its point; vertically it is always the middle of the capitals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Align {
    Start,
    Middle,
    End,
}

impl Text {
    pub(super) fn new(size: f64, color: Color) -> Self {
        let style = Style { size, weight: Weight::Regular };
        Self { style, color, align: Align::Start, upwards: false }
    }

    pub(super) fn bold(mut self) -> Self {
        self.style.weight = Weight::SemiBold;
        self
    }

    pub(super) fn align(self, align: Align) -> Self {
        Self { align, ..self }
    }

    pub(super) fn upwards(self) -> Self {
        Self { upwards: true, ..self }
    }
}

/// A white picture to draw on.
pub(super) struct Canvas {
    pixels: RgbImage,
    /// What was drawn, as elements of SVG.
    svg: String,
    typeface: Typeface,
}

impl Canvas {
    /// Pixels along one side that are still a reasonable picture.
    const MAX_SIDE: f64 = 16_384.0;

    pub(super) fn new(width: f64, height: f64) -> Result<Self> {
        anyhow::ensure!(
            (1.0..=Self::MAX_SIDE).contains(&width) && (1.0..=Self::MAX_SIDE).contains(&height),
            "a picture of {width:.0} x {height:.0} pixels is too large; draw less at once"
        );
        let pixels = RgbImage::from_pixel(width as u32, height as u32, Rgb(WHITE.0));
        Ok(Self { pixels, svg: String::new(), typeface: Typeface::load()? })
    }

    /// Adds an element to the SVG. Writing into a text cannot fail.
    fn element(&mut self, element: std::fmt::Arguments) {
        let _ = writeln!(self.svg, "{element}");
    }

    pub(super) fn fill(&mut self, rect: Rect, color: Color) {
        let Rect { left, top, right, bottom } = rect;
        let (width, height) = ((right - left).max(0.0), (bottom - top).max(0.0));
        self.element(format_args!(
            r#"<rect x="{left:.2}" y="{top:.2}" width="{width:.2}" height="{height:.2}" fill="{color}"/>"#
        ));
        let covered = |from: f64, to: f64, pixel: i64| {
            (to.min((pixel + 1) as f64) - from.max(pixel as f64)).clamp(0.0, 1.0)
        };
        let (columns, rows) = self.pixels_in(rect);
        for y in rows {
            for x in columns.clone() {
                let coverage =
                    covered(rect.left, rect.right, x) * covered(rect.top, rect.bottom, y);
                self.blend(x, y, color, coverage);
            }
        }
    }

    /// A line with round joins and ends through the points, cut off outside `clip`.
    pub(super) fn line(&mut self, points: &[Point], width: f64, color: Color, clip: Rect) {
        let Rect { left, top, right, bottom } = clip;
        let (columns, rows) = (right - left, bottom - top);
        let corners: Vec<String> =
            points.iter().map(|(x, y)| format!("{:.2},{:.2}", x - left, y - top)).collect();
        let corners = corners.join(" ");
        // An element of its own cuts off what lies outside it.
        self.element(format_args!(
            r#"<svg x="{left:.2}" y="{top:.2}" width="{columns:.2}" height="{rows:.2}"><polyline points="{corners}" fill="none" stroke="{color}" stroke-width="{width}" stroke-linecap="round" stroke-linejoin="round"/></svg>"#
        ));
        self.paint_line(points, width, color, clip);
    }

    fn paint_line(&mut self, points: &[Point], width: f64, color: Color, clip: Rect) {
        let reach = width / 2.0 + 1.0;
        let (clip_columns, clip_rows) = self.pixels_in(clip);
        let n_columns = (clip_columns.end - clip_columns.start).max(0) as usize;
        // Where segments overlap, the closest one counts, so that joins are not painted twice.
        let mut coverage =
            vec![0.0_f64; n_columns * (clip_rows.end - clip_rows.start).max(0) as usize];
        for segment in points.windows(2) {
            let (a, b) = (segment[0], segment[1]);
            let near = Rect {
                left: (a.0.min(b.0) - reach).max(clip.left),
                top: (a.1.min(b.1) - reach).max(clip.top),
                right: (a.0.max(b.0) + reach).min(clip.right),
                bottom: (a.1.max(b.1) + reach).min(clip.bottom),
            };
            let (columns, rows) = self.pixels_in(near);
            for y in rows {
                for x in columns.clone() {
                    let distance = distance_to_segment((x as f64 + 0.5, y as f64 + 0.5), a, b);
                    let index = (y - clip_rows.start) as usize * n_columns
                        + (x - clip_columns.start) as usize;
                    coverage[index] = coverage[index].max(width / 2.0 + 0.5 - distance);
                }
            }
        }
        for (index, &c) in coverage.iter().enumerate().filter(|(_, c)| **c > 0.0) {
            let (x, y) = (index % n_columns, index / n_columns);
            self.blend(clip_columns.start + x as i64, clip_rows.start + y as i64, color, c);
        }
    }

    pub(super) fn disc(&mut self, (x, y): Point, radius: f64, color: Color) {
        let reach = radius + 1.0;
        let around = Rect { left: x - reach, top: y - reach, right: x + reach, bottom: y + reach };
        self.element(format_args!(
            r#"<circle cx="{x:.2}" cy="{y:.2}" r="{radius}" fill="{color}"/>"#
        ));
        self.paint_line(&[(x, y), (x, y)], 2.0 * radius, color, around);
    }

    pub(super) fn text(&mut self, text: &str, (x, y): Point, how: Text) {
        let length = self.text_width(text, how);
        let start = match how.align {
            Align::Start => 0.0,
            Align::Middle => -length / 2.0,
            Align::End => -length,
        };
        let drop = how.style.size * CAP_HEIGHT / 2.0;
        self.write_text(text, (x, y), length, drop, how);
        // Whole pixels keep the stems of equal texts equal.
        let (left, base) = if how.upwards {
            ((x + drop).round() as i64, (y - start).round() as i64)
        } else {
            ((x + start).round() as i64, (y + drop).round() as i64)
        };
        let mut covered = Vec::new();
        self.typeface.rasterize(text, how.style, |along, down, coverage| {
            covered.push((along, down, coverage));
        });
        for (along, down, coverage) in covered {
            let (dx, dy) = if how.upwards { (down, -along) } else { (along, down) };
            self.blend(left + dx, base + dy, how.color, coverage);
        }
    }

    pub(super) fn text_width(&self, text: &str, how: Text) -> f64 {
        self.typeface.width(text, how.style)
    }

    /// The text of the SVG. It is as long in every font as in ours, so that nothing runs into it.
    fn write_text(&mut self, text: &str, (x, y): Point, length: f64, drop: f64, how: Text) {
        let anchor = match how.align {
            Align::Start => "start",
            Align::Middle => "middle",
            Align::End => "end",
        };
        let weight = match how.style.weight {
            Weight::Regular => 400,
            Weight::SemiBold => 600,
        };
        let turn = if how.upwards { " rotate(-90)" } else { "" };
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
        let (size, color) = (how.style.size, how.color);
        self.element(format_args!(
            r#"<text transform="translate({x:.2} {y:.2}){turn}" y="{drop:.2}" font-size="{size}" font-weight="{weight}" fill="{color}" text-anchor="{anchor}" textLength="{length:.2}">{escaped}</text>"#
        ));
    }

    /// Writes an SVG where the name ends so, and else a PNG; in one step: never half a picture.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        if has_extension(path, "svg") {
            let (width, height) = self.pixels.dimensions();
            let head = format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="Inter, Helvetica, Arial, sans-serif">"#
            );
            let background = format!(r#"<rect width="{width}" height="{height}" fill="{WHITE}"/>"#);
            let text = format!("{head}\n{background}\n{}</svg>\n", self.svg);
            return write_file(path, text.as_bytes());
        }
        let mut bytes = Cursor::new(Vec::new());
        self.pixels.write_to(&mut bytes, ImageFormat::Png).context("cannot encode the picture")?;
        write_file(path, bytes.get_ref())
    }

    /// Columns and rows of the pixels that a rectangle touches, inside the picture.
    fn pixels_in(&self, rect: Rect) -> (std::ops::Range<i64>, std::ops::Range<i64>) {
        let (width, height) = self.pixels.dimensions();
        let range = |from: f64, to: f64, side: u32| {
            let from = from.floor().clamp(0.0, f64::from(side));
            from as i64..to.ceil().clamp(from, f64::from(side)) as i64
        };
        (range(rect.left, rect.right, width), range(rect.top, rect.bottom, height))
    }

    fn blend(&mut self, x: i64, y: i64, color: Color, coverage: f64) {
        let inside = u32::try_from(x).ok().zip(u32::try_from(y).ok());
        let Some(pixel) = inside.and_then(|(x, y)| self.pixels.get_pixel_mut_checked(x, y)) else {
            return;
        };
        let coverage = coverage.clamp(0.0, 1.0);
        for (below, above) in pixel.0.iter_mut().zip(color.0) {
            let mixed = f64::from(*below) * (1.0 - coverage) + f64::from(above) * coverage;
            *below = mixed.round() as u8;
        }
    }
}

fn distance_to_segment(p: Point, a: Point, b: Point) -> f64 {
    let (along_x, along_y) = (b.0 - a.0, b.1 - a.1);
    let squared_length = along_x * along_x + along_y * along_y;
    let t = if squared_length > 0.0 {
        (((p.0 - a.0) * along_x + (p.1 - a.1) * along_y) / squared_length).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (p.0 - a.0 - t * along_x).hypot(p.1 - a.1 - t * along_y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ink(canvas: &Canvas) -> f64 {
        canvas.pixels.pixels().map(|p| f64::from(255 - p.0[0]) / 255.0).sum()
    }

    const BLACK: Color = Color([0, 0, 0]);
    const ALL: Rect = Rect { left: 0.0, top: 0.0, right: 100.0, bottom: 100.0 };

    #[test]
    fn shapes_paint_their_area() {
        // Rounding to 1/255 per pixel of the edge and the coverage of an edge by its distance are
        // what is allowed for.
        let mut canvas = Canvas::new(100.0, 100.0).unwrap();
        canvas.fill(Rect { left: 10.25, top: 20.5, right: 30.75, bottom: 40.0 }, BLACK);
        assert!((ink(&canvas) - 20.5 * 19.5).abs() < 0.2, "{}", ink(&canvas));

        let mut canvas = Canvas::new(100.0, 100.0).unwrap();
        canvas.disc((50.3, 50.7), 10.0, BLACK);
        let area = std::f64::consts::PI * 100.0;
        assert!((ink(&canvas) - area).abs() < 1.0, "{}", ink(&canvas));

        let mut canvas = Canvas::new(100.0, 100.0).unwrap();
        canvas.line(&[(20.0, 20.0), (60.0, 50.0), (60.0, 80.0)], 4.0, BLACK, ALL);
        // Two segments of 50 and 30, two half discs at the ends, and a join of less than one.
        let area = 80.0 * 4.0 + std::f64::consts::PI * 4.0;
        assert!((ink(&canvas) - area).abs() < 4.0, "{}", ink(&canvas));
    }

    #[test]
    fn an_svg_has_what_was_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("figure.SVG");
        let mut canvas = Canvas::new(100.0, 50.0).unwrap();
        canvas.fill(Rect { left: 1.0, top: 2.0, right: 4.0, bottom: 6.0 }, BLUE);
        canvas.line(&[(0.0, 0.0), (5.0, 5.0)], 2.0, GREEN, ALL);
        canvas.disc((3.0, 4.0), 2.0, VERMILION);
        canvas.text("a < b & c", (10.0, 20.0), Text::new(20.0, INK).align(Align::End).upwards());
        canvas.save(&path).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        for part in [
            r#"viewBox="0 0 100 50""#,
            r##"<rect x="1.00" y="2.00" width="3.00" height="4.00" fill="#0072b2"/>"##,
            r#"points="0.00,0.00 5.00,5.00""#,
            r##"<circle cx="3.00" cy="4.00" r="2" fill="#d55e00"/>"##,
            r#"translate(10.00 20.00) rotate(-90)""#,
            r#"text-anchor="end""#,
            ">a &lt; b &amp; c</text>",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn a_line_stays_inside_its_clip() {
        let mut canvas = Canvas::new(100.0, 100.0).unwrap();
        let clip = Rect { left: 30.0, top: 30.0, right: 70.0, bottom: 70.0 };
        canvas.line(&[(-1e9, 50.0), (50.0, 50.0), (50.0, 1e12)], 6.0, BLACK, clip);
        for (x, y, pixel) in canvas.pixels.enumerate_pixels() {
            let inside = (30..70).contains(&x) && (30..70).contains(&y);
            assert!(inside || pixel.0 == WHITE.0, "painted ({x}, {y})");
        }
        assert_eq!(canvas.pixels.get_pixel(40, 50).0, BLACK.0);
    }

    #[test]
    fn upward_text_is_turned_by_a_quarter() {
        let how = Text::new(20.0, BLACK).align(Align::Middle);
        let mut across = Canvas::new(100.0, 100.0).unwrap();
        across.text("Epoch", (50.0, 50.0), how);
        let mut upwards = Canvas::new(100.0, 100.0).unwrap();
        upwards.text("Epoch", (50.0, 50.0), how.upwards());
        assert!(ink(&across) > 50.0);
        assert!((ink(&across) - ink(&upwards)).abs() < 1e-9);
        let extent = |canvas: &Canvas, pick: fn(u32, u32) -> u32| {
            let inked = canvas.pixels.enumerate_pixels().filter(|(_, _, p)| p.0 != WHITE.0);
            let (low, high) = inked
                .fold((u32::MAX, 0), |(l, h), (x, y, _)| (l.min(pick(x, y)), h.max(pick(x, y))));
            high - low
        };
        assert_eq!(extent(&across, |x, _| x), extent(&upwards, |_, y| y));
        assert_eq!(extent(&across, |_, y| y), extent(&upwards, |x, _| x));
    }

    #[test]
    fn a_picture_beyond_reason_is_an_error() {
        assert!(Canvas::new(1e6, 10.0).is_err());
        assert!(Canvas::new(10.0, f64::INFINITY).is_err());
        assert!(Canvas::new(0.0, 10.0).is_err());
    }
}
