//! The largest of perturbed logits: items without replacement, in the order of selection.

use candle_core::Tensor;

use super::{batch, items};
use crate::structure::host::values;
use crate::{Error, Generator, Result, gumbel_noise, structure::KSubset, structure::Structure};

/// Draws `k` items without replacement, each with the probabilities of a softmax over those that are left (Plackett and Luce): the `k`
/// largest of `logits + Gumbel noise`, in descending order (Yellott 1977; Kool et al. 2019).
///
/// # Shapes
/// - logits: `(batch…, n)`; output: `(batch…, k)`, u32.
/// # Gradient
/// None.
/// # Errors
/// [`Error::InvalidLogit`], [`Error::UnsupportedDType`]; [`Error::SubsetSize`] for a row that allows fewer than `k` items.
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::{Generator, structure::gumbel_top_k};
///
/// let logits = Tensor::new(&[[0f32, f32::NEG_INFINITY, 1.0], [3.0, 2.0, 1.0]], &Device::Cpu)?;
/// let items = gumbel_top_k(&logits, 2, &mut Generator::new(0))?;
/// assert_eq!(items.dims(), [2, 2]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn gumbel_top_k(logits: &Tensor, k: usize, g: &mut Generator) -> Result<Tensor> {
    let noise = gumbel_noise(logits.shape(), logits.dtype(), logits.device(), g)?;
    gumbel_top_k_with_noise(logits, &noise, k)
}

/// [`gumbel_top_k`] with the given noise: first of equals first.
///
/// # Errors
/// Those of [`gumbel_top_k`]; [`Error::ShapeMismatch`] for noise of another shape.
pub fn gumbel_top_k_with_noise(logits: &Tensor, noise: &Tensor, k: usize) -> Result<Tensor> {
    if noise.dims() != logits.dims() {
        let (got, expected) = (noise.dims().to_vec(), logits.dims().to_vec());
        return Err(Error::ShapeMismatch { what: "noise", got, expected });
    }
    KSubset::new(k).check(logits)?;
    let n_rows = batch(logits).iter().product();
    let n = items(logits);
    let scores: Vec<f64> = values(logits)?.iter().zip(values(noise)?).map(|(x, g)| x + g).collect();
    let mut chosen = Vec::with_capacity(n_rows * k);
    for row in 0..n_rows {
        let scores = &scores[row * n..(row + 1) * n];
        let mut order: Vec<u32> = (0..n as u32).collect();
        let descending =
            |&a: &u32, &b: &u32| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b));
        if 0 < k && k < n {
            order.select_nth_unstable_by(k - 1, descending);
        }
        order.truncate(k);
        order.sort_by(descending);
        chosen.append(&mut order);
    }
    let shape = [batch(logits), &[k]].concat();
    Ok(Tensor::from_vec(chosen, shape, logits.device())?)
}
