//! Kernels in double precision over the elements of any tensors.

use candle_core::{DType, Device, Shape, Tensor};

use crate::Result;
use crate::op::read_slices;

/// Calls `kernel` with the elements of the inputs in row-major order, as f64, and with zeros of the given shape to write
/// to. The result has the dtype and the device of the first input, and no history.
///
/// # Errors
/// Those of the kernel, and those of candle.
pub(crate) fn on_host<const N: usize>(
    inputs: [&Tensor; N],
    shape: impl Into<Shape>,
    kernel: impl FnOnce([&[f64]; N], &mut [f64]) -> Result<()>,
) -> Result<Tensor> {
    let shape = shape.into();
    let mut lists: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for (list, input) in lists.iter_mut().zip(inputs) {
        *list = values(input)?;
    }
    let mut out = vec![0.0; shape.elem_count()];
    kernel(lists.each_ref().map(Vec::as_slice), &mut out)?;
    if inputs[0].device().is_cpu() && inputs[0].dtype() == DType::F32 {
        let out: Vec<f32> = out.into_iter().map(|x| x as f32).collect();
        return Ok(Tensor::from_vec(out, shape, &Device::Cpu)?);
    }
    let out = Tensor::from_vec(out, shape, &Device::Cpu)?;
    Ok(out.to_dtype(inputs[0].dtype())?.to_device(inputs[0].device())?)
}

/// One of the two functions on the elements in row-major order: without a copy, where they are f32 on the CPU.
pub(crate) fn read<R>(
    x: &Tensor,
    single: impl FnOnce(&[f32]) -> Result<R>,
    double: impl FnOnce(&[f64]) -> Result<R>,
) -> Result<R> {
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        return read_slices([&x.detach()], |[x]| single(x));
    }
    double(&values(x)?)
}

/// Whether there is a logit of `-inf`.
pub(crate) fn has_masks(x: &Tensor) -> Result<bool> {
    // Without a branch for each value.
    read(
        x,
        |x| Ok(x.iter().fold(false, |any, &x| any | (x == f32::NEG_INFINITY))),
        |x| Ok(x.iter().fold(false, |any, &x| any | (x == f64::NEG_INFINITY))),
    )
}

/// The elements in row-major order.
pub(crate) fn values(x: &Tensor) -> Result<Vec<f64>> {
    let x = x.detach();
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        return read_slices([&x], |[x]| Ok(x.iter().map(|&x| f64::from(x)).collect()));
    }
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}
