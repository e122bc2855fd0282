//! Checks of tensors' dtypes and values, and the errors that name what was found.

use candle_core::{CpuStorage, DType, Device, Storage, Tensor, WithDType};

use crate::{Error, Result};

/// Refuses what is no float of 16 to 64 bits.
pub(crate) fn check_float(x: &Tensor, what: &'static str) -> Result<()> {
    match x.dtype() {
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 => Ok(()),
        dtype => Err(Error::UnsupportedDType { what, dtype, expected: "f16, bf16, f32 or f64" }),
    }
}

/// Coordinates of an element of a row-major tensor.
pub(crate) fn unravel(mut flat: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (i, &n) in index.iter_mut().zip(dims).rev() {
        *i = flat % n;
        flat /= n;
    }
    index
}

/// One pass over all values, without a copy where they lie together on the CPU; the error is made
/// from the first that is not good. A tensor on another device is copied to the host.
pub(crate) fn check_values(
    x: &Tensor,
    what: &'static str,
    good: impl Fn(f64) -> bool,
    error: impl Fn(f64, Vec<usize>) -> Error,
) -> Result<()> {
    check_float(x, what)?;
    let host = x.detach().to_device(&Device::Cpu)?.contiguous()?;
    let (storage, layout) = host.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Ok(());
    };
    let bad = match &*storage {
        Storage::Cpu(CpuStorage::F16(v)) => first_bad(&v[start..end], good),
        Storage::Cpu(CpuStorage::BF16(v)) => first_bad(&v[start..end], good),
        Storage::Cpu(CpuStorage::F32(v)) => first_bad(&v[start..end], good),
        Storage::Cpu(CpuStorage::F64(v)) => first_bad(&v[start..end], good),
        _ => None,
    };
    bad.map_or(Ok(()), |(flat, value)| Err(error(value, unravel(flat, x.dims()))))
}

fn first_bad<T: WithDType>(values: &[T], good: impl Fn(f64) -> bool) -> Option<(usize, f64)> {
    let mut wide = values.iter().map(|v| v.to_f64());
    wide.position(|v| !good(v)).map(|i| (i, values[i].to_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bad_value_is_named_in_every_dtype_and_layout() {
        let x = Tensor::new(&[[0f64, 1.0, 2.0], [3.0, -4.0, -5.0]], &Device::Cpu).unwrap();
        let bad = |value, index| Error::InvalidLogit { value, index };
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            let x = x.to_dtype(dtype).unwrap();
            let turned = x.t().unwrap();
            let part = x.narrow(1, 1, 2).unwrap();
            for (x, at, v) in [(&x, [1, 1], -4.0), (&turned, [1, 1], -4.0), (&part, [1, 0], -4.0)] {
                let error = check_values(x, "x", |v| v >= 0.0, bad).unwrap_err();
                assert!(
                    matches!(error, Error::InvalidLogit { value, ref index } if value == v && index == &at)
                );
            }
            assert!(check_values(&x, "x", |v| v > -6.0, bad).is_ok());
        }
    }
}
