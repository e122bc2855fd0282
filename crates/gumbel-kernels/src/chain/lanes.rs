//! The loops over a step's scores, in arrays of fixed width: sums and maxima stay in registers, and rows of ten or twenty labels do
//! not fill the vectors that the compiler makes of slices. No closures: they would not be compiled for the instruction set.

use super::Real;

const LANES: usize = 8;

/// Runs a function of an array's place and its first lane on arrays of eight, of four, and on the single values that are left.
macro_rules! in_lanes {
    ($k:expr, $run:ident, $($argument:expr),*) => {{
        let k: usize = $k;
        let mut at = 0;
        while at + LANES <= k {
            $run::<S, LANES>(at, 0, $($argument),*);
            at += LANES;
        }
        let rest = at;
        if at + 4 <= k {
            $run::<S, 4>(at, 0, $($argument),*);
            at += 4;
        }
        while at < k {
            $run::<S, 1>(at, at - rest, $($argument),*);
            at += 1;
        }
    }};
}

#[inline(always)]
fn load<S: Copy, const W: usize>(values: &[S], from: usize) -> [S; W] {
    let mut lanes = [values[from]; W];
    lanes.copy_from_slice(&values[from..from + W]);
    lanes
}

/// The largest score of a path to each label, by its label before.
#[inline(always)]
pub(super) fn largest<S: Real>(alpha: &[S], scores: &[S], out: &mut [S]) {
    #[inline(always)]
    fn some<S: Real, const W: usize>(
        at: usize,
        _: usize,
        (alpha, scores): (&[S], &[S]),
        out: &mut [S],
    ) {
        let mut most = [S::constant(f64::NEG_INFINITY); W];
        for (&a, scores) in alpha.iter().zip(scores.chunks_exact(out.len())) {
            let scores = load::<S, W>(scores, at);
            for j in 0..W {
                let x = a + scores[j];
                most[j] = if x > most[j] { x } else { most[j] };
            }
        }
        out[at..at + W].copy_from_slice(&most);
    }
    in_lanes!(out.len(), some, (alpha, scores), out);
}

/// The means, over the labels before, of their tangents and of the direction's entries.
#[inline(always)]
pub(super) fn mean_tangents<S: Real>(tangents: &[S], before: &[S], grad: &[S], out: &mut [S]) {
    #[inline(always)]
    fn some<S: Real, const W: usize>(
        at: usize,
        _: usize,
        (tangents, before, grad): (&[S], &[S], &[S]),
        out: &mut [S],
    ) {
        let zero = S::constant(0.0);
        let mut sums = [zero; W];
        let rows = before.chunks_exact(out.len()).zip(grad.chunks_exact(out.len()));
        for (&tangent, (before, grad)) in tangents.iter().zip(rows) {
            let (s, g) = (load::<S, W>(before, at), load::<S, W>(grad, at));
            for j in 0..W {
                sums[j] += if s[j] > zero { s[j] * (tangent + g[j]) } else { zero };
            }
        }
        out[at..at + W].copy_from_slice(&sums);
    }
    in_lanes!(out.len(), some, (tangents, before, grad), out);
}

/// `out = s ⊙ p`; returns its sum.
#[inline(always)]
pub(super) fn product<S: Real>(s: &[S], p: &[S], out: &mut [S]) -> S {
    #[inline(always)]
    fn some<S: Real, const W: usize>(
        at: usize,
        lane: usize,
        (s, p): (&[S], &[S]),
        out: &mut [S],
        lanes: &mut [S; LANES],
    ) {
        let (s, p) = (load::<S, W>(s, at), load::<S, W>(p, at));
        let mut products = [S::constant(0.0); W];
        for j in 0..W {
            products[j] = s[j] * p[j];
            lanes[lane + j] += products[j];
        }
        out[at..at + W].copy_from_slice(&products);
    }
    let mut lanes = [S::constant(0.0); LANES];
    in_lanes!(s.len(), some, (s, p), out, &mut lanes);
    fold(lanes)
}

/// What the derivative of a row of pairs needs of the labels after: their probabilities, slopes and mean tangents.
pub(super) struct After<'a, S> {
    pub(super) weights: &'a [S],
    pub(super) slopes: &'a [S],
    pub(super) means: &'a [S],
}

/// The derivatives of the probabilities of pairs with one label before, of the tangent `tangent`. Returns the sum of the
/// probabilities, and of the derivatives.
#[inline(always)]
pub(super) fn derivatives<S: Real>(
    tangent: S,
    before: &[S],
    grad: &[S],
    after: &After<'_, S>,
    out: &mut [S],
) -> (S, S) {
    #[inline(always)]
    fn some<S: Real, const W: usize>(
        at: usize,
        lane: usize,
        (tangent, before, grad): (S, &[S], &[S]),
        after: &After<'_, S>,
        out: &mut [S],
        (masses, sums): (&mut [S; LANES], &mut [S; LANES]),
    ) {
        let zero = S::constant(0.0);
        let (s, g) = (load::<S, W>(before, at), load::<S, W>(grad, at));
        let (p, m) = (load::<S, W>(after.weights, at), load::<S, W>(after.means, at));
        let slopes = load::<S, W>(after.slopes, at);
        // Loops of one operation or two: a longer one would be unrolled to scalars.
        let (mut d, mut mass) = ([zero; W], [zero; W]);
        for j in 0..W {
            d[j] = tangent + g[j] - m[j];
        }
        for j in 0..W {
            d[j] = slopes[j] + p[j] * d[j];
        }
        for j in 0..W {
            // What is certain or impossible has slope zero, whatever is asked there.
            d[j] = if s[j] > zero { s[j] * d[j] } else { zero };
        }
        for j in 0..W {
            mass[j] = s[j] * p[j];
        }
        for j in 0..W {
            masses[lane + j] += mass[j];
        }
        for j in 0..W {
            sums[lane + j] += d[j];
        }
        out[at..at + W].copy_from_slice(&d);
    }
    let mut masses = [S::constant(0.0); LANES];
    let mut sums = masses;
    in_lanes!(before.len(), some, (tangent, before, grad), after, out, (&mut masses, &mut sums));
    (fold(masses), fold(sums))
}

#[inline(always)]
fn fold<S: Real>(mut lanes: [S; LANES]) -> S {
    for half in [4, 2, 1] {
        for i in 0..half {
            let other = lanes[i + half];
            lanes[i] += other;
        }
    }
    lanes[0]
}
