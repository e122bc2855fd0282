//! Charts as PNG or SVG files: white background, one font of our own, colours that colour-blind readers
//! can tell apart.
//!
//! A [`canvas`] fills antialiased rectangles, lines, discs and text into pixels; [`axes`] places
//! data in frames. Each figure is a file of its own on top of these two.

mod axes;
mod canvas;
mod comparison;
mod curves;
mod estimators;
mod font;
mod latents;
mod temperature;
mod tuning;

pub(crate) use comparison::{Band, draw_comparison};
pub(crate) use curves::draw_curves;
pub(crate) use estimators::{EstimatorRow, draw_estimators};
pub(crate) use latents::draw_latents;
pub(crate) use temperature::{TemperatureFigure, TemperaturePanel, draw_temperature};
pub(crate) use tuning::draw_tuning;

use anyhow::{Result, ensure};

use self::canvas::{Canvas, Text};

/// What a picture cannot show is an error: `what` says which value it is.
fn finite(value: f64, what: impl FnOnce() -> String) -> Result<f64> {
    ensure!(value.is_finite(), "{} is {value}, which no plot can show", what());
    Ok(value)
}

/// The text, or as much of its start as fits into `width` pixels, with a mark that it is cut.
fn shortened(canvas: &Canvas, text: &str, how: Text, width: f64) -> String {
    if canvas.text_width(text, how) <= width {
        return text.to_owned();
    }
    let fits = |n: &usize| canvas.text_width(&text[..*n], how) + 30.0 <= width;
    let cut = text.char_indices().map(|(at, _)| at).take_while(fits).last().unwrap_or(0);
    format!("{}…", &text[..cut])
}

#[cfg(test)]
mod testing {
    //! Reading a drawn picture back.

    use std::collections::HashMap;
    use std::path::Path;

    use image::RgbImage;

    use super::canvas::Color;

    pub(super) struct Picture(RgbImage);

    impl Picture {
        /// Draws into a fresh folder and reads the file back.
        pub(super) fn of(draw: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<Self> {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("picture.png");
            draw(&path)?;
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a left-over file");
            Ok(Self(image::open(&path).unwrap().to_rgb8()))
        }

        pub(super) fn size(&self) -> (u32, u32) {
            self.0.dimensions()
        }

        /// Pixels of exactly this colour.
        pub(super) fn count(&self, color: Color) -> usize {
            self.colors().get(&color.0).copied().unwrap_or(0)
        }

        fn colors(&self) -> HashMap<[u8; 3], usize> {
            let mut counts = HashMap::new();
            for pixel in self.0.pixels() {
                *counts.entry(pixel.0).or_default() += 1;
            }
            counts
        }
    }
}
