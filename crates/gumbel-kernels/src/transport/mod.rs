//! Matrices with given sums of rows and columns, and the best matching of rows and columns.

mod hungarian;
mod implicit;
mod scaling;
#[cfg(test)]
mod tests;
mod unrolled;

pub use hungarian::{hungarian, unmatched_row};
pub use implicit::sinkhorn_implicit_vjp;
pub use scaling::{Marginals, Scaling, sinkhorn_plan, sinkhorn_row};
pub use unrolled::sinkhorn_unrolled_vjp;
