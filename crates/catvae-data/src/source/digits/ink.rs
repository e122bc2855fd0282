//! Ink on paper: strokes become grey pixels.

use super::hand::{PenPoint, Writing};

pub(super) const ROWS: usize = 28;
pub(super) const COLS: usize = 28;
pub(super) const N_PIXELS: usize = ROWS * COLS;

/// Draws the strokes into `image`, `ROWS` x `COLS` bytes of background.
///
/// A pixel's ink follows from the distance of its centre to the nearest stroke: full inside,
/// none outside, between them a straight slope as wide as the edge. Crossing strokes do not add up.
pub(super) fn draw(writing: &Writing, image: &mut [u8]) {
    let mut coverage = [0.0f32; N_PIXELS];
    for stroke in &writing.strokes {
        for pair in stroke.windows(2) {
            draw_piece(pair[0], pair[1], writing.edge, &mut coverage);
        }
    }
    for (pixel, coverage) in image.iter_mut().zip(coverage) {
        // `as` saturates, and coverage is at most 1.
        *pixel = (coverage * 255.0 + 0.5) as u8;
    }
}

fn draw_piece(a: PenPoint, b: PenPoint, edge: f32, coverage: &mut [f32; N_PIXELS]) {
    let reach = a.radius.max(b.radius) + edge / 2.0;
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let length_squared = (dx * dx + dy * dy).max(1e-6);
    // The centre of pixel i lies at i + 0.5.
    let span = |from: f32, to: f32, end: usize| {
        let first = (from.min(to) - reach - 0.5).max(0.0) as usize;
        let last = (from.max(to) + reach + 0.5).max(0.0) as usize;
        first..last.min(end)
    };
    for row in span(a.y, b.y, ROWS) {
        let y = row as f32 + 0.5 - a.y;
        for col in span(a.x, b.x, COLS) {
            let x = col as f32 + 0.5 - a.x;
            let along = ((x * dx + y * dy) / length_squared).clamp(0.0, 1.0);
            let (off_x, off_y) = (x - along * dx, y - along * dy);
            let distance = (off_x * off_x + off_y * off_y).sqrt();
            let radius = a.radius + along * (b.radius - a.radius);
            let ink = ((radius - distance) / edge + 0.5).clamp(0.0, 1.0);
            let pixel = &mut coverage[row * COLS + col];
            *pixel = pixel.max(ink);
        }
    }
}
