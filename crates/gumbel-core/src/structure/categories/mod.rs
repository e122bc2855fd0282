//! One-hot rows: one category for each latent.

use candle_core::shape::Dim;
use candle_core::{D, DType, Device, Shape, Tensor};
use gumbel_kernels::conditional_softmax_vjp;

use super::{Structure, constant, count_codes, divide};
use crate::logits::Rows;
use crate::op::{self, on_slices, softmax_grad, softplus};
use crate::{
    Error, Generator, Result, Temperature, gumbel_noise, gumbel_softmax, one_hot, sample_one_hot,
};

/// Independent categorical variables. A code is one-hot along the dimension of the classes, which is the last one
/// by [default](Categories::default). The other dimensions hold the batch and the latents.
///
/// The marginals are `softmax(logits)`, and a relaxed code is a Gumbel-softmax sample.
/// A temperature may differ between rows, not between the classes of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Categories {
    /// How many dimensions come after that of the classes.
    behind: usize,
}

impl Categories {
    /// Classes along `dim` of tensors of this shape.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn along<D: Dim>(dim: D, shape: &Shape) -> Result<Self> {
        Ok(Self { behind: shape.rank() - 1 - dim.to_index(shape, "categories")? })
    }

    fn dim(self, x: &Tensor) -> Result<usize> {
        let missing = || Error::TooFewClasses { what: "logits", shape: x.dims().to_vec(), min: 1 };
        x.rank().checked_sub(1 + self.behind).ok_or_else(missing)
    }

    /// The tensor with the classes last, contiguous and without a history.
    pub(crate) fn rows(self, x: &Tensor) -> Result<Tensor> {
        let x = x.detach();
        let x = if self.behind == 0 { x } else { x.transpose(self.dim(&x)?, D::Minus1)? };
        Ok(x.contiguous()?)
    }

    /// The inverse of [`Self::rows`].
    pub(crate) fn restore(self, rows: &Tensor) -> Result<Tensor> {
        self.rows(rows)
    }

    /// A checked temperature with the classes last: a tensor has one value for a row of these logits.
    pub(crate) fn temperature(self, tau: &Temperature, logits: &Tensor) -> Result<Temperature> {
        let values = match constant(tau, logits)? {
            Temperature::Tensor(values) => values,
            number => return Ok(number),
        };
        let all = values.broadcast_as(logits.shape())?;
        let behind = values.rank().checked_sub(1 + self.behind);
        if behind.is_some_and(|dim| values.dims()[dim] != 1) {
            let mut expected = logits.dims().to_vec();
            expected[self.dim(logits)?] = 1;
            let got = values.dims().to_vec();
            return Err(Error::ShapeMismatch { what: "temperature", got, expected });
        }
        Ok(Temperature::Tensor(self.rows(&all)?.narrow(D::Minus1, 0, 1)?))
    }

    /// Logits of `softmax(logits / τ)`. The largest of a row is subtracted first, so that no quotient overflows.
    pub(crate) fn tempered(self, logits: &Tensor, tau: &Temperature) -> Result<Tensor> {
        self.check(logits)?;
        let tau = self.temperature(tau, logits)?;
        self.restore(&divide(&below_largest(&self.rows(logits)?)?, &tau)?)
    }

    /// The mean over `draws` of the gradient of `⟨softmax(scores / τ), grad⟩` with respect to the scores, for scores
    /// drawn given that the class of `z` is their largest. With classes last.
    ///
    /// For standard exponential `E` (Paulus et al. 2021, eq. 7) the other scores lie `ln(1 + E_j / (E_i p_j))` below that of
    /// the class `i` of `z`. The noise is Gumbel, `-ln E`. Only the probabilities of the other classes matter.
    pub(crate) fn conditional_rows_vjp(
        log_probs: &Tensor,
        z: &Tensor,
        tau: &Temperature,
        draws: &[Generator],
        grad: &Tensor,
    ) -> Result<Tensor> {
        let composition = |[log_probs, z, grad]: [&Tensor; 3]| {
            let mut total = grad.zeros_like()?;
            for draw in draws {
                let scores = below_sampled(log_probs, z, &mut draw.clone())?;
                total = (total + softmax_vjp(&softmax(&scores, tau)?, tau, grad)?)?;
            }
            Ok((total / draws.len().max(1) as f64)?)
        };
        let Temperature::Fixed(number) = tau else { return composition([log_probs, z, grad]) };
        let (streams, positions): (Vec<_>, Vec<_>) =
            draws.iter().map(Generator::gumbel_stream).unzip();
        let position = positions.first().copied().unwrap_or(0);
        let (n, temperature) = (z.dim(D::Minus1)?, *number as f32);
        let kernel = |[log_probs, z, grad]: [&[f32]; 3], out: &mut [f32]| {
            conditional_softmax_vjp(n, temperature, &streams, position, log_probs, z, grad, out)?;
            Ok(())
        };
        Ok(on_slices([log_probs, z, grad], z.shape(), kernel, composition)?.into_tensor())
    }
}

/// `softmax(rows / τ)`.
pub(crate) fn softmax(rows: &Tensor, tau: &Temperature) -> Result<Tensor> {
    match tau {
        Temperature::Fixed(tau) => op::softmax(&rows.detach(), *tau),
        // The largest is subtracted first: near the top of a row the quotient keeps its digits.
        Temperature::Tensor(tau) => op::softmax(&below_largest(rows)?.broadcast_div(tau)?, 1.0),
    }
}

/// `rows - max rows`.
pub(crate) fn below_largest(rows: &Tensor) -> Result<Tensor> {
    if rows.elem_count() == 0 {
        return Ok(rows.clone());
    }
    Ok(rows.broadcast_sub(&rows.max_keepdim(D::Minus1)?)?)
}

/// `y (g - Σ g y) / τ`: the gradient through `softmax(· / τ)` of value `y`; zero where `y` is zero, whatever `g` is there.
pub(crate) fn softmax_vjp(y: &Tensor, tau: &Temperature, grad: &Tensor) -> Result<Tensor> {
    match tau {
        Temperature::Fixed(tau) => softmax_grad(y, grad, *tau),
        Temperature::Tensor(_) => divide(&softmax_grad(y, grad, 1.0)?, tau),
    }
}

/// Scores relative to the sampled class, which has 0; the others lie below, a masked one at `-inf`.
fn below_sampled(log_probs: &Tensor, z: &Tensor, g: &mut Generator) -> Result<Tensor> {
    let noise = gumbel_noise(z.shape(), z.dtype(), z.device(), g)?;
    let at_sample = (&noise * z)?.sum_keepdim(D::Minus1)?;
    let distance = softplus(&(noise.neg()?.broadcast_add(&at_sample)? - log_probs)?)?;
    Ok(z.gt(0.0)?.where_cond(&z.zeros_like()?, &distance.neg()?)?)
}

impl Structure for Categories {
    fn name(&self) -> &'static str {
        "categories"
    }

    fn support(&self) -> &'static str {
        "one-hot vectors"
    }

    fn misfit(&self, _: usize, event: &[usize], z: &[f64]) -> Option<usize> {
        let (outer, inner) = event.split_at(event.len().checked_sub(1 + self.behind)?);
        let (n, stride) = (inner[0], inner[1..].iter().product::<usize>());
        let starts = (0..outer.iter().product::<usize>())
            .flat_map(|block| (0..stride).map(move |lane| block * n * stride + lane));
        starts.into_iter().find_map(|start| {
            let mut ones = (0..n).map(|class| start + class * stride).filter(|&at| z[at] == 1.0);
            match (ones.next(), ones.next()) {
                (None, _) => Some(start),
                (Some(_), second) => second,
            }
        })
    }

    fn check(&self, logits: &Tensor) -> Result<()> {
        Rows::new(&logits.detach(), self.dim(logits)?).map(|_| ())
    }

    fn sample(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor> {
        sample_one_hot(&logits.detach(), self.dim(logits)?, g)
    }

    fn solve(&self, scores: &Tensor) -> Result<Tensor> {
        self.restore(&op::one_hot_argmax(&self.rows(scores)?)?)
    }

    fn log_partition(&self, scores: &Tensor) -> Result<Tensor> {
        let batch = scores.dim(0)?;
        if batch == 0 {
            return Ok(Tensor::zeros(0, scores.dtype(), scores.device())?);
        }
        let of_rows = self.rows(scores)?.log_sum_exp(D::Minus1)?;
        let n_latents = of_rows.elem_count() / batch.max(1);
        Ok(of_rows.reshape((batch, n_latents))?.sum(1)?)
    }

    fn marginals(&self, scores: &Tensor, tau: &Temperature) -> Result<Tensor> {
        self.restore(&softmax(&self.rows(scores)?, &self.temperature(tau, scores)?)?)
    }

    fn marginals_vjp(&self, scores: &Tensor, tau: &Temperature, grad: &Tensor) -> Result<Tensor> {
        let tau = self.temperature(tau, scores)?;
        let y = softmax(&self.rows(scores)?, &tau)?;
        self.restore(&softmax_vjp(&y, &tau, &self.rows(grad)?)?)
    }

    fn codes(&self, logits: &Tensor) -> Result<Tensor> {
        let rows = self.rows(&logits.narrow(0, 0, 0)?)?;
        let mut dims = rows.dims().to_vec();
        let n_categories = dims.pop().unwrap_or(1);
        let n_latents = dims.iter().skip(1).product();
        let codes = all_codes(n_latents, n_categories, logits.dtype(), logits.device())?;
        dims[0] = codes.dim(0)?;
        dims.push(n_categories);
        self.restore(&codes.reshape(dims)?)
    }

    fn condition(&self, logits: &Tensor, z: &Tensor, g: &mut Generator) -> Result<Tensor> {
        let log_probs = op::log_softmax(&self.rows(logits)?)?;
        self.restore(&below_sampled(&log_probs, &self.rows(z)?, g)?)
    }

    fn perturb(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor> {
        let rows = Rows::new(&logits.detach(), self.dim(logits)?)?;
        let noise = gumbel_noise(logits.shape(), rows.rows.dtype(), logits.device(), g)?;
        self.restore(&op::perturb(&rows.rows, &rows.like(&noise, "noise")?)?)
    }

    fn perturb_and_solve(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor> {
        self.sample(logits, g)
    }

    fn relax(&self, logits: &Tensor, tau: &Temperature, g: &mut Generator) -> Result<Tensor> {
        match tau {
            Temperature::Fixed(tau) => {
                gumbel_softmax(&logits.detach(), *tau, false, self.dim(logits)?, g)
            }
            Temperature::Tensor(_) => self.marginals(&self.perturb(logits, g)?, tau),
        }
    }

    fn relax_vjp(
        &self,
        logits: &Tensor,
        relaxed: &Tensor,
        tau: &Temperature,
        _: &mut Generator,
        grad: &Tensor,
    ) -> Result<Tensor> {
        let tau = self.temperature(tau, logits)?;
        self.restore(&softmax_vjp(&self.rows(relaxed)?, &tau, &self.rows(grad)?)?)
    }

    fn condition_vjp(
        &self,
        logits: &Tensor,
        z: &Tensor,
        tau: &Temperature,
        draws: &[Generator],
        grad: &Tensor,
    ) -> Result<Tensor> {
        let tau = self.temperature(tau, logits)?;
        let log_probs = op::log_softmax(&self.rows(logits)?)?;
        let (z, grad) = (self.rows(z)?, self.rows(grad)?);
        self.restore(&Self::conditional_rows_vjp(&log_probs, &z, &tau, draws, &grad)?)
    }
}

/// Every code of `n_latents` variables with `n_categories` each, as one-hot vectors; the last latent changes fastest.
///
/// # Shapes
/// - output: `(n_categories ^ n_latents, n_latents, n_categories)`.
/// # Errors
/// [`Error::InvalidParameter`] when there are more than [`MAX_CODES`](super::MAX_CODES).
pub fn all_codes(
    n_latents: usize,
    n_categories: usize,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let n_codes = count_codes(n_categories, n_latents)?;
    let mut indices = Vec::with_capacity(n_codes * n_latents);
    for code in 0..n_codes {
        let digit =
            |latent: usize| code / n_categories.pow((n_latents - 1 - latent) as u32) % n_categories;
        indices.extend((0..n_latents).map(|latent| digit(latent) as u32));
    }
    one_hot(&Tensor::from_vec(indices, (n_codes, n_latents), device)?, n_categories, dtype)
}
