//! One writer's hand: unsteady knots, bends, slant, proportions, pressure.
//!
//! Only `+ - * /` and square roots: IEEE 754 fixes their every bit, so that the same seed draws
//! the same image on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;

use super::alphabet::{self, Form, Knot};
use crate::random;

/// A point of the pen's way.
#[derive(Clone, Copy, Debug)]
pub(super) struct PenPoint {
    pub(super) x: f32,
    pub(super) y: f32,
    /// Half the width of the ink, in pixels.
    pub(super) radius: f32,
}

/// What one hand wrote.
#[derive(Debug)]
pub(super) struct Writing {
    /// The pen's way in pixels, each stroke a polyline, fine enough to look smooth.
    pub(super) strokes: Vec<Vec<PenPoint>>,
    /// The width over which ink fades to paper, in pixels.
    pub(super) edge: f32,
}

/// Writes `digit` once.
pub(super) fn write(rng: &mut ChaCha8Rng, digit: usize) -> Writing {
    let hand = Hand::draw(rng);
    let mut strokes: Vec<Vec<PenPoint>> = Vec::new();
    for mut knots in blend_forms(rng, digit) {
        hand.displace(rng, &mut knots, strokes.is_empty());
        strokes.push(hand.trace(rng, &knots));
    }
    fit(&mut strokes, hand.radius);
    Writing { strokes, edge: hand.edge }
}

/// The habits of one writer; lengths in half heights of a digit unless said otherwise.
struct Hand {
    /// How far a knot strays, standard deviation.
    unsteadiness: f32,
    /// How much `u²`, `uv` and `v²` add to `u`.
    bends_u: [f32; 3],
    /// How much `u²`, `uv` and `v²` add to `v`.
    bends_v: [f32; 3],
    /// Maps knots to the paper: width, slant and rotation.
    matrix: [[f32; 2]; 2],
    /// How soft corners become: 0 sharp, 1 as smooth as any other knot.
    roundness: f32,
    /// Half the width of a stroke, in pixels.
    radius: f32,
    /// How much the pressure varies from knot to knot, relative.
    pressure_spread: f32,
    /// How ragged the outline is, relative to the radius.
    raggedness: f32,
    edge: f32,
}

impl Hand {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let width = 1.08 + 0.22 * normal(rng);
        let slant = 0.16 + 0.27 * normal(rng);
        // A rotation by t has cosine (1 - h²) / (1 + h²) and sine 2h / (1 + h²), h = tan(t/2).
        let half_turn = 0.06 * normal(rng);
        let norm = 1.0 + half_turn * half_turn;
        let cos = (1.0 - half_turn * half_turn) / norm;
        let sin = 2.0 * half_turn / norm;
        // Rotation times (slant times width); y grows downwards, so slanting to the right takes
        // x from what lies below.
        let width = width.max(0.65);
        let matrix = [[cos * width, -cos * slant - sin], [sin * width, -sin * slant + cos]];
        let thickness = 1.3 + 0.36 * normal(rng);
        Self {
            unsteadiness: 0.035 + 0.11 * uniform(rng) * uniform(rng),
            bends_u: [0.12, 0.14, 0.14].map(|spread| spread * normal(rng)),
            bends_v: [0.10, 0.10, 0.12].map(|spread| spread * normal(rng)),
            matrix,
            roundness: uniform(rng) * uniform(rng),
            radius: thickness.clamp(0.75, 2.3),
            pressure_spread: 0.05 + 0.15 * uniform(rng),
            raggedness: 0.10 * uniform(rng),
            edge: 0.8 + 0.6 * uniform(rng),
        }
    }

    /// Moves the knots of a stroke from the alphabet's units to where this hand puts them.
    fn displace(&self, rng: &mut ChaCha8Rng, knots: &mut [Knot], is_first: bool) {
        // Where the pen was lifted, it comes down a little beside the right place.
        let misplacement = if is_first { 0.0 } else { 0.05 };
        let (shift_u, shift_v) = (misplacement * normal(rng), misplacement * normal(rng));
        let strays: Vec<[f32; 2]> = knots.iter().map(|_| [normal(rng), normal(rng)]).collect();
        let last = knots.len() - 1;
        for (i, knot) in knots.iter_mut().enumerate() {
            // Neighbours stray together, else rings become polygons. The weights 1, 2, 1 times
            // 1 / √6 keep the variance; at the two ends, where hands differ most, it is larger.
            let (before, after) = (i.saturating_sub(1), (i + 1).min(last));
            let stray = |axis: usize| {
                let sum = strays[before][axis] + 2.0 * strays[i][axis] + strays[after][axis];
                self.unsteadiness * sum * 0.408
            };
            let u = (knot.x - 30.0) / 50.0 + shift_u + stray(0);
            let v = (knot.y - 50.0) / 50.0 + shift_v + stray(1);
            let quadratic = |[uu, uv, vv]: [f32; 3]| uu * u * u + uv * u * v + vv * v * v;
            let (bent_u, bent_v) = (u + quadratic(self.bends_u), v + quadratic(self.bends_v));
            let [[xx, xy], [yx, yy]] = self.matrix;
            knot.x = xx * bent_u + xy * bent_v;
            knot.y = yx * bent_u + yy * bent_v;
        }
    }

    /// Draws the smooth curve through the knots: a cubic Hermite spline with the tangents of
    /// Catmull and Rom, in chord-length parameters, so that close knots do not make it swing.
    fn trace(&self, rng: &mut ChaCha8Rng, knots: &[Knot]) -> Vec<PenPoint> {
        let n_knots = knots.len();
        let chord = |i: usize| {
            let (dx, dy) = (knots[i + 1].x - knots[i].x, knots[i + 1].y - knots[i].y);
            (dx * dx + dy * dy).sqrt().max(1e-3)
        };
        // The direction at knot i, per unit of chord.
        let tangent = |i: usize| {
            let (before, after) = (i.saturating_sub(1), (i + 1).min(n_knots - 1));
            let length: f32 = (before..after).map(chord).sum();
            let softness = if knots[i].is_corner { self.roundness } else { 1.0 };
            let along = |from: f32, to: f32| softness * (to - from) / length;
            (along(knots[before].x, knots[after].x), along(knots[before].y, knots[after].y))
        };
        let pressure: Vec<f32> = (0..n_knots)
            .map(|_| self.radius * (1.0 + self.pressure_spread * normal(rng)))
            .collect();
        let mut points = Vec::with_capacity((n_knots - 1) * N_STEPS + 1);
        for i in 0..n_knots - 1 {
            let length = chord(i);
            let (start, end) = (tangent(i), tangent(i + 1));
            let first_step = usize::from(i > 0);
            for step in first_step..=N_STEPS {
                let t = step as f32 / N_STEPS as f32;
                let (t2, t3) = (t * t, t * t * t);
                let at_start = 2.0 * t3 - 3.0 * t2 + 1.0;
                let at_end = 3.0 * t2 - 2.0 * t3;
                let out_of_start = (t3 - 2.0 * t2 + t) * length;
                let into_end = (t3 - t2) * length;
                let coordinate = |from: f32, to: f32, start: f32, end: f32| {
                    at_start * from + at_end * to + out_of_start * start + into_end * end
                };
                points.push(PenPoint {
                    x: coordinate(knots[i].x, knots[i + 1].x, start.0, end.0),
                    y: coordinate(knots[i].y, knots[i + 1].y, start.1, end.1),
                    radius: (at_start * pressure[i] + at_end * pressure[i + 1])
                        * (1.0 + self.raggedness * normal(rng)),
                });
            }
        }
        points
    }
}

/// Straight pieces between two knots.
const N_STEPS: usize = 6;

/// Chooses a variant of the digit and something between, or just beyond, two of its forms.
fn blend_forms(rng: &mut ChaCha8Rng, digit: usize) -> Vec<Vec<Knot>> {
    let variants = alphabet::variants(digit);
    let total: usize = variants.iter().map(|variant| variant.weight).sum();
    let mut ticket = random::index_below(rng, total);
    let mut chosen = &variants[0];
    for variant in variants {
        chosen = variant;
        match ticket.checked_sub(variant.weight) {
            Some(rest) => ticket = rest,
            None => break,
        }
    }
    let mut draw_form = || -> Form { chosen.forms[random::index_below(rng, chosen.forms.len())] };
    let (first, second) = (draw_form(), draw_form());
    // A little past either form, too.
    let share = 1.5 * uniform(rng) - 0.25;
    let mix = |a: f32, b: f32| a + share * (b - a);
    let blend = |(a, b): (&Knot, &Knot)| Knot { x: mix(a.x, b.x), y: mix(a.y, b.y), ..*a };
    first.iter().zip(second).map(|(a, b)| a.iter().zip(*b).map(blend).collect()).collect()
}

/// Scales the ink into MNIST's box of 20x20 pixels and puts its centre of mass into the middle.
fn fit(strokes: &mut [Vec<PenPoint>], radius: f32) {
    const BOX: f32 = 20.0;
    const MIDDLE: f32 = 14.0;
    let (mut min_x, mut max_x, mut min_y, mut max_y) =
        (f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY, f32::NEG_INFINITY);
    for point in strokes.iter().flatten() {
        (min_x, max_x) = (min_x.min(point.x), max_x.max(point.x));
        (min_y, max_y) = (min_y.min(point.y), max_y.max(point.y));
    }
    let scale = (BOX - 2.0 * radius) / (max_x - min_x).max(max_y - min_y);
    // The mass of a piece is its length times its mean width.
    let (mut mass, mut moment_x, mut moment_y) = (0.0, 0.0, 0.0);
    for stroke in strokes.iter() {
        for pair in stroke.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let (dx, dy) = (b.x - a.x, b.y - a.y);
            let piece = (dx * dx + dy * dy).sqrt() * (a.radius + b.radius);
            mass += piece;
            moment_x += piece * (a.x + b.x) / 2.0;
            moment_y += piece * (a.y + b.y) / 2.0;
        }
    }
    let (centre_x, centre_y) = (moment_x / mass, moment_y / mass);
    for point in strokes.iter_mut().flatten() {
        point.x = MIDDLE + scale * (point.x - centre_x);
        point.y = MIDDLE + scale * (point.y - centre_y);
    }
}

/// Uniform on [0, 1): 24 random bits.
fn uniform(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1 << 24) as f32
}

/// Mean 0, variance 1, near normal but never past ±3.5: the sum of four uniforms
/// (Irwin and Hall), which needs no logarithm.
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    const SQRT_3: f32 = 1.732_050_8;
    let word = rng.next_u64();
    let sum: u64 = (0..4).map(|part| (word >> (16 * part)) & 0xffff).sum();
    // Four uniforms on the middles of 2^16 cells have mean 2 and variance 1/3.
    ((sum + 2) as f32 / (1 << 16) as f32 - 2.0) * SQRT_3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn normal_has_mean_zero_and_variance_one() {
        // Standard errors at a million draws: 0.001 for the mean and, with the kurtosis 2.7 of
        // four uniforms, sqrt(1.7) / 1000 for the variance; 3.89 of them is alpha = 1e-4.
        const DRAWS: usize = 1_000_000;
        let mut rng = random::stream(3, Purpose::Digits, 0);
        let (mut sum, mut sum_of_squares) = (0.0f64, 0.0f64);
        for _ in 0..DRAWS {
            let z = f64::from(normal(&mut rng));
            assert!(z.abs() <= 3.465);
            sum += z;
            sum_of_squares += z * z;
        }
        let mean = sum / DRAWS as f64;
        let variance = sum_of_squares / DRAWS as f64 - mean * mean;
        assert!(mean.abs() < 3.89e-3, "mean {mean}");
        assert!((variance - 1.0).abs() < 3.89 * 1.304e-3, "variance {variance}");
    }

    #[test]
    fn a_straight_stroke_stays_straight_without_bends_and_strays() {
        let mut rng = random::stream(1, Purpose::Digits, 0);
        let mut hand = Hand::draw(&mut rng);
        (hand.unsteadiness, hand.bends_u, hand.bends_v) = (0.0, [0.0; 3], [0.0; 3]);
        let knot = |y| Knot { x: 30.0, y, is_corner: false };
        let mut knots = [knot(0.0), knot(40.0), knot(100.0)];
        hand.displace(&mut rng, &mut knots, true);
        let points = hand.trace(&mut rng, &knots);
        let (first, last) = (points[0], points[points.len() - 1]);
        for point in &points {
            let cross =
                (point.x - first.x) * (last.y - first.y) - (point.y - first.y) * (last.x - first.x);
            // Coordinates are of size one: a few roundings of f32.
            assert!(cross.abs() < 1e-5, "{cross}");
        }
    }
}
