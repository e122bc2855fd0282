//! Codes summed with a weight for each: what score-function gradients come down to.

use candle_core::Tensor;

use crate::Result;
use crate::op::on_slices;

/// `Σ_k weights[k, row] z[k, row]`.
///
/// # Shapes
/// - z: `(n · batch, event…)`, point by point; weights: `(n, batch)`. Output: `(batch, event…)`.
pub(super) fn weighted_sum(z: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let (n, batch) = weights.dims2()?;
    let event: usize = z.dims()[1..].iter().product();
    let mut shape = z.dims().to_vec();
    shape[0] = batch;
    let kernel = |[z, weights]: [&[f32]; 2], sum: &mut [f32]| {
        let points = z.chunks_exact((batch * event).max(1)).zip(weights.chunks_exact(batch.max(1)));
        for (z, weights) in points {
            let rows = sum.chunks_exact_mut(event.max(1)).zip(z.chunks_exact(event.max(1)));
            for ((sum, z), weight) in rows.zip(weights) {
                sum.iter_mut().zip(z).for_each(|(sum, z)| *sum += weight * z);
            }
        }
        Ok(())
    };
    let composition = |[z, weights]: [&Tensor; 2]| {
        let z = z.reshape((n, batch, event))?;
        let sum = z.broadcast_mul(&weights.reshape((n, batch, 1))?)?.sum(0)?;
        Ok(sum.reshape(shape.as_slice())?)
    };
    Ok(on_slices([z, weights], shape.as_slice(), kernel, composition)?.into_tensor())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn the_loop_is_the_composition() {
        for (n, batch) in [(3, 4), (1, 1), (2, 0)] {
            let z = Tensor::arange(0f32, (n * batch * 6) as f32, &Device::Cpu).unwrap();
            let z = z.sin().unwrap().reshape((n * batch, 2, 3)).unwrap();
            let weights = Tensor::arange(0f32, (n * batch) as f32, &Device::Cpu).unwrap();
            let weights = weights.cos().unwrap().reshape((n, batch)).unwrap();
            let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
            let sum = weighted_sum(&z, &weights).unwrap();
            assert_eq!(sum.dims(), [batch, 2, 3]);
            let expected = weighted_sum(&wide(&z), &wide(&weights)).unwrap();
            let list = |x: Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            for (a, b) in list(wide(&sum)).into_iter().zip(list(expected)) {
                assert!((a - b).abs() < 1e-6, "{n} {batch}: {a} {b}");
            }
        }
    }
}
