//! The font of the plots: Inter, under the SIL Open Font License, in `fonts/`, so that pictures
//! look the same everywhere, also where no font is installed.
//!
//! The files are reduced to Latin, Greek and a few signs (`pyftsubset` of fonttools).

use ab_glyph::{Font as _, FontRef, Glyph, PxScale, ScaleFont, point};
use anyhow::{Context, Result};

/// Both weights of the typeface.
pub(super) struct Typeface {
    regular: FontRef<'static>,
    semi_bold: FontRef<'static>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Weight {
    Regular,
    SemiBold,
}

/// Size in pixels per em, and weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Style {
    pub(super) size: f64,
    pub(super) weight: Weight,
}

/// Height of a capital letter, in em.
pub(super) const CAP_HEIGHT: f64 = 0.727;

impl Typeface {
    pub(super) fn load() -> Result<Self> {
        let read = |bytes| FontRef::try_from_slice(bytes).context("cannot read the built-in font");
        Ok(Self {
            regular: read(include_bytes!("fonts/Inter-Regular.otf"))?,
            semi_bold: read(include_bytes!("fonts/Inter-SemiBold.otf"))?,
        })
    }

    fn weight(&self, weight: Weight) -> &FontRef<'static> {
        match weight {
            Weight::Regular => &self.regular,
            Weight::SemiBold => &self.semi_bold,
        }
    }

    /// Length of a line of text in pixels.
    pub(super) fn width(&self, text: &str, style: Style) -> f64 {
        self.layout(text, style).1
    }

    /// Calls `put(x, y, coverage)` for the pixels of a line of text whose baseline starts at (0, 0);
    /// y grows downwards.
    pub(super) fn rasterize(&self, text: &str, style: Style, mut put: impl FnMut(i64, i64, f64)) {
        let font = self.weight(style.weight);
        for glyph in self.layout(text, style).0 {
            if let Some(outlined) = font.outline_glyph(glyph) {
                let min = outlined.px_bounds().min;
                let (left, top) = (min.x.round() as i64, min.y.round() as i64);
                outlined.draw(|x, y, coverage| {
                    put(left + i64::from(x), top + i64::from(y), f64::from(coverage));
                });
            }
        }
    }

    /// The glyphs of a line, placed, and its length.
    fn layout(&self, text: &str, style: Style) -> (Vec<Glyph>, f64) {
        let font = self.weight(style.weight);
        let units_per_em = font.units_per_em().unwrap_or(1000.0);
        // ab_glyph's scale is the height of a line, not the em.
        let scale = PxScale::from(style.size as f32 * font.height_unscaled() / units_per_em);
        let scaled = font.as_scaled(scale);
        let mut x = 0.0;
        let glyphs = text
            .chars()
            .map(|character| {
                let id = scaled.glyph_id(character);
                let glyph = id.with_scale_and_position(scale, point(x, 0.0));
                x += scaled.h_advance(id);
                glyph
            })
            .collect();
        (glyphs, f64::from(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_every_character_of_the_plots() {
        let typeface = Typeface::load().unwrap();
        for font in [&typeface.regular, &typeface.semi_bold] {
            for character in ('!'..='~').chain("τ−±·…↑×".chars()) {
                assert_ne!(font.glyph_id(character).0, 0, "{character:?} is missing");
            }
        }
    }

    #[test]
    fn a_capital_letter_is_as_high_as_promised() {
        let typeface = Typeface::load().unwrap();
        for weight in [Weight::Regular, Weight::SemiBold] {
            let mut top = 0;
            let mut bottom = i64::MIN;
            typeface.rasterize("H", Style { size: 1000.0, weight }, |_, y, coverage| {
                if coverage > 0.5 {
                    top = top.min(y);
                    bottom = bottom.max(y);
                }
            });
            // One row of pixels is 0.001 em.
            assert!((-top as f64 - 1000.0 * CAP_HEIGHT).abs() <= 2.0, "{top}");
            assert_eq!(bottom, -1);
        }
    }

    #[test]
    fn text_grows_with_its_size() {
        let typeface = Typeface::load().unwrap();
        let width = |size| typeface.width("temperature τ", Style { size, weight: Weight::Regular });
        assert!((width(40.0) / width(20.0) - 2.0).abs() < 1e-3);
    }
}
