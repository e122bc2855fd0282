//! The negative evidence lower bound (ELBO), in nats.

use candle_core::{CpuStorage, CustomOp2, D, DType, Layout, Shape, Tensor};
use gumbel_core::kl_to_uniform;

use crate::cpu::{f32_slice, kernel_error, tensor_slice};
use crate::{Error, Result};

/// Negative log-likelihood of Bernoulli pixels, in nats, summed over pixels.
///
/// From logits: `max(l, 0) − l·x + ln(1 + e^(−|l|))`, finite for every finite logit. A target
/// between 0 and 1 (a grey pixel) gives the cross-entropy between the two Bernoulli laws.
///
/// # Shapes
/// - logits, targets: `(batch, n_pixels)`; output: `(batch,)`.
///
/// # Gradient
/// `sigmoid(l) − x` with respect to the logits, `−l` with respect to the targets.
///
/// # Errors
/// [`Error::ShapeMismatch`] when the two shapes differ.
pub fn bernoulli_nll(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    if logits.dims() != targets.dims() {
        return Err(Error::ShapeMismatch {
            what: "targets",
            expected: format!("{:?}, the shape of the logits", logits.dims()),
            actual: targets.dims().to_vec(),
        });
    }
    if logits.device().is_cpu() && logits.dtype() == DType::F32 && targets.dtype() == DType::F32 {
        return Ok(logits.contiguous()?.apply_op2(&targets.contiguous()?, BernoulliNll)?);
    }
    plain(logits, targets)
}

/// The same in candle's operations: for other devices and types, and the oracle of the tests.
fn plain(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    // max(l, 0) = (l + |l|)/2: with candle's derivative of |l| at 0 (+1), the terms add up to
    // sigmoid(0) − x there too, which they would not with relu (whose derivative at 0 is 1).
    let magnitude = logits.abs()?;
    let positive_part = ((logits + &magnitude)? * 0.5)?;
    let log1p = (magnitude.neg()?.exp()? + 1.0)?.log()?;
    let nll = ((positive_part - (logits * targets)?)? + log1p)?;
    Ok(nll.sum(D::Minus1)?)
}

struct BernoulliNll;

impl BernoulliNll {
    /// NLL of each row, and the gradient of the logits.
    fn run(
        shape: &Shape,
        logits: &[f32],
        targets: &[f32],
    ) -> candle_core::Result<(Vec<f32>, Vec<f32>)> {
        let (batch, n_pixels) = shape.dims2()?;
        let (mut nll, mut d_logits) = (vec![0.0; batch], vec![0.0; batch * n_pixels]);
        gumbel_kernels::bernoulli_nll(n_pixels, 1.0, logits, targets, &mut nll, &mut d_logits)
            .map_err(kernel_error)?;
        Ok((nll, d_logits))
    }
}

impl CustomOp2 for BernoulliNll {
    fn name(&self) -> &'static str {
        "bernoulli-nll"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        logits_layout: &Layout,
        targets: &CpuStorage,
        targets_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (logits, targets) =
            (f32_slice(logits, logits_layout)?, f32_slice(targets, targets_layout)?);
        let (nll, _) = Self::run(logits_layout.shape(), logits, targets)?;
        let batch = nll.len();
        Ok((CpuStorage::F32(nll), batch.into()))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let d_logits = {
            let (logits_storage, logits_layout) = logits.storage_and_layout();
            let (targets_storage, targets_layout) = targets.storage_and_layout();
            let logits_values = tensor_slice(&logits_storage, logits_layout)?;
            let targets_values = tensor_slice(&targets_storage, targets_layout)?;
            Self::run(logits.shape(), logits_values, targets_values)?.1
        };
        let d_logits = Tensor::from_vec(d_logits, logits.shape(), logits.device())?;
        let upstream = upstream.unsqueeze(1)?;
        // The NLL is linear in the target: its derivative there is −l.
        let d_targets = match targets.track_op() {
            true => Some(logits.neg()?.broadcast_mul(&upstream)?),
            false => None,
        };
        Ok((Some(d_logits.broadcast_mul(&upstream)?), d_targets))
    }
}

/// KL divergence from the posterior to the uniform prior, in nats, summed over latents:
/// `Σ_n (Σ_k q_nk ln q_nk + ln K)`, exact at saturated logits.
///
/// # Shapes
/// - logits: `(batch, n_latents, n_categories)`; output: `(batch,)`.
///
/// # Gradient
/// With respect to the logits: `q ⊙ (ln q − Σ q ln q)`.
///
/// # Errors
/// Those of [`gumbel_core::kl_to_uniform`].
pub fn kl_to_uniform_prior(logits: &Tensor) -> Result<Tensor> {
    Ok(kl_to_uniform(logits)?.sum(D::Minus1)?)
}

/// The two terms of the negative ELBO, each the mean over the images of a batch, in nats.
///
/// Whether it is the *relaxed* or the *unrelaxed* objective depends on the sample that was decoded:
/// a relaxed one, or an exact one-hot one. The KL term is the analytic one of the categorical
/// posterior in both.
#[derive(Clone, Debug)]
pub struct NegElbo {
    /// Bernoulli cross-entropy of the pixels, scalar.
    pub bce: Tensor,
    /// KL from the posterior to the uniform prior, scalar.
    pub kl: Tensor,
}

impl NegElbo {
    /// Both terms for a batch.
    ///
    /// # Shapes
    /// - pixel_logits, images: `(batch, n_pixels)`; latent_logits: `(batch, n_latents, n_categories)`.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when images and pixel logits differ.
    pub fn new(pixel_logits: &Tensor, images: &Tensor, latent_logits: &Tensor) -> Result<Self> {
        Ok(Self {
            bce: bernoulli_nll(pixel_logits, images)?.mean(0)?,
            kl: kl_to_uniform_prior(latent_logits)?.mean(0)?,
        })
    }

    /// `bce + kl`, the loss.
    ///
    /// # Errors
    /// None but the device's own.
    pub fn total(&self) -> Result<Tensor> {
        Ok((&self.bce + &self.kl)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use gumbel_core::{Generator, uniform};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nll_and_its_gradient_are_exact_at_saturated_logits() {
        let l = Var::new(&[[-200.0_f32, -17.0, 0.0, 17.0, 200.0]], &Device::Cpu).unwrap();
        for (target, nll, gradient) in [
            (0.0_f32, 217.693_15_f32, [0.0_f32, 4.139_938e-8, 0.5, 1.0, 1.0]),
            (1.0, 217.693_15, [-1.0, -1.0, -0.5, -4.139_938e-8, 0.0]),
        ] {
            let targets = (l.ones_like().unwrap() * f64::from(target)).unwrap();
            let value = bernoulli_nll(l.as_tensor(), &targets).unwrap();
            assert_eq!(value.to_vec1::<f32>().unwrap(), [nll]);
            let gradients = value.backward().unwrap();
            let actual = gradients.get(&l).unwrap().to_vec2::<f32>().unwrap();
            for (a, e) in actual[0].iter().zip(gradient) {
                // sigmoid of ∓17 is a difference of numbers near 1: right to one f32 ulp of 1.
                assert!((a - e).abs() <= 1.2e-7, "{actual:?} against {gradient:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn kernel_and_candle_agree_on_values_and_gradients(
            batch in 1_usize..6,
            n_pixels in 1_usize..70,
            spread in prop::sample::select(vec![1.0, 30.0]),
            seed: u64,
        ) {
            let mut generator = Generator::new(seed);
            let mut unit = || uniform((batch, n_pixels), DType::F32, &Device::Cpu, &mut generator).unwrap();
            let logits = Var::from_tensor(&unit().affine(2.0 * spread, -spread).unwrap()).unwrap();
            let targets = Var::from_tensor(&unit()).unwrap();
            let run = |f: fn(&Tensor, &Tensor) -> Result<Tensor>| {
                let nll = f(logits.as_tensor(), targets.as_tensor()).unwrap();
                let gradients = nll.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                let of = |v: &Var| gradients.get(v).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                [nll.to_vec1::<f32>().unwrap(), of(&logits), of(&targets)].concat()
            };
            let (fused, plain) = (run(bernoulli_nll), run(plain));
            let largest = plain.iter().fold(0_f32, |m, x| m.max(x.abs()));
            for (f, p) in fused.iter().zip(&plain) {
                // Sums of up to 70 terms in two orders.
                prop_assert!((f - p).abs() <= 1e-5 * largest, "{} against {}", f, p);
            }
        }
    }

    #[test]
    fn nll_is_the_sum_over_pixels_of_the_textbook_formula() {
        let logits = Tensor::new(&[[0.3_f64, -1.2], [2.0, 0.7]], &Device::Cpu).unwrap();
        let targets = Tensor::new(&[[0.2_f64, 1.0], [0.0, 0.5]], &Device::Cpu).unwrap();
        let expected = |l: f64, x: f64| {
            let p = 1.0 / (1.0 + (-l).exp());
            -x * p.ln() - (1.0 - x) * (1.0 - p).ln()
        };
        let actual = bernoulli_nll(&logits, &targets).unwrap().to_vec1::<f64>().unwrap();
        assert!((actual[0] - expected(0.3, 0.2) - expected(-1.2, 1.0)).abs() < 1e-14);
        assert!((actual[1] - expected(2.0, 0.0) - expected(0.7, 0.5)).abs() < 1e-14);
    }

    #[test]
    fn targets_of_another_shape_are_refused() {
        let logits = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        let targets = Tensor::zeros((2, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
        let error = bernoulli_nll(&logits, &targets).unwrap_err().to_string();
        assert!(error.contains("targets must have the shape [2, 3]"), "{error}");
    }
}
