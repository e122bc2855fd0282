//! The largest values of a row, and of logits with noise: sampling without replacement.

use candle_core::{D, DType, Tensor};

use super::{check_items, row_len};
use crate::checks::check_values;
use crate::op::{perturb, read_slices, widen};
use crate::structure::host::values;
use crate::{Error, Generator, Result, gumbel_noise};

/// The `k` largest values along the last dimension with their indices (u32), the largest first and of equals the first.
///
/// # Shapes
/// - x: `(…, n)`. Outputs: `(…, k)`.
/// # Gradient
/// That of picking the values.
/// # Errors
/// [`Error::InvalidParameter`] unless `1 <= k <= n`; [`Error::InvalidLogit`] for NaN; [`Error::UnsupportedDType`].
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
///
/// let x = Tensor::new(&[[2f32, 5.0, 3.0, 5.0]], &Device::Cpu)?;
/// let (values, indices) = gumbel_core::top_k(&x, 3)?;
/// assert_eq!(values.to_vec2::<f32>()?, [[5.0, 5.0, 3.0]]);
/// assert_eq!(indices.to_vec2::<u32>()?, [[1, 3, 2]]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn top_k(x: &Tensor, k: usize) -> Result<(Tensor, Tensor)> {
    let n = row_len(x, "x")?;
    if k == 0 || k > n {
        let must = "at least 1 and at most the number of values in a row";
        return Err(Error::InvalidParameter { name: "k", value: k as f64, must });
    }
    check_values(x, "x", |x| !x.is_nan(), |value, index| Error::InvalidLogit { value, index })?;
    let indices = largest_of(x, k)?;
    Ok((x.contiguous()?.gather(&indices, D::Minus1)?, indices))
}

/// The indices of the largest values: u32, `(…, k)`.
pub(crate) fn largest_of(x: &Tensor, k: usize) -> Result<Tensor> {
    let n = row_len(x, "x")?;
    let mut dims = x.dims().to_vec();
    let last = dims.len() - 1;
    dims[last] = k;
    let mut indices = vec![0; x.elem_count() / n * k];
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        let x = x.detach();
        read_slices([&x], |[x]| Ok(gumbel_kernels::top_k(n, k, x, &mut indices)?))?;
    } else {
        gumbel_kernels::top_k(n, k, &values(x)?, &mut indices)?;
    }
    Ok(Tensor::from_vec(indices, dims, x.device())?)
}

/// Draws `k` items one after the other without replacement: the indices of the `k` largest of `logits + g`, in their
/// order (Yellott 1977; Kool et al. 2019). The order has the law of [`PlackettLuce`](crate::distributions::PlackettLuce).
///
/// # Shapes
/// - logits: `(…, n)`. Output: u32, `(…, k)`.
/// # Gradient
/// None.
/// # Errors
/// [`Error::SubsetSize`] for a row with fewer than `k` items above `-inf`; [`Error::InvalidParameter`] for `k = 0`;
/// [`Error::InvalidLogit`], [`Error::UnsupportedDType`].
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::{Generator, gumbel_top_k};
///
/// let logits = Tensor::new(&[0.5f32, f32::NEG_INFINITY, 2.0, -1.0], &Device::Cpu)?;
/// let mut drawn = gumbel_top_k(&logits, 3, &mut Generator::new(0))?.to_vec1::<u32>()?;
/// drawn.sort();
/// assert_eq!(drawn, [0, 2, 3]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn gumbel_top_k(logits: &Tensor, k: usize, g: &mut Generator) -> Result<Tensor> {
    check_items(logits, k)?;
    let wide = widen(&logits.detach())?.contiguous()?;
    let noise = gumbel_noise(wide.shape(), wide.dtype(), wide.device(), g)?;
    largest_of(&perturb(&wide, &noise)?, k)
}

/// [`gumbel_top_k`] with the noise passed in, one value for each item.
///
/// # Errors
/// Those of [`gumbel_top_k`]; [`Error::ShapeMismatch`].
pub fn gumbel_top_k_with_noise(logits: &Tensor, noise: &Tensor, k: usize) -> Result<Tensor> {
    check_items(logits, k)?;
    if noise.dims() != logits.dims() {
        let (got, expected) = (noise.dims().to_vec(), logits.dims().to_vec());
        return Err(Error::ShapeMismatch { what: "noise", got, expected });
    }
    let wide = widen(&logits.detach())?.contiguous()?;
    let noise = noise.detach().to_dtype(wide.dtype())?.contiguous()?;
    largest_of(&perturb(&wide, &noise)?, k)
}
