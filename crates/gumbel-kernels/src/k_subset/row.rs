//! One row: its tilted bits, the table of how many are set among the first, and what follows from it.

use super::tilt::tilt;
use crate::isa::Kernel;
use crate::scalar::Scalar;

/// What is computed of a row of scores. The memory is kept from row to row.
#[derive(Default)]
pub(super) struct Row<S> {
    /// The items that are not forbidden.
    pub(super) allowed: Vec<usize>,
    case: Case,
    /// Probabilities of an item to be counted, and not to be.
    counted: Vec<S>,
    skipped: Vec<S>,
    /// How many are counted in all.
    pub(super) count: usize,
    /// `(allowed + 1, count + 1)`: the probability that so many of the first items are counted.
    prefix: Vec<S>,
    /// The same of the last items, from the largest number to 0.
    suffix: Vec<S>,
    buffer: Vec<f64>,
    single: Vec<f32>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Case {
    /// Fewer items are allowed than are to be chosen.
    #[default]
    Impossible,
    Nothing,
    Everything,
    /// The chosen items are counted.
    Ones,
    /// The others are, since they are fewer.
    Zeros,
}

/// Factors `1 + e ≤ 2` whose product stays far below the largest number.
const FACTORS: usize = 512;

impl<S: Scalar> Row<S> {
    /// Fills the table. `tangent(i)` is a number of value zero whose derivative is that of score `i`.
    /// Returns the part of the log-partition that does not depend on the table.
    #[inline(always)]
    pub(super) fn prepare<K: Kernel>(
        &mut self,
        kernel: K,
        k: usize,
        scores: &[f64],
        tangent: impl Fn(usize) -> S,
    ) -> f64 {
        self.allowed.clear();
        self.allowed.extend((0..scores.len()).filter(|&i| scores[i] > f64::NEG_INFINITY));
        let n = self.allowed.len();
        self.case = match k {
            _ if k > n => Case::Impossible,
            0 => Case::Nothing,
            _ if k == n => Case::Everything,
            _ if 2 * k > n => Case::Zeros,
            _ => Case::Ones,
        };
        self.count = if self.case == Case::Zeros { n - k } else { k };
        match self.case {
            Case::Impossible => return f64::NEG_INFINITY,
            Case::Nothing => return 0.0,
            Case::Everything => return self.allowed.iter().map(|&i| scores[i]).sum(),
            Case::Ones | Case::Zeros => {}
        }
        self.buffer.clear();
        self.buffer.extend(self.allowed.iter().map(|&i| scores[i]));
        self.buffer.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        // Relative to the k-th largest, so that a shift of all scores costs no digits.
        let pivot = self.buffer[k - 1];
        self.single.clear();
        self.single.extend(self.buffer.iter().map(|x| (x - pivot).clamp(-1e37, 1e37) as f32));
        let t = tilt(kernel, k, &self.single);
        let offset = self.largest_and_softplus(k, pivot, t);
        self.bits(scores, pivot, t, tangent);
        self.count_prefixes();
        offset
    }

    /// `Σ θ_i` over the `k` largest, `- k t + Σ softplus(θ_i + t)` over all. Without cancellation: for a large one the terms are
    /// `softplus(-(θ_i + t))`.
    #[inline(always)]
    fn largest_and_softplus(&self, k: usize, pivot: f64, t: f64) -> f64 {
        let mut total: f64 = self.buffer[..k].iter().sum();
        let mut product = 1.0;
        for (i, score) in self.buffer.iter().enumerate() {
            let x = (score - pivot) + t;
            let outward = if i < k { -x } else { x };
            total += outward.max(0.0);
            product *= 1.0 + (-x.abs()).exp();
            if i % FACTORS == FACTORS - 1 {
                total += product.ln();
                product = 1.0;
            }
        }
        total + product.ln()
    }

    #[inline(always)]
    fn bits(&mut self, scores: &[f64], pivot: f64, t: f64, tangent: impl Fn(usize) -> S) {
        self.counted.clear();
        self.skipped.clear();
        let (zero, one) = (S::constant(0.0), S::constant(1.0));
        for &i in &self.allowed {
            let x = S::constant((scores[i] - pivot) + t) + tangent(i);
            let positive = x.value() >= 0.0;
            let e = (if positive { zero - x } else { x }).exp();
            let large = one / (one + e);
            let (p, q) = if positive { (large, e * large) } else { (e * large, large) };
            let (counted, skipped) = if self.case == Case::Zeros { (q, p) } else { (p, q) };
            self.counted.push(counted);
            self.skipped.push(skipped);
        }
    }

    #[inline(always)]
    fn count_prefixes(&mut self) {
        let width = self.count + 1;
        self.prefix.clear();
        self.prefix.resize((self.allowed.len() + 1) * width, S::constant(0.0));
        self.prefix[0] = S::constant(1.0);
        for (i, (&counted, &skipped)) in self.counted.iter().zip(&self.skipped).enumerate() {
            let (before, after) = self.prefix[i * width..(i + 2) * width].split_at_mut(width);
            after[0] = before[0] * skipped;
            for ((after, &same), &fewer) in after[1..].iter_mut().zip(&before[1..]).zip(&*before) {
                *after = same * skipped + fewer * counted;
            }
        }
    }

    /// The probability that the number counted is the one asked for.
    fn total(&self) -> S {
        self.prefix[(self.allowed.len() + 1) * (self.count + 1) - 1]
    }

    #[inline(always)]
    pub(super) fn log_partition<K: Kernel>(&mut self, kernel: K, k: usize, scores: &[f64]) -> f64 {
        let offset = self.prepare(kernel, k, scores, |_| S::constant(0.0));
        match self.case {
            Case::Ones | Case::Zeros => offset + self.total().value().ln(),
            _ => offset,
        }
    }

    /// Gives the probability of every allowed item to be chosen.
    #[inline(always)]
    pub(super) fn marginals(&mut self, mut give: impl FnMut(usize, S)) {
        match self.case {
            Case::Impossible | Case::Nothing => return,
            Case::Everything => {
                return self.allowed.iter().for_each(|&i| give(i, S::constant(1.0)));
            }
            Case::Ones | Case::Zeros => {}
        }
        let width = self.count + 1;
        let (zero, total) = (S::constant(0.0), self.total());
        self.suffix.clear();
        self.suffix.resize(width, zero);
        self.suffix[width - 1] = S::constant(1.0);
        for at in (0..self.allowed.len()).rev() {
            let (counted, skipped) = (self.counted[at], self.skipped[at]);
            let before = &self.prefix[at * width..(at + 1) * width];
            // A chosen item leaves one fewer to the others where ones are counted, and all where zeros are.
            let (chosen, others) = match self.case {
                Case::Zeros => (skipped, dot(before, &self.suffix)),
                _ => (counted, dot(&before[..width - 1], &self.suffix[1..])),
            };
            give(self.allowed[at], chosen * others / total);
            for j in 0..width - 1 {
                self.suffix[j] = self.suffix[j] * skipped + self.suffix[j + 1] * counted;
            }
            self.suffix[width - 1] = self.suffix[width - 1] * skipped;
        }
    }

    /// Decides item by item, the last first, given how many of those before it are to be counted.
    #[inline(always)]
    pub(super) fn sample(&self, uniforms: &[f64], out: &mut [f64]) {
        out.fill(0.0);
        match self.case {
            Case::Impossible | Case::Nothing => return,
            Case::Everything => return self.allowed.iter().for_each(|&i| out[i] = 1.0),
            Case::Ones | Case::Zeros => {}
        }
        let mut left = self.count;
        for at in (0..self.allowed.len()).rev() {
            let i = self.allowed[at];
            // Nothing is left to rounding at the two ends: so the number is exact.
            let counts = left == at + 1 || (left > 0 && uniforms[i] < self.chance(at, left));
            left -= usize::from(counts);
            out[i] = f64::from(u8::from(counts == (self.case == Case::Ones)));
        }
    }

    /// The probability that an item is counted, given that `left` are counted of it and those before it.
    #[inline(always)]
    pub(super) fn chance(&self, at: usize, left: usize) -> f64 {
        let width = self.count + 1;
        let fewer = (self.prefix[at * width + left - 1] * self.counted[at]).value();
        let same = (self.prefix[at * width + left] * self.skipped[at]).value();
        fewer / (fewer + same)
    }
}

/// In four parts, which can be added at once.
#[inline(always)]
fn dot<S: Scalar>(a: &[S], b: &[S]) -> S {
    let mut sums = [S::constant(0.0); 4];
    let (a_rest, b_rest) = (a.chunks_exact(4).remainder(), b.chunks_exact(4).remainder());
    for (a, b) in a.chunks_exact(4).zip(b.chunks_exact(4)) {
        for lane in 0..4 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for (lane, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] += a * b;
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}
