//! One row of a chain.

use super::Real;
use super::lanes::{After, derivatives, largest, mean_tangents, product};

/// What the forward pass leaves of a row. The memory is kept from row to row.
pub(super) struct Row<S> {
    length: usize,
    /// `(length, k)`: the log-weights of the paths up to a label, relative to the largest of the step.
    pub(super) alpha: Vec<S>,
    /// `(length, k, k)`: the probability of the label before, `(i, j)` for `i` given `j`. The first step has none.
    pub(super) before: Vec<S>,
    /// `(k,)`: of the last label.
    pub(super) last: Vec<S>,
    /// `(k,)` and `(length, k)`, for the passes backward and forward.
    weights: Vec<S>,
    tangents: Vec<S>,
    /// `(length,)`: what was subtracted from the tangents of a step.
    shifts: Vec<S>,
}

impl<S> Default for Row<S> {
    fn default() -> Self {
        let (alpha, before, last) = (Vec::new(), Vec::new(), Vec::new());
        let (weights, tangents, shifts) = (Vec::new(), Vec::new(), Vec::new());
        Self { length: 0, alpha, before, last, weights, tangents, shifts }
    }
}

impl<S: Real> Row<S> {
    /// Filters forward, and returns the log-partition.
    #[inline(always)]
    pub(super) fn forward(&mut self, k: usize, scores: &[S]) -> f64 {
        let zero = S::constant(0.0);
        let lowest = S::constant(f64::NEG_INFINITY);
        self.length = scores.len().checked_div(k * k).unwrap_or(0);
        self.before.resize((self.length * k * k).max(self.before.len()), zero);
        self.alpha.resize(self.length * k, zero);
        self.last.clear();
        self.last.resize(k, zero);
        if self.length == 0 {
            return if scores.is_empty() && k == 0 { f64::NEG_INFINITY } else { 0.0 };
        }
        self.alpha[..k].copy_from_slice(&scores[..k]);
        let mut total = centre(&mut self.alpha[..k]);
        let (mut most, mut sums) = (vec![lowest; k], vec![zero; k]);
        for t in 1..self.length {
            let (done, next) = self.alpha.split_at_mut(t * k);
            let (alpha, next) = (&done[(t - 1) * k..], &mut next[..k]);
            let range = t * k * k..(t + 1) * k * k;
            let (scores, before) = (&scores[range.clone()], &mut self.before[range]);
            largest(alpha, scores, &mut most);
            for (next, most) in next.iter_mut().zip(&mut most) {
                *next = *most;
                // Nothing leads here: a finite number keeps `∞ - ∞` out of the sums, which stay zero.
                *most = if *most > lowest { *most } else { zero };
            }
            sums.fill(zero);
            let rows = scores.chunks_exact(k).zip(before.chunks_exact_mut(k));
            for (&a, (scores, before)) in alpha.iter().zip(rows) {
                for ((x, &score), &most) in before.iter_mut().zip(scores).zip(&most) {
                    *x = (a + score) - most;
                }
            }
            // In one run, so that whole vectors are full; a closure would not be compiled for the instruction set.
            for x in &mut *before {
                *x = x.exp();
            }
            for before in before.chunks_exact(k) {
                for (sum, &e) in sums.iter_mut().zip(before) {
                    *sum += e;
                }
            }
            for (next, sum) in next.iter_mut().zip(&mut sums) {
                *next += sum.ln();
                *sum = S::constant(1.0) / if *sum > zero { *sum } else { S::constant(1.0) };
            }
            for before in before.chunks_exact_mut(k) {
                for (s, &scale) in before.iter_mut().zip(&sums) {
                    *s = *s * scale;
                }
            }
            total += centre(next);
        }
        let alpha = &self.alpha[(self.length - 1) * k..];
        let mut sum = zero;
        for (p, &a) in self.last.iter_mut().zip(alpha) {
            *p = a.exp();
            sum += *p;
        }
        normalise(&mut self.last);
        total + sum.value().ln()
    }

    /// Which labels a path reaches, as zeros and `-∞` in the place of log-weights.
    pub(super) fn reach(&mut self, k: usize, scores: &[S]) {
        let lowest = S::constant(f64::NEG_INFINITY);
        self.length = scores.len().checked_div(k * k).unwrap_or(0);
        self.alpha.clear();
        self.alpha.resize(self.length * k, lowest);
        for t in 0..self.length {
            for i in 0..if t == 0 { 1 } else { k } {
                if t > 0 && self.alpha[(t - 1) * k + i] == lowest {
                    continue;
                }
                for j in 0..k {
                    if scores[(t * k + i) * k + j] > lowest {
                        self.alpha[t * k + j] = S::constant(0.0);
                    }
                }
            }
        }
    }

    /// The first step where [`Self::reach`] found no label.
    pub(super) fn dead_end(&self) -> Option<usize> {
        let k = self.alpha.len().checked_div(self.length)?;
        let lowest = S::constant(f64::NEG_INFINITY);
        self.alpha.chunks(k.max(1)).position(|alpha| alpha.iter().all(|&a| a == lowest))
    }

    #[inline(always)]
    pub(super) fn marginals(&mut self, k: usize, out: &mut [S]) {
        let zero = S::constant(0.0);
        self.weights.clone_from(&self.last);
        let mut earlier = vec![zero; k];
        for t in (1..self.length).rev() {
            let range = t * k * k..(t + 1) * k * k;
            let (before, out) = (&self.before[range.clone()], &mut out[range]);
            let rows = before.chunks_exact(k).zip(out.chunks_exact_mut(k));
            for (earlier, (before, out)) in earlier.iter_mut().zip(rows) {
                *earlier = product(before, &self.weights, out);
            }
            normalise(&mut earlier);
            self.weights.copy_from_slice(&earlier);
        }
        self.first_and_rest(k, out);
    }

    /// The weights go to the first row of the first step; its other rows, and what is beyond the length, are zero.
    fn first_and_rest(&self, k: usize, out: &mut [S]) {
        let zero = S::constant(0.0);
        out[self.length * k * k..].fill(zero);
        if self.length > 0 {
            out[..k].copy_from_slice(&self.weights);
            out[k..k * k].fill(zero);
        }
    }

    /// The derivative of the marginals in the direction of `grad`.
    #[inline(always)]
    pub(super) fn vjp(&mut self, k: usize, grad: &[S], out: &mut [S]) {
        let zero = S::constant(0.0);
        if self.length == 0 {
            return out.fill(zero);
        }
        self.tangents.clear();
        self.tangents.resize(self.length * k, zero);
        self.shifts.clear();
        self.shifts.resize(self.length, zero);
        let lowest = S::constant(f64::NEG_INFINITY);
        for ((tangent, &g), &a) in self.tangents.iter_mut().zip(&grad[..k]).zip(&self.alpha) {
            *tangent = if a > lowest { g } else { zero };
        }
        for t in 1..self.length {
            let (done, next) = self.tangents.split_at_mut(t * k);
            let (tangents, next) = (&done[(t - 1) * k..], &mut next[..k]);
            let range = t * k * k..(t + 1) * k * k;
            mean_tangents(tangents, &self.before[range.clone()], &grad[range], next);
            // A constant changes nothing, and would grow with the number of steps.
            let alpha = &self.alpha[t * k..(t + 1) * k];
            let likeliest = alpha.iter().position(|&a| a == zero);
            let shift = likeliest.map_or(zero, |label| next[label]);
            for next in next {
                *next = *next - shift;
            }
            self.shifts[t] = shift;
        }
        self.vjp_backward(k, grad, out);
    }

    #[inline(always)]
    fn vjp_backward(&mut self, k: usize, grad: &[S], out: &mut [S]) {
        let zero = S::constant(0.0);
        self.weights.clone_from(&self.last);
        let tangents = &self.tangents[(self.length - 1) * k..];
        let mut mean = zero;
        for (&p, &tangent) in self.last.iter().zip(tangents) {
            mean += p * tangent;
        }
        let slope = |(&p, &tangent): (&S, &S)| p * (tangent - mean);
        let mut slopes: Vec<S> = self.last.iter().zip(tangents).map(slope).collect();
        let (mut earlier, mut means) = (vec![(zero, zero); k], vec![zero; k]);
        for t in (1..self.length).rev() {
            let range = t * k * k..(t + 1) * k * k;
            for (mean, &tangent) in means.iter_mut().zip(&self.tangents[t * k..]) {
                *mean = tangent + self.shifts[t];
            }
            let after = After { weights: &self.weights, slopes: &slopes, means: &means };
            let (before, grad) = (&self.before[range.clone()], &grad[range.clone()]);
            let rows = before.chunks_exact(k).zip(grad.chunks_exact(k));
            let rows = rows.zip(out[range].chunks_exact_mut(k)).zip(&self.tangents[(t - 1) * k..]);
            for (earlier, (((before, grad), out), &tangent)) in earlier.iter_mut().zip(rows) {
                *earlier = derivatives(tangent, before, grad, &after, out);
            }
            let total = earlier.iter().fold(zero, |total, e| total + e.0);
            let total = if total > zero { total } else { S::constant(1.0) };
            for ((p, slope), e) in self.weights.iter_mut().zip(&mut slopes).zip(&earlier) {
                (*p, *slope) = (e.0 / total, e.1);
            }
        }
        self.weights = slopes;
        self.first_and_rest(k, out);
    }

    /// Draws the labels from the last to the first.
    pub(super) fn sample(&self, k: usize, uniforms: &[f64], labels: &mut [u32]) {
        labels.fill(0);
        for t in (0..self.length).rev() {
            let u = uniforms[t];
            labels[t] = match labels.get(t + 1).filter(|_| t + 1 < self.length) {
                None => draw(self.last.iter().copied(), u),
                Some(&next) => {
                    let before = &self.before[(t + 1) * k * k..(t + 2) * k * k];
                    draw(before.iter().skip(next as usize).step_by(k).copied(), u)
                }
            };
        }
    }

    /// How many steps the row has.
    pub(super) fn length(&self) -> usize {
        self.length
    }
}

/// The inverse of the cumulative distribution: never an entry of weight zero, where there is another.
fn draw<S: Real>(weights: impl Iterator<Item = S> + Clone, u: f64) -> u32 {
    let target = u * weights.clone().map(S::value).sum::<f64>();
    let (mut reached, mut label) = (0.0, 0);
    for (i, weight) in weights.enumerate() {
        let weight = weight.value();
        if weight > 0.0 {
            label = i as u32;
            reached += weight;
            if target < reached {
                break;
            }
        }
    }
    label
}

/// Subtracts the largest, and returns it.
#[inline(always)]
fn centre<S: Real>(alpha: &mut [S]) -> f64 {
    let lowest = S::constant(f64::NEG_INFINITY);
    let mut most = lowest;
    for &a in &*alpha {
        most = if a > most { a } else { most };
    }
    if most > lowest {
        for a in alpha {
            *a = *a - most;
        }
    }
    most.value()
}

/// Divides by the sum: what rounding has added in the steps before goes again.
#[inline(always)]
pub(super) fn normalise<S: Real>(weights: &mut [S]) {
    let zero = S::constant(0.0);
    let mut sum = zero;
    for &w in &*weights {
        sum += w;
    }
    if sum > zero {
        for w in weights {
            *w = *w / sum;
        }
    }
}
