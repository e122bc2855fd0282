//! Exact categorical samples by the Gumbel-max trick.

use candle_core::Tensor;
use candle_core::shape::Dim;

use crate::logits::Rows;
use crate::single_pass::SinglePass;
use crate::{Generator, Result, gumbel_noise, op};

/// Draws a class index for each row of logits: `argmax(logits + g)` with Gumbel noise `g`.
///
/// The sample is exact: class `k` has probability `softmax(logits)_k` (Gumbel 1954; Maddison et al.
/// 2014), down to probabilities of 2^-64, and a class of logit `-inf` is never drawn. Computed in at least f32.
///
/// # Shapes
/// - logits: any; the classes lie along `dim`. Output: the other dimensions, u32.
/// # Gradient
/// None: indices carry none. For a sample with one see [`gumbel_softmax`](crate::gumbel_softmax).
/// # Errors
/// [`Error::InvalidLogit`](crate::Error::InvalidLogit), [`Error::AllMasked`](crate::Error::AllMasked),
/// [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::{Generator, gumbel_max};
///
/// let logits = Tensor::new(&[[0f32, f32::NEG_INFINITY], [f32::NEG_INFINITY, 0.0]], &Device::Cpu)?;
/// let classes = gumbel_max(&logits, 1, &mut Generator::new(0))?;
/// assert_eq!(classes.to_vec1::<u32>()?, [0, 1]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn gumbel_max<D: Dim>(logits: &Tensor, dim: D, g: &mut Generator) -> Result<Tensor> {
    let dim = dim.to_index(logits.shape(), "gumbel_max")?;
    if let Some(logits) = SinglePass::new(logits, dim) {
        return logits.argmax(g);
    }
    let rows = Rows::new(&logits.detach(), dim)?;
    let noise = gumbel_noise(logits.shape(), rows.rows.dtype(), logits.device(), g)?;
    draw(&rows, &noise)
}

/// [`gumbel_max`] with the noise passed in, to replay a draw or to share it between samples.
///
/// # Shapes
/// - logits, noise: the same. Output: without `dim`, u32.
/// # Errors
/// Those of [`gumbel_max`], and [`Error::ShapeMismatch`](crate::Error::ShapeMismatch).
pub fn gumbel_max_with_noise<D: Dim>(logits: &Tensor, noise: &Tensor, dim: D) -> Result<Tensor> {
    let dim = dim.to_index(logits.shape(), "gumbel_max")?;
    draw(&Rows::new(&logits.detach(), dim)?, noise)
}

fn draw(rows: &Rows, noise: &Tensor) -> Result<Tensor> {
    let noise = rows.like(&noise.detach(), "noise")?;
    let classes = op::argmax(&op::perturb(&rows.rows, &noise)?)?;
    rows.restore_reduced(&classes)
}

/// Draws a one-hot vector for each row of logits: the class of [`gumbel_max`], from the same noise.
///
/// # Shapes
/// - logits: any; the classes lie along `dim`. Output: the same shape and dtype.
/// # Gradient
/// None: the sample is a constant. For one with a gradient see [`gumbel_softmax`](crate::gumbel_softmax).
/// # Errors
/// Those of [`gumbel_max`].
pub fn sample_one_hot<D: Dim>(logits: &Tensor, dim: D, g: &mut Generator) -> Result<Tensor> {
    let dim = dim.to_index(logits.shape(), "sample_one_hot")?;
    if let Some(logits) = SinglePass::new(logits, dim) {
        return logits.one_hot(g);
    }
    let rows = Rows::new(&logits.detach(), dim)?;
    let noise = gumbel_noise(logits.shape(), rows.rows.dtype(), logits.device(), g)?;
    let noise = rows.like(&noise, "noise")?;
    let hot = op::one_hot_argmax(&op::perturb(&rows.rows, &noise)?)?;
    rows.restore(&hot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn index_and_one_hot_samples_agree_along_every_dimension() {
        let logits = Tensor::arange(0f32, 60.0, &Device::Cpu).unwrap().reshape((3, 4, 5)).unwrap();
        let logits = logits.sin().unwrap();
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            let logits = logits.to_dtype(dtype).unwrap();
            for dim in 0..3 {
                let classes = gumbel_max(&logits, dim, &mut Generator::new(1)).unwrap();
                let hot = sample_one_hot(&logits, dim, &mut Generator::new(1)).unwrap();
                assert_eq!(hot.dims(), logits.dims());
                assert_eq!(hot.dtype(), dtype);
                let from_hot = hot.to_dtype(DType::F32).unwrap().argmax(dim).unwrap();
                let list = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<u32>().unwrap();
                assert_eq!(from_hot.dims(), classes.dims());
                assert_eq!(list(&from_hot), list(&classes));
                let ones = hot
                    .to_dtype(DType::F32)
                    .unwrap()
                    .sum_all()
                    .unwrap()
                    .to_scalar::<f32>()
                    .unwrap();
                assert_eq!(ones as usize, classes.elem_count());
            }
        }
    }

    #[test]
    fn passing_the_noise_replays_the_draw() {
        let logits = Tensor::new(&[[0f32, 1.0, -1.0], [2.0, 0.0, 0.5]], &Device::Cpu).unwrap();
        for dim in 0..2 {
            let noise =
                gumbel_noise((2, 3), DType::F32, &Device::Cpu, &mut Generator::new(9)).unwrap();
            let replayed = gumbel_max_with_noise(&logits, &noise, dim).unwrap();
            let drawn = gumbel_max(&logits, dim, &mut Generator::new(9)).unwrap();
            assert_eq!(replayed.to_vec1::<u32>().unwrap(), drawn.to_vec1::<u32>().unwrap());
        }
    }

    #[test]
    fn a_strided_view_is_sampled_like_its_copy() {
        let logits = Tensor::new(&[[0f32, 1.0, -1.0], [2.0, 0.0, 0.5]], &Device::Cpu).unwrap();
        let view = logits.t().unwrap();
        let a = gumbel_max(&view, 1, &mut Generator::new(2)).unwrap();
        let b = gumbel_max(&view.force_contiguous().unwrap(), 1, &mut Generator::new(2)).unwrap();
        assert_eq!(a.to_vec1::<u32>().unwrap(), b.to_vec1::<u32>().unwrap());
    }
}
