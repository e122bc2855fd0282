//! Orders: the largest values of a row, the Plackett-Luce distribution of rankings and of their unordered sets.
//!
//! All but [`top_k`] and [`soft_sort`] is in f64, in logarithms, and free of subtraction: right at any scale of logits, with `-inf` for items
//! that are never chosen.

mod lookahead;
mod plackett_luce;
mod soft_sort;
mod subset;
mod top_k;

pub use lookahead::{StageGain, ranking_expectation, ranking_positions};
pub use plackett_luce::{ranking_gumbels, ranking_log_prob, ranking_score};
pub use soft_sort::{SoftSort, soft_sort};
pub use subset::{MAX_DRAWN, SetProbs, set_log_prob, set_log_ratios, set_probs};
pub use top_k::top_k;

/// `ln Σ exp`, term by term: a sum of logarithms' numbers that neither overflows nor cancels.
#[derive(Clone, Copy, Debug)]
pub struct LogSum {
    top: f64,
    /// The sum in units of `exp(top)`.
    sum: f64,
}

impl LogSum {
    /// No terms: `-inf`.
    pub const EMPTY: Self = Self { top: f64::NEG_INFINITY, sum: 0.0 };

    /// Adds `exp(x)`.
    #[inline(always)]
    pub fn add(&mut self, x: f64) {
        if x <= self.top {
            // Nothing may be added to nothing.
            self.sum += if x == f64::NEG_INFINITY { 0.0 } else { (x - self.top).exp() };
        } else {
            self.sum = self.sum * (self.top - x).exp() + 1.0;
            self.top = x;
        }
    }

    /// The logarithm of the sum.
    #[inline(always)]
    pub fn ln(self) -> f64 {
        if self.sum == 1.0 { self.top } else { self.top + self.sum.ln() }
    }

    /// The sum over the exponentials of all values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sum = Self::EMPTY;
        values.into_iter().for_each(|x| sum.add(x));
        sum
    }
}

#[cfg(test)]
mod tests;
