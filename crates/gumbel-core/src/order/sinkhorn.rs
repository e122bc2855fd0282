//! Matrices of the nearest doubly stochastic kind, by Sinkhorn's iterations.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use gumbel_kernels::{
    Marginals, Scaling, sinkhorn_implicit_vjp, sinkhorn_plan, sinkhorn_row, sinkhorn_unrolled_vjp,
    unmatched_row,
};
use rayon::prelude::*;

use super::matching::{no_matching, permutation_matrix, square};
use crate::checks::check_values;
use crate::gumbel_softmax::{broadcast_temperature, divide_by_temperature};
use crate::op::{perturb, widen, with_gradient};
use crate::structure::host::{on_host, values};
use crate::{Error, Generator, Result, Temperature, gumbel_noise, straight_through};

/// When [`sinkhorn`] stops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Iterations {
    /// When no row's sum is off by more than `tolerance`, or after `most` iterations.
    Until {
        /// The largest residual.
        tolerance: f64,
        /// The most iterations.
        most: usize,
    },
    /// After this many, whatever is left: for comparison with published settings, which have 10 to 20.
    Fixed(usize),
}

/// The gradient of [`sinkhorn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkhornGradient {
    /// That of the limit, by the implicit function theorem: right where the iterations have converged.
    Implicit,
    /// That of the iterations that were made, each undone; keeps `2 n` numbers for each of them.
    Unrolled,
}

/// What [`sinkhorn`] does.
#[derive(Clone, Debug, Default)]
pub struct SinkhornOptions {
    /// When it stops. `None`: a tolerance of 1e-4 in f32 and 1e-9 in f64, 1000 iterations at most.
    pub iterations: Option<Iterations>,
    /// The sums of rows `(m)` and columns `(n)`, all above zero; `None` for ones. They need the same total.
    pub marginals: Option<(Vec<f64>, Vec<f64>)>,
    /// `None`: implicit for a tolerance, unrolled for a fixed number.
    pub gradient: Option<SinkhornGradient>,
}

/// A matrix with (nearly) given sums, and how near they are.
#[derive(Clone, Debug)]
pub struct Sinkhorn {
    /// `(…, m, n)`.
    pub plan: Tensor,
    /// The largest deviation of a row's sum, `(…)`, f64. Columns have their sums to rounding.
    pub residual: Tensor,
    /// How many iterations were made, `(…)`, u32.
    pub iterations: Tensor,
    tolerance: Option<f64>,
}

impl Sinkhorn {
    /// Refuses a plan whose residual is above the tolerance. With a fixed number of iterations there is none to hold it to.
    ///
    /// # Errors
    /// [`Error::NotConverged`] with the largest residual.
    pub fn require_converged(self) -> Result<Self> {
        let Some(tolerance) = self.tolerance else { return Ok(self) };
        let residuals = values(&self.residual)?;
        let Some((row, &residual)) = residuals.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))
        else {
            return Ok(self);
        };
        if residual <= tolerance {
            return Ok(self);
        }
        let iterations = values(&self.iterations)?[row] as usize;
        Err(Error::NotConverged { residual, tolerance, iterations })
    }
}

/// `diag(u) exp(log_alpha) diag(v)` with the given sums of rows and columns, by scaling rows and columns in turn (Sinkhorn 1964; Mena et al. 2018),
/// right at any scale of `log_alpha`.
///
/// The usual 10 to 20 iterations leave rows that do not sum to one (by 0.2 at τ = 0.1): `residual` says by how much.
///
/// # Shapes
/// - log_alpha: `(…, m, n)`; square unless marginals are given. `-inf` entries stay exactly zero. With an entry that is in no perfect matching the
///   iterations converge slowly, and that entry tends to zero.
/// # Gradient
/// Of the plan for `log_alpha`: see [`SinkhornGradient`].
/// # Errors
/// [`Error::NoStructure`] where `-inf` leaves no perfect matching; [`Error::InvalidParameter`] for marginals that are not above zero or have
/// different totals; [`Error::ShapeMismatch`] for marginals of other lengths; [`Error::InvalidLogit`], [`Error::UnexpectedShape`], [`Error::UnsupportedDType`].
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::{SinkhornOptions, sinkhorn};
///
/// let log_alpha = Tensor::new(&[[1f64, 0.0], [0.5, 2.0]], &Device::Cpu)?;
/// let result = sinkhorn(&log_alpha, &SinkhornOptions::default())?.require_converged()?;
/// let p = result.plan.to_vec2::<f64>()?;
/// let closed_form = 1.0 / (1.0 + (-(1.0 + 2.0 - 0.0 - 0.5f64) / 2.0).exp());
/// assert!((p[0][0] - closed_form).abs() < 1e-8);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn sinkhorn(log_alpha: &Tensor, options: &SinkhornOptions) -> Result<Sinkhorn> {
    let wide = widen(log_alpha)?;
    let problem = Problem::new(&wide, log_alpha, options)?;
    let x = values(&wide)?;
    let size = problem.rows.len() * problem.columns.len();
    let scalings: Vec<Scaling> = x.par_chunks(size).map(|x| problem.solve(x)).collect();
    let plan = on_host([&wide.detach()], wide.shape(), |[x], out| {
        let rows = out.par_chunks_mut(size).zip(x.par_chunks(size)).zip(&scalings);
        rows.for_each(|((out, x), scaling)| sinkhorn_plan(x, scaling, out));
        Ok(())
    })?;
    let batch = wide.dims()[..wide.rank() - 2].to_vec();
    let residual: Vec<f64> = scalings.iter().map(|s| s.residual).collect();
    let iterations: Vec<u32> = scalings.iter().map(|s| s.iterations as u32).collect();
    let tolerance = problem.tolerance();
    let state = Arc::new((problem, scalings));
    let plan = with_gradient("sinkhorn", plan, [&wide], move |[wide], _, grad| {
        let (problem, scalings) = &*state;
        let d = on_host([wide, grad], wide.shape(), |[x, grad], out| {
            let rows = out.par_chunks_mut(size).zip(x.par_chunks(size)).zip(grad.par_chunks(size));
            rows.zip(scalings).for_each(|(((out, x), grad), scaling)| {
                problem.pull(x, scaling, grad, out);
            });
            Ok(())
        })?;
        Ok([Some(d)])
    })?;
    Ok(Sinkhorn {
        plan: plan.to_dtype(log_alpha.dtype())?,
        residual: Tensor::from_vec(residual, batch.as_slice(), &Device::Cpu)?,
        iterations: Tensor::from_vec(iterations, batch, &Device::Cpu)?,
        tolerance,
    })
}

/// The options, checked for one tensor.
#[derive(Debug)]
struct Problem {
    /// Logarithms of the sums.
    rows: Vec<f64>,
    columns: Vec<f64>,
    iterations: Iterations,
    gradient: SinkhornGradient,
}

impl Problem {
    fn new(wide: &Tensor, log_alpha: &Tensor, options: &SinkhornOptions) -> Result<Self> {
        let bad = |value, index| Error::InvalidLogit { value, index };
        check_values(log_alpha, "log_alpha", |x| x < f64::INFINITY, bad)?;
        let (rows, columns) = match &options.marginals {
            Some(marginals) => check_marginals(wide, marginals)?,
            None => {
                let (_, n) = square(wide, "log_alpha")?;
                for (row, x) in values(wide)?.chunks_exact(n * n).enumerate() {
                    if unmatched_row(n, x).is_some() {
                        return Err(no_matching(row, n, x));
                    }
                }
                (vec![0.0; n], vec![0.0; n])
            }
        };
        let tolerance = if wide.dtype() == DType::F64 { 1e-9 } else { 1e-4 };
        let iterations = options.iterations.unwrap_or(Iterations::Until { tolerance, most: 1000 });
        let (Iterations::Fixed(most) | Iterations::Until { most, .. }) = iterations;
        if most == 0 {
            let name = "the number of iterations";
            return Err(Error::InvalidParameter { name, value: 0.0, must: "at least 1" });
        }
        if let Iterations::Until { tolerance, .. } = iterations
            && !(tolerance > 0.0 && tolerance.is_finite())
        {
            return Err(Error::InvalidParameter {
                name: "tolerance",
                value: tolerance,
                must: "above zero",
            });
        }
        let gradient = options.gradient.unwrap_or(match iterations {
            Iterations::Until { .. } => SinkhornGradient::Implicit,
            Iterations::Fixed(_) => SinkhornGradient::Unrolled,
        });
        Ok(Self { rows, columns, iterations, gradient })
    }

    fn tolerance(&self) -> Option<f64> {
        match self.iterations {
            Iterations::Until { tolerance, .. } => Some(tolerance),
            Iterations::Fixed(_) => None,
        }
    }

    fn marginals(&self) -> Marginals<'_> {
        Marginals { rows: &self.rows, columns: &self.columns }
    }

    fn solve(&self, x: &[f64]) -> Scaling {
        let keep = self.gradient == SinkhornGradient::Unrolled;
        let (tolerance, most) = match self.iterations {
            Iterations::Until { tolerance, most } => (tolerance, most),
            Iterations::Fixed(most) => (-1.0, most),
        };
        sinkhorn_row(x, self.marginals(), tolerance, most, keep)
    }

    fn pull(&self, x: &[f64], scaling: &Scaling, grad: &[f64], out: &mut [f64]) {
        match self.gradient {
            SinkhornGradient::Unrolled => {
                sinkhorn_unrolled_vjp(x, self.marginals(), scaling, grad, out);
            }
            SinkhornGradient::Implicit => {
                let mut plan = vec![0.0; x.len()];
                sinkhorn_plan(x, scaling, &mut plan);
                sinkhorn_implicit_vjp(self.rows.len(), self.columns.len(), &plan, grad, out);
            }
        }
    }
}

fn check_marginals(
    x: &Tensor,
    (rows, columns): &(Vec<f64>, Vec<f64>),
) -> Result<(Vec<f64>, Vec<f64>)> {
    let [.., m, n] = x.dims() else {
        let (got, expected) = (x.dims().to_vec(), "(batch, m, n)");
        return Err(Error::UnexpectedShape { what: "log_alpha", got, expected });
    };
    if [rows.len(), columns.len()] != [*m, *n] || rows.is_empty() || columns.is_empty() {
        let (got, expected) = (vec![rows.len(), columns.len()], vec![*m, *n]);
        return Err(Error::ShapeMismatch { what: "the marginals", got, expected });
    }
    let bad = rows.iter().chain(columns).find(|&&p| !(p > 0.0 && p.is_finite()));
    if let Some(&value) = bad {
        return Err(Error::InvalidParameter {
            name: "a marginal",
            value,
            must: "above zero and finite",
        });
    }
    let (a, b) = (rows.iter().sum::<f64>(), columns.iter().sum::<f64>());
    if (a - b).abs() > 1e-6 * a.max(b) {
        let name = "the total of the columns' marginals";
        return Err(Error::InvalidParameter {
            name,
            value: b,
            must: "that of the rows' marginals",
        });
    }
    for (row, x) in values(x)?.chunks_exact(m * n).enumerate() {
        // Every row and every column needs an entry; whether the rest fits shows in the residual.
        let empty = x.chunks_exact(*n).position(|r| r.iter().all(|x| *x == f64::NEG_INFINITY));
        let empty =
            empty.or_else(|| (0..*n).find(|j| (0..*m).all(|i| x[i * n + j] == f64::NEG_INFINITY)));
        if let Some(index) = empty {
            return Err(Error::NoStructure { what: "plan with these marginals", row, index });
        }
    }
    let log = |p: &[f64]| p.iter().map(|p| p.ln()).collect();
    Ok((log(rows), log(columns)))
}

/// Relaxed random permutations: [`sinkhorn`] of `(log_alpha + g) / τ` (Mena et al. 2018). With `hard` the plan is the permutation matrix of the
/// best [`matching`](crate::matching) of `log_alpha + g`, with the gradient of the relaxed one. Its law has no tractable probability.
///
/// # Shapes
/// - log_alpha: `(…, n, n)`. tau: a number, or a tensor that broadcasts to `(…, 1, 1)`.
/// # Gradient
/// For `log_alpha` and a tensor of temperatures.
/// # Errors
/// Those of [`sinkhorn`]; [`Error::InvalidTemperature`].
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::{Generator, SinkhornOptions, gumbel_sinkhorn};
///
/// let log_alpha = Tensor::new(&[[2f32, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]], &Device::Cpu)?;
/// let options = SinkhornOptions::default();
/// let p = gumbel_sinkhorn(&log_alpha, 0.5, &options, true, &mut Generator::new(0))?.plan;
/// assert_eq!(p.sum(0)?.to_vec1::<f32>()?, [1.0, 1.0, 1.0]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn gumbel_sinkhorn(
    log_alpha: &Tensor,
    tau: impl Into<Temperature>,
    options: &SinkhornOptions,
    hard: bool,
    g: &mut Generator,
) -> Result<Sinkhorn> {
    let tau = tau.into();
    tau.check()?;
    square(log_alpha, "log_alpha")?;
    let bad = |value, index| Error::InvalidLogit { value, index };
    check_values(log_alpha, "log_alpha", |x| x < f64::INFINITY, bad)?;
    let wide = widen(log_alpha)?.contiguous()?;
    let noise = gumbel_noise(wide.shape(), wide.dtype(), wide.device(), g)?;
    // A shift of each row: neither the plan nor the matching depends on it.
    let scores = perturb(&wide, &noise)?;
    let scaled = match &tau {
        Temperature::Fixed(tau) => (&scores / *tau)?,
        Temperature::Tensor(tau) => {
            let tau = broadcast_temperature(&tau.to_dtype(wide.dtype())?, &scores)?;
            divide_by_temperature(&scores, &tau.contiguous()?)?
        }
    };
    let mut result = sinkhorn(&scaled, options)?;
    if hard {
        result.plan = straight_through(&permutation_matrix(&scores.detach())?, &result.plan)?;
    }
    result.plan = result.plan.to_dtype(log_alpha.dtype())?;
    Ok(result)
}

#[cfg(test)]
mod tests;
