//! Shapes of samples, and broadcasting of values against parameters.

use candle_core::{Shape, Tensor};

use crate::{Error, Result};

/// `sample_shape ++ parameters' shape`.
pub(super) fn sample_dims(sample_shape: Shape, parameters: &Tensor) -> Vec<usize> {
    let mut dims = sample_shape.into_dims();
    dims.extend(parameters.dims());
    dims
}

/// The parameters expanded to `sample_shape ++ parameters' shape`.
pub(super) fn expand(parameters: &Tensor, sample_shape: Shape) -> Result<Tensor> {
    if sample_shape.rank() == 0 {
        return Ok(parameters.clone());
    }
    Ok(parameters.broadcast_as(sample_dims(sample_shape, parameters))?.contiguous()?)
}

/// The parameters expanded to the shape of a noise tensor, whose last dimensions must be theirs.
pub(super) fn expand_to_noise(parameters: &Tensor, noise: &Tensor) -> Result<Tensor> {
    let mismatch = || Error::ShapeMismatch {
        what: "noise",
        got: noise.dims().to_vec(),
        expected: parameters.dims().to_vec(),
    };
    let lead = noise.rank().checked_sub(parameters.rank()).ok_or_else(mismatch)?;
    if &noise.dims()[lead..] != parameters.dims() {
        return Err(mismatch());
    }
    expand(parameters, Shape::from(&noise.dims()[..lead]))
}

/// Two tensors expanded to their common shape (numpy's rule).
pub(super) fn broadcast(value: &Tensor, parameters: &Tensor) -> Result<(Tensor, Tensor)> {
    let (parameters, value) = broadcast_as("value", parameters, value)?;
    Ok((value, parameters))
}

/// The same for parameters and `what` an error calls the other tensor.
pub(super) fn broadcast_as(
    what: &'static str,
    parameters: &Tensor,
    value: &Tensor,
) -> Result<(Tensor, Tensor)> {
    if value.dims() == parameters.dims() {
        return Ok((parameters.clone(), value.clone()));
    }
    let dims = common_dims(what, value.dims(), parameters.dims())?;
    let value = value.broadcast_as(dims.as_slice())?.contiguous()?;
    Ok((parameters.broadcast_as(dims)?.contiguous()?, value))
}

/// The shape that a value and the parameters broadcast to.
pub(super) fn common_dims(
    what: &'static str,
    value: &[usize],
    parameters: &[usize],
) -> Result<Vec<usize>> {
    let rank = value.len().max(parameters.len());
    let size = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    let mut dims = Vec::with_capacity(rank);
    for i in 0..rank {
        let (a, b) = (size(value, i), size(parameters, i));
        if a != b && a != 1 && b != 1 {
            return Err(Error::ShapeMismatch {
                what,
                got: value.to_vec(),
                expected: parameters.to_vec(),
            });
        }
        dims.push(if a == 1 { b } else { a });
    }
    Ok(dims)
}

/// `(k, batch...)`-shaped copies of a tensor `(k, ...)` whose own dimensions end with the event's.
pub(super) fn over_batch(support: &Tensor, batch: &[usize]) -> Result<Tensor> {
    let (k, event) = (support.dims()[0], &support.dims()[1..]);
    let ones = vec![1; batch.len()];
    let narrow = [&[k], ones.as_slice(), event].concat();
    let wide = [&[k], batch, event].concat();
    Ok(support.reshape(narrow)?.broadcast_as(wide)?.contiguous()?)
}
