//! Plain loops over rows of classes: what the operations of [`crate::rowwise`] compute on the CPU.
//!
//! Every function takes whole rows of `n` values, one after the other. A masked class is `-inf`; no
//! row is all masked (the callers have checked).

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// f32 and f64.
pub(crate) trait Real:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    const ZERO: Self;
    const ONE: Self;
    const MASKED: Self;
    fn of(value: f64) -> Self;
    fn wide(self) -> f64;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn ln_1p(self) -> Self;
    fn abs(self) -> Self;
    fn is_nan(self) -> bool;
}

macro_rules! real {
    ($t:ty) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const MASKED: Self = Self::NEG_INFINITY;
            fn of(value: f64) -> Self {
                value as Self
            }
            fn wide(self) -> f64 {
                self as f64
            }
            fn exp(self) -> Self {
                self.exp()
            }
            fn ln(self) -> Self {
                self.ln()
            }
            fn ln_1p(self) -> Self {
                self.ln_1p()
            }
            fn abs(self) -> Self {
                self.abs()
            }
            fn is_nan(self) -> bool {
                self.is_nan()
            }
        }
    };
}
real!(f32);
real!(f64);

/// The largest value of a row.
pub(crate) fn max<T: Real>(row: &[T]) -> T {
    row.iter().fold(T::MASKED, |m, &v| if v > m { v } else { m })
}

/// `(logits - max logits) + noise`: the shift keeps the noise's low bits when logits are large.
pub(crate) fn perturb<T: Real>(logits: &[T], noise: &[T], n: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(logits.len());
    for (row, noise) in logits.chunks_exact(n).zip(noise.chunks_exact(n)) {
        let shift = max(row);
        out.extend(row.iter().zip(noise).map(|(&l, &e)| (l - shift) + e));
    }
    out
}

/// The index of each row's largest value, the first of equals.
pub(crate) fn argmax<T: Real>(rows: &[T], n: usize) -> Vec<u32> {
    let first_largest = |row: &[T]| {
        let mut best = 0;
        for (i, &v) in row.iter().enumerate() {
            if v > row[best] {
                best = i;
            }
        }
        best as u32
    };
    rows.chunks_exact(n).map(first_largest).collect()
}

/// Ones at each row's largest value, zeros elsewhere.
pub(crate) fn one_hot_argmax<T: Real>(rows: &[T], n: usize) -> Vec<T> {
    let mut out = vec![T::ZERO; rows.len()];
    for (row, class) in out.chunks_exact_mut(n).zip(argmax(rows, n)) {
        row[class as usize] = T::ONE;
    }
    out
}

/// `softmax(x / τ)`.
pub(crate) fn softmax<T: Real>(rows: &[T], n: usize, tau: f64) -> Vec<T> {
    let tau = T::of(tau);
    let mut out = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(n) {
        let shift = max(row);
        let start = out.len();
        let mut sum = T::ZERO;
        for &v in row {
            // Divided, not multiplied by 1/τ, which overflows for the smallest τ.
            let e = ((v - shift) / tau).exp();
            sum += e;
            out.push(e);
        }
        for y in &mut out[start..] {
            *y = *y / sum;
        }
    }
    out
}

/// The gradient of [`softmax`] from its result `y`: `y (g - Σ g y) / τ`, and zero where `y` is zero
/// whatever `g` is there.
pub(crate) fn softmax_grad<T: Real>(y: &[T], grad: &[T], n: usize, tau: f64) -> Vec<T> {
    let tau = T::of(tau);
    let mut out = Vec::with_capacity(y.len());
    for (y, grad) in y.chunks_exact(n).zip(grad.chunks_exact(n)) {
        let mut dot = T::ZERO;
        for (&y, &g) in y.iter().zip(grad) {
            if y > T::ZERO {
                dot += g * y;
            }
        }
        out.extend(y.iter().zip(grad).map(
            |(&y, &g)| {
                if y > T::ZERO { y * (g - dot) / tau } else { T::ZERO }
            },
        ));
    }
    out
}

/// `x - ln Σ e^x`; masked classes stay `-inf`.
pub(crate) fn log_softmax<T: Real>(rows: &[T], n: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(n) {
        let shift = max(row);
        // The logarithm is subtracted last: near the top of a row the result is small and must keep its bits.
        let mut sum = T::ZERO;
        for &v in row {
            sum += (v - shift).exp();
        }
        let log_sum = sum.ln();
        out.extend(row.iter().map(|&v| (v - shift) - log_sum));
    }
    out
}

/// The gradient of [`log_softmax`] from its result: `g - p Σ g`, and zero for masked classes, whose
/// incoming gradient is ignored.
pub(crate) fn log_softmax_grad<T: Real>(log_p: &[T], grad: &[T], n: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(log_p.len());
    for (log_p, grad) in log_p.chunks_exact(n).zip(grad.chunks_exact(n)) {
        let mut sum = T::ZERO;
        for (&l, &g) in log_p.iter().zip(grad) {
            if l > T::MASKED {
                sum += g;
            }
        }
        out.extend(
            log_p.iter().zip(grad).map(
                |(&l, &g)| {
                    if l > T::MASKED { g - l.exp() * sum } else { T::ZERO }
                },
            ),
        );
    }
    out
}

/// `Σ p (ln p + c)` for each row, with `p = softmax(x)` and `0 ln 0 = 0`: the negative entropy for
/// `c = 0`, the divergence from the uniform distribution for `c = ln n`.
pub(crate) fn sum_p_log_p<T: Real>(rows: &[T], n: usize, c: f64) -> Vec<T> {
    let c = T::of(c);
    let value = |row: &[T]| {
        let shift = max(row);
        let mut sum = T::ZERO;
        for &v in row {
            sum += (v - shift).exp();
        }
        let log_sum = sum.ln();
        let mut total = T::ZERO;
        for &v in row {
            if v > T::MASKED {
                let log_p = (v - shift) - log_sum;
                total += log_p.exp() * (log_p + c);
            }
        }
        total
    };
    rows.chunks_exact(n).map(value).collect()
}

/// The gradient of [`sum_p_log_p`], the same for every `c`: `p (ln p - Σ p ln p)`.
pub(crate) fn sum_p_log_p_grad<T: Real>(rows: &[T], grad: &[T], n: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(rows.len());
    let mean = sum_p_log_p(rows, n, 0.0);
    let log_p = log_softmax(rows, n);
    for ((log_p, &g), &mean) in log_p.chunks_exact(n).zip(grad).zip(&mean) {
        out.extend(
            log_p.iter().map(|&l| if l > T::MASKED { g * l.exp() * (l - mean) } else { T::ZERO }),
        );
    }
    out
}

/// `ln(1 + e^x)` without overflow or loss on either side.
pub(crate) fn softplus<T: Real>(x: T) -> T {
    let above = if x > T::ZERO { x } else { T::ZERO };
    above + (-x.abs()).exp().ln_1p()
}

/// `1 / (1 + e^-x)`, accurate on both sides.
pub(crate) fn sigmoid<T: Real>(x: T) -> T {
    let e = (-x.abs()).exp();
    let upper = T::ONE / (T::ONE + e);
    if x < T::ZERO { e * upper } else { upper }
}
