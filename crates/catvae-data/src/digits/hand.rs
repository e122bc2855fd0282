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
    /// The darkness of full ink, at most 1.
    pub(super) darkness: f32,
}

/// Writes `digit` once.
pub(super) fn write(rng: &mut ChaCha8Rng, digit: usize) -> Writing {
    let hand = Hand::draw(rng);
    let mut strokes: Vec<Vec<PenPoint>> = Vec::new();
    for mut knots in blend_forms(rng, digit) {
        for knot in &mut knots {
            hand.displace(rng, knot);
        }
        strokes.push(hand.trace(rng, &knots));
    }
    fit(&mut strokes, hand.radius);
    Writing { strokes, edge: hand.edge, darkness: hand.darkness }
}

/// The habits of one writer; lengths in half heights of a digit unless said otherwise.
struct Hand {
    /// How far a knot strays, standard deviation.
    unsteadiness: f32,
    /// Coefficients of the quadratic bends of the plane.
    bends: [f32; 4],
    /// Maps knots to the paper: width, slant and rotation.
    matrix: [[f32; 2]; 2],
    /// How soft corners become: 0 sharp, 1 as smooth as any other knot.
    roundness: f32,
    /// Half the width of a stroke, in pixels.
    radius: f32,
    /// How much the pressure varies along a stroke, relative.
    pressure_spread: f32,
    edge: f32,
    darkness: f32,
}

impl Hand {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let width = 1.0 + 0.17 * normal(rng);
        let slant = 0.12 + 0.26 * normal(rng);
        // A rotation by t has cosine (1 - h²) / (1 + h²) and sine 2h / (1 + h²) for h = tan(t/2).
        let half_turn = 0.05 * normal(rng);
        let norm = 1.0 + half_turn * half_turn;
        let cos = (1.0 - half_turn * half_turn) / norm;
        let sin = 2.0 * half_turn / norm;
        // Rotation times (slant times width); y grows downwards, so slanting to the right takes
        // x from what lies below.
        let width = width.max(0.5);
        let matrix = [[cos * width, -cos * slant - sin], [sin * width, -sin * slant + cos]];
        let thickness = 1.25 + 0.32 * normal(rng);
        Self {
            unsteadiness: 0.03 + 0.06 * uniform(rng) * uniform(rng),
            bends: [0.10, 0.08, 0.08, 0.08].map(|spread| spread * normal(rng)),
            matrix,
            roundness: uniform(rng) * uniform(rng),
            radius: thickness.clamp(0.65, 2.2),
            pressure_spread: 0.05 + 0.15 * uniform(rng),
            edge: 1.1 + 0.6 * uniform(rng),
            darkness: 1.0,
        }
    }

    /// Moves a knot from the alphabet's units to where this hand puts it.
    fn displace(&self, rng: &mut ChaCha8Rng, knot: &mut Knot) {
        let u = (knot.x - 30.0) / 50.0 + self.unsteadiness * normal(rng);
        let v = (knot.y - 50.0) / 50.0 + self.unsteadiness * normal(rng);
        let [lean, twist, squeeze, tilt] = self.bends;
        let bent_u = u + lean * (v * v - 0.3) + twist * u * v;
        let bent_v = v + squeeze * (v * v - 0.3) + tilt * u * v;
        let [[xx, xy], [yx, yy]] = self.matrix;
        knot.x = xx * bent_u + xy * bent_v;
        knot.y = yx * bent_u + yy * bent_v;
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
                    radius: at_start * pressure[i] + at_end * pressure[i + 1],
                });
            }
        }
        points
    }
}

/// Straight pieces between two knots.
const N_STEPS: usize = 6;

/// Chooses a variant of the digit and something between two of its forms.
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
    let share = uniform(rng);
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
