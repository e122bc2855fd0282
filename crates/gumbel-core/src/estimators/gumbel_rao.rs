//! Gumbel-Rao: straight-through Gumbel-softmax with the noise averaged out, given the sample.

use candle_core::shape::Dim;
use candle_core::{D, DType, Tensor};
use gumbel_kernels::{ConditionalDraws, StraightThrough};

use super::hard_sample::{self, Draw, Pullback};
use crate::rowwise::plain;
use crate::{Error, Generator, GeneratorState, Result, Temperature, gumbel_noise};

/// Draws an exact one-hot sample `D` with the straight-through Gumbel-softmax gradient averaged over
/// `draws` independent noises that all lead to `D` (Paulus et al. 2021, section 4).
///
/// By Rao and Blackwell the mean is that of `gumbel_softmax(logits, τ, hard = true, …)`, and the variance
/// is at most its. `draws = 1` is that estimator itself; with `draws → ∞` only the randomness of `D` is left.
///
/// - Bias: that of straight-through Gumbel-softmax at the same τ. What is gained is the freedom to
///   lower τ, and the bias with it, which alone would cost variance.
/// - Variance: falls with `draws`, soon to a floor; 10 take most of it, the literature uses 100.
/// - Cost: one evaluation of the loss. The noises are drawn in the backward pass, one at a time, and never
///   held together: no memory, and no time when no gradient is asked for.
/// - τ: 0.3 to 1 (Liu et al. 2023 with 100 draws).
///
/// # Shapes
/// - logits: any; the classes lie along `dim`. Output: the same shape and dtype.
/// # Gradient
/// For the logits, exactly zero for masked (`-inf`) classes. Taken twice, it is the same twice.
/// # Errors
/// [`Error::InvalidParameter`] when `draws` is 0; those of
/// [`categorical_straight_through`](super::categorical_straight_through).
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::Generator;
/// use gumbel_core::estimators::gumbel_rao;
///
/// let logits = Var::new(&[[0.5f32, -1.0, 2.0]], &Device::Cpu)?;
/// let z = gumbel_rao(&logits, 0.5, 10, 1, &mut Generator::new(0))?;
/// assert!(z.sqr()?.sum_all()?.backward()?.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn gumbel_rao<C: Dim>(
    logits: &Tensor,
    tau: f64,
    draws: usize,
    dim: C,
    g: &mut Generator,
) -> Result<Tensor> {
    Temperature::new(tau)?;
    check_draws(draws)?;
    let draw = Draw::new(logits, dim, g, "gumbel-rao")?;
    let noise = ReservedNoise::take(&draw.rows.rows, draws, g);
    draw.with(GumbelRao { tau, noise })
}

pub(super) fn check_draws(draws: usize) -> Result<()> {
    if draws == 0 {
        return Err(Error::InvalidParameter { name: "draws", value: 0.0, must: "at least 1" });
    }
    Ok(())
}

/// Words of a generator set aside in the forward pass, to be used in the backward pass.
pub(super) struct ReservedNoise {
    start: GeneratorState,
    draws: usize,
}

impl ReservedNoise {
    /// Sets aside `draws` times the noise for `logits`, and moves the generator past it.
    pub(super) fn take(logits: &Tensor, draws: usize, g: &mut Generator) -> Self {
        let start = g.state();
        // f64 noise takes two words an element, the others one.
        let words_each = if logits.dtype() == DType::F64 { 2 } else { 1 };
        let used = (logits.elem_count() * draws * words_each) as u64;
        let end = GeneratorState { position: start.position.wrapping_add(used), ..start.clone() };
        *g = Generator::from_state(&end);
        Self { start, draws }
    }

    /// The same for the pass over rows.
    pub(super) fn kernel(&self) -> ConditionalDraws {
        let (noise, position) = Generator::from_state(&self.start).gumbel_stream();
        ConditionalDraws { count: self.draws, noise, position }
    }

    /// The gradient through `softmax(perturbed / τ)`, averaged over perturbed logits of a categorical with
    /// these `log_probs` given that the class of `hard` is their largest.
    ///
    /// With standard exponential `E` (Paulus et al. 2021, eq. 7) the largest is `-ln E_i` and the others are
    /// `-ln(E_j / p_j + E_i)`: they lie `ln(1 + E_j / (E_i p_j))` below it. The noise is Gumbel, `-ln E`.
    pub(super) fn mean_gradient(
        &self,
        log_probs: &Tensor,
        hard: &Tensor,
        grad: &Tensor,
        tau: f64,
    ) -> Result<Tensor> {
        let mut g = Generator::from_state(&self.start);
        let mut total = grad.zeros_like()?;
        for _ in 0..self.draws {
            let noise =
                gumbel_noise(log_probs.shape(), log_probs.dtype(), log_probs.device(), &mut g)?;
            let at_sample = (&noise * hard)?.sum_keepdim(D::Minus1)?;
            let ratio = (noise.neg()?.broadcast_add(&at_sample)? - log_probs)?.exp()?;
            let below = (ratio + 1.0)?.log()?.neg()?;
            let below = hard.gt(0.0)?.where_cond(&below.zeros_like()?, &below)?;
            let y = hard_sample::softmax(&below, tau)?;
            total = (&total + hard_sample::softmax_grad(&y, grad, tau)?)?;
        }
        Ok((total / self.draws as f64)?)
    }
}

pub(super) struct GumbelRao {
    pub(super) tau: f64,
    pub(super) noise: ReservedNoise,
}

impl Pullback for GumbelRao {
    fn name(&self) -> &'static str {
        "gumbel-rao"
    }

    fn kernel(&self) -> StraightThrough {
        StraightThrough::GumbelRao { temperature: self.tau as f32, draws: self.noise.kernel() }
    }

    fn plain(&self, logits: &Tensor, hard: &Tensor, grad: &Tensor) -> Result<Tensor> {
        self.noise.mean_gradient(&plain::log_softmax(logits)?, hard, grad, self.tau)
    }
}
